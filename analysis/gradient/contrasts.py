"""Stage means and differences of stages, in within-stage standard deviations, and their sampling variance.

A contrast is a weighted sum of the mean scores of cells (stages; with groups, stages within a group) over the pooled
within-cell SD. Exchanging stages within groups leaves the cells' counts, and with them the weights, as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.gradient.data import StageData

FEWEST_FOR_SPREAD = 3  # patients of a cell from which it has a spread of its own
FEW = 8  # patients below which a cell's own spread is not believed where it is smaller than the pooled one


@dataclass(frozen=True, eq=False)
class ContrastVariance:
    """Of contrasts [C]: variance, and the degrees of freedom with which it is known."""

    variance: np.ndarray
    df: np.ndarray


@dataclass(frozen=True, eq=False)
class StageContrasts:
    """Without groups: the K stage means about their unweighted mean, then `pairs`; with groups: `pairs` alone.

    weights [C, cells], in the order group by group, stage by stage; parts: rows of each group.
    """

    weights: np.ndarray
    parts: tuple[np.ndarray, ...]
    n_stages: int
    pairs: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, d: StageData, pairs: Sequence[tuple[int, int]]) -> StageContrasts:
        """Differences of a pair are taken within each group and averaged with weights n_a n_b / (n_a + n_b)."""
        K = d.n_stages
        if d.groups is None:
            parts: tuple[np.ndarray, ...] = (np.arange(d.n),)
        else:
            parts = tuple(np.flatnonzero(d.groups == g) for g in np.unique(d.groups))
        rows = [] if d.groups is not None else list(np.eye(K) - 1 / K)
        counts = np.stack([np.bincount(d.codes[p], minlength=K) for p in parts]).astype(float)  # [G, K]
        for a, b in pairs:
            both = counts[:, a] + counts[:, b]
            w = np.divide(counts[:, a] * counts[:, b], both, out=np.zeros(len(parts)), where=both > 0)
            row = np.zeros(counts.shape)
            if w.any():
                row[:, b], row[:, a] = w / w.sum(), -w / w.sum()
            rows.append(row.ravel())
        return cls(np.array(rows), parts, K, tuple(pairs))

    def index(self, pair: tuple[int, int]) -> int:
        """Row of a pair."""
        return len(self.weights) - len(self.pairs) + self.pairs.index(pair)

    def values(self, scores: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """[C, B] for scores and codes [n, B]."""
        means, squares, df = self._cells(scores, codes)
        sd = np.sqrt(squares.sum(axis=0) / max(df, 1))
        raw = self.weights @ means
        return np.divide(raw, sd, out=np.zeros_like(raw), where=sd > 0)

    def variances(self, scores: np.ndarray, codes: np.ndarray) -> ContrastVariance:
        """Delete-one jackknife of every contrast of *fixed* scores [n], each cell with its own spread.

        Where scores are far from normal within a stage (two scanners, say), mean and SD vary together and a formula
        for normal scores is too small. A cell with fewer than 8 patients takes the pooled spread where its own is
        smaller (three skewed scores lie close together by chance). Infinite where a contrast has no pair of patients.

        Source: Efron & Stein, Ann. Stat. 9 (1981) 586; Satterthwaite, Biometr. Bull. 2 (1946) 110.
        """
        means, squares, df = self._cells(scores[:, None], codes[:, None])
        whole = float(squares.sum())
        rows = len(self.weights)
        if whole <= 0 or df < 2:
            return ContrastVariance(np.full(rows, np.inf), np.ones(rows))
        cell = np.empty(scores.size, dtype=int)
        for g, part in enumerate(self.parts):
            cell[part] = g * self.n_stages + codes[part]
        counts = np.bincount(cell, minlength=means.shape[0]).astype(float)
        away, size = scores - means[cell, 0], counts[cell]
        own = size >= FEWEST_FOR_SPREAD
        inflation = self._inflation(squares[:, 0], counts, df)
        lost = np.where(own, away / np.maximum(size - 1, 1), 0.0)  # by the cell's mean without the patient
        sd = np.sqrt((whole - np.where(own, away * lost * size, 0.0)) / np.where(own, df - 1, df))
        without = self.weights @ means - self.weights[:, cell] * lost * inflation[cell]
        left = without / sd  # [C, n]: the contrast without each patient
        moved = left.mean(axis=1, keepdims=True) - left
        few = (counts > 0) & (inflation == 0)
        unspread = np.sum(self.weights[:, few] ** 2 / counts[few], axis=1)
        jackknife = (scores.size - 1) / scores.size * np.sum(moved**2, axis=1)
        total = np.where(self.weights.any(axis=1), jackknife + unspread, np.inf)
        degrees = np.minimum(self._freedom(squares[:, 0], counts, df), _certainty(moved, size >= FEW))
        return ContrastVariance(total, degrees)

    def _freedom(self, squares: np.ndarray, counts: np.ndarray, df: int) -> np.ndarray:
        """Satterthwaite's degrees of freedom [C] of the raw contrast; of the pooled spread for a tiny cell."""
        filled = counts > 0
        own, pooled = squares / np.maximum(counts - 1, 1), squares.sum() / df
        taken = (counts < FEWEST_FOR_SPREAD) | ((counts < FEW) & (own < pooled))
        freedom = np.where(taken, df, counts - 1)[filled]
        variance = np.where(taken, pooled, own)[filled]
        share = self.weights[:, filled] ** 2 * variance / counts[filled]  # [C, cells]
        degrees = np.ones(len(self.weights))
        below = np.sum(share**2 / freedom, axis=1)
        return np.maximum(np.divide(share.sum(axis=1) ** 2, below, out=degrees, where=below > 0), 1.0)

    def _inflation(self, squares: np.ndarray, counts: np.ndarray, df: int) -> np.ndarray:
        """Factor of each cell's deviations: 1 for its own spread, more up to the pooled one, 0 where it has none."""
        own, pooled = squares / np.maximum(counts - 1, 1), squares.sum() / df
        spread = (counts >= FEWEST_FOR_SPREAD) & (own > 0)
        raised = np.sqrt(np.maximum(np.divide(pooled, own, out=np.ones_like(own), where=spread), 1.0))
        # the jackknife of a mean is s² / (n − 1): too much for a few
        small = raised * np.sqrt(np.maximum(counts - 1, 1) / np.maximum(counts, 1))
        return np.where(spread, np.where(counts < FEW, small, 1.0), 0.0)

    def _cells(self, scores: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
        """Mean and sum of squares about it [cells, B], and pooled degrees of freedom."""
        means, squares, filled = [], [], 0
        for part in self.parts:
            S, Y = scores[part], codes[part]
            filled += np.unique(Y[:, 0]).size
            for k in range(self.n_stages):
                here = np.equal(Y, k)
                count = np.count_nonzero(here, axis=0)
                inside = np.where(here, S, 0.0)
                mean = inside.sum(axis=0) / np.maximum(count, 1)
                means.append(mean)
                squares.append(np.maximum((inside**2).sum(axis=0) - count * mean**2, 0.0))
        return np.stack(means), np.stack(squares), scores.shape[0] - filled


def _certainty(moved: np.ndarray, many: np.ndarray) -> np.ndarray:
    """Degrees of freedom [C] of a jackknife variance from the kurtosis of its values [C, n].

    Var(V) / V² = (kurtosis − 1) / n, so heavy tails leave it less certain. Of the cells with `many` patients [n]
    alone, where most of the variance is theirs; Satterthwaite's formula counts the others.
    """
    second = np.sum(moved**2, axis=1)
    theirs = np.sum(moved[:, many] ** 2, axis=1)
    fourth = np.sum(moved[:, many] ** 4, axis=1) * max(int(many.sum()), 1)
    kurtosis = np.divide(fourth, theirs**2, out=np.full(len(moved), 3.0), where=theirs > second / 2)
    return np.asarray(2 * moved.shape[1] / np.maximum(kurtosis - 1, 2.0))
