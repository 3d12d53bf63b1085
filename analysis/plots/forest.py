"""A forest of estimates: a row each, its interval, a line at "nothing", a remark on the right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from analysis.plots.theme import (
    CATEGORY_COLOURS,
    FAINT,
    PT,
    SYMBOLS,
    TICK_PT,
    Width,
    blank,
    interval_trace,
    shown,
    text_mm,
    wrapped,
)

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from analysis.results import Interval

_LABEL_MM = 28.0
_PANEL_MM = 120.0  # rows beyond it are left to the table, so that figure, notes and title stay on a page


@dataclass(frozen=True)
class ForestRow:
    """One estimate; `kind` chooses colour and symbol, `remark` stands on the right."""

    label: str
    value: float
    ci: Interval | None
    n: int | None = None
    p_value: float | None = None
    remark: str = ""
    kind: int = 0


def forest(
    rows: Sequence[ForestRow],
    *,
    title: str,
    nothing: float,
    width: Width = "single",
    logarithmic: bool = False,
    heading: str = "",
    hover: str = "%{x:.3f}",
) -> go.Figure:
    """The figure without its notes (`theme.finish` adds them); `nothing` is where the line stands."""
    parts = _parts(rows)
    left = max(text_mm(line, TICK_PT) for lines in parts for line in lines) + 4
    right = max(
        [3.0, *(text_mm(r.remark, TICK_PT) + 3 for r in rows if r.remark), text_mm(heading, TICK_PT) + 3]
    )
    panel = _panel_mm(parts)
    fig = blank(
        width=width,
        panel_mm=panel,
        left_mm=left,
        right_mm=right,
        top_mm=6 if heading else 3,
        bottom_mm=13 if "<br>" in title else 9.5,
    )
    fig.add_vline(x=nothing, line={"width": 0.5 * PT, "color": FAINT}, layer="below")
    for place, row in enumerate(rows):
        fig.add_trace(
            interval_trace(
                [row.value],
                [place],
                [row.ci],
                along="x",
                size_pt=4.5,
                colour=CATEGORY_COLOURS[row.kind % len(CATEGORY_COLOURS)],
                symbol=SYMBOLS[row.kind % len(SYMBOLS)],
                name=shown(row.label),
                hovertemplate=hover + "<extra>%{fullData.name}</extra>",
            )
        )
        if row.remark:
            fig.add_annotation(text=row.remark, xref="paper", x=1, y=place, xanchor="left", xshift=2 * PT)
    if heading:
        fig.add_annotation(
            text=heading,
            xref="paper",
            yref="paper",
            x=1,
            y=1,
            xanchor="left",
            yanchor="bottom",
            xshift=2 * PT,
        )
    fig.update_yaxes(
        tickvals=list(range(len(rows))),
        ticktext=["<br>".join(map(shown, lines)) for lines in parts],
        range=[len(rows) - 0.5, -0.5],
    )
    fig.update_xaxes(title_text=title, range=_reach(rows, nothing, logarithmic))
    if logarithmic:
        fig.update_xaxes(
            type="log", tickvals=[0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4, 6, 8, 16], minor={"ticks": ""}
        )
    return fig


def that_fit(rows: Sequence[ForestRow]) -> list[ForestRow]:
    """The first rows, as many as a page holds: long names take several lines each."""
    parts = _parts(rows)
    kept = len(rows)
    while kept > 1 and _panel_mm(parts[:kept]) > _PANEL_MM:
        kept -= 1
    return list(rows[:kept])


def not_drawn(total: int, rows: Sequence[ForestRow], what: str) -> list[str]:
    """The note of a figure that shows fewer rows than there are; what: they, in the plural."""
    more = total - len(rows)
    if more <= 0:
        return []
    of_them = f"{what.removesuffix('s')} is" if more == 1 else f"{what} are"
    return [f"{more} more {of_them} in the table."]


def _parts(rows: Sequence[ForestRow]) -> list[list[str]]:
    """The lines at the left of every row."""
    return [[*_label_lines(r.label), *([f"n = {r.n}"] if r.n else [])] for r in rows]


def _panel_mm(parts: Sequence[Sequence[str]]) -> float:
    return 4 + len(parts) * (2 + 2.8 * max(map(len, parts)))


def _label_lines(label: str) -> list[str]:
    """A label in lines that fit; a name too long for one is cut where it has to be."""
    lines = []
    for line in wrapped(label, _LABEL_MM, TICK_PT):
        while text_mm(line, TICK_PT) > _LABEL_MM:
            most = max(k for k in range(1, len(line)) if k == 1 or text_mm(line[:k], TICK_PT) <= _LABEL_MM)
            cut = max(line.rfind(c, most // 2, most) for c in "_-:/") + 1 or most
            lines.append(line[:cut])
            line = line[cut:]
        lines.append(line)
    return lines


def forest_source(rows: Sequence[ForestRow]) -> pd.DataFrame:
    """estimate, value, ci_low, ci_high, p_value, n, remark."""
    import pandas as pd

    table = [(r.label, r.value, *(r.ci or (None, None)), r.p_value, r.n, r.remark) for r in rows]
    return pd.DataFrame(table, columns=["estimate", "value", "ci_low", "ci_high", "p_value", "n", "remark"])


def _reach(rows: Sequence[ForestRow], nothing: float, logarithmic: bool) -> list[float]:
    import math

    ends = [nothing, *(v for r in rows for v in (r.value, *(r.ci or ())))]
    if logarithmic:
        ends = [math.log10(min(max(v, 1e-3), 1e3)) for v in ends]
    low, high = min(ends), max(ends)
    spare = 0.08 * (high - low) or 0.1
    return [low - spare, high + spare]
