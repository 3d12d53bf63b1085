"""Several embeddings beside each other: concordances, and paired differences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.gradient.words import p_text
from analysis.plots.forest import ForestRow, forest, forest_source, not_drawn, that_fit
from analysis.plots.theme import Width, finish, shown
from flexict_core.errors import AnalysisError

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from analysis.gradient.comparison import Comparison
    from analysis.gradient.result import StageGradientResult


def comparison_forest(result: StageGradientResult, *, width: Width = "single") -> go.Figure:
    """Concordance of every embedding on the same patients."""
    c = _comparison(result)
    fig = forest(
        _embeddings(c), title="Concordance with stage (0.5 = none)", nothing=0.5, width=width, heading="Holm"
    )
    notes = [
        f"Bars: 95 % intervals; n = {c.n}, the same patients and folds. p: permutation tests with refits, Holm's "
        f"correction over {len(c.embeddings)}."
    ]
    caption = f"Concordance with stage of {len(c.embeddings)} predictors: {shown(c.verdict)}. {notes[0]}"
    return finish(fig, result.provenance, name="gradient_comparison", notes=notes, caption=caption)


def comparison_forest_source(result: StageGradientResult) -> pd.DataFrame:
    """estimate, value, ci_low, ci_high, p_value (after Holm), n, remark."""
    return forest_source(_embeddings(_comparison(result)))


def differences_forest(result: StageGradientResult, *, width: Width = "single") -> go.Figure:
    """Paired differences of concordance between every two."""
    c = _comparison(result)
    rows = _pairs(c)
    fig = forest(
        rows,
        title="Difference of concordance,<br>first − second",
        nothing=0.0,
        width=width,
        heading="Holm",
    )
    notes = [
        f"Bars: 95 % intervals of paired differences; n = {c.n}, the same patients, folds and {c.permutations:,} "
        f"permutations. p: two-sided, Holm's correction over {len(c.pairs)} pairs.",
        *not_drawn(len(c.pairs), rows, "pairs"),
    ]
    caption = f"Paired differences of concordance with stage. {' '.join(notes)}"
    return finish(fig, result.provenance, name="gradient_differences", notes=notes, caption=caption)


def differences_forest_source(result: StageGradientResult) -> pd.DataFrame:
    """estimate, value, ci_low, ci_high, p_value (after Holm), n, remark."""
    return forest_source(_pairs(_comparison(result)))


def _comparison(result: StageGradientResult) -> Comparison:
    if result.comparison is None:
        raise AnalysisError("this stage gradient has one embedding and no adjusters: nothing to compare")
    return result.comparison


def _embeddings(c: Comparison) -> list[ForestRow]:
    return [
        ForestRow(
            e.name, e.concordance, e.ci, c.n, e.p_holm, p_text(e.p_holm, c.permutations), kind=min(i, 1)
        )
        for i, e in enumerate(c.embeddings)
    ]


def _pairs(c: Comparison) -> list[ForestRow]:
    return that_fit(
        [
            ForestRow(f"{d.first} − {d.second}", d.difference, d.ci, c.n, d.p_holm, p_text(d.p_holm, 10**6))
            for d in sorted(c.pairs, key=lambda d: d.p_holm)
        ]
    )
