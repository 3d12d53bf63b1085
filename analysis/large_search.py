"""Exact cosine search over hundreds of thousands of vectors in half the memory of float32.

Rows of length one are held as 16-bit floats (FAISS' scalar quantiser), cut into one part a processor core so that
even a single query uses all of them; many queries at once are multiplied block by block instead. The candidates are
ranked again in float64 from the caller's own vectors, which may be a memory map on disk: only the candidates' rows
are read. Rounding to 16 bits changes a cosine by at most 2⁻¹⁰, so that a result whose k-th cosine lies further than
that above everything left out is proven exact; where it does not, more candidates are taken.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np

from flexict_core.errors import AnalysisError

_ROWS = 16_384  # rows normalised, or decoded, at a time: 57 MB of float32 at 864 dimensions
_FEW = 8  # queries up to which each is searched alone
_ROUNDING = 2.0**-10
_MOST_CANDIDATES = 4096


class LargeIndex:
    """An index of vectors [n, d] for cosine search; build it once, search it often.

    vectors: an array or memory map that stays as it is as long as the index is used; it is not copied.
    """

    def __init__(
        self,
        vectors: np.ndarray,
        *,
        threads: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Raises AnalysisError for vectors that are no table, hold NaN or infinity, or have no direction."""
        import faiss

        if vectors.ndim != 2 or not vectors.size:
            raise AnalysisError(
                f"the vectors have shape {vectors.shape}: give a table [patients, dimensions]"
            )
        self._vectors = vectors
        self.n, self.dim = vectors.shape
        self._threads = max(1, min(threads or os.cpu_count() or 1, self.n // _ROWS + 1))
        bounds = np.linspace(0, self.n, self._threads + 1).astype(int)
        self._starts, self._parts = bounds[:-1], []
        for start, end in pairwise(bounds):
            part = faiss.IndexScalarQuantizer(
                self.dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
            )
            for row in range(start, end, _ROWS):
                part.add(self._unit(row, min(row + _ROWS, end)))
                if progress is not None:
                    progress(min(row + _ROWS, end), self.n)
            self._parts.append(part)

    @property
    def nbytes(self) -> int:
        """Memory held by the index itself, without the caller's vectors."""
        return 2 * self.n * self.dim

    def _unit(self, start: int, end: int) -> np.ndarray:
        rows = np.asarray(self._vectors[start:end], dtype=np.float32)
        length = np.linalg.norm(rows, axis=1, keepdims=True)
        bad = ~np.isfinite(length[:, 0]) | (length[:, 0] == 0)
        if bad.any():
            where = start + int(np.flatnonzero(bad)[0])
            raise AnalysisError(f"vector {where} is all zeros or holds NaN or infinity: leave it out")
        return np.ascontiguousarray(rows / length)

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows [q, k] and cosines [q, k] float64 of the k nearest to each query [q, d], best first.

        Ties keep the lower row first. Raises AnalysisError for a k above n, another number of dimensions, and
        queries without a direction.
        """
        queries = np.atleast_2d(np.asarray(queries, dtype=np.float64))
        if queries.shape[1] != self.dim:
            raise AnalysisError(f"queries have {queries.shape[1]} dimensions, the index has {self.dim}")
        if not 1 <= k <= self.n:
            raise AnalysisError(f"k = {k}, but the index holds {self.n} rows: ask for at most {self.n}")
        length = np.linalg.norm(queries, axis=1, keepdims=True)
        if not (np.isfinite(length).all() and length.all()):
            raise AnalysisError("a query is all zeros or holds NaN or infinity: it has no direction")
        queries = queries / length
        rows, values = np.empty((len(queries), k), dtype=np.int64), np.empty((len(queries), k))
        left, fetch = np.arange(len(queries)), min(self.n, 2 * k + 16)
        while len(left):
            score, found = self._candidates(np.ascontiguousarray(queries[left], dtype=np.float32), fetch)
            rows[left], values[left] = self._exact(queries[left], found, k)
            sure = (fetch == self.n) | (values[left, -1] - score[:, -1] > _ROUNDING)
            if fetch >= _MOST_CANDIDATES:
                break
            left, fetch = left[~sure], min(self.n, 4 * fetch, max(_MOST_CANDIDATES, 2 * k))
        return rows, values

    def _exact(self, queries: np.ndarray, found: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        rows, values = np.empty((len(queries), k), dtype=np.int64), np.empty((len(queries), k))
        for i, (query, own) in enumerate(zip(queries, found, strict=True)):
            own = np.sort(own)
            held = np.asarray(self._vectors[own], dtype=np.float64)
            cosine = held @ query / np.linalg.norm(held, axis=1)
            order = np.argsort(-np.round(cosine, 12), kind="stable")[:k]
            rows[i], values[i] = own[order], cosine[order]
        return rows, values

    def _candidates(self, queries: np.ndarray, fetch: int) -> tuple[np.ndarray, np.ndarray]:
        """Scores and rows [q, fetch] by the 16-bit rows, best first."""
        if len(queries) <= _FEW:
            return self._one_by_one(queries, fetch)
        return self._blocks(queries, fetch)

    def _one_by_one(self, queries: np.ndarray, fetch: int) -> tuple[np.ndarray, np.ndarray]:
        def part(i: int) -> tuple[np.ndarray, np.ndarray]:
            score, row = self._parts[i].search(queries, min(fetch, self._parts[i].ntotal))
            return score, row + self._starts[i]

        return self._of_all_parts(part, fetch)

    def _blocks(self, queries: np.ndarray, fetch: int) -> tuple[np.ndarray, np.ndarray]:
        """All queries against a block of decoded rows: one large matrix product instead of many passes."""
        import faiss
        from threadpoolctl import threadpool_limits

        def part(i: int) -> tuple[np.ndarray, np.ndarray]:
            faiss.omp_set_num_threads(1)
            codes = _codes(self._parts[i], self.dim)
            score = np.empty((len(queries), 0), dtype=np.float32)
            row = np.empty((len(queries), 0), dtype=np.int64)
            for at in range(0, len(codes), _ROWS):
                block = codes[at : at + _ROWS].astype(np.float32)
                s, r = faiss.knn(queries, block, min(fetch, len(block)), metric=faiss.METRIC_INNER_PRODUCT)
                score, row = _best([score, s], [row, r + (self._starts[i] + at)], fetch)
            return score, row

        # one thread a part: threads that share a product wait for each other, and long on a busy machine
        with threadpool_limits(1):
            return self._of_all_parts(part, fetch)

    def _of_all_parts(
        self, part: Callable[[int], tuple[np.ndarray, np.ndarray]], fetch: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The best of every part's candidates; FAISS and numpy let go of the interpreter lock."""
        with ThreadPoolExecutor(self._threads) as pool:
            found = list(pool.map(part, range(self._threads)))
        return _best([f[0] for f in found], [f[1] for f in found], fetch)


def _codes(part: Any, dim: int) -> np.ndarray:
    """The 16-bit rows of a part [n, d], without a copy."""
    import faiss

    raw = faiss.rev_swig_ptr(part.codes.data(), part.ntotal * dim * 2)
    return raw.view(np.float16).reshape(part.ntotal, dim)


def _best(scores: list[np.ndarray], rows: list[np.ndarray], most: int) -> tuple[np.ndarray, np.ndarray]:
    score, row = np.concatenate(scores, axis=1), np.concatenate(rows, axis=1)
    if score.shape[1] > most:
        kept = np.argpartition(-score, most - 1, axis=1)[:, :most]
        score, row = np.take_along_axis(score, kept, axis=1), np.take_along_axis(row, kept, axis=1)
    order = np.argsort(-score, axis=1, kind="stable")
    return np.take_along_axis(score, order, axis=1), np.take_along_axis(row, order, axis=1)
