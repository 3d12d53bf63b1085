"""What headers may claim before memory is taken, and the extent of a patient."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from flexict_core import Volume, load_mask, load_volume
from flexict_core.errors import ImageError, MaskError
from flexict_core.io import nifti
from flexict_core.io.claims import check_ct, check_extent, check_size, claim_of

PATH = Path("ct.nii.gz")
MB = 1 << 20


def claim(shape_zyx: tuple[int, int, int], stored: int):
    return claim_of(PATH, shape_zyx, np.eye(4), dtype=np.dtype(np.int16), stored=stored)


def test_a_claim_takes_no_memory() -> None:
    huge = claim((100_000, 100_000, 100_000), 1)
    assert huge.needed == 2 * 10**15
    assert huge.grid.shape_zyx == (100_000,) * 3


def test_as_many_voxels_as_a_fine_scan_of_a_whole_body() -> None:
    check_size(claim((4096, 1024, 1024), 1))  # 2 ** 32
    with pytest.raises(
        ImageError, match=r"^ct\.nii\.gz: its header claims 1024 x 1024 x 4097 voxels, more than"
    ):
        check_size(claim((4097, 1024, 1024), 1))


@pytest.mark.parametrize(
    ("voxels_mb", "stored_mb", "fits"),
    [(1024, 300, True), (1024, 11, True), (1024, 10, False), (500, 1, True), (514, 1, False)],
)
def test_ct_does_not_pack_a_hundredfold(voxels_mb: int, stored_mb: int, fits: bool) -> None:
    found = claim((voxels_mb, 512, 1024), stored_mb * MB)  # a plane of int16 is a megabyte
    assert found.needed == voxels_mb * MB
    check_size(found)
    if fits:
        check_ct(found)
    else:
        with pytest.raises(ImageError, match=r"packed \d+-fold, no CT is; check its source"):
            check_ct(found)


@pytest.mark.parametrize(("side_mm", "fits"), [(0.3, True), (0.15, False), (290.0, True), (310.0, False)])
def test_a_volume_is_as_large_as_a_patient(side_mm: float, fits: bool) -> None:
    volume = Volume(np.zeros((8, 9, 10), np.int16), np.diag([side_mm, side_mm, side_mm, 1]), PATH)
    if fits:
        check_extent(volume)
    else:
        with pytest.raises(ImageError, match="mm is no patient's; repair the spacing"):
            check_extent(volume)


def test_nothing_is_read_of_a_mask_on_another_grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hu = np.random.default_rng(0).integers(-1000, 1000, (6, 7, 8)).astype(np.int16)
    nib.save(nib.Nifti1Image(hu, np.eye(4)), tmp_path / "ct.nii.gz")
    nib.save(nib.Nifti1Image(np.ones((60, 70, 80), np.uint8), np.eye(4)), tmp_path / "mask.nii.gz")
    ct = load_volume(tmp_path / "ct.nii.gz")
    monkeypatch.setattr(nifti, "_read_voxels", lambda *_, **__: pytest.fail("voxels are read"))
    with pytest.raises(MaskError, match=r"another grid \(60 x 70 x 80 voxels"):
        load_mask(tmp_path / "mask.nii.gz", reference=ct)
