"""Trend and steps of the stage gradient: the stage is permuted and the axis refitted exactly each time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import norm

from analysis.gradient.axis import CrossFit, cross_fit
from analysis.gradient.data import StageData
from analysis.gradient.intervals import (
    concordance_variance_model,
    difference_interval,
    invert_score_test,
    stage_mean_interval,
)
from analysis.gradient.rank_statistics import (
    concordance,
    isotonic_means,
    kendall_tau_b,
    standardised_stage_means,
)
from analysis.gradient.result import StageRow, Step, Strict, Trend
from analysis.resampling import chunks, permutation_p_value, permuted_columns
from analysis.splits import repeated_folds

if TYPE_CHECKING:
    from analysis.results import Interval

POWER = 0.80
MOST_GROUPS_LEFT_OUT = 20


@dataclass(frozen=True, eq=False)
class TrendOutcome:
    """The trend, its permutation distribution [B] and what the other sections take from it."""

    trend: Trend
    null: np.ndarray
    stage_mean_variance: np.ndarray  # [K], of the refitted standardised stage means under permutation
    signal_to_noise: float
    minimum_detectable: float
    controls: dict[str, Any]
    warnings: tuple[str, ...]


def trend_test(
    axis: CrossFit, d: StageData, *, permutations: int, rng: np.random.Generator, alpha: float
) -> TrendOutcome:
    """Concordance of the cross-fitted score with the stage; p by permutation within groups, refitted."""
    scores = axis.scores(d.y)
    observed = float(concordance(scores, d.codes, d.n_stages))
    null = np.empty(0)
    mean_square = np.zeros(d.n_stages)
    for size in chunks(d.n, permutations):
        drawn = permuted_columns(d.codes, size, rng, groups=d.groups)
        refitted = axis.scores(drawn.astype(float))
        null = np.append(null, concordance(refitted, drawn, d.n_stages))
        mean_square += (standardised_stage_means(refitted, drawn, d.n_stages) ** 2).sum(axis=1)
    spread = _about(0.5, null, d)
    variance = concordance_variance_model(observed, scores, d.codes, permuted_variance=spread)
    trend = Trend(
        concordance=observed,
        ci=invert_score_test(observed, variance, bounds=(0.0, 1.0)),
        p_value=permutation_p_value(observed, null),
        kendall_tau=kendall_tau_b(scores, d.codes),
        permutations=permutations,
        estimand=(
            "expected concordance, on new patients of the same population, of the mean of "
            f"{axis.repeats} stage axes each learnt from 4/5 of {d.n} patients"
        ),
    )
    return TrendOutcome(
        trend=trend,
        null=null,
        stage_mean_variance=mean_square / permutations,
        signal_to_noise=abs(observed - 0.5) / float(np.sqrt(spread)) if spread > 0 else 0.0,
        minimum_detectable=_detectable_concordance(null, variance, alpha),
        controls=_controls(axis, d, null, rng),
        warnings=(),
    )


def _detectable_concordance(null: np.ndarray, variance: Any, alpha: float) -> float:
    """Smallest concordance that exceeds the critical value in 80 % of studies of this size."""
    critical = np.quantile(null, 1 - alpha)
    candidates = np.linspace(0.5, 1.0, 2001)
    reached = candidates - norm.ppf(POWER) * np.sqrt(variance(candidates)) >= critical
    return float(candidates[reached][0]) if reached.any() else 1.0


def _controls(axis: CrossFit, d: StageData, null: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    """A permuted stage run through the same test, and the concordance without each group."""
    permuted = permuted_columns(d.codes, 1, rng, groups=d.groups)[:, 0]
    value = float(concordance(axis.scores(permuted.astype(float)), permuted, d.n_stages))
    controls: dict[str, Any] = {
        "permuted_stage": {
            "concordance": value,
            "p_value": permutation_p_value(value, null),
            "null_mean": float(null.mean()),
            "null_interval": [float(q) for q in np.quantile(null, [0.025, 0.975])],
        }
    }
    if d.groups is not None and np.unique(d.groups).size <= MOST_GROUPS_LEFT_OUT:
        controls["leave_one_group_out"] = _without_each_group(d)
    return controls


def _without_each_group(d: StageData) -> list[dict[str, Any]]:
    assert d.groups is not None  # the caller asks only where groups are given
    rows = []
    for group in np.unique(d.groups):
        kept = d.groups != group
        codes = d.codes[kept]
        row = {"group": str(group), "n_left": int(kept.sum()), "concordance": None}
        if kept.sum() >= 10 and np.unique(codes).size >= 2:
            axis = cross_fit(d.X[kept], repeated_folds(int(kept.sum())))
            row["concordance"] = float(concordance(axis.scores(codes.astype(float)), codes, d.n_stages))
        rows.append(row)
    return rows


@dataclass(frozen=True, eq=False)
class StepOutcome:
    stages: tuple[StageRow, ...]
    steps: tuple[Step, ...]
    strict: Strict
    scores: np.ndarray  # [n], within-stage SDs about the mean of the stage means


def step_tests(
    axis: CrossFit,
    d: StageData,
    *,
    permutations: int,
    rng: np.random.Generator,
    alpha: float,
    trend: TrendOutcome,
) -> StepOutcome:
    """Each neighbouring pair of stages by permutation between the two with refit, and all pairs together."""
    scores = axis.scores(d.y)
    means = standardised_stage_means(scores, d.codes, d.n_stages)
    steps = []
    for k in range(d.n_stages - 1):
        null = _pair_null(axis, d, (k, k + 1), permutations, rng)
        difference = float(means[k + 1] - means[k])
        pair = (d.codes == k) | (d.codes == k + 1)
        steps.append(
            Step(
                from_stage=d.order[k],
                to_stage=d.order[k + 1],
                n_from=int(d.counts[k]),
                n_to=int(d.counts[k + 1]),
                difference=difference,
                ci=_pair_interval(difference, d, (k, k + 1), null),
                p_value=permutation_p_value(difference, null),
                auc=float(concordance(scores[pair], d.codes[pair] - k, 2)),
            )
        )
    strict = _strict(
        axis, d, means, tuple(steps), trend.trend, permutations=permutations, rng=rng, alpha=alpha
    )
    return StepOutcome(_stage_rows(d, means, trend), tuple(steps), strict, _standardised(scores, d))


def _pair_null(
    axis: CrossFit, d: StageData, pair: tuple[int, int], permutations: int, rng: np.random.Generator
) -> np.ndarray:
    """[B] refitted differences of two stages' means when their labels are exchanged between them alone."""
    a, b = pair
    members = np.flatnonzero((d.codes == a) | (d.codes == b))
    groups = None if d.groups is None else d.groups[members]
    null = np.empty(0)
    for size in chunks(d.n, permutations):
        drawn = np.repeat(d.codes[:, None], size, axis=1)
        drawn[members] = permuted_columns(d.codes[members], size, rng, groups=groups)
        means = standardised_stage_means(axis.scores(drawn.astype(float)), drawn, d.n_stages)
        null = np.append(null, means[b] - means[a])
    return null


