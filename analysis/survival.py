"""Survival: does the embedding tell how long patients live, alone and beside what the clinic knows?

A risk score cross-fitted by patient (`time_to_event.risk_score`), its measures with intervals that contain the
learning (`time_to_event.estimates`), Kaplan–Meier curves and Cox models by lifelines.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, get_args

import numpy as np

from analysis.results import Result
from analysis.time_to_event.times import Competing
from flexict_core.errors import AnalysisError

if TYPE_CHECKING:
    import pandas as pd

    from analysis.cohort import Cohort
    from analysis.time_to_event.cox import CoxFit, CoxRow
    from analysis.time_to_event.curves import GroupCurve
    from analysis.time_to_event.data import SurvivalData
    from analysis.time_to_event.estimates import AddedValue, AucRow, BrierRow, Measure, ScoreEstimates

__all__ = ["SurvivalResult", "survival"]

RISK_TERTILE = "tertile of the risk score"


@dataclass(frozen=True, kw_only=True, eq=False)
class SurvivalResult(Result):
    """Curves, Cox models and what a cross-fitted risk score is worth.

    `scores` [n]: out of fold, higher = worse; `time`, `event` [n] in the same order; `by`: what the curves
    compare; `added`: None without clinical columns; `ticks`: times of the numbers at risk.
    """

    command: ClassVar[str] = "survival"

    duration: str
    event_name: str
    unit: str | None
    events: int
    median_follow_up: float | None
    by: str
    groups: tuple[GroupCurve, ...]
    ticks: tuple[float, ...]
    logrank_statistic: float
    logrank_p: float
    logrank_test: str
    c_index: Measure
    c_index_ipcw: Measure
    auc: tuple[AucRow, ...]
    brier: tuple[BrierRow, ...]
    integrated_brier: float | None
    cox: tuple[CoxRow, ...]
    added: AddedValue | None
    scores: np.ndarray
    time: np.ndarray
    event: np.ndarray
    patient_id: np.ndarray

    def details(self) -> dict[str, Any]:
        from analysis.time_to_event.words import details

        return details(self)

    def table(self) -> pd.DataFrame:
        """One row an estimate: section, estimate, value, interval, p, test, n."""
        from analysis.time_to_event.words import estimates_table

        return estimates_table(self)

    def summary(self) -> str:
        from analysis.time_to_event.words import summary

        return summary(self)

    def methods_text(self) -> str:
        from analysis.time_to_event.words import methods_text

        return methods_text(self)


def survival(
    data: np.ndarray | Cohort,
    duration: Sequence[Any] | np.ndarray | str,
    event: Sequence[Any] | np.ndarray | str,
    *,
    by: Sequence[Any] | np.ndarray | str | None = None,
    clinical: pd.DataFrame | Sequence[str] | None = None,
    event_value: str | None = None,
    competing: Competing = "refuse",
    horizons: Sequence[float] | None = None,
    penalty: float = 0.0,
    unit: str | None = None,
    patients: Sequence[Any] | None = None,
    permutations: int = 999,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> SurvivalResult:
    """Kaplan–Meier, Cox models and the worth of a risk score learnt from the embedding.

    Args:
        data: embeddings [n, d], one row a patient, or a `Cohort`.
        duration: time to event or censoring (> 0), or the cohort's column; event: 1 event, 0 censored.
        by: groups of the curves (cluster, label); thirds of the cross-fitted risk score when None.
        clinical: covariates of the Cox models, whose value the embedding must exceed: a table or column names.
        event_value: the value of `event` that counts, when it is not 0/1.
        competing: "refuse" events of other kinds, or "censor" them (cause-specific hazards), said in a warning.
        horizons: times of AUC and Brier score; the quartiles of the event times when None.
        penalty: ridge penalty of the Cox models (lifelines' penalizer); with one, they have no intervals.
        unit: of the times, for the labels.
        patients: patient of each row of an array; rows of one patient are averaged.
        permutations: refits to permuted outcomes; the smallest p is 1 / (permutations + 1).

    Raises:
        CohortError: a column that is not there.
        AnalysisError: times not above 0, events not 0/1, nobody with an event, competing events, too few events.
    """
    from analysis.time_to_event.data import gather
    from analysis.time_to_event.estimates import brier_rows, score_estimates
    from analysis.time_to_event.words import headline

    say = progress or (lambda _: None)
    if competing not in get_args(Competing):
        raise AnalysisError(f"competing={competing!r}: choose one of {', '.join(get_args(Competing))}")
    if permutations < 99:
        raise AnalysisError(f"permutations={permutations} is too few for a p-value: use at least 99")
    if not penalty >= 0:
        raise AnalysisError(f"penalty={penalty} must be 0 or more")
    d = gather(
        data, duration=duration, event=event, by=by, clinical=clinical, patients=patients,
        event_value=event_value, competing=competing,
    )  # fmt: skip
    at = _horizons(horizons, d)
    say("cross-fitting the risk score")
    score = score_estimates(
        d, horizons=at, permutations=permutations, rng=np.random.default_rng(seed), seed=seed
    )
    say("Brier scores")
    brier, integral = brier_rows(d, horizons=at, seed=seed)
    say("curves and Cox models")
    parts = _curves(d, score)
    cox, added, notes = _models(d, score, penalty=penalty, seed=seed)
    parameters = {
        "duration": d.names[0], "event": d.names[1], "event_value": event_value, "competing": competing,
        "by": d.by, "clinical": [] if d.clinical is None else [str(c) for c in d.clinical.columns],
        "penalty": penalty, "horizons": list(at), "permutations": permutations, "folds": 5,
        "dimensions": d.X.shape[1],
    }  # fmt: skip
    warnings = (*d.warnings, *notes)
    if d.events < 50:
        warnings = (*warnings, f"only {d.events} events: every estimate is uncertain, whatever its interval")
    return SurvivalResult(
        n=d.n,
        verdict=headline(score.c_index, added, parts["logrank_p"], by=parts["by"]),
        warnings=warnings,
        provenance=d.provenance(parameters, seed),
        duration=d.names[0],
        event_name=d.names[1],
        unit=unit,
        events=d.events,
        c_index=score.c_index,
        c_index_ipcw=score.c_index_ipcw,
        auc=score.auc,
        brier=brier,
        integrated_brier=integral,
        cox=cox,
        added=added,
        scores=score.scores,
        time=d.time,
        event=d.event,
        patient_id=d.patient_id,
        **parts,
    )


def _horizons(given: Sequence[float] | None, d: SurvivalData) -> tuple[float, ...]:
    if given is None:
        return tuple(
            float(h) for h in np.quantile(d.time[d.event == 1], [0.25, 0.5, 0.75], method="inverted_cdf")
        )
    last = float(d.time.max())
    for h in given:
        if not 0 < h < last:
            raise AnalysisError(
                f"horizon {h:g} is outside the follow-up: choose a time between 0 and {last:g}"
            )
    return tuple(float(h) for h in given)


def _curves(d: SurvivalData, score: ScoreEstimates) -> dict[str, Any]:
    from scipy.stats import chi2

    from analysis.time_to_event.curves import (
        TERTILES,
        curves,
        group_labels,
        median_follow_up,
        tertile_codes,
        ticks,
    )
    from analysis.time_to_event.measures import log_rank

    at = ticks(d.time)
    if d.groups is None:
        labels, codes = list(TERTILES), tertile_codes(score.scores)
        statistic, p = score.tertile_statistic, score.tertile_p
        test = "one-sided log-rank for trend, by permutation with refits"
    else:
        labels = group_labels(d.groups)
        codes = np.array([labels.index(str(g)) for g in d.groups])
        statistic = float(log_rank(codes[:, None], d.time, d.event, n_groups=len(labels))[0])
        p, test = float(chi2.sf(statistic, len(labels) - 1)), "log-rank"
    return {
        "by": RISK_TERTILE if d.by is None else d.by,
        "groups": curves(codes, labels, time=d.time, event=d.event, at=at),
        "ticks": at,
        "logrank_statistic": statistic,
        "logrank_p": p,
        "logrank_test": test,
        "median_follow_up": median_follow_up(d.time, d.event),
    }


def _models(
    d: SurvivalData, score: ScoreEstimates, *, penalty: float, seed: int
) -> tuple[tuple[CoxRow, ...], AddedValue | None, list[str]]:
    """Cox models of the score, of the clinical columns, of both; what the embedding adds."""
    import pandas as pd

    from analysis.gradient.adjusters import adjuster_basis
    from analysis.time_to_event.cox import SCORE, cox_model, design
    from analysis.time_to_event.estimates import added_value

    spread = score.scores.std(ddof=1)
    alone = pd.DataFrame({SCORE: (score.scores - score.scores.mean()) / spread})

    def fit(name: str, covariates: pd.DataFrame) -> CoxFit:
        return cox_model(name, covariates, time=d.time, event=d.event, penalty=penalty)

    first = fit("score", alone)
    ci = None if penalty > 0 or score.log_hazard.ci is None else score.log_hazard.ci
    row = replace(
        first.rows[0],
        ci=None if ci is None else (float(np.exp(ci[0])), float(np.exp(ci[1]))),
        p_value=score.log_hazard.p_value,
        test="permutation with refits",
    )
    rows, notes, added = [row], [*first.notes], None
    if d.clinical is not None:
        covariates = design(d.clinical)
        added = added_value(
            d,
            adjuster_basis(d.clinical).matrix,
            columns=tuple(str(c) for c in d.clinical.columns),
            rng=np.random.default_rng(seed + 1),
            seed=seed,
        )
        second = fit("clinical", covariates)
        third = fit("score and clinical", pd.concat([alone, covariates], axis=1))
        # Wald intervals take the score for given; beside it no better ones have been shown to cover
        both = replace(
            third.rows[0], ci=None, p_value=added.p_value, test="permutation of the concordance gained"
        )
        others = [replace(r, ci=None, test="Wald, score taken for given") for r in third.rows[1:]]
        rows += [*second.rows, both, *others]
        notes += [*second.notes, *third.notes]
    return tuple(rows), added, notes
