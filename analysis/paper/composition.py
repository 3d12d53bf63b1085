"""Drawings of several figures put together on one page: SVG in SVG, PDF on PDF, bitmap on bitmap."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

from analysis.paper.printing import About, bitmap, named_pdf
from analysis.paper.svg import renamed_ids, split_root


@dataclass(frozen=True)
class Drawn:
    """The bytes of a panel, its letter, and its upper left corner in CSS pixels from that of the page."""

    data: bytes
    letter: str
    x: float
    y: float


def joined_svg(frame: bytes, panels: Sequence[Drawn]) -> bytes:
    """The frame's SVG with the panels' drawings in it; ids get the panel's letter, so that no two are the same."""
    root, rest = split_root(frame)
    end = rest.rindex("</svg>")
    return (root + rest[:end] + "".join(map(_placed, panels)) + rest[end:]).encode("utf-8")


def _placed(p: Drawn) -> str:
    """The panel's drawing, without its root, at its place."""
    _, body = split_root(p.data)
    body = renamed_ids(body[: body.rindex("</svg>")], lambda _, old: f"{p.letter}-{old}")
    return f'<g transform="translate({p.x:.4f},{p.y:.4f})">{body}</g>'


def joined_pdf(frame: bytes, panels: Sequence[Drawn], *, about: About) -> bytes:
    """The frame's page with the panels' pages on it as they are: vectors, and text in its embedded fonts."""
    from pypdf import PdfReader, PdfWriter, Transformation

    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(frame)))
    page = writer.pages[0]
    for p in panels:
        one = PdfReader(io.BytesIO(p.data)).pages[0]
        across = float(page.cropbox.left) - float(one.cropbox.left) + p.x * 72 / 96
        up = float(page.cropbox.top) - float(one.cropbox.top) - p.y * 72 / 96
        page.merge_transformed_page(one, Transformation().translate(across, up))
    page.compress_content_streams()
    return named_pdf(writer, about)


def joined_bitmap(frame: bytes, panels: Sequence[Drawn], kind: str, *, dpi: int) -> bytes:
    """PNGs drawn at `dpi`, each pasted to the nearest pixel."""
    from PIL import Image

    with Image.open(io.BytesIO(frame)) as page:
        sheet = page.convert("RGB")
    for p in panels:
        with Image.open(io.BytesIO(p.data)) as one:
            sheet.paste(one.convert("RGB"), (round(p.x * dpi / 96), round(p.y * dpi / 96)))
    buffer = io.BytesIO()
    sheet.save(buffer, format="PNG")
    return bitmap(buffer.getvalue(), kind, dpi)
