"""NIfTI files written by us, read by nibabel and by us."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from flexict_core.errors import UnsupportedFormatError
from flexict_core.io import load_mask, load_volume
from flexict_core.io.write import write_nifti
from flexict_core.volume import Volume

TILTED = np.array(
    [[0.8, 0.05, 0.1, -90.0], [-0.04, 0.8, 0.3, -120.0], [-0.02, -0.06, 2.9, 15.0], [0, 0, 0, 1.0]]
)


def _ct(rng: np.random.Generator) -> Volume:
    return Volume(rng.integers(-1024, 3071, (5, 6, 7)).astype(np.int16), TILTED)


def test_nibabel_reads_the_same_voxels_at_the_same_places(tmp_path: Path, rng: np.random.Generator) -> None:
    ct = _ct(rng)
    write_nifti(ct, tmp_path / "ct.nii.gz")
    image = nibabel.load(tmp_path / "ct.nii.gz")
    assert image.get_data_dtype() == np.int16
    np.testing.assert_array_equal(np.asarray(image.dataobj), ct.array.transpose(2, 1, 0))
    index = np.array([4, 2, 3, 1.0])
    # NIfTI's world is RAS: x and y change sign against LPS.
    np.testing.assert_allclose(image.affine @ index, np.diag([-1, -1, 1, 1]) @ TILTED @ index, atol=1e-4)


def test_it_comes_back_through_our_own_reader(tmp_path: Path, rng: np.random.Generator) -> None:
    ct = _ct(rng)
    mask = ct.with_array(ct.array > 1000)
    write_nifti(ct, tmp_path / "ct.nii.gz")
    write_nifti(mask, tmp_path / "mask.nii.gz")
    again = load_volume(tmp_path / "ct.nii.gz")
    np.testing.assert_array_equal(again.array, ct.array)
    np.testing.assert_allclose(again.affine, TILTED, atol=1e-5)
    np.testing.assert_array_equal(load_mask(tmp_path / "mask.nii.gz", reference=again).array, mask.array)
    assert nibabel.load(tmp_path / "mask.nii.gz").get_data_dtype() == np.uint8


def test_equal_volumes_give_equal_bytes_and_nothing_else_is_left(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    ct = _ct(rng)
    first = write_nifti(ct, tmp_path / "a.nii.gz")
    second = write_nifti(ct, tmp_path / "b.nii.gz")
    assert first == second
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.nii.gz", "b.nii.gz"]


def test_other_endings_are_refused(tmp_path: Path, rng: np.random.Generator) -> None:
    with pytest.raises(UnsupportedFormatError, match=r"ct\.nrrd.*\.nii\.gz"):
        write_nifti(_ct(rng), tmp_path / "ct.nrrd")
