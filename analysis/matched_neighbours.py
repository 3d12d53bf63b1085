"""The nearest patients among those who are like the query in size, scanner or the like: matched controls of one case.

What still looks alike among patients of equal size and scanner is not alike because of either. Categories must be
equal, numbers lie within a caliper (`matched_retrieval`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.matched_retrieval import CALIPER, make_match
from analysis.neighbours import NeighbourResult, search, whole_number
from flexict_core.errors import AnalysisError

if TYPE_CHECKING:
    from analysis.cohort import Cohort


@dataclass(frozen=True, kw_only=True)
class MatchedNeighbours(NeighbourResult):
    """As NeighbourResult; `neighbours` also has rank_among_all, and k may be smaller than was asked for.

    matched: what they share with the query, in words. candidates: how many other patients share it.
    """

    matched: str
    candidates: int

    def methods_text(self) -> str:
        return (
            f"{super().methods_text()} Only the {self.candidates} patients who match the query in {self.matched} were "
            "considered."
        )

    def details(self) -> dict[str, Any]:
        return {**super().details(), "matched": self.matched, "candidates": self.candidates}


def search_matched(
    cohort: Cohort, patient: str, *, match: Sequence[str], caliper: float = CALIPER, k: int = 10
) -> MatchedNeighbours:
    """The k nearest patients to a patient of the cohort, among those who are like them in the columns `match`.

    caliper: how far numbers may differ, in standard deviations of the cohort. Raises AnalysisError where no column is
    given, the patient lacks a value, and where nobody is alike; CohortError for a misspelt column.
    """
    k = whole_number(k, "k")
    if not match:
        raise AnalysisError("no column to match on: choose one or more, such as size and scanner")
    rule = make_match(cohort.columns(list(match)), match, caliper=caliper)
    everyone = search(cohort, patient, k=max(1, cohort.n - 1))
    own = np.flatnonzero(cohort.patient_id == patient)
    alike = rule.alike(own, np.arange(cohort.n))[0]
    if not alike[own[0]]:
        absent = [name for name in match if cohort.columns([name])[name].isna()[own[0]]]
        raise AnalysisError(f"patient {patient!r} has no {', '.join(absent)}: match on other columns")
    who = set(cohort.patient_id[alike]) - {patient}
    if not who:
        raise AnalysisError(
            f"no other patient matches {patient!r} in {rule.describe()}: match on fewer columns, or more loosely"
        )
    table = everyone.neighbours
    table = table[table["patient_id"].isin(who)].rename(columns={"rank": "rank_among_all"}).head(k)
    table.insert(0, "rank", np.arange(1, len(table) + 1))
    parameters = {"query": patient, "k": k, "match": list(match), "caliper": caliper}
    found = len(table)
    return MatchedNeighbours(
        **{
            **{f.name: getattr(everyone, f.name) for f in dataclasses.fields(everyone)},
            "verdict": f"{found} nearest matched patients to {patient}",
            "provenance": dataclasses.replace(everyone.provenance, parameters=parameters),
            "k": found,
            "neighbours": table.reset_index(drop=True),
        },
        matched=rule.describe(),
        candidates=len(who),
    )
