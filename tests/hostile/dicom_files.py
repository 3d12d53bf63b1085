"""DICOM folders that are damaged, mixed, incomplete, or hold no CT."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000Lossless, RLELossless, generate_uid

from tests.hostile.case import HU, Cases, DicomCt, Row, series

cases = Cases()
MR, PT, CAPTURE = (f"1.2.840.10008.5.1.4.1.1.{n}" for n in ("4", "128", "7"))


def tagged(name: str, tags: dict[str, Any], *says: str, **options: Any) -> None:
    cases.add(name, lambda at: series(at, tags=tags), *says, **options)


def planes(at: Path, hu: np.ndarray = HU, **changes: Any) -> list[Dataset]:
    tags = {"PatientID": at.name, **changes.pop("tags", {})}
    return DicomCt().planes(hu, tags=tags, **changes)


def save(at: Path, found: list[Dataset]) -> Row:
    DicomCt().save(at / "ct", found)
    return {"image": "ct"}


def damage(at: Path, change: Callable[[bytes], bytes], **changes: Any) -> Row:
    """A good series, one slice of which is changed."""
    row = series(at, **changes)
    path = sorted((at / "ct").iterdir())[4]
    path.write_bytes(change(path.read_bytes()))
    return row


# ── damaged ─────────────────────────────────────────────────────────────────────────────────────────────


@cases.refused("truncated, ", "of 960 bytes of pixels")
def a_slice_cut_in_its_pixels(at: Path) -> Row:
    return damage(at, lambda raw: raw[:-301])


@cases.refused("truncated before its pixels")
def a_slice_cut_in_its_header(at: Path) -> Row:
    return damage(at, lambda raw: raw[: raw.index(b"ACME")])


@cases.refused("the file is empty (0 bytes)", kin="nifti_of_no_bytes")
def a_slice_of_no_bytes(at: Path) -> Row:
    row = series(at)
    (at / "ct/extra.dcm").touch()
    return row


@cases.refused("not a DICOM file (its first bytes")
def a_letter_named_dicom(at: Path) -> Row:
    row = series(at)
    (at / "ct/extra.dcm").write_bytes(b"Dear colleague, " * 40)
    return row


@cases.refused("cannot be read (No such file or directory)", scan=("a link to nothing",))
def a_slice_that_cannot_be_opened(at: Path) -> Row:
    """A link to nothing: no rights open it, not even root's."""
    row = series(at)
    (at / "ct/extra.dcm").symlink_to(at / "gone.dcm")
    return row


@cases.refused("pixels cannot be decoded (JPEG 2000")
def damaged_jpeg_2000(at: Path) -> Row:
    hu = np.random.default_rng(5).integers(-1000, 1500, (4, 40, 48)).astype(np.int16)
    found = planes(at, hu)
    for ds in found:
        ds.compress(JPEG2000Lossless, generate_instance_uid=False)
    row = save(at, found)
    path = sorted((at / "ct").iterdir())[2]
    path.write_bytes(path.read_bytes().replace(b"\xff\x4f\xff\x51", b"\xff\x4f\xff\x00"))
    return row


@cases.refused("truncated or damaged compressed pixels")
def run_lengths_cut_short(at: Path) -> Row:
    found = planes(at)
    for ds in found:
        ds.compress(RLELossless, generate_instance_uid=False)
    row = save(at, found)
    path = sorted((at / "ct").iterdir())[2]
    path.write_bytes(path.read_bytes()[:-60])
    return row


def _syntax(at: Path, uid: bytes) -> Row:
    found = planes(at)
    for ds in found:
        ds.compress(RLELossless, generate_instance_uid=False)
        ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.100"
    row = save(at, found)
    for path in (at / "ct").iterdir():
        path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.4.100", uid))
    return row


cases.add(
    "a_transfer_syntax_of_films",
    lambda at: _syntax(at, b"1.2.840.10008.1.2.4.100"),
    "pixels in MPEG2",
    "are not read; decompress the series",
)
cases.add(
    "a_transfer_syntax_of_nobody",
    lambda at: _syntax(at, b"1.2.840.99999.1.2.4.999"),
    "pixels in 1.2.840.99999.1.2.4.999 are not read",
)


@cases.refused("deflated more than 100-fold")
def a_deflate_bomb(at: Path) -> Row:
    def bomb(raw: bytes) -> bytes:
        start = 144 + int.from_bytes(raw[140:144], "little")
        head = raw[:start].replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99")
        head = head[:140] + (len(head) - 144).to_bytes(4, "little") + head[144:]
        place = head.index(b"1.2.840.10008.1.2.1.99")
        head = head[: place - 2] + (22).to_bytes(2, "little") + head[place:]
        pack = zlib.compressobj(9, zlib.DEFLATED, -15)
        return head + pack.compress(raw[start:] + bytes(50_000_000)) + pack.flush()

    return damage(at, bomb)


