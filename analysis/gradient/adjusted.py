"""Beyond the adjusters: what is left of the gradient when size, scanner and the like are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.stats import norm

from analysis.gradient.adjusters import (
    AdjusterBasis,
    adjuster_basis,
    is_number,
    redrawn_stages,
    residual_projector,
    spline_df,
    stage_given_adjusters,
    strata_of,
)
from analysis.gradient.axis import CrossFit, cross_fit
from analysis.gradient.data import StageData
from analysis.gradient.held_out_pairs import HeldOutPairs, held_out_pairs
from analysis.gradient.intervals import concordance_variance_model, invert_score_test
from analysis.gradient.rank_statistics import concordant_share, paired_variance
from analysis.gradient.result import Adjusters, Trend
from analysis.gradient.trend import POWER
from analysis.resampling import chunks, jackknife_variance, permutation_p_value, permuted_columns
from analysis.results import Interval
from analysis.splits import Folds

GAIN_STRENGTHS = (0.0, 0.25, 0.5, 1.0, 2.0)  # of the score beside the adjusters, in logits per stage and SD
GAIN_DRAWS = 99  # of the stage at every strength
JACKKNIVES = 12  # draws whose fixed-score variance is averaged
RELEVANT_GAIN = 0.05  # an added concordance below it may be called explained
RELEVANT_CORRELATION = 0.25  # and only where an adjusted correlation of this size is out of reach,
DETECTABLE_CORRELATION = 1 / 3  # in a study that would have found one of this size


@dataclass(frozen=True, eq=False)
class AdjustedNull:
    """Both tests beyond the adjusters: the statistic, its two null distributions [B], and what they were made of."""

    columns: tuple[str, ...]
    basis: AdjusterBasis
    probability: np.ndarray  # [n, K]: P(stage | adjusters)
    beyond: CrossFit
    observed: float
    conditional: np.ndarray
    freedman_lane: np.ndarray

    @property
    def p_conditional(self) -> float:
        return permutation_p_value(self.observed, self.conditional)

    @property
    def p_freedman_lane(self) -> float:
        return permutation_p_value(self.observed, self.freedman_lane)


def adjusted_null(d: StageData, folds: Folds, *, permutations: int, rng: np.random.Generator) -> AdjustedNull:
    """Conditional randomisation of the stage given the adjusters, and Freedman–Lane permutation, with refits.

    A group becomes one more (categorical) adjuster.

    Sources: Candès et al., J. R. Stat. Soc. B 80 (2018) 551; Freedman & Lane, J. Bus. Econ. Stat. 1 (1983)
    292.
    """
    assert d.adjusters is not None  # the caller asks only where adjusters are given
    table = d.adjusters
    if d.groups is not None and d.group_name not in table.columns:
        table = table.assign(**{str(d.group_name): d.groups})
    basis = adjuster_basis(table)
    probability = stage_given_adjusters(basis.matrix, d.codes)
    beyond = cross_fit(d.X, folds, basis=basis.matrix)
    Q = residual_projector(basis.matrix)
    null = np.empty(0)
    for size in chunks(d.n, permutations):
        drawn = redrawn_stages(probability, size, rng)
        null = np.append(null, _statistic(beyond, Q, drawn.astype(float)))
    return AdjustedNull(
        columns=tuple(str(c) for c in table.columns),
        basis=basis,
        probability=probability,
        beyond=beyond,
        observed=float(_statistic(beyond, Q, d.y)[0]),
        conditional=null,
        freedman_lane=freedman_lane(
            beyond,
            Q,
            d,
            expected=probability @ np.arange(d.n_stages),
            permutations=permutations,
            rng=rng,
        ),
    )


def adjusted_tests(
    scores: np.ndarray,
    d: StageData,
    folds: Folds,
    *,
    permutations: int,
    rng: np.random.Generator,
    alpha: float,
    trend: Trend,
) -> Adjusters:
    """Adjusters-only baseline, both adjusted tests, strata and added value; the verdict needs them together.

    `scores` [n]: the unadjusted out-of-fold scores.
    """
    tests = adjusted_null(d, folds, permutations=permutations, rng=rng)
    observed, null = tests.observed, tests.conditional
    gain = _gain(d, tests.basis.matrix, folds, tests.probability, tests.beyond, rng)
    detectable = float(np.quantile(null, 1 - alpha) + norm.ppf(POWER) * null.std())
    stratified, strata = _within_strata(scores, d)
    upper = observed + float(norm.ppf(0.975) * null.std())
    verdict, disagreement = _verdict(
        tests.p_conditional,
        tests.p_freedman_lane,
        gain,
        upper=upper,
        detectable=detectable,
        trend=trend,
        alpha=alpha,
    )
    return Adjusters(
        columns=tests.columns,
        basis=tests.basis.description,
        baseline_concordance=gain.baseline,
        baseline_ci=gain.baseline_ci,
        adjusted_statistic=observed,
        p_conditional=tests.p_conditional,
        p_freedman_lane=tests.p_freedman_lane,
        stratified_concordance=stratified,
        strata=strata,
        combined_concordance=gain.combined,
        added_value=gain.combined - gain.baseline,
        added_value_ci=gain.ci,
        adjusted_upper_bound=upper,
        minimum_detectable_statistic=detectable,
        relevant_gain=_relevant_gain(gain, trend),
        verdict=verdict,
        disagreement=disagreement,
        cautions=tests.basis.cautions,
    )


def _statistic(beyond: CrossFit, Q: np.ndarray, Y: np.ndarray) -> np.ndarray:
    """Correlation [B] of the out-of-fold adjusted score with the residual stage, for Y [n] or [n, B]."""
    Y = Y[:, None] if Y.ndim == 1 else Y
    scores = beyond.scores(Y)
    residual = Y - Q @ (Q.T @ Y)
    scores = scores - scores.mean(axis=0)
    size = np.linalg.norm(scores, axis=0) * np.linalg.norm(residual, axis=0)
    product = np.einsum("nb,nb->b", scores, residual)
    return np.divide(product, size, out=np.zeros_like(product), where=size > 0)


def freedman_lane(
    beyond: CrossFit,
    Q: np.ndarray,
    d: StageData,
    *,
    expected: np.ndarray,
    permutations: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """[B] statistics of (expected stage + permuted residual): the second opinion.

    expected [n]: the mean stage given the adjusters. That of the model of stage given adjusters, which stays between
    the first and the last stage: with a least-squares fit the test rejects too often where a stage is rare
    (`tests/benchmarks/freedman_lane.py`).
    """
    residual = d.y - expected
    null = np.empty(0)
    for size in chunks(d.n, permutations):
        drawn = expected[:, None] + permuted_columns(residual, size, rng, groups=d.groups)
        null = np.append(null, _statistic(beyond, Q, drawn))
    return null


@dataclass(frozen=True)
class _Gain:
    """Concordance of the adjusters, of both, and of the difference, over pairs held out together."""

    baseline: float
    baseline_ci: Interval
    combined: float
    ci: Interval | None


def _gain(
    d: StageData,
    basis: np.ndarray,
    folds: Folds,
    probability: np.ndarray,
    beyond: CrossFit,
    rng: np.random.Generator,
) -> _Gain:
    """Both concordances, and their distribution where the score has every strength beside the adjusters."""
    z = beyond.in_sample(d.y)
    spread = z.std()
    z = (z - z.mean()) / spread if spread > 0 else z
    blocks = [d.codes[:, None], permuted_columns(d.codes, GAIN_DRAWS, rng)]
    for strength in GAIN_STRENGTHS:
        drawn = redrawn_stages(_tilted(probability, strength * z), GAIN_DRAWS, rng)
        blocks.append(drawn[:, [np.unique(column).size == d.n_stages for column in drawn.T]])
    edges = np.cumsum([0, *(block.shape[1] for block in blocks)])
    parts = [np.arange(low, high) for low, high in pairwise(edges)]
    jackknife = np.concatenate([part[:JACKKNIVES] for part in parts[:3]])
    pairs = held_out_pairs(
        d.X,
        basis,
        folds,
        codes=np.column_stack(blocks),
        n_stages=d.n_stages,
        jackknife=jackknife,
        beyond=beyond,
    )
    enough = min(part.size for part in parts[2:]) >= GAIN_DRAWS // 2
    return _Gain(
        baseline=float(pairs.base[0]),
        baseline_ci=_baseline_interval(pairs, jackknife, permuted=parts[1], redrawn=parts[2], n=d.n),
        combined=float(pairs.both[0]),
        ci=_gain_interval(pairs, parts[2:]) if enough else None,
    )


def _tilted(probability: np.ndarray, by: np.ndarray) -> np.ndarray:
    """P(stage | adjusters) [n, K] times exp(by · stage), by [n]: the stage also follows the score."""
    tilted = probability * np.exp(np.outer(by, np.arange(probability.shape[1])))
    return np.asarray(tilted / tilted.sum(axis=1, keepdims=True))


def _baseline_interval(
    pairs: HeldOutPairs, jackknife: np.ndarray, *, permuted: np.ndarray, redrawn: np.ndarray, n: int
) -> Interval:
    """Score interval; what learning adds is known without relation and where the adjusters' own model holds."""
    fixed = np.array([jackknife_variance(column) for column in pairs.base_left.T])
    at_null = float(fixed[np.isin(jackknife, permuted)].mean())
    excess = [
        max(float(np.mean((pairs.base[permuted] - 0.5) ** 2)) - at_null, 0.0),
        max(float(pairs.base[redrawn].var() - fixed[np.isin(jackknife, redrawn)].mean()), 0.0),
    ]
    reached = max(float(pairs.base[redrawn].mean()), 0.5 + 1e-9)
    variance = concordance_variance_model(
        float(pairs.base[0]),
        fixed_variance=float(fixed[0]),
        fixed_at_null=at_null,
        learning=lambda c0: np.interp(c0, [0.5, reached], excess),
        n=n,
    )
    return invert_score_test(float(pairs.base[0]), variance, bounds=(0.0, 1.0))


