"""`flexict fetch`: what it says before, what it refuses, and the lists that need no network."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from app.cli import main
from app.commands import fetch as command
from flexict_core.archive import transfer
from tests.small_archive import Bucket, bucket, small_index

__all__ = ["bucket", "small_index"]
Run = Callable[..., tuple[int, str, list[str]]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Exit status, stdout, lines of stderr."""

    def call(*arguments: object) -> tuple[int, str, list[str]]:
        capsys.readouterr()
        status = main(["fetch", *(str(a) for a in arguments)])
        out, err = capsys.readouterr()
        return status, out, err.splitlines()

    return call


def test_said_first_then_fetched(run: Run, bucket: Bucket, tmp_path: Path) -> None:
    status, out, err = run("lung_small", "--out", tmp_path)
    assert status == 0, err
    lines = out.splitlines()
    assert lines[0].startswith("lung_small: 3 of 3 patients with CT, 5 series")
    assert "licence CC BY-NC 3.0, no commercial use (4 series): Own, A., & Own, B. Lungs." in lines
    assert lines[-1].startswith(
        f"5 series of 3 patients in {tmp_path / 'lung_small'} (5 fetched now, 1.7 kB)"
    )
    assert any("100%" in line for line in err)
    status, out, err = run("lung_small", "--out", tmp_path, "--json", "-q")
    assert (status, err) == (0, [])
    report = json.loads(out)
    assert (report["fetched"], report["series"], report["missing"]) == (0, 5, [])
    assert {source["licence"] for source in report["sources"]} == {"CC BY-NC 3.0", "CC BY 4.0"}


def test_much_needs_a_yes(run: Run, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "LARGE", 1000)
    status, out, err = run("lung_small", "--out", tmp_path / "new")
    assert status == 2
    assert out.startswith("lung_small: 3 of 3 patients")
    assert err == ["flexict fetch: error: 1.7 kB to fetch, more than 1.0 kB: give --yes, or fewer --patients"]
    assert bucket.asked == []
    assert not (tmp_path / "new").exists()
    assert run("lung_small", "--out", tmp_path / "new", "--yes", "-q") == (0, "", [])


def test_missing_series_are_status_3(run: Run, bucket: Bucket, tmp_path: Path) -> None:
    bucket.refused.add("uuid-000/1.dcm")
    status, _, err = run("lung_small", "--out", tmp_path, "-q")
    assert status == 3
    assert len(err) == 1
    assert err[0].startswith("1 series did not arrive whole, first 1.2.3.0 (")


def test_no_network_is_one_line(
    run: Run, small_index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "ENDPOINT", "https://nowhere.invalid")
    monkeypatch.setattr(transfer, "_RETRIES", 0)
    status, out, err = run("lung_small", "--out", tmp_path / "x", "--quiet")
    assert (status, out, len(err)) == (2, "", 1)
    assert err[0].startswith("flexict fetch: error: no network: nowhere.invalid cannot be reached")


def test_lists_from_the_index_alone(run: Run, small_index: Path, tmp_path: Path) -> None:
    status, out, _ = run("--list")
    assert status == 0
    assert out.splitlines()[1].split() == ["lung_small", "3", "3", "1", "1", "0.0", "Lung"]
    status, out, _ = run("lung_small", "--list")
    assert [line.split()[0] for line in out.splitlines()[1:4]] == ["P-1", "P-2", "P-3"]
    _, out, _ = run("lung_small", "--list", "--patients", 1, "--json")
    (patient,) = json.loads(out)["patients"]
    assert (patient["patient_id"], patient["age_years"], patient["ct"]) == ("P-1", 61.0, 1)
    table = tmp_path / "acquisition.csv"
    status, out, _ = run("lung_small", "--table", table)
    assert (status, out.strip()) == (0, f"lung_small: 3 patients, 5 series; table: {table}")
    written = pd.read_csv(table)
    assert {"patient_id", "series_uid", "manufacturer", "model", "body_region", "licence"} <= set(written)
    assert len(written) == 5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "no COLLECTION given"),
        (["lung_small"], "no --out given: name the folder for the files of 'lung_small'"),
        (["lung_smal", "--out", "x"], "nearest are 'lung_small'"),
        (["lung_small", "--list", "--out", "x"], "--list fetches nothing: leave out --out 'x'"),
        (["lung_small", "--patients", "9", "--out", "x"], "has 3 patients with CT"),
        (["lung_small", "--patients", "0", "--out", "x"], "--patients"),
        (["lung_small", "--table", "there.csv"], "'there.csv' exists already"),
    ],
)
def test_mistakes_are_one_line(
    run: Run,
    small_index: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.csv").write_text("mine")
    status, out, err = run(*arguments)
    assert (status, out, len(err)) == (2, "", 1)
    assert err[0].startswith("flexict fetch: error: ")
    assert words in err[0]
    assert (tmp_path / "there.csv").read_text() == "mine"
    assert not (tmp_path / "x").exists()
