"""The audit's result: its numbers, and the one verdict that other results of the cohort carry."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from analysis.results import Interval, Result

if TYPE_CHECKING:
    import pandas as pd

CONFOUNDS, READABLE, NOT_SHOWN = "confounds", "readable", "not shown"


@dataclass(frozen=True)
class Association:
    """A field against the label. measure and value: Spearman's ρ (−1…1), ε² (0…1) or Cramér's V (0…1)."""

    measure: str
    value: float
    p_value: float
    p_holm: float
    test: str
    n: int


@dataclass(frozen=True)
class FieldRow:
    """One recorded field: how well the embedding tells it, and how it goes with the label.

    readability: AUC (0.5 = nothing) of a category or signed squared correlation (0 = nothing) of a number, out
    of fold. strength: both on one scale, 2 · AUC − 1 or the correlation (0 nothing, 1 all), with its interval.
    """

    name: str
    kind: str
    metric: str
    readability: float
    ci: Interval | None
    p_value: float
    p_holm: float
    n: int
    levels: int | None
    strength: float
    strength_ci: Interval | None
    association: Association | None
    verdict: str


@dataclass(frozen=True)
class GroupRow:
    """One group (site) left out of the learning: how well its label is then ordered.

    left_out: concordance within the group of scores learnt on all others; within: the same from folds that
    ignore groups; drop: the pooled cross-validated concordance less left_out; p_value: one-sided, against
    random groups of the same sizes. None where the group cannot be scored (`note` says why).
    """

    group: str
    n: int
    within: float | None
    left_out: float | None
    drop: float | None
    p_value: float | None
    p_holm: float | None
    note: str


@dataclass(frozen=True)
class LeftOutGroups:
    """All groups together. pooled: cross-validated concordance over all patients; drop: pooled less the mean of
    the groups left out, weighted by their pairs."""

    column: str
    label: str
    pooled: float
    left_out: float
    drop: float
    p_value: float
    draws: int
    rows: tuple[GroupRow, ...]


@dataclass(frozen=True)
class Duplicate:
    """Two entries that should be one. kind: "same image file", "same embedding", "near embedding", "same person".

    ratio: their distance over the first one's distance to its tenth neighbour (0 for equal ones); p_holm: of so
    small a ratio, over all patients. crosses_split: they lie on two sides of the split.
    """

    kind: str
    first: str
    second: str
    ratio: float | None
    p_holm: float | None
    splits: tuple[str, str] | None
    crosses_split: bool


@dataclass(frozen=True)
class Overlap:
    """A public collection that the cohort's patients come from, against what is known of the pretraining data.

    status: "named as pretraining data", "may be pretraining data", "unknown" or "none" (never trained).
    """

    collection: str
    status: str
    patients: int
    series: int | None
    matched_by: str
    source: str


@dataclass(frozen=True, kw_only=True)
class AuditResult(Result):
    """What could make other results of this cohort wrong. Every list may be empty: then nothing was found."""

    command: ClassVar[str] = "audit"

    fields: tuple[FieldRow, ...]
    fields_left_out: tuple[str, ...]
    label: str | None
    label_readability: FieldRow | None
    left_out_groups: LeftOutGroups | None
    duplicates: tuple[Duplicate, ...]
    split: str | None
    intrinsic_dimension: float | None
    images_compared: bool
    overlap: tuple[Overlap, ...]
    alpha: float
    draws: int

    @property
    def confounders(self) -> tuple[FieldRow, ...]:
        """Fields that the embedding tells and that go with the label."""
        return tuple(f for f in self.fields if f.verdict == CONFOUNDS)

    @property
    def leaks(self) -> tuple[Duplicate, ...]:
        """Duplicates on two sides of the split."""
        return tuple(d for d in self.duplicates if d.crosses_split)

    def table(self) -> pd.DataFrame:
        from analysis.audits.words import ledger_table

        return ledger_table(self)

    def summary(self) -> str:
        from analysis.audits.words import summary

        return summary(self)

    def methods_text(self) -> str:
        from analysis.audits.words import methods_text

        return methods_text(self)

    def details(self) -> dict[str, Any]:
        groups = self.left_out_groups
        return {
            "label": self.label,
            "fields": [asdict(f) for f in self.fields],
            "fields_left_out": list(self.fields_left_out),
            "label_readability": self.label_readability and asdict(self.label_readability),
            "leave_one_group_out": [] if groups is None else [asdict(r) for r in groups.rows],
            "leave_one_group_out_overall": None
            if groups is None
            else {k: v for k, v in asdict(groups).items() if k != "rows"},
            "duplicates": [asdict(d) for d in self.duplicates],
            "split": self.split,
            "intrinsic_dimension": self.intrinsic_dimension,
            "images_compared": self.images_compared,
            "overlap": [asdict(o) for o in self.overlap],
            "alpha": self.alpha,
            "draws": self.draws,
        }
