"""Closed planar contours → bool planes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def fill_contours(contours: Sequence[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """Pixels whose centre lies inside an odd number of the contours: holes, islands in holes, keyholes.

    contours: (n, 2) each, x and y in pixels (0 is the centre of the first), closed by themselves. A repeated
    contour counts once. A centre on an edge belongs to the region on its right and below.
    Returns bool (rows, columns).
    """
    rows, columns = shape
    # Each edge toggles all pixels right of where it crosses a row; a running sum over the row counts toggles.
    toggles = np.zeros((rows, columns + 1), np.int32)
    for contour in _unlike(contours):
        x0, y0 = contour.T
        x1, y1 = np.roll(contour, -1, axis=0).T
        swap = y0 > y1
        x0, x1 = np.where(swap, x1, x0), np.where(swap, x0, x1)
        y0, y1 = np.where(swap, y1, y0), np.where(swap, y0, y1)
        first = np.clip(np.ceil(y0), 0, rows).astype(int)
        count = np.maximum(np.clip(np.ceil(y1), 0, rows).astype(int) - first, 0)  # rows y0 <= row < y1
        edge = np.repeat(np.arange(len(contour)), count)
        row = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + first[edge]
        slope = (x1[edge] - x0[edge]) / (y1[edge] - y0[edge])
        crossing = x0[edge] + (row - y0[edge]) * slope
        column = np.clip(np.ceil(crossing), 0, columns).astype(int)
        np.add.at(toggles, (row, column), 1)
    return (np.cumsum(toggles[:, :columns], axis=1) & 1).astype(bool)


def _unlike(contours: Sequence[np.ndarray]) -> list[np.ndarray]:
    return list({np.round(contour, 4).tobytes(): contour for contour in contours}.values())