@cases.refused("of 134217728 bytes of pixels", kin="a_slice_cut_in_its_pixels")
def slices_that_claim_the_moon(at: Path) -> Row:
    return series(at, tags={"Rows": 8192, "Columns": 8192})


tagged("slices_larger_than_any_scanners", {"Rows": 60000}, "an image of 60000 x 24 pixels")
tagged("slices_without_rows", {"Rows": 0}, "no pixels in the file")
tagged("a_million_frames", {"NumberOfFrames": 1_000_000}, "no place in the patient", kin="no place")


# ── which images ────────────────────────────────────────────────────────────────────────────────────────


@cases.refused("1 slice, not a volume")
def a_series_of_one_slice(at: Path) -> Row:
    return series(at, HU[:1])


def _kept(at: Path, keep: list[int]) -> Row:
    found = planes(at)
    return save(at, [found[k] for k in keep])


@cases.refused("slices are missing: 4 of 12 at 2.5 mm are there", kin="missing slices")
def seven_of_ten_slices_missing(at: Path) -> Row:
    return _kept(at, [0, 1, 5, 11])


@cases.refused("slices are missing: 11 of 12 at 2.5 mm are there", kin="missing slices")
def one_slice_missing(at: Path) -> Row:
    return _kept(at, [k for k in range(12) if k != 6])


@cases.refused("uneven slice spacing, 1 to 4.1 mm")
def uneven_slices(at: Path) -> Row:
    return series(at, offsets_mm=np.cumsum([0, 1, 2.3, 1.7, 4.1, 3.2, 1.3, 2.9, 3.7, 1.1, 2.2, 3.1]))


@cases.refused("1 of 13 slices lie at the position of another", kin="positions")
def a_slice_twice(at: Path) -> Row:
    found = planes(at)
    copy = planes(at, tags={"SeriesInstanceUID": found[0].SeriesInstanceUID, **_same_origin(found[0])})[3]
    return save(at, [*found, copy])


def _same_origin(ds: Dataset) -> dict[str, str]:
    return {name: ds[name].value for name in ("StudyInstanceUID", "FrameOfReferenceUID")}


@cases.refused("6 of 12 slices lie at the position of another", kin="positions")
def two_phases_in_one_series(at: Path) -> Row:
    return series(at, offsets_mm=[2.5 * (k % 6) for k in range(12)])


@cases.refused("2 CT series; choose one by series_uid", scan=())
def two_series_in_one_folder(at: Path) -> Row:
    """For a scan no fault: it names the series of each row."""
    return save(at, [*planes(at), *planes(at, HU[:8])])


@cases.refused("files of 2 patients", scan=())
def two_patients_in_one_folder(at: Path) -> Row:
    return save(at, [*planes(at), *planes(at, tags={"PatientID": "someone-else"})])


@cases.refused("one series with images of 2 patients", scan=("one series with images of 2 patients",))
def two_patients_in_one_series(at: Path) -> Row:
    found = planes(at, each=lambda k, ds: setattr(ds, "PatientID", "someone-else") if k > 5 else None)
    row = save(at, found)
    assert not isinstance(row, str)
    return {**row, "series_uid": found[0].SeriesInstanceUID}


@cases.refused("no series 1.2.3; it holds", scan=())
def a_series_that_is_not_there(at: Path) -> Row:
    row = series(at)
    assert not isinstance(row, str)
    return {**row, "series_uid": "1.2.3"}


def _mixed(name: str, value: Callable[[], Any], *says: str, kin: str = "") -> None:
    def make(at: Path) -> Row:
        return series(at, each=lambda k, ds: setattr(ds, name, value()) if k > 5 else None)

    cases.add(f"mixed_{name.lower()}", make, *says, kin=kin)


_mixed("FrameOfReferenceUID", generate_uid, "several frames of reference")
_mixed("StudyInstanceUID", generate_uid, "several studies")
_mixed("ImageOrientationPatient", lambda: [0, 1, 0, 1, 0, 0], "images of different orientations")
_mixed("PixelSpacing", lambda: [1.6, 1.4], "images of different pixel spacings")
_mixed("RescaleType", lambda: "Z_EFF", "6 of 12 images cannot be used: values in Z_EFF", kin="spoilt")
_mixed("ImagePositionPatient", lambda: None, "6 of 12 images cannot be used: no place", kin="spoilt")