def _gain_interval(pairs: HeldOutPairs, strengths: Sequence[np.ndarray]) -> Interval:
    """Candidates of the gain that a test with the variance *at the candidate* keeps.

    A learnt gain varies more where there is more to gain. So its variance is that of the refitted gain among stages
    drawn from a model in which the score has just the strength that gives the candidate; it is at least the
    jackknife variance of the fixed scores at hand.
    """
    gain = pairs.both - pairs.base
    reached = np.maximum.accumulate([float(gain[part].mean()) for part in strengths])
    spread = [float(gain[part].var(ddof=1)) for part in strengths]
    fixed = paired_variance(pairs.both_left[:, 0], pairs.base_left[:, 0])

    def variance(g0: np.ndarray) -> np.ndarray:
        return np.maximum(np.interp(g0, reached, spread), fixed)

    base = float(pairs.base[0])
    return invert_score_test(float(gain[0]), variance, bounds=(-base, 1 - base))


def _within_strata(scores: np.ndarray, d: StageData) -> tuple[float | None, str]:
    """Concordance over pairs within strata of the first adjuster, and what the strata are."""
    assert d.adjusters is not None
    name = str(d.adjusters.columns[0])
    column = d.adjusters[d.adjusters.columns[0]]
    categorical = not is_number(column, column.nunique(), spline_df(d.n))
    strata = strata_of(np.asarray(column.tolist()), categorical=categorical)
    concordant, pairs = concordant_share(scores, d.codes, d.n_stages, groups=strata)
    total = pairs.sum() / 2
    kind = "categories" if categorical else "groups of equal count"
    text = f"{np.unique(strata).size} {kind} of {name}, {int(total)} pairs"
    return (float(concordant.sum() / 2 / total) if total else None), text


