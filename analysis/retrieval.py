"""How often the nearest patients share a label: recall@k, precision@k and mAP against exact chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from analysis.clinical import canonical
from analysis.cohort import Cohort
from analysis.gallery import Gallery, open_gallery, several_embeddings
from analysis.hubness import hubness
from analysis.matched_retrieval import CALIPER, Match, make_match
from analysis.neighbours import RRF_K, NeighbourResult, search, whole_number
from analysis.ranked_queries import Scored, score_queries
from analysis.results import Interval
from analysis.retrieval_result import (
    LabelRow,
    MatchedControl,
    MetricRow,
    Protocol,
    RetrievalResult,
    interval_words,
)
from analysis.retrieval_scores import bootstrap_means, jackknife_interval, patient_split, published_split
from flexict_core.errors import AnalysisError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["MetricRow", "NeighbourResult", "Protocol", "RetrievalResult", "retrieval_metrics", "search"]

_RESAMPLES = 1000


def retrieval_metrics(
    data: Cohort | np.ndarray | Sequence[Cohort | np.ndarray],
    label: str | Sequence[Any] | np.ndarray,
    *,
    k: Sequence[int] = (1, 3, 5, 10),
    protocol: Protocol = "loo",
    stratify: str | Sequence[Any] | np.ndarray | None = None,
    match: Sequence[str] | pd.DataFrame | None = None,
    caliper: float = CALIPER,
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

    match: columns of the cohort (or a table of n rows) that a control holds equal: its queries meet only patients
    of the same category and within `caliper` standard deviations of the number, so that the result also says what
    is left when size or scanner are equal.
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
    matched = None
    if match is not None:
        like = make_match(*_match_table(match, first, gallery), caliper=caliper)
        again = score_queries(gallery, queries, targets, labels.codes, ks=ks, rrf_k=rrf_k, match=like)
        matched = _matched(again, gallery, like, protocol, asked=len(queries), label=labels.name, seed=seed)
    parameters = {
        "label": labels.name,
        "k": ks,
        "protocol": protocol,
        "stratify": None if stratify is None else strata.name,
        "match": None if matched is None else list(matched.columns),
        "caliper": None if matched is None else matched.caliper,
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
        by_label=_by_label(scored, gallery.patient_id, labels, protocol, seed=seed),
        hubness=hubness(scored.occurrences, gallery.patient_id[targets], k=max(ks), queries=scored.met),
        matched=matched,
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


def _match_table(
    match: Sequence[str] | pd.DataFrame, data: Cohort | np.ndarray, gallery: Gallery
) -> tuple[pd.DataFrame, list[str]]:
    """The columns to match on, a row for each of the gallery, and their names."""
    import pandas as pd

    if isinstance(data, Cohort) and not isinstance(match, pd.DataFrame):
        table = data.columns(list(match))
    elif isinstance(match, pd.DataFrame):
        table = match.reset_index(drop=True)
    else:
        raise AnalysisError("match names columns, but an array has none: give a table of its rows")
    rows = data.n if isinstance(data, Cohort) else len(data)
    if len(table) != rows:
        raise AnalysisError(
            f"the table to match on has {len(table)} rows for {rows} embeddings: give one a row"
        )
    if not len(table.columns):
        raise AnalysisError("match is empty: name the columns that are to be equal")
    return table.iloc[gallery.keep].reset_index(drop=True), [str(c) for c in table.columns]


def _matched(
    scored: Scored, gallery: Gallery, like: Match, protocol: Protocol, *, asked: int, label: str, seed: int
) -> MatchedControl:
    metrics = _metrics(scored, _intervals(scored, gallery.patient_id, protocol, seed=seed, notes=[]))
    average, columns = metrics["mAP"], ", ".join(like.columns)
    if average.difference_ci is None:
        found = f"Among patients alike in {columns}: no interval, so nothing can be said"
    else:
        low, high = average.difference_ci
        more = "still share" if low > 0 else "less often share" if high < 0 else "are not shown to share"
        chance = (
            "more often than at random"
            if low > 0
            else "than at random"
            if high < 0
            else "more often than at random"
        )
        found = f"Among patients alike in {columns} near ones {more} {label} {chance}"
    return MatchedControl(
        columns=like.columns,
        description=like.describe(),
        caliper=like.caliper,
        queries=len(scored.queries),
        left_out=asked - len(scored.queries),
        candidates=float(scored.valid.mean()),
        metrics=metrics,
        verdict=f"{found}: mAP {average.mean:.3f} ({interval_words(average.ci)}), random {average.random:.3f}, "
        f"{len(scored.queries)} queries, {asked - len(scored.queries)} left out",
    )


def _by_label(
    scored: Scored, patient_id: np.ndarray, labels: _Coded, protocol: Protocol, *, seed: int
) -> tuple[LabelRow, ...]:
    """The metrics of the queries of each label value, in the order of the values."""
    own, rows = labels.codes[scored.queries], []
    for code, name in enumerate(labels.values):
        if (of := own == code).any():
            part = scored.part(of, code)
            intervals = _intervals(part, patient_id, protocol, seed=seed, notes=[])
            rows.append(LabelRow(label=name, queries=int(of.sum()), metrics=_metrics(part, intervals)))
    return tuple(rows)


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


def _verdict(label: str, average: MetricRow, queries: int) -> str:
    if average.difference_ci is None:
        return (
            f"Whether near patients share {label} cannot be told from {queries} queries without an interval"
        )
    low, high = average.difference_ci
    more = "more often than" if low > 0 else "less often than" if high < 0 else "no more often than"
    return (
        f"Near patients share {label} {more} at random: mAP {average.mean:.3f} ({interval_words(average.ci)}), "
        f"random {average.random:.3f}, {queries} queries"
    )
