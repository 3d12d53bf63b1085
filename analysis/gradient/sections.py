"""What follows trend, steps and adjusters: controls, path of the stages, transport, outcome, comparison."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.gradient.alignment import column_of, embedding_of, less_group_means
from analysis.gradient.axis import CrossFit, cross_fit
from analysis.gradient.comparison import Candidate, Comparison, compare
from analysis.gradient.controls import further_controls
from analysis.gradient.data import StageData
from analysis.gradient.outcome import Outcome, outcome_models
from analysis.gradient.power import PowerCurve, power_curve
from analysis.gradient.trajectory import Trajectory, trajectory
from analysis.gradient.transport import StageAxis, Transport, apply_axis, fit_axis
from analysis.gradient.trend import StepOutcome, TrendOutcome
from analysis.splits import Folds
from analysis.time_to_event.times import read_times

if TYPE_CHECKING:
    from analysis.cohort import Cohort


@dataclass(frozen=True, eq=False)
class Further:
    """The further sections of a result."""

    controls: dict[str, Any]
    axis: StageAxis
    trajectory: Trajectory
    transport: Transport | None
    outcome: Outcome | None
    comparison: Comparison | None
    power: PowerCurve
    warnings: tuple[str, ...]


def further_sections(
    fitted: CrossFit,
    d: StageData,
    folds: Folds,
    *,
    trend: TrendOutcome,
    steps: StepOutcome,
    against: Mapping[str, np.ndarray | Cohort],
    patients: Sequence[Any] | None,
    axis: StageAxis | str | Path | None,
    outcome: tuple[Any, Any] | None,
    event_value: str | None,
    duration_unit: str | None,
    permutations: int,
    seed: int,
    alpha: float,
    say: Callable[[str], None],
) -> Further:
    """Each section draws from a generator of its own, so that asking for one changes no number of another."""
    warnings: list[str] = []
    transported = None
    if axis is not None:
        say("transport of the frozen axis")
        given = axis if isinstance(axis, StageAxis) else StageAxis.load(axis)
        transported = apply_axis(
            given, d, permutations=permutations, rng=np.random.default_rng([seed, 1]), alpha=alpha
        )
        if transported.shared_patients:
            warnings.append(
                f"{transported.shared_patients} of {d.n} patients were in the training cohort of the axis: "
                "its concordance here is too high"
            )
    modelled = None
    if outcome is not None:
        say("outcome models")
        modelled = _outcome(
            d, steps.scores, outcome, patients, event_value, duration_unit, seed=seed, alpha=alpha
        )
        warnings += modelled.warnings
    compared = _comparison(
        fitted, d, folds, trend, against, patients, permutations=permutations, seed=seed, alpha=alpha, say=say
    )
    say("controls")
    names = [v for v in (outcome or ()) if isinstance(v, str)]
    controls = further_controls(fitted, d, folds, permutations=permutations, seed=seed, without=names)
    power = power_curve(trend.variance, trend.null, alpha=alpha)
    own = fit_axis(d, seed=seed, concordance_=trend.trend.concordance, ci=trend.trend.ci)
    path = trajectory(own, d, steps.scores, stages=steps.stages, rng=np.random.default_rng([seed, 2]))
    return Further(controls, own, path, transported, modelled, compared, power, tuple(warnings))


def _outcome(
    d: StageData,
    scores: np.ndarray,
    outcome: tuple[Any, Any],
    patients: Sequence[Any] | None,
    event_value: str | None,
    unit: str | None,
    *,
    seed: int,
    alpha: float,
) -> Outcome:
    names = (
        outcome[0] if isinstance(outcome[0], str) else "duration",
        outcome[1] if isinstance(outcome[1], str) else "event",
    )
    time, event, notes = read_times(
        column_of(outcome[0], d, name="duration", patients=patients),
        column_of(outcome[1], d, name="event", patients=patients),
        names=names,
        event_value=event_value,
        competing="censor",
    )
    found = outcome_models(
        scores,
        d.codes,
        d.order,
        time=time,
        event=event,
        adjusters=d.adjusters,
        names=names,
        event_value=event_value,
        unit=unit,
        seed=seed,
        alpha=alpha,
    )
    return replace(found, warnings=(*notes, *found.warnings))


def _comparison(
    fitted: CrossFit,
    d: StageData,
    folds: Folds,
    trend: TrendOutcome,
    against: Mapping[str, np.ndarray | Cohort],
    patients: Sequence[Any] | None,
    *,
    permutations: int,
    seed: int,
    alpha: float,
    say: Callable[[str], None],
) -> Comparison | None:
    """This embedding and the others; None where there is nothing beside it."""
    if not against:
        return None
    main = "embedding" if d.source is None else d.source.embedding_id
    candidates = [
        Candidate(
            main,
            fitted,
            d.X.shape[1],
            d.source.embedding_id if d.source else None,
        )
    ]
    known = {main: (trend.trend.ci, trend.trend.p_value)}
    for name, other in against.items():
        say(f"comparison with {name}")
        X = less_group_means(embedding_of(other, d, name=name, patients=patients), d.groups)
        identity = None if isinstance(other, np.ndarray) else other.embedding_id
        candidates.append(Candidate(name, cross_fit(X, folds), X.shape[1], identity))
    return compare(
        candidates,
        d,
        permutations=permutations,
        rng=np.random.default_rng([seed, 3]),
        known=known,
        alpha=alpha,
    )
