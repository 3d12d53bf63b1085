"""Kaplan–Meier curves with their numbers at risk, and the forest of hazard ratios. Draws stored numbers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from analysis.plots.theme import (
    CATEGORY_COLOURS,
    FAINT,
    MM,
    PT,
    TICK_PT,
    Width,
    blank,
    category_style,
    finish,
    interval_trace,
    ordered_colours,
    shown,
    text_mm,
    width_mm,
    wrapped,
)
from analysis.time_to_event.words import interval_words, logrank_words, number_p

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from analysis.survival import SurvivalResult
    from analysis.time_to_event.curves import GroupCurve
    from analysis.time_to_event.groups import GroupSurvival

_DASHES = (
    "solid",
    "6px,1.5px",
    "2px,1.5px",
    "8px,1px,2px,1px",
    "4px,1px",
    "1px,1px",
    "10px,2px",
    "6px,1px,1px,1px",
)
_ROW_MM = 3.2
_ONE_LINE_MM = 85.0  # a page that has room for term and model side by side
_DOTS = f"{0.4 * PT:.2f}px,{1.2 * PT:.2f}px"  # plotly's "dot" is a dash three pixels long


def _colours(result: SurvivalResult | GroupSurvival) -> list[str]:
    """Thirds of a risk score are ordered; other groups are categories."""
    count = len(result.groups)
    if result.provenance.parameters["by"] is None:
        return ordered_colours(count)
    return [category_style(i)[0] for i in range(count)]


def kaplan_meier(result: SurvivalResult | GroupSurvival, *, width: Width = "single") -> go.Figure:
    """Curves with pointwise 95 % limits (dotted), ticks at censored times, numbers at risk below."""
    import plotly.graph_objects as go

    groups, colours = result.groups, _colours(result)
    left = max(12.0, max(text_mm(g.label, TICK_PT) for g in groups) + 5)
    table = _ROW_MM * (len(groups) + 1)
    room = width_mm(width) - left - 14  # beside the legend's line
    names = [wrapped(_group_text(g), room, TICK_PT) for g in groups]
    top = 3 + sum(2.4 + 2.6 * len(lines) for lines in names)
    fig = blank(width=width, panel_mm=48, left_mm=left, right_mm=4, top_mm=top, bottom_mm=10 + table)
    for g, lines, colour, dash in zip(groups, names, colours, _DASHES, strict=False):
        line = {"shape": "hv", "color": colour}
        for limit in (g.low, g.high):
            fig.add_trace(
                go.Scatter(
                    x=g.times, y=limit, mode="lines", line={**line, "width": 0.4 * PT, "dash": _DOTS},
                    showlegend=False, hoverinfo="skip", name=f"{g.label} 95 % limit",
                )
            )  # fmt: skip
        fig.add_trace(
            go.Scatter(
                x=g.times,
                y=g.survival,
                mode="lines",
                name="<br>".join(map(shown, lines)),
                line={**line, "width": 0.9 * PT, "dash": dash},
            )
        )
        if g.censored.size:
            place = np.searchsorted(g.times, g.censored, side="right") - 1
            fig.add_trace(
                go.Scatter(
                    x=g.censored, y=g.survival[place], mode="markers", showlegend=False, hoverinfo="skip",
                    name=f"{g.label} censored",
                    marker={"symbol": "line-ns", "size": 2.5 * PT, "line": {"width": 0.4 * PT, "color": colour}},
                )
            )  # fmt: skip
    _numbers_at_risk(fig, result)
    last = float(result.time.max())
    unit = f" ({shown(result.unit)})" if result.unit else ""
    title = f"{shown(result.duration)}{unit}"
    fig.update_xaxes(range=[0, last * 1.02], tickvals=list(result.ticks), title_text=title)
    fig.update_yaxes(range=[0, 1.03], title_text="Share without the event")
    fig.update_layout(
        showlegend=True, legend={"x": 0, "y": 1, "xanchor": "left", "yanchor": "bottom", "itemwidth": 30}
    )
    test = logrank_words(result)
    said = (
        f"Kaplan–Meier by {shown(result.by)}; {result.n} patients, {result.events} events. Dotted: pointwise 95 % "
        f"limits; ticks: censored. {test[:1].upper()}{test[1:]}."
    )
    return finish(fig, result.provenance, name="kaplan_meier", notes=[said], caption=said)


def _group_text(g: GroupCurve) -> str:
    median = "not reached" if g.median is None else f"{g.median:g}"
    return f"{g.label}: n = {g.n}, {g.events} events, median {median}"


def _numbers_at_risk(fig: go.Figure, result: SurvivalResult | GroupSurvival) -> None:
    common = {"yref": "paper", "y": 0, "showarrow": False, "yanchor": "top", "font": {"size": TICK_PT * PT}}
    down = 9.0
    fig.add_annotation(
        text="At risk", xref="paper", x=0, xanchor="right", xshift=-3.5 * MM, yshift=-down * MM, **common
    )
    for row, g in enumerate(result.groups, start=1):
        shift = -(down + _ROW_MM * row) * MM
        fig.add_annotation(
            text=shown(g.label), xref="paper", x=0, xanchor="right", xshift=-3.5 * MM, yshift=shift, **common
        )
        for tick, count in zip(result.ticks, g.at_risk, strict=True):
            fig.add_annotation(text=str(count), xref="x", x=tick, xanchor="center", yshift=shift, **common)


def kaplan_meier_source(result: SurvivalResult | GroupSurvival) -> pd.DataFrame:
    """element (curve, at risk, censored), group, time, value, ci_low, ci_high."""
    import pandas as pd

    rows = []
    for g in result.groups:
        rows += [
            ("curve", g.label, t, s, low, high)
            for t, s, low, high in zip(g.times, g.survival, g.low, g.high, strict=True)
        ]
        rows += [("at risk", g.label, t, c, None, None) for t, c in zip(result.ticks, g.at_risk, strict=True)]
        place = np.searchsorted(g.times, g.censored, side="right") - 1
        rows += [
            ("censored", g.label, t, g.survival[k], None, None)
            for t, k in zip(g.censored, place, strict=True)
        ]
    return pd.DataFrame(rows, columns=["element", "group", "time", "value", "ci_low", "ci_high"])


def hazard_ratios(result: SurvivalResult, *, width: Width = "single") -> go.Figure:
    """Hazard ratio of every term of every Cox model, on a log axis."""
    rows = list(range(len(result.cox)))
    between = " " if width_mm(width) >= _ONE_LINE_MM else "\n"
    lines = [f"{c.term}{between}[{c.model}]".split("\n") for c in result.cox]
    labels = ["<br>".join(map(shown, parts)) for parts in lines]
    left = min(max(text_mm(t, TICK_PT) for parts in lines for t in parts) + 3, 50.0)
    row_mm = 4.5 if between == " " else 7.0
    fig = blank(width=width, panel_mm=6 + row_mm * len(rows), left_mm=left, right_mm=18, bottom_mm=10)
    fig.add_vline(x=1, line={"width": 0.5 * PT, "color": FAINT}, layer="below")
    fig.add_trace(
        interval_trace(
            [c.hazard_ratio for c in result.cox], rows, [c.ci for c in result.cox], along="x", symbol="square",
            colour=CATEGORY_COLOURS[0], name="hazard ratio", hovertemplate="HR %{x:.2f}<extra></extra>",
        )
    )  # fmt: skip
    for row, c in zip(rows, result.cox, strict=True):
        fig.add_annotation(
            text=number_p(c.p_value), xref="paper", x=1, xanchor="left", y=row, yref="y", xshift=2 * PT
        )
    ends = [v for c in result.cox for v in (c.hazard_ratio, *(c.ci or ()))]
    low, high = math.log10(min([*ends, 0.8])) - 0.05, math.log10(max([*ends, 1.25])) + 0.05
    ticks = [
        t for t in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100) if low <= math.log10(t) <= high
    ]
    fig.update_xaxes(
        type="log", range=[low, high], tickvals=ticks, ticktext=[f"{t:g}" for t in ticks],
        title_text="Hazard ratio (log axis)",
    )  # fmt: skip
    fig.update_yaxes(tickvals=rows, ticktext=labels, range=[len(rows) - 0.5, -0.5])
    tests = "; ".join(dict.fromkeys(c.test for c in result.cox))
    bare = (
        " No bar: no interval has been shown to cover there." if any(c.ci is None for c in result.cox) else ""
    )
    said = (
        f"Cox models, {result.n} patients, {result.events} events. Bars: 95 % intervals.{bare} p: {tests}. C-index "
        f"of the score {result.c_index.mean:.3f} ({interval_words(result.c_index.ci)})."
    )
    return finish(fig, result.provenance, name="hazard_ratios", notes=[said], caption=said)


def hazard_ratios_source(result: SurvivalResult) -> pd.DataFrame:
    """model, term, hazard_ratio, ci_low, ci_high, p_value, test, n, events."""
    import pandas as pd

    rows = [
        (c.model, c.term, c.hazard_ratio, *(c.ci or (None, None)), c.p_value, c.test, result.n, result.events)
        for c in result.cox
    ]
    columns = ["model", "term", "hazard_ratio", "ci_low", "ci_high", "p_value", "test", "n", "events"]
    return pd.DataFrame(rows, columns=columns)
