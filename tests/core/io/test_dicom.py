"""DICOM series: place, HU, pixel types, transfer syntaxes, padding. Planted volumes, and SimpleITK's reading."""

from __future__ import annotations

import logging
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from flexict_core import Volume, load_volume
from flexict_core.errors import DataWarning, InputError
from flexict_core.io.dicom_file import read_header

CtSeries = Any
AXIAL, CORONAL = (1, 0, 0, 0, 1, 0), (1, 0, 0, 0, 0, -1)
SAGITTAL, TURNED = (0, 1, 0, 0, 0, -1), (0.8, 0.6, 0, -0.6, 0.8, 0)


def sitk_volume(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    import SimpleITK as sitk  # noqa: N813

    reader = sitk.ImageSeriesReader()
    (uid,) = reader.GetGDCMSeriesIDs(str(folder))
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder), uid))
    image = reader.Execute()
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image), affine


def same(volume: Volume, hu: np.ndarray, affine: np.ndarray) -> None:
    np.testing.assert_array_equal(volume.array, hu)
    np.testing.assert_allclose(volume.affine, affine, rtol=0, atol=1e-5)


# ── place ───────────────────────────────────────────────────────────────────────────────────────────────


def test_planes_lie_where_their_positions_say_whatever_their_names(ct: CtSeries, tmp_path: Path) -> None:
    planes = ct.planes(each=lambda k, ds: setattr(ds, "InstanceNumber", 100 - k))
    names = ["z.dcm", "1", "b/deep/0002", "a.ima", "b/x", "10"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "readme.txt").write_text("not an image")
    volume = load_volume(ct.save(tmp_path, planes, names=names))
    same(volume, ct.hu, ct.affine)
    assert volume.array.dtype == np.int16
    assert volume.array.flags.c_contiguous
    assert volume.source == tmp_path
    assert volume.dicom is not None
    assert volume.dicom.series_uid == planes[0].SeriesInstanceUID
    assert volume.dicom.frame_uid == planes[0].FrameOfReferenceUID
    assert volume.to_orientation("RAS").dicom == volume.dicom
    same(load_volume([tmp_path / name for name in names]), ct.hu, ct.affine)


def test_names_beyond_ascii(ct: CtSeries, tmp_path: Path) -> None:
    folder = tmp_path / "Größe 大 é" / ("n" * 200)
    same(
        load_volume(ct.save(folder, ct.planes(), names=[f"Schicht ß{k}" for k in range(6)])), ct.hu, ct.affine
    )


@pytest.mark.parametrize("orientation", [AXIAL, CORONAL, SAGITTAL, TURNED, (-1, 0, 0, 0, 1, 0)])
def test_every_orientation_agrees_with_simpleitk(
    orientation: tuple[float, ...], ct: CtSeries, tmp_path: Path
) -> None:
    volume = load_volume(ct.write(tmp_path, orientation=orientation))
    same(volume, *sitk_volume(tmp_path))
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    at = ct.origin + row * 0.7 * 4 + column * 0.8 * 2 + np.cross(row, column) * 2.5 * 3
    np.testing.assert_allclose(volume.index_to_world([4, 2, 3]), at, atol=1e-5)
    assert volume.array[3, 2, 4] == ct.hu[3, 2, 4]


def test_planes_written_from_the_top_down_are_turned(ct: CtSeries, tmp_path: Path) -> None:
    volume = load_volume(ct.write(tmp_path, offsets_mm=[0, -2.5, -5, -7.5, -10, -12.5]))
    np.testing.assert_array_equal(volume.array, ct.hu[::-1])
    np.testing.assert_allclose(volume.affine[:3, 3], [-100, -80, 17.5])


def test_positions_rounded_to_a_tenth_are_even(ct: CtSeries, tmp_path: Path) -> None:
    offsets = np.round(np.arange(6) * 0.625, 1)
    volume = load_volume(ct.write(tmp_path, offsets_mm=offsets))
    assert volume.spacing_zyx_mm[0] == pytest.approx(0.62, abs=1e-6)


