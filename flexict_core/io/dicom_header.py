"""The values of one DICOM file that a CT volume needs, and no others."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from flexict_core.io.dicom_values import codes, group, integer, items, number, numbers, text

if TYPE_CHECKING:
    from pydicom.dataset import Dataset, FileDataset

KEYWORDS = (
    "SpecificCharacterSet ImageType SOPClassUID SOPInstanceUID Modality Manufacturer ManufacturerModelName "
    "SeriesDescription PatientID PatientBirthDate ContrastBolusAgent BodyPartExamined SliceThickness KVP "
    "GantryDetectorTilt ConvolutionKernel StudyInstanceUID SeriesInstanceUID SeriesNumber AcquisitionNumber "
    "InstanceNumber ImagePositionPatient ImageOrientationPatient FrameOfReferenceUID SamplesPerPixel "
    "PhotometricInterpretation NumberOfFrames Rows Columns PixelSpacing BitsAllocated BitsStored "
    "PixelRepresentation PixelPaddingValue PixelPaddingRangeLimit RescaleIntercept RescaleSlope RescaleType "
    "SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence ContrastBolusAgentSequence"
)


@dataclass(frozen=True)
class Acquisition:
    """How the scanner made the series; "" or None where the file does not say."""

    manufacturer: str = ""
    model: str = ""
    kernel: str = ""
    kvp: float | None = None
    contrast_agent: str = ""
    body_part: str = ""
    series_number: int | None = None
    series_description: str = ""


@dataclass(frozen=True, slots=True)
class Plane:
    """One frame: where it lies and how its stored values become HU.

    position_mm: LPS, centre of the first pixel. orientation: unit vectors along a row (towards growing x) and
    down a column (y). spacing_mm: between rows (y), between columns (x). lacking: which of RescaleSlope and
    RescaleIntercept the file does not have, so that 1 or 0 is taken.
    """

    position_mm: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing_mm: tuple[float, ...]
    slope: float = 1.0
    intercept: float = 0.0
    lacking: tuple[str, ...] = ()
    image_type: tuple[str, ...] = ()
    thickness_mm: float | None = None


@dataclass(frozen=True, slots=True)
class Header:
    """One DICOM file, without its pixels. Patient ID and birth date are kept out of its printed form.

    planes: its frames; empty where a frame lacks its place in the patient. Slope and intercept are NaN where
    they are no numbers.
    padding: smallest and largest stored value (as 16 or 32 bits) that means "outside the reconstruction".
    """

    path: Path
    transfer_syntax: str
    sop_class: str
    sop_uid: str
    modality: str
    image_type: tuple[str, ...]
    patient_id: str = field(repr=False)
    birth_date: str = field(repr=False)
    study_uid: str
    series_uid: str
    frame_uid: str
    rows: int
    columns: int
    frames: int
    samples: int
    photometric: str
    bits_allocated: int
    bits_stored: int
    signed: bool
    padding: tuple[int, int] | None
    rescale_type: str
    planes: tuple[Plane, ...]
    instance_number: int | None
    acquisition_number: int | None
    tilt_deg: float | None
    acquisition: Acquisition


def header_of(path: Path, ds: FileDataset) -> Header:
    """The header of a data set that was read from `path`."""
    count = integer(ds, "NumberOfFrames")
    signed = integer(ds, "PixelRepresentation") == 1
    return Header(
        path=path,
        transfer_syntax=_meta(ds, "TransferSyntaxUID") or _guessed_syntax(ds),
        sop_class=text(ds, "SOPClassUID") or _meta(ds, "MediaStorageSOPClassUID"),
        sop_uid=text(ds, "SOPInstanceUID"),
        modality=text(ds, "Modality").upper(),
        image_type=codes(ds),
        patient_id=text(ds, "PatientID"),
        birth_date=text(ds, "PatientBirthDate"),
        study_uid=text(ds, "StudyInstanceUID"),
        series_uid=text(ds, "SeriesInstanceUID"),
        frame_uid=text(ds, "FrameOfReferenceUID"),
        rows=integer(ds, "Rows") or 0,
        columns=integer(ds, "Columns") or 0,
        frames=1 if count is None else count,
        samples=integer(ds, "SamplesPerPixel") or 1,
        photometric=text(ds, "PhotometricInterpretation").upper(),
        bits_allocated=integer(ds, "BitsAllocated") or 0,
        bits_stored=integer(ds, "BitsStored") or integer(ds, "BitsAllocated") or 0,
        signed=signed,
        padding=_padding(ds, signed),
        rescale_type=text(ds, "RescaleType").upper(),
        planes=_planes(ds, 1 if count is None else count),
        instance_number=integer(ds, "InstanceNumber"),
        acquisition_number=integer(ds, "AcquisitionNumber"),
        tilt_deg=number(ds, "GantryDetectorTilt"),
        acquisition=_acquisition(ds),
    )


def _meta(ds: FileDataset, keyword: str) -> str:
    return text(ds.file_meta, keyword)


def _guessed_syntax(ds: FileDataset) -> str:
    implicit, little = ds.original_encoding
    return "1.2.840.10008.1.2" + ("" if implicit else ".1" if little else ".2")


def _padding(ds: Dataset, signed: bool) -> tuple[int, int] | None:
    first = integer(ds, "PixelPaddingValue")
    if first is None:
        return None
    last = integer(ds, "PixelPaddingRangeLimit")
    # Written as unsigned or signed by its own VR; the pixels' representation decides what it means.
    ends = [_as_signed(v) if signed else v & 0xFFFF for v in (first, first if last is None else last)]
    return min(ends), max(ends)


def _as_signed(value: int) -> int:
    return (value & 0xFFFF) - (0x10000 if value & 0x8000 else 0)


def _acquisition(ds: Dataset) -> Acquisition:
    shared = items(ds, "SharedFunctionalGroupsSequence")
    rays, recon = (group(shared, [], name) for name in ("CTXRayDetailsSequence", "CTReconstructionSequence"))
    kernel = text(ds, "ConvolutionKernel") or (text(recon, "ConvolutionKernel") if recon else "")
    kvp = number(ds, "KVP")
    agents = [text(item, "CodeMeaning") for item in items(ds, "ContrastBolusAgentSequence")]
    return _same(
        Acquisition(
            manufacturer=text(ds, "Manufacturer"),
            model=text(ds, "ManufacturerModelName"),
            kernel=kernel,
            kvp=number(rays, "KVP") if kvp is None and rays else kvp,
            contrast_agent=text(ds, "ContrastBolusAgent") or ", ".join(a for a in agents if a),
            body_part=text(ds, "BodyPartExamined"),
            series_number=integer(ds, "SeriesNumber"),
            series_description=text(ds, "SeriesDescription"),
        )
    )


@lru_cache(maxsize=1024)
def _same(acquisition: Acquisition) -> Acquisition:
    """One object for all files of a series: a scan holds many headers."""
    return acquisition


# ── frames ──────────────────────────────────────────────────────────────────────────────────────────────


def _planes(ds: Dataset, frames: int) -> tuple[Plane, ...]:
    shared = items(ds, "SharedFunctionalGroupsSequence")
    per_frame = items(ds, "PerFrameFunctionalGroupsSequence")
    if not shared and not per_frame:
        plane = _plane(ds, ds, ds, ds, codes(ds))
        return (plane,) if plane and frames == 1 else ()
    planes = []
    for item in per_frame:
        frame = [item]
        position = group(shared, frame, "PlanePositionSequence")
        orientation = group(shared, frame, "PlaneOrientationSequence")
        measures = group(shared, frame, "PixelMeasuresSequence")
        rescale = group(shared, frame, "PixelValueTransformationSequence")
        kind = group(shared, frame, "CTImageFrameTypeSequence")
        plane = None
        if position is not None and orientation is not None and measures is not None:
            kinds = codes(kind, "FrameType") if kind is not None else ()
            plane = _plane(position, orientation, measures, rescale, kinds)
        if plane is None:
            return ()
        planes.append(plane)
    return tuple(planes) if len(planes) == frames else ()


def _plane(
    position: Dataset,
    orientation: Dataset,
    measures: Dataset,
    rescale: Dataset | None,
    kinds: tuple[str, ...],
) -> Plane | None:
    where = numbers(position, "ImagePositionPatient")
    along = numbers(orientation, "ImageOrientationPatient")
    spacing = numbers(measures, "PixelSpacing")
    if (len(where), len(along), len(spacing)) != (3, 6, 2):
        return None
    factors = {"RescaleSlope": 1.0, "RescaleIntercept": 0.0}
    lacking = tuple(name for name in factors if rescale is None or not text(rescale, name))
    if rescale is not None:
        factors |= {name: _rescale(rescale, name) for name in factors if name not in lacking}
    return Plane(
        position_mm=where,
        orientation=along,
        spacing_mm=spacing,
        slope=factors["RescaleSlope"],
        intercept=factors["RescaleIntercept"],
        lacking=lacking,
        image_type=kinds,
        thickness_mm=number(measures, "SliceThickness"),
    )


def _rescale(ds: Dataset, keyword: str) -> float:
    """NaN for a value that is there and is no number: to take it for missing would make wrong HU."""
    value = number(ds, keyword)
    return math.nan if value is None else value
