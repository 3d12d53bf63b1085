"""A risk score, cross-fitted by patient, that can be refitted to hundreds of permuted outcomes.

In every training fold the embedding is standardised and a ridge regression is fitted to the martingale residuals
of the null model (event minus Nelson–Aalen hazard at the patient's time), which is the first Newton step of the
ridge-penalised Cox partial likelihood. The penalty follows from n alone, so nothing is tuned, and a refit to a
permuted outcome is one matrix product.

Sources: Therneau, Grambsch & Fleming, Biometrika 77 (1990) 147; Verweij & van Houwelingen, Stat. Med. 13
(1994) 2427.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.gradient.axis import cross_fit, ridge_gain
from analysis.splits import Folds, repeated_folds

REPEATS, NESTED_REPEATS = 10, 2


def martingale_residuals(time: np.ndarray, event: np.ndarray, member: np.ndarray) -> np.ndarray:
    """[n, B] event − cumulative hazard (Nelson–Aalen) among the members [n, B] (0 or 1) of each column."""
    order = np.argsort(time, kind="stable")
    times, died, here = time[order], event[order].astype(float)[:, None], member[order]
    at_risk = np.cumsum(here[::-1], axis=0)[::-1][np.searchsorted(times, times, "left")]
    hazard = np.cumsum(np.divide(died * here, at_risk, out=np.zeros(here.shape), where=at_risk > 0), axis=0)
    out = np.empty(here.shape)
    out[order] = (died - hazard[np.searchsorted(times, times, "right") - 1]) * here
    return out


@dataclass(frozen=True, eq=False)
class RiskScore:
    """Gains [n_test, n_train] of each fold: `scores(time, event)` are out of fold, averaged over repeats."""

    folds: Folds
    gains: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, X: np.ndarray, *, repeats: int = REPEATS, seed: int = 0) -> RiskScore:
        folds = repeated_folds(X.shape[0], repeats=repeats, seed=seed)
        return cls(folds, tuple(ridge_gain(X[train], X[test]) for train, test in folds))

    def scores(self, time: np.ndarray, event: np.ndarray, owner: np.ndarray | None = None) -> np.ndarray:
        """Scores [n] of the patients; with owner [n, B], scores [n, B] when patient i has outcome owner[i, b].

        About one log hazard a unit (shrunken); higher = worse.
        """
        draws = np.arange(time.size)[:, None] if owner is None else owner
        total = np.zeros(draws.shape)
        columns = np.arange(draws.shape[1])
        for (train, test), gain in zip(self.folds, self.gains, strict=True):
            member = np.zeros(draws.shape)
            member[draws[train], columns] = 1.0  # which outcomes the training patients hold
            residual = martingale_residuals(time, event, member)
            total[test] += gain @ residual[draws[train], columns]
        total *= time.size / max(float(event.sum()), 1.0) / self.folds.repeats
        return total[:, 0] if owner is None else total


@dataclass(frozen=True, eq=False)
class NestedFold:
    """One outer fold: gains of the held-out patients [n_test, n_train], and among the training patients, out
    of inner folds [n_train, n_train]."""

    train: np.ndarray
    test: np.ndarray
    outer: np.ndarray
    inner: np.ndarray


def nested_folds(X: np.ndarray, *, seed: int = 0) -> list[NestedFold]:
    """Outer folds with inner folds in each."""
    out = []
    outer = repeated_folds(X.shape[0], repeats=NESTED_REPEATS, seed=seed + 1)
    for number, (train, test) in enumerate(outer):
        inner = repeated_folds(train.size, repeats=1, seed=seed + 1000 + number)
        operator = cross_fit(X[train], inner).scores(np.eye(train.size))
        out.append(NestedFold(train, test, ridge_gain(X[train], X[test]), operator))
    return out
