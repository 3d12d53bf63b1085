"""Beyond the adjusters: what is left of the gradient when size, scanner and the like are known."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import norm

from analysis.gradient.adjusters import (
    adjuster_basis,
    redrawn_stages,
    residual_projector,
    stage_given_adjusters,
    strata_of,
)
from analysis.gradient.axis import CrossFit, cross_fit, cross_fit_basis
from analysis.gradient.data import StageData
from analysis.gradient.intervals import concordance_variance_model, invert_score_test, learning_weight
from analysis.gradient.rank_statistics import concordance, concordant_share
from analysis.gradient.result import Adjusters
from analysis.gradient.trend import POWER
from analysis.resampling import chunks, permutation_p_value, permuted_columns
from analysis.results import Interval
from analysis.splits import Folds

INTERVAL_DRAWS = 999
PAIRED_DRAWS = 50


def adjusted_tests(
    axis: CrossFit,
    d: StageData,
    folds: Folds,
    *,
    permutations: int,
    rng: np.random.Generator,
    alpha: float,
    trend_p: float,
    relevant_gain: float,
) -> Adjusters:
    """Adjusters-only baseline, conditional randomisation, Freedman–Lane, strata and added value.

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
    baseline = cross_fit_basis(basis.matrix, folds)
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
    gain = _added_value(baseline, beyond, d, probability, rng)
    stratified, strata = _within_strata(axis.scores(d.y), d)
    verdict, disagreement = _verdict(
        p_conditional, p_freedman_lane, gain["ci"], trend_p=trend_p, alpha=alpha, relevant_gain=relevant_gain
    )
    return Adjusters(
        columns=tuple(str(c) for c in table.columns),
        basis=basis.description,
        baseline_concordance=gain["baseline"],
        baseline_ci=_baseline_interval(baseline, d, gain["baseline"], rng),
        adjusted_statistic=observed,
        p_conditional=p_conditional,
        p_freedman_lane=p_freedman_lane,
        stratified_concordance=stratified,
        strata=strata,
        combined_concordance=gain["combined"],
        added_value=gain["combined"] - gain["baseline"],
        added_value_ci=gain["ci"],
        minimum_detectable_statistic=float(np.quantile(null, 1 - alpha) + norm.ppf(POWER) * null.std()),
        relevant_gain=relevant_gain,
        verdict=verdict,
        disagreement=disagreement,
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


def _added_value(
    baseline: CrossFit, beyond: CrossFit, d: StageData, probability: np.ndarray, rng: np.random.Generator
) -> dict[str, Any]:
    """Concordance of adjusters + score minus concordance of the adjusters, with an interval.

    Baseline and adjusted scores add up to the ridge fit in which the adjusters are free and the embedding is
    penalised, so the gain is that of one joint model.
    """
    c_base, c_both, fixed = _gain_parts(baseline.scores(d.y), beyond.scores(d.y), d.codes, d.n_stages)
    drawn = redrawn_stages(probability, INTERVAL_DRAWS, rng)
    drawn = drawn[:, [np.unique(column).size == d.n_stages for column in drawn.T]]
    interval: Interval | None = None
    if drawn.shape[1] >= INTERVAL_DRAWS // 2:
        base, extra = baseline.scores(drawn.astype(float)), beyond.scores(drawn.astype(float))
        null = concordance(base + extra, drawn, d.n_stages) - concordance(base, drawn, d.n_stages)
        at_null = np.mean(
            [_gain_parts(base[:, b], extra[:, b], drawn[:, b], d.n_stages)[2] for b in range(PAIRED_DRAWS)]
        )
        centre, permuted = float(null.mean()), float(max(null.var(), at_null))

        def variance(g0: np.ndarray) -> np.ndarray:
            return fixed + (permuted - at_null) * learning_weight(g0 - centre, permuted)

        interval = invert_score_test(c_both - c_base, variance, bounds=(-c_base, 1 - c_base))
    return {"baseline": c_base, "combined": c_both, "ci": interval}


def _gain_parts(
    base: np.ndarray, extra: np.ndarray, codes: np.ndarray, n_stages: int
) -> tuple[float, float, float]:
    """Concordance of the baseline and of both, and the paired jackknife variance of their difference."""
    left = []
    value = []
    for scores in (base, base + extra):
        concordant, pairs = concordant_share(scores, codes, n_stages)
        value.append(concordant.sum() / pairs.sum())
        left.append((concordant.sum() / 2 - concordant) / (pairs.sum() / 2 - pairs))
    difference = left[1] - left[0]
    variance = (codes.size - 1) / codes.size * np.sum((difference - difference.mean()) ** 2)
    return float(value[0]), float(value[1]), float(variance)


def _baseline_interval(baseline: CrossFit, d: StageData, value: float, rng: np.random.Generator) -> Interval:
    drawn = permuted_columns(d.codes, INTERVAL_DRAWS, rng)
    null = concordance(baseline.scores(drawn.astype(float)), drawn, d.n_stages)
    variance = concordance_variance_model(
        value, baseline.scores(d.y), d.codes, permuted_variance=float(null.var())
    )
    return invert_score_test(value, variance, bounds=(0.0, 1.0))


def _within_strata(scores: np.ndarray, d: StageData) -> tuple[float | None, str]:
    """Concordance over pairs within strata of the first adjuster, and what the strata are."""
    assert d.adjusters is not None
    name = str(d.adjusters.columns[0])
    column = d.adjusters[name]
    categorical = column.dtype == object or column.nunique() <= 5
    strata = strata_of(column.to_numpy(), categorical=categorical)
    concordant = pairs = 0.0
    for stratum in np.unique(strata):
        here = strata == stratum
        own, all_pairs = concordant_share(scores[here], d.codes[here], d.n_stages)
        concordant, pairs = concordant + own.sum() / 2, pairs + all_pairs.sum() / 2
    kind = "categories" if categorical else "groups of equal count"
    text = f"{np.unique(strata).size} {kind} of {name}, {int(pairs)} pairs"
    return (float(concordant / pairs) if pairs else None), text


def _verdict(
    p_conditional: float,
    p_freedman_lane: float,
    gain: Interval | None,
    *,
    trend_p: float,
    alpha: float,
    relevant_gain: float,
) -> tuple[str, str | None]:
    """Both tests must agree; "explained" also needs a trend and a gain shown to be small."""
    if (p_conditional < alpha) != (p_freedman_lane < alpha):
        return "cannot tell", (
            f"the two adjusted tests disagree at {alpha:g}: conditional randomisation "
            f"p = {p_conditional:.4f}, Freedman–Lane p = {p_freedman_lane:.4f}"
        )
    if p_conditional < alpha:
        return "beyond adjusters", None
    if trend_p < alpha and gain is not None and gain[1] < relevant_gain:
        return "explained by adjusters", None
    return "cannot tell", None
