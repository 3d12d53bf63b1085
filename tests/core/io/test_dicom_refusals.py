"""DICOM that must not become a volume: each hazard with its own reason, in one line, and none of the patient."""

from __future__ import annotations

import os
import random
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless, generate_uid

from flexict_core import load_volume
from flexict_core.errors import ImageError, UnsupportedFormatError
from flexict_core.io.dicom_file import read_header
from flexict_core.io.dicom_series import group_series

CtSeries = Any
Refused = Callable[..., str]
HU = (
    np.random.default_rng(5).integers(-1000, 1500, (4, 40, 48)).astype(np.int16)
)  # large enough for JPEG 2000


# ── which files ─────────────────────────────────────────────────────────────────────────────────────────


def test_several_series_are_listed(ct: CtSeries, refused: Refused, tmp_path: Path) -> None:
    first, second = ct.planes(), ct.planes(ct.hu[:4])
    ct.save(tmp_path, [*first, *second])
    message = refused(tmp_path)
    assert message.startswith("2 CT series; choose one by series_uid: ")
    assert f"{first[0].SeriesInstanceUID} (CT, 6 images)" in message
    assert f"{second[0].SeriesInstanceUID} (CT, 4 images)" in message
    assert "no series 1.2.3; it holds" in refused(tmp_path, series_uid="1.2.3")


def test_two_patients_in_one_folder(ct: CtSeries, refused: Refused, tmp_path: Path) -> None:
    planes = ct.planes(each=lambda k, ds: setattr(ds, "PatientID", "SECRET-ID-4711" if k % 2 else "other"))
    ct.save(tmp_path / "a", planes)
    assert refused(tmp_path / "a") == "files of 2 patients; give each patient a folder, or series_uid"
    uid = planes[0].SeriesInstanceUID
    assert refused(tmp_path / "a", series_uid=uid) == "one series with images of 2 patients; split them"
    ct.write(tmp_path / "b", tags={"PatientID": "ANON"})
    ct.write(tmp_path / "b", tags={"PatientID": "ANON", "PatientBirthDate": "19600101"})
    assert "2 patients" in refused(tmp_path / "b")
    for tags in ({"PatientID": ""}, {"PatientBirthDate": ""}):  # missing is no other patient
        folder = ct.write(tmp_path / str(tags), tags=tags)
        assert load_volume(folder).shape_zyx == ct.hu.shape


def test_folders_without_dicom(refused: Refused, tmp_path: Path) -> None:
    assert "no DICOM file here" in refused(tmp_path, UnsupportedFormatError)
    (tmp_path / "notes.txt").write_text("no image")
    assert "no DICOM file here" in refused(tmp_path, UnsupportedFormatError)


def test_one_slice(ct: CtSeries, refused: Refused, tmp_path: Path) -> None:
    folder = ct.write(tmp_path, ct.hu[:1])
    assert refused(folder) == "1 slice, not a volume; give the whole series"
    assert refused(next(folder.iterdir())) == "1 slice, not a volume; give the whole series"


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"Modality": "MR", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.4"}, "modality MR, not CT"),
        ({"Modality": "PT", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.128"}, "modality PT, not CT"),
        ({"Modality": ""}, "modality unknown, not CT"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "a localizer (scout), no volume"),
        ({"ImageType": ["DERIVED", "SECONDARY", "MPR"]}, r"derived images (DERIVED\SECONDARY\MPR)"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "a secondary capture, no CT"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7.4"}, "a secondary capture, no CT"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.67"}, "a structured report (such as a dose report)"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.11.1"}, "a presentation state, no image"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.481.3"}, "a structure set (RTSTRUCT), no image"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.66.4"}, "a segmentation (SEG), no CT"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.481.2"}, "a dose distribution (RTDOSE), no CT"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.104.1"}, "an encapsulated PDF, no image"),
        ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}, "colour pixels (RGB), a screen capture"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "colour pixels (PALETTE COLOR), a screen capture"),
        ({"RescaleType": "Z_EFF"}, "values in Z_EFF, not HU"),
        ({"BitsStored": 8, "HighBit": 7}, "8 bits a pixel are grey values, not HU"),
        ({"Rows": 0}, "no pixels in the file"),
        ({"Rows": 60000}, "an image of 60000 x 9 pixels"),
        ({"SeriesInstanceUID": ""}, "no SeriesInstanceUID"),
        ({"ImagePositionPatient": None}, "no place in the patient"),
        ({"ImageOrientationPatient": None}, "no place in the patient"),
        ({"PixelSpacing": None}, "no place in the patient"),
        ({"PixelSpacing": [0, 0.7]}, "PixelSpacing of 0 mm is not positive"),
        ({"PixelSpacing": [0.8, -0.7]}, "PixelSpacing of -0.7 mm is not positive"),
        ({"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]}, "not two unit vectors at a right angle"),
        ({"ImageOrientationPatient": [1, 0, 0, 0.6, 0.8, 0]}, "not two unit vectors at a right angle"),
    ],
)
def test_what_is_no_ct_volume(
    tags: dict[str, Any], reason: str, ct: CtSeries, refused: Refused, tmp_path: Path
) -> None:
    assert reason in refused(ct.write(tmp_path, tags=tags))


