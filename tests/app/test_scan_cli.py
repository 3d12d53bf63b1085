"""`flexict scan`: what it writes and says, and its mistakes as one line; the manifest through `flexict embed`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from app.cli import main

Run = Callable[..., tuple[int, str, list[str]]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Exit status, stdout, lines of stderr."""

    def call(*arguments: object) -> tuple[int, str, list[str]]:
        capsys.readouterr()
        status = main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return status, out, err.splitlines()

    return call


def _save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.diag([-1.5, -1.5, 2.0, 1.0])), path)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Three patients with masks, and a note."""
    rng = np.random.default_rng(4)
    mask = np.zeros((24, 20, 12), np.uint8)
    mask[8:15, 8:14, 4:9] = 1
    for patient in ("P-1", "P-2", "P-3"):
        hu = rng.normal(0, 12, mask.shape).astype(np.int16)
        hu[:, :4] = -1000
        _save(tmp_path / f"ct/{patient}.nii.gz", hu)
        _save(tmp_path / f"ct/{patient}_mask.nii.gz", mask)
    (tmp_path / "ct/note.txt").write_text("hello")
    return tmp_path


def test_scan_then_embed_then_list(run: Run, home: Path) -> None:
    manifest = home / "manifest.csv"
    status, out, err = run("scan", home / "ct", "--manifest", manifest)
    assert status == 0, err
    assert out.splitlines()[0] == f"3 CT volumes of 3 patients: {manifest}"
    assert "    1 × a .txt file, not DICOM, NIfTI, NRRD or MetaImage" in out
    assert any("100%" in line for line in err)  # progress
    status, _, err = run("embed", "--manifest", manifest, "--store", home / "store", "--workers", 0, "-q")
    assert (status, err) == (0, [])
    _, out, _ = run("list", "--store", home / "store", "--json")
    assert json.loads(out)[0]["rows"] == 3
    quality = pd.read_csv(home / "quality.csv")
    clinical = pd.DataFrame({"patient_id": ["P-1", "P-2", "P-3"], "stage": ["I", "II", "III"]})
    joined = quality.merge(clinical, on="patient_id", validate="one_to_one")
    assert joined["spacing_z_mm"].tolist() == [2.0] * 3


def test_json_and_quiet(run: Run, home: Path) -> None:
    manifest, quality = home / "manifest.csv", home / "made.csv"
    status, out, _ = run("scan", home / "ct", "--manifest", manifest, "--quality", quality, "--json")
    assert status == 0
    report = json.loads(out)
    assert {k: report[k] for k in ("patients", "series", "rows", "skipped", "refused")} == {
        "patients": 3,
        "series": 3,
        "rows": 3,
        "skipped": 1,
        "refused": 0,
    }
    assert [report[k] for k in ("manifest", "quality", "left_out")] == [
        str(manifest),
        str(quality),
        str(home / "left_out.csv"),
    ]
    assert run("scan", home / "ct", "--manifest", manifest, "--overwrite", "--quiet") == (0, "", [])
    (home / "ct/P-2.nii.gz").unlink()
    status, out, _ = run(
        "embed", "--manifest", manifest, "--store", home / "s", "--workers", 0, "--json", "-q"
    )
    assert status == 3
    assert json.loads(out)["quarantine_path"].endswith("quarantine.parquet")


def test_something_refused_is_status_3(run: Run, home: Path) -> None:
    (home / "ct/P-4.nii.gz").write_bytes(b"")
    status, out, err = run("scan", home / "ct", "--manifest", home / "manifest.csv", "--quiet")
    assert (status, out) == (3, "")
    assert err == [f"1 refused, with reasons: {home / 'left_out.csv'}"]
    table = pd.read_csv(home / "left_out.csv").set_index("file")
    assert table.loc["ct/P-4.nii.gz", "reason"].startswith("the file is empty (0 bytes)")


def test_pseudonymised_tables_run_through_embed(run: Run, home: Path) -> None:
    key = home / "key"
    status, _, err = run("scan", home / "ct", "--manifest", home / "m.csv", "--pseudonymise", key, "-q")
    assert (status, err) == (0, [])
    assert key.stat().st_mode & 0o777 == 0o600
    rows = pd.read_csv(home / "m.csv")
    assert rows["patient_id"].str.fullmatch("psn-[0-9a-f]{20}").all()
    assert rows["patient_id"].nunique() == 3
    again = home / "again.csv"
    run("scan", home / "ct", "--manifest", again, "--pseudonymise", key, "--overwrite", "-q")
    assert pd.read_csv(again)["patient_id"].tolist() == rows["patient_id"].tolist()
    status, _, err = run("embed", "--manifest", home / "m.csv", "--store", home / "s", "--workers", 0, "-q")
    assert (status, err) == (0, [])


def test_a_clinical_table_gets_the_same_pseudonyms(run: Run, home: Path) -> None:
    key = home / "key"
    run("scan", home / "ct", "--manifest", home / "m.csv", "--pseudonymise", key, "-q")
    table = home / "clinical.csv"
    table.write_text("pid,stage,seen\nP-1,I,2001-02-03\nP-2,II,2001-02-04\nP-8,III,\n")
    call = ["pseudonymise", table, "--id", "pid", "--key", key, "--out", home / "out.csv"]
    status, out, err = run(*call)
    assert (status, out, len(err)) == (2, "", 1)
    assert "'seen' (dates); give --drop seen" in err[0]
    status, out, err = run(*call, "--drop", "seen", "--manifest", home / "m.csv")
    assert (status, err) == (0, [])
    assert out.splitlines() == [
        f"3 patients, 2 columns: {home / 'out.csv'}",
        "left out: seen",
        "2 of them are in the manifest",
    ]
    ours = set(pd.read_csv(home / "out.csv")["pid"])
    assert len(ours & set(pd.read_csv(home / "m.csv")["patient_id"])) == 2
    other = home / "other"
    other.write_text("f" * 64)
    other.chmod(0o600)
    call[5:] = [other, "--out", home / "out2.csv", "--drop", "seen", "--manifest", home / "m.csv", "-q"]
    status, _, err = run(*call)
    assert (status, len(err)) == (0, 1)
    assert err[0].startswith("none of the 3 patients is in")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere", "--manifest", "manifest.csv"], ["'nowhere' does not exist"]),
        (["ct", "--manifest", "store/manifest.csv"], ["folder 'store'", "does not exist: make it first"]),
        (["ct", "--manifest", "ct/sub/m.csv"], ["outside the manifest's folder", "write it to", "ct/m.csv'"]),
        (["ct", "--manifest", "ct/quality.csv"], ["need three names"]),
        (["ct", "--manifest", "ct/note.txt"], ["'ct/note.txt' exists already: give --overwrite"]),
        (["ct", "--manifest", "ct"], ["'ct' is a folder: name a file"]),
        (["ct/note.txt", "--manifest", "m.csv"], ["no CT volume found in ct/note.txt", "left_out.csv"]),
        (["ct"], ["--manifest"]),
        (["--manifest", "m.csv"], ["PATH"]),
        (["ct", "--manifest", "m.csv", "--pseudonymise", "ct"], ["key file 'ct' cannot be read"]),
    ],
)
def test_mistakes_are_one_line(
    run: Run, home: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: list[str]
) -> None:
    monkeypatch.chdir(home)
    (home / "ct/sub").mkdir()
    status, out, err = run("scan", *arguments, "--quiet")
    assert (status, out, len(err)) == (2, "", 1), err
    assert err[0].startswith("flexict scan: error: ")
    for word in words:
        assert word in err[0]
    assert (home / "ct/note.txt").read_text() == "hello"
