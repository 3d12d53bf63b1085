"""Several figures on one page of a paper, lettered a, b, c …: what stands where, and what is said of it."""

from __future__ import annotations

import math
import re
import string
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analysis.paper.points import noted, too_many, vector_traces
from analysis.plots.theme import (
    MM,
    PT,
    TALLEST_MM,
    TITLE_PT,
    Width,
    balanced,
    is_stamped,
    labels,
    panel_letter,
    set_width,
    stamp,
    width_mm,
    without_footer,
)
from flexict_core.errors import FigureExportError

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from analysis.results import Result

LETTERS = string.ascii_lowercase[:8]
STAMP_MM = 4.0  # a strip at the foot of the page
_GAP_MM, _LETTER_MM = 3.0, 4.5  # between panels; room above a panel's axes for its letter
_NEARLY_MM = 6.0  # axes whose ends lie less apart are put on one line
_LEAST_ROWS, _LEAST_UP = (
    0.7,
    0.4,
)  # of the height of a plot with named rows, and of any other, that must remain
_LEAST_ACROSS_MM = 14.0


@dataclass(frozen=True)
class Panel:
    """One figure of a page: how it is drawn at a width in mm, the numbers it draws, and their result."""

    draw: Callable[[float], go.Figure]
    source: pd.DataFrame
    result: Result


@dataclass(frozen=True)
class PlacedPanel:
    """A figure at its final size with its letter, and its upper left corner in mm from that of the page."""

    letter: str
    figure: go.Figure
    x_mm: float
    y_mm: float
    panel: Panel


@dataclass(frozen=True)
class AssembledFigure:
    """A page of panels; `analysis.paper.files.export_assembled` writes it, and a notebook shows it."""

    width_mm: float
    height_mm: float
    placed: tuple[PlacedPanel, ...]
    stamp: str

    @property
    def caption(self) -> str:
        """The captions of the panels behind their letters (Markdown)."""
        return " ".join(f"**{p.letter}**, {_said(p.figure, p.panel.result)}" for p in self.placed)

    @property
    def methods(self) -> str:
        """The methods paragraph of each result once, with the letters of its panels (Markdown)."""
        letters: dict[str, list[str]] = {}
        for p in self.placed:
            letters.setdefault(p.panel.result.methods_text().strip(), []).append(p.letter)
        return "\n\n".join(f"**{', '.join(names)}.** {text}" for text, names in letters.items())

    @property
    def synthetic(self) -> bool:
        """Whether any panel shows synthetic data."""
        return any(p.panel.result.provenance.synthetic for p in self.placed)

    def _repr_svg_(self) -> str | None:
        from analysis.paper.files import assembled_bytes

        try:
            return assembled_bytes(self, ("svg",), title="figure")["svg"].decode("utf-8")
        except FigureExportError:  # no browser here: the page can be described but not drawn
            return None


def panel(
    figure: go.Figure | Callable[..., go.Figure],
    result: Result,
    *,
    source: pd.DataFrame | None = None,
    **options: Any,
) -> Panel:
    """A panel for `assemble`: a plot function of `analysis.plots` (best: it is drawn anew at the panel's width)
    with its options, or a finished figure.

    source: the numbers drawn; without it those of the plot function's `…_source`, or what the traces hold.
    """
    if not callable(figure):
        return Panel(lambda mm: set_width(figure, mm), _numbers(figure) if source is None else source, result)
    if source is None:
        table = getattr(sys.modules[figure.__module__], f"{figure.__name__}_source", None)
        source = table(result, **options) if table else _numbers(figure(result, **options))
    return Panel(lambda mm: figure(result, width=mm, **options), source, result)


def assemble(
    panels: Sequence[Panel],
    layout: str | tuple[int, int],
    width: Width = "double",
    *,
    row_heights_mm: Sequence[float] | None = None,
    notes: bool = False,
) -> AssembledFigure:
    """Panels a, b, c … on one page.

    layout: (rows, columns), filled row by row; or rows of letters, "aab/ccd": a letter twice in a row is a
    panel twice as wide. width: "single" (89 mm), "double" (183 mm), or mm. row_heights_mm: of the rows; without
    them a row is as tall as its tallest panel, and the axes of a row stand on one line. notes: print the notes
    below each panel too; without them they stand in the caption alone. Raises FigureExportError for a layout
    that does not name the panels, a panel without room for its plot, and a page above 170 mm.
    """
    rows = _rows(layout, len(panels))
    if row_heights_mm is not None and len(row_heights_mm) != len(rows):
        raise FigureExportError(
            f"{len(row_heights_mm)} row heights for {len(rows)} rows: give one height (mm) a row"
        )
    page_mm = width_mm(width)
    placed: list[PlacedPanel] = []
    top = 0.0
    for number, row in enumerate(rows):
        column = (page_mm - (len(row) - 1) * _GAP_MM) / len(row)
        cells = [(name, row.index(name), row.count(name)) for name in dict.fromkeys(row) if name != "."]
        drawn = [
            _drawn(panels[LETTERS.index(name)], name, span * column + (span - 1) * _GAP_MM, notes=notes)
            for name, _, span in cells
        ]
        height = None if row_heights_mm is None else row_heights_mm[number]
        _align(drawn, cells, height)
        for (name, start, _), figure in zip(cells, drawn, strict=True):
            place = start * (column + _GAP_MM)
            placed.append(PlacedPanel(name, figure, place, top, panels[LETTERS.index(name)]))
        top += max(f.layout.height for f in drawn) / MM + _GAP_MM
    height_mm = top - _GAP_MM + STAMP_MM
    if height_mm > TALLEST_MM:
        raise FigureExportError(
            f"the page would be {height_mm:.1f} mm tall, a journal's takes {TALLEST_MM:.0f} mm: give lower "
            f"row_heights_mm ({', '.join(f'{h:.1f}' for h in _heights(placed))} now) or fewer rows"
        )
    placed.sort(key=lambda p: p.letter)
    return AssembledFigure(page_mm, height_mm, tuple(placed), _stamp(placed))


