"""The demo cohort as the notebooks use it: a finished one where there is one, else a small one made at once."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flexict_core.manifest import PLANTED_TRUTH

if TYPE_CHECKING:
    from analysis.cohort import Cohort

DEMO_FOLDER = "FLEXICT_DEMO"  # environment: the --out of an earlier `flexict demo`
PERMUTATIONS = "FLEXICT_NOTEBOOK_PERMUTATIONS"  # environment: fewer of them, where a run need not be exact
_PATIENTS = 60  # a cohort, of one made here; `flexict demo` makes 120


@dataclass(frozen=True)
class TutorialCohort:
    """Files of the synthetic demo cohort, and what was planted in it."""

    folder: Path
    truth: dict[str, Any] = field(repr=False)
    permutations: int = 9999

    @property
    def manifest(self) -> Path:
        return self.folder / "cohort" / "manifest.csv"

    @property
    def clinical(self) -> Path:
        return self.folder / "cohort" / "clinical.csv"

    @property
    def store(self) -> Path:
        return self.folder / "store"

    @property
    def stage_order(self) -> list[str]:
        """Stages from early to late."""
        return list(self.truth["stage_order"])

    @property
    def adjusters(self) -> list[str]:
        """Columns that the planted stage depends on beside the tumour's phenotype."""
        return list(self.truth["adjusters"])

    @property
    def planted(self) -> dict[str, str]:
        """The right answer of each cohort."""
        return dict(self.truth["expected_verdict"])

    def load(self, cohort: str | None = None, *, embedding: str = "baseline") -> Cohort:
        """Embeddings joined with the clinical table: of cohort "A", "B", or both."""
        from analysis.cohort import load_cohort

        where = () if cohort is None else (f"cohort={cohort}",)
        name = "demo cohorts A and B" if cohort is None else f"demo cohort {cohort}"
        return load_cohort(
            self.store, embedding, self.clinical, id_column="patient_id", where=where, name=name
        )


def tutorial_cohort(
    folder: str | Path | None = None, *, patients_per_cohort: int = _PATIENTS
) -> TutorialCohort:
    """The demo cohort in `folder`, else in $FLEXICT_DEMO, else in ./flexict-demo, else a small one made now.

    What is missing is drawn and embedded (60 patients a cohort: about a minute), in a new temporary folder
    where none was named. Everything in it is synthetic.
    """
    named = folder or os.environ.get(DEMO_FOLDER)
    home = Path(named) if named else Path("flexict-demo")
    if not named and not (home / "cohort" / PLANTED_TRUTH).exists():
        home = Path(tempfile.mkdtemp(prefix="flexict-tutorial-"))
    if not (home / "store").is_dir():
        _make(home, patients_per_cohort)
    truth = json.loads((home / "cohort" / PLANTED_TRUTH).read_text(encoding="utf-8"))
    return TutorialCohort(home, truth, int(os.environ.get(PERMUTATIONS, "9999")))


def _make(home: Path, patients: int) -> None:
    from analysis.synthetic import write_demo_cohort
    from flexict_core.embed import embed_manifest
    from flexict_core.encoders.registry import load_encoder
    from flexict_core.manifest import read_manifest
    from flexict_core.store import EmbeddingStore

    made = write_demo_cohort(home / "cohort", patients_per_cohort=patients, progress=False)
    embed_manifest(
        read_manifest(made.manifest), EmbeddingStore.create(home / "store"), encoder=load_encoder("baseline"),
        workers=0, progress=False,
    )  # fmt: skip
