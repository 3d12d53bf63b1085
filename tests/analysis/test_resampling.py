"""Jackknives against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t as student

from analysis.resampling import jackknife_variance, subsample, subsample_error, subsample_interval


def test_the_jackknife_variance_of_a_mean_is_that_of_the_mean(rng: np.random.Generator) -> None:
    y = rng.normal(size=50)
    without = (y.sum() - y) / 49
    assert jackknife_variance(without) == pytest.approx(y.var(ddof=1) / 50)


def test_a_subsample_leaves_the_same_share_of_every_code_out(rng: np.random.Generator) -> None:
    codes = np.repeat([0, 1, 2], [10, 30, 5])
    kept = subsample(codes, rng)
    assert [np.count_nonzero(~kept[codes == k]) for k in range(3)] == [3, 9, 2]


def test_the_delete_d_jackknife_of_a_mean_is_its_standard_error(rng: np.random.Generator) -> None:
    y, codes = rng.exponential(3, 100), np.zeros(100, dtype=int)
    means = np.array([y[subsample(codes, rng)].mean() for _ in range(20_000)])
    assert subsample_error(means) == pytest.approx(y.std(ddof=1) / 10, rel=0.02)
    few = means[:40]
    low, high = subsample_interval(0.4, few)
    assert (high - low) / 2 == pytest.approx(student.ppf(0.975, 39) * subsample_error(few))
    assert subsample_interval(0.99, few, (0.0, 1.0))[1] == 1.0
