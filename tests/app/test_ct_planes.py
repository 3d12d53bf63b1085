"""Pictures of CT planes: where the patient's sides are, true scale, positions in mm, windows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.components.ct_planes import (
    PLANES,
    TUMOUR_WINDOW,
    CtCase,
    Style,
    draw_plane,
    draw_planes,
    frame_of,
    open_case,
    positions_mm,
    window_of,
)
from flexict_core.errors import ImageError
from flexict_core.volume import Volume
from tests.small_dicom import CtSeries

PLAIN = Style((0.0, 100.0), longest_px=400, outline=False, crosshair=False, letters=False)
SHAPE, SPACING = (10, 20, 40), (6.0, 2.0, 1.0)  # z, y, x: 60 × 40 × 40 mm
CENTRE = (5, 10, 20)


def spot(z: slice, y: slice, x: slice, *, codes: str = "LPS") -> CtCase:
    """A volume of −50 HU with a bright block, stored in any orientation, turned to LPS as `open_case` does."""
    array = np.full(SHAPE, -50, dtype=np.int16)
    array[z, y, x] = 100
    affine = np.diag([SPACING[2], SPACING[1], SPACING[0], 1.0])
    affine[:3, 3] = (-7.0, 11.0, 30.0)
    volume = Volume(array, affine).to_orientation(codes)
    return CtCase(volume.to_orientation("LPS"), None, CENTRE)


def brightest(case: CtCase, plane: str) -> tuple[float, float]:
    """Centre of the bright block in the picture: shares of its height and width, from the upper left corner."""
    shade = np.asarray(draw_plane(case, plane, CENTRE, style=PLAIN).convert("L"), dtype=float)
    shade[-60:, -160:] = 0  # the scale bar
    rows, cols = np.nonzero(shade > 250)
    return float(rows.mean()) / shade.shape[0], float(cols.mean()) / shade.shape[1]


ALL = slice(None)


@pytest.mark.parametrize("codes", ["LPS", "RAS", "SAL", "IPR"])
@pytest.mark.parametrize(
    ("plane", "block", "where"),
    [
        ("axial", (ALL, ALL, slice(30, 40)), "right"),  # the patient's left is at the right of the picture
        ("axial", (ALL, slice(0, 5), slice(0, 20)), "top"),  # anterior at the top
        ("coronal", (ALL, ALL, slice(30, 40)), "right"),
        ("coronal", (slice(7, 10), ALL, slice(0, 20)), "top"),  # superior at the top
        ("sagittal", (ALL, slice(0, 5), ALL), "left"),  # anterior at the left
        ("sagittal", (slice(7, 10), slice(0, 10), ALL), "top"),
    ],
)
def test_sides_are_radiological(
    plane: str, block: tuple[slice, slice, slice], where: str, codes: str
) -> None:
    down, across = brightest(spot(*block, codes=codes), plane)
    assert {"right": across > 0.8, "left": across < 0.2, "top": down < 0.3}[where]


@pytest.mark.parametrize(("plane", "height_by_width"), [("axial", 1.0), ("coronal", 1.5), ("sagittal", 1.5)])
def test_a_millimetre_is_as_long_in_both_directions(plane: str, height_by_width: float) -> None:
    picture = draw_plane(spot(ALL, ALL, ALL), plane, CENTRE, style=PLAIN)
    assert picture.height / picture.width == pytest.approx(height_by_width, abs=0.01)
    assert max(picture.size) == 400


def test_the_three_planes_share_one_canvas_and_one_scale() -> None:
    pictures = draw_planes(spot(ALL, ALL, ALL), CENTRE, PLAIN)
    assert {p.size for p in pictures.values()} == {(267, 400)}  # 40 × 60 mm
    axial = np.asarray(pictures["axial"].convert("L"))
    rows = np.flatnonzero((axial[:, :100] > 250).any(axis=1))
    assert len(rows) == pytest.approx(267, abs=2)  # 40 of 60 mm, centred
    assert rows[0] == pytest.approx(400 - 1 - rows[-1], abs=2)


def test_positions_are_those_of_the_voxel_centres() -> None:
    case = spot(ALL, ALL, ALL)
    assert positions_mm(case, "axial") == pytest.approx(30.0 + 6.0 * np.arange(10))
    assert positions_mm(case, "coronal") == pytest.approx(11.0 + 2.0 * np.arange(20))
    assert positions_mm(case, "sagittal") == pytest.approx(-7.0 + 1.0 * np.arange(40))


def test_the_window_maps_its_ends_to_black_and_white() -> None:
    ramp = np.broadcast_to(np.arange(-200, 200, 10, dtype=np.int16), SHAPE).copy()
    case = CtCase(Volume(ramp, np.diag([1.0, 2.0, 6.0, 1.0])), None, CENTRE)
    style = Style((0.0, 200.0), longest_px=40, outline=False, crosshair=False, letters=False)
    row = np.asarray(draw_plane(case, "axial", CENTRE, style=style).convert("L"))[0]
    hu = np.arange(-200, 200, 10)
    assert row.tolist() == np.clip((hu + 100) / 200 * 255, 0, 255).astype(int).tolist()


def test_a_case_opens_inside_its_tumour(planted_store: Any) -> None:
    name: Path = planted_store.images / "P-005.nii.gz"
    case = open_case(name, name.with_name("P-005_mask.nii.gz"), mask_label=1)
    assert case.mask is not None
    assert case.centre_zyx == (8, 8, 16)  # z 24 mm, y 16 mm, x 32 mm at 3, 2, 2 mm
    assert case.mask.array[case.centre_zyx]
    level, width = window_of(case, TUMOUR_WINDOW)
    assert level == 60
    assert width >= 150
    assert window_of(case, "Lung") == (-600.0, 1500.0)


def test_a_folder_of_two_series_opens_the_one_that_is_named(tmp_path: Path) -> None:
    hu = np.linspace(-900, 900, 6 * 8 * 8).reshape(6, 8, 8).astype(np.int16)
    folder = CtSeries().save(tmp_path, CtSeries().planes(hu))
    other = CtSeries().planes(hu // 2, tags={"SeriesInstanceUID": "1.2.3.4"})
    CtSeries().save(folder / "second", other)
    with pytest.raises(ImageError):
        open_case(folder, None)
    with pytest.raises(ImageError):  # a pseudonym is in no file
        open_case(folder, None, series_uid="psn-" + "0" * 20)
    assert int(open_case(folder, None, series_uid="1.2.3.4").volume.array.max()) == 450


def test_a_series_of_a_plain_file_is_of_no_account(planted_store: Any) -> None:
    name: Path = planted_store.images / "P-005.nii.gz"
    assert open_case(name, None, series_uid="1.2.3.4").mask is None


def test_a_field_around_the_tumour_stays_inside_the_volume() -> None:
    case = spot(ALL, ALL, ALL)
    for at in (CENTRE, (0, 0, 0), (9, 19, 39)):
        for plane in PLANES:
            frame = frame_of(case, plane, around_zyx=at, field_mm=20.0)
            shape = dict(zip(PLANES, ((20, 40), (10, 40), (10, 20)), strict=True))[plane]
            for part, n in zip((frame.rows, frame.cols), shape, strict=True):
                assert 0 <= part.start < part.stop <= n
            assert frame.size_mm == pytest.approx((20, 20), abs=6)


def test_the_outline_runs_around_the_mask_and_not_through_it() -> None:
    case = spot(slice(0, 0), slice(0, 0), slice(0, 0))
    mask = np.zeros(SHAPE, dtype=bool)
    mask[:, 5:15, 10:30] = True  # y 10–30 mm, x 10–30 mm of 40
    case = CtCase(case.volume, case.volume.with_array(mask), CENTRE)
    style = Style((0.0, 100.0), longest_px=400, crosshair=False, letters=False)
    rgb = np.asarray(draw_plane(case, "axial", CENTRE, style=style)).astype(int)
    rows, cols = np.nonzero((rgb[..., 0] > 200) & (rgb[..., 2] < 80))
    assert (rows.min(), rows.max(), cols.min(), cols.max()) == pytest.approx((100, 300, 100, 300), abs=4)
    assert rgb[120:280, 120:280].max() == 0  # −50 HU is black, and nothing is drawn inside