@cases.refused("images of different sizes in one series (20 x 24 and 40 x 12)")
def mixed_sizes(at: Path) -> Row:
    def flatten(k: int, ds: Dataset) -> None:
        if k > 5:
            ds.Rows, ds.Columns = 40, 12

    return series(at, each=flatten)


@cases.refused("slices wander sideways")
def slices_that_wander(at: Path) -> Row:
    return series(at, each=lambda k, ds: setattr(ds, "ImagePositionPatient", [90.0 * k, 0, 2.5 * k]))


# ── no CT ───────────────────────────────────────────────────────────────────────────────────────────────

tagged(
    "a_magnetic_resonance_series",
    {"Modality": "MR", "SOPClassUID": MR},
    "modality MR, not CT",
    kin="modality",
)
tagged("a_positron_series", {"Modality": "PT", "SOPClassUID": PT}, "modality PT, not CT", kin="modality")
tagged("a_series_without_modality", {"Modality": ""}, "modality unknown, not CT", kin="modality")
tagged("a_screen_capture", {"SOPClassUID": CAPTURE}, "a secondary capture, no CT")
tagged(
    "a_colour_capture",
    {"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3},
    "colour pixels (RGB), a screen capture",
)
tagged("a_scout", {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "a localizer (scout), no volume")
tagged("a_reformatted_series", {"ImageType": ["DERIVED", "SECONDARY", "MPR"]}, "derived images")
tagged("a_dose_report", {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.67"}, "a structured report")
tagged(
    "a_dose_distribution", {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.481.2"}, "a dose distribution (RTDOSE)"
)
tagged("grey_values_in_dicom", {"BitsStored": 8, "HighBit": 7}, "8 bits a pixel are grey values")
tagged("a_map_of_atomic_numbers", {"RescaleType": "Z_EFF"}, "values in Z_EFF, not HU")


@cases.refused("no DICOM file here", scan=None)
def a_folder_of_letters(at: Path) -> Row:
    (at / "ct").mkdir()
    (at / "ct/letter.txt").write_text("Dear colleague")
    return {"image": "ct"}


@cases.refused("no DICOM file here", scan=None, kin="a_folder_of_letters")
def a_folder_of_nothing(at: Path) -> Row:
    (at / "ct").mkdir()
    return {"image": "ct"}


# ── missing and impossible values ───────────────────────────────────────────────────────────────────────

for tag in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
    tagged(f"no_{tag.lower()}", {tag: None}, "no place in the patient", kin="no place")
tagged("no_series_uid", {"SeriesInstanceUID": ""}, "no SeriesInstanceUID")
tagged("pixel_spacing_of_zero", {"PixelSpacing": [0, 0.7]}, "PixelSpacing of 0 mm", kin="PixelSpacing")
tagged(
    "pixel_spacing_below_zero", {"PixelSpacing": [0.8, -0.7]}, "PixelSpacing of -0.7 mm", kin="PixelSpacing"
)
tagged(
    "axes_that_are_not_at_right_angles",
    {"ImageOrientationPatient": [1, 0, 0, 0.6, 0.8, 0]},
    "not two unit vectors at a right angle",
)
tagged("a_slope_of_zero", {"RescaleSlope": 0}, "not HU", "a range under 20", kin="normalised_values")
tagged("a_slope_of_twenty", {"RescaleSlope": 20}, "of the values lie above 4000", kin="absurd_hu_above")


@cases.refused("not HU", "none lies between -1100 and -1", kin="no rescaling")
def no_intercept_in_any_slice(at: Path) -> Row:
    return series(at, each=lambda k, ds: ds.__delattr__("RescaleIntercept"))


@cases.refused("RescaleIntercept is missing in 6 of 12 images")
def no_intercept_in_some_slices(at: Path) -> Row:
    return series(at, each=lambda k, ds: ds.__delattr__("RescaleIntercept") if k > 5 else None)


@cases.refused("RescaleSlope is missing in 6 of 12 images")
def no_slope_in_some_slices(at: Path) -> Row:
    return series(at, each=lambda k, ds: ds.__delattr__("RescaleSlope") if k > 5 else None)


@cases.refused("RescaleSlope or RescaleIntercept is no number")
def a_slope_that_is_no_number(at: Path) -> Row:
    row = series(at, tags={"RescaleSlope": "12345678"})
    for path in (at / "ct").iterdir():
        path.write_bytes(path.read_bytes().replace(b"12345678", b"nan     "))
    return row
