"""Several embeddings on the same patients and folds: paired differences.

The interval of a difference is estimate ± t √V with

    V = F + L_a + L_b − 2 r √(L_a L_b),

F the paired jackknife variance for fixed scores, L what learning an axis adds at its own concordance
(`gradient.learning`; not below 0 here), and r the correlation of the parts that come from learning when the stage is
permuted (the same permutations for both). Its coverage is simulated in `tests/benchmarks/gradient_coverage.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t

from analysis.gradient.axis import CrossFit
from analysis.gradient.data import StageData
from analysis.gradient.intervals import invert_score_test, score_concordance_model
from analysis.gradient.learning import LearningCurve, learning_curve
from analysis.gradient.rank_statistics import concordance, concordant_share
from analysis.resampling import chunks, permutation_p_value, permuted_columns
from analysis.results import Interval

FIXED_DRAWS = 50  # permutations for which the variance with fixed scores is worked out


@dataclass(frozen=True)
class Compared:
    """One embedding: its concordance and trend test on the common patients."""

    name: str
    embedding_id: str | None
    dimensions: int
    concordance: float
    ci: Interval | None
    p_value: float
    p_holm: float


@dataclass(frozen=True)
class Difference:
    """Concordance of `first` less that of `second` on the same patients and folds; two-sided p."""

    first: str
    second: str
    difference: float
    ci: Interval | None
    p_value: float
    p_holm: float


@dataclass(frozen=True)
class Comparison:
    """All embeddings, and every pair of them; Holm's correction over the trend tests and over the pairs."""

    n: int
    permutations: int
    embeddings: tuple[Compared, ...]
    pairs: tuple[Difference, ...]
    verdict: str


@dataclass(frozen=True)
class Candidate:
    """What is compared: a name and its cross-fitted axis on the common patients and folds."""

    name: str
    axis: CrossFit
    dimensions: int
    embedding_id: str | None = None


@dataclass(frozen=True, eq=False)
class JointNull:
    """Concordances of all candidates under the same permutations of the stage, and what fixed scores would give.

    n: patients; observed [m]; null [m, B]; fixed [m, m]: jackknife covariance at the estimates; fixed_null [m, m]:
    its mean under permutation; curves: what learning adds to each.
    """

    observed: np.ndarray
    null: np.ndarray
    fixed: np.ndarray
    fixed_null: np.ndarray
    n: int
    curves: tuple[LearningCurve, ...]

    def learning(self) -> np.ndarray:
        """[m, m] covariance from learning the axes, each at its own concordance."""
        extra = np.cov(self.null).reshape(self.fixed.shape) - self.fixed_null
        own = np.sqrt(np.maximum(np.diagonal(extra), 1e-300))
        correlation = np.clip(extra / np.outer(own, own), -1.0, 1.0)
        np.fill_diagonal(correlation, 1.0)
        here = [
            np.sqrt(max(float(curve.at(c)), 0.0)) for curve, c in zip(self.curves, self.observed, strict=True)
        ]
        return np.asarray(correlation * np.outer(here, here))

    def variance(self, a: int, b: int) -> float:
        """Variance of the difference of two candidates' concordances."""
        total = self.fixed + self.learning()
        both = total[a, a] + total[b, b]
        value = both - 2 * total[a, b]
        return float(value) if value > 1e-12 * both else 0.0  # rounding


def joint_null(
    axes: Sequence[CrossFit], d: StageData, *, permutations: int, rng: np.random.Generator
) -> JointNull:
    """Permute the stage within groups and refit every candidate to the same permutation.

    With groups, the axes are of embeddings less their group's mean (`StageData.within_groups`), as the trend's.
    """
    K, m = d.n_stages, len(axes)
    observed_scores = [axis.scores(d.centred(d.codes)) for axis in axes]
    null: list[list[np.ndarray]] = [[] for _ in axes]
    fixed_null, done = np.zeros((m, m)), 0
    for size in chunks(d.n, permutations):
        drawn = permuted_columns(d.codes, size, rng, groups=d.groups)
        refitted = [axis.scores(d.centred(drawn)) for axis in axes]
        for own, scores in zip(null, refitted, strict=True):
            own.append(concordance(scores, drawn, K, groups=d.groups))
        for b in range(min(size, FIXED_DRAWS - done)):
            fixed_null += jackknife_covariance([s[:, b] for s in refitted], drawn[:, b], K, groups=d.groups)
            done += 1
    stream = int(rng.integers(2**32))  # the same draws for all, so that equal embeddings differ by nothing
    nulls = np.array([np.concatenate(own) for own in null])
    return JointNull(
        observed=np.array([float(concordance(s, d.codes, K, groups=d.groups)) for s in observed_scores]),
        null=nulls,
        fixed=jackknife_covariance(observed_scores, d.codes, K, groups=d.groups),
        fixed_null=fixed_null / max(done, 1),
        n=d.n,
        curves=tuple(
            learning_curve(axis, d, rng=np.random.default_rng(stream), null=own)
            for axis, own in zip(axes, nulls, strict=True)
        ),
    )


