"""Who the patients are: one row a characteristic, for all and by stage. No tests: differences are described."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from analysis.clinical import canonical, parse_order
from analysis.results import Result
from analysis.selection import natural_key

if TYPE_CHECKING:
    import pandas as pd

    from analysis.cohort import Cohort

MOST_LEVELS = 8
MOST_CODES = (
    6  # whole numbers of so few kinds are counted: they name classes, and quartiles of them say nothing
)
MOST_COLUMNS = 14


@dataclass(frozen=True)
class Cell:
    """Of a number: median and quartiles. Of a level: count and share. n: patients with a value here."""

    n: int
    count: int | None = None
    share: float | None = None
    median: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Row:
    """A column of the table, or one level of it ("" for a number); missing: patients without a value."""

    column: str
    level: str
    missing: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True)
class Characteristics(Result):
    """`groups`: "all", then the stages from early to late; `counts`: their patients; one cell a group in each row.
    `left_out`: columns of too many texts; `beyond`: those after the first 14, where none were named."""

    command: ClassVar[str] = "characteristics"

    groups: tuple[str, ...]
    counts: tuple[int, ...]
    rows: tuple[Row, ...]
    left_out: tuple[str, ...]
    beyond: tuple[str, ...] = ()

    def table(self) -> pd.DataFrame:
        """One row a characteristic, group and statistic, in full precision."""
        import pandas as pd

        keys = ("count", "share", "median", "low", "high")
        return pd.DataFrame(
            [
                {
                    "column": r.column,
                    "level": r.level,
                    "group": group,
                    "n": cell.n,
                    **{k: getattr(cell, k) for k in keys},
                    "missing_in_all": r.missing,
                }
                for r in self.rows
                for group, cell in zip(self.groups, r.cells, strict=True)
            ],
            columns=["column", "level", "group", "n", *keys, "missing_in_all"],
        )

    def summary(self) -> str:
        return self.verdict

    def methods_text(self) -> str:
        text = (
            "Numbers are median (lower to upper quartile), categories n (% of the patients with a value); missing "
            "values are counted, not filled in. Groups are described and not tested against each other."
        )
        if (stage := self.provenance.parameters.get("stage")) is not None:
            text += f" Columns: all patients, then by {stage}."
        if self.left_out:
            text += f" Not shown, for they hold too many different texts: {', '.join(self.left_out)}."
        if self.beyond:
            text += (
                f" Not shown beyond the first {MOST_COLUMNS}: {', '.join(self.beyond)} (describe in the study file "
                "names the columns to show)."
            )
        return text

    def details(self) -> dict[str, Any]:
        names = ("groups", "counts", "rows", "left_out", "beyond")
        return {name: getattr(self, name) for name in names}


def characteristics(
    cohort: Cohort, *, columns: Sequence[str] = (), stage: str | None = None, order: str | None = None
) -> Characteristics:
    """Describe a cohort. columns: which ones (none: every number and every category of up to eight levels, the
    first 14); stage, order: the groups to describe beside all patients."""
    groups, masks = ["all"], [np.ones(cohort.n, dtype=bool)]
    if stage is not None and order is not None:
        parsed = parse_order(order)
        codes = parsed.codes()
        of = np.array([codes.get(canonical(v), -1) for v in cohort.column(stage)])
        groups += parsed.labels
        masks += [of == k for k in range(len(parsed.labels))]
    chosen, left_out, beyond = list(columns), [], []
    if not chosen:
        others = [c for c in cohort.table.columns if c not in (cohort.id_column, stage)]
        left_out = [c for c in others if not _describable(cohort.column(c))]
        shown = [c for c in others if c not in left_out]
        chosen, beyond = shown[:MOST_COLUMNS], shown[MOST_COLUMNS:]
    rows: list[Row] = []
    for name in chosen:
        rows += _rows(name, cohort.column(name), masks)
    return Characteristics(
        n=cohort.n,
        verdict=f"{len(chosen)} characteristics of {cohort.n} patients",
        provenance=cohort.provenance(parameters={"columns": chosen, "stage": stage, "order": order}),
        groups=tuple(groups),
        counts=tuple(int(m.sum()) for m in masks),
        rows=tuple(rows),
        left_out=tuple(left_out),
        beyond=tuple(beyond),
    )


def _describable(values: np.ndarray) -> bool:
    return values.dtype != object or len({canonical(v) for v in values} - {""}) <= MOST_LEVELS


def _rows(name: str, values: np.ndarray, masks: Sequence[np.ndarray]) -> list[Row]:
    texts = np.array([canonical(v) for v in values], dtype=object)
    missing = int((texts == "").sum())
    found = sorted(set(texts) - {""}, key=natural_key)
    if not found:  # nobody has a value: said in one empty row
        return [Row(name, "", missing, tuple(Cell(0) for _ in masks))]
    codes = len(found) <= MOST_CODES and all(level.isdigit() for level in found)  # 0 and 1, stages 1 to 4
    if values.dtype != object and not codes:
        numbers = values.astype(float)
        return [Row(name, "", missing, tuple(_number(numbers[m]) for m in masks))]
    return [Row(name, level, missing, tuple(_level(texts[m], level) for m in masks)) for level in found]


def _number(values: np.ndarray) -> Cell:
    known = values[np.isfinite(values)]
    if not known.size:
        return Cell(0)
    low, middle, high = (float(q) for q in np.quantile(known, [0.25, 0.5, 0.75]))
    return Cell(int(known.size), median=middle, low=low, high=high)


def _level(texts: np.ndarray, level: str) -> Cell:
    n, count = int((texts != "").sum()), int((texts == level).sum())
    return Cell(n, count=count, share=count / n if n else None)
