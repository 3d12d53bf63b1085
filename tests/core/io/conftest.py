"""Synthetic DICOM: CT series, enhanced CT, structure sets and segmentations, written by pydicom."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from flexict_core import load_mask, load_volume
from flexict_core.errors import ImageError

CT = "1.2.840.10008.5.1.4.1.1.2"
SECRETS = ("DOE^JANE", "SECRET-ID-4711", "19570312")  # in every file; in no message

Series = Callable[..., Path]


class CtSeries:
    """A CT series of a few small planes; every argument of `write` is one way in which files differ."""

    hu = np.random.default_rng(3).integers(-1000, 1500, (6, 7, 9)).astype(np.int16)
    spacing_mm = (0.8, 0.7)  # rows (y), columns (x)
    step_mm = 2.5
    origin = (-100.0, -80.0, 30.0)

    @property
    def affine(self) -> np.ndarray:
        affine = np.diag([self.spacing_mm[1], self.spacing_mm[0], self.step_mm, 1.0])
        affine[:3, 3] = self.origin
        return affine

    def planes(
        self,
        hu: np.ndarray | None = None,
        *,
        offsets_mm: Sequence[float] | None = None,
        orientation: Sequence[float] = (1, 0, 0, 0, 1, 0),
        along: Sequence[float] | None = None,
        slope: float | Sequence[float] = 1,
        intercept: float | Sequence[float] = -1024,
        dtype: Any = np.uint16,
        bits: int = 16,
        tags: dict[str, Any] | None = None,
        each: Callable[[int, Dataset], None] | None = None,
    ) -> list[Dataset]:
        """One dataset a plane, in order. along: the way from plane to plane, per mm of offset; the normal
        unless told otherwise. tags: of every plane. each: a last change to plane k."""
        hu = self.hu if hu is None else hu
        offsets = np.arange(len(hu)) * self.step_mm if offsets_mm is None else np.asarray(offsets_mm)
        normal = np.cross(orientation[:3], orientation[3:]) if along is None else np.asarray(along)
        slopes, intercepts = (np.broadcast_to(v, len(hu)) for v in (slope, intercept))
        series, study, frame = generate_uid(), generate_uid(), generate_uid()
        planes = []
        for k, plane in enumerate(hu):
            stored = np.rint((plane - intercepts[k]) / slopes[k]).astype(dtype)
            ds = Dataset()
            ds.file_meta = FileMetaDataset()
            ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            ds.SOPClassUID, ds.SOPInstanceUID = CT, generate_uid()
            ds.PatientName, ds.PatientID, ds.PatientBirthDate = SECRETS
            ds.Modality, ds.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
            ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study, series, frame
            ds.Manufacturer, ds.ManufacturerModelName = "ACME", "Scan 1"
            ds.ConvolutionKernel, ds.KVP, ds.SliceThickness = "B30", 120, self.step_mm
            ds.InstanceNumber, ds.AcquisitionNumber = k + 1, 1
            ds.ImagePositionPatient = [float(f"{v:.6f}") for v in self.origin + normal * offsets[k]]
            ds.ImageOrientationPatient = [float(f"{v:.9g}") for v in orientation]
            ds.PixelSpacing = list(self.spacing_mm)
            ds.Rows, ds.Columns = plane.shape
            ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
            ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8 * np.dtype(dtype).itemsize, bits, bits - 1
            ds.PixelRepresentation = int(np.dtype(dtype).kind == "i")
            ds.RescaleSlope, ds.RescaleIntercept = float(slopes[k]), float(intercepts[k])
            ds.PixelData = stored.tobytes()
            for name, value in (tags or {}).items():
                setattr(ds, name, value)
            if each:
                each(k, ds)
            planes.append(ds)
        return planes

    def save(self, folder: Path, planes: Sequence[Dataset], *, names: Sequence[str] | None = None) -> Path:
        """Write them, by default under names whose order says nothing."""
        folder.mkdir(parents=True, exist_ok=True)
        start = len(list(folder.iterdir()))
        names = names or [f"{(5 * k) % 97:02d}-{start + k}" for k in range(len(planes))]
        for name, ds in zip(names, planes, strict=True):
            save(folder / name, ds)
        return folder

    def write(self, folder: Path, hu: np.ndarray | None = None, **changes: Any) -> Path:
        return self.save(folder, self.planes(hu, **changes))


def save(path: Path, ds: Dataset) -> Path:
    if not ds["PixelData"].is_undefined_length:
        ds["PixelData"].VR = "OW"
    ds.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def ct() -> CtSeries:
    return CtSeries()


@pytest.fixture
def refused() -> Callable[..., str]:
    """The one line with which a volume (or, with `mask`, a mask) is refused, without the path in front."""

    def message(
        path: Path, error: type[ImageError] = ImageError, *, mask: bool = False, **options: Any
    ) -> str:
        with pytest.raises(ImageError) as caught:
            (load_mask if mask else load_volume)(path, **options)
        text = str(caught.value)
        assert caught.type is error
        assert "\n" not in text
        assert str(path) in text
        assert not any(secret in text for secret in SECRETS)
        return text.removeprefix(f"{path}: ")

    return message


@pytest.fixture
def enhanced() -> Callable[..., Dataset]:
    """The planes of a series as one enhanced multi-frame CT, frames in the order given."""

    def merge(planes: Sequence[Dataset]) -> Dataset:
        ds = copy.deepcopy(planes[0])
        ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
        ds.NumberOfFrames = len(planes)
        ds.PixelData = b"".join(plane.PixelData for plane in planes)
        per_frame = ("ImagePositionPatient", "RescaleSlope", "RescaleIntercept")
        shared_by_all = (
            "ImageOrientationPatient",
            "PixelSpacing",
            "SliceThickness",
            "KVP",
            "ConvolutionKernel",
        )
        for name in (*per_frame, *shared_by_all):
            delattr(ds, name)
        shared = Dataset()
        shared.PlaneOrientationSequence = [_item(planes[0], "ImageOrientationPatient")]
        shared.PixelMeasuresSequence = [_item(planes[0], "PixelSpacing", "SliceThickness")]
        shared.CTXRayDetailsSequence = [_item(planes[0], "KVP")]
        shared.CTReconstructionSequence = [_item(planes[0], "ConvolutionKernel")]
        ds.SharedFunctionalGroupsSequence = Items([shared])
        frames = []
        for plane in planes:
            frame = Dataset()
            frame.PlanePositionSequence = [_item(plane, "ImagePositionPatient")]
            frame.PixelValueTransformationSequence = [_item(plane, "RescaleSlope", "RescaleIntercept")]
            kind = Dataset()
            kind.FrameType = plane.ImageType
            frame.CTImageFrameTypeSequence = [kind]
            frames.append(frame)
        ds.PerFrameFunctionalGroupsSequence = Items(frames)
        return ds

    return merge


def _item(ds: Dataset, *names: str) -> Dataset:
    item = Dataset()
    for name in names:
        setattr(item, name, ds[name].value)
    return item