def test_enhanced_multi_frame(ct: CtSeries, enhanced: Callable[..., Dataset], tmp_path: Path) -> None:
    planes = ct.planes(intercept=[-1024, -1000, -1024, -1010, -1024, -1024])
    mixed = [planes[k] for k in (3, 0, 5, 1, 4, 2)]
    path = ct.save(tmp_path, [enhanced(mixed)], names=["one"]) / "one"
    for source in (path, tmp_path):
        same(load_volume(source), ct.hu, ct.affine)
    header = read_header(path)
    assert header is not None
    assert (header.frames, header.acquisition.kernel, header.acquisition.kvp) == (6, "B30", 120)


def test_an_enhanced_series_in_several_files(
    ct: CtSeries, enhanced: Callable[..., Dataset], tmp_path: Path
) -> None:
    planes = ct.planes()
    second = enhanced(planes[:3])
    second.SOPInstanceUID = planes[1].SOPInstanceUID
    ct.save(tmp_path, [enhanced(planes[3:]), second])
    same(load_volume(tmp_path), ct.hu, ct.affine)


# ── HU ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_each_slice_has_its_own_slope_and_intercept(ct: CtSeries, tmp_path: Path) -> None:
    hu = ct.hu // 2 * 2
    volume = load_volume(ct.write(tmp_path, hu, slope=[1, 2, 1, 2, 2, 1], intercept=[-1024, -1000] * 3))
    same(volume, hu, ct.affine)
    assert volume.array.dtype == np.int16


def test_a_fractional_slope_gives_float32(ct: CtSeries, tmp_path: Path) -> None:
    folder = ct.write(tmp_path, slope=[1, 1, 0.5, 0.5, 1, 0.25], intercept=-1024.5)
    volume = load_volume(folder)
    assert volume.array.dtype == np.float32
    stored = [round(float(v)) for v in (ct.hu[2, 0, :2] + 1024.5) / 0.5]
    np.testing.assert_array_equal(volume.array[2, 0, :2], np.array(stored) * 0.5 - 1024.5)
    np.testing.assert_allclose(volume.array, sitk_volume(folder)[0], atol=1e-4)


@pytest.mark.parametrize(
    ("dtype", "bits", "intercept"),
    [
        (np.uint16, 16, -1024),
        (np.uint16, 12, -1024),
        (np.int16, 16, -1024),
        (np.int16, 12, 0),
        (np.int16, 16, 0),
        (np.uint32, 32, -1024),
        (np.int32, 32, 0),
    ],
)
def test_signed_and_unsigned_pixels_of_every_width(
    dtype: type, bits: int, intercept: int, ct: CtSeries, tmp_path: Path
) -> None:
    folder = ct.write(tmp_path, dtype=dtype, bits=bits, intercept=intercept)
    volume = load_volume(folder)
    same(volume, ct.hu, ct.affine)
    assert volume.array.dtype == np.int16
    np.testing.assert_array_equal(volume.array, sitk_volume(folder)[0])


def test_overlays_in_the_unused_bits_are_not_pixels(ct: CtSeries, tmp_path: Path) -> None:
    def overlay(k: int, ds: Dataset) -> None:
        stored = np.frombuffer(ds.PixelData, np.uint16) & 0x0FFF
        ds.PixelData = (stored | 0x4000).astype(np.uint16).tobytes()

    for name, dtype, intercept in (("u", np.uint16, -1024), ("s", np.int16, 0)):
        folder = ct.write(tmp_path / name, bits=12, dtype=dtype, intercept=intercept, each=overlay)
        same(load_volume(folder), ct.hu, ct.affine)


def test_metal_beyond_16_bits_widens_the_whole_volume(ct: CtSeries, tmp_path: Path) -> None:
    hu = ct.hu.astype(np.int32)
    hu[3, 1, 1] = 40000
    volume = load_volume(ct.write(tmp_path, hu))
    assert volume.array.dtype == np.int32
    same(volume, hu, ct.affine)


# ── transfer syntaxes ───────────────────────────────────────────────────────────────────────────────────


def jpeg_lossless(path: Path) -> None:
    import gdcm

    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()