def _pair_interval(difference: float, d: StageData, pair: tuple[int, int], null: np.ndarray) -> Interval:
    return difference_interval(
        difference,
        n_from=int(d.counts[pair[0]]),
        n_to=int(d.counts[pair[1]]),
        n=d.n,
        permuted_variance=_about(0.0, null, d),
    )


def _about(value: float, null: np.ndarray, d: StageData) -> float:
    """Mean square of a permuted statistic about its null value, so that a small-sample bias counts as error.

    Within groups the null value is not known (groups may differ in stage and embedding), and the variance about
    the mean is taken.
    """
    return float(np.mean((null - value) ** 2) if d.groups is None else null.var())


def _strict(
    axis: CrossFit,
    d: StageData,
    means: np.ndarray,
    steps: tuple[Step, ...],
    trend: Trend,
    *,
    permutations: int,
    rng: np.random.Generator,
    alpha: float,
) -> Strict:
    """Intersection–union test, reversed steps, isotonic fit and its largest violation, and the verdict."""
    p_value = max(s.p_value for s in steps)
    reversed_steps = tuple(
        f"{s.from_stage} → {s.to_stage}" for s in steps if s.ci is not None and s.ci[1] < 0
    )
    pairs = [(a, b) for a in range(d.n_stages) for b in range(a + 1, d.n_stages)]
    a, b = max(pairs, key=lambda p: means[p[0]] - means[p[1]])
    fall = float(means[a] - means[b])
    interval: Interval | None = None
    if fall > 0:
        low, high = _pair_interval(-fall, d, (a, b), _pair_null(axis, d, (a, b), permutations, rng))
        interval = (-high, -low)
    if trend.p_value >= alpha:
        verdict = "no trend detected"
    elif reversed_steps:
        verdict = "trend with a reversed step"
    elif p_value < alpha:
        verdict = "strictly increasing"
    else:
        verdict = "trend, steps not all established"
    return Strict(
        p_value=p_value,
        reversed_steps=reversed_steps,
        verdict=verdict,
        isotonic=tuple(float(v) for v in isotonic_means(means, d.counts)),
        largest_violation=max(fall, 0.0),
        largest_violation_ci=interval,
    )


def _stage_rows(d: StageData, means: np.ndarray, trend: TrendOutcome) -> tuple[StageRow, ...]:
    K, inverse = d.n_stages, 1 / d.counts
    rows = []
    for k, label in enumerate(d.order):
        fixed = (1 - 2 / K) * inverse[k] + inverse.sum() / K**2  # variance of a mean about the mean of means
        interval = stage_mean_interval(
            float(means[k]),
            fixed=float(fixed),
            permuted_variance=float(trend.stage_mean_variance[k]),
            signal_to_noise=trend.signal_to_noise,
            n=d.n,
        )
        rows.append(StageRow(label, int(d.counts[k]), float(means[k]), interval))
    return tuple(rows)


def _standardised(scores: np.ndarray, d: StageData) -> np.ndarray:
    raw = np.array([scores[d.codes == k].mean() for k in range(d.n_stages)])
    within = np.sqrt(np.sum((scores - raw[d.codes]) ** 2) / (d.n - d.n_stages))
    return (scores - raw.mean()) / within if within > 0 else scores - raw.mean()
