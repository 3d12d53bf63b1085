"""What a PDF page holds: its pictures, its fonts, its texts with their sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np


def only_page(path: Path) -> Any:
    """The one page of a file of one page."""
    from pypdf import PdfReader

    (page,) = PdfReader(path).pages
    return page


def images(holder: Any) -> list[Any]:
    """Every picture of a page, also of the forms drawn on it, and pictures written into its stream."""
    found = []
    resources = holder.get("/Resources", {}).get_object()
    for item in resources.get("/XObject", {}).values():
        item = item.get_object()
        found += [item] if item["/Subtype"] == "/Image" else images(item)
    contents = holder.get_contents() if hasattr(holder, "get_contents") else holder
    if contents is not None:
        found += [word for word in contents.get_data().split() if word == b"BI"]
    return found


def fonts(holder: Any) -> list[Any]:
    """Every font of a page, also of the forms drawn on it."""
    resources = holder.get("/Resources", {}).get_object()
    found = [f.get_object() for f in resources.get("/Font", {}).values()]
    for item in resources.get("/XObject", {}).values():
        item = item.get_object()
        if item["/Subtype"] == "/Form":
            found += fonts(item)
    return found


def texts(page: Any) -> list[tuple[str, float, float, float]]:
    """Each text with its size in points on paper and its place (x, y) in points, from the page's own matrices."""
    found = []

    def visit(text: str, matrix: list[float], text_matrix: list[float], font: Any, size: float) -> None:
        if text.strip():
            on_paper = size * np.hypot(*matrix[:2]) * np.hypot(*text_matrix[:2])
            x, y = np.array([*text_matrix[4:6], 1]) @ np.array(matrix).reshape(3, 2)
            found.append((text.strip(), float(on_paper), float(x), float(y)))

    page.extract_text(visitor_text=visit)
    return found


def assert_editable(page: Any) -> None:
    """Text in embedded TrueType fonts that can be read back, metric-compatible with Arial; no pictures."""
    assert images(page) == []
    used = fonts(page)
    assert used
    for font in used:
        descendant = font["/DescendantFonts"][0].get_object()
        assert (font["/Subtype"], descendant["/Subtype"]) == ("/Type0", "/CIDFontType2")  # never Type 3
        assert "/FontFile2" in descendant["/FontDescriptor"].get_object()
        assert "/ToUnicode" in font
        assert any(
            name in str(font["/BaseFont"]) for name in ("Arial", "Helvetica", "LiberationSans", "Arimo")
        )