@pytest.mark.parametrize(
    ("dtype", "bits"), [(np.uint16, 12), (np.uint16, 16), (np.int16, 16), (np.int16, 13)]
)
@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless, JPEGLosslessSV1])
def test_lossless_compression(
    syntax: Any, dtype: type, bits: int, ct: CtSeries, enhanced: Callable[..., Dataset], tmp_path: Path
) -> None:
    intercept = -1024 if np.dtype(dtype).kind == "u" else 0
    hu = np.random.default_rng(5).integers(-1000, 1500, (4, 40, 48)).astype(np.int16)
    planes = ct.planes(hu, dtype=dtype, bits=bits, intercept=intercept)
    whole = enhanced(planes)
    if syntax == JPEGLosslessSV1:
        for path in ct.save(tmp_path / "s", planes).iterdir():
            jpeg_lossless(path)
    else:
        for ds in (*planes, whole):
            ds.compress(syntax, generate_instance_uid=False)
        ct.save(tmp_path / "s", planes)
        same(load_volume(ct.save(tmp_path / "e", [whole])), hu, ct.affine)
    first = next((tmp_path / "s").iterdir())
    assert dcmread(first).file_meta.TransferSyntaxUID == syntax
    same(load_volume(tmp_path / "s"), hu, ct.affine)
    np.testing.assert_array_equal(hu, sitk_volume(tmp_path / "s")[0])


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
def test_uncompressed_encodings(syntax: Any, dtype: type, ct: CtSeries, tmp_path: Path) -> None:
    def encode(k: int, ds: Dataset) -> None:
        ds.file_meta.TransferSyntaxUID = syntax
        if syntax == ExplicitVRBigEndian:
            ds.PixelData = (
                np.frombuffer(ds.PixelData, dtype).astype(np.dtype(dtype).newbyteorder(">")).tobytes()
            )

    padding = {
        "PixelPaddingValue": 64 if dtype is np.uint16 else -900
    }  # its VR follows from the pixels' sign
    folder = ct.write(tmp_path, dtype=dtype, each=encode, tags=padding, intercept=-1024)
    same(load_volume(folder), ct.hu, ct.affine)
    header = read_header(next(folder.iterdir()))
    assert header is not None
    assert header.padding == (padding["PixelPaddingValue"],) * 2


def test_files_without_preamble(ct: CtSeries, tmp_path: Path) -> None:
    folder = ct.write(
        tmp_path, each=lambda k, ds: setattr(ds.file_meta, "TransferSyntaxUID", ImplicitVRLittleEndian)
    )
    for path in folder.iterdir():
        raw = path.read_bytes()
        length = int.from_bytes(raw[140:144], "little")
        path.write_bytes(raw[144 + length :])  # neither preamble nor file meta information
    same(load_volume(folder), ct.hu, ct.affine)


# ── padding ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("stored", "dtype", "intercept", "tags"),
    [
        (-2000, np.int16, -1024, {"PixelPaddingValue": -2000}),  # -3024 HU
        (-2000, np.int16, 0, {"PixelPaddingValue": -2000}),
        (-2000, np.int16, -1024, {}),
        (-2000, np.int16, 0, {}),
        (-2048, np.int16, 0, {}),
        (-3024, np.int16, 0, {}),
        (-32768, np.int16, 0, {}),
        (63536, np.uint16, -1024, {"PixelPaddingValue": 63536}),  # -2000 in the bits of an unsigned pixel
        (4095, np.uint16, -1024, {"PixelPaddingValue": 4095}),
        (1024, np.uint16, -1024, {"PixelPaddingValue": 1024}),  # 0 HU, which is also water
        (-31000, np.int16, 0, {"PixelPaddingValue": -32000, "PixelPaddingRangeLimit": -30000}),
        (30500, np.int16, 0, {"PixelPaddingValue": 31000, "PixelPaddingRangeLimit": 30000}),
    ],
)
def test_padding_becomes_air(
    stored: int, dtype: type, intercept: int, tags: dict[str, int], ct: CtSeries, tmp_path: Path
) -> None:
    hu = ct.hu.copy()
    hu[:, 2:5, 2:7] = 40  # a patient
    hu[:, 3, 4] = 0

    def pad(k: int, ds: Dataset) -> None:
        plane = np.frombuffer(ds.PixelData, dtype).reshape(hu.shape[1:]).copy()
        plane[0, :] = plane[:2, 0] = plane[-1, -3:] = stored
        ds.PixelData = plane.tobytes()

    volume = load_volume(ct.write(tmp_path, hu, dtype=dtype, intercept=intercept, tags=tags, each=pad))
    expected = hu.copy()
    expected[:, 0, :] = expected[:, :2, 0] = expected[:, -1, -3:] = -1000
    np.testing.assert_array_equal(volume.array, expected)
    assert (volume.array[:, 3, 4] == 0).all()  # the water inside stays


