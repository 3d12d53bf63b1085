"""What follows trend, steps and adjusters: controls, path of the stages, transport, outcome, comparison."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.gradient.adjusters import adjuster_basis
from analysis.gradient.alignment import column_of, embedding_of, less_group_means
from analysis.gradient.axis import CrossFit, cross_fit, cross_fit_basis
from analysis.gradient.comparison import ADJUSTERS_ALONE, Candidate, Comparison, compare
from analysis.gradient.controls import CONTROL_DRAWS, further_controls
from analysis.gradient.data import StageData
from analysis.gradient.outcome import Outcome, outcome_models
from analysis.gradient.power import PowerCurve, power_curve
from analysis.gradient.result import Adjusters
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
    adjusters: Adjusters | None,
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
        modelled = _outcome(d, steps.scores, outcome, patients, event_value, duration_unit, seed)
        warnings += modelled.warnings
    compared = _comparison(
        fitted, d, folds, trend, adjusters, against, patients, permutations=permutations, seed=seed, say=say
    )
    say("controls")
    names = [v for v in (outcome or ()) if isinstance(v, str)]
    controls = further_controls(fitted, d, folds, permutations=permutations, seed=seed, without=names)
    power = power_curve(fitted, d, trend.null, alpha=alpha)
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
    seed: int,
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
    )
    return replace(found, warnings=(*notes, *found.warnings))


def _comparison(
    fitted: CrossFit,
    d: StageData,
    folds: Folds,
    trend: TrendOutcome,
    adjusters: Adjusters | None,
    against: Mapping[str, np.ndarray | Cohort],
    patients: Sequence[Any] | None,
    *,
    permutations: int,
    seed: int,
    say: Callable[[str], None],
) -> Comparison | None:
    """This embedding, the others, and the adjusters alone; None where there is nothing beside it."""
    if not against and adjusters is None:
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
    if d.adjusters is not None and adjusters is not None:
        table = d.adjusters
        if d.groups is not None and d.group_name not in table.columns:
            table = table.assign(**{str(d.group_name): d.groups})
        basis = less_group_means(adjuster_basis(table).matrix, d.groups)
        basis = basis[:, np.ptp(basis, axis=0) > 1e-9]  # the group itself says nothing within groups
        if basis.shape[1] and not _mostly_ties(basis):
            candidates.append(Candidate(ADJUSTERS_ALONE, cross_fit_basis(basis, folds), basis.shape[1]))
    if len(candidates) < 2:
        return None
    draws = permutations if against else min(permutations, CONTROL_DRAWS)
    return compare(candidates, d, permutations=draws, rng=np.random.default_rng([seed, 3]), known=known)


def _mostly_ties(basis: np.ndarray) -> bool:
    """Whether many patients have the same adjusters (categories alone).

    Pooled out-of-fold scores would break their ties against the stage; such adjusters are compared within folds
    only, in the tests beyond the adjusters.
    """
    return np.unique(np.round(basis, 9), axis=0).shape[0] < 0.9 * basis.shape[0]