def test_reasons_are_collected_where_no_series_is_good(
    ct: CtSeries, refused: Refused, tmp_path: Path
) -> None:
    ct.write(tmp_path, tags={"Modality": "MR"})
    ct.write(tmp_path, tags={"Modality": "PT"})
    message = refused(tmp_path)
    assert message == "no CT volume in 2 series: modality MR, not CT; modality PT, not CT"


def test_a_series_is_told_by_its_headers_alone(ct: CtSeries, tmp_path: Path) -> None:
    planes = ct.planes()
    scout = ct.planes(
        ct.hu[:1],
        tags={
            "SeriesInstanceUID": planes[0].SeriesInstanceUID,
            "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"],
        },
    )
    ct.save(tmp_path, [*planes, *scout])
    headers = [header for path in tmp_path.iterdir() if (header := read_header(path))]
    (series,) = group_series(headers)
    assert (series.images, series.refusal, series.modality) == (6, None, "CT")
    assert [reason for _, reason in series.set_aside] == ["a localizer (scout), no volume"]
    assert series.stack().spacing_mm == pytest.approx(2.5)


# ── values ──────────────────────────────────────────────────────────────────────────────────────────────


def test_values_that_are_not_hu(ct: CtSeries, refused: Refused, tmp_path: Path) -> None:
    folder = ct.write(tmp_path, each=lambda k, ds: ds.__delattr__("RescaleIntercept"))
    assert refused(folder).startswith("not HU, values run from ")
    assert load_volume(folder, check_hu=False).array.min() >= 0


def test_a_slope_of_zero(ct: CtSeries, refused: Refused, tmp_path: Path) -> None:
    assert "not HU" in refused(ct.write(tmp_path, tags={"RescaleSlope": 0}))


@pytest.mark.parametrize(("name", "value"), [("RescaleSlope", "nan"), ("RescaleIntercept", "inf")])
def test_a_rescaling_that_is_no_number(
    name: str, value: str, ct: CtSeries, refused: Refused, tmp_path: Path
) -> None:
    folder = ct.write(tmp_path, tags={name: "12345678"})
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes().replace(b"12345678", value.encode().ljust(8)))
    assert "RescaleSlope or RescaleIntercept is no number" in refused(folder)


def test_absurd_hu(ct: CtSeries, refused: Refused, tmp_path: Path) -> None:
    assert "of the values lie above 4000" in refused(
        ct.write(tmp_path / "a", slope=1, tags={"RescaleSlope": 20})
    )
    low = np.where(ct.hu > 300, 300, ct.hu).astype(np.int32)
    folder = ct.write(tmp_path / "b", low, intercept=0, dtype=np.int16, tags={"RescaleSlope": 10})
    assert "of the values lie below -1500" in refused(folder)


def test_positions_beyond_a_kilometre(ct: CtSeries, refused: Refused, tmp_path: Path) -> None:
    def move(k: int, ds: Dataset) -> None:
        ds.ImagePositionPatient = [5e6, 0, 2.5 * k]

    assert "not a 4x4 matrix of positions in mm" in refused(ct.write(tmp_path, each=move))


# ── damaged files ───────────────────────────────────────────────────────────────────────────────────────


def damaged(folder: Path, change: Callable[[bytes], bytes]) -> Path:
    path = sorted(folder.iterdir())[2]
    path.write_bytes(change(path.read_bytes()))
    return path