def test_padding_that_the_12_bits_cannot_hold(ct: CtSeries, tmp_path: Path) -> None:
    def pad(k: int, ds: Dataset) -> None:
        plane = np.frombuffer(ds.PixelData, np.uint16).reshape(ct.hu.shape[1:]).copy()
        plane[0] = 63536  # its low 12 bits alone would read as bone
        ds.PixelData = plane.tobytes()

    volume = load_volume(ct.write(tmp_path, bits=12, tags={"PixelPaddingValue": 63536}, each=pad))
    np.testing.assert_array_equal(volume.array[:, 0], -1000)
    np.testing.assert_array_equal(volume.array[:, 1:], ct.hu[:, 1:])


def test_the_lowest_value_of_a_12_bit_scanner_and_streaks_stay(ct: CtSeries, tmp_path: Path) -> None:
    hu = ct.hu.copy()
    hu[:, 0] = -1024
    hu[:, 1] = -1400  # a streak beside metal
    volume = load_volume(
        ct.write(tmp_path, hu, dtype=np.int16, intercept=0, tags={"PixelPaddingValue": -1024})
    )
    same(volume, hu, ct.affine)


def test_a_streak_is_not_padding(ct: CtSeries, tmp_path: Path) -> None:
    hu = np.random.default_rng(0).integers(-1000, 1000, (3, 60, 60)).astype(np.int16)
    hu[1, 30, 20:23] = -1700, -2500, -1600  # three of 3600
    hu[2, 0] = -2222  # what no list names, in a sixtieth of the slice
    expected = np.where(hu == -2222, -1000, hu)
    same(load_volume(ct.write(tmp_path, hu, dtype=np.int16, intercept=0)), expected, ct.affine)


# ── what lies around ────────────────────────────────────────────────────────────────────────────────────


def other_series(ct: CtSeries, like: Dataset, **tags: Any) -> list[Dataset]:
    return ct.planes(ct.hu[:1], tags={"StudyInstanceUID": like.StudyInstanceUID, **tags})


