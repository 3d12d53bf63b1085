"""How often the nearest patients share a label: recall@k, precision@k and mAP against exact chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import numpy as np

from analysis.clinical import canonical
from analysis.cohort import Cohort
from analysis.gallery import Gallery, open_gallery, several_embeddings
from analysis.neighbours import RRF_K, NeighbourResult, fusion_sentence, search, whole_number
from analysis.ranked_queries import Scored, score_queries
from analysis.results import Interval, Result
from analysis.retrieval_scores import bootstrap_means, jackknife_interval, patient_split, published_split
from flexict_core.errors import AnalysisError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["MetricRow", "NeighbourResult", "RetrievalResult", "retrieval_metrics", "search"]

Protocol = Literal["loo", "split", "published"]
_RESAMPLES = 1000
_NO_INTERVAL = (float("nan"), float("nan"))


@dataclass(frozen=True, kw_only=True)
class MetricRow:
    """Mean over queries with its 95 % interval, the expectation of random rankings, the difference."""

    mean: float
    ci: Interval | None
    random: float
    difference: float
    difference_ci: Interval | None


@dataclass(frozen=True, kw_only=True)
class RetrievalResult(Result):
    """How often near patients share a label. `metrics`: recall@k, precision@k, mAP; `per_query`: a row each.

    recall@k is the share of queries with at least one hit among the k nearest, precision@k the share of hits
    among them, mAP the mean over queries of the average precision of the full ranking. Higher is better.
    """

    command: ClassVar[str] = "retrieve"

    label: str
    protocol: Protocol
    metrics: dict[str, MetricRow]
    per_query: pd.DataFrame
    queries: int
    gallery: int
    prevalence: float
    space: str
    fused: int = 1
    neighbours: tuple[NeighbourResult, ...] = ()

    def table(self) -> pd.DataFrame:
        import pandas as pd

        rows = [
            {
                "metric": name,
                "mean": m.mean,
                "ci_low": (m.ci or _NO_INTERVAL)[0],
                "ci_high": (m.ci or _NO_INTERVAL)[1],
                "random": m.random,
                "difference": m.difference,
                "difference_ci_low": (m.difference_ci or _NO_INTERVAL)[0],
                "difference_ci_high": (m.difference_ci or _NO_INTERVAL)[1],
            }
            for name, m in self.metrics.items()
        ]
        return pd.DataFrame(rows)

    def summary(self) -> str:
        lines = [self.verdict]
        for name, m in self.metrics.items():
            lines.append(f"  {name:<13} {m.mean:.3f}  ({_words(m.ci)}; random {m.random:.3f})")
        return "\n".join(lines)

    def methods_text(self) -> str:
        seed = self.provenance.seed
        how = {
            "loo": f"each of {self.queries} patients queried all others (at most {self.gallery})",
            "split": f"patients were split at random (seed {seed}) within strata into {self.queries} queries "
            f"and a gallery of {self.gallery}",
            "published": "the published split was used (per stratum in sorted order, one generator with seed "
            f"{seed}, shuffle, first half queries): {self.queries} queries, a gallery of {self.gallery}",
        }[self.protocol]
        text = (
            f"Retrieval of {self.label}: {how}; rows of the same patient were excluded. For comparison, "
            f"{self.space}. A hit has the query's label. Recall@k is the share of queries with at least one "
            "hit among the k nearest, precision@k the share of hits, mAP the mean average precision of the "
            f"full ranking; ties keep the lower index first. {self._interval_sentence()} The random values "
            "are the exact expectations under a random ranking of each query's gallery."
        )
        return text + fusion_sentence(self.fused, self.provenance.parameters)

    def _interval_sentence(self) -> str:
        if self.protocol == "loo":
            return (
                "Intervals (95 %) are delete-one-patient jackknife with Student's t, because every patient "
                "is query and gallery at once."
            )
        resamples = self.provenance.parameters["resamples"]
        return (
            f"Intervals are percentiles (2.5, 97.5) of {resamples:,} resamples of the query patients with "
            "the gallery held fixed."
        )

    def details(self) -> dict[str, Any]:
        metrics = {name: vars(m) for name, m in self.metrics.items()}
        metrics["mAP"] = {**metrics["mAP"], "prevalence": self.prevalence}
        return {
            "label": self.label,
            "protocol": self.protocol,
            "queries": self.queries,
            "gallery": self.gallery,
            "metrics": metrics,
            "per_query": self.per_query.to_dict(orient="records"),
            "neighbours": [
                {"query": found.query, **row}
                for found in self.neighbours
                for row in found.neighbours.to_dict(orient="records")
            ],
        }


def retrieval_metrics(
    data: Cohort | np.ndarray | Sequence[Cohort | np.ndarray],
    label: str | Sequence[Any] | np.ndarray,
    *,
    k: Sequence[int] = (1, 3, 5, 10),
    protocol: Protocol = "loo",
    stratify: str | Sequence[Any] | np.ndarray | None = None,
    patient_id: Sequence[Any] | None = None,
    rrf_k: int = RRF_K,
    seed: int = 42,
) -> RetrievalResult:
    """How often the nearest patients share a label: recall@k, precision@k and mAP with intervals.

    data: a cohort, an array [n, d], or a list of them to be fused; label, stratify: column names of the
    (first) cohort, or values [n]. Protocols: "loo" (every patient against all others), "split" (half of the
    patients of each stratum query the rest), "published" (the same by the published study's draw of rows).
    The strata are the labels unless `stratify` is given. Patients without a label and queries whose label
    nobody in the gallery shares cannot be scored; they are left out and counted in `warnings`.
    """
    if protocol not in get_args(Protocol):
        raise AnalysisError(
            f"protocol {protocol!r} is not known: choose one of {', '.join(get_args(Protocol))}"
        )
    rrf_k = whole_number(rrf_k, "rrf_k")
    gallery = open_gallery(data, patient_id=patient_id)
    first = several_embeddings(data)[0]
    labels = _coded(label, first, gallery, "label")
    strata = labels if stratify is None else _coded(stratify, first, gallery, "stratify")
    rows = np.flatnonzero((labels.codes >= 0) & (strata.codes >= 0))
    if len(rows) < 2:
        raise AnalysisError(f"{len(rows)} rows have a value of {labels.name}: retrieval needs at least 2")
    drawn = _drawn(protocol, strata.codes[rows], gallery.patient_id[rows], seed)
    queries, targets = rows[drawn[0]], rows[drawn[1]]
    notes = [*gallery.warnings]
    if len(rows) < gallery.n:
        notes.append(f"{gallery.n - len(rows)} rows have no value of {labels.name} or stratum: left out")
    ks = _usable_ks(k, len(targets) - (protocol == "loo"), notes)
    scored = score_queries(gallery, queries, targets, labels.codes, ks=ks, rrf_k=rrf_k)
    if len(scored.queries) < len(queries):
        notes.append(
            f"{len(queries) - len(scored.queries)} queries have a {labels.name} that nobody in the gallery "
            "shares: left out"
        )
    per_query = _per_query(scored, gallery, labels)
    metrics = _metrics(scored, _intervals(scored, gallery.patient_id, protocol, seed=seed, notes=notes))
    parameters = {
        "label": labels.name,
        "k": ks,
        "protocol": protocol,
        "stratify": None if stratify is None else strata.name,
        "rrf_k": rrf_k,
        "interval": "jackknife over patients" if protocol == "loo" else "bootstrap of query patients",
        "resamples": None if protocol == "loo" else _RESAMPLES,
    }
    return RetrievalResult(
        n=len(set(gallery.patient_id[rows])),
        verdict=_verdict(labels.name, metrics["mAP"], len(scored.queries)),
        warnings=tuple(notes),
        provenance=gallery.provenance(parameters=parameters, seed=seed),
        label=labels.name,
        protocol=protocol,
        metrics=metrics,
        per_query=per_query,
        queries=len(scored.queries),
        gallery=int(scored.valid.max()),
        prevalence=float((scored.relevant / scored.valid).mean()),
        space=gallery.spaces[0].describe(),
        fused=len(gallery.spaces),
    )


@dataclass(frozen=True)
class _Coded:
    """A column as codes [n] in ascending order of its values (numbers as numbers), −1 where missing."""

    name: str
    codes: np.ndarray
    values: tuple[str, ...]


def _coded(column: Any, data: Cohort | np.ndarray, gallery: Gallery, argument: str) -> _Coded:
    if isinstance(column, str):
        if not isinstance(data, Cohort):
            raise AnalysisError(
                f"{argument} = {column!r} names a column, but an array has none: give its values"
            )
        name, raw = column, data.column(column)
    else:
        name, raw = argument, np.asarray(column, dtype=object)
    rows = data.n if isinstance(data, Cohort) else len(data)
    if raw.shape != (rows,):
        raise AnalysisError(f"{argument} has {len(raw)} values for {rows} embeddings: give one a row")
    texts = [canonical(v) for v in raw[gallery.keep]]
    present = set(texts) - {""}
    try:
        values = sorted(present, key=float)
    except ValueError:
        values = sorted(present)
    code = {"": -1, **{v: i for i, v in enumerate(values)}}
    return _Coded(name, np.array([code[t] for t in texts]), tuple(values))


def _drawn(
    protocol: Protocol, strata: np.ndarray, patient_id: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers of the queries and of the gallery."""
    if protocol == "loo":
        return np.arange(len(strata)), np.arange(len(strata))
    if protocol == "split":
        queries, gallery = patient_split(strata, patient_id, seed=seed)
    else:
        queries, gallery = published_split(strata, seed=seed)
    if not len(queries):
        raise AnalysisError(
            "no stratum has 2 patients, so none can be split: stratify by another column or use loo"
        )
    return queries, gallery


def _usable_ks(k: Sequence[int], most: int, notes: list[str]) -> list[int]:
    ks = sorted({whole_number(v, "k") for v in k})
    usable = [v for v in ks if v <= most]
    if not usable:
        raise AnalysisError(f"k = {ks}, but a query meets {most} gallery rows: ask for at most {most}")
    if len(usable) < len(ks):
        notes.append(f"k above {most} left out: a query meets only {most} gallery rows")
    return usable


def _per_query(scored: Scored, gallery: Gallery, labels: _Coded) -> pd.DataFrame:
    import pandas as pd

    columns = {
        "patient_id": gallery.patient_id[scored.queries],
        "label": np.array(labels.values, dtype=object)[labels.codes[scored.queries]],
        "relevant": scored.relevant,
        "gallery": scored.valid,
        "first_hit_rank": scored.first_hit,
    }
    scores = {("average_precision" if name == "mAP" else name): v for name, v in scored.scores.items()}
    return pd.DataFrame({**columns, **scores, "random_average_precision": scored.expected["mAP"]})


def _metrics(scored: Scored, intervals: Sequence[Interval | None]) -> dict[str, MetricRow]:
    """`intervals` come in the order of `Scored.columns`: the scores, then their gains over chance."""
    means, size = scored.columns().mean(axis=0), len(scored.scores)
    return {
        name: MetricRow(
            mean=float(means[i]),
            ci=_within_0_1(intervals[i]),
            random=float(scored.expected[name].mean()),
            difference=float(means[i + size]),
            difference_ci=intervals[i + size],
        )
        for i, name in enumerate(scored.scores)
    }


def _within_0_1(ci: Interval | None) -> Interval | None:
    return ci and (max(ci[0], 0.0), min(ci[1], 1.0))


def _intervals(
    scored: Scored, patient_id: np.ndarray, protocol: Protocol, *, seed: int, notes: list[str]
) -> list[Interval | None]:
    columns = scored.columns()
    if protocol != "loo":
        drawn = bootstrap_means(columns, patient_id[scored.queries], resamples=_RESAMPLES, seed=seed)
        return [(float(low), float(high)) for low, high in np.percentile(drawn, [2.5, 97.5], axis=0).T]
    found = [
        jackknife_interval(float(m), w) for m, w in zip(columns.mean(axis=0), scored.without, strict=True)
    ]
    if None in found:
        notes.append(
            "no intervals: they need one row a patient, and patients who still match when one is left out"
        )
    return found


def _words(ci: Interval | None) -> str:
    return "no interval" if ci is None else f"95 % CI {ci[0]:.3f} to {ci[1]:.3f}"


def _verdict(label: str, average: MetricRow, queries: int) -> str:
    if average.difference_ci is None:
        return (
            f"Whether near patients share {label} cannot be told from {queries} queries without an interval"
        )
    low, high = average.difference_ci
    more = "more often than" if low > 0 else "less often than" if high < 0 else "no more often than"
    return (
        f"Near patients share {label} {more} at random: mAP {average.mean:.3f} ({_words(average.ci)}), "
        f"random {average.random:.3f}, {queries} queries"
    )
