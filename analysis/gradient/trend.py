"""Trend and steps of the stage gradient: the stage is permuted and the axis refitted exactly each time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import norm

from analysis.gradient.axis import CrossFit, DenseCrossFit, cross_fit
from analysis.gradient.contrasts import StageContrasts
from analysis.gradient.data import StageData
from analysis.gradient.intervals import invert_score_test, score_concordance_model, student_interval
from analysis.gradient.learning import LearningCurve, learning_curve
from analysis.gradient.rank_statistics import (
    concordance,
    isotonic_means,
    kendall_tau_b,
    standardised_stage_means,
    step_statistic,
)
from analysis.gradient.result import StageRow, Step, Strict, Trend
from analysis.resampling import chunks, exact_floor, permutation_p_value, permuted_columns
from analysis.splits import repeated_folds

if TYPE_CHECKING:
    from analysis.results import Interval

POWER = 0.80
LEVEL = 0.95
MOST_GROUPS_LEFT_OUT = 20
UNEQUAL_SPREAD = 2.0  # ratio of stage SDs from which the permutation tests are only approximate


@dataclass(frozen=True, eq=False)
class TrendOutcome:
    """The trend, its permutation distribution [B] and what the other sections take from it."""

    trend: Trend
    null: np.ndarray
    variance: Callable[[np.ndarray], np.ndarray]  # of the concordance, by the true one
    contrasts: StageContrasts
    learning: LearningCurve
    minimum_detectable: float | None
    controls: dict[str, Any]


def trend_test(
    axis: CrossFit, d: StageData, *, permutations: int, rng: np.random.Generator, alpha: float
) -> TrendOutcome:
    """Concordance of the cross-fitted score with the stage; p by permutation within groups, refitted.

    With groups, embedding and stage are centred within them and only pairs of one group are counted.
    """
    scores = axis.scores(d.centred(d.codes))
    observed = float(concordance(scores, d.codes, d.n_stages, groups=d.groups))
    null = trend_null(axis, d, permutations=permutations, rng=rng)
    contrasts = StageContrasts.of(d, _compared_pairs(scores, d))
    learning = learning_curve(axis, d, rng=rng, null=null, contrasts=contrasts)
    variance = score_concordance_model(observed, scores, d.codes, learning=learning.at, groups=d.groups)
    trend = Trend(
        concordance=observed,
        ci=invert_score_test(observed, variance, bounds=(0.0, 1.0)),
        p_value=_no_less_than_exact(permutation_p_value(observed, null), d.codes, d.groups),
        kendall_tau=kendall_tau_b(scores, d.codes),
        permutations=permutations,
        estimand=(
            "expected concordance, on new patients of the same population"
            + ", within groups" * (d.groups is not None)
            + f", of the mean of {axis.repeats} stage axes each learnt from 4/5 of {d.n} patients"
        ),
    )
    return TrendOutcome(
        trend=trend,
        null=null,
        variance=variance,
        contrasts=contrasts,
        learning=learning,
        minimum_detectable=_detectable_concordance(null, variance, alpha),
        controls=_controls(axis, d, null, rng),
    )


def trend_null(axis: CrossFit, d: StageData, *, permutations: int, rng: np.random.Generator) -> np.ndarray:
    """[B] concordances of axes refitted to permuted stages."""
    null = np.empty(0)
    for size in chunks(d.n, permutations):
        drawn = permuted_columns(d.codes, size, rng, groups=d.groups)
        null = np.append(null, concordance(axis.scores(d.centred(drawn)), drawn, d.n_stages, groups=d.groups))
    return null


def _compared_pairs(scores: np.ndarray, d: StageData) -> list[tuple[int, int]]:
    """Neighbouring stages, and the pair that falls furthest."""
    pairs = list(pairwise(range(d.n_stages)))
    fall = _largest_fall(standardised_stage_means(scores, d.codes, d.n_stages))
    return pairs if fall in pairs else [*pairs, fall]


def _largest_fall(means: np.ndarray) -> tuple[int, int]:
    pairs = [(a, b) for a in range(means.size) for b in range(a + 1, means.size)]
    return max(pairs, key=lambda p: float(means[p[0]] - means[p[1]]))


def _no_less_than_exact(p: float, codes: np.ndarray, groups: np.ndarray | None) -> float:
    """Random draws may miss the observed arrangement; the exact p-value is never below one over their number."""
    return max(p, exact_floor(codes, groups))


def _detectable_concordance(null: np.ndarray, variance: Any, alpha: float) -> float | None:
    """Smallest concordance that exceeds the critical value in 80 % of studies of this size; None if none does."""
    critical = np.quantile(null, 1 - alpha)
    candidates = np.linspace(0.5, 1.0, 2001)
    reached = candidates - norm.ppf(POWER) * np.sqrt(variance(candidates)) >= critical
    reached &= candidates < 1.0
    return float(candidates[reached][0]) if reached.any() else None


def _controls(axis: CrossFit, d: StageData, null: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    """A permuted stage run through the same test, and the concordance without each group."""
    permuted = permuted_columns(d.codes, 1, rng, groups=d.groups)[:, 0]
    value = float(concordance(axis.scores(d.centred(permuted)), permuted, d.n_stages, groups=d.groups))
    controls: dict[str, Any] = {
        "permuted_stage": {
            "concordance": value,
            "p_value": permutation_p_value(value, null),
            "null_mean": float(null.mean()),
            "null_interval": [float(q) for q in np.quantile(null, [0.025, 0.975])],
        }
    }
    if d.groups is not None and np.unique(d.groups).size <= MOST_GROUPS_LEFT_OUT:
        controls["leave_one_group_out"] = _without_each_group(d, d.groups)
    return controls


def _without_each_group(d: StageData, groups: np.ndarray) -> list[dict[str, Any]]:
    rows = []
    for group in np.unique(groups):
        kept = groups != group
        codes, centred = d.codes[kept], d.centred(d.codes)[kept]
        row = {"group": str(group), "n_left": int(kept.sum()), "concordance": None}
        if kept.sum() >= 10 and np.unique(codes).size >= 2:
            axis = cross_fit(d.within_groups[kept], repeated_folds(int(kept.sum())))
            value = concordance(axis.scores(centred), codes, d.n_stages, groups=groups[kept])
            row["concordance"] = float(value) if np.isfinite(value) else None
        rows.append(row)
    return rows


@dataclass(frozen=True, eq=False)
class StepOutcome:
    stages: tuple[StageRow, ...]
    steps: tuple[Step, ...]
    strict: Strict
    scores: np.ndarray  # [n], within-stage SDs about the mean of the stage means
    warnings: tuple[str, ...]


def step_tests(
    axis: CrossFit,
    d: StageData,
    *,
    permutations: int,
    rng: np.random.Generator,
    alpha: float,
    trend: TrendOutcome,
) -> StepOutcome:
    """Each neighbouring pair of stages by permutation between the two with refit, and all pairs together.

    The statistic is Welch's t of the refitted scores, so that stages of unequal spread are compared fairly.
    """
    scores = axis.scores(d.centred(d.codes))
    intervals = _ContrastIntervals(scores, d, trend)
    steps, warnings = [], []
    for pair in pairwise(range(d.n_stages)):
        k = pair[0]
        statistic, null = step_null(axis, d, scores, pair, permutations=permutations, rng=rng)
        members = (d.codes == k) | (d.codes == k + 1)
        name = f"{d.order[k]} → {d.order[k + 1]}"
        groups = None if d.groups is None else d.groups[members]
        if (floor := exact_floor(d.codes[members], groups)) >= alpha:
            warnings.append(f"step {name} cannot be established: its p-value cannot be below {floor:.2g}")
        steps.append(
            Step(
                from_stage=d.order[k],
                to_stage=d.order[k + 1],
                n_from=int(d.counts[k]),
                n_to=int(d.counts[k + 1]),
                difference=intervals.estimate(pair),
                ci=intervals.of(pair, LEVEL),
                p_value=_no_less_than_exact(permutation_p_value(statistic, null), d.codes[members], groups),
                auc=float(concordance(scores[members], d.codes[members] - k, 2, groups=groups)),
            )
        )
    warnings += _spread_warning(scores, d)
    means = standardised_stage_means(scores, d.codes, d.n_stages)
    strict = _strict(d, means, tuple(steps), intervals, trend=trend.trend, alpha=alpha)
    rows = tuple(
        StageRow(label, int(d.counts[k]), float(means[k]), intervals.of_mean(k))
        for k, label in enumerate(d.order)
    )
    return StepOutcome(rows, tuple(steps), strict, _standardised(scores, d), tuple(warnings))


class _ContrastIntervals:
    """Intervals of stage means and differences: variance for fixed scores, and what learning the axis adds."""

    def __init__(self, scores: np.ndarray, d: StageData, trend: TrendOutcome) -> None:
        self._contrasts = trend.contrasts
        self._values = trend.contrasts.values(scores[:, None], d.codes[:, None])[:, 0]
        self._fixed = trend.contrasts.variances(scores, d.codes)
        self._learning = trend.learning.of_contrasts(trend.trend.concordance)
        self._means = d.groups is None

    def estimate(self, pair: tuple[int, int]) -> float:
        return float(self._values[self._contrasts.index(pair)])

    def of(self, pair: tuple[int, int], level: float) -> Interval | None:
        return self._interval(self._contrasts.index(pair), level)

    def of_mean(self, k: int) -> Interval | None:
        """None within groups, where a mean over groups answers no question."""
        return self._interval(k, LEVEL) if self._means else None

    def _interval(self, i: int, level: float) -> Interval | None:
        return student_interval(
            float(self._values[i]),
            fixed=float(self._fixed.variance[i]),
            learning=float(self._learning[i]),
            df=float(self._fixed.df[i]),
            level=level,
        )


def step_null(
    axis: CrossFit,
    d: StageData,
    scores: np.ndarray,
    pair: tuple[int, int],
    *,
    permutations: int,
    rng: np.random.Generator,
) -> tuple[float, np.ndarray]:
    """Studentised difference of two stages and its refitted permutation distribution [B]."""
    observed = _step(scores[:, None], d.codes[:, None], d, pair)
    members = np.flatnonzero((d.codes == pair[0]) | (d.codes == pair[1]))
    groups = None if d.groups is None else d.groups[members]
    null = np.empty(0)
    for size in chunks(d.n, permutations):
        drawn = np.repeat(d.codes[:, None], size, axis=1)
        drawn[members] = permuted_columns(d.codes[members], size, rng, groups=groups)
        null = np.append(null, _step(_refitted(axis, d, scores, drawn, members), drawn, d, pair))
    return float(observed[0]), null


def _step(scores: np.ndarray, codes: np.ndarray, d: StageData, pair: tuple[int, int]) -> np.ndarray:
    return step_statistic(scores, codes, pair, n_stages=d.n_stages, groups=d.groups)


def _refitted(
    axis: CrossFit, d: StageData, scores: np.ndarray, drawn: np.ndarray, members: np.ndarray
) -> np.ndarray:
    """Scores [n, B] refitted to stages that differ from the observed ones in `members` alone."""
    if isinstance(axis, DenseCrossFit):
        return scores[:, None] + axis.operator[:, members] @ (drawn[members] - d.codes[members, None]).astype(
            float
        )
    return axis.scores(d.centred(drawn))


def stage_spreads(scores: np.ndarray, codes: np.ndarray, n_stages: int) -> np.ndarray:
    """SD of the scores by stage over the pooled within-stage SD [K]; 1 where a stage has fewer than 3 patients."""
    counts = np.bincount(codes, minlength=n_stages)
    own = np.array([scores[codes == k].std(ddof=1) if counts[k] > 2 else np.nan for k in range(n_stages)])
    means = np.array([scores[codes == k].mean() for k in range(n_stages)])
    pooled = np.sqrt(np.sum((scores - means[codes]) ** 2) / (scores.size - n_stages))
    return np.where(np.isfinite(own), own / pooled if pooled > 0 else 1.0, 1.0)


def _spread_warning(scores: np.ndarray, d: StageData) -> list[str]:
    spreads = stage_spreads(scores, d.codes, d.n_stages)[d.counts >= 8]
    if spreads.size < 2 or spreads.max() <= UNEQUAL_SPREAD * spreads.min():
        return []
    return [
        f"scores spread {spreads.max() / max(spreads.min(), 1e-12):.1f} times as widely in one stage as in "
        "another: a permutation test then also reacts to spread"
    ]


def _strict(
    d: StageData,
    means: np.ndarray,
    steps: tuple[Step, ...],
    intervals: _ContrastIntervals,
    *,
    trend: Trend,
    alpha: float,
) -> Strict:
    """Intersection–union test, reversed steps, isotonic fit and its largest violation, and the verdict.

    A step is called reversed when its interval at the level shared among all steps (Bonferroni) lies below 0;
    the interval of the largest fall allows for its having been the largest of all pairs.
    """
    p_value = max(s.p_value for s in steps)
    shared = 1 - (1 - LEVEL) / len(steps)
    reversed_steps = tuple(
        f"{s.from_stage} → {s.to_stage}"
        for k, s in enumerate(steps)
        if (ci := intervals.of((k, k + 1), shared)) is not None and ci[1] < 0
    )
    a, b = _largest_fall(means)
    fall, interval = float(means[a] - means[b]), None
    if fall > 0:
        n_pairs = d.n_stages * (d.n_stages - 1) // 2
        ci = intervals.of((a, b), 1 - (1 - LEVEL) / n_pairs)
        interval = None if ci is None else (-ci[1], -ci[0])
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


def _standardised(scores: np.ndarray, d: StageData) -> np.ndarray:
    raw = np.array([scores[d.codes == k].mean() for k in range(d.n_stages)])
    within = np.sqrt(np.sum((scores - raw[d.codes]) ** 2) / (d.n - d.n_stages))
    return (scores - raw.mean()) / within if within > 0 else scores - raw.mean()
