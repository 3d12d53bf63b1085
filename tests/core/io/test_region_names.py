"""Regions of masks by name, in each format that has names; and from a manifest's mask_label to the store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from flexict_core import EmbeddingStore, Volume, embed_manifest, load_encoder, load_mask, load_volume
from flexict_core.errors import MaskError
from flexict_core.io.region_names import region_number, segment_names
from tests.small_dicom import box, save, structure_set, write_segmentation

CtSeries = Any
Refused = Callable[..., str]
SHAPE = (10, 20, 24)


@pytest.fixture
def series(ct: CtSeries, tmp_path: Path) -> tuple[list[Any], Volume]:
    hu = np.random.default_rng(2).normal(0, 15, SHAPE).round().astype(np.int16)
    hu[:, :3] = -1000
    extra = dict.fromkeys(("StudyID", "StudyDate", "StudyTime", "AccessionNumber", "PatientSex"), "")
    tags = {**extra, "PositionReferenceIndicator": "", "ReferringPhysicianName": ""}
    planes = ct.planes(hu, tags=tags)
    return planes, load_volume(ct.save(tmp_path / "ct", planes))


def slicer_file(path: Path, ct: Volume, *names: str) -> tuple[Path, np.ndarray]:
    """A segmentation with the header fields of 3D Slicer; the segments' labels are 1, 2, …"""
    labels = np.zeros(ct.shape_zyx, np.uint8)
    for k, _ in enumerate(names):
        labels[2 + 2 * k : 5 + 2 * k, 5:12, 6:14] = k + 1
    image = sitk.GetImageFromArray(labels)
    image.SetSpacing([float(s) for s in ct.spacing_zyx_mm[::-1]])
    image.SetOrigin([float(o) for o in ct.affine[:3, 3]])
    for k, name in enumerate(names):
        for field, value in (
            ("ID", f"Segment_{k}"),
            ("Name", name),
            ("LabelValue", str(k + 1)),
            ("Layer", "0"),
        ):
            image.SetMetaData(f"Segment{k}_{field}", value)
    sitk.WriteImage(image, str(path))
    return path, labels


def test_slicer_segments(series: tuple[list[Any], Volume], tmp_path: Path, refused: Refused) -> None:
    _, ct = series
    path, labels = slicer_file(tmp_path / "p.seg.nrrd", ct, "Tumour (core)", "Oedema")
    assert b"Segment0_Name:=Tumour (core)" in path.read_bytes()
    assert segment_names(path) == {1: "Tumour (core)", 2: "Oedema"}
    np.testing.assert_array_equal(load_mask(path, label="oedema", reference=ct).array, labels == 2)
    message = refused(path, MaskError, mask=True, label="Node", reference=ct)
    assert message == "no region 'Node'; it holds 1 'Tumour (core)', 2 'Oedema'"
    twice, _ = slicer_file(tmp_path / "twice.seg.nrrd", ct, "T", "t")
    assert "2 regions 'T'" in refused(twice, MaskError, mask=True, label="T", reference=ct)


def test_dicom_regions(series: tuple[list[Any], Volume], tmp_path: Path) -> None:
    planes, ct = series
    regions = {"GTV-1": {3: [box(4, 4, 10, 10)]}, "Lung": {3: [box(2, 4, 15, 16)]}}
    drawn = save(tmp_path / "rt.dcm", structure_set(ct, regions))
    assert [region_number(drawn, name) for name in ("gtv-1", " Lung ")] == [3, 4]
    both = np.zeros((*SHAPE, 2), np.uint8)
    both[2:4, 5:9, 5:9, 0], both[5:7, 5:9, 5:9, 1] = 1, 1
    seg = write_segmentation(tmp_path / "seg.dcm", planes, both, "Tumour", "Node")
    assert region_number(seg, "node") == 2
    with pytest.raises(MaskError, match="no region 'GTV'; it holds 3 'GTV-1', 4 'Lung'"):
        region_number(drawn, "GTV")


def test_a_manifest_names_regions_and_the_store_numbers_them(
    series: tuple[list[Any], Volume], tmp_path: Path
) -> None:
    _, ct = series
    slicer_file(tmp_path / "p.seg.nrrd", ct, "Tumour", "Node")
    save(tmp_path / "rt.dcm", structure_set(ct, {"GTV": {k: [box(4, 4, 12, 12)] for k in range(2, 6)}}))
    sitk.WriteImage(sitk.ReadImage(str(tmp_path / "p.seg.nrrd")), str(tmp_path / "plain.nii.gz"))
    lines = ["ct,p.seg.nrrd,node,a", "ct,rt.dcm,GTV,b", "ct,plain.nii.gz,node,c", "ct,p.seg.nrrd,Nod,d"]
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("\n".join(["image,mask,mask_label,roi_id,patient_id", *(f"{x},P" for x in lines)]))
    store = EmbeddingStore.create(tmp_path / "store")
    encoder = load_encoder("baseline")
    report = embed_manifest(manifest, store, encoder=encoder, workers=0, progress=False)
    assert (report.done, report.quarantined) == (2, 2)
    rows = store.read(report.embedding_id).rows.set_index("roi_id")
    assert rows["mask_label"].to_dict() == {"a": 2, "b": 3}
    reasons = store.quarantine(report.embedding_id).set_index("roi_id")["reason"]
    assert "no region 'Nod'; it holds 1 'Tumour', 2 'Node'" in reasons["d"]
    assert "'node' is a name, and the regions here have numbers only" in reasons["c"]
    again = embed_manifest(manifest, store, encoder=encoder, workers=0, progress=False)
    assert (again.done, again.skipped, again.quarantined) == (0, 2, 2)
    rows = store.read(report.embedding_id).rows.set_index("roi_id")
    assert rows["mask_label"].to_dict() == {"a": 2, "b": 3}
