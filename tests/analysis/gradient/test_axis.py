"""The linear shortcut against refitting with scikit-learn and against the joint normal equations."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.preprocessing import StandardScaler

from analysis.gradient.axis import basis_gain, cross_fit, effective_df, in_sample_scores, ridge_penalty
from analysis.splits import repeated_folds
from flexict_core.errors import AnalysisError


def refitted(X: np.ndarray, y: np.ndarray, folds, basis: np.ndarray | None = None) -> np.ndarray:
    """Out-of-fold scores by fitting scikit-learn in every fold; the penalty comes from numpy's singular values."""
    scores = np.zeros(y.size)
    for train, test in folds:
        A, B = X[train], X[test]
        if basis is not None:
            model = LinearRegression().fit(basis[train], A)
            A, B = A - model.predict(basis[train]), B - model.predict(basis[test])
        scaler = StandardScaler().fit(A)
        A, B = scaler.transform(A), scaler.transform(B)
        squares = np.linalg.svd(A, compute_uv=False) ** 2
        penalty = ridge_penalty(squares, effective_df(train.size))
        ridge = Ridge(alpha=penalty, solver="svd").fit(A, y[train])
        scores[test] += ridge.predict(B) - y[train].mean()
    return scores / folds.repeats


@pytest.mark.parametrize("d", [12, 90], ids=["d < n", "d > n"])
def test_shortcut_equals_brute_force_refits_also_of_a_permuted_stage(
    d: int, rng: np.random.Generator
) -> None:
    X, y = rng.standard_normal((50, d)) * rng.uniform(0.1, 9, d), rng.integers(0, 4, 50).astype(float)
    folds = repeated_folds(50, repeats=3, seed=1)
    axis = cross_fit(X, folds)
    for stage in (y, rng.permutation(y)):
        assert axis.scores(stage) == pytest.approx(refitted(X, stage, folds), abs=1e-10)


def test_adjusted_shortcut_equals_residualising_in_every_fold(rng: np.random.Generator) -> None:
    basis = rng.standard_normal((60, 3))
    X = rng.standard_normal((60, 20)) + basis @ rng.standard_normal((3, 20))
    y = rng.integers(0, 3, 60).astype(float)
    folds = repeated_folds(60, repeats=2, seed=4)
    assert cross_fit(X, folds, basis=basis).scores(y) == pytest.approx(
        refitted(X, y, folds, basis), abs=1e-10
    )


def test_baseline_plus_adjusted_score_is_the_partially_penalised_ridge(rng: np.random.Generator) -> None:
    basis, X = rng.standard_normal((40, 2)), rng.standard_normal((40, 6))
    y = rng.integers(0, 3, 40).astype(float)
    folds = repeated_folds(40, repeats=1, seed=2)
    together = cross_fit(X, folds, basis=basis).scores(y)
    for train, test in folds:
        together[test] += basis_gain(basis[train], basis[test]) @ y[train]
    expected = np.zeros(40)
    for train, test in folds:
        ones, design = np.ones((train.size, 1)), np.column_stack([basis[train], X[train]])
        free = LinearRegression().fit(basis[train], X[train])
        rest = X[train] - free.predict(basis[train])
        scale = rest.std(axis=0)
        penalty = ridge_penalty(np.linalg.svd(rest / scale, compute_uv=False) ** 2, effective_df(train.size))
        A = np.column_stack([ones, design])
        P = np.diag(np.concatenate([np.zeros(3), penalty * scale**2]))
        beta = np.linalg.solve(A.T @ A + P, A.T @ y[train])
        expected[test] = np.column_stack([np.ones(test.size), basis[test], X[test]]) @ beta - y[train].mean()
    assert together == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("d", [12, 90], ids=["d < n", "d > n"])
def test_in_sample_scores_are_scikit_learns_ridge(d: int, rng: np.random.Generator) -> None:
    X, y = rng.standard_normal((50, d)) * rng.uniform(0.1, 9, d), rng.integers(0, 4, 50).astype(float)
    Z = StandardScaler().fit_transform(X)
    penalty = ridge_penalty(np.linalg.svd(Z, compute_uv=False) ** 2, effective_df(50))
    expected = Ridge(alpha=penalty, solver="svd").fit(Z, y).predict(Z) - y.mean()
    assert in_sample_scores(X, y) == pytest.approx(expected, abs=1e-10)
    assert cross_fit(X, repeated_folds(50, repeats=1)).in_sample(y) == pytest.approx(expected, abs=1e-10)


def test_penalty_gives_the_degrees_of_freedom_asked_for(rng: np.random.Generator) -> None:
    e = rng.uniform(0.01, 100, 30)
    penalty = ridge_penalty(e, 7.5)
    assert np.sum(e / (e + penalty)) == pytest.approx(7.5, abs=1e-8)
    assert np.sum(e / (e + ridge_penalty(e, 50))) == pytest.approx(30, abs=1e-6)


def test_folds_hold_every_patient_out_once_a_repeat_and_rows_sum_to_zero(rng: np.random.Generator) -> None:
    folds = repeated_folds(23, repeats=4, seed=0)
    held = np.concatenate([test for _, test in folds])
    assert np.bincount(held).tolist() == [4] * 23
    operator = cross_fit(rng.standard_normal((23, 5)), folds).operator
    assert operator.sum(axis=1) == pytest.approx(np.zeros(23), abs=1e-10)
    assert np.diagonal(operator) == pytest.approx(np.zeros(23), abs=0)


def test_too_few_patients_are_refused() -> None:
    with pytest.raises(AnalysisError, match="4 patients cannot be split into 5 folds"):
        repeated_folds(4)