def jackknife_covariance(
    scores: Sequence[np.ndarray], codes: np.ndarray, n_stages: int, *, groups: np.ndarray | None = None
) -> np.ndarray:
    """[m, m] delete-one jackknife covariance of the concordances of fixed scores on the same patients."""
    left = []
    for s in scores:
        concordant, pairs = concordant_share(s, codes, n_stages, groups=groups)
        left.append((concordant.sum() / 2 - concordant) / (pairs.sum() / 2 - pairs))
    deviations = np.array(left) - np.mean(left, axis=1, keepdims=True)  # [m, n]
    return np.asarray((codes.size - 1) / codes.size * deviations @ deviations.T)


def compare(
    candidates: Sequence[Candidate],
    d: StageData,
    *,
    permutations: int,
    rng: np.random.Generator,
    known: Mapping[str, tuple[Interval | None, float]] | None = None,
    alpha: float = 0.05,
) -> Comparison:
    """Concordance of every candidate, and all paired differences.

    `known`: interval and p by name where the main analysis has them already, so that one number is not told
    twice in two ways.
    """
    joint = joint_null([c.axis for c in candidates], d, permutations=permutations, rng=rng)
    p = [permutation_p_value(float(o), null) for o, null in zip(joint.observed, joint.null, strict=True)]
    intervals: list[Interval | None] = [score_interval(joint, i, c.axis, d) for i, c in enumerate(candidates)]
    for i, c in enumerate(candidates):
        if known and c.name in known:
            intervals[i], p[i] = known[c.name]
    holm = holm_adjusted(p)
    embeddings = tuple(
        Compared(c.name, c.embedding_id, c.dimensions, float(o), ci, p_i, h)
        for c, o, ci, p_i, h in zip(candidates, joint.observed, intervals, p, holm, strict=True)
    )
    pairs = _all_pairs(candidates, joint)
    return Comparison(d.n, permutations, embeddings, pairs, _verdict(embeddings, pairs, alpha))


def _all_pairs(candidates: Sequence[Candidate], joint: JointNull) -> tuple[Difference, ...]:
    places = [(a, b) for a in range(len(candidates)) for b in range(a + 1, len(candidates))]
    rows = [paired_difference(joint, a, b) for a, b in places]
    holm = holm_adjusted([p for _, _, p in rows])
    return tuple(
        Difference(candidates[a].name, candidates[b].name, value, ci, p, h)
        for (a, b), (value, ci, p), h in zip(places, rows, holm, strict=True)
    )


def paired_difference(joint: JointNull, a: int, b: int) -> tuple[float, Interval, float]:
    """Difference of two concordances, its 95 % interval and two-sided p (t with n − 1 degrees of freedom)."""
    difference, se = float(joint.observed[a] - joint.observed[b]), float(np.sqrt(joint.variance(a, b)))
    if se == 0.0:
        return difference, (difference, difference), 1.0
    reach = float(t.ppf(0.975, joint.n - 1)) * se
    interval = (float(max(difference - reach, -1.0)), float(min(difference + reach, 1.0)))
    return difference, interval, float(2 * t.sf(abs(difference) / se, joint.n - 1))


def score_interval(joint: JointNull, i: int, axis: CrossFit, d: StageData) -> Interval:
    """Interval of candidate i's concordance, as the main trend's (`gradient.intervals`)."""
    value = float(joint.observed[i])
    variance = score_concordance_model(
        value,
        axis.scores(d.centred(d.codes)),
        d.codes,
        learning=joint.curves[i].at,
        groups=d.groups,
    )
    return invert_score_test(value, variance, bounds=(0.0, 1.0))


def holm_adjusted(p: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values, in the order given.

    Source: Holm, Scand. J. Stat. 6 (1979) 65.
    """
    values = np.asarray(p, dtype=float)
    order = np.argsort(values, kind="stable")
    steps = np.maximum.accumulate(values[order] * (values.size - np.arange(values.size)))
    adjusted = np.empty(values.size)
    adjusted[order] = np.minimum(steps, 1.0)
    return [float(v) for v in adjusted]


def _verdict(embeddings: Sequence[Compared], pairs: Sequence[Difference], alpha: float) -> str:
    best = max(embeddings, key=lambda e: e.concordance)
    beaten = [
        d.second if d.first == best.name else d.first
        for d in pairs
        if d.p_holm < alpha and best.name in (d.first, d.second)
    ]
    if not beaten:
        return f"none is shown to order the stages better than {_the_other(embeddings)} (after Holm's correction)"
    return f"{best.name} orders the stages better than {', '.join(beaten)} (after Holm's correction)"


def _the_other(embeddings: Sequence[Compared]) -> str:
    return "the other" if len(embeddings) == 2 else "another"
