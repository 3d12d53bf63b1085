"""Patches on the planes: each pixel has the colour of the patch it lies in; clicks find their voxel; same levels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from app.components.ct_planes import PLANES, CtCase, Style, draw_planes, frame_of, voxel_at
from app.components.patch_colours import axis_overlay, pca_overlay, similarity_overlay
from app.components.plane_overlay import Overlay
from app.components.same_level import level_in
from app.plane_canvas import component
from flexict_core.encoders.token_map import TokenMap
from flexict_core.volume import Volume

SHAPE, SPACING = (12, 20, 40), (6.0, 2.0, 1.0)  # z, y, x: 72 × 40 × 40 mm
ORIGIN = (-7.0, 11.0, 30.0)


def a_case(centre: tuple[int, int, int] = (5, 10, 20), shape: tuple[int, int, int] = SHAPE) -> CtCase:
    affine = np.diag([SPACING[2], SPACING[1], SPACING[0], 1.0])
    affine[:3, 3] = ORIGIN
    return CtCase(Volume(np.full(shape, -50, np.int16), affine), None, centre)


def patch_affine(side_mm: float) -> np.ndarray:
    """Patches of `side_mm` from the outer corner of the volume's first voxel."""
    affine = np.diag([side_mm, side_mm, side_mm, 1.0])
    affine[:3, 3] = np.array(ORIGIN) - np.array(SPACING[::-1]) / 2 + side_mm / 2
    return affine