def _rows(layout: str | tuple[int, int], count: int) -> list[str]:
    """The letters of each row, a cell each; "." is an empty one. FigureExportError where they are not the panels."""
    if not 1 <= count <= len(LETTERS):
        raise FigureExportError(f"{count} panels: a page takes 1 to {len(LETTERS)} (a to {LETTERS[-1]})")
    names = LETTERS[:count]
    if isinstance(layout, str):
        rows = [line.strip() for line in layout.split("/")]
    else:
        down, across = layout
        cells = names + "." * (down * across - count)
        rows = [cells[i : i + across] for i in range(0, len(cells), max(across, 1))]
        rows = [row for row in rows if row.strip(".")]  # no room is kept for a row without a panel
        if down < 1 or across < 1 or down * across < count:
            raise FigureExportError(
                f"layout {layout!r} has no room for {count} panels: give (rows, columns) of at least {count} cells"
            )
    used = [name for row in rows for name in dict.fromkeys(row) if name != "."]
    torn = any(name * row.count(name) not in row for row in rows for name in set(row) - {"."})
    if sorted(used) != list(names) or torn or not all(row.strip(".") for row in rows):
        raise FigureExportError(
            f"layout {layout!r} does not fit {count} panels: name each of {', '.join(names)} in one row, its "
            "cells side by side, as in 'aab/ccd'"
        )
    return rows


def _drawn(panel: Panel, letter: str, mm: float, *, notes: bool) -> go.Figure:
    """The panel's figure at its width with its letter, its stamp left to the page."""
    figure = vector_traces(panel.draw(mm))
    if not is_stamped(figure):
        figure = stamp(figure, panel.result.provenance)
    if too_many(figure):
        figure = noted(figure)
    bare = without_footer(figure, keep_notes=notes)
    bare.update_layout(meta={**bare.layout.meta, "said": list(figure.layout.meta.get("notes", []))})
    return panel_letter(bare, letter)


def _align(figures: list[go.Figure], cells: Sequence[tuple[str, int, int]], height_mm: float | None) -> None:
    """One height for a row; ends of axes that are nearly on one line are brought onto it."""
    tops = _levelled([max(_LETTER_MM * MM, f.layout.margin.t) for f in figures])
    bottoms = _levelled([f.layout.margin.b for f in figures])
    plots = [f.layout.height - f.layout.margin.t - f.layout.margin.b for f in figures]
    tallest = max(t + p + b for t, p, b in zip(tops, plots, bottoms, strict=True))
    height = tallest if height_mm is None else height_mm * MM
    for figure, (name, _, _), top, bottom, natural in zip(figures, cells, tops, bottoms, plots, strict=True):
        least = natural * (_LEAST_ROWS if figure.layout.yaxis.tickvals is not None else _LEAST_UP)
        if height - top - bottom < least:
            needed = math.ceil((top + bottom + least) / MM)
            raise FigureExportError(
                f"panel {name} does not fit a row of {height / MM:.0f} mm: give it {needed} mm or more"
            )
        letter = next(a for a in figure.layout.annotations if a.name == "letter")
        letter.yshift += top - figure.layout.margin.t
        figure.update_layout(margin={"t": top, "b": bottom}, height=height)
        _fit_title(figure, letter)
        across = (figure.layout.width - figure.layout.margin.l - figure.layout.margin.r) / MM
        if across < _LEAST_ACROSS_MM:
            raise FigureExportError(
                f"panel {name} leaves {max(across, 0):.0f} mm across for its plot: give it more columns"
            )


def _levelled(ends: list[float]) -> list[float]:
    return [max(other for other in ends if other - end < _NEARLY_MM * MM) for end in ends]


def _fit_title(figure: go.Figure, letter: Any) -> None:
    """Break a title beside the y axis that is longer than the axis, in room added on the left."""
    layout = figure.layout
    plot_mm = (layout.height - layout.margin.t - layout.margin.b) / MM
    lines = balanced(layout.yaxis.title.text or "", plot_mm + 2, TITLE_PT)
    added = (len(lines) - 1) * TITLE_PT * 1.3 * PT
    letter.xshift -= added
    layout.yaxis.title.text = "<br>".join(lines)
    layout.margin.l += added


def _heights(placed: Sequence[PlacedPanel]) -> list[float]:
    return [p.figure.layout.height / MM for p in placed if p.x_mm == 0]


def _said(figure: go.Figure, result: Result) -> str:
    """A panel's caption, and the sentences of its notes that are not in it."""
    meta = figure.layout.meta or {}
    caption = meta.get("caption") or result.verdict
    notes = [line for note in meta.get("said", []) for line in re.split(r"(?<=\.) (?=[A-Z])", note)]
    text = " ".join([caption, *(line for line in notes if line not in caption)]).strip()
    return text if text.endswith(".") else f"{text}."


def _stamp(placed: Sequence[PlacedPanel]) -> str:
    """What the page prints once for all panels; where they differ (synthetic, real) it says which is which."""
    letters: dict[str, list[str]] = {}
    for p in placed:
        for label in labels(p.panel.result.provenance):
            letters.setdefault(label, []).append(p.letter)
    told = [
        label if len(drawn) == len(placed) else f"{label} in {', '.join(drawn)}"
        for label, drawn in letters.items()
    ]
    return " · ".join([*told, "Research use only"])


def _numbers(figure: go.Figure) -> pd.DataFrame:
    from analysis.export import drawn_numbers

    return drawn_numbers(figure)
