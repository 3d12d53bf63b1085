"""DICOM segmentations, written by highdicom."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from flexict_core import Volume, load_mask, load_volume
from flexict_core.errors import MaskError
from flexict_core.io.dicom_seg import read_segmentation
from tests.small_dicom import write_segmentation as write

CtSeries = Any
Refused = Callable[..., str]


@pytest.fixture
def planes(ct: CtSeries) -> list[Dataset]:
    hu = np.random.default_rng(2).integers(-1000, 1000, (10, 20, 24)).astype(np.int16)
    extra = dict.fromkeys(("StudyID", "StudyDate", "StudyTime", "AccessionNumber", "PatientSex"), "")
    return ct.planes(hu, tags={**extra, "PositionReferenceIndicator": "", "ReferringPhysicianName": ""})


@pytest.fixture
def volume(ct: CtSeries, planes: list[Dataset], tmp_path: Path) -> Volume:
    return load_volume(ct.save(tmp_path / "ct", planes))


def tumour() -> np.ndarray:
    mask = np.zeros((10, 20, 24), bool)
    mask[3:6, 4:9, 5:12] = True
    mask[4, 6, 7] = False
    mask[8, 15, 3] = True  # with empty slices, which SEG leaves out, in between
    return mask


def test_a_segment_comes_back_voxel_by_voxel(
    planes: list[Dataset], volume: Volume, tmp_path: Path, refused: Refused
) -> None:
    second = np.roll(tumour(), 2, axis=2)
    both = np.stack([tumour(), second], axis=-1).astype(np.uint8)
    path = write(tmp_path / "seg.dcm", planes, both, "Tumour", "Node")
    for label, wanted in (("Tumour", tumour()), (1, tumour()), ("node", second), (2, second)):
        mask = load_mask(path, label=label, reference=volume)
        np.testing.assert_array_equal(mask.array, wanted)
        np.testing.assert_array_equal(mask.affine, volume.affine)
    message = refused(path, MaskError, mask=True, reference=volume)
    assert message == "2 segments and none was chosen; name one of 1 'Tumour', 2 'Node'"
    assert "no segment 'Liver'; it holds" in refused(
        path, MaskError, mask=True, reference=volume, label="Liver"
    )
    assert "no segment 7" in refused(path, MaskError, mask=True, reference=volume, label=7)
    found = read_segmentation(path)
    assert volume.dicom is not None
    assert [s.label for s in found.segments] == ["Tumour", "Node"]
    assert found.series_uids == (volume.dicom.series_uid,)
    assert found.frame_uid == volume.dicom.frame_uid


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_only_one_slice_is_marked(kind: str, planes: list[Dataset], volume: Volume, tmp_path: Path) -> None:
    mask = np.zeros((10, 20, 24), np.uint8)
    mask[7, 3:9, 4:6] = 1
    path = write(tmp_path / "seg", planes, mask, "Tumour", kind=kind)
    np.testing.assert_array_equal(load_mask(path, reference=volume).array, mask == 1)


def test_a_fractional_segment_counts_from_one_half(
    planes: list[Dataset], volume: Volume, tmp_path: Path
) -> None:
    fraction = np.zeros((10, 20, 24), np.float32)
    fraction[2:5, 2:8, 2:8] = 0.3
    fraction[3:5, 3:6, 3:6] = 0.7
    path = write(tmp_path / "seg", planes, fraction, "Tumour", kind="FRACTIONAL", max_fractional_value=100)
    np.testing.assert_array_equal(load_mask(path, reference=volume).array, fraction > 0.5)


def test_another_grid_of_the_same_frame_is_resampled(
    ct: CtSeries, planes: list[Dataset], volume: Volume, tmp_path: Path
) -> None:
    """Drawn on a series with voxels twice as long each way: a block covers eight voxels of the CT."""
    coarse = ct.planes(
        np.zeros((5, 10, 12), np.int16),
        offsets_mm=1.25 + np.arange(5) * 5.0,
        tags={
            "FrameOfReferenceUID": planes[0].FrameOfReferenceUID,
            "StudyInstanceUID": planes[0].StudyInstanceUID,
            "PixelSpacing": [1.6, 1.4],
            "SliceThickness": 5,
            **dict.fromkeys(("StudyID", "StudyDate", "StudyTime", "AccessionNumber", "PatientSex"), ""),
            "PositionReferenceIndicator": "",
            "ReferringPhysicianName": "",
        },
    )
    for ds in coarse:  # the first coarse voxel covers the first two fine ones
        x, y, z = ds.ImagePositionPatient
        ds.ImagePositionPatient = [x + 0.35, y + 0.4, z]
    mask = np.zeros((5, 10, 12), np.uint8)
    mask[1:3, 2:7, 3:5] = 1
    mask[2, 4, 4] = 0
    path = write(tmp_path / "seg", coarse, mask, "Tumour")
    wanted = mask.repeat(2, 0).repeat(2, 1).repeat(2, 2) == 1
    np.testing.assert_array_equal(load_mask(path, reference=volume).array, wanted)
    alone = load_mask(path)
    assert alone.array.sum() == mask.sum()
    assert alone.spacing_zyx_mm == pytest.approx((5, 1.6, 1.4))


def test_another_frame_of_reference(
    ct: CtSeries, planes: list[Dataset], volume: Volume, tmp_path: Path, refused: Refused
) -> None:
    path = write(tmp_path / "seg", planes, tumour().astype(np.uint8), "Tumour")
    other = load_volume(ct.write(tmp_path / "other", volume.array))
    assert "another frame of reference" in refused(path, MaskError, mask=True, reference=other)


def test_a_converted_ct_must_have_the_same_voxels(
    planes: list[Dataset], volume: Volume, tmp_path: Path, refused: Refused
) -> None:
    path = write(tmp_path / "seg", planes, tumour().astype(np.uint8), "Tumour")
    turned = volume.to_orientation("RAS")
    converted = Volume(turned.array, turned.affine)
    mask = load_mask(path, reference=converted)
    np.testing.assert_array_equal(mask.to_orientation("LPS").array, tumour())
    affine = volume.affine.copy()
    affine[0, 3] += 0.3
    moved = Volume(volume.array, affine)
    assert "another grid" in refused(path, MaskError, mask=True, reference=moved)


def test_a_segment_that_leaves_the_ct(
    ct: CtSeries, planes: list[Dataset], tmp_path: Path, refused: Refused
) -> None:
    path = write(tmp_path / "seg", planes, tumour().astype(np.uint8), "Tumour")
    shorter = load_volume(ct.save(tmp_path / "short", planes[:6]))
    assert "reaches outside its CT" in refused(path, MaskError, mask=True, reference=shorter)


def test_damaged_and_empty_segmentations(
    planes: list[Dataset], volume: Volume, tmp_path: Path, refused: Refused
) -> None:
    path = write(tmp_path / "seg.dcm", planes, tumour().astype(np.uint8), "Tumour")
    whole = path.read_bytes()
    path.write_bytes(whole[:-60])
    assert "cannot be read" in refused(path, MaskError, mask=True, reference=volume)
    path.write_bytes(whole)
    ds = dcmread(path)
    ds.PixelData = bytes(len(ds.PixelData))
    ds.save_as(path)
    assert "the mask is empty" in refused(path, MaskError, mask=True, reference=volume)
    assert "is empty" in refused(path, MaskError, mask=True)
    assert "a segmentation (SEG), no CT" in refused(path)


def test_a_rewritten_file_is_read_anew_and_threads_do_not_share(
    planes: list[Dataset], volume: Volume, tmp_path: Path
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    path = write(tmp_path / "seg.dcm", planes, tumour().astype(np.uint8), "Tumour")
    first = load_mask(path, label=1, reference=volume).array
    with ThreadPoolExecutor(1) as pool:
        again = pool.submit(load_mask, path, label=1, reference=volume).result().array
    np.testing.assert_array_equal(again, first)
    moved = np.roll(tumour(), 3, axis=2)
    write(path, planes, moved.astype(np.uint8), "Tumour")
    np.testing.assert_array_equal(load_mask(path, label=1, reference=volume).array, moved)
