"""What searches and maps take: an array or a cohort, checked, made comparable, and its exact neighbours."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any, Literal

import numpy as np

from analysis.cohort import Cohort
from analysis.results import Provenance, array_sha256
from flexict_core.errors import AnalysisError

Metric = Literal["cosine", "euclidean"]
_FEW, _LARGE = 8, 20_000  # queries and rows from which on a product beats building an index
_CHUNK = 256  # rows re-ranked at a time: [256, candidates, d] float64 stays near 100 MB


@dataclass(frozen=True)
class Vectors:
    """Embeddings: X [n, d] float64, finite; patient_id [n]; names of the dimensions, if they have any."""

    X: np.ndarray
    patient_id: np.ndarray
    feature_names: tuple[str, ...] | None = None
    origin: Provenance = field(default_factory=Provenance)
    warnings: tuple[str, ...] = ()

    @property
    def n(self) -> int:
        return len(self.X)

    def provenance(
        self, *, parameters: Mapping[str, Any], seed: int | None, libraries: Sequence[str]
    ) -> Provenance:
        """Origin of the vectors with this analysis' parameters and the further libraries that it used."""
        versions = {**self.origin.versions, **{name: metadata.version(name) for name in libraries}}
        return dataclasses.replace(self.origin, parameters=dict(parameters), seed=seed, versions=versions)


def as_vectors(data: Cohort | np.ndarray, *, patient_id: Sequence[Any] | None = None) -> Vectors:
    """Checked vectors of a cohort, or of an array [n, d] whose patients are "0", "1", … unless named."""
    if isinstance(data, Cohort):
        if patient_id is not None:
            raise AnalysisError("patient_id is given twice: a cohort brings its own, leave the argument out")
        return _checked(data.X, data.patient_id, data.feature_names, data.provenance(), data.warnings)
    X = np.asarray(data, dtype=np.float64)
    ids = np.arange(len(X)) if patient_id is None else patient_id
    return _checked(X, ids, None, Provenance(data_sha256={"X": array_sha256(X)}), ())


def _checked(
    X: np.ndarray,
    ids: Sequence[Any] | np.ndarray,
    names: tuple[str, ...] | None,
    origin: Provenance,
    warnings: tuple[str, ...],
) -> Vectors:
    if X.ndim != 2:
        raise AnalysisError(f"the embeddings have shape {X.shape}: give a table [patients, dimensions]")
    patients = np.array([str(p) for p in ids], dtype=object)
    if len(patients) != len(X):
        raise AnalysisError(f"{len(patients)} patient IDs for {len(X)} embeddings: give one a row")
    finite = np.isfinite(X).all(axis=1)
    if not finite.all():
        raise AnalysisError(
            f"the embedding of patient {patients[~finite][0]!r} holds NaN or infinity "
            f"({np.count_nonzero(~finite)} of {len(X)} rows do): leave these rows out or embed them again"
        )
    return Vectors(X, patients, names, origin, warnings)


@dataclass(frozen=True)
class Space:
    """Vectors made comparable: points [n, d] float64, and how a further vector gets there."""

    points: np.ndarray
    metric: Metric
    standardised: bool
    centre: np.ndarray
    scale: np.ndarray
    constant: int

    def place(self, vector: np.ndarray) -> np.ndarray:
        """A vector [d] in the coordinates of `points`; for cosines, zero vectors have no direction: refused."""
        scaled = _scaled(vector[None], self)
        return (_unit(scaled, ["of the query"], self.standardised) if self.metric == "cosine" else scaled)[0]

    def describe(self) -> str:
        """How the vectors were compared, for a methods paragraph."""
        how = (
            "each dimension was centred and scaled to unit standard deviation, because named features have "
            "units of their own"
            if self.standardised
            else "vectors were used as the encoder gives them"
        )
        if self.constant:
            how += f" ({self.constant} constant dimensions carry nothing and were set to zero)"
        return how + ("; similarity is the cosine" if self.metric == "cosine" else "; distance is Euclidean")


