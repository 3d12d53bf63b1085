"""Concordance of the adjusters, with and without the embedding, over pairs held out in the same fold.

Patients of one category are ties to a model that knows only their category. Pooled out-of-fold scores break such
ties by who happened to be left out, and always against the stage; so here only pairs that share a fold, and with
it a fitted model, are compared. Sums run over folds and repeats.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.gradient.axis import adjusted_gain, basis_gain
from analysis.gradient.rank_statistics import concordant_pairs, left_out
from analysis.splits import Folds

ROUNDING = 9  # decimals of a stage: equal predictions are ties


@dataclass(frozen=True, eq=False)
class HeldOutPairs:
    """Concordances [B] of adjusters alone and of adjusters + embedding, for B stage vectors.

    `base_left`, `both_left` [n, m]: the same without each patient, for the first m stage vectors.
    """

    base: np.ndarray
    both: np.ndarray
    base_left: np.ndarray
    both_left: np.ndarray


def held_out_pairs(
    X: np.ndarray, basis: np.ndarray, folds: Folds, *, codes: np.ndarray, n_stages: int, jackknife: int
) -> HeldOutPairs:
    """Refit both models to every column of `codes` [n, B] in every fold.

    The two scores are those of one ridge fit in which the adjusters are free and the embedding is penalised.
    """
    n, draws = codes.shape
    Y = codes.astype(float)
    below, pairs = np.zeros((2, draws)), np.zeros(draws)
    shares, own = np.zeros((2, n, jackknife)), np.zeros((n, jackknife))
    for train, test in folds:
        base = basis_gain(basis[train], basis[test]) @ Y[train]
        gain = adjusted_gain(X[train], X[test], basis_train=basis[train], basis_test=basis[test])
        held = codes[test]
        for model, scores in enumerate((base, base + gain @ Y[train])):
            scores = np.round(scores, ROUNDING)
            good, comparable = concordant_pairs(scores, held, n_stages)
            below[model] += good
            for j in range(jackknife):
                concordant, mine = _shares(scores[:, j], held[:, j])
                shares[model, test, j] += concordant
                if model == 0:
                    own[test, j] += mine
        pairs += comparable
    left = [np.stack([left_out(s[:, j], own[:, j]) for j in range(jackknife)], axis=1) for s in shares]
    return HeldOutPairs(below[0] / pairs, below[1] / pairs, left[0], left[1])


def _shares(scores: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`concordant_share` of the few patients of a fold, all pairs at once."""
    stage = np.sign(codes[None, :] - codes[:, None])
    agreement = np.sign(scores[None, :] - scores[:, None]) * stage
    comparable = stage != 0
    return ((agreement + 1) / 2 * comparable).sum(axis=1), comparable.sum(axis=1).astype(float)
