"""Interval of any cross-fitted measure: what `gradient.intervals` does for a concordance, for the others.

Resampling fixed out-of-fold predictions leaves out that another cohort would have taught another model, and
under-covers. Here the measure is also refitted to permuted outcomes, which gives its whole variance P about
chance, and the candidate c0 is kept when

    (estimate − c0 − bias · w)² ≤ z² · (F(c0) + L · w),    w = 1 / (1 + ρ / √(k / 2)),

with F the variance for fixed predictions, L = P − F(chance) the part that comes from learning, ρ the distance of
c0 from chance in standard deviations √P, k the number of directions among which the model chooses, and the bias
of held-out measures at chance (the mean of the refits less chance). It is a model, not a theorem; the coverage that
it gives is simulated in `tests/benchmarks/outcome_calibration.py`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.stats import norm

from analysis.results import Interval

FEWEST_REFITS = 40


def learning_interval(
    estimate: float,
    *,
    fixed: float,
    null_fixed: float,
    null: np.ndarray,
    chance: float,
    directions: float,
    bounds: tuple[float, float] | None = (0.0, 1.0),
    level: float = 0.95,
) -> Interval | None:
    """95 % interval of a cross-fitted measure, or None where it cannot be had.

    fixed, null_fixed: variance of the measure for fixed predictions, as observed and at chance; null [B]: the
    measure refitted to permuted outcomes; chance: its value without any relation; directions: as of
    `gradient.axis.effective_directions`; bounds: of the measure (its fixed variance shrinks towards them), None
    when it has none.
    """
    drawn = null[np.isfinite(null)]
    if drawn.size < FEWEST_REFITS or not np.isfinite([estimate, fixed, null_fixed]).all():
        return None
    whole = max(float(drawn.var(ddof=1)), null_fixed, 1e-12)
    bias, learning = float(drawn.mean()) - chance, whole - min(null_fixed, whole)
    unit = _unit(bounds)
    here, there = fixed / unit(estimate), null_fixed / unit(chance)

    def weight(c0: np.ndarray) -> np.ndarray:
        return 1.0 / (1.0 + np.abs(c0 - chance) / np.sqrt(whole) / np.sqrt(max(directions, 1.0) / 2))

    def variance(c0: np.ndarray) -> np.ndarray:
        # units of c (1 − c) are known at chance and at the estimate; interpolated between, constant beyond
        away = estimate - chance
        share = np.clip((c0 - chance) / away, 0.0, 1.0) if abs(away) > 1e-9 else 0.0
        return (there + (here - there) * share) * unit(c0) + learning * weight(c0)

    spread = 8 * float(np.sqrt(whole + fixed))
    low, high = (estimate - spread, estimate + spread)
    if bounds is not None:
        low, high = max(low, bounds[0]), min(high, bounds[1])
    grid = np.unique(np.append(np.linspace(low, high, 4001), estimate))
    z = norm.ppf(0.5 + level / 2)
    shift = bias * weight(grid)
    kept = grid[(estimate - grid - shift) ** 2 <= z**2 * variance(grid)]
    return (float(kept[0]), float(kept[-1])) if kept.size else None


def _unit(bounds: tuple[float, float] | None) -> Callable[[np.ndarray | float], np.ndarray]:
    if bounds is None:
        return lambda c: np.ones_like(np.asarray(c, dtype=float))
    low, high = bounds
    floor = 1e-3 * (high - low) ** 2  # keeps the variance above 0 at the ends
    return lambda c: (np.asarray(c, dtype=float) - low) * (high - np.asarray(c, dtype=float)) + floor
