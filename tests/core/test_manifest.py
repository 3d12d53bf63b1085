"""What a manifest may hold, and what happens to rows that cannot be used."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest

from flexict_core.errors import DataWarning, ManifestError
from flexict_core.manifest import ManifestRow, read_manifest, resolve_inside


def write(folder: Path, text: str, *, encoding: str = "utf-8") -> Path:
    path = folder / "manifest.csv"
    path.write_bytes(text.encode(encoding))
    return path


def reasons(path: Path) -> dict[int, str]:
    return {row.number: row.reason for row in read_manifest(path).rejected}


def test_all_columns_are_read(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "patient_id,series_uid,roi_id,image,mask,mask_label,x_mm,y_mm,z_mm,note\n"
        "P1,1.2,left,a/ct.nii.gz,a/m.nii.gz,2,1.5,-2,3e1,any\n"
        "P1,1.3,,b/ct.nii.gz,,,,,,\n",
    )
    manifest = read_manifest(path)
    assert manifest.rows == (
        ManifestRow(2, "P1", "a/ct.nii.gz", "1.2", "left", "a/m.nii.gz", 2, (1.5, -2.0, 30.0)),
        ManifestRow(3, "P1", "b/ct.nii.gz", "1.3"),
    )
    assert manifest.rejected == ()
    assert manifest.root == tmp_path.resolve()
    assert manifest.name == "manifest.csv"
    assert not manifest.synthetic


@pytest.mark.parametrize("mark", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_separator_and_byte_order_mark_do_not_matter(tmp_path: Path, encoding: str, mark: str) -> None:
    text = "patient_id,image\r\n007,Müller/ct.nii.gz\r\n\r\n".replace(",", mark)
    (row,) = read_manifest(write(tmp_path, text, encoding=encoding)).rows
    assert (row.patient_id, row.image) == ("007", "Müller/ct.nii.gz")


@pytest.mark.parametrize(
    ("text", "encoding", "says"),
    [
        ("patientid,image\nA,a.nii\n", "utf-8", "'patientid' meant for 'patient_id'"),
        ("Patient ID,Image\nA,a.nii\n", "utf-8", "'Image' meant for 'image'"),
        ("id,file\nA,a.nii\n", "utf-8", "no column 'patient_id', 'image': it holds 'id', 'file'"),
        ("patient_id,image\n", "utf-8", "no rows"),
        ("", "utf-8", "no column"),
        ("patient_id,image,image\nA,a,b\n", "utf-8", "'image' twice"),
        ("patient_id,image\nMüller,a.nii\n", "latin-1", "not UTF-8 text (byte 0xfc)"),
        ("patient_id,image\nA,a.nii\n", "utf-16", "not UTF-8"),
        ('patient_id,image\nA,"a.nii\n', "utf-8", "not a readable CSV"),
    ],
)
def test_a_file_that_is_no_manifest_is_an_error(tmp_path: Path, text: str, encoding: str, says: str) -> None:
    with pytest.raises(ManifestError) as caught:
        read_manifest(write(tmp_path, text, encoding=encoding))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_path_that_is_no_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="does not exist"):
        read_manifest(tmp_path / "none.csv")
    with pytest.raises(ManifestError, match="is a folder"):
        read_manifest(tmp_path)


def test_a_misspelt_optional_column_is_not_passed_over_in_silence(tmp_path: Path) -> None:
    path = write(tmp_path, "patient_id,image,Masks\nA,a.nii,m.nii\n")
    with pytest.warns(DataWarning, match="'Masks' of the manifest is not used: is 'mask' meant"):
        read_manifest(path)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (",a.nii,,,,,", "patient_id is empty"),
        ("A,,,,,,", "image is empty"),
        ("A,../a.nii,,,,,", "leads outside the manifest's folder"),
        ("A,a.nii,../../m.nii,,,,", "'../../m.nii' leads outside"),
        ("A,/etc/passwd,,,,,", "leads outside"),
        ("A,link/a.nii,,,,,", "leads outside"),
        ("A,a.nii,,1,,,", "mask_label 1 is given but no mask"),
        ("A,a.nii,m.nii,1.5,,,", "mask_label '1.5' is not a whole number"),
        ("A,a.nii,m.nii,0,,,", "mask_label '0' is not a whole number"),
        ("A,a.nii,,tumour,,,", "mask_label tumour is given but no mask"),
        ("A,a.nii,,,1,2,", "seed point (1, 2, ) is not three numbers"),
        ("A,a.nii,,,1,2,nan,", "8 cells"),
        ("A,a.nii", "2 cells"),
        ("A,a\0.nii,,,,,", "cannot be resolved"),
    ],
)
def test_a_bad_row_is_rejected_and_the_good_one_kept(tmp_path: Path, row: str, says: str) -> None:
    inside, outside = tmp_path / "cohort", tmp_path / "elsewhere"
    inside.mkdir()
    outside.mkdir()
    (inside / "link").symlink_to(outside)
    header = "patient_id,image,mask,mask_label,x_mm,y_mm,z_mm"
    manifest = read_manifest(write(inside, f"{header}\nGood,g.nii,,,,,\n{row}\n"))
    assert [r.patient_id for r in manifest.rows] == ["Good"]
    (rejected,) = manifest.rejected
    assert says in rejected.reason
    assert rejected.number == 3


def test_the_file_at_fault_is_named(tmp_path: Path) -> None:
    manifest = read_manifest(write(tmp_path, "patient_id,image,mask\nA,a.nii,../m.nii\nB,../b.nii,m.nii\n"))
    assert [row.file for row in manifest.rejected] == ["../m.nii", "../b.nii"]


def test_links_and_absolute_paths_within_the_folder_are_fine(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    text = f"patient_id,image\nA,link/a.nii\nB,{tmp_path.resolve()}/real/b.nii\nC,real/../real/c.nii\n"
    manifest = read_manifest(write(tmp_path, text))
    assert [row.image for row in manifest.rows] == ["link/a.nii", "real/b.nii", "real/c.nii"]


def test_resolve_inside_survives_a_loop_of_links(tmp_path: Path) -> None:
    os.symlink("b", tmp_path / "a")
    os.symlink("a", tmp_path / "b")
    with suppress(ManifestError):  # refused; later Pythons leave a loop as it is
        assert resolve_inside(tmp_path, "a/ct.nii").is_relative_to(tmp_path.resolve())


def test_rows_with_one_key_are_told_apart_or_rejected(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "patient_id,series_uid,roi_id,image\n"
        "A,1,,a1.nii\nA,2,,a2.nii\n"  # two series of a patient
        "B,,,b1.nii\nB,,,b2.nii\n"  # which is meant?
        "C,,,c.nii\nC,,,c.nii\n",  # the same line twice
    )
    manifest = read_manifest(path)
    assert [(r.patient_id, r.image) for r in manifest.rows] == [
        ("A", "a1.nii"),
        ("A", "a2.nii"),
        ("C", "c.nii"),
    ]
    found = reasons(path)
    assert set(found) == {4, 5, 7}
    assert "lines 4, 5 share" in found[4] == found[5]
    assert "repeats line 6" in found[7]


def test_synthetic_data_are_marked(tmp_path: Path) -> None:
    path = write(tmp_path, "patient_id,image,synthetic\nA,a.nii,false\nB,b.nii,True\n")
    assert read_manifest(path).synthetic
    write(tmp_path, "patient_id,image,synthetic\nA,a.nii,false\n")
    assert not read_manifest(path).synthetic
    (tmp_path / "synthetic.json").write_text("{}")
    assert read_manifest(path).synthetic
    write(tmp_path, "patient_id,image,synthetic\nA,a.nii,perhaps\nB,b.nii,no\n")
    assert "neither true nor false" in reasons(path)[2]


@pytest.mark.shared_data
def test_the_sarcoma_manifest_is_read_whole(shared: Path) -> None:
    manifest = read_manifest(shared / "data" / "sts" / "manifest.csv")
    assert (len(manifest.rows), len(manifest.rejected)) == (25, 0)
    assert all(resolve_inside(manifest.root, row.image).is_file() for row in manifest.rows)
    assert {row.mask_label for row in manifest.rows} == {1}


def test_on_gaps_is_refuse_or_resample(tmp_path: Path) -> None:
    manifest = read_manifest(write(tmp_path, "patient_id,image,on_gaps\nA,a,\nB,b,Resample\nC,c,fill\n"))
    assert [(r.patient_id, r.on_gaps) for r in manifest.rows] == [("A", "refuse"), ("B", "resample")]
    assert [r.reason for r in manifest.rejected] == [
        "on_gaps 'fill' is neither refuse nor resample: correct it"
    ]