def test_scouts_reports_and_derived_series_beside_the_ct_are_passed_over(
    ct: CtSeries, tmp_path: Path
) -> None:
    planes = ct.planes()
    ct.save(tmp_path, planes)
    for name, tags in {
        "scout": {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
        "mip": {"ImageType": ["DERIVED", "SECONDARY", "MIP"]},
        "dose": {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.67", "Modality": "SR"},
        "capture": {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7", "Modality": "OT"},
    }.items():
        ct.save(tmp_path / name, other_series(ct, planes[0], **tags))
    same(load_volume(tmp_path), ct.hu, ct.affine)


def test_a_scout_within_the_series_is_set_aside(ct: CtSeries, tmp_path: Path) -> None:
    planes = ct.planes()
    scout = other_series(
        ct,
        planes[0],
        SeriesInstanceUID=planes[0].SeriesInstanceUID,
        ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
        ImageOrientationPatient=list(CORONAL),
    )
    ct.save(tmp_path, [*scout, *planes])
    same(load_volume(tmp_path), ct.hu, ct.affine)


def test_one_of_several_series_is_chosen_by_uid(ct: CtSeries, tmp_path: Path) -> None:
    first, second = ct.planes(), ct.planes(ct.hu[::-1])
    ct.save(tmp_path, [plane for pair in zip(first, second, strict=True) for plane in pair])
    for planes, hu in ((first, ct.hu), (second, ct.hu[::-1])):
        same(load_volume(tmp_path, series_uid=planes[0].SeriesInstanceUID), hu, ct.affine)


def test_a_derived_series_is_read_when_it_is_named(ct: CtSeries, tmp_path: Path) -> None:
    planes = ct.planes(tags={"ImageType": ["DERIVED", "PRIMARY", "AXIAL"]})
    ct.save(tmp_path, planes)
    with pytest.warns(DataWarning, match="derived"):
        volume = load_volume(tmp_path, series_uid=planes[0].SeriesInstanceUID)
    same(volume, ct.hu, ct.affine)


def test_what_to_do_at_gaps_is_one_of_two(ct: CtSeries, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="on_gaps 'fill'"):
        load_volume(ct.write(tmp_path), on_gaps="fill")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no files"):
        load_volume([])


# ── frugality and discretion ────────────────────────────────────────────────────────────────────────────


def test_each_file_is_read_once_and_memory_stays_below_three_volumes(
    ct: CtSeries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hu = np.random.default_rng(0).integers(-1000, 1000, (60, 128, 128)).astype(np.int16)
    folder = ct.write(tmp_path, hu, slope=1)
    load_volume(folder)  # imports
    opened: Counter[Path] = Counter()
    original = Path.open

    def counted(self: Path, *args: Any, **kwargs: Any) -> Any:
        opened[self] += 1
        return original(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", counted)
    tracemalloc.start()
    volume = load_volume(folder)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert set(opened.values()) == {1}
    assert len(opened) == 60
    assert peak < 2 * volume.nbytes
    np.testing.assert_array_equal(volume.array, hu)


def test_nothing_is_said_about_the_patient(
    ct: CtSeries, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    # Values that pydicom would warn of, quoting them.
    folder = ct.write(tmp_path, tags={"KVP": "1234567890.1234", "SeriesNumber": "1234567890"})
    for path in folder.iterdir():
        raw = path.read_bytes()
        for good in (b"1234567890.1234 ", b"1234567890", b"19570312"):
            raw = raw.replace(good, b"SECRET-ID-4711  "[: len(good)])
        path.write_bytes(raw)
    with caplog.at_level(logging.DEBUG):
        volume = load_volume(folder)
    same(volume, ct.hu, ct.affine)
    header = read_header(next(folder.iterdir()))
    said = caplog.text + "".join(capfd.readouterr()) + repr(header) + repr(volume.dicom)
    assert "SECRET" not in said
    assert "JANE" not in said
    assert header is not None
    assert header.patient_id == "SECRET-ID-4711"
    assert logging.getLogger("pydicom").level != logging.CRITICAL + 1


# ── real series ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.shared_data
def test_the_ibsi_phantom_is_the_same_from_dicom_and_from_nifti(shared: Path) -> None:
    phantom = shared / "data/ct/ibsi_phantom"
    volume = load_volume(phantom / "dicom/image")
    nifti = load_volume(phantom / "phantom.nii.gz").to_orientation("LPS")
    assert volume.orientation == "LPS"
    assert volume.array.dtype == np.int16
    np.testing.assert_array_equal(volume.array, nifti.array)
    np.testing.assert_allclose(volume.affine, nifti.affine, rtol=0, atol=1e-4)
    same(volume, *sitk_volume(phantom / "dicom/image"))


@pytest.mark.shared_data
def test_a_real_series_reads_with_padding_as_air(shared: Path) -> None:
    folder = shared / "data/ct/crlm_1004_dicom"
    volume = load_volume(folder)
    hu, affine = sitk_volume(folder)
    assert (hu == -3024).sum() > 2_000_000
    same(volume, np.where(hu == -3024, -1000, hu), affine)
    assert volume.shape_zyx == (41, 512, 512)
    assert volume.spacing_zyx_mm == pytest.approx((5, 0.796875, 0.796875))
