"""The graph of nearest neighbours that a UMAP starts from: exact, or by cells where exact would take too long.

An exact graph compares all pairs. Beyond 50,000 patients the vectors are sorted into cells (FAISS' inverted file)
and only the nearest cells are searched; the share of true neighbours that this finds is measured on a sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.vectors import Space, nearest_rows

EXACT_UP_TO = 50_000
_CELLS_SEARCHED, _ROWS, _SAMPLE, _SEED = 48, 16_384, 500, 1234


@dataclass(frozen=True)
class Graph:
    """index, distance [n, near]: each patient first, then its nearest. recall: of a sample; None where exact."""

    index: np.ndarray
    distance: np.ndarray
    recall: float | None

    def describe(self) -> str:
        """How the neighbours were found, for a methods paragraph."""
        if self.recall is None:
            return "from an exact search"
        return f"from a search by cells that finds {100 * self.recall:.1f} % of the true ones"


def neighbour_graph(
    space: Space, near: int, *, exact_up_to: int = EXACT_UP_TO, progress: bool = False
) -> Graph:
    """The `near` nearest of every patient, itself included and first, also where others are equal.

    Distances are 1 − cosine, or Euclidean. progress: show a bar where the search is by cells.
    """
    n, k = len(space.points), min(near + 1, len(space.points))
    if n <= exact_up_to:
        index, value = nearest_rows(space.points, space.points, k, metric=space.metric)
        return Graph(*_self_first(index, _distance(value, space.metric), near), None)
    index, distance = _by_cells(space, k, progress=progress)
    sample = np.sort(np.random.default_rng(_SEED).choice(n, min(_SAMPLE, n), replace=False))
    truth = nearest_rows(space.points, space.points[sample], k, metric=space.metric)[0]
    found = [len(np.intersect1d(a, b)) / k for a, b in zip(index[sample], truth, strict=True)]
    return Graph(*_self_first(index, distance, near), float(np.mean(found)))


def _self_first(index: np.ndarray, distance: np.ndarray, near: int) -> tuple[np.ndarray, np.ndarray]:
    own = index == np.arange(len(index))[:, None]
    order = np.argsort(~own, axis=1, kind="stable")[:, :near]
    index, distance = np.take_along_axis(index, order, axis=1), np.take_along_axis(distance, order, axis=1)
    index[:, 0], distance[:, 0] = np.arange(len(index)), 0.0
    return index.astype(np.int32), distance


def _distance(value: np.ndarray, metric: Any) -> np.ndarray:
    return np.maximum(1.0 - value, 0.0) if metric == "cosine" else value


def _by_cells(space: Space, k: int, *, progress: bool) -> tuple[np.ndarray, np.ndarray]:
    import faiss
    from tqdm import tqdm

    points = np.ascontiguousarray(space.points, dtype=np.float32)
    n, d = points.shape
    cells = min(int(4 * np.sqrt(n)), n // 40)
    cosine = space.metric == "cosine"
    coarse = (faiss.IndexFlatIP if cosine else faiss.IndexFlatL2)(d)
    metric = faiss.METRIC_INNER_PRODUCT if cosine else faiss.METRIC_L2
    index = faiss.IndexIVFFlat(coarse, d, cells, metric)
    index.cp.seed = _SEED
    drawn = np.random.default_rng(_SEED).permutation(n)[: 64 * cells]
    index.train(points[drawn])
    index.add(points)
    index.nprobe = _CELLS_SEARCHED
    rows, distance = np.empty((n, k), dtype=np.int64), np.empty((n, k))
    for start in tqdm(range(0, n, _ROWS), desc="neighbours", leave=False, disable=not progress):
        value, found = index.search(points[start : start + _ROWS], k)
        rows[start : start + _ROWS] = found
        value = value if cosine else np.sqrt(np.maximum(value, 0.0))
        distance[start : start + _ROWS] = _distance(value.astype(np.float64), space.metric)
    if len(short := np.flatnonzero((rows < 0).any(axis=1))):  # its cells hold fewer than k: look everywhere
        exact, value = nearest_rows(space.points, space.points[short], k, metric=space.metric)
        rows[short], distance[short] = exact, _distance(value, space.metric)
    return rows, distance
