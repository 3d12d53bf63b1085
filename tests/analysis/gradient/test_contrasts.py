"""Stage means and differences in within-stage SDs: their values, and a variance that holds beyond normal scores."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ttest_ind

from analysis.gradient.contrasts import StageContrasts
from analysis.gradient.data import StageData, gather
from analysis.gradient.intervals import student_interval
from analysis.gradient.rank_statistics import standardised_stage_means


def rows(codes: np.ndarray, groups: np.ndarray | None = None) -> StageData:
    X = np.random.default_rng(0).standard_normal((codes.size, 2))
    order = [str(k) for k in range(codes.max() + 1)]
    return gather(X, codes.astype(str), order=order, adjust=None, groups=groups, patients=None)


def test_contrasts_are_the_standardised_means_and_their_differences(rng: np.random.Generator) -> None:
    codes = np.repeat([0, 1, 2], [5, 9, 12])
    scores = rng.standard_normal((26, 4)) + codes[:, None]
    contrasts = StageContrasts.of(rows(codes), [(0, 1), (1, 2), (0, 2)])
    values = contrasts.values(scores, np.repeat(codes[:, None], 4, axis=1))
    means = standardised_stage_means(scores, codes, 3)
    assert values[:3] == pytest.approx(means, abs=1e-12)
    assert values[contrasts.index((0, 2))] == pytest.approx(means[2] - means[0], abs=1e-12)


def test_differences_within_groups_are_the_weighted_mean_of_the_groups(rng: np.random.Generator) -> None:
    codes = np.array([0, 0, 1, 1, 1, 0, 1, 1, 0, 0, 0])
    groups = np.repeat(["a", "b"], [5, 6])
    scores = rng.standard_normal(11) + 10 * (groups == "b")
    found = StageContrasts.of(rows(codes, groups), [(0, 1)]).values(scores[:, None], codes[:, None])
    raw, weights, square = [], [], 0.0
    for g in "ab":
        a, b = scores[(groups == g) & (codes == 0)], scores[(groups == g) & (codes == 1)]
        raw.append(b.mean() - a.mean())
        weights.append(a.size * b.size / (a.size + b.size))
        square += np.sum((a - a.mean()) ** 2) + np.sum((b - b.mean()) ** 2)
    assert found.shape == (1, 1)  # no stage means across groups
    assert found[0, 0] == pytest.approx(
        np.average(raw, weights=weights) / np.sqrt(square / (11 - 4)), rel=1e-10
    )


def test_the_variance_is_that_of_leaving_each_patient_out(rng: np.random.Generator) -> None:
    codes = np.repeat([0, 1, 2], [80, 120, 100])
    scores = rng.exponential(1.0, 300) * (1 + codes) + codes
    contrasts = StageContrasts.of(rows(codes), [(0, 1), (1, 2)])
    left = []
    for i in range(300):
        s, y = np.delete(scores, i), np.delete(codes, i)
        means = standardised_stage_means(s, y, 3)
        left.append([*means, *np.diff(means)])
    left = np.array(left)
    jackknife = 299 / 300 * np.sum((left - left.mean(axis=0)) ** 2, axis=0)
    found = contrasts.variances(scores, codes)
    assert found.variance == pytest.approx(jackknife, rel=1e-9)


def test_degrees_of_freedom_are_welchs_and_fewer_where_tails_are_heavy(rng: np.random.Generator) -> None:
    codes = np.repeat([0, 1], [90, 110])
    scores = rng.uniform(-1, 1, 200) * (1 + codes)
    contrasts = StageContrasts.of(rows(codes), [(0, 1)])
    expected = ttest_ind(scores[codes == 1], scores[codes == 0], equal_var=False).df
    assert contrasts.variances(scores, codes).df[-1] == pytest.approx(expected, rel=1e-9)
    even = np.repeat([0, 1], 100)
    heavy = rng.standard_t(2, 200)
    df = StageContrasts.of(rows(even), [(0, 1)]).variances(heavy, even).df[-1]
    left = []
    for i in range(200):
        means = standardised_stage_means(np.delete(heavy, i), np.delete(even, i), 2)
        left.append(means[1] - means[0])
    moved = np.array(left) - np.mean(left)
    kurtosis = np.mean(moved**4) / np.mean(moved**2) ** 2
    assert df == pytest.approx(2 * 200 / (kurtosis - 1), rel=1e-6)
    assert df < 60


def test_intervals_of_fixed_scores_cover_where_two_scanners_split_the_scores() -> None:
    """Scores are of two values by scanner, stages differ in the scanners' mix: mean and SD move together."""
    share, K = np.array([0.08, 0.5, 0.92]), 3
    truth_means, within = 3 * share, np.sqrt(np.mean(9 * share * (1 - share) + 0.09))
    truth = (truth_means[1] - truth_means[0]) / within
    inside, normal = [], []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        codes = np.repeat(np.arange(K), 40)
        scores = 3.0 * (rng.random(120) < share[codes]) + 0.3 * rng.standard_normal(120)
        contrasts = StageContrasts.of(rows(codes), [(0, 1)])
        value = float(contrasts.values(scores[:, None], codes[:, None])[-1, 0])
        fixed = contrasts.variances(scores, codes)
        low, high = student_interval(
            value, fixed=float(fixed.variance[-1]), learning=0.0, df=float(fixed.df[-1])
        )
        inside.append(low <= truth <= high)
        normal.append(abs(value - truth) < 1.98 * np.sqrt(2 / 40 + value**2 / 240))
    assert 0.92 <= np.mean(inside) <= 0.98  # 99.5 % band of 400 runs at 95 %
    assert abs(np.mean(normal) - 0.95) > abs(np.mean(inside) - 0.95)


def test_a_stage_of_one_patient_takes_the_pooled_spread(rng: np.random.Generator) -> None:
    codes = np.repeat([0, 1, 2], [20, 20, 1])
    scores = np.append(rng.standard_normal(40), 0.1)
    variance = StageContrasts.of(rows(codes), [(0, 1), (1, 2)]).variances(scores, codes).variance
    assert variance[4] > 1.0  # that of one patient
    assert np.isfinite(variance).all()


def test_three_skewed_scores_that_lie_close_by_chance_are_not_believed() -> None:
    """An interval of a stage of 3 among large ones misses a truth above it in few cohorts, not in a seventh."""
    codes = np.repeat([0, 1, 2], [40, 3, 43])
    contrasts = StageContrasts.of(rows(codes), [(1, 2)])
    above = []
    for seed in range(400):
        scores = np.random.default_rng(seed).exponential(1.0, 86)
        value, fixed = (
            contrasts.values(scores[:, None], codes[:, None])[-1, 0],
            contrasts.variances(scores, codes),
        )
        low, _ = student_interval(
            float(value), fixed=float(fixed.variance[-1]), learning=0.0, df=float(fixed.df[-1])
        )
        above.append(low > 0)
    assert np.mean(above) < 0.08  # 99.5 % point of 5 %; with their own spread: 0.14
