"""Keyed pseudonyms: stable, of a known form, and enough for `embed`."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flexict_core import embed_manifest, load_encoder
from flexict_core.errors import DataWarning, InputError
from flexict_core.intake.hiding import Hiding
from flexict_core.intake.pseudonyms import Pseudonyms, is_pseudonym
from flexict_core.intake.scan import scan
from flexict_core.store import EmbeddingStore

Make = Callable[..., Any]
KEY = b"0123456789abcdef"


def test_a_pseudonym_is_hmac_sha256() -> None:
    names = Pseudonyms(KEY)
    expected = hmac.new(KEY, b"patient\0P-1", hashlib.sha256).hexdigest()[:20]
    assert names.patient("P-1") == f"psn-{expected}"
    assert names.uid("1.2.3") == "psn-" + hmac.new(KEY, b"uid\x001.2.3", hashlib.sha256).hexdigest()[:20]
    assert names.patient("") == ""
    assert names.in_text("series 1.2.840.1.5 of 0.5 mm") == f"series {names.uid('1.2.840.1.5')} of 0.5 mm"
    assert is_pseudonym(names.uid("1.2.3"))
    assert not is_pseudonym("1.2.840.1.5")


def test_a_key_is_made_for_its_owner_alone_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "key"
    first = Pseudonyms.from_file(path).patient("P-1")
    assert path.stat().st_mode & 0o777 == 0o600
    assert Pseudonyms.from_file(path).patient("P-1") == first
    assert Pseudonyms.from_file(tmp_path / "other").patient("P-1") != first


@pytest.mark.skipif(os.name != "posix", reason="file modes are of POSIX systems")
def test_a_key_that_others_can_read_is_said(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(KEY)
    path.chmod(0o644)
    with pytest.warns(DataWarning, match="can be read by others"):
        Pseudonyms.from_file(path)


def test_what_is_no_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "short").write_bytes(b"secret")
    with pytest.raises(InputError, match="holds 6 bytes, too few"):
        Pseudonyms.from_file(tmp_path / "short")
    with pytest.raises(InputError, match="cannot be read"):
        Pseudonyms.from_file(tmp_path)
    with pytest.raises(InputError, match="cannot be written"):
        Pseudonyms.from_file(tmp_path / "no/such/key")


def test_tables_show_pseudonyms_and_embed_runs(
    tmp_path: Path, planes: Make, put: Make, nifti: Make, hu: Make, table: Make
) -> None:
    home, key = tmp_path / "home", tmp_path / "key"
    key.write_bytes(KEY)
    key.chmod(0o600)
    uid = put(home / "a", planes("P-1"))[0].SeriesInstanceUID
    mr = put(home / "mr", planes("P-1", Modality="MR"))[0].SeriesInstanceUID
    nifti(home / "b/ct.nii.gz", hu())
    with pytest.warns(DataWarning, match="1 of 3 rows still show their patient ID"):
        scan([home], manifest=home / "m.csv", key_file=key, progress=False)
    names = Pseudonyms(KEY)
    rows = {r["image"]: (r["patient_id"], r["series_uid"]) for r in table(home / "m.csv")}
    assert rows == {
        "a": (names.patient("P-1"), names.uid(uid)),
        "b/ct.nii.gz": (names.patient("b"), names.uid("ct")),
    }
    made = {r["image"]: (r["patient_id"], r["series_uid"]) for r in table(home / "quality.csv")}
    assert made == rows
    (lost,) = table(home / "left_out.csv")
    assert (lost["patient_id"], lost["series_uid"]) == (names.patient("P-1"), names.uid(mr))
    for name in ("m.csv", "quality.csv", "left_out.csv"):
        text = (home / name).read_text()
        assert not any(secret in text for secret in ("P-1", str(uid), str(mr)))
    store = EmbeddingStore.create(tmp_path / "store")
    report = embed_manifest(
        home / "m.csv", store, encoder=load_encoder("baseline"), workers=0, progress=False
    )
    assert (report.done, report.quarantined) == (2, 0)


def test_a_folder_of_several_series_cannot_be_told_apart(
    tmp_path: Path, planes: Make, put: Make, table: Make
) -> None:
    put(tmp_path / "mixed", planes("P-1"), "a")
    put(tmp_path / "mixed", planes("P-1"), "b")
    put(tmp_path / "own", planes("P-2"))
    put(tmp_path / "own", planes("P-2", Modality="MR"), "mr")
    scan([tmp_path], manifest=tmp_path / "m.csv", key_file=tmp_path / "key", progress=False)
    assert [r["image"] for r in table(tmp_path / "m.csv")] == ["own"]
    lost = [r for r in table(tmp_path / "left_out.csv") if r["file"] == "mixed"]
    assert [r["kind"] for r in lost] == ["refused"] * 2
    assert all("2 CT series in one folder, which pseudonyms cannot tell apart" in r["reason"] for r in lost)


def test_a_path_that_shows_the_patient_is_said(tmp_path: Path, nifti: Make, hu: Make) -> None:
    nifti(tmp_path / "P-1.nii.gz", hu())
    with pytest.warns(
        DataWarning, match=r"1 of 1 rows still show .* ID or name in a path, such as 'P-1.nii.gz'"
    ):
        scan([tmp_path], manifest=tmp_path / "m.csv", key_file=tmp_path / "key", progress=False)


def test_no_reason_region_or_warning_shows_whose_it_is(
    tmp_path: Path, planes: Make, put: Make, nifti: Make, hu: Make, mask: Make, table: Make
) -> None:
    home = tmp_path / "home"
    uid = put(home / "a", planes("MRN-4711"))[0].SeriesInstanceUID
    nifti(home / "masks/MRN-4711_mask.nii.gz", mask())  # on another grid than its CT
    nifti(home / "b/Miller_Ann.nii.gz", hu())
    nifti(home / "b/Miller_Ann_liver_mask.nii.gz", mask())
    put(home / "Jane_Doe", planes("P-9", Modality="MR"))
    with pytest.warns(DataWarning, match=r"3 of 4 rows still show their patient ID or name in a path"):
        report = scan([home], manifest=home / "m.csv", key_file=tmp_path / "key", progress=False)
    names = Pseudonyms.from_file(tmp_path / "key")
    (lost,) = [r for r in table(home / "left_out.csv") if r["file"].startswith("masks/")]
    assert lost["reason"] == "on another grid than its CT a; resample it to the CT"
    (region,) = [r["roi_id"] for r in table(home / "m.csv") if r["roi_id"]]
    assert region == f"{names.patient('Miller_Ann')}_liver_mask"
    for name in ("m.csv", "quality.csv", "left_out.csv"):
        for row in table(home / name):
            shown = " ".join(v for column, v in row.items() if column not in ("image", "mask", "file"))
            assert not any(secret in shown for secret in ("4711", str(uid), "Miller", "Doe", "P-9"))
    assert not any("Miller" in reason for reason in report.reasons)


def test_texts_are_hidden_by_word_and_not_by_chance() -> None:
    names = Pseudonyms(KEY)
    hiding = Hiding.of(names, ids=["P-1", "120", "4711", "Miller_Ann"], names=["DOE^JANE", "X"])
    one, ann = names.patient("P-1"), names.patient("Miller_Ann")
    assert hiding.text("its CT P-1.nii.gz, not P-12") == f"its CT {one}.nii.gz, not P-12"
    assert hiding.text("drawn for miller ann") == f"drawn for {ann}"
    assert hiding.text("GTV jane doe, Doe, Jane; Doerte") == "GTV (name), (name); Doerte"
    assert (
        hiding.text("tube voltages (120, 140); 4711") == f"tube voltages (120, 140); {names.patient('4711')}"
    )


def test_quarantine_of_a_pseudonymised_manifest_shows_no_uid(tmp_path: Path, planes: Make, put: Make) -> None:
    home = tmp_path / "home"
    put(home / "a", planes("P-7"))
    scan([home], manifest=home / "m.csv", key_file=tmp_path / "key", progress=False)
    put(home / "a", planes("P-7"), "later")  # a second series comes to lie in the folder
    store = EmbeddingStore.create(tmp_path / "store")
    report = embed_manifest(
        home / "m.csv", store, encoder=load_encoder("baseline"), workers=0, progress=False
    )
    (reason,) = store.quarantine(report.embedding_id)["reason"]
    assert reason.startswith("a: 2 CT series; choose one by series_uid: (UID) (CT, 12 images), (UID)")