@pytest.mark.parametrize("syntax", [None, RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_truncated_pixels(syntax: Any, ct: CtSeries, refused: Refused, tmp_path: Path) -> None:
    planes = ct.planes(HU)
    for ds in planes if syntax else ():
        ds.compress(syntax, generate_instance_uid=False)
    folder = ct.save(tmp_path, planes)
    path = sorted(folder.iterdir())[2]
    whole = path.read_bytes()
    for cut in (-9, -40, -300):
        path.write_bytes(whole[:cut])
        message = refused(folder)
        assert "truncated" in message
        assert str(path) in message


def test_a_slice_cut_anywhere_is_not_lost(ct: CtSeries, refused: Refused, tmp_path: Path) -> None:
    """The last slice: without it the others would be a good series."""
    planes = ct.planes()
    folder = ct.save(tmp_path, planes, names=[f"{k}.dcm" for k in range(6)])
    path = folder / "5.dcm"
    whole = path.read_bytes()
    for length in range(0, len(whole) - 1, 11):
        path.write_bytes(whole[:length])
        message = refused(folder)
        words = (
            ["is empty"]
            if length == 0
            else ["not a DICOM file"]
            if length < 132
            else ["truncated", "damaged"]
        )
        assert any(word in message for word in words), (length, message)
        assert str(path) in message


@pytest.mark.parametrize("name", ["slice.dcm", "slice", "SLICE.IMA"])
def test_an_empty_slice_is_not_passed_over(name: str, ct: CtSeries, refused: Refused, tmp_path: Path) -> None:
    folder = ct.write(tmp_path)
    (folder / name).touch()
    assert "the file is empty (0 bytes)" in refused(folder)


def test_hidden_files_pipes_and_loops_are_passed_over(ct: CtSeries, refused: Refused, tmp_path: Path) -> None:
    folder = ct.write(tmp_path)
    (folder / ".DS_Store").touch()
    (folder / "._slice.dcm").write_bytes(b"\0\5\x16\7 a resource fork")
    os.mkfifo(folder / "pipe")
    (folder / "below").mkdir()
    (folder / "below/loop").symlink_to(folder)
    assert load_volume(folder).shape_zyx == ct.hu.shape
    (folder / "slice").symlink_to(folder / "gone")
    assert "slice: cannot be read (No such file or directory)" in refused(folder)


def test_a_file_named_dicom_that_is_not(ct: CtSeries, refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(b"this is a letter " * 100)
    assert "not a DICOM file" in refused(tmp_path)
    assert "not a DICOM file" in refused(tmp_path / "a.dcm")


def test_damaged_compressed_pixels(ct: CtSeries, refused: Refused, tmp_path: Path) -> None:
    planes = ct.planes(HU)
    for ds in planes:
        ds.compress(JPEG2000Lossless, generate_instance_uid=False)
    folder = ct.save(tmp_path, planes)
    damaged(folder, lambda raw: raw.replace(b"\xff\x4f\xff\x51", b"\xff\x4f\xff\x00"))
    assert "pixels cannot be decoded (JPEG 2000" in refused(folder)


@pytest.mark.parametrize(
    ("syntax", "name"),
    [
        (b"1.2.840.10008.1.2.4.100", "MPEG2"),
        (b"1.2.840.10008.1.2.4.51\0", "JPEG Extended"),
        (b"1.2.840.99999.1.2.4.999", "1.2.840.99999.1.2.4.999"),
    ],
)
def test_a_transfer_syntax_without_decoder(
    syntax: bytes, name: str, ct: CtSeries, refused: Refused, tmp_path: Path
) -> None:
    planes = ct.planes(HU)
    for ds in planes:
        ds.compress(RLELossless, generate_instance_uid=False)
        ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.100"
    folder = ct.save(tmp_path, planes)
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.4.100", syntax))
    message = refused(folder, UnsupportedFormatError)
    assert name in message
    assert "not read; decompress the series" in message


def test_a_deflate_bomb(ct: CtSeries, refused: Refused, tmp_path: Path) -> None:
    folder = ct.write(tmp_path)
    path = sorted(folder.iterdir())[2]
    raw = path.read_bytes()
    start = 144 + int.from_bytes(raw[140:144], "little")
    head = raw[:start].replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99")
    head = head[:140] + (len(head) - 144).to_bytes(4, "little") + head[144:]
    at = head.index(b"1.2.840.10008.1.2.1.99")
    head = head[: at - 2] + (22).to_bytes(2, "little") + head[at:]
    pack = zlib.compressobj(9, zlib.DEFLATED, -15)
    path.write_bytes(head + pack.compress(raw[start:] + bytes(50_000_000)) + pack.flush())
    assert "deflated more than 100-fold" in refused(folder)


def test_damaged_bytes_never_escape_as_another_error(ct: CtSeries, refused: Refused, tmp_path: Path) -> None:
    rng = random.Random(3)
    folder = ct.write(tmp_path)
    path = sorted(folder.iterdir())[2]
    whole = path.read_bytes()
    read, messages = 0, []
    for _ in range(300):
        raw = bytearray(whole)
        for _ in range(rng.choice([1, 2, 4])):
            raw[rng.randrange(132, len(raw) - 126)] = rng.choice([0, 1, 127, 128, 255])
        path.write_bytes(raw)
        try:
            load_volume(folder)
            read += 1
        except ImageError as error:
            messages.append(str(error))
    assert read > 50
    assert len(messages) > 50
    assert all(str(folder) in message and "\n" not in message for message in messages)


def test_more_frames_than_places(
    ct: CtSeries, refused: Refused, enhanced: Callable[..., Dataset], tmp_path: Path
) -> None:
    ds = enhanced(ct.planes())
    ds.NumberOfFrames = 7
    assert "no place in the patient" in refused(ct.save(tmp_path / "a", [ds]))
    ds = enhanced(ct.planes())
    ds.PixelData = ds.PixelData[: 5 * 126]
    assert "truncated, 630 of 756 bytes" in refused(ct.save(tmp_path / "b", [ds]))


def test_frames_of_two_phases(
    ct: CtSeries, refused: Refused, enhanced: Callable[..., Dataset], tmp_path: Path
) -> None:
    twice = [*ct.planes(), *ct.planes()]
    assert "6 of 12 slices lie at the position of another" in refused(ct.save(tmp_path, [enhanced(twice)]))


def test_one_series_in_two_frames_of_reference(ct: CtSeries, refused: Refused, tmp_path: Path) -> None:
    def moved(name: str) -> Callable[[int, Dataset], None]:
        return lambda k, ds: setattr(ds, name, generate_uid()) if k > 2 else None

    assert "several frames of reference" in refused(
        ct.write(tmp_path / "a", each=moved("FrameOfReferenceUID"))
    )
    assert "several studies" in refused(ct.write(tmp_path / "b", each=moved("StudyInstanceUID")))


def test_a_spoilt_slice_is_not_passed_over(ct: CtSeries, refused: Refused, tmp_path: Path) -> None:
    """The last slice: without it the others would be a good series."""

    def spoil(name: str, value: Any) -> Callable[[int, Dataset], None]:
        return lambda k, ds: setattr(ds, name, value) if k == 5 else None

    for number, (name, value, reason) in enumerate(
        [
            ("ImagePositionPatient", None, "no place in the patient"),
            ("RescaleType", "Z_EFF", "values in Z_EFF, not HU"),
            ("Rows", 0, "no pixels in the file"),
        ]
    ):
        message = refused(ct.write(tmp_path / str(number), each=spoil(name, value)))
        assert message.startswith(f"1 of 6 images cannot be used: {reason}")
    # what was never a slice of this volume is passed over still
    for number, (name, value) in enumerate(
        [("ImageType", ["ORIGINAL", "PRIMARY", "LOCALIZER"]), ("PhotometricInterpretation", "RGB")], start=3
    ):
        assert len(load_volume(ct.write(tmp_path / str(number), each=spoil(name, value))).array) == 5


@pytest.mark.parametrize("name", ["RescaleSlope", "RescaleIntercept"])
def test_a_rescaling_that_some_slices_lack(
    name: str, ct: CtSeries, refused: Refused, enhanced: Callable[..., Dataset], tmp_path: Path
) -> None:
    def drop(k: int, ds: Dataset) -> None:
        if k in (1, 4):
            delattr(ds, name)

    assert refused(ct.write(tmp_path / "a", each=drop)).startswith(f"{name} is missing in 2 of 6 images")
    frames = enhanced(ct.planes())
    delattr(frames.PerFrameFunctionalGroupsSequence[3].PixelValueTransformationSequence[0], name)
    assert f"{name} is missing in 1 of 6 images" in refused(ct.save(tmp_path / "b", [frames]))


def test_slices_that_claim_the_moon_take_no_memory(
    ct: CtSeries, refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    plain = np.empty
    monkeypatch.setattr(np, "empty", lambda shape, *a, **k: made.append(shape) or plain(shape, *a, **k))
    assert "of 134217728 bytes of pixels" in refused(ct.write(tmp_path, tags={"Rows": 8192, "Columns": 8192}))
    assert all(np.prod(shape) < 1e6 for shape in made)
