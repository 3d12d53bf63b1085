"""Transport: scores along the frozen axis of another cohort, by stage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.gradient.words import interval_text, p_text
from analysis.plots.forest import ForestRow, forest, forest_source
from analysis.plots.theme import Width, finish, shown
from flexict_core.errors import AnalysisError

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from analysis.gradient.result import StageGradientResult
    from analysis.gradient.transport import Transport


def transport_forest(result: StageGradientResult, *, width: Width = "single") -> go.Figure:
    """Concordance of the axis at home (cross-fitted), here as it is, and of an axis learnt here."""
    t = _transport(result)
    fig = forest(
        _concordances(result, t), title="Concordance with stage (0.5 = none)", nothing=0.5, width=width
    )
    notes = [f"Bars: 95 % intervals. {_sentence(t)}"]
    caption = f"A stage axis applied, unchanged, to another cohort. {notes[0]}"
    return finish(fig, result.provenance, name="gradient_transport", notes=notes, caption=caption)


def transport_forest_source(result: StageGradientResult) -> pd.DataFrame:
    """estimate, value, ci_low, ci_high, p_value, n, remark."""
    return forest_source(_concordances(result, _transport(result)))


def transport_stages(result: StageGradientResult, *, width: Width = "single") -> go.Figure:
    """Mean score of each stage of this cohort along the frozen axis."""
    t = _transport(result)
    fig = forest(
        _stages(t), title="Mean score along the frozen axis<br>(within-stage SD)", nothing=0.0, width=width
    )
    notes = [f"Bars: 95 % intervals, the axis taken as fixed. {_sentence(t)}"]
    caption = f"Mean scores along the stage axis of another cohort, by stage of this one. {notes[0]}"
    return finish(fig, result.provenance, name="gradient_transport_stages", notes=notes, caption=caption)


def transport_stages_source(result: StageGradientResult) -> pd.DataFrame:
    """estimate (stage), value, ci_low, ci_high, p_value, n, remark."""
    return forest_source(_stages(_transport(result)))


def _transport(result: StageGradientResult) -> Transport:
    if result.transport is None:
        raise AnalysisError("no axis of another cohort was applied here: give one")
    return result.transport


def _concordances(result: StageGradientResult, t: Transport) -> list[ForestRow]:
    own = result.trend
    rows = [
        ForestRow("Frozen axis, here", t.concordance, t.ci, t.n, t.p_value, p_text(t.p_value, t.permutations)),
        ForestRow("Axis learnt here, cross-fitted", own.concordance, own.ci, result.n, own.p_value,
                  p_text(own.p_value, own.permutations), kind=1),
    ]  # fmt: skip
    if t.axis_concordance is not None:
        home = "Axis at home, cross-fitted"
        rows.append(ForestRow(home, t.axis_concordance, t.axis_ci, t.axis_n, kind=2))
    return rows


def _stages(t: Transport) -> list[ForestRow]:
    return [ForestRow(s.label, s.mean_score, s.ci, s.n) for s in t.stages]


def _sentence(t: Transport) -> str:
    return (
        f"Axis of {shown(t.axis_cohort or 'another cohort')} (n = {t.axis_n}), frozen: concordance "
        f"{t.concordance:.3f} (95 % interval {interval_text(t.ci, 3)}), {p_text(t.p_value, t.permutations)} "
        f"(one-sided, {t.permutations:,} permutations of the stage), n = {t.n}: {shown(t.verdict)}."
    )
