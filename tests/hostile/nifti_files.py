"""NIfTI files that are damaged, lie, or hold no CT."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

from tests.hostile.case import AFFINE_RAS, HU, Cases, Row, nifti, nifti_bytes

cases = Cases()
PACKED = gzip.compress(nifti_bytes(), 1, mtime=0)


def _put(at: Path, content: bytes, name: str = "ct.nii.gz") -> Row:
    (at / name).write_bytes(content)
    return {"image": name}


# ── damaged ─────────────────────────────────────────────────────────────────────────────────────────────


@cases.refused("the file is empty (0 bytes)")
def nifti_of_no_bytes(at: Path) -> Row:
    return _put(at, b"")


@cases.refused("truncated within its header")
def gzip_cut_in_the_image_header(at: Path) -> Row:
    return _put(at, gzip.compress(nifti_bytes(), 0)[:200])


@cases.refused("truncated within the first bytes of its gzip data")
def gzip_cut_in_its_own_header(at: Path) -> Row:
    return _put(at, PACKED[:8])


@cases.refused("truncated, ", "of 11520 bytes of voxels are there")
def gzip_cut_in_the_middle(at: Path) -> Row:
    return _put(at, PACKED[: len(PACKED) // 2])


@cases.refused("truncated, the checksum at its end is cut off")
def gzip_cut_in_its_trailer(at: Path) -> Row:
    return _put(at, PACKED[:-5])


@cases.refused("checksum at its end does not fit")
def gzip_with_a_wrong_checksum(at: Path) -> Row:
    return _put(at, PACKED[:-8] + bytes(4) + PACKED[-4:])


@cases.refused("damaged gzip data")
def gzip_damaged_at_its_start(at: Path) -> Row:
    return _put(at, PACKED[:10] + b"\xff" * 64 + PACKED[74:])


@cases.refused("not a NIfTI file")
def a_letter_named_nifti(at: Path) -> Row:
    return _put(at, b"Dear colleague, please find enclosed " * 40)


@cases.refused("not a NIfTI file", kin="a_letter_named_nifti")
def a_zip_named_nifti(at: Path) -> Row:
    return _put(at, b"PK\x03\x04" + bytes(range(256)) * 8)


@cases.refused("truncated within its header", kin="gzip_cut_in_the_image_header")
def nifti_cut_in_its_header(at: Path) -> Row:
    return _put(at, nifti_bytes()[:100] + b"", "ct.nii")


@cases.refused("of a .hdr/.img pair")
def half_of_a_pair(at: Path) -> Row:
    return _put(at, nifti_bytes(magic=b"ni1"), "ct.nii")


@cases.refused("truncated, its header claims", kin="claims of more voxels than the file has")
def nifti_cut_in_its_voxels(at: Path) -> Row:
    return _put(at, nifti_bytes()[:-1000], "ct.nii")


# ── lying headers ───────────────────────────────────────────────────────────────────────────────────────


@cases.refused("truncated, its header claims", kin="claims of more voxels than the file has")
def a_header_that_claims_the_moon(at: Path) -> Row:
    return _put(at, gzip.compress(nifti_bytes(dim=[3, 30000, 30000, 30000, 1, 1, 1, 1]), 1))


@cases.refused("more than a CT has", "voxels")
def a_gzip_bomb_of_voxels(at: Path) -> Row:
    """Every voxel that the header claims is there: 21 GB of zeros in 21 MB."""
    head = gzip.compress(nifti_bytes(dim=[3, 2200, 2200, 2200, 1, 1, 1, 1])[:352], 9)
    member = gzip.compress(bytes(1 << 24), 9)
    return _put(at, head + member * 1300)


@cases.refused("packed", "-fold", "no CT is")
def a_gzip_bomb_of_a_likely_size(at: Path) -> Row:
    """As large as a CT can be, and not one bit of noise."""
    head = gzip.compress(nifti_bytes(dim=[3, 1024, 1024, 512, 1, 1, 1, 1])[:352], 9)
    member = gzip.compress(np.full(1 << 23, -1000, np.int16).tobytes(), 9)
    return _put(at, head + member * 64)


@cases.refused("follow the last voxel")
def a_gzip_bomb_after_the_voxels(at: Path) -> Row:
    return _put(at, PACKED + gzip.compress(bytes(1 << 26), 9) * 40)


@cases.refused("damaged header, it claims 2304 dimensions", kin="dimensions")
def nine_dimensions(at: Path) -> Row:
    return _put(at, nifti_bytes(dim=[9, 24, 20, 12, 1, 1, 1, 1]), "ct.nii")


@cases.refused("claims a size of 24 x 0 x 12")
def a_side_of_no_voxels(at: Path) -> Row:
    return _put(at, nifti_bytes(dim=[3, 24, 0, 12, 1, 1, 1, 1]), "ct.nii")


@cases.refused("a size of 24 x -20 x 12", kin="a_side_of_no_voxels")
def a_side_of_negative_voxels(at: Path) -> Row:
    return _put(at, nifti_bytes(dim=[3, 24, -20, 12, 1, 1, 1, 1]), "ct.nii")


@cases.refused("pixel type 999 is unknown")
def an_unknown_pixel_type(at: Path) -> Row:
    return _put(at, nifti_bytes(datatype=999), "ct.nii")


@cases.refused("its voxels start at byte", "beyond")
def voxels_that_start_nowhere(at: Path) -> Row:
    return _put(at, nifti_bytes(vox_offset=1e30), "ct.nii")


@cases.refused("its voxels start at byte", "within the header")
def voxels_that_start_in_the_header(at: Path) -> Row:
    return _put(at, nifti_bytes(vox_offset=-16), "ct.nii")


@cases.refused("scl_slope inf and scl_inter 0 are not finite")
def a_slope_that_is_infinite(at: Path) -> Row:
    return nifti(at / "ct.nii.gz", scl_slope=np.inf, scl_inter=0)


# ── geometry ────────────────────────────────────────────────────────────────────────────────────────────


@cases.refused("voxel spacing 0 x 0.8 x 2.5 mm is not positive", kin="spacing")
def spacing_of_zero(at: Path) -> Row:
    return nifti(at / "ct.nii.gz", pixdim=[1, 0, 0.8, 2.5, 1, 1, 1, 1])


@cases.refused("voxel spacing 0.7 x 0.8 x -2.5 mm is not positive", kin="spacing")
def spacing_below_zero(at: Path) -> Row:
    return nifti(at / "ct.nii.gz", pixdim=[1, 0.7, 0.8, -2.5, 1, 1, 1, 1])


@cases.refused("voxel spacing 0.7 x nan x 2.5 mm is not positive", kin="spacing")
def spacing_that_is_no_number(at: Path) -> Row:
    return nifti(at / "ct.nii.gz", pixdim=[1, 0.7, np.nan, 2.5, 1, 1, 1, 1])


@cases.refused("affine is singular, voxel sides 0.7 x 0 x 2.5 mm", kin="singular")
def a_singular_affine(at: Path) -> Row:
    return nifti(at / "ct.nii.gz", affine_ras=AFFINE_RAS * [1, 0, 1, 1], pixdim=[1, 1, 1, 1, 1, 1, 1, 1])


@cases.refused("affine is singular", kin="singular")
def an_affine_with_two_axes_alike(at: Path) -> Row:
    affine = AFFINE_RAS.copy()
    affine[:3, 1] = affine[:3, 0]
    return nifti(at / "ct.nii.gz", affine_ras=affine)


@cases.refused("not a 4x4 matrix of positions in mm")
def positions_beyond_a_kilometre(at: Path) -> Row:
    affine = AFFINE_RAS.copy()
    affine[2, 3] = 1e30
    return nifti(at / "ct.nii.gz", affine_ras=affine)


@cases.refused("no orientation")
def no_orientation(at: Path) -> Row:
    return nifti(at / "ct.nii.gz", sform_code=0, qform_code=0)


@cases.refused("a 2D image (24 x 20 x 1)")
def one_slice(at: Path) -> Row:
    return nifti(at / "ct.nii.gz", HU[:1])


@cases.refused("4-dimensional (24 x 20 x 12 x 2)")
def four_dimensions(at: Path) -> Row:
    return nifti(at / "ct.nii.gz", np.stack([HU, HU]), affine_ras=AFFINE_RAS)


@cases.refused("a volume of 16.8 x 16 x 1.2e+06 mm is no patient's", kin="extent")
def slices_a_kilometre_apart(at: Path) -> Row:
    """Resampled to 2 mm, it would fill any memory."""
    return nifti(at / "ct.nii.gz", affine_ras=AFFINE_RAS * [1, 1, 4e4, 1], pixdim=[1, 1, 1, 1, 1, 1, 1, 1])


@cases.refused("a volume of 0.0168 x 0.016 x 0.03 mm is no patient's", kin="extent")
def spacing_in_metres(at: Path) -> Row:
    return nifti(at / "ct.nii.gz", affine_ras=AFFINE_RAS * [1e-3, 1e-3, 1e-3, 1])


# ── values ──────────────────────────────────────────────────────────────────────────────────────────────


def _changed(value: float) -> np.ndarray:
    array = HU.astype(np.float32)
    array[5, 9, 9:12] = value
    return array


@cases.refused("3 voxels are NaN or infinite", kin="not finite")
def nan_voxels(at: Path) -> Row:
    return nifti(at / "ct.nii.gz", _changed(np.nan))


@cases.refused("3 voxels are NaN or infinite", kin="not finite")
def infinite_voxels(at: Path) -> Row:
    return nifti(at / "ct.nii.gz", _changed(-np.inf))


@cases.refused("voxels are NaN or infinite", kin="not finite")
def voxels_too_large_for_floats(at: Path) -> Row:
    return nifti(at / "ct.nii.gz", HU * 1e300)


@cases.refused("not HU", "none lies between -1100 and -1", kin="no rescaling")
def grey_values_of_8_bits(at: Path) -> Row:
    return nifti(at / "ct.nii.gz", np.clip((HU + 1000) / 5, 0, 255).astype(np.uint8))


@cases.refused("not HU", "none lies between -1100 and -1", kin="no rescaling")
def stored_values_without_their_intercept(at: Path) -> Row:
    return nifti(at / "ct.nii.gz", HU + np.int16(1024))


@cases.refused("not HU", "a range under 20", scan=("not HU", "a range under 20"))
def normalised_values(at: Path) -> Row:
    return nifti(at / "ct.nii.gz", (HU.astype(np.float32) - HU.mean()) / HU.std())


@cases.refused("of the values lie above 4000")
def absurd_hu_above(at: Path) -> Row:
    return nifti(at / "ct.nii.gz", HU.astype(np.int32) * 400)


@cases.refused("of the values lie below -1500")
def absurd_hu_below(at: Path) -> Row:
    return nifti(at / "ct.nii.gz", np.where(HU < -5, HU * 400, HU).astype(np.int32))


@cases.refused("pixel type", "is not grey values", kin="pixel type")
def colour_pixels(at: Path) -> Row:
    return nifti(at / "ct.nii.gz", datatype=128, bitpix=24)


@cases.refused("pixel type complex64 is not grey values", kin="pixel type")
def complex_pixels(at: Path) -> Row:
    return nifti(at / "ct.nii.gz", HU.astype(np.complex64))
