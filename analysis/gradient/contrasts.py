"""Stage means and differences of stages, in within-stage standard deviations, and their sampling variance.

A contrast is a weighted sum of the mean scores of cells (stages; with groups, stages within a group) over the pooled
within-cell SD. Exchanging stages within groups leaves the cells' counts, and with them the weights, as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.gradient.data import StageData

FEWEST_FOR_SPREAD = 3  # patients of a cell from which its own spread is used


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

    def variances(self, scores: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Variance [C] of every contrast of *fixed* scores [n], and its degrees of freedom [C] (Satterthwaite).

        The infinitesimal jackknife of the ratio contrast / SD, each cell with its own spread: where scores are far
        from normal within a stage (two scanners, say), mean and SD vary together and a formula for normal scores
        is too small. A cell with fewer than 3 patients takes the pooled spread. Infinite where a contrast has no
        pair of patients.

        Source: Efron & Stein, Ann. Stat. 9 (1981) 586; Satterthwaite, Biometr. Bull. 2 (1946) 110.
        """
        means, squares, df = self._cells(scores[:, None], codes[:, None])
        pooled = float(squares.sum()) / max(df, 1)
        if pooled <= 0:
            return np.full(len(self.weights), np.inf), np.ones(len(self.weights))
        cell = np.empty(scores.size, dtype=int)
        for g, part in enumerate(self.parts):
            cell[part] = g * self.n_stages + codes[part]
        counts = np.bincount(cell, minlength=means.shape[0]).astype(float)
        own = counts[cell] >= FEWEST_FOR_SPREAD
        away = (scores - means[cell, 0]) / np.sqrt(pooled)
        theta = self.weights @ means[:, 0] / np.sqrt(pooled)
        of_mean = np.where(own, self.weights[:, cell] * away / np.maximum(counts[cell] - 1, 1), 0.0)  # [C, n]
        of_sd = -theta[:, None] / 2 * (away**2 - np.mean(away**2)) / max(df, 1)
        influence = of_mean + of_sd
        few = (counts > 0) & (counts < FEWEST_FOR_SPREAD)
        without_spread = self.weights[:, few] ** 2 / counts[few]  # [C, few]
        total = np.sum(influence**2, axis=1) + without_spread.sum(axis=1)
        # Satterthwaite over the cells' shares of the variance of the mean
        share = np.stack([np.sum(of_mean[:, cell == k] ** 2, axis=1) for k in np.flatnonzero(counts >= 3)])
        freedom = counts[counts >= FEWEST_FOR_SPREAD] - 1
        spread = share.sum(axis=0) + without_spread.sum(axis=1)
        lost = np.sum(share**2 / freedom[:, None], axis=0) + without_spread.sum(axis=1) ** 2 / max(df, 1)
        degrees = np.divide(spread**2, lost, out=np.ones_like(spread), where=lost > 0)
        nothing = ~self.weights.any(axis=1)
        return np.where(nothing, np.inf, total), np.maximum(degrees, 1.0)

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
