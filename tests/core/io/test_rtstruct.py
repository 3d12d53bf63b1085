"""Structure sets: contours to voxels, choice of region, origin, and what lies outside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flexict_core import Volume, load_mask, load_volume
from flexict_core.errors import MaskError, UnsupportedFormatError
from flexict_core.io.rtstruct import read_structure_set
from tests.small_dicom import Contours, box, save, structure_set

CtSeries = Any
Refused = Callable[..., str]


@pytest.fixture
def volume(ct: CtSeries, tmp_path: Path) -> Volume:
    hu = np.random.default_rng(2).integers(-1000, 1000, (10, 20, 24)).astype(np.int16)
    return load_volume(ct.write(tmp_path / "ct", hu, orientation=(0.8, 0.6, 0, -0.6, 0.8, 0)))


def test_a_region_fills_its_voxels_and_no_others(volume: Volume, tmp_path: Path) -> None:
    tumour: Contours = {
        2: [box(3.5, 4.5, 9.5, 12.5), box(5.5, 6.5, 7.5, 8.5)],  # a hole
        3: [box(3.5, 4.5, 6.5, 7.5), box(10.5, 4.5, 12.5, 7.5)],  # two parts
        6: [box(0.5, 0.5, 1.5, 1.5)],
    }
    path = save(tmp_path / "rs", structure_set(volume, {"GTV-1": tumour}))
    wanted = np.zeros(volume.shape_zyx, bool)
    wanted[2, 5:13, 4:10] = True
    wanted[2, 7:9, 6:8] = False
    wanted[3, 5:8, 4:7] = wanted[3, 5:8, 11:13] = True
    wanted[6, 1, 1] = True
    mask = load_mask(path, reference=volume)
    np.testing.assert_array_equal(mask.array, wanted)
    np.testing.assert_array_equal(mask.affine, volume.affine)
    assert mask.source == path
    for chosen in (3, "GTV-1", "gtv-1 "):
        np.testing.assert_array_equal(load_mask(path, label=chosen, reference=volume).array, wanted)
    # The same CT in another orientation, as a converter may have stored it, without its DICOM origin.
    turned = volume.to_orientation("SAR")
    turned = Volume(turned.array, turned.affine)
    back = load_mask(path, reference=turned).to_orientation(volume.orientation)
    np.testing.assert_array_equal(back.array, wanted)


def test_a_folder_with_one_structure_set(volume: Volume, tmp_path: Path, refused: Refused) -> None:
    ds = structure_set(volume, {"GTV": {4: [box(2.5, 2.5, 6.5, 6.5)]}})
    (tmp_path / "rs").mkdir()
    save(tmp_path / "rs/one", ds)
    assert load_mask(tmp_path / "rs", reference=volume).array.sum() == 16
    save(tmp_path / "rs/two", ds)
    assert "2 masks in this folder; name one of one, two" in refused(
        tmp_path / "rs", MaskError, mask=True, reference=volume
    )


def test_planes_between_slices_belong_to_the_nearest(volume: Volume, tmp_path: Path) -> None:
    regions: dict[str, Contours] = {
        "fine": {2 + k / 4: [box(2.5 + k, 2.5, 6.5 + k, 6.5)] for k in range(9)},  # four planes a slice
        "coarse": {1 + 2 * k: [box(2.5, 2.5, 6.5, 6.5)] for k in range(4)},  # every second slice: 1, 3, 5, 7
        "single": {2.3: [box(2.5, 2.5, 6.5, 6.5)]},
        "apart": {1: [box(2.5, 2.5, 6.5, 6.5)], 6: [box(2.5, 2.5, 6.5, 6.5)]},  # two lesions, not one
    }
    path = save(tmp_path / "rs", structure_set(volume, regions))
    fine = load_mask(path, label="fine", reference=volume).array
    for k in (2, 3, 4):  # the plane on the slice, not what neighbouring planes add up to
        assert np.flatnonzero(fine[k, 3]).tolist() == list(range(3 + 4 * (k - 2), 7 + 4 * (k - 2)))
    coarse = load_mask(path, label="coarse", reference=volume).array.sum(axis=(1, 2))
    assert coarse.tolist() == [16] * 9 + [0]  # a slab of two slices around each plane
    single = load_mask(path, label="single", reference=volume).array.sum(axis=(1, 2))
    assert np.flatnonzero(single).tolist() == [2]
    apart = load_mask(path, label="apart", reference=volume).array.sum(axis=(1, 2))
    assert np.flatnonzero(apart).tolist() == [1, 6]


def test_a_tilted_gantry_keeps_contours_on_their_slices(ct: CtSeries, tmp_path: Path) -> None:
    hu = np.random.default_rng(2).integers(-1000, 1000, (10, 20, 24)).astype(np.int16)
    hu[5, 8:12, 6:11] = 1400
    tilted = load_volume(ct.write(tmp_path / "ct", hu, along=(0, 0.32, 1)))  # one pixel a slice
    where = np.argwhere(tilted.array == 1400)
    assert len(where) == 20
    (_, y0, x0), (_, y1, x1) = where.min(axis=0), where.max(axis=0)
    path = save(
        tmp_path / "rs", structure_set(tilted, {"a": {5: [box(x0 - 0.5, y0 - 0.5, x1 + 0.5, y1 + 0.5)]}})
    )
    np.testing.assert_array_equal(load_mask(path, reference=tilted).array, tilted.array == 1400)


# ── refusals ────────────────────────────────────────────────────────────────────────────────────────────

GTV: dict[str, Contours] = {"GTV": {4: [box(2.5, 2.5, 6.5, 6.5)]}}


def test_several_regions_are_listed(volume: Volume, tmp_path: Path, refused: Refused) -> None:
    both = {"GTV": GTV["GTV"], "Lung L": GTV["GTV"]}
    path = save(tmp_path / "rs", structure_set(volume, both))
    message = refused(path, MaskError, mask=True, reference=volume)
    assert message == "2 regions and none was chosen; name one of 3 'GTV', 4 'Lung L'"
    assert "no region 'PTV'; it holds" in refused(path, MaskError, mask=True, reference=volume, label="PTV")
    assert "no region 9; it holds" in refused(path, MaskError, mask=True, reference=volume, label=9)
    found = read_structure_set(path)
    assert [(r.number, r.name, r.contours) for r in found.regions] == [(3, "GTV", 1), (4, "Lung L", 1)]
    assert volume.dicom is not None
    assert found.series_uids == (volume.dicom.series_uid,)
    assert found.frame_uids == (volume.dicom.frame_uid,)


def test_regions_of_one_name(volume: Volume, tmp_path: Path, refused: Refused) -> None:
    ds = structure_set(volume, {"GTV": GTV["GTV"], "other": GTV["GTV"]})
    ds.StructureSetROISequence[1].ROIName = "GTV"
    path = save(tmp_path / "rs", ds)
    assert "2 regions 'GTV'" in refused(path, MaskError, mask=True, reference=volume, label="GTV")
    assert load_mask(path, reference=volume, label=4).array.sum() == 16


def test_points_have_no_area(volume: Volume, tmp_path: Path, refused: Refused) -> None:
    path = save(tmp_path / "rs", structure_set(volume, GTV, kind="POINT"))
    assert "no region with closed contours" in refused(path, MaskError, mask=True, reference=volume)
    message = refused(path, MaskError, mask=True, reference=volume, label="GTV")
    assert "has no closed contours, no area" in message


def test_another_frame_of_reference_or_series(
    volume: Volume, ct: CtSeries, tmp_path: Path, refused: Refused
) -> None:
    path = save(tmp_path / "rs", structure_set(volume, GTV))
    assert volume.dicom is not None
    other = load_volume(ct.write(tmp_path / "other", volume.array, tags={"SeriesInstanceUID": "1.2.3"}))
    assert "another frame of reference" in refused(path, MaskError, mask=True, reference=other)
    frame = {"FrameOfReferenceUID": volume.dicom.frame_uid}
    sibling = load_volume(ct.write(tmp_path / "sibling", volume.array, tags=frame))
    message = refused(path, MaskError, mask=True, reference=sibling)
    assert message.startswith(f"drawn on another series ({volume.dicom.series_uid})")


@pytest.mark.parametrize(
    "slices",
    [
        {4: [box(300, 300, 310, 310)]},
        {4: [box(20, 15, 30, 18)]},  # half of it
        {9: [box(2, 2, 6, 6)], 10: [box(2, 2, 6, 6)]},  # a slice above the last
        {-1: [box(2, 2, 6, 6)]},
    ],
)
def test_regions_outside_the_ct(slices: Contours, volume: Volume, tmp_path: Path, refused: Refused) -> None:
    path = save(tmp_path / "rs", structure_set(volume, {"GTV": slices}))
    assert "mm outside its CT" in refused(path, MaskError, mask=True, reference=volume)


def test_an_outline_may_touch_the_border(volume: Volume, tmp_path: Path) -> None:
    path = save(tmp_path / "rs", structure_set(volume, {"BODY": {4: [box(-1, -1, 24, 20)]}}))
    assert load_mask(path, reference=volume).array[4].all()


def test_contours_across_the_slices(volume: Volume, tmp_path: Path, refused: Refused) -> None:
    ds = structure_set(volume, GTV)
    contour = ds.ROIContourSequence[0].ContourSequence[0]
    points = volume.index_to_world([(3, 3, 2), (8, 3, 2), (8, 9, 6), (3, 9, 6)])
    contour.ContourData = [f"{v:.4f}" for v in points.ravel()]
    path = save(tmp_path / "rs", ds)
    assert "do not lie in the slices" in refused(path, MaskError, mask=True, reference=volume)


def test_a_region_smaller_than_a_voxel(volume: Volume, tmp_path: Path, refused: Refused) -> None:
    path = save(tmp_path / "rs", structure_set(volume, {"GTV": {4: [box(2.2, 2.2, 2.8, 2.8)]}}))
    assert "encloses no voxel centre" in refused(path, MaskError, mask=True, reference=volume)


def test_contours_that_are_no_points(volume: Volume, tmp_path: Path, refused: Refused) -> None:
    ds = structure_set(volume, GTV)
    contour = ds.ROIContourSequence[0].ContourSequence[0]
    contour.ContourData = contour.ContourData[:-1]
    path = save(tmp_path / "rs", ds)
    assert "no list of points in mm" in refused(path, MaskError, mask=True, reference=volume)


def test_files_that_are_no_mask(volume: Volume, tmp_path: Path, refused: Refused) -> None:
    assert volume.source is not None
    message = refused(volume.source, MaskError, mask=True, reference=volume)
    assert message == "DICOM of modality CT, no mask; give an RTSTRUCT or a SEG"
    path = save(tmp_path / "rs", structure_set(volume, GTV))
    assert "give the CT they were drawn on" in refused(path, MaskError, mask=True)
    assert "no image" in refused(path)  # as a CT
    (tmp_path / "cut.dcm").write_bytes(path.read_bytes()[:200])
    refused(tmp_path / "cut.dcm", MaskError, mask=True, reference=volume)
    (tmp_path / "letter.dcm").write_bytes(b"a letter " * 99)
    assert "not a DICOM file" in refused(tmp_path / "letter.dcm", MaskError, mask=True, reference=volume)
    (tmp_path / "none").mkdir()
    assert "no DICOM file" in refused(tmp_path / "none", UnsupportedFormatError, mask=True, reference=volume)


def test_rows_of_a_manifest_name_series_and_region(ct: CtSeries, tmp_path: Path) -> None:
    """Two series in one folder and a structure set: the vectors are those of the same voxels as NIfTI."""
    from flexict_core.embed import embed_manifest
    from flexict_core.encoders.registry import load_encoder
    from flexict_core.io.write import write_nifti
    from flexict_core.store import EmbeddingStore

    hu = np.random.default_rng(2).normal(-50, 200, (12, 24, 26)).astype(np.int16)
    first, second = ct.planes(hu), ct.planes(hu[::-1] // 2)
    ct.save(tmp_path / "ct", [*first, *second])
    uid = second[0].SeriesInstanceUID
    volume = load_volume(tmp_path / "ct", series_uid=uid)
    tumour: Contours = {z: [box(5.5, 5.5, 17.5, 15.5)] for z in range(3, 9)}
    rs = save(tmp_path / "rs", structure_set(volume, {"GTV": tumour, "other": {4: [box(1, 1, 5, 5)]}}))
    write_nifti(volume, tmp_path / "ct.nii.gz")
    write_nifti(load_mask(rs, label=3, reference=volume), tmp_path / "mask.nii.gz")
    rows = [
        f"p1,ct,{uid},rs,3",
        "p2,ct.nii.gz,,mask.nii.gz,1",
        "p3,ct,,rs,3",  # which of two series?
        f"p4,ct,{first[0].SeriesInstanceUID},rs,3",  # the other one
    ]
    (tmp_path / "m.csv").write_text("\n".join(["patient_id,image,series_uid,mask,mask_label", *rows]))
    store = EmbeddingStore.create(tmp_path / "store")
    report = embed_manifest(
        tmp_path / "m.csv", store, encoder=load_encoder("baseline"), workers=0, progress=False
    )
    table = store.read(report.embedding_id)
    vectors = dict(zip(table.rows["patient_id"], table.X, strict=True))
    assert set(vectors) == {"p1", "p2"}
    np.testing.assert_allclose(vectors["p1"], vectors["p2"], rtol=1e-4)
    reasons = dict(store.quarantine(report.embedding_id)[["patient_id", "reason"]].to_numpy())
    assert "2 CT series; choose one by series_uid" in reasons["p3"]
    assert "another frame of reference" in reasons["p4"]


@pytest.mark.shared_data
def test_the_contours_of_the_ibsi_phantom_give_its_mask(shared: Path, refused: Refused) -> None:
    phantom = shared / "data/ct/ibsi_phantom"
    ct = load_volume(phantom / "dicom/image")
    path = phantom / "dicom/mask/DCM_RS_00060.dcm"
    nifti = load_volume(phantom / "phantom.nii.gz")
    truth = load_mask(phantom / "mask.nii.gz", reference=nifti).array
    for reference in (ct, nifti):
        drawn = load_mask(path, label="GTV-1", reference=reference).array
        dice = 2 * (drawn & truth).sum() / (drawn.sum() + truth.sum())
        assert dice >= 0.98
    other = load_volume(shared / "data/ct/crlm_1004_dicom")
    assert "another frame of reference" in refused(path, MaskError, mask=True, reference=other)


def test_a_structure_set_cut_short_is_not_a_smaller_one(
    volume: Volume, tmp_path: Path, refused: Refused
) -> None:
    ds = structure_set(volume, {"GTV": {z: [box(2.5, 2.5, 6.5, 6.5)] for z in range(2, 8)}})
    path = save(tmp_path / "rs", ds)
    whole = path.read_bytes()
    assert load_mask(path, reference=volume).array.sum() == 6 * 16
    for cut in range(1, 700, 23):
        path.write_bytes(whole[:-cut])
        refused(path, MaskError, mask=True, reference=volume)
