"""A selection of patients against the rest in every clinical column, and in survival.

The reader chose the patients by looking at a picture of the embedding. A column is compared with the rest by an
ordinary test, but whatever the choice was made along (the embedding, the colour of the points) differs by choice and
not by discovery: `CHOSEN_BY_LOOKING` stands with every number made here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from analysis.results import Result
from flexict_core.errors import AnalysisError

if TYPE_CHECKING:
    import pandas as pd

    from analysis.cohort import Cohort

CHOSEN_BY_LOOKING = (
    "These patients were chosen by looking at a picture (post hoc): p-values of what they were chosen along, the "
    "embedding and the colour of its points, confirm nothing. Take others as leads for another cohort."
)
SELECTED, REST = "selected", "rest"
_FEWEST = 3
_MANY = (
    20_000  # patients above which rare values are pooled: a permutation test of so many would take minutes
)
_RARE = 100
POOLED = "(rare values)"


@dataclass(frozen=True)
class Contrast:
    """The selection against the rest in one column.

    measure "P(selected > rest)" (0.5 nothing; Mann–Whitney) for numbers, "Cramér V" (0 nothing; chi-squared) for
    categories; most: medians, or the value that is most over-represented, with its shares.
    """

    column: str
    measure: str
    value: float
    p_value: float
    p_holm: float
    test: str
    n: int
    most: str


@dataclass(frozen=True, kw_only=True)
class SelectionContrast(Result):
    """Contrasts, the strongest evidence first; p_holm is corrected over all columns."""

    command: ClassVar[str] = "select"

    contrasts: tuple[Contrast, ...]
    columns_left_out: tuple[str, ...]
    n_selected: int

    def table(self) -> pd.DataFrame:
        import pandas as pd

        names = ["column", "measure", "value", "p_value", "p_holm", "test", "n", "most"]
        return pd.DataFrame([asdict(c) for c in self.contrasts], columns=names)

    def summary(self) -> str:
        lines = [self.verdict]
        lines += [
            f"  {c.column}: {c.measure} {c.value:.2f}, p = {c.p_holm:.2g} after Holm ({c.most})"
            for c in self.contrasts[:6]
        ]
        return "\n".join(lines)

    def methods_text(self) -> str:
        return (
            f"{self.n_selected} of {self.n} patients were selected by hand on a picture of the embedding and compared "
            "with the others in every clinical column (numbers by Mann–Whitney, effect P(selected > rest); categories "
            "by chi-squared, by permutation where an expected count was below 5, effect Cramér's V), with Holm's "
            f"correction over {len(self.contrasts)} columns. The selection was made after looking at the data: the "
            "p-values are exploratory, and those of whatever it was made along confirm nothing."
        )

    def details(self) -> dict[str, Any]:
        return {
            "n_selected": self.n_selected,
            "contrasts": self.contrasts,
            "columns_left_out": self.columns_left_out,
        }


def contrast_selection(
    cohort: Cohort, selected: np.ndarray, *, columns: Sequence[str] | None = None, seed: int = 0
) -> SelectionContrast:
    """Compare the patients of a mask [n] with the others in `columns` (None: every clinical column).

    Raises AnalysisError for fewer than 3 patients on either side.
    """
    from analysis.clusters import comparable_columns, compare_group
    from analysis.gradient.comparison import holm_adjusted

    inside = checked_mask(cohort, selected)
    named, left_out = comparable_columns(cohort, columns, cohort.n)
    rows = []
    for name, values in named.items():
        found = compare_group(0, name, inside, _without_rare(values), seed)
        if found is not None:
            measure = "P(selected > rest)" if found.measure == "P(in > out)" else found.measure
            p = found.p_value
            rows.append(Contrast(name, measure, found.value, p, p, found.test, found.n, _worded(found.most)))
    holm = holm_adjusted([r.p_value for r in rows])
    rows = [replace(r, p_holm=float(p)) for r, p in zip(rows, holm, strict=True)]
    rows.sort(key=lambda r: (r.p_value, r.column))
    chosen = int(inside.sum())
    differ = sum(r.p_holm < 0.05 for r in rows)
    return SelectionContrast(
        n=cohort.n,
        verdict=f"{chosen} of {cohort.n} patients, chosen by looking, differ from the rest in {differ} of "
        f"{len(rows)} columns (Holm, 5 %)",
        warnings=(*cohort.warnings, CHOSEN_BY_LOOKING),
        provenance=cohort.provenance(parameters=selection_parameters(cohort, inside), seed=seed),
        contrasts=tuple(rows),
        columns_left_out=left_out,
        n_selected=chosen,
    )


def checked_mask(cohort: Cohort, selected: np.ndarray) -> np.ndarray:
    """The mask as booleans [n]. Raises AnalysisError for another length or fewer than 3 on either side."""
    inside = np.asarray(selected)
    if inside.shape != (cohort.n,) or inside.dtype != bool:
        raise AnalysisError(
            f"a selection of shape {inside.shape} for {cohort.n} patients: give one boolean each"
        )
    few = min(int(inside.sum()), int((~inside).sum()))
    if few < _FEWEST:
        raise AnalysisError(
            f"{int(inside.sum())} of {cohort.n} patients are selected: select at least {_FEWEST}, and leave as many"
        )
    return inside


def selection_parameters(cohort: Cohort, inside: np.ndarray) -> dict[str, Any]:
    """Who was selected, for the provenance."""
    return {"selected": [str(p) for p in cohort.patient_id[inside]], "chosen": "by looking"}


def _worded(most: str) -> str:
    return most.replace("inside", "of the selected").replace("outside", "of the rest")


def _without_rare(values: np.ndarray) -> np.ndarray:
    """In large cohorts, the values of fewer than 100 patients under one name."""
    if values.dtype.kind == "f" or len(values) <= _MANY:
        return values
    import pandas as pd

    counts = pd.Series(values).value_counts()
    rare = set(counts.index[counts < _RARE])
    return np.array([POOLED if v in rare else v for v in values], dtype=object)
