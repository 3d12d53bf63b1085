"""A selection of patients against the rest of the cohort: what it is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from analysis.clinical import canonical, canonical_column
from analysis.results import Result
from flexict_core.errors import AnalysisError
from flexict_core.tables import listing

if TYPE_CHECKING:
    import pandas as pd

    from analysis.cohort import Cohort

MISSING = "missing"


@dataclass(frozen=True)
class LevelRow:
    """Patients with one value of the column: counts, and shares of the selection and of the rest (0…1)."""

    label: str
    n_selected: int
    share_selected: float
    n_rest: int
    share_rest: float


@dataclass(frozen=True, kw_only=True)
class SelectionResult(Result):
    """Counts of one clinical column among the selected patients and among the others."""

    command: ClassVar[str] = "select"

    column: str
    levels: tuple[LevelRow, ...]
    n_selected: int
    n_rest: int

    def table(self) -> pd.DataFrame:
        import pandas as pd

        rows = [(r.label, r.n_selected, r.share_selected, r.n_rest, r.share_rest) for r in self.levels]
        return pd.DataFrame(
            rows, columns=[self.column, "selected", "share of selected", "rest", "share of rest"]
        )

    def summary(self) -> str:
        lines = [self.verdict]
        for r in self.levels:
            lines.append(
                f"  {r.label}: {r.n_selected} selected ({100 * r.share_selected:.0f} %), "
                f"{r.n_rest} of the rest ({100 * r.share_rest:.0f} %)"
            )
        return "\n".join(lines)

    def methods_text(self) -> str:
        return (
            f"{self.n_selected} of {self.n} patients were selected by hand; {self.column} was counted among them "
            f"and among the other {self.n_rest}. Patients picked by where their embeddings lie are no random "
            "sample, so no test is made of the difference."
        )

    def details(self) -> dict[str, Any]:
        return {
            "column": self.column,
            "levels": self.levels,
            "n_selected": self.n_selected,
            "n_rest": self.n_rest,
        }


def compare_selection(
    cohort: Cohort, selected: Sequence[str], *, column: str, order: Sequence[str] = ()
) -> SelectionResult:
    """Count a column's values among `selected` patients and among the others of the cohort.

    `order`: values (as text) in the order they are to be listed; others follow, missing ones last. Raises
    AnalysisError when a selected patient is not in the cohort or nobody is selected.
    """
    import pandas as pd

    chosen = [str(p) for p in selected]
    everyone = pd.Index([str(p) for p in cohort.patient_id], dtype=object)
    at = everyone.get_indexer(chosen)  # by hash; −1: not there
    if (at < 0).any():
        unknown = sorted({chosen[i] for i in np.flatnonzero(at < 0)})
        raise AnalysisError(
            f"selected patients {listing(unknown)} are not in {cohort.name}: select among its patients"
        )
    inside = np.zeros(cohort.n, dtype=bool)
    inside[at] = True
    if not inside.any():
        raise AnalysisError("no patient is selected: draw a lasso or a box around some")
    values = canonical_column(cohort.column(column))
    values[values == ""] = MISSING
    n_selected, n_rest = int(inside.sum()), int((~inside).sum())
    levels = []
    for label in _listed(values, order):
        has = values == label
        a, b = int((has & inside).sum()), int((has & ~inside).sum())
        levels.append(LevelRow(label, a, a / n_selected, b, b / n_rest if n_rest else float("nan")))
    return SelectionResult(
        n=cohort.n,
        verdict=f"{n_selected} of {cohort.n} patients selected",
        warnings=cohort.warnings,
        provenance=cohort.provenance(parameters={"column": column, "selected": sorted(chosen)}),
        column=column,
        levels=tuple(levels),
        n_selected=n_selected,
        n_rest=n_rest,
    )


def _listed(values: np.ndarray, order: Sequence[str]) -> list[str]:
    first = [canonical(v) for v in order]
    rest = sorted(set(values) - set(first), key=lambda v: (v == MISSING, natural_key(v)))
    return [v for v in first if v in set(values)] + rest


def natural_key(text: str) -> tuple[int, float, str]:
    """Numbers by size before other texts by letter."""
    try:
        return (0, float(text), text)
    except ValueError:
        return (1, 0.0, text)
