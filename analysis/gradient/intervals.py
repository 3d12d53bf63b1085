"""Confidence intervals that contain the uncertainty of learning the axis.

The bootstrap or DeLong's formula on fixed out-of-fold scores ignores that another cohort would have given
another axis; near "no gradient" that is most of the variance. Refitting bootstraps and jackknives count it
about twice there, because the statistic is then a degenerate U-statistic. The intervals here invert a score
test instead (as Wilson's interval does for a proportion): the candidate value c0 is kept when

    (estimate − c0)² ≤ z² · V(c0),    V(c0) = F(c0) + L / (1 + (c0 − null)² / P).

F is the variance for fixed scores, P the variance of the *refitted* statistic under permutation, and
L = P − F(null) the part that comes from learning. At the null V equals P, so that the interval excludes the
null exactly when the permutation test (by its normal approximation) does; far from it an axis is well
determined and V tends to F. The weight 1 / (1 + (c0 − null)² / P) is the share of a learnt direction that is
noise at that signal-to-noise ratio. It is a model, not a theorem: the coverage that it gives is simulated in
`tests/benchmarks/calibration.py`, and the table there is the reason why these intervals are printed.

Sources: Wilson, JASA 22 (1927) 209; DeLong, DeLong & Clarke-Pearson, Biometrics 44 (1988) 837.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.stats import norm

from analysis.gradient.rank_statistics import concordance_variance, null_concordance_variance
from analysis.results import Interval


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


def learning_weight(distance: np.ndarray | float, null_variance: float) -> np.ndarray:
    """Share of the learning variance that is left at a distance from the null."""
    if null_variance <= 0:
        return np.zeros_like(np.asarray(distance, dtype=float))
    return 1.0 / (1.0 + np.asarray(distance, dtype=float) ** 2 / null_variance)


def concordance_variance_model(
    estimate: float, scores: np.ndarray, codes: np.ndarray, *, permuted_variance: float
) -> Callable[[np.ndarray], np.ndarray]:
    """V(c0) of a cross-fitted concordance as a function of the candidate c0."""
    n, n_stages = codes.size, int(codes.max()) + 1
    at_null = null_concordance_variance(np.bincount(codes, minlength=n_stages))
    # the fixed-score variance in units of c (1 − c) is known at 0.5 and at the estimate; between them it is
    # interpolated. A touch of its null value keeps it positive at an estimate of 1.
    ridge = 0.1 / n
    here = (concordance_variance(scores, codes, n_stages) + ridge * 4 * at_null) / (
        estimate * (1 - estimate) + ridge
    )
    reach = max(abs(estimate - 0.5), 1e-9)
    permuted = max(permuted_variance, at_null)

    def variance(c0: np.ndarray) -> np.ndarray:
        share = np.minimum(np.abs(c0 - 0.5) / reach, 1.0)
        fixed = (4 * at_null + (here - 4 * at_null) * share) * c0 * (1 - c0)
        return fixed + (permuted - at_null) * learning_weight(c0 - 0.5, permuted)

    return variance


def difference_interval(
    difference: float, *, n_from: int, n_to: int, n: int, permuted_variance: float, level: float = 0.95
) -> Interval:
    """Interval of a difference of two stage means in units of the within-stage standard deviation."""
    fixed = 1 / n_from + 1 / n_to
    permuted = max(permuted_variance, fixed)

    def variance(d0: np.ndarray) -> np.ndarray:
        return fixed + d0**2 / (2 * n) + (permuted - fixed) * learning_weight(d0, permuted)

    reach = 6 * np.sqrt(permuted + difference**2 / n) + 1
    return invert_score_test(
        difference, variance, bounds=(difference - reach, difference + reach), level=level
    )


def stage_mean_interval(
    mean: float,
    *,
    fixed: float,
    permuted_variance: float,
    signal_to_noise: float,
    n: int,
    level: float = 0.95,
) -> Interval:
    """Interval of one stage's mean score (within-stage SD units, about the mean of the stage means).

    A middle stage has a mean near 0 however well the axis is known, so the learning variance also shrinks with
    the signal-to-noise ratio of the whole trend, taken two standard errors down.
    """
    permuted = max(permuted_variance, fixed)
    trend = max(signal_to_noise - 2.0, 0.0) ** 2

    def variance(m0: np.ndarray) -> np.ndarray:
        weight = 1.0 / (1.0 + np.maximum(m0**2 / permuted, trend))
        return fixed + m0**2 / (2 * n) + (permuted - fixed) * weight

    reach = 6 * np.sqrt(permuted + mean**2 / n) + 1
    return invert_score_test(mean, variance, bounds=(mean - reach, mean + reach), level=level)
