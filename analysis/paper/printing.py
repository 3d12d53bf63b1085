"""One figure to the bytes of a PDF, SVG, PNG or TIFF whose page has its exact size."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analysis.paper.svg import split_root
from analysis.plots.theme import MM, duplicate
from flexict_core.errors import FigureExportError

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from pypdf import PdfWriter

    from analysis.figure_browser import FigureBrowser

FORMATS = ("pdf", "svg", "png", "tiff")
DPI = {"png": 300, "tiff": 600}


@dataclass(frozen=True)
class About:
    """What a PDF says of itself: its title, and whether its data are synthetic."""

    title: str
    synthetic: bool


def check_formats(formats: object) -> None:
    """Raises FigureExportError for a format that cannot be written."""
    for kind in [formats] if isinstance(formats, str) else list(formats):  # type: ignore[call-overload]
        if kind not in FORMATS:
            raise FigureExportError(f"figure format {kind!r} is not known: choose from {', '.join(FORMATS)}")


def dots_per_inch(kind: str, dpi: int | None) -> int:
    """Resolution of a bitmap: as asked for, else 300 for PNG and 600 for TIFF."""
    return DPI.get(kind, 600) if dpi is None else dpi


def printed(browser: FigureBrowser, page: go.Figure, kind: str, *, about: About, dpi: int | None) -> bytes:
    """A figure of the page's size as a file of `kind`."""
    width, height = page.layout.width, page.layout.height
    if kind == "svg":
        return svg_in_mm(browser.image(page, "svg", width_px=width, height_px=height), width, height)
    if kind == "pdf":
        return exact_page(_on_larger_page(browser, page), width, height, about=about)
    dots = dots_per_inch(kind, dpi)
    picture = browser.image(page, "png", width_px=width, height_px=height, scale=dots / 96)
    return bitmap(picture, kind, dots)


def _on_larger_page(browser: FigureBrowser, page: go.Figure) -> bytes:
    """PDF of the figure in the upper left of a page some pixels larger: Chrome cuts pages to a grid of its own."""
    spare = {side: int(page.layout[side]) + 2 - page.layout[side] for side in ("width", "height")}
    larger = duplicate(page)
    larger.update_layout(
        width=page.layout.width + spare["width"],
        height=page.layout.height + spare["height"],
        margin={"r": page.layout.margin.r + spare["width"], "b": page.layout.margin.b + spare["height"]},
    )
    return browser.image(larger, "pdf", width_px=larger.layout.width, height_px=larger.layout.height)


def svg_in_mm(svg: bytes, width: float, height: float) -> bytes:
    """The drawing stays in its own units (viewBox); the page gets its size in millimetres."""
    root, rest = split_root(svg)
    sized = re.sub(
        r' width="[^"]*" height="[^"]*"', f' width="{width / MM:.4f}mm" height="{height / MM:.4f}mm"', root
    )
    return (sized + rest).encode("utf-8")


def exact_page(pdf: bytes, width: float, height: float, *, about: About) -> bytes:
    """Cut the page to its exact size (in CSS pixels) from the upper left; name it, without the time of day."""
    from pypdf import PdfReader, PdfWriter
    from pypdf.generic import RectangleObject

    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(pdf)))
    page = writer.pages[0]
    points = 72 / 96
    top = float(page.mediabox.top)
    box = RectangleObject((0, top - height * points, width * points, top))
    for name in ("mediabox", "cropbox", "trimbox", "bleedbox", "artbox"):
        setattr(page, name, box)
    return named_pdf(writer, about)


def named_pdf(writer: PdfWriter, about: About) -> bytes:
    """The bytes of a PDF that says what it is, without the time of day: the same pages give the same file."""
    writer.metadata = {
        "/Title": about.title,
        "/Subject": f"{'Synthetic data. ' if about.synthetic else ''}Research use only.",
        "/Creator": "FlexiCT Atlas",
    }
    buffer = io.BytesIO()
    writer.write(buffer)
    return buffer.getvalue()


def bitmap(png: bytes, kind: str, dpi: int) -> bytes:
    """PNG or TIFF (LZW) that knows its resolution, so that it opens at the right size."""
    from PIL import Image

    buffer = io.BytesIO()
    with Image.open(io.BytesIO(png)) as image:
        options: dict[str, Any] = {"compression": "tiff_lzw"} if kind == "tiff" else {}
        image.convert("RGB").save(buffer, format=kind.upper(), dpi=(dpi, dpi), **options)
    return buffer.getvalue()
