"""Queries ranked against a gallery and scored, a chunk at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from analysis.gallery import Gallery, fused_ranking
from analysis.matched_retrieval import Match
from analysis.retrieval_scores import random_expectation, score_rankings, without_each
from flexict_core.errors import AnalysisError

_CHUNK = 512  # queries ranked at a time


@dataclass(frozen=True)
class Scored:
    """Queries that can be scored: rows [q], scores and their random expectation, hits and rows to be met.

    without: [2 m, n] means of `columns` over the other queries when each patient is taken away; NaN where
    that is not to be had (queries and gallery differ, several rows a patient, nobody left to match).
    without_of [C, 2 m, n]: the same over the queries of each label code. occurrences [g]: how often each gallery
    row is among the max(ks) nearest of a query that met as many (scored or not), of `met` queries.
    """

    queries: np.ndarray
    scores: dict[str, np.ndarray]
    expected: dict[str, np.ndarray]
    relevant: np.ndarray
    valid: np.ndarray
    first_hit: np.ndarray
    without: np.ndarray
    without_of: np.ndarray
    occurrences: np.ndarray
    met: int

    def part(self, of: np.ndarray, code: int) -> Scored:
        """The queries of one label code; `of` [q] marks them."""
        return replace(
            self,
            queries=self.queries[of],
            scores={name: v[of] for name, v in self.scores.items()},
            expected={name: v[of] for name, v in self.expected.items()},
            relevant=self.relevant[of],
            valid=self.valid[of],
            first_hit=self.first_hit[of],
            without=self.without_of[code],
        )

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
    match: Match | None = None,
) -> Scored:
    """Rank the rows `targets` for each row of `queries`; score the rankings against the label codes.

    Where queries and targets are the same rows, the scores without each patient are found as well (the order
    of the others is held fixed). Queries without a hit in the whole gallery are left out; AnalysisError if
    all are. With `match` a query meets only the rows that are like it, and one that meets fewer than max(ks) is
    left out.
    """
    everyone = np.array_equal(queries, targets) and len(set(gallery.patient_id[targets])) == len(targets)
    parts: list[tuple[np.ndarray, ...]] = []
    scores: list[dict[str, np.ndarray]] = []
    jackknife = (_LeaveOneOut if match is None else _LeaveOneOutMatched)(
        len(targets), ks, int(codes.max()) + 1
    )
    occurrences, met, most = np.zeros(len(targets), dtype=np.int64), 0, max(ks)
    for start in range(0, len(queries), _CHUNK):
        chunk = queries[start : start + _CHUNK]
        blocked = gallery.patient_id[chunk][:, None] == gallery.patient_id[targets][None, :]
        if match is not None:
            blocked |= ~match.alike(chunk, targets)
        order, _ = fused_ranking(gallery.cosines(chunk, targets), blocked, rrf_k)
        valid = np.count_nonzero(~blocked, axis=1)
        hits = (codes[targets][order] == codes[chunk][:, None]) & (np.arange(len(targets)) < valid[:, None])
        relevant = np.count_nonzero(hits, axis=1)
        own = np.arange(start, start + len(chunk))  # where queries and targets are the same rows
        enough = valid >= max(most, 2)
        occurrences += np.bincount(order[enough, :most].ravel(), minlength=len(targets))
        met += int(np.count_nonzero(enough))
        some = (relevant > 0) & (enough | (match is None))
        if some.any():
            scores.append(score_rankings(hits[some], ks))
            parts.append((chunk[some], relevant[some], valid[some], hits[some].argmax(axis=1) + 1))
            if everyone:
                jackknife.add(order[some, :-1], hits[some, :-1], own[some], valid[some], codes[chunk[some]])
    if not parts:
        raise AnalysisError(
            "no query shares its label with another patient of the gallery: choose another label"
            if match is None
            else f"no query meets {most} patients who are like it in {', '.join(match.columns)} and share its "
            "label: widen the caliper or match on less"
        )
    rows, relevant, valid, first_hit = (np.concatenate(column) for column in zip(*parts, strict=True))
    joined = {name: np.concatenate([s[name] for s in scores]) for name in scores[0]}
    expected = random_expectation(relevant, valid, ks)
    without, without_of = jackknife.means()
    return Scored(rows, joined, expected, relevant, valid, first_hit, without, without_of, occurrences, met)


class _LeaveOneOut:
    """Mean scores and gains of the other queries when each gallery row is taken away, by label code and in all."""

    def __init__(self, rows: int, ks: list[int], labels: int) -> None:
        self.ks, self.rows = ks, rows
        self.count = np.zeros((labels, rows))
        self.sums = np.zeros((labels, 2 * (2 * len(ks) + 1), rows))

    def add(
        self, order: np.ndarray, hits: np.ndarray, _own: np.ndarray, _valid: np.ndarray, code: np.ndarray
    ) -> None:
        """order [q, n − 1]: gallery rows, best first, without the query; hits: which of them match; code [q]."""
        if hits.shape[1] < 2:
            return
        scores, left = without_each(hits, self.ks)
        usable = left.ravel() > 0
        row = (order + self.rows * code[:, None]).ravel()[usable]
        chance = random_expectation(left.ravel()[usable], np.full(len(row), hits.shape[1] - 1), self.ks)
        values = [v.ravel()[usable] for v in scores.values()]
        gains = [v - c for v, c in zip(values, chance.values(), strict=True)]
        for place, column in enumerate(values + gains):
            self.sums[:, place] += self._by_label(row, column)
        self.count += self._by_label(row, None)

    def _by_label(self, row: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
        return np.bincount(row, weights=weights, minlength=self.count.size).reshape(self.count.shape)

    def means(self) -> tuple[np.ndarray, np.ndarray]:
        """[2 m, n] over all queries and [C, 2 m, n] over those of each label; NaN where there are none."""
        count = np.where(self.count > 0, self.count, np.nan)
        total = self.count.sum(axis=0)
        return self.sums.sum(axis=0) / np.where(total > 0, total, np.nan), self.sums / count[:, None]


class _LeaveOneOutMatched(_LeaveOneOut):
    """The same where a query meets some rows only: taking away a row that it does not meet changes nothing."""

    def add(
        self, order: np.ndarray, hits: np.ndarray, own: np.ndarray, valid: np.ndarray, code: np.ndarray
    ) -> None:
        for q, met in enumerate(valid):
            scores = score_rankings(hits[q : q + 1, :met], self.ks)
            hit = np.array([np.count_nonzero(hits[q, :met])])
            chance = random_expectation(hit, np.array([met]), self.ks)
            whole = _column(scores, chance)[:, 0]
            values = np.repeat(whole[:, None], self.rows, axis=1)
            counted = np.ones(self.rows)
            away, left = without_each(hits[q : q + 1, :met], self.ks)
            chance = random_expectation(np.maximum(left[0], 1), np.full(met, met - 1), self.ks)
            values[:, order[q, :met]] = _column({k: v[0] for k, v in away.items()}, chance)
            counted[order[q, :met][left[0] == 0]] = 0
            counted[own[q]] = 0  # its own removal takes the query away
            self.sums[code[q]] += values * counted
            self.count[code[q]] += counted


def _column(scores: dict[str, np.ndarray], chance: dict[str, np.ndarray]) -> np.ndarray:
    value = np.stack([np.atleast_1d(v) for v in scores.values()])
    return np.vstack([value, value - np.stack([np.atleast_1d(v) for v in chance.values()])])
