"""Filling of contours: closed forms, and a naive point-in-polygon test for every pixel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from flexict_core.io.contours import fill_contours

SHAPE = (14, 17)


def box(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])


def naive(contours: Sequence[np.ndarray], shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Crossings of a ray from each pixel centre to the right, one by one; and where rounding decides."""
    out, close = np.zeros(shape, bool), np.zeros(shape, bool)
    for y in range(shape[0]):
        for contour in contours:
            for (x0, y0), (x1, y1) in zip(contour, np.roll(contour, -1, axis=0), strict=True):
                if (y0 <= y) != (y1 <= y):
                    crossing = x0 + (y - y0) * (x1 - x0) / (y1 - y0)
                    out[y] ^= np.arange(shape[1]) < crossing
                    close[y] |= np.abs(np.arange(shape[1]) - crossing) < 1e-9
    return out, close


def test_a_box_fills_the_centres_within() -> None:
    filled = fill_contours([box(2.5, 3.5, 6.5, 5.5)], SHAPE)
    wanted = np.zeros(SHAPE, bool)
    wanted[4:6, 3:7] = True
    np.testing.assert_array_equal(filled, wanted)
    np.testing.assert_array_equal(fill_contours([box(2.5, 3.5, 6.5, 5.5)[::-1]], SHAPE), wanted)


def test_neighbours_that_share_an_edge_through_centres_overlap_nowhere() -> None:
    parts = [fill_contours([box(*c)], SHAPE) for c in ((2, 2, 5, 6), (5, 2, 9, 6), (2, 6, 9, 8))]
    assert sum(int(p.sum()) for p in parts) == fill_contours([box(2, 2, 9, 8)], SHAPE).sum() == 7 * 6
    assert not (parts[0] & parts[1]).any()


def test_holes_islands_and_keyholes() -> None:
    outer, hole, island = box(0.5, 0.5, 12.5, 10.5), box(2.5, 2.5, 9.5, 8.5), box(4.5, 4.5, 6.5, 6.5)
    filled = fill_contours([outer, hole, island], SHAPE)
    assert filled.sum() == 12 * 10 - 7 * 6 + 2 * 2
    assert not filled[3, 3]
    assert filled[5, 5]
    # The same hole cut by one contour that goes in, around and out again along one line.
    keyhole = np.array([*outer[:1], *hole[[0, 3, 2, 1, 0]], *outer[[0, 1, 2, 3]]])
    np.testing.assert_array_equal(fill_contours([keyhole], SHAPE), fill_contours([outer, hole], SHAPE))


def test_a_repeated_contour_does_not_cancel_itself() -> None:
    contour = box(1.5, 1.5, 5.5, 5.5)
    np.testing.assert_array_equal(
        fill_contours([contour, contour + 1e-7], SHAPE), fill_contours([contour], SHAPE)
    )


def test_what_lies_outside_the_image_is_cut_off() -> None:
    assert fill_contours([box(-20, -20, 40, 40)], SHAPE).all()
    assert fill_contours([box(-9, 5, 3.5, 60)], SHAPE).sum() == 4 * 9
    assert not fill_contours([box(20, 2, 30, 8), box(-9, 2, -3, 8), box(2, -9, 8, -3)], SHAPE).any()
    assert not fill_contours([np.array([[3.2, 3.2], [3.4, 3.2], [3.3, 3.4]])], SHAPE).any()
    assert not fill_contours([], SHAPE).any()


def test_the_area_of_a_disc() -> None:
    angle = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    disc = np.stack([100 + 80 * np.cos(angle), 100 + 80 * np.sin(angle)], axis=1)
    assert abs(fill_contours([disc], (201, 201)).sum() / (np.pi * 80**2) - 1) < 0.002


points = st.tuples(st.floats(-4, 20), st.floats(-4, 20))
halves = st.tuples(st.integers(-8, 40).map(lambda v: v / 2), st.integers(-8, 40).map(lambda v: v / 2))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(points | halves, min_size=3, max_size=7), min_size=1, max_size=3))
def test_any_polygons_agree_with_the_naive_test(polygons: list[list[tuple[float, float]]]) -> None:
    contours = list({tuple(p): np.array(p, dtype=float) for p in polygons}.values())
    rounded = [np.round(c, 3) for c in contours]
    distinct = list({c.tobytes(): c for c in rounded}.values())
    wanted, close = naive(distinct, SHAPE)
    assert ((fill_contours(distinct, SHAPE) == wanted) | close).all()
