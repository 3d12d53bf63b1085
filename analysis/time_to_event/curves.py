"""Kaplan–Meier curves of groups by lifelines, with the numbers at risk; their log-rank test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.results import Interval
from analysis.selection import natural_key

TERTILES = ("low risk", "middle risk", "high risk")


@dataclass(frozen=True, eq=False)
class GroupCurve:
    """Kaplan–Meier of one group: steps at `times` [m] with pointwise 95 % limits (log–log), `at_risk` at the
    ticks of the result; median time (None when not reached) with its interval (None where an end is not)."""

    label: str
    n: int
    events: int
    median: float | None
    median_ci: Interval | None
    at_risk: tuple[int, ...]
    times: np.ndarray
    survival: np.ndarray
    low: np.ndarray
    high: np.ndarray
    censored: np.ndarray


def tertile_codes(scores: np.ndarray) -> np.ndarray:
    """0, 1, 2 by thirds of the score [n] or of each column [n, B], ties by place."""
    rank = np.argsort(np.argsort(scores, axis=0, kind="stable"), axis=0, kind="stable")
    return rank * 3 // scores.shape[0]


def group_labels(groups: np.ndarray) -> list[str]:
    """Distinct labels in natural order."""
    return sorted({str(g) for g in groups}, key=natural_key)


def ticks(time: np.ndarray) -> tuple[float, ...]:
    """About five round times from 0 to the last one."""
    last = float(time.max())
    raw = last / 5
    unit = 10 ** np.floor(np.log10(raw))
    step = unit * min((1, 2, 2.5, 5, 10), key=lambda m: abs(m * unit - raw))
    return tuple(float(step * i) for i in range(int(last // step) + 1))


def curves(
    codes: np.ndarray, labels: Sequence[str], *, time: np.ndarray, event: np.ndarray, at: Sequence[float]
) -> tuple[GroupCurve, ...]:
    """A curve for each label; codes [n] are places in labels."""
    return tuple(_curve(label, time[codes == k], event[codes == k], at) for k, label in enumerate(labels))


def _curve(label: str, time: np.ndarray, event: np.ndarray, at: Sequence[float]) -> GroupCurve:
    from lifelines import KaplanMeierFitter
    from lifelines.utils import median_survival_times

    fitted = KaplanMeierFitter().fit(time, event)
    limits = fitted.confidence_interval_.to_numpy()
    median = float(fitted.median_survival_time_)
    ends = median_survival_times(fitted.confidence_interval_).to_numpy().ravel()
    return GroupCurve(
        label=label,
        n=int(time.size),
        events=int(event.sum()),
        median=median if np.isfinite(median) else None,
        median_ci=(float(ends.min()), float(ends.max())) if np.isfinite(ends).all() else None,
        at_risk=tuple(int((time >= t).sum()) for t in at),
        times=fitted.survival_function_.index.to_numpy(),
        survival=fitted.survival_function_.to_numpy().ravel(),
        low=limits.min(axis=1),
        high=limits.max(axis=1),
        censored=np.sort(time[event == 0]),
    )


def median_follow_up(time: np.ndarray, event: np.ndarray) -> float | None:
    """Median time under observation by reverse Kaplan–Meier; None when not reached."""
    from analysis.time_to_event.measures import censoring_step

    times, left = censoring_step(time, event)
    under = np.flatnonzero(left <= 0.5)
    return float(times[under[0]]) if under.size else None
