"""Jackknives and halves against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.resampling import (
    half_split,
    halves_variance,
    jackknife_variance,
    subsample,
    subsample_variance,
)


def test_the_jackknife_variance_of_a_mean_is_that_of_the_mean(rng: np.random.Generator) -> None:
    y = rng.normal(size=50)
    without = (y.sum() - y) / 49
    assert jackknife_variance(without) == pytest.approx(y.var(ddof=1) / 50)


def test_halves_divide_every_code_evenly(rng: np.random.Generator) -> None:
    codes = np.repeat([0, 1, 2], [10, 30, 5])
    firsts = [half_split(codes, rng) for _ in range(200)]
    for first in firsts:
        assert first.sum() in (22, 23)
        assert first[codes == 0].sum() == 5
        assert first[codes == 1].sum() == 15
        assert first[codes == 2].sum() in (2, 3)
    assert np.mean(firsts, axis=0) == pytest.approx(np.full(45, 0.5), abs=0.15)


def test_halves_give_the_variance_of_a_mean_whatever_the_noise_of_the_folds(rng: np.random.Generator) -> None:
    y, codes, values = rng.exponential(3, 100), np.zeros(100, dtype=int), np.empty((20_000, 2, 2))
    for s in range(len(values)):
        first = half_split(codes, rng)
        values[s] = [[y[first].mean()] * 2, [y[~first].mean()] * 2]
    assert halves_variance(values) == pytest.approx(y.var(ddof=1) / 100, rel=0.03)
    noisy = values + 0.3 * rng.standard_normal(values.shape)  # as large as the standard error
    assert halves_variance(noisy) == pytest.approx(y.var(ddof=1) / 100, rel=0.06)


def test_the_delete_d_jackknife_of_a_mean_is_its_variance_whatever_the_noise_of_the_folds(
    rng: np.random.Generator,
) -> None:
    y, codes = rng.exponential(3, 100), np.repeat([0, 1], [60, 40])
    one = subsample(codes, rng)
    assert np.bincount(codes[one]).tolist() == [48, 32]
    codes = np.zeros(100, dtype=int)
    means = np.array([[y[subsample(codes, rng)].mean()] * 2 for _ in range(20_000)])
    assert subsample_variance(means)[0] == pytest.approx(y.var(ddof=1) / 100, rel=0.03)
    between, noise = subsample_variance(means + 0.2 * rng.standard_normal(means.shape))
    assert between == pytest.approx(y.var(ddof=1) / 100, rel=0.06)
    assert noise == pytest.approx(0.04, rel=0.05)
