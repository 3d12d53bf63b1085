"""The nearest patients to one patient, or to a vector from elsewhere, by exact cosine.

A query never meets rows of its own patient. Cosines are float64 and ties (equal to 12 decimals) keep the
lower gallery index first, so a ranking does not depend on the machine. Several embeddings are fused by
reciprocal rank (Cormack et al. 2009): the score is Σ 1 / (k + rank), rank counted from 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from analysis.gallery import Gallery, fused_ranking, open_gallery, tied
from analysis.results import Result
from flexict_core.errors import AnalysisError
from flexict_core.tables import nearest

if TYPE_CHECKING:
    import pandas as pd

    from analysis.cohort import Cohort

RRF_K = 20


@dataclass(frozen=True, kw_only=True)
class NeighbourResult(Result):
    """The k nearest patients of one query; `neighbours` has rank (from 1), patient_id, similarity (cosine).

    When embeddings were fused, the order is that of `rrf_score` and `similarity` is the cosine in the first
    one.
    """

    command: ClassVar[str] = "retrieve"

    query: str
    k: int
    neighbours: pd.DataFrame
    space: str
    fused: int = 1

    def table(self) -> pd.DataFrame:
        return self.neighbours

    def summary(self) -> str:
        lines = [f"{self.k} nearest of {self.n} patients to {self.query}:"]
        for row in self.neighbours.itertuples():
            lines.append(f"  {row.rank:>3}. {row.patient_id}  cosine {row.similarity:.3f}")
        return "\n".join(lines)

    def methods_text(self) -> str:
        text = (
            f"The {self.k} nearest of {self.n} patients to {self.query} were found by exact search; rows of "
            f"the same patient were excluded. For comparison, {self.space}. Ties keep the lower index first."
        )
        return text + fusion_sentence(self.fused, self.provenance.parameters)

    def details(self) -> dict[str, Any]:
        rows = self.neighbours.to_dict(orient="records")
        return {"query": self.query, "metrics": {}, "per_query": [], "neighbours": rows}


def search(
    data: Cohort | np.ndarray | Sequence[Cohort | np.ndarray] | Gallery,
    query: str | np.ndarray,
    *,
    k: int = 10,
    patient_id: Sequence[Any] | None = None,
    rrf_k: int = RRF_K,
) -> NeighbourResult:
    """The k nearest patients to a patient of the data, or to a vector [d] from elsewhere.

    data: a cohort, an array [n, d], or a list of them to be fused by reciprocal rank; or a gallery opened once for
    many queries (`gallery.open_gallery`), which keeps its index. The query's own patient is excluded. Raises
    AnalysisError for an unknown query (with the nearest ID), a k above the gallery, a vector of another length and
    vectors without a direction.
    """
    import pandas as pd

    k, rrf_k = whole_number(k, "k"), whole_number(rrf_k, "rrf_k")
    kept = isinstance(data, Gallery)
    gallery = data if isinstance(data, Gallery) else open_gallery(data, patient_id=patient_id)
    name, places, own = _placed(query, gallery)
    allowed = gallery.n - len(own)
    if k > allowed:
        raise AnalysisError(f"k = {k}, but the gallery holds {allowed} other rows: ask for at most {allowed}")
    points = gallery.spaces[0].points
    columns: dict[str, Any] = {}
    if len(places) == 1:
        found, value = gallery.nearest(places[0], k + len(own), again=kept)
        rows = found[np.lexsort((found, -tied(value)))]
        rows = rows[~np.isin(rows, own)][:k]
    else:
        blocked = np.isin(np.arange(gallery.n), own)[None]
        cosines = [tied(s.points @ p)[None] for s, p in zip(gallery.spaces, places, strict=True)]
        order, score = fused_ranking(cosines, blocked, rrf_k)
        rows = order[0, :k]
        columns = {"rrf_score": score[0, rows]}
    columns = {
        "rank": np.arange(1, k + 1),
        "patient_id": gallery.patient_id[rows],
        "similarity": points[rows] @ places[0],
        **columns,
    }
    return NeighbourResult(
        n=len(set(gallery.patient_id)),
        verdict=f"{k} nearest patients to {name}",
        warnings=gallery.warnings,
        provenance=gallery.provenance(parameters={"query": name, "k": k, "rrf_k": rrf_k}, seed=None),
        query=name,
        k=k,
        neighbours=pd.DataFrame(columns),
        space=gallery.spaces[0].describe(),
        fused=len(gallery.spaces),
    )


def _placed(query: Any, gallery: Gallery) -> tuple[str, list[np.ndarray], np.ndarray]:
    """Name of the query, its point in every space, and the rows of its own patient."""
    if isinstance(query, str):
        own = np.flatnonzero(gallery.patient_id == query)
        if not len(own):
            known = list(dict.fromkeys(gallery.patient_id))
            raise AnalysisError(f"query {query!r} is no patient of this gallery: {nearest(query, known)}")
        pairs = zip(gallery.spaces, gallery.sources, strict=True)
        return query, [space.place(source.X[own].mean(axis=0)) for space, source in pairs], own
    if len(gallery.spaces) > 1:
        raise AnalysisError("a vector can query one embedding, but several are to be fused: name a patient")
    vector, dim = np.asarray(query, dtype=np.float64), gallery.sources[0].X.shape[1]
    if vector.shape != (dim,):
        raise AnalysisError(f"the query has shape {vector.shape}: give {dim} numbers, as the gallery has")
    if not np.isfinite(vector).all():
        raise AnalysisError("the query vector holds NaN or infinity: give finite numbers")
    return "a given vector", [gallery.spaces[0].place(vector)], np.empty(0, dtype=np.int64)


def whole_number(value: Any, name: str) -> int:
    """An int of at least 1; anything else is refused by name."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise AnalysisError(f"{name} = {value!r}: give a whole number of at least 1")
    return int(value)


def fusion_sentence(fused: int, parameters: Mapping[str, Any]) -> str:
    """How several embeddings were fused, for a methods paragraph; nothing for one."""
    if fused == 1:
        return ""
    k = parameters["rrf_k"]
    return f" {fused} embeddings were fused by reciprocal rank, Σ 1 / ({k} + rank), rank from 0."
