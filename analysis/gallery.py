"""The gallery that queries are ranked against: one embedding, or several of the same patients to be fused."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from analysis.cohort import Cohort
from analysis.large_search import LargeIndex
from analysis.results import Provenance
from analysis.vectors import Space, Vectors, as_vectors, comparable, nearest_rows
from flexict_core.errors import AnalysisError

TIE_DECIMALS = 12
_LARGE = 20_000  # rows from which on an index that is kept pays at the second query


@dataclass(frozen=True)
class Gallery:
    """One or several embeddings of the same rows; `keep` are the rows of the first that all of them have."""

    spaces: tuple[Space, ...]
    sources: tuple[Vectors, ...]
    patient_id: np.ndarray
    keep: np.ndarray
    warnings: tuple[str, ...]

    @property
    def n(self) -> int:
        return len(self.patient_id)

    def nearest(self, point: np.ndarray, k: int, *, again: bool) -> tuple[np.ndarray, np.ndarray]:
        """Rows [k] and cosines [k] nearest to a point [d] of the first space; `again`: more queries are to come."""
        if again and self.n > _LARGE:
            rows, values = self._index.search(point, k)
        else:
            rows, values = nearest_rows(self.spaces[0].points, point[None], k, metric="cosine")
        return rows[0], values[0]

    @cached_property
    def _index(self) -> LargeIndex:
        return LargeIndex(self.spaces[0].points)

    def cosines(self, queries: np.ndarray, gallery: np.ndarray) -> list[np.ndarray]:
        """Cosines [q, g] of rows `queries` to rows `gallery`, one array an embedding."""
        return [tied(s.points[queries] @ s.points[gallery].T) for s in self.spaces]

    def provenance(self, *, parameters: Mapping[str, Any], seed: int | None) -> Provenance:
        """Provenance of a result from these embeddings; hashes of several are told apart by their place."""
        origins = [
            v.provenance(parameters=parameters, seed=seed, libraries=("faiss-cpu",)) for v in self.sources
        ]
        if len(origins) == 1:
            return origins[0]
        return dataclasses.replace(
            origins[0],
            embedding_id=_joined([o.embedding_id for o in origins]),
            licence=_joined([o.licence for o in origins]),
            data_sha256={f"{i}:{k}": h for i, o in enumerate(origins, 1) for k, h in o.data_sha256.items()},
            synthetic=any(o.synthetic for o in origins),
            weights_caution=_joined([o.weights_caution for o in origins]),
        )


def tied(cosine: np.ndarray) -> np.ndarray:
    """Cosines rounded, so that equal vectors tie whichever order a machine adds their products in."""
    return np.round(cosine, TIE_DECIMALS)


def _joined(texts: Sequence[str | None]) -> str | None:
    return " + ".join(dict.fromkeys(t for t in texts if t)) or None


def open_gallery(
    data: Cohort | np.ndarray | Sequence[Cohort | np.ndarray], *, patient_id: Sequence[Any] | None
) -> Gallery:
    """A cohort, an array [n, d], or a list of them (to be fused), checked and made comparable by cosine."""
    embeddings = several_embeddings(data)
    sources = [as_vectors(d, patient_id=patient_id) for d in embeddings]
    nameless = patient_id is None and not all(isinstance(d, Cohort) for d in embeddings)
    if nameless and len({v.n for v in sources}) > 1:
        rows = " and ".join(str(v.n) for v in sources)
        raise AnalysisError(f"the arrays to fuse have {rows} rows: give the same patients in the same order")
    if not sources[0].n:
        raise AnalysisError("there are no patients to search: the embedding has no rows")
    keep, aligned, notes = _aligned(sources)
    spaces = tuple(comparable(v, metric="cosine") for v in aligned)
    notes = [*dict.fromkeys(w for v in sources for w in v.warnings), *notes]
    return Gallery(spaces, tuple(aligned), aligned[0].patient_id, keep, tuple(notes))


def several_embeddings(
    data: Cohort | np.ndarray | Sequence[Cohort | np.ndarray],
) -> list[Cohort | np.ndarray]:
    """The embeddings of `data` as a list; nested lists of numbers are one array."""
    if isinstance(data, list | tuple) and data and (isinstance(data[0], Cohort) or np.ndim(data[0]) == 2):
        return list(data)
    return [data if isinstance(data, Cohort) else np.asarray(data)]


def _aligned(sources: list[Vectors]) -> tuple[np.ndarray, list[Vectors], list[str]]:
    """The same patients in the same order in every embedding; who lacks one of them is left out."""
    first = sources[0].patient_id
    if all(np.array_equal(v.patient_id, first) for v in sources):
        return np.arange(len(first)), sources, []
    if any(len(set(v.patient_id)) < v.n for v in sources):
        raise AnalysisError("embeddings with several rows a patient can be fused only row by row: align them")
    common = set(first).intersection(*(v.patient_id for v in sources[1:]))
    if not common:
        raise AnalysisError("the embeddings to fuse have no patient in common: embed the same manifest")
    keep = np.flatnonzero([p in common for p in first])
    aligned = []
    for v in sources:
        at = {p: i for i, p in enumerate(v.patient_id)}
        rows = [at[p] for p in first[keep]]
        aligned.append(dataclasses.replace(v, X=v.X[rows], patient_id=v.patient_id[rows]))
    lost = len(set().union(*(v.patient_id for v in sources))) - len(common)
    return keep, aligned, [f"{lost} patients lack one of the embeddings to fuse: left out"]


def fused_ranking(
    similarities: Sequence[np.ndarray], blocked: np.ndarray, rrf_k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Gallery order [q, g], best first, and scores: the similarity, or Σ 1 / (rrf_k + rank) of several.

    `blocked` [q, g] marks rows that a query must not meet; they come last with score −∞.
    """
    if len(similarities) == 1:
        score = np.where(blocked, -np.inf, similarities[0])
    else:
        score = np.zeros(blocked.shape)
        for similarity in similarities:
            order = np.argsort(-np.where(blocked, -np.inf, similarity), axis=1, kind="stable")
            rank = np.empty_like(order)
            np.put_along_axis(rank, order, np.arange(order.shape[1])[None], axis=1)
            score += 1.0 / (rrf_k + rank)
        score = np.where(blocked, -np.inf, score)
    return np.argsort(-score, axis=1, kind="stable"), score
