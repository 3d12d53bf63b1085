"""Where the planes of a DICOM series lie: order, spacing, gaps, duplicates, gantry tilt.

Planes are ordered by their position along the normal of the image plane; file names and instance numbers say
nothing about place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from flexict_core.errors import ImageError
from flexict_core.io.dicom_header import Plane
from flexict_core.resample import AIR_HU

OnGaps = Literal["refuse", "resample"]

_DIRECTION = 1e-3  # of a unit vector: headers keep few decimals
_SAME_MM = 0.01  # planes closer than this lie at one position
_EVEN = 0.05  # of the spacing: how far a plane may lie from its even place
_ROUNDED_MM = 0.06  # positions rounded to a tenth of a millimetre, at most a tenth of the spacing
_STRAIGHT_PX = 0.5  # sideways drift over the whole stack that is still a right angle
_SPARSEST = 20  # one slice of so many: a step this small is chance, not a spacing
_TWO_SLICES = 1.8  # times its thickness: a slice this far from the next leaves a gap


@dataclass(frozen=True, eq=False)
class Stack:
    """The planes of one series, in order.

    order: index of each plane among those given, along the normal. offset_mm: its distance from the first.
    shift_px: (n, 2), how far it lies sideways of the first, along x and y, in pixels; beyond half a pixel
    the gantry was tilted. spacing_mm: the even spacing, or the one that the resampled stack gets.
    missing: planes that the spacing calls for and that are not there. uneven: spacing without a common step.
    """

    order: tuple[int, ...]
    offset_mm: np.ndarray
    shift_px: np.ndarray
    spacing_mm: float
    missing: int
    uneven: bool
    affine: np.ndarray

    @property
    def is_regular(self) -> bool:
        return not self.missing and not self.uneven

    @property
    def is_sheared(self) -> bool:
        return bool(np.abs(self.shift_px).max() > _STRAIGHT_PX)

    @property
    def tilt_deg(self) -> float:
        """Angle between the normal of the planes and the way from the first to the last."""
        sides = np.linalg.norm(self.affine[:3, :2], axis=0)
        return float(np.rad2deg(np.arctan2(np.linalg.norm(self.shift_px[-1] * sides), self.offset_mm[-1])))


def stack_planes(
    planes: Sequence[Plane], *, sizes: Sequence[tuple[int, int]], instances: Sequence[int | None] = ()
) -> Stack:
    """Order planes and measure their spacing.

    sizes: rows and columns of each plane. instances: its number in the series; with its thickness, it shows
    that every second plane is missing.
    Raises ImageError, without a name in front, for planes that are no stack: other sizes, directions or pixel
    spacings, two planes at one position, a single plane.
    """
    _check_alike(planes, sizes)
    row, column = (np.array(planes[0].orientation[i : i + 3]) for i in (0, 3))
    normal = np.cross(row, column)
    position = np.array([plane.position_mm for plane in planes])
    along = position @ normal
    order = np.argsort(along, kind="stable")
    if len(order) < 2:
        raise ImageError("1 slice, not a volume; give the whole series")
    first = position[order[0]]
    offset = along[order] - along[order[0]]
    steps = np.diff(offset)
    doubled = int(np.count_nonzero(steps < _SAME_MM))
    if doubled:
        raise ImageError(
            f"{doubled} of {len(order)} slices lie at the position of another (two acquisitions or copies in "
            f"one series); keep one of each"
        )
    spacing, missing, uneven = _spacing(offset, steps)
    if not missing and not uneven:
        every = _one_in(planes, [instances[i] for i in order] if instances else [], spacing)
        spacing, missing = spacing / every, (every - 1) * len(steps)
    between_rows, between_columns = planes[0].spacing_mm
    affine = np.eye(4)
    affine[:3, :3] = np.stack([row * between_columns, column * between_rows, normal * spacing], axis=1)
    affine[:3, 3] = first
    sideways = position[order] - first
    shift = np.stack([sideways @ row / between_columns, sideways @ column / between_rows], axis=1)
    if np.abs(shift).max() > max(sizes[0]):
        raise ImageError(
            f"slices wander sideways by {np.abs(shift).max():.0f} pixels, more than their size; check the series"
        )
    return Stack(tuple(int(i) for i in order), offset, shift, spacing, missing, uneven, affine)


def check_gaps(stack: Stack) -> None:
    """Raises ImageError, without a name in front, where slices are missing or unevenly spaced."""
    n = len(stack.order)
    remedy = "complete the series, or resample it with on_gaps='resample'"
    if stack.missing:
        raise ImageError(
            f"slices are missing: {n} of {n + stack.missing} at {stack.spacing_mm:g} mm are there; {remedy}"
        )
    if stack.uneven:
        steps = np.diff(stack.offset_mm)
        raise ImageError(
            f"uneven slice spacing, {steps.min():.4g} to {steps.max():.4g} mm over {n} slices; {remedy}"
        )


def _check_alike(planes: Sequence[Plane], sizes: Sequence[tuple[int, int]]) -> None:
    if len(set(sizes)) > 1:
        shown = " and ".join(f"{r} x {c}" for r, c in sorted(set(sizes))[:3])
        raise ImageError(f"images of different sizes in one series ({shown}); split them into folders")
    directions = np.array([plane.orientation for plane in planes])
    if np.abs(directions - directions[0]).max() > _DIRECTION:
        raise ImageError("images of different orientations in one series; split them into folders")
    row, column = directions[0, :3], directions[0, 3:]
    lengths = np.linalg.norm([row, column], axis=1)
    if np.abs(lengths - 1).max() > 10 * _DIRECTION or abs(row @ column) > _DIRECTION:
        raise ImageError(
            "ImageOrientationPatient is not two unit vectors at a right angle; repair the header"
        )
    spacings = np.array([plane.spacing_mm for plane in planes])
    if spacings.min() <= 0:
        raise ImageError(f"PixelSpacing of {spacings.min():g} mm is not positive; repair the header")
    if not np.allclose(spacings, spacings[0], rtol=1e-3):
        low, high = spacings.min(), spacings.max()
        raise ImageError(
            f"images of different pixel spacings in one series ({low:g} to {high:g} mm); split them"
        )


def _spacing(offset: np.ndarray, steps: np.ndarray) -> tuple[float, int, bool]:
    """Spacing, number of missing planes, and whether the steps have no common measure."""
    n = len(offset)
    mean = float(offset[-1] / (n - 1))
    tolerance = max(_EVEN * mean, min(_ROUNDED_MM, 0.1 * mean))
    if np.abs(offset - mean * np.arange(n)).max() <= tolerance:
        return mean, 0, False
    step = float(np.median(steps[steps < 1.5 * steps.min()]))
    counts = np.rint(steps / step)
    if np.abs(steps - counts * step).max() <= 0.1 * step and counts.sum() < _SPARSEST * n:
        return float(offset[-1] / counts.sum()), int(counts.sum()) + 1 - n, False
    return float(np.median(steps)), 0, True


def _one_in(planes: Sequence[Plane], instances: Sequence[int | None], spacing: float) -> int:
    """2 where every second plane was left out: positions are even, but thin slices lie far apart and are
    numbered 1, 3, 5 …; 1 where nothing says so."""
    thickness = planes[0].thickness_mm
    numbers = [number for number in instances if number is not None]
    if not thickness or len(numbers) != len(planes) or spacing < _TWO_SLICES * thickness:
        return 1
    steps = set(np.abs(np.diff(numbers)).tolist())
    every = int(steps.pop()) if len(steps) == 1 else 1
    return every if every > 1 and spacing > 0.9 * every * thickness else 1


# ── repairs ─────────────────────────────────────────────────────────────────────────────────────────────


def straighten(array: np.ndarray, stack: Stack) -> tuple[np.ndarray, np.ndarray]:
    """Undo a gantry tilt: shift each plane sideways to where it lies, on a canvas that holds them all.

    array: HU (z, y, x) in the stack's order. Linear within the plane (no plane is mixed with another), -1000
    HU around. Returns the array, in its own pixel type, and its affine at right angles.
    """
    low = np.floor(stack.shift_px.min(axis=0)).astype(int)
    high = np.ceil(stack.shift_px.max(axis=0)).astype(int)
    planes, rows, columns = array.shape
    wider, taller = high - low
    out = np.full((planes, rows + taller, columns + wider), AIR_HU, array.dtype)
    for z, (x, y) in enumerate(stack.shift_px - low):
        dx, dy = math.floor(x), math.floor(y)
        plane = _between(_between(array[z].astype(np.float32), y - dy, 0), x - dx, 1)
        room = out[z, dy : dy + plane.shape[0], dx : dx + plane.shape[1]]
        room[:] = _in_type(plane[: room.shape[0], : room.shape[1]], out.dtype)
    affine = stack.affine.copy()
    affine[:3, 3] += affine[:3, :2] @ low
    return out, affine


def _between(plane: np.ndarray, fraction: float, axis: int) -> np.ndarray:
    """The plane moved by a fraction of a pixel towards higher indices, one longer along `axis`."""
    if fraction < 1e-4:
        return plane
    pad = [(1, 1) if a == axis else (0, 0) for a in range(2)]
    padded = np.pad(plane, pad, constant_values=AIR_HU)
    before, after = (padded[:-1], padded[1:]) if axis == 0 else (padded[:, :-1], padded[:, 1:])
    return before * np.float32(fraction) + after * np.float32(1 - fraction)


def resample_even(array: np.ndarray, stack: Stack) -> np.ndarray:
    """Linear interpolation along the normal onto planes at `stack.spacing_mm`, from the first to the last.

    array: HU (z, y, x) in the stack's order; returns its own pixel type.
    """
    count = round(float(stack.offset_mm[-1]) / stack.spacing_mm) + 1
    wanted = np.minimum(np.arange(count) * stack.spacing_mm, stack.offset_mm[-1])
    above = np.clip(np.searchsorted(stack.offset_mm, wanted, side="left"), 1, len(array) - 1)
    out = np.empty((count, *array.shape[1:]), array.dtype)
    for k, (high, at) in enumerate(zip(above, wanted, strict=True)):
        low = high - 1
        weight = (at - stack.offset_mm[low]) / (stack.offset_mm[high] - stack.offset_mm[low])
        if min(weight, 1 - weight) < 1e-3:
            out[k] = array[high if weight > 0.5 else low]
        else:
            mixed = array[low] * np.float32(1 - weight) + array[high] * np.float32(weight)
            out[k] = _in_type(mixed, out.dtype)
    return out


def _in_type(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    return np.rint(values).astype(dtype) if dtype.kind in "iu" else values.astype(dtype)
