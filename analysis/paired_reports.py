"""Do a report and its CT find each other? Recall@k in both directions, against exact chance.

A query is a report (gallery: all CTs) or a CT (gallery: all reports). A hit is the query's own counterpart, or
one with the same report text, which no embedding could tell apart.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from analysis.cohort import Cohort
from analysis.gallery import tied
from analysis.results import Interval, Result, array_sha256
from analysis.retrieval_scores import bootstrap_means, random_expectation, score_rankings
from analysis.vectors import as_vectors, comparable
from analysis.zero_shot import EncodeText, embedded
from flexict_core.errors import AnalysisError

if TYPE_CHECKING:
    import pandas as pd

DIRECTIONS = ("report_to_ct", "ct_to_report")
_WORDS = {"report_to_ct": "report → CT", "ct_to_report": "CT → report"}
_RESAMPLES = 1000


@dataclass(frozen=True, kw_only=True)
class Recall:
    """Share of queries with a hit among the k nearest, its 95 % interval, the expectation of random rankings."""

    mean: float
    ci: Interval
    random: float


@dataclass(frozen=True, kw_only=True)
class ReportRetrievalResult(Result):
    """`recall[direction][k]`; `median_rank[direction]` of the first hit, from 1; `per_query`: a row a patient."""

    command: ClassVar[str] = "retrieve"

    recall: dict[str, dict[int, Recall]]
    median_rank: dict[str, float]
    per_query: pd.DataFrame

    def table(self) -> pd.DataFrame:
        import pandas as pd

        return pd.DataFrame(
            {
                "direction": direction,
                "metric": f"recall@{k}",
                "mean": r.mean,
                "ci_low": r.ci[0],
                "ci_high": r.ci[1],
                "random": r.random,
            }
            for direction, row in self.recall.items()
            for k, r in row.items()
        )

    def summary(self) -> str:
        lines = [self.verdict]
        for direction, row in self.recall.items():
            for k, r in row.items():
                lines.append(
                    f"  {_WORDS[direction]}  R@{k:<3} {r.mean:.3f}  "
                    f"(95 % CI {r.ci[0]:.3f} to {r.ci[1]:.3f}; random {r.random:.3f})"
                )
        return "\n".join(lines)

    def methods_text(self) -> str:
        return (
            f"Each of {self.n} reports queried all CTs, and each CT all reports, by the cosine of text and image "
            "embedding; ties keep the lower index first. Recall@k is the share of queries whose counterpart (or "
            "one with the same report text) is among the k nearest. Intervals are percentiles (2.5, 97.5) of "
            f"{_RESAMPLES:,} resamples of the query patients (seed {self.provenance.seed}) with the gallery held "
            "fixed; the random values are exact expectations under a random ranking."
        )

    def details(self) -> dict[str, Any]:
        return {
            "metrics": {
                f"{direction}_recall@{k}": vars(r)
                for direction, row in self.recall.items()
                for k, r in row.items()
            },
            "median_rank": self.median_rank,
            "per_query": self.per_query.to_dict(orient="records"),
            "neighbours": [],
        }


def report_retrieval(
    data: Cohort | np.ndarray,
    reports: str | Sequence[str | None],
    *,
    encode_text: EncodeText,
    k: Sequence[int] = (1, 5, 10),
    patient_id: Sequence[Any] | None = None,
    seed: int = 42,
) -> ReportRetrievalResult:
    """Recall@k of report → CT and CT → report.

    data: a cohort or array [n, E] of image embeddings of pooling `vlm`. reports: the clinical column with the
    text, or the n texts. encode_text: of the encoder that made the images. Patients without a report are left
    out and counted in `warnings`. AnalysisError for fewer than two reports.
    """
    import pandas as pd

    vectors = as_vectors(data, patient_id=patient_id)
    texts = _texts(data, reports, vectors.n)
    rows = np.flatnonzero([t != "" for t in texts])
    if len(rows) < 2:
        raise AnalysisError(f"{len(rows)} patients have a report: retrieval needs at least 2")
    notes = [*vectors.warnings]
    if len(rows) < vectors.n:
        notes.append(f"{vectors.n - len(rows)} rows have no report: left out")
    texts, ids = [texts[i] for i in rows], vectors.patient_id[rows]
    different, code = np.unique(np.array(texts, dtype=object), return_inverse=True)
    if len(different) < len(texts):
        notes.append(
            f"{len(texts) - len(different)} reports repeat the text of another: either counts as a hit"
        )
    images = comparable(vectors, metric="cosine").points[rows]
    words = embedded(list(different), encode_text, images.shape[1])[code]
    ks = sorted({kk for kk in k if 1 <= kk <= len(rows)})
    if not ks:
        raise AnalysisError(f"k = {list(k)}: give numbers from 1 to {len(rows)}, the size of the gallery")
    if len(ks) < len(set(k)):
        notes.append(f"k above the gallery of {len(rows)} left out")

    similarity = tied(words @ images.T)  # [report, CT]
    recall, ranks, columns = {}, {}, {"patient_id": ids}
    for direction, cosine in zip(DIRECTIONS, (similarity, similarity.T), strict=True):
        order = np.argsort(-cosine, axis=1, kind="stable")
        hits = code[order] == code[:, None]  # [query, gallery], best first
        recall[direction] = _recall(hits, ids, ks=ks, seed=seed)
        columns[f"{direction}_rank"] = first = hits.argmax(axis=1) + 1
        ranks[direction] = float(np.median(first))
    column = reports if isinstance(reports, str) else "given texts"
    origin = vectors.provenance(
        parameters={"reports": column, "k": ks, "resamples": _RESAMPLES}, seed=seed, libraries=()
    )
    hashes = {**origin.data_sha256, "reports": array_sha256(np.array(texts, dtype=object))}
    return ReportRetrievalResult(
        n=len(set(ids)),
        verdict=_verdict(recall, ks[0], len(rows)),
        warnings=tuple(notes),
        provenance=dataclasses.replace(origin, data_sha256=hashes),
        recall=recall,
        median_rank=ranks,
        per_query=pd.DataFrame(columns),
    )


def _texts(data: Cohort | np.ndarray, reports: str | Sequence[str | None], n: int) -> list[str]:
    """The n reports, stripped; "" where there is none."""
    if isinstance(reports, str):
        if not isinstance(data, Cohort):
            raise AnalysisError(
                f"reports = {reports!r} names a column, but an array has none: give the texts"
            )
        reports = list(data.column(reports))
    if len(reports) != n:
        raise AnalysisError(f"{len(reports)} reports for {n} embeddings: give one a row")
    if any(not isinstance(t, str) and t is not None and t == t for t in reports):
        raise AnalysisError("the reports hold numbers: name a column of text")
    return [t.strip() if isinstance(t, str) else "" for t in reports]


def _recall(hits: np.ndarray, ids: np.ndarray, *, ks: list[int], seed: int) -> dict[int, Recall]:
    scores = score_rankings(hits, ks)
    values = np.stack([scores[f"recall@{k}"] for k in ks], axis=1)  # [query, k]
    drawn = bootstrap_means(values, ids, resamples=_RESAMPLES, seed=seed)
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    chance = random_expectation(hits.sum(axis=1), np.full(len(hits), hits.shape[1]), ks)
    return {
        k: Recall(
            mean=float(values[:, i].mean()),
            ci=(float(low[i]), float(high[i])),
            random=float(chance[f"recall@{k}"].mean()),
        )
        for i, k in enumerate(ks)
    }


def _verdict(recall: dict[str, dict[int, Recall]], k: int, queries: int) -> str:
    def told(direction: str) -> str:
        r = recall[direction][k]
        more = "more often than" if r.ci[0] > r.random else "no more often than"
        return f"{_WORDS[direction]} {more} at random (R@{k} {r.mean:.3f}, random {r.random:.3f})"

    return f"Of {queries} pairs: {told('report_to_ct')}; {told('ct_to_report')}"
