"""Queries ranked against a gallery and scored, a chunk at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.gallery import Gallery, fused_ranking
from analysis.retrieval_scores import random_expectation, score_rankings, without_each
from flexict_core.errors import AnalysisError

_CHUNK = 512  # queries ranked at a time


@dataclass(frozen=True)
class Scored:
    """Queries that can be scored: rows [q], scores and their random expectation, hits and rows to be met.

    without: [2 m, n] means of `columns` over the other queries when each patient is taken away; NaN where
    that is not to be had (queries and gallery differ, several rows a patient, nobody left to match).
    """

    queries: np.ndarray
    scores: dict[str, np.ndarray]
    expected: dict[str, np.ndarray]
    relevant: np.ndarray
    valid: np.ndarray
    first_hit: np.ndarray
    without: np.ndarray

    def columns(self) -> np.ndarray:
        """[q, 2 m]: the m scores of each query, then their gains over chance."""
        score = np.stack(list(self.scores.values()), axis=1)
        return np.hstack([score, score - np.stack(list(self.expected.values()), axis=1)])


def score_queries(
    gallery: Gallery,
    queries: np.ndarray,
    targets: np.ndarray,
    codes: np.ndarray,
    *,
    ks: list[int],
    rrf_k: int,
) -> Scored:
    """Rank the rows `targets` for each row of `queries`; score the rankings against the label codes.

    Where queries and targets are the same rows, the scores without each patient are found as well (the order
    of the others is held fixed). Queries without a hit in the whole gallery are left out; AnalysisError if
    all are.
    """
    everyone = np.array_equal(queries, targets) and len(set(gallery.patient_id[targets])) == len(targets)
    parts: list[tuple[np.ndarray, ...]] = []
    scores: list[dict[str, np.ndarray]] = []
    jackknife = _LeaveOneOut(len(targets), ks)
    for start in range(0, len(queries), _CHUNK):
        chunk = queries[start : start + _CHUNK]
        blocked = gallery.patient_id[chunk][:, None] == gallery.patient_id[targets][None, :]
        order, _ = fused_ranking(gallery.cosines(chunk, targets), blocked, rrf_k)
        valid = np.count_nonzero(~blocked, axis=1)
        hits = (codes[targets][order] == codes[chunk][:, None]) & (np.arange(len(targets)) < valid[:, None])
        relevant = np.count_nonzero(hits, axis=1)
        some = relevant > 0
        if some.any():
            scores.append(score_rankings(hits[some], ks))
            parts.append((chunk[some], relevant[some], valid[some], hits[some].argmax(axis=1) + 1))
            if everyone:
                jackknife.add(order[some, :-1], hits[some, :-1])
    if not parts:
        raise AnalysisError(
            "no query shares its label with another patient of the gallery: choose another label"
        )
    rows, relevant, valid, first_hit = (np.concatenate(column) for column in zip(*parts, strict=True))
    joined = {name: np.concatenate([s[name] for s in scores]) for name in scores[0]}
    expected = random_expectation(relevant, valid, ks)
    return Scored(rows, joined, expected, relevant, valid, first_hit, jackknife.means())


class _LeaveOneOut:
    """Mean scores and gains of the other queries when each gallery row is taken away."""

    def __init__(self, rows: int, ks: list[int]) -> None:
        self.ks = ks
        self.count = np.zeros(rows)
        self.sums = np.zeros((2 * (2 * len(ks) + 1), rows))

    def add(self, order: np.ndarray, hits: np.ndarray) -> None:
        """order [q, n − 1]: gallery rows, best first, without the query itself; hits: which of them match."""
        if hits.shape[1] < 2:
            return
        scores, left = without_each(hits, self.ks)
        usable = left.ravel() > 0
        row = order.ravel()[usable]
        chance = random_expectation(left.ravel()[usable], np.full(len(row), hits.shape[1] - 1), self.ks)
        values = [v.ravel()[usable] for v in scores.values()]
        gains = [v - c for v, c in zip(values, chance.values(), strict=True)]
        for total, column in zip(self.sums, values + gains, strict=True):
            total += np.bincount(row, weights=column, minlength=len(self.count))
        self.count += np.bincount(row, minlength=len(self.count))

    def means(self) -> np.ndarray:
        return self.sums / np.where(self.count > 0, self.count, np.nan)
