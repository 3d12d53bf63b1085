"""Trend and steps at their edges: units, floors, seeds, blocks, and intervals against what new patients show."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ttest_ind

from analysis import stage_gradient
from analysis.gradient.axis import effective_directions
from analysis.gradient.intervals import invert_score_test, student_interval
from analysis.gradient.rank_statistics import step_statistic

ORDER = ["0", "1", "2", "3", "4", "5", "6"]


@pytest.mark.parametrize(("scale", "shift"), [(1e-12, 0.0), (1e150, 0.0), (1.0, 1e7)])
def test_the_unit_of_the_embedding_changes_nothing(
    scale: float, shift: float, rng: np.random.Generator
) -> None:
    codes = rng.integers(0, 2, 60)
    X = rng.standard_normal((60, 4)) + codes[:, None]
    plain = stage_gradient(X, codes.astype(str), order=ORDER[:2], permutations=99)
    moved = stage_gradient(X * scale + shift, codes.astype(str), order=ORDER[:2], permutations=99)
    assert moved.trend.concordance == pytest.approx(plain.trend.concordance, abs=2e-3)


def test_no_p_value_is_below_one_over_the_number_of_arrangements() -> None:
    X = np.arange(6.0)[:, None]
    result = stage_gradient(X, ["0"] * 3 + ["1"] * 3, order=ORDER[:2], permutations=9999)
    assert result.trend.p_value >= 1 / 20
    assert result.steps[0].p_value >= 1 / 20
    assert result.strict.verdict != "strictly increasing"
    assert "step 0 → 1 cannot be established: its p-value cannot be below 0.05" in " ".join(result.warnings)
    assert result.minimum_detectable_concordance is None
    assert "no concordance could have been detected" in result.verdict


def test_step_statistic_is_welchs_t(rng: np.random.Generator) -> None:
    codes = np.repeat([0, 1, 2], [12, 25, 9])
    scores = rng.standard_normal(46) * (1 + codes)
    t = step_statistic(scores[:, None], codes[:, None], (0, 1), n_stages=3)
    expected = ttest_ind(scores[codes == 1], scores[codes == 0], equal_var=False).statistic
    assert t[0] == pytest.approx(expected, rel=1e-10)


def test_step_differences_within_groups_are_the_weighted_mean_of_the_groups(rng: np.random.Generator) -> None:
    codes = np.array([0, 0, 1, 1, 1, 0, 1, 1, 0, 0, 0])
    groups = np.repeat(["a", "b"], [5, 6])
    scores = rng.standard_normal(11) + 10 * (groups == "b")
    difference = step_statistic(scores[:, None], codes[:, None], (0, 1), n_stages=2, groups=groups)
    raw, weights, square = [], [], 0.0
    for g in "ab":
        a, b = scores[(groups == g) & (codes == 0)], scores[(groups == g) & (codes == 1)]
        raw.append(b.mean() - a.mean())
        weights.append(a.size * b.size / (a.size + b.size))
        square += np.sum((a - a.mean()) ** 2) + np.sum((b - b.mean()) ** 2)
    assert difference[0] == pytest.approx(
        np.average(raw, weights=weights) / np.sqrt(square / (11 - 4)), rel=1e-10
    )


def test_folds_and_draws_come_from_different_streams(rng: np.random.Generator) -> None:
    results = [
        stage_gradient(
            rng.standard_normal((30, 3)), ORDER[:2] * 15, order=ORDER[:2], permutations=99, seed=seed
        )
        for seed in (1, 2)
    ]
    assert not np.array_equal(results[0].null_concordance, results[1].null_concordance)


def test_a_site_that_drives_both_is_no_gradient_within_sites() -> None:
    rejected = excluded = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        site = np.repeat(["n", "s"], 40)
        codes = np.where(site == "n", rng.integers(0, 2, 80), rng.integers(1, 3, 80))
        X = rng.standard_normal((80, 8)) + 3.0 * (site == "s")[:, None]
        r = stage_gradient(X, codes.astype(str), order=ORDER[:3], groups=site, permutations=99, seed=seed)
        rejected += r.trend.p_value <= 0.05
        excluded += r.trend.ci is not None and not r.trend.ci[0] <= 0.5 <= r.trend.ci[1]
        assert all(s.ci is None for s in r.stages)
    assert rejected <= 6  # 99.5 % point of Binomial(40, 0.05)
    assert excluded <= 6


def test_a_gradient_within_sites_is_found_though_the_sites_hide_it() -> None:
    rng = np.random.default_rng(3)
    site = np.repeat(["n", "s"], 80)
    codes = np.where(site == "n", rng.integers(0, 2, 160), rng.integers(1, 3, 160))
    X = rng.standard_normal((160, 8))
    X[:, 0] += 1.5 * codes - 4 * (site == "s")
    r = stage_gradient(X, codes.astype(str), order=ORDER[:3], groups=site, permutations=499)
    assert r.trend.p_value <= 0.01
    assert r.trend.concordance > 0.7


def test_a_plateau_of_seven_stages_is_seldom_called_reversed() -> None:
    called = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        codes = np.repeat(np.arange(7), 20)
        X = rng.standard_normal((140, 5))
        X[:, 0] += np.minimum(codes, 2)
        r = stage_gradient(X, codes.astype(str), order=ORDER, permutations=99, seed=seed)
        called += len(r.strict.reversed_steps) > 0
    assert called <= 4


def test_inverting_a_proportions_score_test_gives_wilsons_interval() -> None:
    from statsmodels.stats.proportion import proportion_confint

    low, high = invert_score_test(0.3, lambda p: p * (1 - p) / 50, bounds=(0.0, 1.0))
    assert (low, high) == pytest.approx(proportion_confint(15, 50, method="wilson"), abs=1e-4)


def test_a_student_interval_is_the_two_sample_t_interval(rng: np.random.Generator) -> None:
    a, b = rng.standard_normal(9), rng.standard_normal(14) + 1
    test = ttest_ind(b, a, equal_var=False)
    expected = test.confidence_interval(0.9)
    fixed = a.var(ddof=1) / 9 + b.var(ddof=1) / 14
    found = student_interval(b.mean() - a.mean(), fixed=fixed, learning=0.0, df=test.df, level=0.9)
    assert found == pytest.approx((expected.low, expected.high), rel=1e-10)
    wider = student_interval(0.0, fixed=0.1, learning=0.3, df=1e9)
    assert wider == pytest.approx((-1.959964 * np.sqrt(0.4), 1.959964 * np.sqrt(0.4)), rel=1e-5)
    assert student_interval(0.0, fixed=np.inf, learning=0.0, df=5) is None


def test_directions_count_equal_and_unequal_spectra(rng: np.random.Generator) -> None:
    assert effective_directions(rng.standard_normal((4000, 6))) == pytest.approx(6, abs=0.01)
    one = rng.standard_normal((100, 1)) @ np.ones((1, 6)) + 1e-6 * rng.standard_normal((100, 6))
    assert effective_directions(one) < 6
