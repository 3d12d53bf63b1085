"""Reading CT volumes: axes, pixel types and refusals, on files written by nibabel."""

from __future__ import annotations

import gzip
import random
from itertools import permutations, product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from flexict_core import load_volume
from flexict_core.errors import ImageError, UnsupportedFormatError

ORIENTATIONS = ["".join(letters) for axes in permutations(("LR", "PA", "SI")) for letters in product(*axes)]
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def write(path: Path, array_xyz: np.ndarray, affine_ras: np.ndarray | None = None, **header: Any) -> Path:
    """One NIfTI-1 file; header fields are set as given, with no check."""
    image = nib.Nifti1Image(array_xyz, np.eye(4) if affine_ras is None else affine_ras)
    nib.save(image, path)
    if header:
        raw = path.read_bytes()
        raw = gzip.decompress(raw) if path.suffix == ".gz" else raw
        fields = nib.Nifti1Header(raw[:348], check=False)
        for name, value in header.items():
            fields[name] = value
        raw = fields.binaryblock + raw[348:]
        path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


def hu(shape: tuple[int, ...] = (6, 5, 4), dtype: Any = np.int16) -> np.ndarray:
    return np.random.default_rng(1).integers(-1000, 1500, shape).astype(dtype)


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_every_orientation_reads_to_the_same_patient(codes: str, tmp_path: Path) -> None:
    # Planted in RAS, by nibabel's convention: three marks at known world positions, no symmetry.
    ras = np.full((7, 6, 5), -1000, np.int16)
    affine = np.array([[2, 0, 0, -30], [0, 1.5, 0, 12], [0, 0, 3, -400], [0, 0, 0, 1.0]])
    marks = {500: (1, 2, 3), 700: (5, 1, 0), 900: (0, 4, 4)}
    for value, index in marks.items():
        ras[index] = value
    start = nib.orientations.io_orientation(affine)
    transform = nib.orientations.ornt_transform(start, nib.orientations.axcodes2ornt(codes))
    stored = nib.Nifti1Image(ras, affine).as_reoriented(transform)
    assert "".join(nib.aff2axcodes(stored.affine)) == codes
    nib.save(stored, tmp_path / "ct.nii")

    volume = load_volume(tmp_path / "ct.nii")

    assert volume.orientation == codes
    assert volume.array.dtype == np.int16
    for value, index in marks.items():
        world_ras = affine @ [*index, 1]
        (found,) = np.argwhere(volume.array == value)
        np.testing.assert_allclose(
            volume.index_to_world(found[::-1]), (RAS_TO_LPS @ world_ras)[:3], rtol=0, atol=1e-4
        )
    lps = volume.to_orientation("LPS")
    np.testing.assert_array_equal(lps.array, ras[::-1, ::-1].T)  # RAS → LPS flips x and y
    np.testing.assert_allclose(lps.affine[:3, 3], [-(-30 + 2 * 6), -(12 + 1.5 * 5), -400], atol=1e-4)


def test_an_oblique_affine_keeps_world_positions(tmp_path: Path) -> None:
    tilt = np.deg2rad(16.5)
    affine = np.eye(4)
    affine[:3, :3] = [
        [0.8, 0, 0],
        [0, np.cos(tilt), np.sin(tilt) * 2.4],
        [0, -np.sin(tilt), np.cos(tilt) * 2.4],
    ]
    affine[:3, 3] = [-69, -134, 13.5]
    array = hu()
    volume = load_volume(write(tmp_path / "ct.nii.gz", array, affine))
    assert volume.is_oblique
    assert volume.orientation == "RAS"
    lps = volume.to_orientation("LPS")
    for index in ([0, 0, 0], [5, 4, 3], [2, 3, 1]):
        world = (RAS_TO_LPS @ affine @ [*index, 1])[:3]
        x, y, z = np.rint(lps.world_to_index(world)).astype(int)
        np.testing.assert_allclose(lps.index_to_world([x, y, z]), world, atol=1e-4)
        assert lps.array[z, y, x] == array[tuple(index)]


