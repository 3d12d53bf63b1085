"""Masks find their CT, and only theirs."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from flexict_core import embed_manifest, load_encoder
from flexict_core.intake.scan import ScanReport, scan
from flexict_core.store import EmbeddingStore

Make = Callable[..., Any]
SMALL = (12, 18, 24)  # another grid


def run(home: Path, **options: Any) -> ScanReport:
    return scan([home], manifest=home / "manifest.csv", progress=False, **options)


@pytest.mark.parametrize(
    ("images", "masks", "pairs", "why"),
    [
        # by name, all on one grid
        (
            ["ct/P-1.nii.gz", "ct/P-10.nii.gz"],
            ["ct/P-1_mask.nii.gz", "ct/P-10_mask.nii.gz"],
            {"ct/P-1_mask.nii.gz": "ct/P-1.nii.gz", "ct/P-10_mask.nii.gz": "ct/P-10.nii.gz"},
            {},
        ),
        (
            ["imagesTr/l_001_0000.nii.gz", "imagesTr/l_002_0000.nii.gz"],
            ["labelsTr/l_001.nii.gz"],
            {"labelsTr/l_001.nii.gz": "imagesTr/l_001_0000.nii.gz"},
            {},
        ),
        # by place
        (
            ["P1/ct.nii.gz", "P2/ct.nii.gz"],
            ["P1/segmentations/liver.nii.gz", "P2/mask.nii.gz"],
            {"P1/segmentations/liver.nii.gz": "P1/ct.nii.gz", "P2/mask.nii.gz": "P2/ct.nii.gz"},
            {},
        ),
        (["P1/ct/x.nii.gz"], ["P1/masks/tumour.nii.gz"], {"P1/masks/tumour.nii.gz": "P1/ct/x.nii.gz"}, {}),
        # by grid, where the name fits two
        (
            ["example_ct.nii.gz#", "example_ct_sm.nii.gz"],
            ["example_seg.nii.gz"],
            {"example_seg.nii.gz": "example_ct_sm.nii.gz"},
            {},
        ),
        # never another patient's
        (["P1.nii.gz"], ["P2_mask.nii.gz"], {}, {"P2_mask.nii.gz": "its name tells no CT"}),
        (["P2/ct.nii.gz"], ["P1/mask.nii.gz"], {}, {"P1/mask.nii.gz": "its name tells no CT"}),
        (["P1.nii.gz", "P2.nii.gz"], ["mask.nii.gz"], {}, {"mask.nii.gz": "P1.nii.gz and P2.nii.gz alike"}),
        (
            ["P1.nii.gz#", "P2.nii.gz"],
            ["P1_mask.nii.gz"],
            {},
            {"P1_mask.nii.gz": "another grid than its CT P1"},
        ),
        (["P1.nii.gz#"], ["mask.nii.gz"], {}, {"mask.nii.gz": "none that was found lies on its grid"}),
        (
            ["P1/ct.nii.gz!", "P2/ct.nii.gz"],
            ["P1/P1_gtv.nii.gz"],
            {},
            {"P1/P1_gtv.nii.gz": "left out itself"},
        ),
    ],
)
def test_label_maps(
    tmp_path: Path,
    nifti: Make,
    hu: Make,
    mask: Make,
    table: Make,
    images: list[str],
    masks: list[str],
    pairs: dict[str, str],
    why: dict[str, str],
) -> None:
    """# marks a CT on another grid, ! one that is not HU."""
    for seed, name in enumerate(images):
        array = hu(seed)[:, : SMALL[1]] if "#" in name else hu(seed)
        nifti(tmp_path / name.strip("#!"), (array + 3000).astype(np.int16) if "!" in name else array)
    for name in masks:
        nifti(tmp_path / name, mask())
    run(tmp_path)
    rows = table(tmp_path / "manifest.csv")
    assert {r["mask"]: r["image"] for r in rows if r["mask"]} == pairs
    assert {r["image"] for r in rows} == {name.strip("#!") for name in images if "!" not in name}
    lost = {r["file"]: r["reason"] for r in table(tmp_path / "left_out.csv")}
    for name, words in why.items():
        assert words in lost[name]


