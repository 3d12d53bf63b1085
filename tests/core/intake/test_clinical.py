"""A clinical table with the pseudonyms of a scan: what is replaced, and what is not written unless it was declared."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from flexict_core.errors import InputError, StoreError
from flexict_core.intake.clinical import pseudonymise_table
from flexict_core.intake.pseudonyms import Pseudonyms

KEY = b"0123456789abcdef"
UID = "1.3.6.1.4.1.14519.5.2.1"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "key").write_bytes(KEY)
    (tmp_path / "key").chmod(0o600)
    return tmp_path


def write(home: Path, **columns: list[Any]) -> Path:
    table = {"PatientID": ["case_1", "case_2"], "stage": ["I", "II"], "days": [120, 3000], **columns}
    pd.DataFrame(table).to_csv(home / "clinical.csv", index=False)
    return home / "clinical.csv"


def run(home: Path, table: Path, **more: Any) -> Any:
    options = {"id_column": "PatientID", "key_file": home / "key", "out": home / "out.csv", **more}
    return pseudonymise_table(table, **options)


def test_ids_and_uids_get_the_pseudonyms_of_a_scan(home: Path) -> None:
    names = Pseudonyms(KEY)
    wanted = [names.patient(f"KiTS-{i}") for i in (1, 2)]
    (home / "m.csv").write_text(f"patient_id,image\n{wanted[0]},a\n{names.patient('other')},b\n")
    table = write(home, series_uid=[f"{UID}.1", ""])
    report = run(home, table, rewrite=lambda text: text.replace("case_", "KiTS-"), manifest=home / "m.csv")
    assert (report.patients, report.unmatched) == (2, 1)
    assert "1 of them are in the manifest" in report.summary()
    made = pd.read_csv(home / "out.csv", keep_default_na=False)
    assert made["PatientID"].tolist() == wanted
    assert made["series_uid"].tolist() == [names.uid(f"{UID}.1"), ""]
    assert made["stage"].tolist() == ["I", "II"]
    assert "case_" not in (home / "out.csv").read_text()


@pytest.mark.parametrize("missing", ["", " ", "NA", "n/a"])
def test_a_missing_uid_stays_missing(home: Path, missing: str) -> None:
    run(home, write(home, series_uid=[f"{UID}.1", missing]))
    made = pd.read_csv(home / "out.csv", keep_default_na=False)
    assert made["series_uid"].tolist() == [Pseudonyms(KEY).uid(f"{UID}.1"), ""]


def test_a_table_is_replaced_whole_or_not_at_all(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut_short(_: pd.DataFrame, path: Path, **__: Any) -> None:
        Path(path).write_text("PatientID,st")
        raise OSError(errno.ENOSPC, "no space")

    (home / "out.csv").write_text("earlier")
    table = write(home)
    monkeypatch.setattr(pd.DataFrame, "to_csv", cut_short)
    with pytest.raises(StoreError, match=r"out\.csv' cannot be written \(No space left on device\)"):
        run(home, table, overwrite=True)
    assert (home / "out.csv").read_text() == "earlier"
    assert {p.name for p in home.iterdir()} == {"key", "clinical.csv", "out.csv"}


@pytest.mark.parametrize(
    ("column", "values", "why"),
    [
        ("diagnosed", ["2001-02-03", ""], "dates"),
        ("diagnosed", ["n/a", "3.2.2001"], "dates"),
        ("diagnosed", ["20010203", ""], "dates"),
        ("diagnosed", ["12-Mar-2009", ""], "dates"),
        ("diagnosed", ["2001-02-03 00:00:00", ""], "dates"),
        ("Patient Name", ["x", "y"], "by its name"),
        ("PatientBirthDate", ["1957", "1960"], "by its name"),
        ("geburtsdatum", ["1957", "1960"], "by its name"),
        ("E-Mail", ["x", "y"], "by its name"),
        ("remark", ["as case_2", "CASE_1"], "patient IDs"),
    ],
)
def test_what_may_tell_a_person_must_be_dropped_or_kept(
    home: Path, column: str, values: list[str], why: str
) -> None:
    table = write(home, **{column: values})
    with pytest.raises(InputError) as caught:
        run(home, table)
    assert f"1 columns may tell who a patient is: {column!r} ({why}); give --drop {column}" in str(
        caught.value
    )
    assert not (home / "out.csv").exists()
    assert column not in run(home, table, drop=[column]).columns
    assert run(home, table, keep=[column], overwrite=True).columns[-1] == column


@pytest.mark.parametrize("column", ["T_stage", "ecog", "tumour_size_mm", "volume", "filename_free_text"])
def test_ordinary_columns_pass(home: Path, column: str) -> None:
    assert run(home, write(home, **{column: ["12.5", "1"]})).dropped == ()


def test_mistakes(home: Path) -> None:
    table = write(home)
    for options, words in (
        ({"id_column": "patientid"}, "column 'patientid' is not in .*did you mean 'PatientID'"),
        ({"drop": ["stages"]}, "did you mean 'stage'"),
        ({"drop": ["PatientID"]}, "is the column of the patient IDs"),
        ({"key_file": home / "none"}, "does not exist: give the one that the manifest was written with"),
    ):
        with pytest.raises(InputError, match=words):
            run(home, table, **options)
    assert not (home / "none").exists()
    gap = write(home, PatientID=["case_1", " "])
    with pytest.raises(InputError, match=r"line 3 of .* has no PatientID"):
        run(home, gap)
    run(home, write(home))
    with pytest.raises(InputError, match="exists already: give --overwrite"):
        run(home, table)
