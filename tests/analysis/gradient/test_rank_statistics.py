"""Rank statistics against brute force, scipy, scikit-learn, statsmodels and scikit-posthocs."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import roc_auc_score

from analysis.gradient.rank_statistics import (
    concordance,
    concordance_variance,
    isotonic_means,
    kendall_tau_b,
    null_concordance_variance,
    standardised_stage_means,
)


def by_hand(scores: np.ndarray, codes: np.ndarray) -> tuple[float, int]:
    """Concordant pairs (ties half) and all comparable pairs, one by one."""
    good, pairs = 0.0, 0
    for i in range(scores.size):
        for j in range(scores.size):
            if codes[i] < codes[j]:
                pairs += 1
                good += 1.0 if scores[i] < scores[j] else 0.5 if scores[i] == scores[j] else 0.0
    return good, pairs


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), min_size=4, max_size=25))
def test_concordance_counts_pairs_with_ties_half(pairs: list[tuple[int, int]]) -> None:
    scores, codes = np.array(pairs, dtype=float).T
    codes = codes.astype(int)
    good, total = by_hand(scores, codes)
    if total:
        assert concordance(scores, codes, 4) == pytest.approx(good / total, abs=1e-12)


def test_concordance_of_two_stages_is_the_area_under_the_roc_curve(rng: np.random.Generator) -> None:
    codes, scores = rng.integers(0, 2, 80), rng.standard_normal(80)
    assert concordance(scores, codes, 2) == pytest.approx(roc_auc_score(codes, scores), abs=1e-12)


def test_columns_are_independent_and_minus_one_is_left_out(rng: np.random.Generator) -> None:
    S, Y = rng.standard_normal((30, 7)), rng.integers(0, 3, (30, 7))
    together = concordance(S, Y, 3)
    assert together == pytest.approx([float(concordance(S[:, b], Y[:, b], 3)) for b in range(7)])
    masked = Y[:, 0].copy()
    masked[:5] = -1
    assert concordance(S[:, 0], masked, 3) == pytest.approx(
        by_hand(S[5:, 0], Y[5:, 0])[0] / by_hand(S[5:, 0], Y[5:, 0])[1]
    )


def test_jonckheere_terpstra_equals_statsmodels_and_scikit_posthocs(rng: np.random.Generator) -> None:
    import scikit_posthocs
    from statsmodels.stats.nonparametric import jonckheere_terpstra

    codes = np.repeat([0, 1, 2, 3], [12, 20, 9, 15])
    scores = rng.standard_normal(codes.size) + 0.4 * codes
    groups = [scores[codes == k] for k in range(4)]
    pairs = by_hand(scores, codes)[1]
    value = float(concordance(scores, codes, 4))
    z = (value - 0.5) / np.sqrt(null_concordance_variance(np.bincount(codes)))
    assert value * pairs == pytest.approx(jonckheere_terpstra(groups).statistic, rel=1e-8)
    assert z == pytest.approx(scikit_posthocs.test_jonckheere(groups)[1], rel=1e-8)


def test_null_variance_equals_the_enumeration_of_all_arrangements() -> None:
    codes = np.array([0, 0, 1, 1, 2, 2, 2])
    scores = np.arange(7.0)
    values = [float(concordance(scores, np.array(c), 3)) for c in set(permutations(codes.tolist()))]
    assert np.mean(values) == pytest.approx(0.5, abs=1e-12)
    assert null_concordance_variance(np.bincount(codes)) == pytest.approx(np.var(values), rel=1e-10)


def test_concordance_variance_equals_leaving_each_patient_out(rng: np.random.Generator) -> None:
    codes = rng.integers(0, 3, 40)
    scores = np.round(rng.standard_normal(40) + codes, 1)  # with ties
    left = np.array([float(concordance(np.delete(scores, i), np.delete(codes, i), 3)) for i in range(40)])
    expected = 39 / 40 * np.sum((left - left.mean()) ** 2)
    assert concordance_variance(scores, codes, 3) == pytest.approx(expected, rel=1e-10)


def test_isotonic_means_equal_scikit_learn(rng: np.random.Generator) -> None:
    for _ in range(20):
        means, weights = rng.standard_normal(7), rng.integers(1, 50, 7)
        expected = IsotonicRegression().fit_transform(np.arange(7), means, sample_weight=weights)
        assert isotonic_means(means, weights) == pytest.approx(expected, abs=1e-8)


def test_kendall_tau_b_equals_the_pair_count(rng: np.random.Generator) -> None:
    codes, scores = rng.integers(0, 4, 50), rng.standard_normal(50)
    good, pairs = by_hand(scores, codes)
    all_pairs = 50 * 49 / 2  # no ties in the scores
    assert kendall_tau_b(scores, codes) == pytest.approx(
        (2 * good - pairs) / np.sqrt(pairs * all_pairs), abs=1e-8
    )


def test_standardised_stage_means_are_cohens_d(rng: np.random.Generator) -> None:
    codes = np.repeat([0, 1], [30, 20])
    scores = rng.standard_normal(50) * 3 + 2 * codes
    low, high = scores[codes == 0], scores[codes == 1]
    pooled = np.sqrt((29 * low.var(ddof=1) + 19 * high.var(ddof=1)) / 48)
    means = standardised_stage_means(scores, codes, 2)
    assert means[1] - means[0] == pytest.approx((high.mean() - low.mean()) / pooled, rel=1e-10)
    assert means.mean() == pytest.approx(0.0, abs=1e-12)
