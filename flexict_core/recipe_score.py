"""Clip and z-score of a volume: moments over all voxels, applied to any part of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from flexict_core.errors import ImageError
from flexict_core.volume import Volume, once_a_volume

if TYPE_CHECKING:
    from flexict_core.preprocess import Recipe


class Score(NamedTuple):
    """Clip and z-score of one volume; `of` applies them to any part of it."""

    low: float
    high: float
    mean: np.float32
    std: np.float32
    minimum: float  # HU, after clipping

    def of(self, hu: np.ndarray | float) -> np.ndarray:
        values = np.clip(np.asarray(hu, dtype=np.float32), self.low, self.high)
        values -= self.mean
        values /= self.std
        return values


def score_of(volume: Volume, recipe: Recipe) -> Score:
    """Mean and standard deviation of the clipped volume. Raises ImageError where it is of one value."""
    total, squares, minimum = _sums(volume, recipe.hu_low, recipe.hu_high)
    count = volume.array.size
    mean = total / count
    variance = (squares - total * mean) / max(count - recipe.ddof, 1)
    if not variance > 1e-6:  # HU are whole numbers in nearly every file: less than this is rounding
        raise ImageError(
            f"{volume.source or 'volume'}: every voxel is {mean:g} HU once clipped to {recipe.hu_low:g}…"
            f"{recipe.hu_high:g}; give a volume with contrast"
        )
    return Score(recipe.hu_low, recipe.hu_high, np.float32(mean), np.float32(np.sqrt(variance)), minimum)


@once_a_volume
def _sums(volume: Volume, low: float, high: float) -> tuple[float, float, float]:
    """Sum, sum of squares and minimum of the clipped voxels, in float64 and plane by plane to stay small.

    Whole HU and their squares add up exactly there.
    """
    total = squares = 0.0
    minimum = np.inf
    for values in _clipped(volume.array, low, high):
        total += float(values.sum())
        squares += float(values @ values)
        minimum = min(minimum, float(values.min()))
    return total, squares, minimum


def _clipped(array: np.ndarray, low: float, high: float) -> Iterator[np.ndarray]:
    """Each plane as float64, clipped; all in one piece of memory."""
    values = np.empty(array.shape[1:])
    whole = array.dtype.kind == "i" and float(low).is_integer() and float(high).is_integer()
    ends = np.iinfo(array.dtype) if whole else None
    if ends is not None and ends.min <= low and high <= ends.max:
        clipped = np.empty(array.shape[1:], array.dtype)
        for plane in array:
            np.clip(plane, int(low), int(high), out=clipped)  # in small integers: several times faster
            values[:] = clipped
            yield values.ravel()
        return
    for plane in array:
        np.clip(plane, low, high, out=values, dtype=np.float64)
        yield values.ravel()
