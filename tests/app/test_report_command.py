"""`flexict report` from the command line: files, exit status, one line for each mistake, JSON."""

from __future__ import annotations

import html
import json
import shlex
from pathlib import Path

import pandas as pd
import pytest

from analysis.report.example import EXAMPLE
from app.cli import main
from tests.conftest import PlantedStore

STUDY = """\
store: store
clinical: clinical.csv
id: patient_id
stage: stage
order: [I, II, III, IV]
describe: [scanner, diameter_mm]
project: {method: pca}
retrieve: {match: [diameter_mm]}
"""


@pytest.fixture
def study(planted_store: PlantedStore, tmp_path: Path) -> Path:
    (tmp_path / "clinical.csv").write_bytes(planted_store.clinical.read_bytes())
    text = STUDY.replace("store: store", f"store: {planted_store.store}")
    file = tmp_path / "study.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def _run(*arguments: object) -> int:
    return main(["report", *map(str, arguments)])


def test_a_report_is_written_and_said(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = study.parent / "out"
    assert _run("--config", study, "--out", out, "--no-figures") == 0
    said, progress = capsys.readouterr()
    held = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert {"schema_version", "command", "verdict", "n", "warnings", "provenance"} <= set(held)
    assert held["provenance"]["synthetic"] is True
    for section in held["sections"]:
        assert f"{section['title']}: {section['verdict']}." in said
        assert (out / section["folder"] / "methods.md").is_file()
    assert f"wrote {out / 'report.html'}" in said
    assert "[2/2] Retrieval: ranking" in progress
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "flexict report --config study.yaml --out out --no-figures</code>" in page
    assert "hold on one machine only: store" in page
    patients = pd.read_csv(out / "patients.csv")
    assert set(patients["column"]) == {"scanner", "diameter_mm"}


def test_the_printed_command_repeats_the_run(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(study.parent.parent)
    home = Path(study.parent.name)
    (study.parent / "my study.yaml").write_bytes(study.read_bytes())
    assert _run("--config", home / "my study.yaml", "--out", home / "new out", "--no-figures") == 0
    page = html.unescape((study.parent / "new out" / "report.html").read_text(encoding="utf-8"))
    said = shlex.split(page.partition("Command: <code>")[2].partition("</code>")[0])
    assert said[0] == "flexict"
    assert main([*said[1:], "--overwrite"]) == 0


def test_a_fault_of_the_program_ends_with_status_3(
    study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("by nothing")

    monkeypatch.delenv("FLEXICT_DEBUG", raising=False)
    monkeypatch.setattr("analysis.retrieval_metrics", broken, raising=False)
    assert _run("--config", study, "--out", study.parent / "out", "--no-figures") == 3
    assert "a fault of this program" in capsys.readouterr().err


def test_quiet_and_json(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = study.parent / "out"
    assert _run("--config", study, "--out", out, "--no-figures", "--json", "--quiet") == 0
    said, progress = capsys.readouterr()
    assert progress == ""
    assert json.loads(said) == json.loads((out / "report.json").read_text(encoding="utf-8"))


def test_again_it_refuses_and_with_overwrite_names_the_change(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--config", study, "--out", study.parent / "out", "--no-figures")
    assert _run(*arguments) == 0
    with (study.parent / "clinical.csv").open("a", encoding="utf-8") as file:
        file.write("P-999,IV,12.0,S1,x\n")
    capsys.readouterr()
    assert _run(*arguments) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("flexict report: error: --out")
    assert "clinical table 'clinical.csv' has changed" in error
    assert "pass --overwrite" in error
    assert _run(*arguments, "--overwrite") == 0
    assert "changed since the earlier report: clinical table 'clinical.csv'" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--out", "x"), "--config is missing"),
        (("--config", "x.yaml"), "--out is missing"),
        (("--config", "x.yaml", "--out", "x"), "'x.yaml' does not exist"),
        (("--config", "/dev/null", "--out", "x"), "'/dev/null' is a device or a pipe, not a file: write one"),
    ],
)
def test_a_wrong_call_is_one_line(
    arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(*arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert words in error


def test_options_take_the_place_of_the_files_keys(study: Path, planted_store: PlantedStore) -> None:
    study.write_text(study.read_text(encoding="utf-8").replace("clinical.csv", "gone.csv"), encoding="utf-8")
    out = study.parent / "out"
    assert _run("--config", study, "--out", out, "--no-figures") == 2
    given = ("--clinical", planted_store.clinical, "--store", planted_store.store)
    assert _run("--config", study, "--out", out, "--no-figures", *given) == 0


def test_the_example_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("--example") == 0
    assert capsys.readouterr().out == EXAMPLE
