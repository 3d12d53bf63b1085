"""The cross-fitted stage axis as a linear operator: out-of-fold scores are `H @ y`.

In every training fold the embedding is standardised and a ridge regression is fitted to the centred stage.
Its penalty follows from the number of effective degrees of freedom, a function of n alone, so nothing in the
fit but the final product looks at the stage. Averaged over repeats, the held-out score of every patient is
therefore a fixed linear combination of all stages, and refitting to a permuted (or redrawn) stage is one
matrix product.

Source: ridge regression and its effective degrees of freedom, Hastie, Tibshirani & Friedman, *The Elements of
Statistical Learning*, 2nd ed., §3.4.1; adjusted form by Frisch–Waugh–Lovell.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from analysis.splits import Folds

LARGEST_OPERATOR = 5000  # patients; beyond, the n × n operator is not formed (200 MB there, growing as n²)
REPEATS, REPEATS_LARGE = 10, 2  # beyond that n the draw of the folds hardly moves a score


def effective_df(n_train: int) -> float:
    """Effective degrees of freedom of the ridge fit: a function of the training size only."""
    return max(1.0, n_train / 10)


def fold_repeats(n: int) -> int:
    """How often the folds are drawn anew, a function of n alone."""
    return REPEATS if n <= LARGEST_OPERATOR else REPEATS_LARGE


def is_factored(n: int, d: int) -> bool:
    """Whether fits of n rows keep d × d factors of each fold instead of one n × n operator."""
    return n > LARGEST_OPERATOR and d < n


class CrossFit(Protocol):
    """A cross-fitted score that is linear in the stage."""

    @property
    def repeats(self) -> int: ...

    def in_sample(self, y: np.ndarray) -> np.ndarray:
        """Fitted scores [n] of the axis learnt from all patients (`in_sample_scores`)."""
        ...

    def scores(self, y: np.ndarray) -> np.ndarray:
        """Out-of-fold scores [n] or [n, B] of one stage vector or of B of them."""
        ...


@dataclass(frozen=True)
class DenseCrossFit:
    """Cross-fitted linear smoother of an ordered stage as one matrix.

    `operator` [n, n]: averaged over repeats, `scores = operator @ y`; every row sums to zero. X [n, d]: what it was
    fitted to.
    """

    operator: np.ndarray
    repeats: int
    X: np.ndarray

    def in_sample(self, y: np.ndarray) -> np.ndarray:
        """Fitted scores [n] of the axis learnt from all patients."""
        return in_sample_scores(self.X, y)

    def scores(self, y: np.ndarray) -> np.ndarray:
        """Out-of-fold scores [n] or [n, B] of one stage vector or of B of them."""
        return self.operator @ y


def in_sample_scores(X: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Ridge predictions [n] of the patients the ridge was fitted to, X [n, d], with the axis' rule for the penalty."""
    Z, _ = _standardise(X, X[:1])
    y, df = y - y.mean(), effective_df(X.shape[0])
    if Z.shape[1] <= Z.shape[0]:
        e, V = np.linalg.eigh(Z.T @ Z)
        e = np.maximum(e, 0.0)
        return np.asarray(Z @ (V @ ((V.T @ (Z.T @ y)) / (e + ridge_penalty(e, df)))))
    e, U = np.linalg.eigh(Z @ Z.T)
    e = np.maximum(e, 0.0)
    return np.asarray(U @ (e / (e + ridge_penalty(e, df)) * (U.T @ y)))


