"""Concordance of the adjusters, with and without the embedding, over pairs held out in the same fold.

Patients of one category are ties to a model that knows only their category. Pooled out-of-fold scores break such
ties by who happened to be left out, and always against the stage; so here only pairs that share a fold, and with
it a fitted model, are compared. Sums run over folds and repeats.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from analysis.gradient.axis import CrossFit, adjusted_gain, basis_gain, is_factored, with_intercept
from analysis.gradient.rank_statistics import concordant_pairs, concordant_share, left_out
from analysis.splits import Folds

ROUNDING = 9  # decimals of a stage: equal predictions are ties
ALL_PAIRS = 100  # patients of a fold up to which every pair is formed


@dataclass(frozen=True, eq=False)
class HeldOutPairs:
    """Concordances [B] of adjusters alone and of adjusters + embedding, for B stage vectors.

    `base_left`, `both_left` [n, m]: the same without each patient, for m of the stage vectors.
    """

    base: np.ndarray
    both: np.ndarray
    base_left: np.ndarray
    both_left: np.ndarray


def held_out_pairs(
    X: np.ndarray,
    basis: np.ndarray,
    folds: Folds,
    *,
    codes: np.ndarray,
    n_stages: int,
    jackknife: np.ndarray,
    beyond: CrossFit | None = None,
) -> HeldOutPairs:
    """Refit both models to every column of `codes` [n, B] in every fold; `jackknife` [m]: columns to leave each out.

    `beyond`: the fit of X beyond the basis on these folds, where it is at hand (its factors are used again).

    The two scores are those of one ridge fit in which the adjusters are free and the embedding is penalised.
    """
    n, draws = codes.shape
    below, pairs = np.zeros((2, draws)), np.zeros(draws)
    shares, own = np.zeros((2, n, jackknife.size)), np.zeros((n, jackknife.size))
    for test, base, gain in _held_out_predictions(X, basis, folds, codes, beyond):
        held = codes[test]
        for model, scores in enumerate((base, base + gain)):
            scores = np.round(scores, ROUNDING)
            good, comparable = concordant_pairs(scores, held, n_stages)
            below[model] += good
            concordant, mine = _shares(scores[:, jackknife], held[:, jackknife], n_stages)
            shares[model, test] += concordant
            if model == 0:
                own[test] += mine
        pairs += comparable
    left = [np.stack([left_out(s[:, j], own[:, j]) for j in range(jackknife.size)], axis=1) for s in shares]
    return HeldOutPairs(below[0] / pairs, below[1] / pairs, left[0], left[1])


def _shares(scores: np.ndarray, codes: np.ndarray, n_stages: int) -> tuple[np.ndarray, np.ndarray]:
    """`concordant_share` [m, J] of every column of a fold: all pairs at once where they are few."""
    if scores.shape[0] > ALL_PAIRS:
        both = [concordant_share(s, c, n_stages) for s, c in zip(scores.T, codes.T, strict=True)]
        return np.column_stack([c for c, _ in both]), np.column_stack([p for _, p in both])
    stage = np.sign(codes[None] - codes[:, None])  # [m, m, J]
    agreement = np.sign(scores[None] - scores[:, None]) * stage
    comparable = stage != 0
    return ((agreement + 1) / 2 * comparable).sum(axis=1), comparable.sum(axis=1).astype(float)


def _held_out_predictions(
    X: np.ndarray, basis: np.ndarray, folds: Folds, codes: np.ndarray, beyond: CrossFit | None
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Held-out rows of every fold, and for them the adjusters' prediction and what the embedding adds [m, B]."""
    Y = codes.astype(float)
    if is_factored(folds.n, X.shape[1]):
        from analysis.gradient.large import FactoredCrossFit, factored_cross_fit

        axis = beyond if isinstance(beyond, FactoredCrossFit) else factored_cross_fit(X, folds, basis=basis)
        for (train, test), gain in zip(folds, axis.fold_scores(Y), strict=True):
            fitted = np.linalg.pinv(with_intercept(basis[train])) @ Y[train]  # no [m, n] matrix
            yield test, with_intercept(basis[test]) @ fitted, gain
        return
    for train, test in folds:
        gain = adjusted_gain(X[train], X[test], basis_train=basis[train], basis_test=basis[test])
        yield test, basis_gain(basis[train], basis[test]) @ Y[train], gain @ Y[train]
