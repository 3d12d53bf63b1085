"""Outcome: hazard ratios of the stage score, alone and beside stage and adjusters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.gradient.words import p_text
from analysis.plots.forest import ForestRow, forest, forest_source
from analysis.plots.theme import Width, decimal, finish, shown
from flexict_core.errors import AnalysisError

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from analysis.gradient.outcome import Outcome
    from analysis.gradient.result import StageGradientResult


def outcome_forest(result: StageGradientResult, *, width: Width = "single") -> go.Figure:
    """Hazard ratio of one SD of the score in each Cox model."""
    o = _outcome(result)
    rows = _rows(o)
    fig = forest(
        rows, title="Hazard ratio of one SD of the score<br>(1 = none; above: worse)", nothing=1.0, width=width,
        logarithmic=True, heading="Wald", hover="hazard ratio %{x:.2f}",
    )  # fmt: skip
    gains = [f"{m.name} {decimal(m.c_index_gain, sign=True)}" for m in o.models if m.c_index_gain is not None]
    held = "" if o.held_out_gain is None else f"; in held-out patients {decimal(o.held_out_gain, sign=True)}"
    notes = [
        f"Bars: 95 % intervals. {o.events} events among {o.n} patients; {shown(o.duration)} to {shown(o.event)}.",
        *([f"C-index gained by the score: {', '.join(gains)}{held}."] if gains else []),
        *(shown(f"{w}.") for w in o.warnings),
    ]
    caption = f"Cox models of the out-of-fold stage score: {shown(o.verdict)}. {' '.join(notes)}"
    return finish(fig, result.provenance, name="gradient_outcome", notes=notes, caption=caption)


def outcome_forest_source(result: StageGradientResult) -> pd.DataFrame:
    """estimate, value (hazard ratio), ci_low, ci_high, p_value, n, remark."""
    return forest_source(_rows(_outcome(result)))


def _outcome(result: StageGradientResult) -> Outcome:
    if result.outcome is None:
        raise AnalysisError("this stage gradient was run without an outcome: give duration and event")
    return result.outcome


def _rows(o: Outcome) -> list[ForestRow]:
    return [
        ForestRow(f"Score {m.name.removeprefix('score ')}", m.hazard_ratio, m.ci, o.n, m.p_value,
                  "p < 0.0001" if m.p_value < 1e-4 else p_text(m.p_value, 10**6), kind=min(i, 1))
        for i, m in enumerate(o.models)
    ]  # fmt: skip
