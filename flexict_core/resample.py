"""Linear and nearest sampling on regular grids, along the index axes (an oblique volume stays oblique).

A resampled axis has round(size * spacing / new spacing) voxels (half to even, at least one) and keeps the
first voxel centre. A point counts as inside up to half a voxel beyond the outermost centres and takes the
outermost value there, as in ITK.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from flexict_core.volume import Volume

AIR_HU = -1000.0
_PLANES = 4  # as many as the processor's cache holds


def resample_linear(volume: Volume, spacing_mm: float) -> Volume:
    """CT on cubic voxels of `spacing_mm`, linear, -1000 HU outside.

    Computed in float64 and stored in the array's own pixel type; whole-number types drop the fraction
    (towards zero), as ITK does. Unsigned types become signed, to hold -1000.
    """
    import SimpleITK as sitk  # noqa: N813

    array = volume.array
    if array.dtype.kind == "u":
        array = array.astype(np.int32 if array.dtype.itemsize < 4 else np.int64)
    image = _itk_image(array)
    image.SetSpacing(volume.spacing_zyx_mm[::-1])
    size = resampled_size(volume, spacing_mm)
    resampler = sitk.ResampleImageFilter()
    resampler.SetNumberOfThreads(1)  # callers run one process a volume
    resampler.SetInterpolator(sitk.sitkLinear)
    resampler.SetSize(size[::-1])
    resampler.SetOutputSpacing([spacing_mm] * 3)
    resampler.SetDefaultPixelValue(AIR_HU)
    fine = sitk.GetArrayFromImage(resampler.Execute(image))
    return Volume(fine, _spaced(volume, spacing_mm), volume.source)


def resample_nearest(mask: Volume, spacing_mm: float) -> Volume:
    """Mask on cubic voxels of `spacing_mm`: the nearest voxel's value, 0 outside."""
    size = resampled_size(mask, spacing_mm)
    picks, places = [], []
    # Beyond its own voxels a mask is 0: a tumour is a small part of its CT.
    for part, old, new in zip(_occupied(mask.array), mask.spacing_zyx_mm, size, strict=True):
        nearest = np.floor(np.arange(new) * (spacing_mm / old) + 0.5).astype(np.intp)
        first, last = np.searchsorted(nearest, (part.start, part.stop))
        places.append(slice(first, last))
        picks.append(nearest[first:last])
    out = np.zeros(size, mask.array.dtype)
    out[tuple(places)] = mask.array[np.ix_(*picks)]
    return Volume(out, _spaced(mask, spacing_mm), mask.source)


def _itk_image(array: np.ndarray) -> Any:
    """The array as an image of ITK. A flipped view is put in order a few planes at a time: neither a second copy
    of the volume nor ITK's own slow way through its strides."""
    import SimpleITK as sitk  # noqa: N813

    if array.flags.c_contiguous:
        return sitk.GetImageFromArray(array)
    kind = sitk.GetImageFromArray(np.zeros((1, 1, 1), array.dtype)).GetPixelID()
    image = sitk.Image(array.shape[::-1], kind)
    for first in range(0, len(array), _PLANES):
        planes = slice(first, first + _PLANES)
        image[:, :, planes] = sitk.GetImageFromArray(np.ascontiguousarray(array[planes]))
    return image


def _occupied(array: np.ndarray) -> tuple[slice, ...]:
    """The box of an array outside which all is 0; it is empty where all is."""
    box: tuple[slice, ...] = ()
    for axis in range(array.ndim):
        others = tuple(a for a in range(array.ndim) if a != axis)
        there = np.flatnonzero(array[box].any(axis=others))
        box += (slice(int(there[0]), int(there[-1]) + 1) if len(there) else slice(0, 0),)
    return box


def resampled_size(volume: Volume, spacing_mm: float) -> tuple[int, int, int]:
    """(z, y, x) voxels of the volume at `spacing_mm`."""
    z, y, x = (
        max(1, round(n * old / spacing_mm))
        for n, old in zip(volume.shape_zyx, volume.spacing_zyx_mm, strict=True)
    )
    return z, y, x


def resampled_grid(volume: Volume, spacing_mm: float) -> Volume:
    """The grid that `resample_linear` samples, without the work: all its voxels are one byte in memory."""
    empty = np.broadcast_to(np.zeros(1, np.int8), resampled_size(volume, spacing_mm))
    return Volume(empty, _spaced(volume, spacing_mm), volume.source)


def _spaced(volume: Volume, spacing_mm: float) -> np.ndarray:
    affine = np.array(volume.affine)
    affine[:3, :3] *= spacing_mm / np.linalg.norm(affine[:3, :3], axis=0)
    return affine


class Taps(NamedTuple):
    """Where the points of one axis fall: value = (1 - weight) * v[low] + weight * v[high]."""

    low: np.ndarray
    high: np.ndarray
    weight: np.ndarray


def taps_at(position: np.ndarray, size: int) -> Taps:
    """Taps for fractional indices on an axis of `size` voxels; beyond the ends the outermost value holds."""
    inside = np.clip(position, 0, size - 1)
    low = np.minimum(np.floor(inside).astype(np.intp), max(size - 2, 0))
    return Taps(low, np.minimum(low + 1, size - 1), inside - low)


def interpolate(array: np.ndarray, taps: dict[int, Taps]) -> np.ndarray:
    """Linear interpolation along the axes that `taps` names, axis by axis, in the array's float type."""
    # The axes that shrink most go first: less work for the rest.
    for axis in sorted(taps, key=lambda a: len(taps[a].low) / array.shape[a]):
        low, high, weight = taps[axis]
        weight = weight.astype(array.dtype).reshape([-1 if a == axis else 1 for a in range(array.ndim)])
        base = array.take(low, axis)
        step = array.take(high, axis)
        step -= base
        step *= weight
        base += step
        array = base
    return array


def resize_linear(array: np.ndarray, shape: tuple[int, ...], *, align_corners: bool) -> np.ndarray:
    """Resize the trailing axes of a float32 array to `shape`.

    Equal to `torch.nn.functional.interpolate` (bilinear, trilinear, no antialias) without the cost of torch
    in every worker process; positions are rounded to float32 where torch rounds them.
    """
    first = array.ndim - len(shape)
    taps = {
        first + axis: _resize_taps(array.shape[first + axis], new, align_corners)
        for axis, new in enumerate(shape)
        if new != array.shape[first + axis]
    }
    return interpolate(array, taps)


def _resize_taps(old: int, new: int, align_corners: bool) -> Taps:
    index = np.arange(new, dtype=np.float64)
    if align_corners:
        position = float(np.float32(old - 1) / np.float32(max(new - 1, 1))) * index
    else:
        position = float(np.float32(old) / np.float32(new)) * (index + 0.5) - 0.5
    return taps_at(position.astype(np.float32).astype(np.float64), old)
