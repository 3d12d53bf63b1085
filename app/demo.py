"""`flexict demo`: a synthetic cohort from CT to verdicts, with the planted truth beside what was found."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.console import Console
from app.runs import run_gradient, run_project, run_retrieve
from flexict_core.errors import InputError

if TYPE_CHECKING:
    from analysis.cohort import Cohort
    from analysis.synthetic import DemoCohort

ID_COLUMN, STAGE = "patient_id", "stage"
COHORTS = ("A", "B")


@dataclass
class Demo:
    """Where the demo's parts lie, how long each step took, and planted against found verdicts by cohort."""

    out: Path
    order: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    verdicts: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def cohort(self) -> Path:
        return self.out / "cohort"

    @property
    def clinical(self) -> Path:
        return self.cohort / "clinical.csv"

    @property
    def store(self) -> Path:
        return self.out / "store"

    @property
    def results(self) -> Path:
        return self.out / "results"

    @property
    def study(self) -> Path:
        return self.out / "study.yaml"

    def to_dict(self) -> dict[str, Any]:
        """Paths, times in seconds and verdicts, for `--json`."""
        paths = {name: str(getattr(self, name)) for name in ("store", "clinical", "results")}
        return {**paths, "synthetic": True, "seconds": self.seconds, "verdicts": self.verdicts}

    @contextmanager
    def step(self, name: str, console: Console) -> Iterator[None]:
        """Time a step and say so."""
        console.progress_line(name)
        start = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - start, 2)


def run_demo(
    out: Path,
    *,
    console: Console,
    patients_per_cohort: int = 120,
    permutations: int = 9999,
) -> Demo:
    """Make, embed and analyse the demo cohort in `out`; what an earlier run finished is kept.

    Raises InputError when `out` holds something that no demo made.
    """
    from analysis.synthetic import write_demo_cohort

    demo = Demo(out)
    if out.exists() and (
        not out.is_dir() or (any(out.iterdir()) and not (demo.cohort / "synthetic.json").exists())
    ):
        raise InputError(
            f"--out {str(out)!r} holds something else than a demo: choose an empty or new folder"
        )
    console.say("Synthetic data: computer-drawn CT and simulated patients. Research use only.")
    with demo.step("draw the CT phantoms", console):
        made = write_demo_cohort(
            demo.cohort, patients_per_cohort=patients_per_cohort, progress=console.progress
        )
    with demo.step("embed them", console):
        _embed(made, demo, console)
    truth = json.loads(Path(made.truth).read_text(encoding="utf-8"))
    demo.order = ",".join(truth["stage_order"])
    brief = replace(console, brief=True)
    for name in COHORTS:
        with demo.step(f"stage gradient of cohort {name}", console):
            result = run_gradient(
                _load(demo, where=(f"cohort={name}",)),
                stage=STAGE,
                order=demo.order,
                out=demo.results / name,
                adjust=truth["adjusters"],
                permutations=permutations,
                console=brief,
            )
        demo.verdicts[name] = _verdict(result, truth, name)
    everyone = _load(demo)
    with demo.step("map", console):
        run_project(everyone, out=demo.results / "project", colour=STAGE, order=demo.order, console=brief)
    with demo.step("retrieval", console):
        run_retrieve([everyone], out=demo.results / "retrieve", label=STAGE, console=brief)
    _write_study(demo)
    _tell(demo, console)
    return demo


def _embed(made: DemoCohort, demo: Demo, console: Console) -> None:
    from flexict_core.embed import embed_manifest
    from flexict_core.encoders.registry import load_encoder
    from flexict_core.manifest import read_manifest
    from flexict_core.store import EmbeddingStore

    report = embed_manifest(
        read_manifest(made.manifest),
        EmbeddingStore.create(demo.store),
        encoder=load_encoder("baseline"),
        progress=console.progress,
    )
    console.say(report.summary())


def _load(demo: Demo, where: tuple[str, ...] = ()) -> Cohort:
    from analysis.cohort import load_cohort

    name = f"demo {where[0].replace('=', ' ')}" if where else "demo cohorts A and B"
    return load_cohort(demo.store, "baseline", demo.clinical, id_column=ID_COLUMN, where=where, name=name)


def _verdict(result: Any, truth: dict[str, Any], name: str) -> dict[str, Any]:
    planted, found = truth["expected_verdict"][name], result.adjusters.verdict
    return {"planted": planted, "found": found, "recovered": planted == found, "sentence": result.verdict}


def _write_study(demo: Demo) -> None:
    """The example of a study file beside the demo it answers for; one that is there may be the user's own by now."""
    from analysis.export import write_text
    from analysis.report.example import EXAMPLE

    if not demo.study.exists():
        write_text(demo.study, EXAMPLE)


def _tell(demo: Demo, console: Console) -> None:
    for name, verdict in demo.verdicts.items():
        ending = "recovered" if verdict["recovered"] else "NOT recovered"
        console.say(f"\nCohort {name}: planted: {verdict['planted']}; found: {verdict['found']} ({ending})")
        console.say(f"  {verdict['sentence']}")
    console.say("")
    for name, seconds in demo.seconds.items():
        console.say(f"  {seconds:6.1f} s  {name}")
    console.say(f"  {sum(demo.seconds.values()):6.1f} s  in all; results in {demo.results}")
    console.say(
        f"\nThe study of cohort A as one report: flexict report --config {demo.study} --out {demo.out / 'report'}"
    )
