"""Outcome: does the stage score tell survival, alone, beside the stage, and beside the adjusters?

Cox models by lifelines. The score is out of fold for the *stage*; the outcome played no part in it.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.gradient.adjusters import adjuster_basis
from analysis.results import Interval
from analysis.splits import repeated_folds
from analysis.time_to_event.cox import NoFitError, fit_cox
from flexict_core.errors import AnalysisError

if TYPE_CHECKING:
    import pandas as pd

EVENTS_PER_VARIABLE = 10
GAIN_REPEATS = 2
SCORE = "score"


@dataclass(frozen=True)
class CoxModel:
    """One Cox model and its score term: the hazard ratio of one SD of the score, later stage positive.

    `proportional_hazards_p`: test of the score's scaled Schoenfeld residuals against the rank of time;
    `likelihood_ratio_p`: score against the same model without it; `c_index`: Harrell's, of the model, in the
    patients it was fitted to; `c_index_gain`: by the score, in the same patients.
    """

    name: str
    covariates: tuple[str, ...]
    parameters: int
    events_per_variable: float
    hazard_ratio: float
    ci: Interval
    p_value: float
    likelihood_ratio_p: float
    c_index: float
    c_index_without_score: float | None
    c_index_gain: float | None
    proportional_hazards_p: float


@dataclass(frozen=True)
class Outcome:
    """Cox models of the cross-fitted score; `held_out_gain` is the C-index gained by the score in the largest
    model, in patients that the model was not fitted to (None where that could not be had)."""

    duration: str
    event: str
    event_value: str | None
    unit: str | None
    n: int
    events: int
    median_follow_up: float
    models: tuple[CoxModel, ...]
    held_out_gain: float | None
    held_out_folds: str
    verdict: str
    warnings: tuple[str, ...]


def outcome_models(
    scores: np.ndarray,
    codes: np.ndarray,
    order: Sequence[str],
    *,
    time: np.ndarray,
    event: np.ndarray,
    adjusters: pd.DataFrame | None = None,
    names: tuple[str, str] = ("duration", "event"),
    event_value: str | None = None,
    unit: str | None = None,
    seed: int = 0,
    alpha: float = 0.05,
) -> Outcome:
    """Cox models of the score alone, with the stage, and with stage and adjusters.

    scores, codes, time, event: [n], NaN where time or event are not known (those patients are left out).
    The score is scaled to SD 1; the stage enters as categories, a number as the spline of the adjusted tests.

    Sources: Cox, J. R. Stat. Soc. B 34 (1972) 187; Grambsch & Therneau, Biometrika 81 (1994) 515; Harrell et al.,
    Stat. Med. 15 (1996) 361; Peduzzi et al., J. Clin. Epidemiol. 48 (1995) 1503.
    """
    import pandas as pd

    known = np.isfinite(time) & np.isfinite(event)
    said = [f"{int((~known).sum())} patients without {names[0]} or {names[1]} are not in the outcome models"]
    said = said if not known.all() else []
    frame = pd.DataFrame({"time": time[known], "event": event[known].astype(int)})
    spread = scores[known].std(ddof=1)
    if not spread > 0:
        raise AnalysisError("the score is the same for every patient: it cannot tell an outcome")
    score = pd.DataFrame({SCORE: (scores[known] - scores[known].mean()) / spread})
    stage = _indicators(codes[known], order)
    sets: list[tuple[str, pd.DataFrame]] = [("score alone", stage.iloc[:, :0]), ("with stage", stage)]
    if adjusters is not None:
        z = adjuster_basis(adjusters[known].reset_index(drop=True)).matrix
        basis = pd.DataFrame(z, columns=[f"adjuster {i + 1}" for i in range(z.shape[1])])
        sets.append(("with stage and adjusters", pd.concat([stage, basis], axis=1)))
    models, largest = [], None
    for name, others in sets:
        try:
            models.append(_cox_model(name, frame, score, others, said))
            largest = others
        except NoFitError as error:
            said.append(f"Cox model {name!r} could not be fitted ({error}): it is left out")
    if not models:
        raise AnalysisError(f"no Cox model could be fitted: {said[-1]}")
    gain = None if largest is None else _held_out_gain(frame, score, largest, seed)
    _warn(models, said)
    return Outcome(
        duration=names[0],
        event=names[1],
        event_value=event_value,
        unit=unit,
        n=int(known.sum()),
        events=int(frame["event"].sum()),
        median_follow_up=float(frame["time"].median()),
        models=tuple(models),
        held_out_gain=gain,
        held_out_folds=f"5 folds × {GAIN_REPEATS} repeats",
        verdict=_verdict(models, alpha),
        warnings=tuple(said),
    )


def _cox_model(
    name: str, frame: pd.DataFrame, score: pd.DataFrame, others: pd.DataFrame, said: list[str]
) -> CoxModel:
    from lifelines.statistics import proportional_hazard_test
    from scipy.stats import chi2

    both = _fit(frame, score, others, said=said)
    summary = both.summary.loc[SCORE]
    base = _fit(frame, others, said=said) if others.shape[1] else None
    before = both._ll_null_ if base is None else base.log_likelihood_
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        hazards = proportional_hazard_test(both, _table(frame, score, others), time_transform="rank")
    parameters = 1 + others.shape[1]
    c_index = float(both.concordance_index_)
    c_without = None if base is None else float(base.concordance_index_)
    return CoxModel(
        name=name,
        covariates=(SCORE, *others.columns),
        parameters=parameters,
        events_per_variable=float(frame["event"].sum() / parameters),
        hazard_ratio=float(summary["exp(coef)"]),
        ci=(float(summary["exp(coef) lower 95%"]), float(summary["exp(coef) upper 95%"])),
        p_value=float(summary["p"]),
        likelihood_ratio_p=float(chi2.sf(max(2 * (both.log_likelihood_ - before), 0.0), 1)),
        c_index=c_index,
        c_index_without_score=c_without,
        c_index_gain=None if c_without is None else c_index - c_without,
        proportional_hazards_p=float(hazards.summary.loc[SCORE, "p"].min()),
    )


def _table(frame: pd.DataFrame, *covariates: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    return pd.concat([frame, *covariates], axis=1)


def _fit(frame: pd.DataFrame, *covariates: pd.DataFrame, said: list[str]) -> Any:
    model, texts = fit_cox(_table(frame, *covariates))
    said += [f"lifelines: {text}" for text in texts]
    return model


def _held_out_gain(frame: pd.DataFrame, score: pd.DataFrame, others: pd.DataFrame, seed: int) -> float | None:
    """Mean over held-out folds of C(with score) − C(without); comparisons stay within a fold."""
    from lifelines.utils import concordance_index

    if len(frame) < 25:
        return None
    gains, weights = [], []
    for train, test in repeated_folds(len(frame), repeats=GAIN_REPEATS, seed=seed):
        values = []
        for covariates in ((score, others), (others,)):
            try:
                parts = [part.iloc[train] for part in covariates]
                coefficients = _fit(frame.iloc[train], *parts, said=[]).params_ if parts[0].shape[1] else None
                held = _table(*[part.iloc[test] for part in covariates])
                risk = np.zeros(test.size) if coefficients is None else held @ coefficients
                here = frame.iloc[test]
                values.append(concordance_index(here["time"], -np.asarray(risk), here["event"]))
            except (NoFitError, ZeroDivisionError):
                break
        if len(values) == 2:
            gains.append(values[0] - values[1])
            weights.append(int(frame["event"].iloc[test].sum()))
    if len(gains) < 3 * GAIN_REPEATS or sum(weights) == 0:
        return None
    return float(np.average(gains, weights=weights))


def _indicators(codes: np.ndarray, order: Sequence[str]) -> pd.DataFrame:
    import pandas as pd

    held = [k for k in range(len(order)) if (codes == k).any()]
    return pd.DataFrame({f"stage {order[k]}": (codes == k).astype(float) for k in held[1:]})


def _warn(models: Sequence[CoxModel], said: list[str]) -> None:
    for m in models:
        if m.events_per_variable < EVENTS_PER_VARIABLE:
            said.append(
                f"Cox model {m.name!r}: {m.events_per_variable:.1f} events per variable, fewer than "
                f"{EVENTS_PER_VARIABLE}: its hazard ratio is not to be relied on"
            )
        if m.proportional_hazards_p < 0.05:
            said.append(
                f"Cox model {m.name!r}: the score's hazard ratio changes over time "
                f"(p = {m.proportional_hazards_p:.3g}): it is an average over the follow-up"
            )


def _verdict(models: Sequence[CoxModel], alpha: float) -> str:
    alone, largest = models[0], models[-1]
    if alone.p_value >= alpha:
        return "the score is not shown to tell the outcome"
    direction = "worse" if alone.hazard_ratio > 1 else "better"
    if largest is alone:
        return f"a later stage score goes with a {direction} outcome"
    held = (largest.p_value < alpha) and ((largest.hazard_ratio > 1) == (alone.hazard_ratio > 1))
    beside = largest.name.removeprefix("with ")
    shown = f"also beside {beside}" if held else f"but nothing is shown beside {beside}"
    return f"a later stage score goes with a {direction} outcome, {shown}"