@pytest.mark.parametrize("dtype", ["i1", "i2", "i4", "i8", "u2", "f4", ">i2", ">f4"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_voxels_keep_the_files_pixel_type(dtype: str, suffix: str, tmp_path: Path) -> None:
    kind = np.dtype(dtype)
    array = np.clip(hu(), np.iinfo(kind).min, np.iinfo(kind).max) if kind.kind in "iu" else hu() + 0.5
    path = tmp_path / f"ct{suffix}"
    header = nib.Nifti1Header(endianness=">" if kind.byteorder == ">" else "<")
    header.set_data_dtype(kind)
    nib.save(nib.Nifti1Image(array.astype(kind), np.eye(4), header), path)
    assert nib.load(path).get_data_dtype() == kind
    volume = load_volume(path, check_hu=False)
    assert volume.array.dtype == kind.newbyteorder("=")
    np.testing.assert_array_equal(volume.array, array.astype(kind).T)


def test_float64_becomes_float32(tmp_path: Path) -> None:
    array = hu(dtype=np.float64) + 0.25
    volume = load_volume(write(tmp_path / "ct.nii", array))
    assert volume.array.dtype == np.float32
    np.testing.assert_array_equal(volume.array, array.T)


def test_slope_and_intercept_are_applied(tmp_path: Path) -> None:
    stored = (hu() + 1024).astype(np.uint16)
    path = write(tmp_path / "ct.nii.gz", stored, scl_slope=0.5, scl_inter=-1024.0)
    volume = load_volume(path)
    assert volume.array.dtype == np.float32
    np.testing.assert_array_equal(volume.array, (stored * 0.5 - 1024).T)
    np.testing.assert_array_equal(volume.array.T, np.asarray(nib.load(path).dataobj))


@pytest.mark.parametrize("slope", [0.0, np.nan, 1.0])
def test_a_slope_of_nothing_leaves_whole_numbers(slope: float, tmp_path: Path) -> None:
    volume = load_volume(write(tmp_path / "ct.nii", hu(), scl_slope=slope, scl_inter=0.0))
    assert volume.array.dtype == np.int16


@pytest.mark.parametrize(("code", "mm"), [(1, 1000.0), (2, 1.0), (3, 0.001), (0, 1.0)])
def test_spacing_is_in_mm_whatever_the_files_unit(code: int, mm: float, tmp_path: Path) -> None:
    affine = np.diag([0.7 / mm, 0.8 / mm, 3 / mm, 1])
    volume = load_volume(write(tmp_path / "ct.nii", hu(), affine, xyzt_units=code))
    assert volume.spacing_zyx_mm == pytest.approx((3, 0.8, 0.7), rel=1e-6)


def test_qform_serves_where_there_is_no_sform(tmp_path: Path) -> None:
    affine = np.array([[0, -2, 0, 5], [1, 0, 0, -7], [0, 0, 3, 9], [0, 0, 0, 1.0]])
    image = nib.Nifti1Image(hu(), affine)
    image.set_qform(affine, code=1)
    image.set_sform(None, code=0)
    nib.save(image, tmp_path / "ct.nii")
    np.testing.assert_allclose(load_volume(tmp_path / "ct.nii").affine, RAS_TO_LPS @ affine, atol=1e-5)


def test_nifti_2_and_a_plain_file_named_gz(tmp_path: Path) -> None:
    array = hu()
    nib.save(nib.Nifti2Image(array, np.diag([1, 2, 3, 1.0])), tmp_path / "two.nii.gz")
    plain = write(tmp_path / "plain.nii", array).rename(tmp_path / "plain.nii.gz")
    for path in (tmp_path / "two.nii.gz", plain):
        np.testing.assert_array_equal(load_volume(path).array, array.T)


@pytest.mark.parametrize("shape", [(6, 5, 4, 1), (6, 5, 4, 1, 1)])
def test_trailing_dimensions_of_one_are_dropped(shape: tuple[int, ...], tmp_path: Path) -> None:
    volume = load_volume(write(tmp_path / "ct.nii", hu(shape)))
    np.testing.assert_array_equal(volume.array, hu(shape).reshape(6, 5, 4).T)


# ── refusals ────────────────────────────────────────────────────────────────────────────────────────────


def refused(path: Path, error: type[ImageError] = ImageError) -> str:
    with pytest.raises(ImageError) as caught:
        load_volume(path)
    message = str(caught.value)
    assert caught.type is error
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


def test_missing_empty_and_foreign_files(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "none.nii.gz")
    assert "no such file" in refused(tmp_path / "none.nrrd")
    empty = tmp_path / "empty.nii.gz"
    empty.touch()
    assert "0 bytes" in refused(empty)
    foreign = tmp_path / "foreign.nii"
    foreign.write_bytes(b"this is a letter " * 100)
    assert "not a NIfTI file" in refused(foreign)
    packed = tmp_path / "foreign.nii.gz"
    packed.write_bytes(gzip.compress(foreign.read_bytes()))
    assert "not a NIfTI file" in refused(packed)
    pair = write(tmp_path / "pair.nii", hu(), magic=b"ni1")
    assert ".hdr/.img" in refused(pair)


def test_formats_that_are_not_read(tmp_path: Path) -> None:
    assert "DICOM" in refused(tmp_path, UnsupportedFormatError)
    other = tmp_path / "ct.mgz"
    other.write_bytes(b"\x1f\x8b")
    assert ".mgz" in refused(other, UnsupportedFormatError)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_file_cut_anywhere_is_truncated(suffix: str, tmp_path: Path) -> None:
    whole = write(tmp_path / f"whole{suffix}", hu((20, 20, 20))).read_bytes()
    cut = tmp_path / f"cut{suffix}"
    for length in (1, 11, 100, 347, 400, len(whole) // 2, len(whole) - 9, len(whole) - 1):
        cut.write_bytes(whole[:length])
        assert "truncated" in (message := refused(cut)) or "not a NIfTI" in message, length
        assert length < 348 or "truncated" in message


def test_a_flipped_bit_in_gzip_data_is_found(tmp_path: Path) -> None:
    path = write(tmp_path / "ct.nii.gz", hu((20, 20, 20)))
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 4
    path.write_bytes(raw)
    assert "the checksum at its end does not fit" in refused(path)


def test_the_checksum_is_read_even_behind_padding(tmp_path: Path) -> None:
    path = write(tmp_path / "ct.nii", hu())
    raw = bytearray(gzip.compress(path.read_bytes() + random.Random(0).randbytes(1 << 20)))
    packed = tmp_path / "ct.nii.gz"
    packed.write_bytes(raw)
    np.testing.assert_array_equal(load_volume(packed).array, hu().T)
    raw[-8] ^= 1  # CRC-32
    packed.write_bytes(raw)
    assert "the checksum at its end does not fit" in refused(packed)


@pytest.mark.parametrize(
    ("shape", "words"),
    [((6, 5), "2D"), ((6, 5, 1), "2D"), ((6, 5, 4, 2), "4-dimensional"), ((6, 5, 4, 1, 3), "5-dimensional")],
)
def test_other_than_three_dimensions(shape: tuple[int, ...], words: str, tmp_path: Path) -> None:
    message = refused(write(tmp_path / "ct.nii", hu(shape)))
    assert words in message
    assert " x ".join(map(str, shape)) in message


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_not_finite(bad: float, tmp_path: Path) -> None:
    array = hu(dtype=np.float32)
    array[1, 2, 3] = array[0, 0, 0] = bad
    assert "2 voxels are NaN or infinite" in refused(write(tmp_path / "ct.nii", array))


def test_spacing_that_is_not_positive_and_affines_without_volume(tmp_path: Path) -> None:
    for side in (0.0, -1.5, np.nan):
        pixdim = [1, 1, side, 1, 0, 0, 0, 0]
        assert "spacing" in refused(write(tmp_path / "ct.nii", hu(), pixdim=pixdim))
    assert "singular" in refused(write(tmp_path / "ct.nii", hu(), srow_z=[0, 0, 0, 0]))
    assert "singular" in refused(write(tmp_path / "ct.nii", hu(), srow_y=[1, 0, 0, 5]))
    assert "affine" in refused(write(tmp_path / "ct.nii", hu(), srow_x=[np.nan, 0, 0, 5]))
    assert "orientation" in refused(write(tmp_path / "ct.nii", hu(), sform_code=0, qform_code=0))


def test_pixels_that_are_not_grey(tmp_path: Path) -> None:
    colour = np.zeros((4, 4, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    assert "pixel type" in refused(write(tmp_path / "rgb.nii", colour))
    assert "complex64" in refused(write(tmp_path / "z.nii", hu().astype(np.complex64)))
    assert "damaged header" in refused(write(tmp_path / "odd.nii", hu(), datatype=9999))


def test_a_header_that_claims_the_moon_allocates_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "ct.nii.gz", hu(), dim=[3, 32767, 32767, 32767, 1, 1, 1, 1])
    assert "truncated" in refused(path)


def test_damaged_bytes_never_escape_as_another_error(tmp_path: Path) -> None:
    rng = random.Random(7)
    whole = write(tmp_path / "ct.nii", hu()).read_bytes()
    path = tmp_path / "damaged.nii"
    read, messages = 0, []
    for _ in range(400):
        raw = bytearray(whole)
        for _ in range(rng.choice([1, 2, 4])):
            raw[rng.randrange(352)] = rng.choice([0, 1, 127, 128, 255])
        path.write_bytes(raw)
        try:
            load_volume(path)
            read += 1
        except ImageError as error:
            messages.append(str(error))
    assert read > 100
    assert len(messages) > 50
    assert all(message.startswith(str(path)) and "\n" not in message for message in messages)


# ── Hounsfield units ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "array",
    [
        np.random.default_rng(0).integers(0, 256, (8, 8, 8)).astype(np.uint8),  # 8-bit grey
        (hu((8, 8, 8)) + 1024).astype(np.uint16),  # stored values, rescale intercept not applied
        np.where(hu((8, 8, 8)) < -900, -2000, hu((8, 8, 8)) + 1024).astype(np.int16),  # the same, padded
        np.random.default_rng(0).normal(0, 1, (8, 8, 8)).astype(np.float32),  # z-scored
        np.random.default_rng(0).random((8, 8, 8)).astype(np.float32),  # scaled to 0…1
        np.random.default_rng(0).integers(-30000, 30000, (8, 8, 8)).astype(np.int16),  # noise
        hu((8, 8, 8), np.int32) * 10,  # ten times too much
        np.minimum(hu((8, 8, 8), np.int32), 300) * 10,  # the same in soft tissue
    ],
)
def test_values_that_are_not_hu(array: np.ndarray, tmp_path: Path) -> None:
    path = write(tmp_path / "ct.nii", array)
    assert "not HU" in refused(path)
    assert load_volume(path, check_hu=False).shape_zyx == array.shape[::-1]


@pytest.mark.parametrize(
    "array",
    [
        np.clip(hu((8, 8, 8)), -160, 240),  # windowed, still HU
        np.random.default_rng(0).normal(45, 20, (12, 12, 12)).astype(np.int16),  # liver only: noise below 0
        np.random.default_rng(0).normal(-850, 30, (8, 8, 8)).astype(np.int16),  # lung only
        np.where(hu((8, 8, 8)) > 1000, -3024, hu((8, 8, 8))).astype(np.int16),  # scanner padding
        np.where(hu((8, 8, 8)) > 1300, 30000, hu((8, 8, 8))).astype(np.int16),  # metal
    ],
)
def test_crops_and_windows_of_ct_are_hu(array: np.ndarray, tmp_path: Path) -> None:
    np.testing.assert_array_equal(load_volume(write(tmp_path / "ct.nii", array)).array, array.T)


@pytest.mark.shared_data
def test_real_ct_is_read_as_nibabel_reads_it(shared: Path) -> None:
    ct = shared / "data" / "ct"
    paths = [
        ct / "ibsi_phantom/phantom.nii.gz",
        ct / "totalsegmentator/example_ct.nii.gz",
        ct / "totalsegmentator/example_ct_sm.nii.gz",
        ct / "totalsegmentator/pulmonary/ct_cropped.nii.gz",
    ]
    for path in paths:
        volume, reference = load_volume(path), nib.load(path)
        assert volume.array.dtype == reference.get_data_dtype()
        np.testing.assert_array_equal(volume.array.T, np.asanyarray(reference.dataobj))
        np.testing.assert_array_equal(volume.affine, RAS_TO_LPS @ reference.affine)


@pytest.mark.shared_data
def test_every_sarcoma_ct_is_hu_and_an_8_bit_image_is_not(shared: Path) -> None:
    paths = sorted((shared / "data/sts").glob("STS_*/CT_image.nii.gz"))
    assert len(paths) == 25
    assert {load_volume(path).orientation for path in paths} == {"LPS"}
    assert "values run from 0 to 255" in refused(shared / "data/ct/niivue/CT_pitch.nii.gz")
    oblique = load_volume(shared / "data/ct/niivue/CT_pitch.nii.gz", check_hu=False)
    assert oblique.is_oblique
