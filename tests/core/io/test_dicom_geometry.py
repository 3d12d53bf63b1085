"""Spacing, gaps, duplicates and tilt, on planes whose HU are a known function of place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from flexict_core import load_volume
from flexict_core.io.dicom_geometry import stack_planes
from flexict_core.io.dicom_header import Plane

CtSeries = Any
Refused = Callable[..., str]
EVEN = np.arange(6) * 2.5


def stack(offsets: Sequence[float], *, numbers: Sequence[int] = (), thickness: float | None = None) -> Any:
    planes = [
        Plane((0.0, 0.0, float(z)), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), (1.0, 1.0), thickness_mm=thickness)
        for z in offsets
    ]
    return stack_planes(planes, sizes=[(8, 8)] * len(planes), instances=numbers)


# ── gaps ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("dropped", [[2], [1, 2], [1, 3], [1, 2, 3, 4]])
def test_missing_slices(dropped: list[int], ct: CtSeries, refused: Refused, tmp_path: Path) -> None:
    kept = [k for k in range(6) if k not in dropped]
    if len(kept) == 2:  # two slices leave any spacing possible
        kept = [0, 1, 5]
    planes = ct.planes()
    folder = ct.save(tmp_path, [planes[k] for k in kept])
    message = refused(folder)
    assert f"slices are missing: {len(kept)} of 6 at 2.5 mm are there" in message
    assert "on_gaps='resample'" in message


def test_seventy_percent_missing(ct: CtSeries, refused: Refused, tmp_path: Path) -> None:
    hu = np.random.default_rng(0).integers(-1000, 500, (60, 6, 6)).astype(np.int16)
    kept = np.sort(np.random.default_rng(1).choice(np.arange(1, 59), 16, replace=False))
    planes = ct.planes(hu)
    folder = ct.save(tmp_path, [planes[k] for k in (0, *kept, 59)])
    assert "slices are missing: 18 of 60 at 2.5 mm are there" in refused(folder)


def test_every_third_slice_alone_is_seen_by_its_numbers() -> None:
    third = np.arange(0, 60, 3)
    found = stack(third * 2.5, numbers=(third + 1).tolist(), thickness=2.5)
    assert (found.missing, found.spacing_mm) == (38, pytest.approx(2.5))
    assert stack(third * 2.5, numbers=list(range(20)), thickness=2.5).missing == 0  # a scan with gaps
    assert stack(third * 2.5, numbers=(third + 1).tolist(), thickness=7.5).missing == 0  # thick slices
    assert stack(third * 2.5).missing == 0


def test_missing_slices_are_interpolated_when_asked(ct: CtSeries, tmp_path: Path) -> None:
    z = np.arange(9)[:, None, None]
    hu = np.broadcast_to(-500 + 40 * z, (9, 7, 9)).astype(np.int16) + ct.hu[:1] // 8
    planes = ct.planes(hu)
    folder = ct.save(tmp_path, [planes[k] for k in (0, 1, 4, 5, 7, 8)])
    volume = load_volume(folder, on_gaps="resample")
    np.testing.assert_array_equal(volume.array, hu)  # a ramp is its own interpolation
    np.testing.assert_allclose(volume.affine, ct.affine)
    assert volume.array.dtype == np.int16


def test_uneven_spacing(ct: CtSeries, refused: Refused, tmp_path: Path) -> None:
    offsets = np.array([0, 3, 6, 9, 14, 19.0])
    hu = np.broadcast_to((offsets * 20 - 500)[:, None, None], (6, 7, 9)).astype(np.int16)
    hu = hu + np.arange(9, dtype=np.int16)
    folder = ct.write(tmp_path, hu, offsets_mm=offsets)
    assert "uneven slice spacing, 3 to 5 mm over 6 slices" in refused(folder)
    volume = load_volume(folder, on_gaps="resample")
    assert volume.spacing_zyx_mm[0] == pytest.approx(3)
    assert volume.shape_zyx[0] == 7
    z = np.array([0, 3, 6, 9, 12, 15, 18])
    np.testing.assert_array_equal(volume.array[:, 0, 0], z * 20 - 500)


@pytest.mark.parametrize("shift", [0.3, -0.3, 1.0])
def test_one_slice_out_of_place(shift: float) -> None:
    offsets = EVEN.copy()
    offsets[3] += shift
    found = stack(offsets)
    assert found.uneven
    assert not found.is_regular


def test_duplicate_positions(ct: CtSeries, refused: Refused, tmp_path: Path) -> None:
    offsets = [0, 2.5, 5, 5, 7.5, 10]
    assert "1 of 6 slices lie at the position of another" in refused(
        ct.write(tmp_path / "a", offsets_mm=offsets)
    )
    planes = ct.planes()
    ct.save(tmp_path / "b", [*planes, *planes])  # a folder copied into itself
    assert "6 of 12 slices" in refused(tmp_path / "b")
    assert "6 of 12 slices" in refused(tmp_path / "b", on_gaps="resample")


# ── planes that do not fit together ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("ImageOrientationPatient", [1, 0, 0, 0, 0, -1], "different orientations"),
        ("PixelSpacing", [0.9, 0.9], "different pixel spacings"),
    ],
)
def test_planes_of_two_kinds(
    name: str, value: Any, reason: str, ct: CtSeries, refused: Refused, tmp_path: Path
) -> None:
    def change(k: int, ds: Dataset) -> None:
        if k > 3:
            setattr(ds, name, value)

    assert reason in refused(ct.write(tmp_path, each=change))


def test_planes_of_two_sizes(ct: CtSeries, refused: Refused, tmp_path: Path) -> None:
    planes = ct.planes()
    larger = ct.planes(np.zeros((2, 12, 14), np.int16), offsets_mm=[15, 17.5])
    for ds in larger:
        ds.SeriesInstanceUID, ds.StudyInstanceUID = planes[0].SeriesInstanceUID, planes[0].StudyInstanceUID
        ds.FrameOfReferenceUID = planes[0].FrameOfReferenceUID
    folder = ct.save(tmp_path, [*planes, *larger])
    assert "different sizes in one series (7 x 9 and 12 x 14)" in refused(folder)


def test_planes_that_wander(ct: CtSeries, refused: Refused, tmp_path: Path) -> None:
    assert "wander sideways by 45 pixels" in refused(ct.write(tmp_path, along=(2.5, 0, 1)))


# ── gantry tilt ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("degrees", [-20.0, 7.5, 25.0])
@pytest.mark.parametrize("tilted_planes", [False, True])
def test_a_tilted_gantry_is_straightened(
    degrees: float, tilted_planes: bool, ct: CtSeries, tmp_path: Path
) -> None:
    """HU is a linear function of place, which linear interpolation keeps: every voxel inside must hold it."""
    tilt = np.deg2rad(degrees)
    if tilted_planes:  # the planes lean, the table moves straight on
        orientation: tuple[float, ...] = (1, 0, 0, 0, float(np.cos(tilt)), float(np.sin(tilt)))
        normal = np.cross(orientation[:3], orientation[3:])
        along = np.array([0, 0, 1]) / normal[2]
    else:  # upright planes, each a little further back
        orientation, along = (1, 0, 0, 0, 1, 0), np.array([0, np.tan(tilt), 1])
        normal = np.array([0, 0, 1.0])
    gradient = np.array([3.0, -2.0, 4.0])  # HU per mm
    shape = (12, 30, 20)
    z, y, x = np.indices(shape)
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    offset = np.arange(12) * 2.5
    place = np.array(ct.origin) + (
        x[..., None] * 0.7 * row + y[..., None] * 0.8 * column + offset[:, None, None, None] * along
    )
    hu = np.rint((place - ct.origin) @ gradient - 300)
    volume = load_volume(ct.write(tmp_path, hu, orientation=orientation, along=along, offsets_mm=offset))

    directions = volume.affine[:3, :3] / np.linalg.norm(volume.affine[:3, :3], axis=0)
    np.testing.assert_allclose(directions.T @ directions, np.eye(3), atol=1e-9)
    np.testing.assert_allclose(directions[:, 2], normal, atol=1e-6)
    assert volume.is_oblique is tilted_planes
    z, y, x = np.indices(volume.shape_zyx)
    centres = volume.index_to_world(np.stack([x, y, z], -1).reshape(-1, 3))
    wanted = ((centres - ct.origin) @ gradient - 300).reshape(volume.shape_zyx)
    off = np.abs(volume.array - wanted)
    inside = off <= 1.001  # rounded twice
    # All but a slice's rim, and nothing but air, is the planted function.
    assert inside.sum(axis=(1, 2)).min() >= 28 * 20
    assert (volume.array[~inside].min() >= -1000).all()
    lean = volume.shape_zyx[1] - 30
    assert lean == pytest.approx(np.tan(abs(tilt)) * 27.5 / 0.8, abs=1.01)


def test_the_tilt_is_measured(ct: CtSeries, tmp_path: Path) -> None:
    found = stack_planes(
        [Plane((0, float(np.tan(np.deg2rad(12)) * z), z), (1, 0, 0, 0, 1, 0), (0.8, 0.7)) for z in EVEN],
        sizes=[(512, 512)] * 6,
    )
    assert found.is_sheared
    assert found.tilt_deg == pytest.approx(12)
    assert not stack(EVEN).is_sheared
    assert stack(EVEN).tilt_deg == pytest.approx(0)


def test_gaps_in_a_tilted_series(ct: CtSeries, refused: Refused, tmp_path: Path) -> None:
    planes = ct.planes(along=(0, 0.3, 1))
    folder = ct.save(tmp_path, [planes[k] for k in (0, 1, 2, 4, 5)])
    assert "slices are missing: 5 of 6" in refused(folder)
    assert load_volume(folder, on_gaps="resample").shape_zyx[0] == 6
