"""Large cohorts are fitted in factors: the same scores as the dense operator, without an n × n matrix."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from analysis.gradient import axis
from analysis.gradient import held_out_pairs as pairs_module
from analysis.gradient.axis import DenseCrossFit, cross_fit
from analysis.gradient.large import FactoredCrossFit, factored_cross_fit
from analysis.splits import repeated_folds


@pytest.mark.parametrize(("n", "d"), [(90, 17), (60, 100)])
@pytest.mark.parametrize("with_basis", [False, True])
def test_factored_scores_are_those_of_the_dense_operator(
    n: int, d: int, with_basis: bool, rng: np.random.Generator
) -> None:
    X = rng.standard_normal((n, d)) * np.arange(1, d + 1) + 50
    X[:, 3] = 0.0
    X[7, 3] = 1.0  # constant in the folds that hold patient 7 out
    basis = rng.standard_normal((n, 3)) if with_basis else None
    if basis is not None:
        X[:, 0] += 3 * basis[:, 0]
    folds = repeated_folds(n, repeats=2)
    Y = rng.integers(0, 4, (n, 300)).astype(float)  # more columns than one block holds
    dense = cross_fit(X, folds, basis=basis)
    assert isinstance(dense, DenseCrossFit)
    factored = factored_cross_fit(X, folds, basis=basis)
    assert factored.scores(Y) == pytest.approx(dense.scores(Y), abs=1e-10)
    assert factored.in_sample(Y[:, 0]) == pytest.approx(dense.in_sample(Y[:, 0]), abs=1e-8)
    assert factored.scores(Y[:, 0]) == pytest.approx(dense.scores(Y[:, 0]), abs=1e-10)


def test_held_out_pairs_in_factors_are_those_of_the_matrices(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    X, folds = rng.standard_normal((700, 6)), repeated_folds(700, repeats=1)  # folds of 140: pairs by sorting
    basis, codes = rng.integers(0, 3, (700, 1)).astype(float), rng.integers(0, 3, (700, 7))
    wanted = {"codes": codes, "n_stages": 3, "jackknife": np.array([0, 4])}
    dense = pairs_module.held_out_pairs(X, basis, folds, **wanted)
    monkeypatch.setattr(axis, "LARGEST_OPERATOR", 500)
    monkeypatch.setattr(pairs_module, "ALL_PAIRS", 1000)
    factored = pairs_module.held_out_pairs(X, basis, folds, **wanted)
    again = pairs_module.held_out_pairs(X, basis, folds, **wanted, beyond=cross_fit(X, folds, basis=basis))
    for name in ("base", "both", "base_left", "both_left"):
        assert getattr(factored, name) == pytest.approx(getattr(dense, name), abs=1e-10)
        assert getattr(again, name) == pytest.approx(getattr(factored, name), abs=1e-12)


def test_the_method_changes_with_n_and_never_forms_n_by_n(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    monkeypatch.setattr(axis, "LARGEST_OPERATOR", 1000)
    n, d = 3000, 8
    X, folds = rng.standard_normal((n, d)), repeated_folds(n, repeats=1)
    Y = rng.integers(0, 3, (n, 64)).astype(float)
    tracemalloc.start()
    fit = cross_fit(X, folds)
    fit.scores(Y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(fit, FactoredCrossFit)
    assert peak < n * n * 8 / 4
    assert axis.fold_repeats(1000) == 10
    assert axis.fold_repeats(1001) < 10
    assert not axis.is_factored(3000, 3000)  # more dimensions than patients: X itself is n × n
