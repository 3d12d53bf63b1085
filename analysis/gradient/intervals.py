"""Confidence intervals that contain the uncertainty of learning the axis.

A concordance c has the interval of an inverted score test (as Wilson's for a proportion): the candidate c0 is kept when

    (estimate − c0)² ≤ z² · V(c0),    V(c0) = F(c0) + L(c0).

F is the variance for fixed scores, L what learning the axis adds at a true concordance of c0 (`gradient.learning`). At
"no gradient" V equals the variance of the *refitted* statistic under permutation, so that the interval excludes 0.5
when the permutation test (by its normal approximation) does. Contrasts of stage means have Student intervals with the
same two parts, both taken at the estimate, learning not below 0. The coverage is simulated in
`tests/benchmarks/calibration.py`.

Sources: Wilson, JASA 22 (1927) 209; DeLong, DeLong & Clarke-Pearson, Biometrics 44 (1988) 837.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.stats import norm, t

from analysis.gradient.rank_statistics import (
    concordance_variance,
    null_concordance_variance,
    stage_counts,
)
from analysis.results import Interval

LEAST_FIXED = 0.25  # share of the fixed-score variance below which learning cannot bring the whole


def invert_score_test(
    estimate: float,
    variance: Callable[[np.ndarray], np.ndarray],
    *,
    bounds: tuple[float, float],
    level: float = 0.95,
) -> Interval:
    """Range of candidate values that a two-sided score test at 1 − level keeps, within `bounds`."""
    z = norm.ppf(0.5 + level / 2)
    candidates = np.unique(np.append(np.linspace(*bounds, 20_001), estimate))
    kept = candidates[(estimate - candidates) ** 2 <= z**2 * variance(candidates)]
    return (float(kept[0]), float(kept[-1])) if kept.size else (estimate, estimate)


def concordance_variance_model(
    estimate: float,
    *,
    fixed_variance: float,
    fixed_at_null: float,
    learning: Callable[[np.ndarray], np.ndarray],
    n: int,
) -> Callable[[np.ndarray], np.ndarray]:
    """V(c0) of a cross-fitted concordance as a function of the candidate c0.

    Args:
        fixed_variance: jackknife variance of the fixed scores at the estimate.
        fixed_at_null: the same where scores and stage have nothing to do with each other.
        learning: what learning adds at c0; may be negative.
    """
    # the fixed-score variance in units of c (1 − c) is known at 0.5 and at the estimate; between them it is
    # interpolated. A touch of its null value keeps it positive at an estimate of 1.
    ridge = 0.1 / n
    here = (fixed_variance + ridge * 4 * fixed_at_null) / (estimate * (1 - estimate) + ridge)
    reach = max(abs(estimate - 0.5), 1e-9)

    def variance(c0: np.ndarray) -> np.ndarray:
        share = np.minimum(np.abs(c0 - 0.5) / reach, 1.0)
        fixed = (4 * fixed_at_null + (here - 4 * fixed_at_null) * share) * c0 * (1 - c0)
        return np.asarray(np.maximum(fixed + learning(c0), LEAST_FIXED * fixed))

    return variance


def score_concordance_model(
    estimate: float,
    scores: np.ndarray,
    codes: np.ndarray,
    *,
    learning: Callable[[np.ndarray], np.ndarray],
    groups: np.ndarray | None = None,
) -> Callable[[np.ndarray], np.ndarray]:
    """`concordance_variance_model` of continuous scores: both fixed-score variances have closed forms."""
    n_stages = int(codes.max()) + 1
    return concordance_variance_model(
        estimate,
        fixed_variance=concordance_variance(scores, codes, n_stages, groups=groups),
        fixed_at_null=null_concordance_variance(stage_counts(codes, n_stages, groups)),
        learning=learning,
        n=codes.size,
    )


def student_interval(
    estimate: float, *, fixed: float, learning: float, df: float, level: float = 0.95
) -> Interval | None:
    """Estimate ± t √(fixed + learning), learning at least 0; None where `fixed` is not finite."""
    if not np.isfinite(fixed):
        return None
    reach = float(t.ppf(0.5 + level / 2, df) * np.sqrt(fixed + max(learning, 0.0)))
    return estimate - reach, estimate + reach
