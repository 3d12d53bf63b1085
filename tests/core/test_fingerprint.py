"""The coarse densities of a CT: closed forms, and what must not change them."""

from __future__ import annotations

import numpy as np
import pytest

from flexict_core.fingerprint import CELLS, image_fingerprint
from flexict_core.volume import Volume

LPS = np.diag([1.0, 1.0, 2.0, 1.0])


def test_cells_are_mean_densities_in_thousands_of_hu() -> None:
    array = np.full((16, 24, 8), -3000, np.int16)
    array[:2, :3, 0] = 500  # exactly the first cell
    cells = image_fingerprint(Volume(array, LPS))
    assert cells[0] == pytest.approx(0.5)
    assert cells[1:] == pytest.approx(-1.0)  # clipped


def test_uneven_and_few_slices_give_weighted_and_repeated_cells(rng: np.random.Generator) -> None:
    array = rng.integers(-900, 900, (3, 17, 10)).astype(np.int16)
    cells = image_fingerprint(Volume(array, LPS)).reshape(CELLS, CELLS, CELLS)
    rows = np.floor(np.linspace(0, 17, 9)).astype(int)
    columns = np.floor(np.linspace(0, 10, 9)).astype(int)
    expected = array[1, rows[4] : rows[5], columns[2] : columns[3]].mean() / 1000
    assert cells[3, 4, 2] == pytest.approx(expected, abs=1e-6)  # cell 3 of 8 starts in slice 1 of 3


def test_storage_order_pixel_type_and_resampling_leave_it_as_it_is(rng: np.random.Generator) -> None:
    array = np.kron(rng.integers(-900, 900, (8, 8, 8)), np.ones((2, 4, 4))).astype(np.int16)
    own = image_fingerprint(Volume(array, LPS))
    turned = Volume(array[:, ::-1, :].astype(np.float32), LPS @ _flip(1, array.shape[1]))
    assert image_fingerprint(turned) == pytest.approx(own, abs=1e-6)
    finer = Volume(np.repeat(array, 3, axis=0), np.diag([1.0, 1.0, 2 / 3, 1.0]))
    assert image_fingerprint(finer) == pytest.approx(own, abs=1e-6)


def _flip(axis: int, size: int) -> np.ndarray:
    flip = np.eye(4)
    flip[axis, axis], flip[axis, 3] = -1, size - 1
    return flip
