"""A page of panels as files: PDF, SVG, PNG, TIFF; the numbers of each panel; caption, methods and provenance."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.export import csv_text, json_text, write_bytes, write_text
from analysis.figure_browser import FigureBrowser, current_browser
from analysis.paper.composition import Drawn, joined_bitmap, joined_pdf, joined_svg
from analysis.paper.points import RASTER_DPI, too_many, with_bitmap
from analysis.paper.printing import About, check_formats, dots_per_inch, printed
from analysis.plots.theme import MM, journal_template, stamp_text
from analysis.results import SCHEMA_VERSION

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from analysis.paper.assembly import AssembledFigure, PlacedPanel


def export_assembled(
    page: AssembledFigure,
    path_stem: str | Path,
    *,
    formats: Sequence[str] = ("pdf", "svg", "png"),
    dpi: int | None = None,
) -> list[Path]:
    """Write a page of panels: its formats, <stem>_a.csv, <stem>_b.csv … (the numbers drawn in each panel),
    <stem>.json (where they come from) and <stem>.md (caption and methods).

    dpi: of bitmaps, without it 300 for PNG and 600 for TIFF. Raises FigureExportError for an unknown format and
    where no Chrome or Chromium can draw; all but the pictures is written before that.
    """
    check_formats(formats)
    stem = Path(path_stem)
    written = [
        write_text(stem.with_name(f"{stem.name}_{p.letter}.csv"), csv_text(p.panel.source))
        for p in page.placed
    ]
    caption = f"**Figure.** {page.caption}\n\n{page.stamp}.\n\n## Methods\n\n{page.methods}\n"
    written += [
        write_text(stem.with_name(f"{stem.name}.json"), json_text(_about(page, stem, formats, dpi))),
        write_text(stem.with_name(f"{stem.name}.md"), caption),
    ]
    for kind, data in assembled_bytes(page, formats, title=stem.name, dpi=dpi).items():
        written.append(write_bytes(stem.with_name(f"{stem.name}.{kind}"), data))
    return written


def assembled_bytes(
    page: AssembledFigure, formats: Sequence[str], *, title: str, dpi: int | None = None
) -> dict[str, bytes]:
    """The page in each of the formats. Raises FigureExportError where no Chrome or Chromium can draw."""
    about = About(title, page.synthetic)
    with ExitStack() as stack:
        browser = current_browser() or stack.enter_context(FigureBrowser())
        figures = [
            (with_bitmap(browser, p.figure) if too_many(p.figure) else p.figure, p) for p in page.placed
        ]
        return {kind: _joined(browser, page, kind, figures=figures, about=about, dpi=dpi) for kind in formats}


def _joined(
    browser: FigureBrowser, page: AssembledFigure, kind: str, *, figures: Sequence[tuple[go.Figure, PlacedPanel]],
    about: About, dpi: int | None,
) -> bytes:  # fmt: skip
    """The panels' files of one kind on a page that holds the stamp alone."""
    dots = dots_per_inch(kind, dpi)
    each = "png" if kind == "tiff" else kind
    frame = printed(browser, _frame(page), each, about=about, dpi=dots)
    drawn = [
        Drawn(printed(browser, figure, each, about=about, dpi=dots), p.letter, p.x_mm * MM, p.y_mm * MM)
        for figure, p in figures
    ]
    if kind == "svg":
        return joined_svg(frame, drawn)
    if kind == "pdf":
        return joined_pdf(frame, drawn, about=about)
    return joined_bitmap(frame, drawn, kind, dpi=dots)


def _frame(page: AssembledFigure) -> go.Figure:
    """A page of the right size with nothing but the stamp at its foot."""
    import plotly.graph_objects as go

    frame = go.Figure(layout={"template": journal_template(), "margin": {"l": 0, "r": 0, "t": 0, "b": 0}})
    frame.update_layout(width=page.width_mm * MM, height=page.height_mm * MM)
    frame.update_xaxes(visible=False)
    frame.update_yaxes(visible=False)
    stamp_text(frame, page.stamp)
    return frame.update_layout(height=page.height_mm * MM)


def _about(page: AssembledFigure, stem: Path, formats: Sequence[str], dpi: int | None) -> dict[str, Any]:
    panels = {}
    for p in page.placed:
        about = p.panel.result.to_dict()
        size = {"width_mm": p.figure.layout.width / MM, "height_mm": p.figure.layout.height / MM}
        place = {"x_mm": p.x_mm, "y_mm": p.y_mm, **size}
        panels[p.letter] = {
            "figure": (p.figure.layout.meta or {}).get("name"),
            **{key: round(value, 3) for key, value in place.items()},
            "points_dpi": RASTER_DPI if too_many(p.figure) else None,
            **{key: about[key] for key in ("command", "verdict", "n", "warnings", "provenance")},
        }
    return {
        "schema_version": SCHEMA_VERSION,
        "figure": stem.name,
        "width_mm": round(page.width_mm, 3),
        "height_mm": round(page.height_mm, 3),
        "formats": list(formats),
        "dpi": {kind: dots_per_inch(kind, dpi) for kind in formats if kind in ("png", "tiff")},
        "synthetic": page.synthetic,
        "panels": panels,
    }
