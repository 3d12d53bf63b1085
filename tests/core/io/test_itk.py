"""NRRD and MetaImage, written by SimpleITK and by hand."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from flexict_core import Volume, load_mask, load_volume
from flexict_core.errors import ImageError, MaskError

Refused = Callable[..., str]
SUFFIXES = [".nrrd", ".nhdr", ".mha", ".mhd"]
HU = np.random.default_rng(1).integers(-1000, 1500, (4, 5, 6)).astype(np.int16)
DIRECTION = np.array([[0, -1, 0], [0, 0, 1], [1, 0, 0.0]])


def write(path: Path, array: np.ndarray = HU, *, packed: bool = False, vector: bool = False) -> Path:
    image = sitk.GetImageFromArray(array, isVector=vector)
    if array.ndim == 3 + vector:
        image.SetSpacing((0.7, 0.8, 2.5))
        image.SetOrigin((-10, 20, -300))
        image.SetDirection(DIRECTION.ravel().tolist())
    sitk.WriteImage(image, str(path), packed)
    return path


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_both_formats_read_to_the_same_patient(suffix: str, packed: bool, tmp_path: Path) -> None:
    volume = load_volume(write(tmp_path / f"ct{suffix}", packed=packed))
    np.testing.assert_array_equal(volume.array, HU)
    assert volume.array.dtype == np.int16
    np.testing.assert_allclose(volume.affine[:3, :3], DIRECTION * [0.7, 0.8, 2.5], atol=1e-9)
    np.testing.assert_allclose(volume.affine[:3, 3], [-10, 20, -300])
    # The same image as NIfTI, whose reader is another.
    nifti = load_volume(write(tmp_path / "ct.nii.gz"))
    np.testing.assert_allclose(volume.affine, nifti.affine, atol=1e-4)
    np.testing.assert_array_equal(volume.array, nifti.array)


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32, np.uint16, np.int8])
def test_voxels_keep_the_files_pixel_type(dtype: Any, tmp_path: Path) -> None:
    array = np.clip(HU, -100, 100).astype(dtype) if np.dtype(dtype).itemsize == 1 else HU.astype(dtype)
    volume = load_volume(write(tmp_path / "ct.nrrd", array), check_hu=False)
    assert volume.array.dtype == dtype
    np.testing.assert_array_equal(volume.array, array)
    assert load_volume(write(tmp_path / "f8.mha", HU.astype(np.float64))).array.dtype == np.float32


def test_an_nrrd_in_ras_comes_out_in_lps(tmp_path: Path) -> None:
    path = write(tmp_path / "ct.nrrd")
    raw = path.read_bytes()
    assert b"space: left-posterior-superior" in raw
    path.write_bytes(raw.replace(b"space: left-posterior-superior", b"space: right-anterior-superior"))
    lps, ras = load_volume(write(tmp_path / "lps.nrrd")), load_volume(path)
    np.testing.assert_allclose(ras.affine, np.diag([-1, -1, 1, 1]) @ lps.affine, atol=1e-9)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_masks_have_their_label_and_grid(suffix: str, tmp_path: Path, refused: Refused) -> None:
    ct = load_volume(write(tmp_path / "ct.nrrd"))
    labels = np.zeros(HU.shape, np.uint8)
    labels[1, 2:4, 1:3], labels[2, 0, 0] = 1, 2
    path = write(tmp_path / f"mask{suffix}", labels, packed=True)
    mask = load_mask(path, label=1, reference=ct)
    np.testing.assert_array_equal(mask.array, labels == 1)
    assert "label 5 is not in the mask" in refused(path, MaskError, mask=True, label=5, reference=ct)
    assert "'GTV' is a name" in refused(path, MaskError, mask=True, label="GTV", reference=ct)
    moved = Volume(ct.array, ct.affine + np.array([[0, 0, 0, 5]] + [[0] * 4] * 3))
    assert "another grid" in refused(path, MaskError, mask=True, label=1, reference=moved)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_names_beyond_ascii(suffix: str, tmp_path: Path) -> None:
    folder = tmp_path / "Größe 大 é" / ("n" * 200)
    folder.mkdir(parents=True)
    np.testing.assert_array_equal(load_volume(write(folder / f"Lunge ß{suffix}")).array, HU)


@pytest.mark.parametrize(
    "name", ["x" * 300 + ".nrrd", "x" * 300, "x" * 300 + ".nii.gz", "y/" * 2500 + "ct.mha"]
)
def test_names_that_are_too_long(name: str, tmp_path: Path, refused: Refused) -> None:
    assert "File name too long" in refused(tmp_path / name)


# ── refusals ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_missing_empty_and_foreign_files(suffix: str, tmp_path: Path, refused: Refused) -> None:
    path = tmp_path / f"ct{suffix}"
    assert "no such file" in refused(path)
    path.touch()
    assert "0 bytes" in refused(path)
    path.write_bytes(b"this is a letter " * 100)
    assert "its first bytes are not such a header" in refused(path)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_truncated_voxels(
    suffix: str, packed: bool, tmp_path: Path, refused: Refused, capfd: pytest.CaptureFixture[str]
) -> None:
    array = np.random.default_rng(1).integers(-1000, 1500, (20, 30, 30)).astype(np.int16)
    path = write(tmp_path / f"ct{suffix}", array, packed=packed)
    data = next((p for p in tmp_path.iterdir() if p != path), path)
    whole = data.read_bytes()
    for cut in (-1, -3000, len(whole) // 2):
        data.write_bytes(whole[:cut])
        refused(path)
    assert "".join(capfd.readouterr()) == ""


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_a_header_that_claims_the_moon_allocates_nothing(
    suffix: str, tmp_path: Path, refused: Refused
) -> None:
    path = write(tmp_path / f"ct{suffix}", packed=True)
    raw = path.read_bytes()
    for old, new in (
        (b"sizes: 6 5 4", b"sizes: 30000 30000 30000"),
        (b"DimSize = 6 5 4", b"DimSize = 30000 30000 30000"),
    ):
        raw = raw.replace(old, new)
    path.write_bytes(raw)
    assert "truncated, its header claims 54000000000000 bytes" in refused(path)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_other_than_one_grey_volume(suffix: str, tmp_path: Path, refused: Refused) -> None:
    colour = np.zeros((4, 5, 6, 3), np.uint8)
    assert "3 values a voxel" in refused(write(tmp_path / f"rgb{suffix}", colour, vector=True))
    if suffix == ".mha":
        assert "2 values a voxel" in refused(write(tmp_path / "complex.mha", HU.astype(np.complex64)))
    assert "a 2D image (6 x 5)" in refused(write(tmp_path / f"flat{suffix}", HU[0]))
    if suffix == ".mha":
        assert "4-dimensional (6 x 5 x 4 x 2)" in refused(write(tmp_path / "time.mha", np.stack([HU, HU])))


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_damaged_bytes_never_escape_as_another_error(suffix: str, tmp_path: Path) -> None:
    rng = random.Random(7)
    path = write(tmp_path / f"ct{suffix}")
    whole = path.read_bytes()
    read, messages = 0, []
    for _ in range(200):
        raw = bytearray(whole)
        for _ in range(rng.choice([1, 2, 4])):
            raw[rng.randrange(len(raw) - HU.nbytes)] = rng.choice(b"\0\n 019-e:(\xff")
        path.write_bytes(raw)
        try:
            load_volume(path)
            read += 1
        except ImageError as error:
            messages.append(str(error))
    assert read > 20
    assert len(messages) > 20
    assert all(message.startswith(f"{path}: ") and "\n" not in message for message in messages)


def test_no_orientation(tmp_path: Path, refused: Refused) -> None:
    nrrd = write(tmp_path / "ct.nrrd")
    header, voxels = nrrd.read_bytes().split(b"\n\n", 1)
    kept = [line for line in header.split(b"\n") if not line.startswith(b"space")]
    nrrd.write_bytes(b"\n".join([*kept, b"spacings: 0.7 0.8 2.5"]) + b"\n\n" + voxels)
    assert "no orientation (no space in its header)" in refused(nrrd)
    mha = write(tmp_path / "ct.mha")
    raw = mha.read_bytes()
    start = raw.index(b"TransformMatrix")
    mha.write_bytes(raw[:start] + raw[raw.index(b"\n", start) + 1 :])
    assert "no orientation (no TransformMatrix in its header)" in refused(mha)


@pytest.mark.parametrize(("suffix", "field"), [(".nhdr", b"data file: "), (".mhd", b"ElementDataFile = ")])
def test_data_files_stay_in_the_headers_folder(
    suffix: str, field: bytes, tmp_path: Path, refused: Refused
) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    path = write(inside / f"ct{suffix}")
    (data,) = (p for p in inside.iterdir() if p != path)
    data.rename(tmp_path / data.name)
    assert "is not there" in refused(path)
    raw = path.read_bytes()
    for name in (f"../{data.name}", str(tmp_path / data.name)):
        path.write_bytes(raw.replace(field + data.name.encode(), field + name.encode()))
        assert "lies outside its folder" in refused(path)
    path.write_bytes(raw.replace(field + data.name.encode(), field + b"LIST"))
    assert "list of files" in refused(path)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_values_and_geometry_are_checked_as_for_nifti(suffix: str, tmp_path: Path, refused: Refused) -> None:
    path = tmp_path / f"ct{suffix}"
    bad = HU.astype(np.float32)
    bad[1, 1, 1] = np.nan
    assert "1 voxels are NaN or infinite" in refused(write(path, bad))
    assert "not HU" in refused(write(path, np.abs(HU).astype(np.uint8)))
    raw = write(path).read_bytes()
    for old, new in (
        (b"space directions: (", b"space directions: (0,0,0) ("),
        (b"ElementSpacing = 0.7", b"ElementSpacing = 0"),
        (b"ElementSpacing = 0.6", b"ElementSpacing = 0"),
    ):
        raw = raw.replace(old, new)
    path.write_bytes(raw)
    refused(path)


def test_a_nibabel_file_of_the_same_scan_agrees(tmp_path: Path) -> None:
    """Left and right, once more by a third party: a mark planted on the patient's left."""
    array = np.full((5, 6, 4), -1000, np.int16)
    array[0, 2, 1] = 900
    nib.save(nib.Nifti1Image(array, np.diag([-2, -2, 3, 1.0])), tmp_path / "ct.nii.gz")  # x towards left
    image = sitk.ReadImage(str(tmp_path / "ct.nii.gz"))
    sitk.WriteImage(image, str(tmp_path / "ct.nrrd"))
    nifti, nrrd = load_volume(tmp_path / "ct.nii.gz"), load_volume(tmp_path / "ct.nrrd")
    np.testing.assert_array_equal(nifti.array, nrrd.array)
    np.testing.assert_allclose(nifti.affine, nrrd.affine, atol=1e-4)


