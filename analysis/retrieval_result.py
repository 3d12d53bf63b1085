"""The result of a retrieval: metrics with intervals, by label, among matched patients, and hubness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from analysis.hubness import Hubness, hubness_sentence
from analysis.neighbours import NeighbourResult, fusion_sentence
from analysis.results import Interval, Result

if TYPE_CHECKING:
    import pandas as pd

Protocol = Literal["loo", "split", "published"]
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
class LabelRow:
    """The same metrics over the queries of one label value (a stage)."""

    label: str
    queries: int
    metrics: dict[str, MetricRow]


@dataclass(frozen=True, kw_only=True)
class MatchedControl:
    """The metrics when a query meets only patients who are like it in `columns`.

    candidates: mean number of them; left_out: queries that meet fewer than the largest k, or none of their label.
    """

    columns: tuple[str, ...]
    description: str
    caliper: float
    queries: int
    left_out: int
    candidates: float
    metrics: dict[str, MetricRow]
    verdict: str


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
    by_label: tuple[LabelRow, ...] = ()
    hubness: Hubness | None = None
    matched: MatchedControl | None = None

    def table(self) -> pd.DataFrame:
        return metrics_table([("all", self.queries, self.metrics)]).drop(columns=["queries of", "queries"])

    def summary(self) -> str:
        lines = [self.verdict]
        for name, m in self.metrics.items():
            lines.append(f"  {name:<13} {m.mean:.3f}  ({interval_words(m.ci)}; random {m.random:.3f})")
        for row in self.by_label:
            m = row.metrics["mAP"]
            lines.append(
                f"  {self.label} {row.label} ({row.queries} queries): mAP {m.mean:.3f} ({interval_words(m.ci)}; random "
                f"{m.random:.3f})"
            )
        if self.matched is not None:
            lines.append(self.matched.verdict)
        if self.hubness is not None:
            lines.append(hubness_sentence(self.hubness))
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
        text += fusion_sentence(self.fused, self.provenance.parameters)
        if self.matched is not None:
            text += (
                f" As a control, queries met only patients who were like them in {self.matched.description} "
                f"({self.matched.candidates:.0f} on average); {self.matched.left_out} queries that met too few "
                "were left out."
            )
        if self.hubness is not None:
            text += f" {hubness_sentence(self.hubness)}"
        return text

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
            "by_label": self.by_label,
            "matched": self.matched,
            "hubness": self.hubness,
            "per_query": self.per_query.to_dict(orient="records"),
            "neighbours": [
                {"query": found.query, **row}
                for found in self.neighbours
                for row in found.neighbours.to_dict(orient="records")
            ],
        }


def metrics_table(parts: Sequence[tuple[str, int, dict[str, MetricRow]]]) -> pd.DataFrame:
    """One row a metric of each part (name, queries, metrics)."""
    import pandas as pd

    rows = [
        {
            "queries of": part,
            "queries": queries,
            "metric": name,
            "mean": m.mean,
            "ci_low": (m.ci or _NO_INTERVAL)[0],
            "ci_high": (m.ci or _NO_INTERVAL)[1],
            "random": m.random,
            "difference": m.difference,
            "difference_ci_low": (m.difference_ci or _NO_INTERVAL)[0],
            "difference_ci_high": (m.difference_ci or _NO_INTERVAL)[1],
        }
        for part, queries, metrics in parts
        for name, m in metrics.items()
    ]
    return pd.DataFrame(rows)


def interval_words(ci: Interval | None) -> str:
    return "no interval" if ci is None else f"95 % CI {ci[0]:.3f} to {ci[1]:.3f}"
