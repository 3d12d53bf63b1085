"""Do embeddings follow the tumour stage: at all, at every step, and beyond the adjusters?

Sections 1–4 of the method: a cross-fitted stage axis (`gradient.axis`), its trend and steps by permutation with
exact refits (`gradient.trend`), and conditional randomisation given the adjusters (`gradient.adjusted`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.gradient.axis import cross_fit, effective_df
from analysis.gradient.result import (
    Adjusters,
    StageGradientResult,
    StageRow,
    Step,
    Strict,
    Trend,
)
from flexict_core.errors import AnalysisError

if TYPE_CHECKING:
    import pandas as pd

    from analysis.cohort import Cohort

__all__ = ["Adjusters", "StageGradientResult", "StageRow", "Step", "Strict", "Trend", "stage_gradient"]

FOLDS, REPEATS = 5, 10
RELEVANT_GAIN = 0.05  # added concordance below which "explained by adjusters" may be said


def stage_gradient(
    data: np.ndarray | Cohort,
    stage: Sequence[Any] | np.ndarray | str | None = None,
    *,
    order: Sequence[str] | str,
    adjust: pd.DataFrame | Sequence[str] | None = None,
    groups: Sequence[Any] | np.ndarray | str | None = None,
    patients: Sequence[Any] | None = None,
    permutations: int = 9999,
    seed: int = 0,
    alpha: float = 0.05,
    progress: Callable[[str], None] | None = None,
) -> StageGradientResult:
    """Test a monotonic trend of embeddings over an ordered stage.

    Args:
        data: embeddings [n, d], one row a patient, or a `Cohort`.
        stage: the stage of each row, or the cohort's column of that name.
        order: stages from early to late: a list or "I,II,III"; "1a+1b,2" merges.
        adjust: adjusters: a table of n rows, or column names of the cohort.
        groups: block (site, collection) within which patients are exchangeable.
        patients: patient of each row of an array; rows of one patient are averaged.
        permutations: draws for every test; the smallest p is 1 / (permutations + 1).
        seed: of the folds and all draws.
        alpha: level of the verdicts.
        progress: called with the name of each stage of the work.

    Returns:
        `StageGradientResult`.

    Raises:
        CohortError: a column or stage that is not there.
        AnalysisError: the data cannot carry the question; the message says why.
    """
    from analysis.gradient.adjusted import adjusted_tests
    from analysis.gradient.data import gather
    from analysis.gradient.trend import step_tests, trend_test
    from analysis.gradient.words import headline
    from analysis.splits import repeated_folds

    say = progress or (lambda _: None)
    if permutations < 99:
        raise AnalysisError(f"permutations={permutations} is too few for a p-value: use at least 99")
    if not 0 < alpha < 0.5:
        raise AnalysisError(f"alpha={alpha} must lie between 0 and 0.5")
    d = gather(data, stage, order=order, adjust=adjust, groups=groups, patients=patients)
    rng = np.random.default_rng(seed)
    folds = repeated_folds(d.n, folds=FOLDS, repeats=REPEATS, seed=seed)
    say("fitting the stage axis")
    axis = cross_fit(d.X, folds)
    say("trend test")
    trend = trend_test(axis, d, permutations=permutations, rng=rng, alpha=alpha)
    say("step tests")
    steps = step_tests(axis, d, permutations=permutations, rng=rng, alpha=alpha, trend=trend)
    adjusters = None
    if d.adjusters is not None:
        say("tests beyond the adjusters")
        adjusters = adjusted_tests(
            axis,
            d,
            folds,
            permutations=permutations,
            rng=rng,
            alpha=alpha,
            trend_p=trend.trend.p_value,
            relevant_gain=RELEVANT_GAIN,
        )
    parameters = {
        "stage": d.stage_name,
        "order": list(d.order),
        "adjust": list(d.adjusters.columns) if d.adjusters is not None else [],
        "group": d.group_name,
        "permutations": permutations,
        "alpha": alpha,
        "folds": FOLDS,
        "repeats": REPEATS,
        "effective_df": effective_df(round(d.n * (1 - 1 / FOLDS))),
        "dimensions": d.X.shape[1],
        "relevant_gain": RELEVANT_GAIN,
    }
    return StageGradientResult(
        n=d.n,
        verdict=headline(trend.trend, steps.strict, adjusters, trend.minimum_detectable, alpha=alpha),
        warnings=(*d.warnings, *trend.warnings),
        provenance=d.provenance(parameters, seed),
        order=d.order,
        stages=steps.stages,
        trend=trend.trend,
        steps=steps.steps,
        strict=steps.strict,
        adjusters=adjusters,
        controls=trend.controls,
        minimum_detectable_concordance=trend.minimum_detectable,
        scores=steps.scores,
        stage_codes=d.codes,
        patient_id=d.patient_id,
        null_concordance=trend.null,
        alpha=alpha,
        parameters=parameters,
    )
