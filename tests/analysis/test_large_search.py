"""The large index against numpy: the same neighbours, in half the memory, from a memory map, in one call or many."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from analysis.large_search import LargeIndex, _codes
from analysis.vectors import nearest_rows
from flexict_core.errors import AnalysisError

N, DIM = 40_000, 24


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    """Tight clusters, so that many candidates lie within 16-bit rounding of each other."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((50, DIM))
    return (centres[rng.integers(0, 50, N)] + 0.05 * rng.standard_normal((N, DIM))).astype(np.float32)


def naive(vectors: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    X = vectors.astype(np.float64)
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    cosine = queries / np.linalg.norm(queries, axis=1, keepdims=True) @ X.T
    rows = np.argsort(-np.round(cosine, 12), axis=1, kind="stable")[:, :k]
    return rows, np.take_along_axis(cosine, rows, axis=1)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("many", [1, 20])
def test_neighbours_are_exact(vectors: np.ndarray, many: int, threads: int) -> None:
    queries = vectors[:: N // many][:many].astype(np.float64) + 0.01
    rows, values = LargeIndex(vectors, threads=threads).search(queries, 10)
    expected, cosines = naive(vectors, queries, 10)
    np.testing.assert_array_equal(rows, expected)
    np.testing.assert_allclose(values, cosines, atol=1e-12)


def test_one_call_gives_what_many_give_from_a_memory_map(vectors: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", vectors)
    index = LargeIndex(np.load(tmp_path / "v.npy", mmap_mode="r"), threads=2)
    queries = np.random.default_rng(1).standard_normal((12, DIM))
    together = index.search(queries, 5)
    alone = [index.search(q, 5) for q in queries]
    np.testing.assert_array_equal(together[0], np.concatenate([a[0] for a in alone]))
    np.testing.assert_array_equal(together[1], np.concatenate([a[1] for a in alone]))


def test_the_index_holds_two_bytes_a_number(vectors: np.ndarray) -> None:
    index = LargeIndex(vectors, threads=2)
    held = sum(_codes(part, DIM).nbytes for part in index._parts)
    assert held == index.nbytes == vectors.nbytes / 2


def test_equal_vectors_keep_the_lower_row_first() -> None:
    rng = np.random.default_rng(2)
    vectors = rng.standard_normal((200, 6))
    vectors[150:160] = vectors[3] * np.arange(1, 11)[:, None]
    rows, values = LargeIndex(vectors).search(vectors[3], 11)
    assert rows[0].tolist() == [3, *range(150, 160)]
    np.testing.assert_allclose(values, 1.0, atol=1e-12)


def test_progress_reaches_the_end(vectors: np.ndarray) -> None:
    seen: list[tuple[int, int]] = []
    LargeIndex(vectors, threads=2, progress=lambda done, of: seen.append((done, of)))
    assert seen[-1] == (N, N)
    assert [d for d, _ in seen] == sorted(d for d, _ in seen)


@pytest.mark.parametrize(
    ("queries", "k", "says"),
    [
        (np.ones(5), 3, "5 dimensions"),
        (np.zeros(4), 3, "all zeros"),
        (np.ones(4), 51, "at most 50"),
        (np.ones(4), 0, "k = 0"),
    ],
)
def test_bad_searches_are_refused(queries: np.ndarray, k: int, says: str) -> None:
    index = LargeIndex(np.random.default_rng(0).standard_normal((50, 4)))
    with pytest.raises(AnalysisError, match=says):
        index.search(queries, k)


def test_bad_vectors_are_refused() -> None:
    X = np.random.default_rng(0).standard_normal((50, 4))
    X[7] = 0
    with pytest.raises(AnalysisError, match="vector 7"):
        LargeIndex(X)
    with pytest.raises(AnalysisError, match="shape"):
        LargeIndex(np.ones(4))


def test_a_few_queries_of_a_large_table_get_what_many_get(vectors: np.ndarray) -> None:
    points = vectors / np.linalg.norm(vectors, axis=1, keepdims=True).astype(np.float64)
    points[30_000] = points[5]
    queries = points[[5, 100, *range(2000, 2010)]]
    many = nearest_rows(points, queries, 10, metric="cosine")
    few = nearest_rows(points, queries[:2], 10, metric="cosine")
    np.testing.assert_array_equal(few[0], many[0][:2])
    np.testing.assert_allclose(few[1], many[1][:2], atol=1e-14)
    assert few[0][0, :2].tolist() == [5, 30_000]
