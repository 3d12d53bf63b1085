"""Interval of any measure that contains a fit, from halves of the patients and from permuted outcomes.

The interval of an inverted score test: with g the estimate on a scale on which its spread hardly depends on its value,
the candidate γ is kept when

    (g − γ − w b)² ≤ max(z² P, w z² P + (1 − w) t² H),    w = 1 / (1 + ρ² / 4),

with H the variance from halves of the patients (`analysis.resampling.halves_variance`), P that of refits to permuted
outcomes, ρ the distance of the candidate from chance in standard deviations √P, and b what such refits are above chance
(an average precision of few patients is). At chance the interval so agrees with the permutation test, away from it with
the halves; what the draw of the folds adds is in both as often as the estimate averages it. Half as many patients are
nearer chance, where a measure varies less, so that H alone is some 20 % short where half of them learn little and all
of them more: it is not taken to be below P. t: H is known about as well as a variance on `DF` degrees of freedom.

It is a model, not a theorem; its coverage is simulated in `tests/benchmarks/probe_calibration.py` and
`outcome_calibration.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, t

from analysis.resampling import halves_variance, spread_of
from analysis.results import Interval

Function = Callable[[np.ndarray | float], np.ndarray]

DF = 8  # of H: its relative standard deviation over simulated cohorts was 0.4 to 0.6, and 2 / 0.5² = 8
NEAR = 2.0  # standard deviations from chance at which halves and permutations count alike


@dataclass(frozen=True, eq=False)
class Refitted:
    """One measure under everything that was fitted anew, on any scale.

    repeats [R]: under each fold draw in all patients, which the estimate averages; halves [S, 2, F]: in both halves
    of S splits under F fold draws; null [B, r]: of permuted outcomes under r fold draws, or None.
    """

    repeats: np.ndarray
    halves: np.ndarray
    null: np.ndarray | None

    def on(self, change: Function) -> Refitted:
        """On another scale."""
        return Refitted(
            change(self.repeats), change(self.halves), None if self.null is None else change(self.null)
        )

    def minus(self, other: Refitted) -> Refitted:
        """The difference from a measure that was fitted alike."""
        null = None if self.null is None or other.null is None else self.null - other.null
        return Refitted(self.repeats - other.repeats, self.halves - other.halves, null)

    def variance(self) -> float:
        """H, with what the draw of the folds adds to an average of R."""
        if self.repeats.size > 1:
            fold_noise = float(self.repeats.var(ddof=1))
        else:
            fold_noise = float(self.halves.var(axis=2, ddof=1).mean() / 2)  # it falls as 1 / n too
        return max(halves_variance(self.halves), 0.0) + fold_noise / self.repeats.size

    def null_variance(self) -> float:
        """P, of as many fold draws as the estimate averages."""
        assert self.null is not None
        between, within = spread_of(self.null)
        return between + within / max(self.repeats.size, self.null.shape[1])


def nearness(value: np.ndarray | float, chance: float, null_variance: float) -> np.ndarray:
    """w: 1 at chance, 1/2 at `NEAR` standard deviations from it."""
    return np.asarray(1 / (1 + (np.asarray(value) - chance) ** 2 / (NEAR**2 * max(null_variance, 1e-300))))


def refitted_interval(
    estimate: float,
    *,
    variance: float,
    null_variance: float = 0.0,
    chance: float = 0.0,
    bias: float = 0.0,
    level: float = 0.95,
) -> Interval | None:
    """Range of the candidates that are kept; None where nothing varied or a refit had no value.

    null_variance: P, or 0 where nothing was refitted to permuted outcomes.
    """
    H, P = variance, null_variance
    if not np.isfinite([estimate, H, P, chance, bias]).all() or H + P <= 0:
        return None
    z2, t2 = float(norm.ppf(0.5 + level / 2)) ** 2, float(t.ppf(0.5 + level / 2, DF)) ** 2
    reach = 2 * np.sqrt(max(t2 * H, z2 * P)) + abs(bias)
    grid = np.unique(np.append(np.linspace(estimate - reach, estimate + reach, 4001), estimate))
    w = nearness(grid, chance, P) if P > 0 else np.zeros(grid.size)
    kept = grid[(estimate - grid - w * bias) ** 2 <= np.maximum(z2 * P, w * z2 * P + (1 - w) * t2 * H)]
    return (float(min(kept[0], estimate)), float(max(kept[-1], estimate))) if kept.size else None
