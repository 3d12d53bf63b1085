"""Beyond the adjusters: what is left of the gradient when size, scanner and the like are known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from analysis.gradient.adjusters import (
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
from analysis.gradient.intervals import concordance_variance_model, invert_score_test, learning_weight
from analysis.gradient.rank_statistics import concordant_share, paired_variance
from analysis.gradient.result import Adjusters, Trend
from analysis.gradient.trend import POWER
from analysis.resampling import chunks, jackknife_variance, permutation_p_value, permuted_columns
from analysis.results import Interval
from analysis.splits import Folds

INTERVAL_DRAWS = 499  # refits behind each interval
JACKKNIVES = 12  # null draws whose fixed-score variance is averaged
RELEVANT_GAIN = 0.05  # an added concordance below it may be called explained
RELEVANT_CORRELATION = 0.25  # and only where an adjusted correlation of this size is out of reach,
DETECTABLE_CORRELATION = 1 / 3  # in a study that would have found one of this size


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
    """Adjusters-only baseline, conditional randomisation, Freedman–Lane, strata and added value.

    `scores` [n]: the unadjusted out-of-fold scores. A group becomes one more (categorical) adjuster.

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

    observed = float(_statistic(beyond, Q, d.y)[0])
    null = np.empty(0)
    for size in chunks(d.n, permutations):
        drawn = redrawn_stages(probability, size, rng)
        null = np.append(null, _statistic(beyond, Q, drawn.astype(float)))
    second = _freedman_lane(beyond, Q, d, permutations, rng)
    p_conditional, p_freedman_lane = (
        permutation_p_value(observed, null),
        permutation_p_value(observed, second),
    )
    gain = _gain(d, basis.matrix, folds, probability, beyond.directions, rng)
    detectable = float(np.quantile(null, 1 - alpha) + norm.ppf(POWER) * null.std())
    stratified, strata = _within_strata(scores, d)
    upper = observed + float(norm.ppf(0.975) * null.std())
    verdict, disagreement = _verdict(
        p_conditional, p_freedman_lane, gain, upper=upper, detectable=detectable, trend=trend, alpha=alpha
    )
    return Adjusters(
        columns=tuple(str(c) for c in table.columns),
        basis=basis.description,
        baseline_concordance=gain.baseline,
        baseline_ci=gain.baseline_ci,
        adjusted_statistic=observed,
        p_conditional=p_conditional,
        p_freedman_lane=p_freedman_lane,
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
        cautions=basis.cautions,
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


def _freedman_lane(
    beyond: CrossFit, Q: np.ndarray, d: StageData, permutations: int, rng: np.random.Generator
) -> np.ndarray:
    """[B] statistics of (fitted stage + permuted residual): the second opinion."""
    fitted = Q @ (Q.T @ d.y)
    residual = d.y - fitted
    null = np.empty(0)
    for size in chunks(d.n, permutations):
        drawn = fitted[:, None] + permuted_columns(residual, size, rng, groups=d.groups)
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
    directions: float,
    rng: np.random.Generator,
) -> _Gain:
    redrawn = redrawn_stages(probability, INTERVAL_DRAWS, rng)
    redrawn = redrawn[:, [np.unique(column).size == d.n_stages for column in redrawn.T]]
    permuted = permuted_columns(d.codes, INTERVAL_DRAWS, rng)
    codes = np.column_stack([d.codes, redrawn[:, : JACKKNIVES - 1], permuted, redrawn[:, JACKKNIVES - 1 :]])
    pairs = held_out_pairs(d.X, basis, folds, codes=codes, n_stages=d.n_stages, jackknife=2 * JACKKNIVES)
    is_permuted = np.zeros(codes.shape[1], dtype=bool)
    first = 1 + min(JACKKNIVES - 1, redrawn.shape[1])
    is_permuted[first : first + permuted.shape[1]] = True
    is_redrawn = ~is_permuted
    is_redrawn[0] = False
    enough = redrawn.shape[1] >= INTERVAL_DRAWS // 2
    return _Gain(
        baseline=float(pairs.base[0]),
        baseline_ci=_baseline_interval(pairs, is_permuted, basis.shape[1], d.n),
        combined=float(pairs.both[0]),
        ci=_gain_interval(pairs, is_redrawn, directions) if enough else None,
    )


def _baseline_interval(pairs: HeldOutPairs, permuted: np.ndarray, columns: int, n: int) -> Interval:
    held = np.flatnonzero(permuted[: pairs.base_left.shape[1]])
    at_null = np.mean([jackknife_variance(pairs.base_left[:, j]) for j in held])
    variance = concordance_variance_model(
        float(pairs.base[0]),
        fixed_variance=jackknife_variance(pairs.base_left[:, 0]),
        fixed_at_null=float(at_null),
        permuted_variance=float(np.mean((pairs.base[permuted] - 0.5) ** 2)),
        directions=float(columns),
        n=n,
    )
    return invert_score_test(float(pairs.base[0]), variance, bounds=(0.0, 1.0))


def _gain_interval(pairs: HeldOutPairs, redrawn: np.ndarray, directions: float) -> Interval:
    """Score interval of the gain about what noise adds (or costs) when the stage is redrawn given adjusters."""
    null = pairs.both[redrawn] - pairs.base[redrawn]
    held = np.flatnonzero(redrawn[: pairs.base_left.shape[1]])
    at_null = np.mean([paired_variance(pairs.both_left[:, j], pairs.base_left[:, j]) for j in held])
    fixed = paired_variance(pairs.both_left[:, 0], pairs.base_left[:, 0])
    centre, spread = float(null.mean()), float(max(null.var(), at_null))

    def variance(g0: np.ndarray) -> np.ndarray:
        return fixed + (spread - at_null) * learning_weight(g0 - centre, spread, directions)

    base = float(pairs.base[0])
    return invert_score_test(float(pairs.both[0]) - base, variance, bounds=(-base, 1 - base))


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
