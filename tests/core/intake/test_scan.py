"""A tree of files to manifest, quality table and reasons; and the manifest through `embed` as it is."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from flexict_core import embed_manifest, load_encoder
from flexict_core.errors import DataWarning, InputError
from flexict_core.intake.scan import ScanReport, scan
from flexict_core.store import EmbeddingStore

Planes = Callable[..., list[Dataset]]
Make = Callable[..., Any]
SECRETS = ("DOE", "JANE", "19570312")


def run(home: Path, *paths: Path, **options: Any) -> ScanReport:
    return scan(paths or [home], manifest=home / "manifest.csv", progress=False, **options)


def reasons(home: Path, table: Make) -> dict[str, str]:
    return {row["file"]: f"{row['kind']}: {row['reason']}" for row in table(home / "left_out.csv")}


def embeds(home: Path, tmp: Path, rows: int) -> None:
    """The manifest runs as it is: every row becomes a vector."""
    store = EmbeddingStore.create(tmp / "store")
    encoder = load_encoder("baseline")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # rows with and without a mask are not comparable, which it says
        report = embed_manifest(home / "manifest.csv", store, encoder=encoder, workers=0, progress=False)
    assert (report.done, report.quarantined) == (rows, 0)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


# ── DICOM ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_nested_tree_gives_one_row_a_series(
    home: Path, tmp_path: Path, planes: Planes, put: Make, table: Make
) -> None:
    first = put(home / "export/a/b", planes("P-1"))[0]
    second = put(home / "export/c", planes("P-2", ConvolutionKernel="B70"))[0]
    (home / "export/c/back").symlink_to(home / "export")  # a loop
    report = run(home)
    assert (report.patients, report.series, report.rows, report.refused) == (2, 2, 2, 0)
    rows = table(home / "manifest.csv")
    assert [(r["patient_id"], r["image"], r["series_uid"]) for r in rows] == [
        ("P-1", "export/a/b", first.SeriesInstanceUID),
        ("P-2", "export/c", second.SeriesInstanceUID),
    ]
    assert reasons(home, table) == {
        "export/c/back": "skipped: a link to a folder, not followed; scan that folder itself"
    }
    embeds(home, tmp_path, rows=2)


def test_quality_says_how_the_series_was_made(
    home: Path, planes: Planes, put: Make, table: Make, hu: Make
) -> None:
    series = planes("P-1", SeriesNumber=4, SeriesDescription="portal venous 2.0 B30")
    uid = put(home / "ct", series)[0].SeriesInstanceUID
    run(home, quality=home / "made.csv")
    (row,) = table(home / "made.csv")
    assert row == {
        "patient_id": "P-1",
        "series_uid": uid,
        "in_manifest": "yes",
        "image": "ct",
        "format": "DICOM",
        "series_number": "4",
        "series_description": "portal venous 2.0 B30",
        "manufacturer": "ACME",
        "model": "Scan 1",
        "kernel": "B30",
        "kvp": "120",
        "contrast_agent": "OMNI",
        "body_region": "CHEST",
        "slices": "12",
        "rows": "20",
        "columns": "24",
        "spacing_x_mm": "0.7",
        "spacing_y_mm": "0.8",
        "spacing_z_mm": "2.5",
        "slice_thickness_mm": "2",
        "gaps": "0",
        "gantry_tilt_deg": "0",
        "orientation": "LPS",
        "hu_min": str(hu().min()),
        "hu_max": str(hu().max()),
        "warnings": "slices of 2 mm every 2.5 mm: not imaged in between",
    }


@pytest.mark.parametrize(
    ("tags", "kind", "words"),
    [
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "skipped", "localizer (scout)"),
        ({"ImageType": ["DERIVED", "SECONDARY", "MPR"]}, "skipped", "derived images"),
        ({"Modality": "MR", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.4"}, "skipped", "modality MR, not CT"),
        ({"Modality": "PT", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.128"}, "skipped", "modality PT, not CT"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "skipped", "secondary capture"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.67", "Modality": "SR"}, "skipped", "dose report"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}, "skipped", "coronal slices, not axial"),
        ({"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}, "skipped", "sagittal slices, not axial"),
        ({"PatientID": ""}, "refused", "no PatientID"),
        ({"RescaleSlope": 7}, "refused", "RescaleSlope or RescaleIntercept is no number"),
        ({"ImagePositionPatient": [0, 0, 5]}, "refused", "lie at the position of another"),
    ],
)
def test_what_is_no_axial_ct_is_left_out_with_its_reason(
    home: Path, planes: Planes, put: Make, table: Make, tags: dict, kind: str, words: str
) -> None:
    good = put(home / "all", planes("P-1"))[0]
    odd = put(home / "all", planes("P-1", **tags), "odd")
    if tags.get("RescaleSlope") == 7:
        for file in (home / "all").glob("odd*"):
            file.write_bytes(file.read_bytes().replace(b"DS\x04\x007.0 ", b"DS\x04\x00high"))
    run(home)
    assert [r["series_uid"] for r in table(home / "manifest.csv")] == [good.SeriesInstanceUID]
    (row,) = table(home / "left_out.csv")
    assert (row["kind"], row["series_uid"], row["files"]) == (kind, odd[0].SeriesInstanceUID, "12")
    assert words in row["reason"]


def test_a_scout_within_a_series_is_set_aside(home: Path, planes: Planes, put: Make, table: Make) -> None:
    series = planes("P-1")
    scout = planes("P-1", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])[0]
    scout.SeriesInstanceUID = series[0].SeriesInstanceUID
    put(home / "ct", series)
    put(home / "ct", [scout], "scout")
    assert run(home).rows == 1
    assert reasons(home, table) == {"ct/scout00": "skipped: a localizer (scout), no volume"}


def test_gaps_are_refused_and_counted(home: Path, planes: Planes, put: Make, table: Make) -> None:
    put(home / "good", planes("P-1"))
    series = planes("P-2")
    put(home / "gap", series[:4] + series[6:])
    report = run(home)
    assert (report.rows, report.refused) == (1, 1)
    (row,) = [r for r in table(home / "quality.csv") if r["patient_id"] == "P-2"]
    assert (row["in_manifest"], row["gaps"], row["slices"]) == ("no", "2", "10")
    assert "left out: slices are missing: 10 of 12" in row["warnings"]
    assert reasons(home, table)["gap"].startswith("refused: slices are missing: 10 of 12 at 2.5 mm")


def test_gaps_are_resampled_when_told_and_embed_does_the_same(
    home: Path, tmp_path: Path, planes: Planes, put: Make, hu: Make, table: Make
) -> None:
    # Linear along z, so that what is missing between two slices is known.
    ramp = hu()[:1] * 0 + (10 * np.arange(12) - 60)[:, None, None].astype(np.int16)
    ramp[:, :4] = -1000
    put(home / "whole", planes("P-1", ramp))
    series = planes("P-2", ramp)
    put(home / "gap", series[:4] + series[6:])
    report = run(home, on_gaps="resample")
    assert (report.rows, report.refused) == (2, 0)
    rows = {r["image"]: r["on_gaps"] for r in table(home / "manifest.csv")}
    assert rows == {"whole": "", "gap": "resample"}
    (row,) = [r for r in table(home / "quality.csv") if r["patient_id"] == "P-2"]
    assert (row["in_manifest"], row["gaps"], row["slices"]) == ("yes", "2", "10")
    assert "2 slices missing" in row["warnings"]
    assert "resampled to slices every 2.5 mm" in row["warnings"]
    embeds(home, tmp_path, rows=2)
    found = EmbeddingStore(tmp_path / "store").read("baseline")
    np.testing.assert_allclose(found.X[0], found.X[1], rtol=1e-5, atol=1e-4)


def test_a_copy_of_a_series_is_taken_once(
    home: Path, tmp_path: Path, planes: Planes, put: Make, table: Make
) -> None:
    series = planes("P-1")
    put(home / "a", series)
    put(home / "copy", series)
    assert run(home).rows == 1
    assert table(home / "manifest.csv")[0]["image"] == "a"
    found = reasons(home, table)
    assert len(found) == 12
    assert set(found.values()) == {"skipped: a copy of an image that is taken from another folder"}
    embeds(home, tmp_path, rows=1)


def test_two_series_and_two_patients_in_one_folder(
    home: Path, tmp_path: Path, planes: Planes, put: Make
) -> None:
    for prefix, patient in (("a", "P-1"), ("b", "P-1"), ("c", "P-2")):
        put(home / "all", planes(patient), prefix)
    report = run(home)
    assert (report.patients, report.series, report.rows) == (2, 3, 3)
    embeds(home, tmp_path, rows=3)


def test_names_and_birth_dates_never_leave_the_files(home: Path, planes: Planes, put: Make) -> None:
    put(home / "good", planes("P-1"))
    put(home / "flat", planes("P-2", ImagePositionPatient=[0, 0, 0]))
    run(home)
    for name in ("manifest.csv", "quality.csv", "left_out.csv"):
        text = (home / name).read_text()
        assert not any(secret in text for secret in SECRETS)


# ── broken files ────────────────────────────────────────────────────────────────────────────────────────


def test_broken_files_get_a_reason_and_stop_nothing(
    home: Path, planes: Planes, put: Make, nifti: Make, hu: Make, table: Make
) -> None:
    put(home / "good", planes("P-1"))
    put(home / "cut", planes("P-2"))
    cut = home / "cut/05"
    cut.write_bytes(cut.read_bytes()[:-300])
    (home / "empty.dcm").touch()
    (home / "note.dcm").write_text("not an image" * 20)
    (home / "report.pdf").write_text("%PDF")
    (home / "gone.nii.gz").symlink_to(home / "nowhere")
    nifti(home / "grey.nii.gz", (hu() // 8 + 200).astype(np.uint8))
    whole = nifti(home / "half.nii.gz", hu()).read_bytes()
    (home / "half.nii.gz").write_bytes(whole[: len(whole) // 2])
    nan = hu().astype(np.float32)
    nan[3, 3, 3] = np.nan
    nifti(home / "nan.nii.gz", nan)
    nifti(home / "all_zero_mask.nii.gz", np.zeros((12, 20, 24), np.uint8))
    assert run(home).rows == 1
    found = reasons(home, table)
    for name, words in {
        "cut": "refused: cut/05: truncated",
        "empty.dcm": "refused: the file is empty (0 bytes)",
        "note.dcm": "refused: not a DICOM file",
        "report.pdf": "skipped: a .pdf file, not DICOM",
        "gone.nii.gz": "refused: a link to nothing",
        "grey.nii.gz": "refused: not HU",
        "half.nii.gz": "refused: truncated, ",
        "nan.nii.gz": "refused: 1 voxels are NaN or infinite",
        "all_zero_mask.nii.gz": "refused: the mask is empty",
    }.items():
        assert found.pop(name).startswith(words)
    assert not found


def test_paths_that_a_manifest_cannot_hold(
    home: Path, tmp_path: Path, nifti: Make, hu: Make, table: Make
) -> None:
    nifti(home / "P1.nii.gz", hu())
    nifti(home / " P2.nii.gz", hu())
    nifti(home / "Jürgen–3/ct.nii.gz", hu())
    outside = nifti(tmp_path / "P4.nii.gz", hu())
    (home / "P4.nii.gz").symlink_to(outside)
    odd = os.fsencode(home) + b"/P\xff5.nii.gz"
    with open(odd, "wb") as stream:
        stream.write(outside.read_bytes())
    run(home)
    assert [r["patient_id"] for r in table(home / "manifest.csv")] == ["Jürgen–3", "P1"]
    found = reasons(home, table)
    assert "begins or ends with a space" in found[" P2.nii.gz"]
    assert "outside the manifest's folder" in found["P4.nii.gz"]
    assert "not UTF-8" in found["P\\udcff5.nii.gz"]
    embeds(home, tmp_path, rows=2)


# ── calls ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_path_outside_the_manifests_folder_is_refused_with_the_remedy(
    home: Path, tmp_path: Path, nifti: Make, hu: Make
) -> None:
    nifti(tmp_path / "ct/P1.nii.gz", hu())
    remedy = str(tmp_path / "manifest.csv")
    with pytest.raises(InputError, match="outside the manifest's folder") as caught:
        run(home, tmp_path / "ct")
    assert repr(remedy) in str(caught.value)
    assert scan([tmp_path / "ct"], manifest=remedy, progress=False).rows == 1


def test_an_earlier_scan_is_replaced_only_when_told(home: Path, nifti: Make, hu: Make, table: Make) -> None:
    nifti(home / "P1.nii.gz", hu())
    run(home)
    nifti(home / "P2.nii.gz", hu(1))
    with pytest.raises(InputError, match=r"manifest.csv' exists already: give --overwrite"):
        run(home)
    assert run(home, overwrite=True).rows == 2
    assert table(home / "left_out.csv") == []  # its own tables are passed over


def test_nothing_found_says_why(home: Path, mask: Make, nifti: Make, table: Make) -> None:
    nifti(home / "P1_mask.nii.gz", mask())
    with pytest.raises(InputError, match=r"no CT volume found in .*: a mask without a CT.* \(1\); see"):
        run(home)
    assert len(table(home / "left_out.csv")) == 1
    assert not (home / "manifest.csv").exists()


def test_planted_truth_below_the_manifest_still_marks_the_rows(
    home: Path, nifti: Make, hu: Make, table: Make
) -> None:
    nifti(home / "demo/ct/S1.nii.gz", hu())
    (home / "demo/synthetic.json").write_text("{}")
    nifti(home / "real/P1.nii.gz", hu(1))
    run(home)
    assert {r["patient_id"]: r["synthetic"] for r in table(home / "manifest.csv")} == {"S1": "true", "P1": ""}


def test_one_id_in_two_folders_is_told_apart_and_said(home: Path, nifti: Make, hu: Make, table: Make) -> None:
    for seed, site in enumerate("AB"):
        nifti(home / f"site{site}/001/ct.nii.gz", hu(seed))
    with pytest.warns(DataWarning, match="several folders hold a patient '001'"):
        run(home)
    assert [r["patient_id"] for r in table(home / "manifest.csv")] == ["siteA/001", "siteB/001"]


# ── real data ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.shared_data
def test_real_trees(home: Path, tmp_path: Path, shared: Path, table: Make) -> None:
    for name in ("ibsi_phantom", "crlm_1004_dicom"):
        shutil.copytree(shared / "data/ct" / name, home / name, copy_function=shutil.copyfile)
    report = run(home)
    assert (report.series, report.rows, report.refused) == (3, 3, 0)
    rows = {r["patient_id"]: r for r in table(home / "manifest.csv")}
    assert rows["1"]["mask"] == "ibsi_phantom/dicom/mask/DCM_RS_00060.dcm"
    assert (rows["1"]["roi_id"], rows["1"]["mask_label"]) == ("GTV-1", "1")
    assert rows["phantom"]["mask"] == "ibsi_phantom/mask.nii.gz"
    assert rows["CRLM-CT-1004"]["mask"] == ""
    made = {r["patient_id"]: r for r in table(home / "quality.csv")}
    liver = made["CRLM-CT-1004"]
    names = ("manufacturer", "kernel", "kvp", "slices", "spacing_z_mm", "hu_min")
    assert [liver[n] for n in names] == ["GE MEDICAL SYSTEMS", "STANDARD", "120", "41", "5", "-1024"]
    assert [made["1"][n] for n in ("slices", "hu_min", "hu_max")] == [
        made["phantom"][n] for n in ("slices", "hu_min", "hu_max")
    ]
    embeds(home, tmp_path, rows=3)


@pytest.mark.shared_data
def test_the_given_cohort_comes_out_as_its_own_manifest_says(
    tmp_path: Path, shared: Path, table: Make
) -> None:
    ours = tmp_path / "sts"
    given = table(shared / "data/sts/manifest.csv")[:6]
    for row in given:
        for name in (row["image"], row["mask"]):
            (ours / name).parent.mkdir(parents=True, exist_ok=True)
            (ours / name).write_bytes((shared / "data/sts" / name).read_bytes())
    run(ours)
    keys = ("patient_id", "image", "mask", "mask_label")
    found = [{k: row[k] for k in keys} for row in table(ours / "manifest.csv")]
    assert found == [{k: row[k] for k in keys} for row in given]
