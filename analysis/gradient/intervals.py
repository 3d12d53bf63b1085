"""Confidence intervals that contain the uncertainty of learning the axis.

The bootstrap or DeLong's formula on fixed out-of-fold scores ignores that another cohort would have given
another axis; near "no gradient" that is most of the variance. Refitting bootstraps and jackknives count it
about twice there, because the statistic is then a degenerate U-statistic. The intervals here invert a score
test instead (as Wilson's interval does for a proportion): the candidate value c0 is kept when

    (estimate − c0)² ≤ z² · V(c0),    V(c0) = F(c0) + L · w(c0).

F is the variance for fixed scores, P the variance of the *refitted* statistic under permutation, and
L = P − F(null) the part that comes from learning. At the null V equals P, so that the interval excludes the
null when the permutation test (by its normal approximation) does; far from it an axis is well determined and V
tends to F. The weight is the share of noise in a learnt direction, w = 1 / (1 + ρ / √(k / 2)), with ρ the
distance from the null in permutation standard deviations and k the number of directions among which the axis is
chosen; for a concordance it is multiplied by the squared slope of c = Φ(δ / √2), since near 1 a tilt of the axis
changes no order. It is a model, not a theorem: the coverage that it gives is simulated in
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


def learning_weight(distance: np.ndarray | float, null_variance: float, directions: float) -> np.ndarray:
    """Share of the learning variance that is left at a distance from the null."""
    far = np.abs(np.asarray(distance, dtype=float))
    if null_variance <= 0:
        return np.zeros_like(far)
    return 1.0 / (1.0 + far / np.sqrt(null_variance) / np.sqrt(max(directions, 1.0) / 2))


def concordance_variance_model(
    estimate: float,
    *,
    fixed_variance: float,
    fixed_at_null: float,
    permuted_variance: float,
    directions: float,
    n: int,
) -> Callable[[np.ndarray], np.ndarray]:
    """V(c0) of a cross-fitted concordance as a function of the candidate c0.

    Args:
        fixed_variance: jackknife variance of the fixed scores at the estimate.
        fixed_at_null: the same where scores and stage have nothing to do with each other.
        permuted_variance: mean square of the refitted permutation distribution about 0.5.
        directions: `axis.effective_directions`.
    """
    # the fixed-score variance in units of c (1 − c) is known at 0.5 and at the estimate; between them it is
    # interpolated. A touch of its null value keeps it positive at an estimate of 1.
    ridge = 0.1 / n
    here = (fixed_variance + ridge * 4 * fixed_at_null) / (estimate * (1 - estimate) + ridge)
    reach = max(abs(estimate - 0.5), 1e-9)
    permuted = max(permuted_variance, fixed_at_null)

    def variance(c0: np.ndarray) -> np.ndarray:
        share = np.minimum(np.abs(c0 - 0.5) / reach, 1.0)
        fixed = (4 * fixed_at_null + (here - 4 * fixed_at_null) * share) * c0 * (1 - c0)
        slope = np.exp(-(norm.ppf(np.clip(c0, 1e-9, 1 - 1e-9)) ** 2))
        return fixed + (permuted - fixed_at_null) * learning_weight(c0 - 0.5, permuted, directions) * slope

    return variance


def score_concordance_model(
    estimate: float,
    scores: np.ndarray,
    codes: np.ndarray,
    *,
    permuted_variance: float,
    directions: float,
    groups: np.ndarray | None = None,
) -> Callable[[np.ndarray], np.ndarray]:
    """`concordance_variance_model` of continuous scores: both fixed-score variances have closed forms."""
    n_stages = int(codes.max()) + 1
    levels = [codes] if groups is None else [codes[groups == g] for g in np.unique(groups)]
    counts = np.stack([np.bincount(c, minlength=n_stages) for c in levels])
    return concordance_variance_model(
        estimate,
        fixed_variance=concordance_variance(scores, codes, n_stages, groups=groups),
        fixed_at_null=null_concordance_variance(counts),
        permuted_variance=permuted_variance,
        directions=directions,
        n=codes.size,
    )


def difference_interval(
    difference: float,
    *,
    fixed: float,
    fixed_at_null: float,
    permuted_variance: float,
    directions: float,
    n: int,
    level: float = 0.95,
) -> Interval:
    """Interval of a difference or deviation of stage means, in within-stage standard deviations.

    `fixed` is its variance for fixed scores with the stages' own spreads, `fixed_at_null` with equal spreads.
    """
    learning = max(permuted_variance - fixed_at_null, 0.0)
    permuted = fixed + learning

    def variance(d0: np.ndarray) -> np.ndarray:
        return fixed + d0**2 / (2 * n) + learning * learning_weight(d0, permuted, directions)

    reach = 8 * np.sqrt(permuted + difference**2 / n) + 1
    return invert_score_test(
        difference, variance, bounds=(difference - reach, difference + reach), level=level
    )
