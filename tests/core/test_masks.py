"""Masks: labels, grids and refusals."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from flexict_core import Volume, load_mask, load_volume
from flexict_core.errors import DataWarning, MaskError, UnsupportedFormatError

AFFINE = np.array([[0.7, 0, 0, -50], [0, 0.7, 0, -60], [0, 0, 3, 20], [0, 0, 0, 1.0]])  # RAS


def write(path: Path, array_xyz: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    nib.save(nib.Nifti1Image(array_xyz, affine), path)
    return path


def labels(dtype: type = np.uint8) -> np.ndarray:
    array = np.zeros((6, 5, 4), dtype)
    array[1:3, 2, 1] = 1
    array[4, 3:, 2] = 2
    return array


@pytest.fixture
def ct(tmp_path: Path) -> Volume:
    array = np.random.default_rng(0).integers(-1000, 1000, (6, 5, 4)).astype(np.int16)
    return load_volume(write(tmp_path / "ct.nii.gz", array))


def refused(path: Path, reference: Volume | None = None, label: int | None = None) -> str:
    with pytest.raises(MaskError) as caught:
        load_mask(path, label=label, reference=reference)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_a_label_is_selected(dtype: type, tmp_path: Path, ct: Volume) -> None:
    mask = load_mask(write(tmp_path / "mask.nii.gz", labels(dtype)), label=2, reference=ct)
    assert mask.array.dtype == bool
    np.testing.assert_array_equal(mask.array, (labels() == 2).T)
    assert mask.same_grid(ct)


def test_without_a_label_all_are_taken_with_a_warning(tmp_path: Path, ct: Volume) -> None:
    path = write(tmp_path / "mask.nii.gz", labels())
    with pytest.warns(DataWarning, match="labels 1, 2"):
        mask = load_mask(path, reference=ct)
    np.testing.assert_array_equal(mask.array, (labels() > 0).T)
    single = load_mask(write(tmp_path / "one.nii.gz", (labels() > 0) * np.uint8(255)), reference=ct)
    np.testing.assert_array_equal(single.array, mask.array)  # one label needs no choice, so no warning


def test_a_mask_stored_in_another_orientation_comes_back_on_the_ct_grid(tmp_path: Path, ct: Volume) -> None:
    turned = nib.Nifti1Image(labels(), AFFINE).as_reoriented(np.array([[2, -1], [0, 1], [1, -1]]))
    nib.save(turned, tmp_path / "mask.nii.gz")
    mask = load_mask(tmp_path / "mask.nii.gz", label=1, reference=ct)
    np.testing.assert_array_equal(mask.array, (labels() == 1).T)
    np.testing.assert_array_equal(mask.affine, ct.affine)


def test_a_header_rounded_differently_is_the_same_grid(tmp_path: Path, ct: Volume) -> None:
    moved = AFFINE.copy()
    moved[0, 3] += 0.02
    mask = load_mask(write(tmp_path / "mask.nii.gz", labels(), moved), label=1, reference=ct)
    np.testing.assert_array_equal(mask.affine, ct.affine)


def test_another_grid_is_refused(tmp_path: Path, ct: Volume) -> None:
    moved = AFFINE.copy()
    moved[2, 3] += 3
    for array, affine in (
        (labels(), moved),
        (labels(), AFFINE @ np.diag([1.1, 1, 1, 1])),
        (labels()[:5], AFFINE),
    ):
        assert "another grid" in refused(write(tmp_path / "mask.nii.gz", array, affine), ct)
    assert load_mask(tmp_path / "mask.nii.gz", label=1).array.any()  # alone, it has no grid to fit


def test_empty_masks_and_labels_that_are_not_there(tmp_path: Path, ct: Volume) -> None:
    empty = write(tmp_path / "empty.nii.gz", labels() * np.uint8(0))
    assert "empty" in refused(empty, ct)
    assert "only 0" in refused(empty, ct, label=1)
    path = write(tmp_path / "mask.nii.gz", labels())
    assert "label 3 is not in the mask; it holds 1, 2" in refused(path, ct, label=3)
    assert "background" in refused(path, ct, label=0)
    many = np.arange(1, 121, dtype=np.uint8).reshape(6, 5, 4)
    assert "(120 labels)" in refused(write(tmp_path / "many.nii.gz", many), ct, label=200)


def test_values_that_are_no_labels(tmp_path: Path, ct: Volume) -> None:
    soft = labels(np.float32) * np.float32(0.25)
    assert "fractions such as 0.25" in refused(write(tmp_path / "soft.nii.gz", soft), ct)
    hole = labels(np.float32)
    hole[0, 0, 0] = np.nan
    assert "NaN" in refused(write(tmp_path / "nan.nii.gz", hole), ct)
    assert "negative" in refused(tmp_path / "ct.nii.gz", ct)


def test_files_that_cannot_be_read(tmp_path: Path, ct: Volume) -> None:
    assert "no such file" in refused(tmp_path / "none.nii.gz", ct)
    assert "4-dimensional" in refused(write(tmp_path / "4d.nii.gz", np.stack([labels()] * 2, -1)), ct)
    cut = tmp_path / "cut.nii.gz"
    cut.write_bytes(write(tmp_path / "mask.nii.gz", labels()).read_bytes()[:-12])
    assert "truncated" in refused(cut, ct)
    with pytest.raises(UnsupportedFormatError, match="DICOM"):
        load_mask(tmp_path)


@pytest.mark.shared_data
def test_real_masks(shared: Path) -> None:
    pulmonary = shared / "data/ct/totalsegmentator/pulmonary"
    ct = load_volume(pulmonary / "ct_cropped.nii.gz")
    artery = load_mask(pulmonary / "pulmonary_artery.nii.gz", reference=ct)
    stored = np.asanyarray(nib.load(pulmonary / "pulmonary_artery.nii.gz").dataobj)
    np.testing.assert_array_equal(artery.array.T, stored == 1)
    assert "another grid" in refused(pulmonary / "heart.nii.gz", ct)

    kidney = shared / "data/kits/masks/case_00038.nii.gz"
    tumour = load_mask(kidney, label=2)
    assert tumour.orientation == "IPL"
    assert tumour.array.sum() == (np.asanyarray(nib.load(kidney).dataobj) == 2).sum()
    assert "label 3" in refused(kidney, label=3)
