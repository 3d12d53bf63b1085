"""The one command for all benchmarks: none is forgotten, and its table says what they found."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.__main__ import BEGIN, BENCHMARKS, HERE, ROOT, put, rows
from tests.benchmarks.measurements import VARIABLE, Measurement, record, recorded


def test_every_benchmark_is_in_the_list_with_its_question() -> None:
    programs = {p.stem for p in HERE.glob("*.py") if '__name__ == "__main__"' in p.read_text("utf-8")}
    assert {b.name for b in BENCHMARKS} == programs - {"__main__"}
    assert all(len(b.question) > 20 for b in BENCHMARKS)


def test_numbers_are_handed_over_only_where_somebody_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    record(Measurement("nothing", 1.0))
    monkeypatch.setenv(VARIABLE, str(tmp_path / "found"))
    given = [Measurement("ratio", 1.5, "× plain", 1.3), Measurement("cosine", 1.0, "", 0.9, "higher")]
    for one in given:
        record(one)
    assert recorded(tmp_path / "found") == given
    assert [m.met for m in given] == [False, True]
    assert given[0].measured() == "ratio 1.5 × plain"
    assert [m.wanted() for m in given] == ["at most 1.3", "at least 0.9"]


RESULT = {
    "name": "store_speed", "question": "How fast?", "arguments": ["--folder", "/a/b"], "status": 0, "seconds": 90.0,
    "begun": "2026-11-24T10:00:00+00:00", "measurements": [],
}  # fmt: skip


def test_the_table_tells_misses_and_ends_that_were_none() -> None:
    ratio = {"name": "read", "value": 1.5, "unit": "×", "bar": 1.3, "better": "lower"}
    start = (
        "How fast?",
        "read 1.5 ×",
        "at most 1.3",
        "**no**",
        "2026-11-24, 90 s",
        "`store_speed --folder b`",
    )
    assert rows({**RESULT, "measurements": [ratio], "status": 1}, "") == [start]
    assert rows(RESULT, "read 2.0 **miss** | write 3.0 MISS | dismissed")[0][1:4] == (
        "2 × miss in its own table",
        "",
        "**no**",
    )
    assert rows(RESULT, "all well")[0][1:4] == ("its own table", "", "")
    assert rows({**RESULT, "status": 1}, "")[0][1:4] == ("ended with status 1", "", "**no**")


def test_the_table_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    file = tmp_path / "RESULTS.md"
    file.write_text("# Store\n\ntext\n", encoding="utf-8")
    put("| one |\n", file)
    put("| other |\n", file)
    text = file.read_text("utf-8")
    assert text.count(BEGIN) == 1
    assert "| other |" in text
    assert "| one |" not in text
    assert text.endswith("# Store\n\ntext\n")


def test_one_benchmark_runs_and_is_kept(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "tests.benchmarks",
        "--quick",
        "--only",
        "dicom_speed",
        "--out",
        str(tmp_path),
    ]
    first, second = (
        subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout for _ in range(2)
    )
    assert "[1/1] dicom_speed: runs …" in first
    assert "[1/1] dicom_speed: kept" in second
    assert first.partition("\n\n")[2] == second.partition("\n\n")[2]
    result = json.loads((tmp_path / "dicom_speed.json").read_text("utf-8"))
    assert [m["bar"] for m in result["measurements"]] == [1.3, 3]
    assert "| a series " in first
