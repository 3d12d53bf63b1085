"""Small trees of DICOM and NIfTI files, written by pydicom and nibabel."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

SECRETS = ("DOE^JANE", "19570312")  # in every DICOM file; in no table
SHAPE = (12, 20, 24)  # z, y, x
Table = list[dict[str, str]]


def chest(seed: int = 0) -> np.ndarray:
    """HU (z, y, x): a noisy water box in air."""
    hu = np.random.default_rng(seed).normal(0, 12, SHAPE)
    hu[:, :4] = -1000
    return np.rint(hu).astype(np.int16)


def lesion(shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    mask = np.zeros(shape, np.uint8)
    mask[4:9, 8:14, 8:15] = 1
    return mask


def dicom_planes(patient: str = "P-1", hu: np.ndarray | None = None, **tags: Any) -> list[Dataset]:
    """An axial CT series, 0.8 × 0.7 mm every 2.5 mm; `tags` of every plane."""
    hu = chest() if hu is None else hu
    series, study, frame = generate_uid(), generate_uid(), generate_uid()
    planes = []
    for k, plane in enumerate(hu):
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", generate_uid()
        ds.PatientName, ds.PatientBirthDate, ds.PatientID, ds.PatientSex = *SECRETS, patient, ""
        ds.Modality, ds.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study, series, frame
        ds.StudyID = ds.StudyDate = ds.StudyTime = ds.AccessionNumber = ""
        ds.ReferringPhysicianName = ds.PositionReferenceIndicator = ""
        ds.Manufacturer, ds.ManufacturerModelName = "ACME", "Scan 1"
        ds.ConvolutionKernel, ds.KVP, ds.SliceThickness = "B30", 120, 2
        ds.ContrastBolusAgent, ds.BodyPartExamined = "OMNI", "CHEST"
        ds.InstanceNumber = k + 1
        ds.ImagePositionPatient = [-100, -80, 30 + 2.5 * k]
        ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        ds.PixelSpacing = [0.8, 0.7]
        ds.Rows, ds.Columns = plane.shape
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
        ds.RescaleSlope, ds.RescaleIntercept = 1, -1024
        ds.PixelData = (plane + 1024).astype(np.uint16).tobytes()
        for name, value in tags.items():
            setattr(ds, name, value)
        planes.append(ds)
    return planes


def save_planes(folder: Path, planes: list[Dataset], prefix: str = "") -> list[Dataset]:
    """Without extension, under names whose order says nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    for k, ds in enumerate(planes):
        ds["PixelData"].VR = "OW"
        ds.save_as(folder / f"{prefix}{(5 * k) % 97:02d}", enforce_file_format=True)
    return planes


def save_nifti(path: Path, array: np.ndarray, spacing: float = 1.5) -> Path:
    """array: (z, y, x), axes towards L, P, S."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array.transpose(2, 1, 0), np.diag([-spacing, -spacing, 2.0, 1.0])), path)
    return path


def read_csv(path: Path) -> Table:
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


@pytest.fixture
def planes() -> Callable[..., list[Dataset]]:
    return dicom_planes


@pytest.fixture
def put() -> Callable[..., list[Dataset]]:
    return save_planes


@pytest.fixture
def nifti() -> Callable[..., Path]:
    return save_nifti


@pytest.fixture
def table() -> Callable[[Path], Table]:
    return read_csv


@pytest.fixture
def hu() -> Callable[..., np.ndarray]:
    return chest


@pytest.fixture
def mask() -> Callable[..., np.ndarray]:
    return lesion