def test_a_label_map_gives_a_row_a_label(
    tmp_path: Path, nifti: Make, hu: Make, mask: Make, table: Make
) -> None:
    labels = mask()
    labels[4:6][labels[4:6] == 1] = 7
    nifti(tmp_path / "P1.nii.gz", hu())
    nifti(tmp_path / "P1_seg.nii.gz", labels)
    run(tmp_path)
    rows = [(r["roi_id"], r["mask_label"]) for r in table(tmp_path / "manifest.csv")]
    assert rows == [("P1_seg:1", "1"), ("P1_seg:7", "7")]
    assert run(tmp_path, roi=["*:7"], overwrite=True).rows == 1


def test_a_nrrd_mask_in_another_orientation_fits_a_dicom_series(
    tmp_path: Path, planes: Make, put: Make, mask: Make, table: Make
) -> None:
    put(tmp_path / "P-1/dicom", planes("P-1"))
    image = sitk.GetImageFromArray(mask())
    image.SetSpacing((0.7, 0.8, 2.5))
    image.SetOrigin((-100, -80, 30))
    sitk.WriteImage(sitk.DICOMOrient(image, "RAS"), str(tmp_path / "P-1/tumour.nrrd"))
    run(tmp_path)
    (row,) = table(tmp_path / "manifest.csv")
    assert (row["image"], row["mask"]) == ("P-1/dicom", "P-1/tumour.nrrd")
    assert _embedded(tmp_path) == 1


# ── RTSTRUCT, SEG ───────────────────────────────────────────────────────────────────────────────────────


