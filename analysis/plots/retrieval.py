"""Retrieval metrics with their intervals beside what random rankings would give."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.plots.forest import ForestRow, forest, forest_source
from analysis.plots.theme import (
    CATEGORY_COLOURS,
    FAINT,
    PT,
    Width,
    blank,
    finish,
    interval_trace,
    shown,
    width_mm,
)

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from analysis.retrieval import RetrievalResult

_LEGEND_MM = 88.0  # a page that has room for the two names of the legend side by side
_PROTOCOL = {"loo": "every patient against all others", "split": "split", "published": "published split"}


def metrics_against_random(result: RetrievalResult, *, width: Width = "single") -> go.Figure:
    """Each metric with its interval, and the exact expectation of a random ranking."""
    import plotly.graph_objects as go

    names = list(result.metrics)
    rows = list(range(len(names)))
    metrics = [result.metrics[name] for name in names]
    beside = width_mm(width) >= _LEGEND_MM
    fig = blank(
        width=width, panel_mm=4 + 4.5 * len(rows), left_mm=18, top_mm=6 if beside else 12, bottom_mm=9
    )
    fig.add_trace(
        go.Scatter(
            x=[m.random for m in metrics],
            y=rows,
            mode="markers",
            marker={
                "symbol": "diamond-open",
                "size": 4 * PT,
                "color": FAINT,
                "line": {"width": 0.75 * PT, "color": FAINT},
            },
            name="random ranking",
            hovertemplate="random %{x:.3f}<extra></extra>",
        )
    )
    fig.add_trace(
        interval_trace(
            [m.mean for m in metrics],
            rows,
            [m.ci for m in metrics],
            along="x",
            symbol="circle",
            colour=CATEGORY_COLOURS[0],
            name="observed, 95 % interval",
            hovertemplate="observed %{x:.3f}<extra></extra>",
        )
    )
    fig.update_yaxes(tickvals=rows, ticktext=names, range=[len(rows) - 0.5, -0.5])
    fig.update_xaxes(title_text="Value (0 to 1, higher is better)", range=[0, 1.02])
    fig.update_layout(
        showlegend=True,
        legend={
            "orientation": "h" if beside else "v",
            "x": 0,
            "y": 1,
            "xanchor": "left",
            "yanchor": "bottom",
        },
    )
    label, average = shown(result.label), result.metrics["mAP"]
    said = (
        f"Hits share {label}; {_PROTOCOL[result.protocol]}, {result.queries} queries, "
        f"gallery of {result.gallery}."
    )
    interval = "jackknife over patients" if result.protocol == "loo" else "bootstrap over query patients"
    said += f" Bars: 95 % intervals ({interval}). Diamonds: exact expectation of random rankings."
    against = f"mAP {average.mean:.3f} against {average.random:.3f} expected at random."
    caption = f"Retrieval of {label}. {said} {against}"
    return finish(fig, result.provenance, name="retrieval", notes=[said], caption=caption)


def metrics_against_random_source(result: RetrievalResult) -> pd.DataFrame:
    """metric, mean, ci_low, ci_high, random, difference and its interval."""
    return result.table()


def parts_against_random(result: RetrievalResult, *, width: Width = "single") -> go.Figure:
    """mAP above a random ranking: of all queries, among matched patients, and of each label value."""
    rows = _parts(result)
    fig = forest(rows, title="mAP less that of random rankings", nothing=0.0, width=width)
    interval = "jackknife over patients" if result.protocol == "loo" else "bootstrap over query patients"
    notes = [f"Hits share {shown(result.label)}. Bars: 95 % intervals ({interval})."]
    if (m := result.matched) is not None:
        notes.append(
            f"Matched: queries meet only patients like them in {shown(m.description)}, {m.candidates:.0f} on average."
        )
    caption = f"Retrieval of {shown(result.label)} by part ({result.queries} queries). {' '.join(notes)}"
    return finish(fig, result.provenance, name="retrieval_parts", notes=notes, caption=caption)


def parts_against_random_source(result: RetrievalResult) -> pd.DataFrame:
    """estimate, value (difference of mAP), its interval, n queries, remark."""
    return forest_source(_parts(result))


def _parts(result: RetrievalResult) -> list[ForestRow]:
    average = result.metrics["mAP"]
    rows = [
        ForestRow(
            "All queries",
            average.difference,
            average.difference_ci,
            result.queries,
            None,
            f"{average.mean:.3f}",
        )
    ]
    if (m := result.matched) is not None:
        own = m.metrics["mAP"]
        rows.append(
            ForestRow(
                f"Alike in {', '.join(m.columns)}", own.difference, own.difference_ci, m.queries, None,
                f"{own.mean:.3f}", kind=1,
            )
        )  # fmt: skip
    for row in result.by_label[:14]:
        own = row.metrics["mAP"]
        rows.append(
            ForestRow(
                f"{result.label} {row.label}", own.difference, own.difference_ci, row.queries, None,
                f"{own.mean:.3f}", kind=2,
            )
        )  # fmt: skip
    return rows
