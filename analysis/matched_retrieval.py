"""Matched controls of retrieval: a query meets only patients who are like it in size, scanner or the like.

What is left of a retrieval score among patients of equal size and scanner is not owed to either. A category must be
equal; a number must lie within a caliper, in standard deviations of the whole cohort. Within the caliper a rest of
the number remains, so that a small caliper is the stricter control. Who lacks a value is like nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from flexict_core.errors import AnalysisError

if TYPE_CHECKING:
    import pandas as pd

CALIPER = 0.5


@dataclass(frozen=True)
class Match:
    """What patients must share. categories [n, a]: codes, −1 missing; numbers [n, b]: in SDs, NaN missing."""

    columns: tuple[str, ...]
    categories: np.ndarray
    numbers: np.ndarray
    caliper: float
    kinds: tuple[str, ...]

    def alike(self, rows: np.ndarray, others: np.ndarray) -> np.ndarray:
        """[q, g]: whether each of `rows` may meet each of `others`."""
        same = np.ones((len(rows), len(others)), dtype=bool)
        for column in self.categories.T:
            same &= (column[rows][:, None] == column[others][None]) & (column[rows][:, None] >= 0)
        for column in self.numbers.T:
            # NaN is never within the caliper
            same &= np.abs(column[rows][:, None] - column[others][None]) <= self.caliper
        return same

    def describe(self) -> str:
        """What was matched, for a sentence: "scanner (equal), size_mm (within 0.5 SD)"."""
        return ", ".join(f"{name} ({kind})" for name, kind in zip(self.columns, self.kinds, strict=True))


def make_match(table: pd.DataFrame, columns: Sequence[str], *, caliper: float) -> Match:
    """Match on the columns of a table [n rows]; floats are numbers, all else are categories.

    Raises AnalysisError for a caliper that is not above 0 and for a column with a single value.
    """
    if not 0 < caliper < np.inf:
        raise AnalysisError(f"caliper = {caliper}: give a number of standard deviations above 0")
    categories, numbers, kinds = [], [], []
    for name in columns:
        values = table[name]
        if values.nunique() < 2:
            raise AnalysisError(f"column {name!r} to match on has a single value: leave it out")
        if values.dtype.kind == "f":
            numbers.append(((values - values.mean()) / values.std(ddof=0)).to_numpy(dtype=float))
            kinds.append(f"within {caliper:g} SD")
        else:
            codes = values.astype("category").cat.codes.to_numpy()
            categories.append(codes)
            kinds.append("equal")
    n = len(table)
    return Match(
        tuple(columns),
        np.array(categories).T if categories else np.empty((n, 0), dtype=int),
        np.array(numbers).T if numbers else np.empty((n, 0)),
        float(caliper),
        tuple(kinds),
    )
