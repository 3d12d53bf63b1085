"""Do embeddings follow the tumour stage: at all, at every step, and beyond the adjusters?

A cross-fitted stage axis (`gradient.axis`), its trend and steps by permutation with exact refits
(`gradient.trend`), and conditional randomisation given the adjusters (`gradient.adjusted`); then controls, the path
of the stages, transport of a frozen axis, the outcome, and other embeddings beside this one (`gradient.sections`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.gradient.axis import cross_fit, effective_df, fold_repeats, is_factored
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
    from analysis.gradient.transport import StageAxis

__all__ = ["Adjusters", "StageGradientResult", "StageRow", "Step", "Strict", "Trend", "stage_gradient"]

FOLDS = 5


def stage_gradient(
    data: np.ndarray | Cohort,
    stage: Sequence[Any] | np.ndarray | str | None = None,
    *,
    order: Sequence[str] | str,
    adjust: pd.DataFrame | Sequence[str] | None = None,
    groups: Sequence[Any] | np.ndarray | str | None = None,
    patients: Sequence[Any] | None = None,
    against: Mapping[str, np.ndarray | Cohort] | None = None,
    axis: StageAxis | str | Path | None = None,
    duration: Sequence[Any] | np.ndarray | str | None = None,
    event: Sequence[Any] | np.ndarray | str | None = None,
    event_value: str | None = None,
    duration_unit: str | None = None,
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
        against: other embeddings by name, to compare with this one on the same patients and folds: arrays with
            the same rows, or cohorts of the same clinical table.
        axis: a stage axis learnt from another cohort (or its file), applied here as it is.
        duration, event: time to an outcome and whether it happened (1) or was censored (0): values, or columns
            of the cohort; both or neither.
        event_value: the value of `event` that means it happened, where it is not 1.
        duration_unit: unit of `duration`, for the words.
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
    from analysis.gradient.alignment import in_every_embedding
    from analysis.gradient.data import gather
    from analysis.gradient.sections import further_sections
    from analysis.gradient.trend import step_tests, trend_test
    from analysis.gradient.words import headline
    from analysis.splits import repeated_folds

    say = progress or (lambda _: None)
    if permutations < 99:
        raise AnalysisError(f"permutations={permutations} is too few for a p-value: use at least 99")
    if not 0 < alpha < 0.5:
        raise AnalysisError(f"alpha={alpha} must lie between 0 and 0.5")
    if (duration is None) != (event is None):
        raise AnalysisError("duration and event belong together: give both or neither")
    data = in_every_embedding(data, against or {})
    d = gather(data, stage, order=order, adjust=adjust, groups=groups, patients=patients)
    for_folds, for_draws = np.random.SeedSequence(seed).spawn(2)  # one stream would repeat the folds as draws
    rng = np.random.default_rng(for_draws)
    repeats = fold_repeats(d.n)
    folds = repeated_folds(d.n, folds=FOLDS, repeats=repeats, seed=for_folds)
    factored = is_factored(d.n, d.X.shape[1])
    say("fitting the stage axis" + (" in factors, without an n × n operator" if factored else ""))
    fitted = cross_fit(d.within_groups, folds)
    say("trend test")
    trend = trend_test(fitted, d, permutations=permutations, rng=rng, alpha=alpha)
    say("step tests")
    steps = step_tests(fitted, d, permutations=permutations, rng=rng, alpha=alpha, trend=trend)
    adjusters = None
    if d.adjusters is not None:
        say("tests beyond the adjusters")
        adjusters = adjusted_tests(
            steps.scores,
            d,
            folds,
            permutations=permutations,
            rng=rng,
            alpha=alpha,
            trend=trend.trend,
        )
    further = further_sections(
        fitted,
        d,
        folds,
        trend=trend,
        steps=steps,
        against=against or {},
        patients=patients,
        axis=axis,
        outcome=None if duration is None else (duration, event),
        event_value=event_value,
        duration_unit=duration_unit,
        permutations=permutations,
        seed=seed,
        alpha=alpha,
        say=say,
    )
    parameters = {
        "stage": d.stage_name,
        "order": list(d.order),
        "adjust": list(d.adjusters.columns) if d.adjusters is not None else [],
        "group": d.group_name,
        "permutations": permutations,
        "alpha": alpha,
        "folds": FOLDS,
        "repeats": repeats,
        "refits": "per-fold factors" if factored else "n × n operator",
        "effective_df": min(effective_df(round(d.n * (1 - 1 / FOLDS))), float(d.X.shape[1])),
        "dimensions": d.X.shape[1],
    }
    return StageGradientResult(
        n=d.n,
        verdict=headline(trend.trend, steps.strict, adjusters, trend.minimum_detectable, alpha=alpha),
        warnings=(
            *d.warnings,
            *steps.warnings,
            *(adjusters.cautions if adjusters else ()),
            *further.warnings,
        ),
        provenance=d.provenance(parameters, seed),
        order=d.order,
        stages=steps.stages,
        trend=trend.trend,
        steps=steps.steps,
        strict=steps.strict,
        adjusters=adjusters,
        controls={**trend.controls, **further.controls},
        minimum_detectable_concordance=trend.minimum_detectable,
        scores=steps.scores,
        stage_codes=d.codes,
        patient_id=d.patient_id,
        null_concordance=trend.null,
        alpha=alpha,
        parameters=parameters,
        axis=further.axis,
        trajectory=further.trajectory,
        transport=further.transport,
        outcome=further.outcome,
        comparison=further.comparison,
        power=further.power,
    )