def beyond_basis(X: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Residuals of X [n, d] on a basis [n, q] and an intercept."""
    B = with_intercept(basis)
    return np.asarray(X - B @ (np.linalg.pinv(B) @ X))


def effective_directions(X: np.ndarray, *, basis: np.ndarray | None = None) -> float:
    """Number of directions among which the ridge axis is chosen: (Σ w)² / Σ w² of its shrinkage factors w.

    The noise of a learnt axis is spread over that many directions, which says how soon a signal outweighs it.
    With a basis, of what X holds beyond it.
    """
    if basis is not None:
        X = beyond_basis(X, basis)
    Z, _ = _standardise(X, X[:1])
    gram = Z.T @ Z if X.shape[1] <= X.shape[0] else Z @ Z.T
    e = np.maximum(np.linalg.eigvalsh(gram), 0.0)
    weights = e / (e + ridge_penalty(e, effective_df(round(0.8 * X.shape[0]))))
    return float(weights.sum() ** 2 / np.sum(weights**2)) if weights.any() else 1.0


def ridge_penalty(eigenvalues: np.ndarray, df: float) -> float:
    """Penalty λ with Σ e / (e + λ) = df (safeguarded Newton steps on log λ); ~0 when df exceeds the rank."""
    e = eigenvalues[eigenvalues > eigenvalues.max(initial=0.0) * 1e-12]
    if e.size == 0:
        return 1.0
    low, high = np.log(e.min() * 1e-10), np.log(e.sum() / df * 10 + e.max())
    if np.sum(e / (e + np.exp(low))) <= df:
        return float(np.exp(low))
    at = np.log(e.sum() / df)
    for _ in range(100):
        shrunk = e / (e + np.exp(at))
        excess = shrunk.sum() - df
        low, high = (at, high) if excess > 0 else (low, at)
        step = excess / np.sum(shrunk * (1 - shrunk))
        following = at + step if low < at + step < high else (low + high) / 2
        if abs(following - at) < 1e-15 * max(abs(at), 1.0) or high - low < 1e-15:
            break
        at = following
    return float(np.exp(at))


def _standardise(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centre and scale by the training fold; columns that are constant there carry nothing and become 0."""
    mean, sd = train.mean(axis=0), train.std(axis=0)
    scale = np.where(sd > 1e-10 * (1 + np.abs(mean)), sd, np.inf)
    return (train - mean) / scale, (test - mean) / scale


def ridge_gain(X_train: np.ndarray, X_test: np.ndarray) -> np.ndarray:
    """Ridge predictions of held-out rows as a matrix [n_test, n_train] that multiplies the training stage."""
    Z_train, Z_test = _standardise(X_train, X_test)
    n, d = Z_train.shape
    df = effective_df(n)
    if d <= n:
        e, V = np.linalg.eigh(Z_train.T @ Z_train)
        e = np.maximum(e, 0.0)
        inner = (V / (e + ridge_penalty(e, df))) @ (V.T @ Z_train.T)  # [d, n]
        gain = Z_test @ inner
    else:
        e, U = np.linalg.eigh(Z_train @ Z_train.T)
        e = np.maximum(e, 0.0)
        gain = (Z_test @ Z_train.T) @ ((U / (e + ridge_penalty(e, df))) @ U.T)
    return gain - gain.mean(axis=1, keepdims=True)  # the centring of y


def adjusted_gain(
    X_train: np.ndarray, X_test: np.ndarray, *, basis_train: np.ndarray, basis_test: np.ndarray
) -> np.ndarray:
    """`ridge_gain` of what X holds beyond a basis, whose coefficients are learnt on the training rows."""
    B_train, B_test = with_intercept(basis_train), with_intercept(basis_test)
    coefficients = np.linalg.pinv(B_train) @ X_train
    return ridge_gain(X_train - B_train @ coefficients, X_test - B_test @ coefficients)


def basis_gain(basis_train: np.ndarray, basis_test: np.ndarray) -> np.ndarray:
    """Least-squares predictions from a basis alone as a matrix [n_test, n_train]."""
    gain = with_intercept(basis_test) @ np.linalg.pinv(with_intercept(basis_train))
    return gain - gain.mean(axis=1, keepdims=True)


def cross_fit(X: np.ndarray, folds: Folds, *, basis: np.ndarray | None = None) -> CrossFit:
    """Cross-fitted ridge of the stage on X [n, d]; with `basis` [n, q], on what X holds beyond it.

    With a basis (an intercept is implied) X is residualised on it inside every training fold, and the
    held-out rows by the coefficients learnt there. The score is then the part of the prediction that the
    basis cannot give. Beyond `LARGEST_OPERATOR` rows the fit is kept in factors (`gradient.large`).
    """
    if is_factored(folds.n, X.shape[1]):
        from analysis.gradient.large import factored_cross_fit

        return factored_cross_fit(X, folds, basis=basis)

    def gain(train: np.ndarray, test: np.ndarray) -> np.ndarray:
        if basis is None:
            return ridge_gain(X[train], X[test])
        return adjusted_gain(X[train], X[test], basis_train=basis[train], basis_test=basis[test])

    operator = np.zeros((folds.n, folds.n))
    for train, test in folds:
        operator[np.ix_(test, train)] += gain(train, test)
    return DenseCrossFit(
        operator / folds.repeats, folds.repeats, X if basis is None else beyond_basis(X, basis)
    )


def with_intercept(basis: np.ndarray) -> np.ndarray:
    """Prepend a column of ones."""
    return np.column_stack([np.ones(basis.shape[0]), basis])