def structure_set(ct: Dataset, names: dict[str, bool], *, patient: str = "P-1") -> Dataset:
    """Squares around the middle of the volume; a name with False has no contour."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.481.3", generate_uid()
    ds.Modality, ds.PatientName, ds.PatientID = "RTSTRUCT", "DOE^JANE", patient
    ds.SeriesInstanceUID, ds.StudyInstanceUID = generate_uid(), generate_uid()
    series, study, frame = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID = ct.SeriesInstanceUID
    study.RTReferencedSeriesSequence = [series]
    frame.FrameOfReferenceUID = ct.FrameOfReferenceUID
    frame.RTReferencedStudySequence = [study]
    ds.ReferencedFrameOfReferenceSequence = [frame]
    ds.StructureSetROISequence, ds.ROIContourSequence = [], []
    for number, (name, closed) in enumerate(names.items(), start=1):
        roi, drawn = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName = number, name
        roi.ReferencedFrameOfReferenceUID = ct.FrameOfReferenceUID
        drawn.ReferencedROINumber = number
        drawn.ContourSequence = []
        for k in range(4, 9) if closed else ():
            contour = Dataset()
            contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", 4
            corners = ((-96, -74), (-88, -74), (-88, -68), (-96, -68))
            contour.ContourData = [float(v) for x, y in corners for v in (x, y, 30 + 2.5 * k)]
            drawn.ContourSequence.append(contour)
        ds.StructureSetROISequence.append(roi)
        ds.ROIContourSequence.append(drawn)
    return ds


def test_a_structure_set_goes_to_the_series_it_refers_to(
    tmp_path: Path, planes: Make, put: Make, table: Make
) -> None:
    ct = put(tmp_path / "a", planes("P-1"))[0]
    put(tmp_path / "b", planes("P-1"))
    other = planes("P-1")[0]  # whose files are not there
    drawn = structure_set(ct, {"GTV-1": True, "Lung": True, "ISO": False})
    drawn.save_as(tmp_path / "drawn", enforce_file_format=True)
    structure_set(other, {"GTV": True}).save_as(tmp_path / "lost", enforce_file_format=True)
    wrong = structure_set(ct, {"GTV": True}, patient="P-9")
    wrong.save_as(tmp_path / "wrong", enforce_file_format=True)
    report = run(tmp_path)
    rows = table(tmp_path / "manifest.csv")
    assert sorted((r["image"], r["mask"], r["roi_id"], r["mask_label"]) for r in rows) == [
        ("a", "drawn", "GTV-1", "1"),
        ("a", "drawn", "Lung", "2"),
        ("b", "", "", ""),
    ]
    lost = {r["file"]: (r["kind"], r["reason"]) for r in table(tmp_path / "left_out.csv")}
    assert lost == {
        "drawn": ("skipped", "region 'ISO' has no closed contours, no area"),
        "lost": ("refused", "the CT series it was drawn on is not here; scan its folder too"),
        "wrong": ("refused", "names another patient than the CT it was drawn on; correct its PatientID"),
    }
    assert report.refused == 2
    assert _embedded(tmp_path) == 3

    assert run(tmp_path, roi=["gtv*"], overwrite=True).rows == 1  # the others are left out, not whole CTs
    (row,) = table(tmp_path / "manifest.csv")
    assert (row["image"], row["roi_id"]) == ("a", "GTV-1")
    assert "no region gtv* in its masks" in {r["reason"] for r in table(tmp_path / "left_out.csv")}
    made = {r["image"]: r["in_manifest"] for r in table(tmp_path / "quality.csv")}
    assert made == {"a": "yes", "b": "no"}


def test_a_region_outside_its_ct_is_refused_alone(
    tmp_path: Path, planes: Make, put: Make, table: Make
) -> None:
    ct = put(tmp_path / "a", planes("P-1"))[0]
    ds = structure_set(ct, {"in": True, "out": True})
    for contour in ds.ROIContourSequence[1].ContourSequence:
        contour.ContourData = [v + 500 for v in contour.ContourData]
    ds.save_as(tmp_path / "drawn", enforce_file_format=True)
    run(tmp_path)
    assert [r["roi_id"] for r in table(tmp_path / "manifest.csv")] == ["in"]
    (row,) = table(tmp_path / "left_out.csv")
    assert row["reason"].startswith("region 'out': ")
    assert "outside its CT" in row["reason"]


def test_a_segmentation_goes_to_the_series_it_refers_to(
    tmp_path: Path, planes: Make, put: Make, mask: Make, table: Make
) -> None:
    import highdicom as hd
    from pydicom.sr.codedict import codes

    sources = put(tmp_path / "a", planes("P-1"))
    put(tmp_path / "b", planes("P-1"))
    description = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label="Nodule",
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Neoplasm,
        algorithm_type="MANUAL",
    )
    seg = hd.seg.Segmentation(
        source_images=sources,
        pixel_array=mask(),
        segmentation_type="BINARY",
        segment_descriptions=[description],
        series_instance_uid=generate_uid(),
        series_number=2,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="ACME",
        manufacturer_model_name="Seg 1",
        software_versions="1",
        device_serial_number="1",
    )
    seg.save_as(tmp_path / "seg.dcm")
    run(tmp_path)
    rows = [(r["image"], r["mask"], r["roi_id"], r["mask_label"]) for r in table(tmp_path / "manifest.csv")]
    assert sorted(rows) == [("a", "seg.dcm", "Nodule", "1"), ("b", "", "", "")]
    assert _embedded(tmp_path) == 2


def _embedded(home: Path) -> int:
    store = EmbeddingStore.create(home.parent / f"{home.name}-store")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # rows with and without a mask are not comparable, which it says
        report = embed_manifest(
            home / "manifest.csv", store, encoder=load_encoder("baseline"), workers=0, progress=False
        )
    assert report.quarantined == 0
    return report.done


def test_segments_of_slicer_are_rows_of_their_names(
    tmp_path: Path, nifti: Make, hu: Make, mask: Make, table: Make
) -> None:
    ct = nifti(tmp_path / "P-5.nii.gz", hu())
    labels = mask() + 2 * np.roll(mask(), 7, axis=1)
    image = sitk.GetImageFromArray(labels)
    image.CopyInformation(sitk.ReadImage(str(ct)))
    for k, name in enumerate(("Tumour", "Node")):
        image.SetMetaData(f"Segment{k}_Name", name)
        image.SetMetaData(f"Segment{k}_LabelValue", str(k + 1))
    sitk.WriteImage(image, str(tmp_path / "P-5.seg.nrrd"))
    scan([tmp_path], manifest=tmp_path / "m.csv", progress=False)
    rows = [(r["roi_id"], r["mask_label"]) for r in table(tmp_path / "m.csv")]
    assert rows == [("Tumour", "1"), ("Node", "2")]
    scan([tmp_path], manifest=tmp_path / "m.csv", roi=["tum*"], overwrite=True, progress=False)
    assert [r["roi_id"] for r in table(tmp_path / "m.csv")] == ["Tumour"]
