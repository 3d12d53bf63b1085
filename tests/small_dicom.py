"""Small DICOM files, written by pydicom and highdicom: CT series, structure sets and segmentations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from flexict_core import Volume

Contours = dict[float, list[Sequence[tuple[float, float]]]]  # slice → polygons, in pixels

CT = "1.2.840.10008.5.1.4.1.1.2"
SECRETS = ("DOE^JANE", "SECRET-ID-4711", "19570312")  # in every file; in no message


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
    if "PixelData" in ds and not ds["PixelData"].is_undefined_length:
        ds["PixelData"].VR = "OW"
    ds.save_as(path, enforce_file_format=True)
    return path


def structure_set(ct: Volume, regions: dict[str, Contours], *, kind: str = "CLOSED_PLANAR") -> Dataset:
    """An RTSTRUCT whose contours are given in voxels of `ct`."""
    assert ct.dicom is not None
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.481.3", generate_uid()
    ds.Modality, ds.PatientName, ds.PatientID = "RTSTRUCT", "DOE^JANE", "SECRET-ID-4711"
    ds.SeriesInstanceUID, ds.StudyInstanceUID = generate_uid(), generate_uid()
    series, study, frame = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID = ct.dicom.series_uid
    study.RTReferencedSeriesSequence = [series]
    frame.FrameOfReferenceUID = ct.dicom.frame_uid
    frame.RTReferencedStudySequence = [study]
    ds.ReferencedFrameOfReferenceSequence = [frame]
    ds.StructureSetROISequence, ds.ROIContourSequence = [], []
    for number, (name, slices) in enumerate(regions.items(), start=3):
        roi, drawn = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName = number, name
        roi.ReferencedFrameOfReferenceUID = ct.dicom.frame_uid
        drawn.ReferencedROINumber = number
        drawn.ContourSequence = []
        for z, polygons in slices.items():
            for polygon in polygons:
                contour = Dataset()
                points = ct.index_to_world([(x, y, z) for x, y in polygon])
                contour.ContourGeometricType = kind
                contour.NumberOfContourPoints = len(points)
                contour.ContourData = [f"{v:.4f}" for v in points.ravel()]
                drawn.ContourSequence.append(contour)
        ds.StructureSetROISequence.append(roi)
        ds.ROIContourSequence.append(drawn)
    return ds


def box(x0: float, y0: float, x1: float, y1: float) -> list[tuple[float, float]]:
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def _description(number: int, label: str) -> Any:
    import highdicom as hd
    from pydicom.sr.codedict import codes

    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=label,
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Neoplasm,
        algorithm_type="MANUAL",
    )


def write_segmentation(
    path: Path, sources: list[Dataset], pixels: np.ndarray, *labels: str, **options: Any
) -> Path:
    """pixels: (slice, row, column[, segment]) in the order of the sources."""
    import highdicom as hd

    seg = hd.seg.Segmentation(
        source_images=sources,
        pixel_array=pixels,
        segmentation_type=options.pop("kind", "BINARY"),
        segment_descriptions=[_description(k, label) for k, label in enumerate(labels, start=1)],
        series_instance_uid=generate_uid(),
        series_number=2,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="ACME",
        manufacturer_model_name="Seg 1",
        software_versions="1",
        device_serial_number="1",
        **options,
    )
    seg.save_as(path)
    return path
