"""The demo's pipeline on a small cohort: real phantoms, real embeddings; it goes on where it stopped."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from app.cli import main
from app.console import Console
from app.demo import run_demo
from flexict_core.store import EmbeddingStore

FEW = 24  # patients a cohort: the fewest that the synthetic cohort allows


@pytest.fixture
def demo(small_demo: Path) -> Path:
    return small_demo


@pytest.mark.slow
def test_every_part_is_there_and_says_synthetic(demo: Path) -> None:
    (info,) = EmbeddingStore(demo / "store").list()
    assert (info.name, info.rows, info.synthetic) == ("baseline", 2 * FEW, True)
    for name in ("A/gradient", "B/gradient", "project/project", "retrieve/retrieve"):
        written = json.loads((demo / "results" / f"{name}.json").read_text())
        assert written["provenance"]["synthetic"] is True
        assert written["provenance"]["embedding_id"] == info.embedding_id
        assert (demo / "results" / f"{name}.csv").is_file()
    for name in "AB":
        written = json.loads((demo / f"results/{name}/gradient.json").read_text())
        assert written["n"] == FEW
        assert [s["label"] for s in written["stages"]] == ["I", "II", "III", "IV"]
        assert written["adjusters"]["columns"] == ["tumour_diameter_mm", "scanner"]
    table = pd.read_csv(demo / "cohort/clinical.csv")
    assert table["cohort"].value_counts().to_dict() == {"A": FEW, "B": FEW}


@pytest.mark.slow
def test_its_study_file_answers_for_it(demo: Path, tmp_path: Path) -> None:
    text = (demo / "study.yaml").read_text(encoding="utf-8")
    for slow, quick in (
        ("9999", "99"),
        ("999", "99"),
        ("target: sex", "target: sex\n    repeats: 1\n    permutations: 0\n   "),
        ("  match: [tumour_diameter_mm]", " "),  # 24 patients are too few to match
    ):
        assert slow in text
        text = text.replace(slow, quick)
    study = demo / "quick.yaml"
    study.write_text(text, encoding="utf-8")
    out = tmp_path / "report"
    assert main(["report", "--config", str(study), "--out", str(out), "--no-figures", "--quiet"]) == 0
    written = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert written["n"] == FEW
    assert [s["failed"] for s in written["sections"]] == [""] * 6


@pytest.mark.slow
def test_a_second_run_reuses_what_is_there(demo: Path) -> None:
    store = EmbeddingStore(demo / "store")
    before = store.read("baseline").X
    (demo / "study.yaml").write_text("mine\n", encoding="utf-8")
    stamps = {p: p.stat().st_mtime_ns for p in (demo / "cohort/ct").glob("*.nii.gz")}
    assert len(stamps) == 4 * FEW
    victim = demo / "cohort/ct/SYN-A-001.nii.gz"
    victim.unlink()
    shutil.rmtree(demo / "results")
    again = run_demo(
        demo, console=Console(quiet=True, figures=False), patients_per_cohort=FEW, permutations=199
    )
    redrawn = [p for p, stamp in stamps.items() if p.stat().st_mtime_ns != stamp]
    assert set(redrawn) == {victim, victim.with_name("SYN-A-001_mask.nii.gz")}
    assert (store.read("baseline").X == before).all()
    assert (demo / "results/A/gradient.json").is_file()
    assert (demo / "study.yaml").read_text(encoding="utf-8") == "mine\n"
    truth = json.loads((demo / "cohort/synthetic.json").read_text())
    assert {k: v["planted"] for k, v in again.verdicts.items()} == truth["expected_verdict"]


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    assert main(["demo", "--out", str(tmp_path), "--no-serve"]) == 2
    assert "holds something else than a demo" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]