@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr", ".mha", ".mhd"])
def test_damage_in_packed_voxels_is_found(suffix: str, tmp_path: Path, refused: Refused) -> None:
    """ITK takes what it can unpack of a MetaImage and says nothing of the rest."""
    array = np.random.default_rng(1).integers(-1000, 1500, (20, 30, 30)).astype(np.int16)
    path = write(tmp_path / f"ct{suffix}", array, packed=True)
    data = next((p for p in tmp_path.iterdir() if p != path), path)
    whole = data.read_bytes()
    for place in (-12000, -6000, -6):
        damaged = bytearray(whole)
        damaged[place] ^= 16
        data.write_bytes(damaged)
        assert any(word in refused(path) for word in ("damaged", "more voxels are packed", "truncated")), (
            place
        )
    data.write_bytes(whole)
    np.testing.assert_array_equal(load_volume(path).array, array)


@pytest.mark.parametrize("side", ["0", "-2.5", "nan", "x"])
def test_a_spacing_that_is_not_positive(side: str, tmp_path: Path, refused: Refused) -> None:
    path = write(tmp_path / "ct.mha")
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b" 2.5\nDimSize", f" {side}\nDimSize".encode()))
    assert path.read_bytes() != raw
    assert "is not positive; repair the header" in refused(path)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (b"DimSize", b"DimSoze", "damaged header, no DimSize in it"),
        (b"ElementType", b"ElementTipe", "damaged header, no ElementType in it"),
        (b"NDims = 3\n", b"Offset = 0 0 0\nNDims = 3\n", "damaged header, Offset comes before NDims"),
    ],
)
def test_a_metaimage_header_that_lacks_a_field_is_told_in_one_voice(
    tmp_path: Path, refused: Refused, capfd: pytest.CaptureFixture[str], old: bytes, new: bytes, says: str
) -> None:
    mha = write(tmp_path / "a.mha")
    raw = mha.read_bytes()
    assert old in raw
    mha.write_bytes(raw.replace(old, new, 1))
    assert says in refused(mha)
    assert capfd.readouterr().err == ""  # ITK would write of it past Python
