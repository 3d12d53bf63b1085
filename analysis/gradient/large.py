"""The cross-fitted axis for cohorts whose n × n operator would be too large.

Nothing of size n × n is formed. Every fold keeps the eigenvectors of its d × d Gram matrix, and the refit to a
block of stage vectors Y is `Z_test · V (E + λ)⁻¹ Vᵀ · Z_trainᵀ Y`. Products of a training fold are those of the
whole cohort less those of the held-out fold, so that they are formed once for all folds of a repeat. The scores
are those of the dense operator up to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from analysis.gradient.axis import effective_df, in_sample_scores, ridge_penalty, with_intercept
from analysis.splits import Folds

COLUMNS = 256  # stage vectors refitted at once: n × 256 and d × 256 doubles


@dataclass(frozen=True, eq=False)
class _Fold:
    """What one training fold leaves behind."""

    test: np.ndarray  # [m]
    coefficients: np.ndarray  # [q + 1, d]: X on the basis
    inverse_scale: np.ndarray  # [d], 0 where the column is constant in the fold
    vectors: np.ndarray  # [d, r]
    shrinkage: np.ndarray  # [r]: 1 / (e + λ)


@dataclass(frozen=True, eq=False)
class FactoredCrossFit:
    """Cross-fitted ridge in the space of the d dimensions: X [n, d] standardised, basis B [n, q + 1]."""

    X: np.ndarray
    B: np.ndarray
    parts: tuple[_Fold, ...]
    repeats: int

    def in_sample(self, y: np.ndarray) -> np.ndarray:
        """Fitted scores [n] of the axis learnt from all patients."""
        return in_sample_scores(self.X - self.B @ (np.linalg.pinv(self.B) @ self.X), y)

    def scores(self, y: np.ndarray) -> np.ndarray:
        """Out-of-fold scores [n] or [n, B] of one stage vector or of B of them."""
        if y.ndim == 1:
            return self._block(np.asarray(y, dtype=float)[:, None])[:, 0]
        out = np.empty(y.shape)
        for columns in _blocks(y.shape[1]):
            out[:, columns] = self._block(np.asarray(y[:, columns], dtype=float))
        return out

    def _block(self, Y: np.ndarray) -> np.ndarray:
        out = np.zeros(Y.shape)
        for part, held in zip(self.parts, self.fold_scores(Y), strict=True):
            out[part.test] += held
        return out / self.repeats

    def fold_scores(self, Y: np.ndarray) -> Iterator[np.ndarray]:
        """Scores [m, B] of the held-out rows of every fold, in the order of the folds, for Y [n, B]."""
        XtY, BtY = self.X.T @ Y, self.B.T @ Y  # [d, B], [q + 1, B]
        for part in self.parts:
            X_test, B_test, Y_test = self.X[part.test], self.B[part.test], Y[part.test]
            right = XtY - X_test.T @ Y_test - part.coefficients.T @ (BtY - B_test.T @ Y_test)
            right *= part.inverse_scale[:, None]
            weights = part.vectors @ (part.shrinkage[:, None] * (part.vectors.T @ right))  # [d, B]
            weights *= part.inverse_scale[:, None]
            yield X_test @ weights - B_test @ (part.coefficients @ weights)


def factored_cross_fit(X: np.ndarray, folds: Folds, *, basis: np.ndarray | None = None) -> FactoredCrossFit:
    """As `analysis.gradient.axis.cross_fit`, without the n × n operator; X [n, d], basis [n, q]."""
    n = X.shape[0]
    spread = X.std(axis=0)
    Z = (X - X.mean(axis=0)) / np.where(
        spread > 0, spread, 1.0
    )  # rounding alone: each fold has its own scale
    B = np.ones((n, 1)) if basis is None else with_intercept(basis)
    gram, cross, inner = Z.T @ Z, B.T @ Z, B.T @ B
    parts = []
    for train, test in folds:
        Z_test, B_test = Z[test], B[test]
        inner_train, cross_train = inner - B_test.T @ B_test, cross - B_test.T @ Z_test
        coefficients = np.linalg.pinv(inner_train, hermitian=True) @ cross_train
        residual = gram - Z_test.T @ Z_test - cross_train.T @ coefficients
        scale = np.sqrt(np.maximum(np.diagonal(residual), 0.0) / train.size)
        inverse_scale = np.where(scale > 1e-7, 1.0 / np.where(scale > 1e-7, scale, 1.0), 0.0)
        residual *= inverse_scale
        residual *= inverse_scale[:, None]
        e, V = np.linalg.eigh(residual)
        kept = e > 1e-12 * e.max(initial=0.0)
        e, V = e[kept], V[:, kept]
        shrinkage = 1.0 / (e + ridge_penalty(e, effective_df(train.size)))
        parts.append(_Fold(test, coefficients, inverse_scale, V, shrinkage))
    return FactoredCrossFit(Z, B, tuple(parts), folds.repeats)


def _blocks(columns: int) -> Iterator[slice]:
    for start in range(0, columns, COLUMNS):
        yield slice(start, min(start + COLUMNS, columns))