def comparable(vectors: Vectors, *, metric: Metric) -> Space:
    """Named features are standardised, so that no unit dominates; cosine also scales rows to length one."""
    X = vectors.X
    standardised = vectors.feature_names is not None or metric == "euclidean"
    centre, scale, constant = np.zeros(X.shape[1]), np.ones(X.shape[1]), 0
    if standardised:
        centre, spread = X.mean(axis=0), X.std(axis=0)
        # a constant column keeps rounding noise as its spread: compare with the size of its values
        varies = spread > 1e-12 * np.maximum(np.abs(X).max(axis=0), np.finfo(float).tiny)
        scale, constant = np.where(varies, spread, np.inf), int(np.count_nonzero(~varies))
    space = Space(X, metric, standardised, centre, scale, constant)
    points = _scaled(X, space)
    if metric == "cosine":
        points = _unit(points, [f"of patient {p!r}" for p in vectors.patient_id], standardised)
    return dataclasses.replace(space, points=points)


def _scaled(X: np.ndarray, space: Space) -> np.ndarray:
    return (X - space.centre) / space.scale if space.standardised else X


def _unit(points: np.ndarray, whose: Sequence[str], standardised: bool) -> np.ndarray:
    length = np.linalg.norm(points, axis=1, keepdims=True)
    if not length.all():
        where = int(np.flatnonzero(length[:, 0] == 0)[0])
        what = "equals the mean of all patients" if standardised else "is all zeros"
        raise AnalysisError(
            f"the embedding {whose[where]} {what}, so it has no direction for a cosine: leave it out"
        )
    return points / length


def nearest_rows(
    points: np.ndarray, queries: np.ndarray, k: int, *, metric: Metric
) -> tuple[np.ndarray, np.ndarray]:
    """Exact k nearest rows of `points` for each query: indices [q, k] and values [q, k] float64, best first.

    Values are cosines (rows of length one, descending) or Euclidean distances (ascending); ties keep the
    lower index first. FAISS finds candidates in float32; they are ranked in float64, and a query whose k-th
    value is within float32 error of what was left out gets more candidates, so rounding never changes the
    answer. A few queries of a large table are one product: building an index would take longer than they do
    (`analysis.large_search` keeps one for many searches).
    """
    n = len(points)
    if metric == "cosine" and len(queries) <= _FEW and n > _LARGE:
        return _directly(points, queries, k)
    index = _faiss_index(points, metric)
    indices = np.empty((len(queries), k), dtype=np.int64)
    values = np.empty((len(queries), k))
    open_rows, fetch = np.arange(len(queries)), min(n, 2 * k + 16)
    tolerance = 1e-5 * (1.0 if metric == "cosine" else 1.0 + float((points**2).sum(axis=1).max()))
    while len(open_rows):
        still_open = []
        for start in range(0, len(open_rows), _CHUNK):
            rows = open_rows[start : start + _CHUNK]
            found = index.search(np.ascontiguousarray(queries[rows], dtype=np.float32), fetch)[1]
            found.sort(axis=1)
            exact = _closeness(points, queries[rows], found, metric)
            order = np.argsort(-exact, axis=1, kind="stable")
            exact = np.take_along_axis(exact, order, axis=1)
            indices[rows] = np.take_along_axis(found, order, axis=1)[:, :k]
            values[rows] = exact[:, :k]
            sure = (exact[:, k - 1] - exact[:, -1] > tolerance) | (fetch == n)
            still_open.append(rows[~sure])
        open_rows, fetch = np.concatenate(still_open), min(n, 4 * fetch)
    return indices, values if metric == "cosine" else np.sqrt(-np.minimum(values, 0.0))


def _directly(points: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    cosine = queries @ points.T
    kth = np.partition(cosine, len(points) - k, axis=1)[:, len(points) - k]
    indices, values = np.empty((len(queries), k), dtype=np.int64), np.empty((len(queries), k))
    for i, own in enumerate(cosine):
        found = np.flatnonzero(own >= kth[i])  # ascending, and all that tie with the k-th
        order = np.argsort(-own[found], kind="stable")[:k]
        indices[i], values[i] = found[order], own[found[order]]
    return indices, values


def _faiss_index(points: np.ndarray, metric: Metric) -> Any:
    import faiss

    index = (faiss.IndexFlatIP if metric == "cosine" else faiss.IndexFlatL2)(points.shape[1])
    index.add(np.ascontiguousarray(points, dtype=np.float32))
    return index


def _closeness(points: np.ndarray, queries: np.ndarray, found: np.ndarray, metric: Metric) -> np.ndarray:
    """Cosine, or minus the squared distance, of each query to its candidates, [q, candidates] float64."""
    if metric == "cosine":
        return np.einsum("qd,qcd->qc", queries, points[found])
    return -((points[found] - queries[:, None, :]) ** 2).sum(axis=2)
