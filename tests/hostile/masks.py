"""Masks that do not fit their CT, or are none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from flexict_core import Volume, load_volume
from tests.hostile.case import AFFINE_RAS, HU, LESION, Cases, DicomCt, Row, nifti, series, with_mask
from tests.small_dicom import Contours, box, save, structure_set, write_segmentation

cases = Cases()
NO_CT = ("is left out itself",)  # what a scan says of a mask whose CT it refused


def masked(name: str, mask: Callable[[Path], Row], *says: str, **options: Any) -> None:
    """A good CT with what `mask` writes and names."""

    def make(at: Path) -> Row:
        row = mask(at)
        assert not isinstance(row, str)
        return {**nifti(at / "ct.nii.gz"), **row}

    cases.add(name, make, *says, **options)


def label_map(
    name: str, array: np.ndarray, *says: str, scan: Any = ("",), kin: str = "", **options: Any
) -> None:
    def make(at: Path) -> Row:
        return with_mask(at, nifti(at / "ct.nii.gz"), array, **options)

    cases.add(name, make, *says, scan=scan, kin=kin)


def _moved(mm: float) -> np.ndarray:
    affine = AFFINE_RAS.copy()
    affine[2, 3] = mm
    return affine


# ── label maps ──────────────────────────────────────────────────────────────────────────────────────────

label_map("an_empty_mask", LESION * 0, "the mask is empty (all 5760 voxels are 0)")
label_map(
    "a_mask_of_another_patient",
    LESION,
    "lies on another grid",
    scan=("none that was found lies on its grid",),
    kin="another grid",
    affine_ras=_moved(400),
)
label_map(
    "a_mask_of_another_size",
    np.pad(LESION, ((0, 0), (0, 0), (0, 1))),
    "lies on another grid",
    scan=("none that was found lies on its grid",),
    kin="another grid",
)
label_map(
    "a_mask_of_probabilities", LESION * np.float32(0.4), "fractions such as 0.4", scan=("a range under 20",)
)
label_map(
    "a_mask_with_negative_labels",
    -LESION.astype(np.int16),
    "negative values (down to -1)",
    scan=("a range under 20",),
)
label_map(
    "a_mask_with_nan",
    np.where(LESION, np.float32(np.nan), 0),
    "NaN or infinite values",
    scan=("NaN or infinite",),
)
label_map(
    "a_mask_that_claims_the_moon",
    LESION,
    "truncated, its header claims",
    kin="claims of more voxels than the file has",
    dim=[3, 30000, 30000, 30000, 1, 1, 1, 1],
)
label_map(
    "a_mask_in_colour", LESION, "pixel type", scan=("pixel type",), kin="pixel type", datatype=128, bitpix=24
)


def _bomb(at: Path) -> Row:
    import gzip

    from tests.hostile.case import nifti_bytes

    head = nifti_bytes(LESION, dim=[3, 2200, 2200, 2200, 1, 1, 1, 1])[:352]
    content = gzip.compress(head, 9) + gzip.compress(bytes(1 << 24), 9) * 700
    (at / "mask.nii.gz").write_bytes(content)
    return {"mask": "mask.nii.gz"}


masked(
    "a_mask_that_is_a_bomb", _bomb, "lies on another grid", scan=("more than a CT has",), kin="another grid"
)


@cases.refused("label 7 is not in the mask; it holds 1", scan=())
def a_label_that_is_not_there(at: Path) -> Row:
    row = with_mask(at, nifti(at / "ct.nii.gz"))
    assert not isinstance(row, str)
    return {**row, "mask_label": 7}


@cases.refused("does not exist", "mask.nii.gz", scan=None, kin="missing file")
def a_mask_that_is_missing(at: Path) -> Row:
    row = nifti(at / "ct.nii.gz")
    assert not isinstance(row, str)
    return {**row, "mask": "mask.nii.gz"}


@cases.refused("negative values (down to -1000)", scan=(), kin="a_mask_with_negative_labels")
def a_ct_in_place_of_its_mask(at: Path) -> Row:
    row = nifti(at / "ct.nii.gz")
    assert not isinstance(row, str)
    return {**row, "mask": "ct.nii.gz"}


# ── structure sets and segmentations ────────────────────────────────────────────────────────────────────

LESION_BOX = box(8.5, 8.5, 12.5, 12.5)
INSIDE: Contours = {z: [LESION_BOX] for z in (5, 6, 7)}


def _drawn(
    at: Path,
    regions: dict[str, Contours],
    change: Callable[[Dataset], None] = lambda ds: None,
    **options: Any,
) -> Row:
    row = series(at)
    volume = load_volume(at / "ct")
    ds = structure_set(volume, regions, **options)
    ds.PatientID = at.name
    change(ds)
    save(at / "rs.dcm", ds)
    assert not isinstance(row, str)
    return {**row, "mask": "rs.dcm"}


def structures(
    name: str, regions: dict[str, Contours], *says: str, scan: Any = ("",), kin: str = "", **options: Any
) -> None:
    cases.add(name, lambda at: _drawn(at, regions, **options), *says, scan=scan, kin=kin)


def _another_frame(ds: Dataset) -> None:
    frame = generate_uid()
    ds.ReferencedFrameOfReferenceSequence[0].FrameOfReferenceUID = frame
    ds.StructureSetROISequence[0].ReferencedFrameOfReferenceUID = frame


def _another_series(ds: Dataset) -> None:
    study = ds.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0]
    study.RTReferencedSeriesSequence[0].SeriesInstanceUID = generate_uid()


def _no_numbers(ds: Dataset) -> None:
    ds.ROIContourSequence[0].ContourSequence[0].ContourData = ["1", "2"]


structures(
    "contours_beside_the_volume", {"GTV": {5: [box(60, 60, 70, 70)]}}, "mm outside its CT", kin="outside"
)
structures("contours_above_the_volume", {"GTV": {40: [LESION_BOX]}}, "mm outside its CT", kin="outside")
structures(
    "contours_of_points",
    {"GTV": INSIDE},
    "no region with closed contours",
    scan=("no closed contours, no area",),
    kind="POINT",
)
structures(
    "two_regions_and_none_chosen",
    {"GTV-1": INSIDE, "GTV-2": INSIDE},
    "2 regions and none was chosen",
    scan=(),
)
structures(
    "a_region_smaller_than_a_voxel", {"GTV": {5: [box(8.6, 8.6, 8.9, 8.9)]}}, "encloses no voxel centre"
)
structures(
    "contours_in_another_frame",
    {"GTV": INSIDE},
    "another frame of reference",
    kin="frame",
    change=_another_frame,
)
structures(
    "contours_on_another_series",
    {"GTV": INSIDE},
    "drawn on another series",
    scan=("the CT series it was drawn on is not here",),
    change=_another_series,
)
structures("contours_that_are_no_points", {"GTV": INSIDE}, "no list of points in mm", change=_no_numbers)


@cases.refused("truncated, its last element is cut off")
def a_structure_set_cut_short(at: Path) -> Row:
    row = _drawn(at, {"GTV": INSIDE})
    (at / "rs.dcm").write_bytes((at / "rs.dcm").read_bytes()[:-150])
    return row


def _with_bytes(at: Path, old: bytes, new: bytes) -> Row:
    """A structure set with other bytes in its contours, which pydicom looks at only when they are asked for."""
    row = _drawn(at, {"GTV": INSIDE})
    content = (at / "rs.dcm").read_bytes()
    assert old in content
    (at / "rs.dcm").write_bytes(content.replace(old, new))
    return row


@cases.refused("damaged RTSTRUCT (NotImplementedError)", scan=("damaged RTSTRUCT",))
def contours_of_an_unknown_representation(at: Path) -> Row:
    return _with_bytes(at, b"\x06\x30\x40\x00SQ", b"\x06\x30\x40\x00ZZ")


@cases.refused("DICOM of modality CT, no mask", scan=())
def a_ct_slice_in_place_of_a_mask(at: Path) -> Row:
    row = series(at)
    assert not isinstance(row, str)
    return {**row, "mask": f"ct/{sorted(p.name for p in (at / 'ct').iterdir())[0]}"}


def _segmented(at: Path, pixels: np.ndarray, **tags: Any) -> Row:
    extra = dict.fromkeys(("StudyID", "StudyDate", "StudyTime", "AccessionNumber", "PatientSex"), "")
    extra |= {"PositionReferenceIndicator": "", "ReferringPhysicianName": "", "PatientID": at.name}
    planes = DicomCt().planes(HU, tags=extra)
    DicomCt().save(at / "ct", planes)
    for ds in planes:
        for name, value in tags.items():
            setattr(ds, name, value)
    write_segmentation(at / "seg.dcm", planes, pixels, "Tumour")
    return {"image": "ct", "mask": "seg.dcm"}


@cases.refused("another frame of reference", kin="frame")
def a_segmentation_in_another_frame(at: Path) -> Row:
    return _segmented(at, LESION, FrameOfReferenceUID=generate_uid())


@cases.refused("SEG cannot be read as a volume", scan=("SEG",))
def a_segmentation_cut_short(at: Path) -> Row:
    row = _segmented(at, LESION)
    (at / "seg.dcm").write_bytes((at / "seg.dcm").read_bytes()[:-40])
    return row


def lesion_of(volume: Volume) -> Contours:
    """The lesion as contours of the volume's slices."""
    return {z: [box(7.5, 7.5, 14.5, 13.5)] for z in range(4, 9)}
