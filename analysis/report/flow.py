"""The flow of patients, as CONSORT draws it: who was there, who was left out and why, who was analysed.

Every step's counts add up, or the flow is not made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

from analysis.results import Result
from flexict_core.errors import AnalysisError

if TYPE_CHECKING:
    import pandas as pd

    from analysis.cohort import Cohort
    from analysis.report.cohorts import Cohorts

Lost = tuple[tuple[str, int], ...]  # reason and number of patients


@dataclass(frozen=True)
class Step:
    """A box of the flow: `n` patients are in it, after the `lost` ones left on the way from the box before."""

    label: str
    n: int
    lost: Lost = ()


@dataclass(frozen=True)
class Leaf:
    """One analysis: `n` patients of the last step took part, `lost` did not. None where it could not be done."""

    label: str
    n: int | None
    lost: Lost = ()


@dataclass(frozen=True, kw_only=True)
class Flow(Result):
    """Steps from everybody known to the study's patients, then one leaf an analysis; `notes` count no patients."""

    command: ClassVar[str] = "flow"

    steps: tuple[Step, ...]
    leaves: tuple[Leaf, ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for before, after in pairwise(self.steps):
            _adds_up(before.n, after.n, after.lost, after.label)
        for leaf in self.leaves:
            if leaf.n is not None:
                _adds_up(self.steps[-1].n, leaf.n, leaf.lost, leaf.label)

    def table(self) -> pd.DataFrame:
        """One row a box and one a reason: part, box, patients, reason (empty for the box itself)."""
        import pandas as pd

        rows: list[tuple[str, str, int | None, str]] = []
        for part, boxes in (("flow", self.steps), ("analysis", self.leaves)):
            for box in boxes:
                rows += [(part, box.label, count, f"left out: {reason}") for reason, count in box.lost]
                rows.append((part, box.label, box.n, ""))
        frame = pd.DataFrame(rows, columns=["part", "box", "patients", "reason"])
        return frame.astype({"patients": "Int64"})

    def summary(self) -> str:
        return self.verdict

    def methods_text(self) -> str:
        first, last = self.steps[0], self.steps[-1]
        return (
            f"Of {first.n} patients ({first.label.lower()}), {last.n} were studied; every exclusion is listed with its "
            "reason. Missing values were not filled in: each analysis takes the patients who have what it needs."
        )

    def details(self) -> dict[str, Any]:
        return {"steps": self.steps, "leaves": self.leaves, "notes": self.notes}


def _adds_up(before: int, after: int, lost: Lost, label: str) -> None:
    gone = sum(count for _, count in lost)
    if before - gone != after or any(count < 1 for _, count in lost):
        raise AnalysisError(f"flow of patients: {before} − {gone} is not {after} at {label!r}")


def patient_flow(
    cohorts: Cohorts, analysed: Sequence[tuple[str, int | None, Mapping[str, int]]], *, seed: int
) -> Flow:
    """The flow of a study. analysed: for each analysis its label, its number of patients, and how many patients
    were left out by which reason (what the reasons do not explain is said to be unexplained)."""
    main = cohorts.main
    reasons = [(str(p), str(r)) for p, r in main.lost.itertuples(index=False, name=None)]
    filtered = [(p, r) for p, r in reasons if r == cohorts.filter_reason]
    joined = [(p, r) for p, r in reasons if r != cohorts.filter_reason]
    steps = [Step("In the clinical table or in the embedding", main.n + len(reasons))]
    steps.append(
        Step("Embedded and in the clinical table", steps[0].n - len(joined), _matching(joined, cohorts))
    )
    if filtered:
        wanted = cohorts.filter_reason.removeprefix("left out by --where ")
        steps.append(
            Step(f"Meets the study's filter ({wanted})", main.n, ((f"not {wanted}", len(filtered)),))
        )
    leaves = tuple(Leaf(label, n, _explained(main, n, lost)) for label, n, lost in analysed)
    notes = []
    if cohorts.without_id:
        notes.append(f"{cohorts.without_id} rows of the clinical table have no ID and are not counted.")
    if several := len(main.rows) - main.n:
        notes.append(f"{several} further series or regions of these patients were averaged with their first.")
    return Flow(
        n=main.n,
        verdict=f"{main.n} of {steps[0].n} patients were studied",
        provenance=main.provenance(seed=seed),
        steps=tuple(steps),
        leaves=leaves,
        notes=tuple(notes),
    )


def _matching(joined: Sequence[tuple[str, str]], cohorts: Cohorts) -> Lost:
    """Reasons of those who are not in both; an image that could not be used gives its own reason."""
    named = Counter(
        f"image could not be used: {cohorts.quarantined[p]}"
        if p in cohorts.quarantined and r.endswith("not in the embedding")
        else r
        for p, r in joined
    )
    return tuple(named.most_common())


def _explained(cohort: Cohort, n: int | None, lost: Mapping[str, int]) -> Lost:
    if n is None:
        return ()
    found = tuple((reason, count) for reason, count in lost.items() if count)
    rest = cohort.n - n - sum(count for _, count in found)
    if rest < 0:  # the reasons name more patients than the analysis left out: it could use some of them
        rest, found = cohort.n - n, ()
    return (*found, ("see the section's warnings", rest)) if rest else found