def _relevant_gain(gain: _Gain, trend: Trend) -> float:
    """Gain below which "explained" may be said: small as such, beside what was left to gain, beside the trend."""
    return max(min(RELEVANT_GAIN, 0.25 * (1 - gain.baseline), 0.5 * (trend.concordance - 0.5)), 0.0)


def _verdict(
    p_conditional: float,
    p_freedman_lane: float,
    gain: _Gain,
    *,
    upper: float,
    detectable: float,
    trend: Trend,
    alpha: float,
) -> tuple[str, str | None]:
    """Both tests must agree. "Explained" is a finding too, and needs evidence of its own.

    That is: a trend; adjusters that order the stages; the power to have seen an adjusted correlation of a third,
    and an upper 97.5 % bound of it below what would be relevant; and an added concordance whose interval ends
    below what would matter.
    """
    if (p_conditional < alpha) != (p_freedman_lane < alpha):
        return "cannot tell", (
            f"the two adjusted tests disagree at {alpha:g}: conditional randomisation "
            f"p = {p_conditional:.2g}, Freedman–Lane p = {p_freedman_lane:.2g}"
        )
    if p_conditional < alpha:
        return "beyond adjusters", None
    explained = (
        trend.p_value < alpha
        and gain.baseline_ci[0] > 0.5
        and detectable <= DETECTABLE_CORRELATION
        and upper < RELEVANT_CORRELATION
        and gain.ci is not None
        and gain.ci[1] < _relevant_gain(gain, trend)
    )
    return ("explained by adjusters" if explained else "cannot tell"), None