@pytest.mark.parametrize("plane", PLANES)
def test_every_pixel_has_the_colour_of_the_patch_that_holds_its_world_position(
    plane: str, rng: np.random.Generator
) -> None:
    case, at = a_case(), (7, 13, 31)
    colours = rng.integers(1, 255, (4, 3, 4, 4)).astype(
        np.uint8
    )  # 16 mm: 64 × 48 × 64 mm, so z is not covered
    overlay = Overlay(colours, patch_affine(16.0))
    frame = frame_of(case, plane, around_zyx=at, field_mm=30.0)
    got = overlay.cut(case.volume, plane, at, rows=frame.rows, cols=frame.cols)
    held = PLANES.index(plane)
    corner = np.array(ORIGIN) - np.array(SPACING[::-1]) / 2
    for row in range(frame.rows.start, frame.rows.stop):
        for col in range(frame.cols.start, frame.cols.stop):
            zyx = [row, col]
            zyx.insert(held, at[held])
            world = np.array(ORIGIN) + np.array(zyx[::-1]) * SPACING[::-1]
            x, y, z = ((world - corner) // 16.0).astype(int)
            expected = colours[z, y, x] if z < 4 else np.zeros(4, np.uint8)
            np.testing.assert_array_equal(got[row - frame.rows.start, col - frame.cols.start], expected)


def test_signs_stand_on_the_slices_that_cut_their_patch() -> None:
    case = a_case()
    overlay = Overlay(np.zeros((5, 3, 3, 4), np.uint8), patch_affine(16.0), {(1, 2, 0): "+"})
    # the patch spans z 16…32 mm from the edge: slices of 6 mm with centres 3, 9, …: 15 is outside, 21 and 27 inside
    shown = [z for z in range(12) if overlay.marks_in(case.volume, "axial", (z, 0, 0))]
    assert shown == [3, 4]
    ((sign, (z, y, x)),) = overlay.marks_in(case.volume, "axial", (3, 0, 0))
    assert (sign, z) == ("+", 3)
    assert abs((y + 0.5) * 2.0 - 40) <= 1  # the middle of the third patch, mm from the edge
    assert abs((x + 0.5) * 1.0 - 8) <= 1


def test_an_overlay_changes_the_pictures_where_it_lies_and_only_there() -> None:
    case, at = a_case(), (5, 10, 20)
    style = Style((0.0, 400.0), longest_px=200, crosshair=False, letters=False)
    colours = np.zeros((1, 1, 1, 4), np.uint8)
    colours[0, 0, 0] = (255, 0, 0, 255)
    affine = np.diag([8.0, 8.0, 18.0, 1.0])
    affine[:3, 3] = case.volume.index_to_world(np.array([20.0, 10.0, 5.0]))
    overlay = Overlay(colours, affine)
    plain = draw_planes(case, at, style)
    laid = draw_planes(case, at, Style(**{**vars(style), "overlay": overlay}))
    for plane in PLANES:
        a, b = np.asarray(plain[plane]), np.asarray(laid[plane])
        changed = (a != b).any(axis=-1)
        assert changed.any()
        assert (b[changed] == (255, 0, 0)).all(axis=-1).mean() > 0.8  # less what the scale bar covers
        px_per_mm = 200 / 72
        sides = {"axial": 8.0 * 8.0, "coronal": 8.0 * 18.0, "sagittal": 8.0 * 18.0}[plane]
        assert changed.sum() == pytest.approx(sides * px_per_mm**2, rel=0.35)


@pytest.mark.parametrize("field_mm", [None, 20.0])
@pytest.mark.parametrize("plane", PLANES)
def test_a_click_finds_the_voxel_that_was_drawn_there(plane: str, field_mm: float | None) -> None:
    """A bright voxel is drawn; a click on its middle comes back to it."""
    target, at = [6, 12, 24], [5, 10, 20]
    held = PLANES.index(plane)
    target[held] = at[held]
    case = a_case()
    case.volume.array[tuple(target)] = 1000
    where = (at[0], at[1], at[2])
    style = Style((500.0, 100.0), field_mm=field_mm, longest_px=600, crosshair=False, letters=False)
    shade = np.asarray(draw_planes(case, where, style)[plane].convert("L"), float)
    shade[-60:, -260:] = 0  # the scale bar
    rows, cols = np.nonzero(shade > 200)
    share = ((cols.mean() + 0.5) / shade.shape[1], (rows.mean() + 0.5) / shade.shape[0])
    assert list(voxel_at(case, plane, where, style=style, share_xy=share)) == target


def test_a_click_beside_the_slice_gives_its_nearest_voxel() -> None:
    style = Style((0.0, 100.0))
    z, y, x = voxel_at(a_case(), "axial", (5, 10, 20), style=style, share_xy=(0.0, 0.0))
    assert (z, y, x) == (5, 0, 0)
    z, y, x = voxel_at(a_case(), "coronal", (5, 10, 20), style=style, share_xy=(1.0, 1.0))
    assert (z, y, x) == (0, 10, 39)  # inferior at the bottom, the patient's left at the right


def test_levels_in_another_patient() -> None:
    case, other = a_case(), a_case(centre=(3, 4, 6), shape=(6, 20, 80))
    assert level_in(other, "centre", case=case, at_zyx=(9, 9, 9)) == (3, 4, 6)
    assert level_in(other, "offset", case=case, at_zyx=(6, 12, 17)) == (4, 6, 3)  # +6 mm, +4 mm, −3 mm
    assert level_in(other, "offset", case=case, at_zyx=(11, 10, 20)) == (
        5,
        4,
        6,
    )  # +36 mm leaves the scan: its end
    # slice 6 of 12 spans 50 to 58 % of the height: slice 3 of 6 spans 50 to 67 %
    assert level_in(other, "relative", case=case, at_zyx=(6, 5, 10))[0] == 3
    assert level_in(other, "relative", case=case, at_zyx=(0, 0, 39))[2] in (78, 79)


def a_token_map(rng: np.random.Generator) -> TokenMap:
    return TokenMap(rng.standard_normal((4, 3, 5, 6)).astype(np.float32), np.eye(4))


def test_pca_colours_are_the_components_between_their_percentiles(rng: np.random.Generator) -> None:
    tokens = a_token_map(rng)
    got = pca_overlay(tokens.principal_components(3), tokens.affine, 0.5)
    flat = tokens.tokens.reshape(-1, 6).astype(float)
    scores = (flat - flat.mean(0)) @ np.linalg.svd(flat - flat.mean(0))[2].T[:, :3]
    for k in range(3):
        shown = got.colours[..., k].ravel().astype(float)
        assert abs(np.corrcoef(shown, scores[:, k])[0, 1]) > 0.98  # but for what is clipped
        assert (shown.min(), shown.max()) == (0, 255)
    assert (got.colours[..., 3] == 128).all()


def test_similarity_is_brightest_at_the_point_itself(rng: np.random.Generator) -> None:
    tokens = a_token_map(rng)
    values = tokens.similarity_to([2.0, 1.0, 3.0])
    overlay, scale = similarity_overlay(tokens, values, 1.0)
    assert scale.high == 1.0
    assert scale.low == pytest.approx(values.min())
    np.testing.assert_array_equal(overlay.colours[3, 1, 2, :3], scale.colours[-1])


def test_contributions_have_a_symmetric_scale_and_carry_their_sign(rng: np.random.Generator) -> None:
    from analysis.stage_axis_map import StageAxisMap

    values = rng.standard_normal((4, 3, 5)) * 0.01
    values[1, 2, 3], values[0, 0, 0] = 0.2, -0.05
    found = StageAxisMap(
        contributions=values, affine=np.eye(4), score=0.0, patch_part=0.0, cls_part=0.0, pooling="mean_patch",
        stage="stage", order=("I", "II"), embedding=np.zeros(3),
    )  # fmt: skip
    overlay, scale = axis_overlay(found, 1.0)
    assert (scale.low, scale.high) == (-0.2, 0.2)
    np.testing.assert_array_equal(overlay.colours[1, 2, 3, :3], scale.colours[-1])
    assert overlay.marks[(1, 2, 3)] == "+"
    assert overlay.marks == {(1, 2, 3): "+", (0, 0, 0): "−"}  # the others are far weaker
    assert all((values[at] > 0) == (sign == "+") for at, sign in overlay.marks.items())
    red, _, blue = (int(c) for c in scale.colours[-1])
    assert red > blue  # orange for later stages, purple for earlier
    red, _, blue = (int(c) for c in scale.colours[0])
    assert blue > red
    assert overlay.colours[0, 0, 0, 3] == pytest.approx(255 * 0.5, abs=1)  # √(0.05 / 0.2)


@pytest.mark.parametrize(
    "message",
    [None, "text", {"name": "other", "plane": "axial", "step": 1, "at": [1, 2, 3]},
     {"name": "me", "plane": "oblique", "step": 1, "at": [1, 2, 3]},
     {"name": "me", "plane": "axial", "at": [1, 2, 3]}, {"name": "me", "plane": "axial", "step": 1, "at": [1, 2]},
     {"name": "me", "plane": "axial", "x": "a", "y": 1, "at": [1, 2, 3]}, {"name": "me", "plane": "axial", "step": 1}],
)  # fmt: skip
def test_a_message_that_is_none_moves_nothing(message: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Event:
        moved = message

    monkeypatch.setattr(component.st, "session_state", {"planes": Event()})
    assert component.moved("planes", "me", PLANES) is None
    assert component.moved("nothing", "me", PLANES) is None


def test_a_message_says_what_was_done_and_what_was_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    class Event:
        moved: Any = None

    event = Event()
    monkeypatch.setattr(component.st, "session_state", {"planes": event})
    event.moved = {"name": "me", "plane": "axial", "step": -2, "at": [1, 2, 3]}
    assert component.moved("planes", "me", PLANES) == component.Moved("axial", (1, 2, 3), None, -2)
    event.moved = {"name": "me", "plane": "coronal", "x": 0.25, "y": 1, "at": [1, 2, 3]}
    assert component.moved("planes", "me", PLANES) == component.Moved("coronal", (1, 2, 3), (0.25, 1.0), 0)
