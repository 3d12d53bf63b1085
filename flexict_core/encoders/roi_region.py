"""The region that the baseline encoder describes: cut out, in HU, on its own grid and on a cubic one.

Every step is symmetric about the middle of the cut-out, so a file stored with flipped axes gives the same
numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from flexict_core.errors import ImageError, MaskError

if TYPE_CHECKING:
    from flexict_core.volume import Volume

CUBIC_MM = 1.5  # the grid of texture and margin
BODY_MM = 3.0  # the only grid of a whole body
CONTEXT_MM = 7.5  # kept around the region, for its margin
HU_RANGE = (-1024.0, 3071.0)  # beyond lies padding or metal
BODY_HU = -300.0


@dataclass(frozen=True)
class Region:
    """hu, mask: (z, y, x) float32 and bool, axes towards S, P, L, on the file's grid. cubic_hu, cubic_mask: the
    same on cubic voxels of `cubic_mm`. depth_mm: on the cubic grid, distance to the region's surface, positive
    inside; field: the same before it was cut to voxels, with smooth level sets and no exact unit, for directions.
    surface_mm2: of the cubic mask."""

    hu: np.ndarray
    mask: np.ndarray
    spacing_zyx_mm: tuple[float, float, float]
    cubic_hu: np.ndarray
    cubic_mask: np.ndarray
    cubic_mm: float
    depth_mm: np.ndarray
    field: np.ndarray
    surface_mm2: float


def roi_region(volume: Volume, roi: Volume) -> Region:
    """The region of a mask. Raises MaskError where the mask is empty or on another grid than the CT."""
    if not roi.same_grid(volume):
        raise MaskError(f"{roi.source or 'mask'}: the mask is not on its CT's grid; resample it to the CT")
    volume, roi = volume.to_orientation("LPS"), roi.to_orientation("LPS")
    mask = roi.array.astype(bool, copy=False)
    spacing = volume.spacing_zyx_mm
    box = _bounding_box(mask, context=[math.ceil(CONTEXT_MM / s) for s in spacing])
    if box is None:
        raise MaskError(f"{roi.source or 'mask'}: the mask is empty; give another mask")
    hu, mask = _hu(volume.array[box]), np.ascontiguousarray(mask[box])
    size = _cubic_size(hu.shape, spacing, CUBIC_MM)
    return _region(
        hu,
        mask,
        spacing,
        cubic=(
            resample_centred(_smooth(hu, spacing, CUBIC_MM), spacing, size, CUBIC_MM),
            *_cubic_mask(mask, spacing, size),
        ),
        cubic_mm=CUBIC_MM,
    )


def body_region(volume: Volume) -> Region:
    """The body: above −300 HU, the largest connected part, filled slice by slice (so with its lungs and gas).

    All of it on 3 mm voxels, not smoothed first. Raises ImageError where there is no body.
    """
    import SimpleITK as sitk  # noqa: N813
    from scipy import ndimage

    volume = volume.to_orientation("LPS")
    spacing = volume.spacing_zyx_mm
    size = _cubic_size(volume.shape_zyx, spacing, BODY_MM)
    hu = _hu(resample_centred(volume.array, spacing, size, BODY_MM))
    parts = sitk.ConnectedComponent(sitk.GetImageFromArray((hu > BODY_HU).astype(np.uint8)))
    labels = sitk.GetArrayFromImage(parts)
    sizes = np.bincount(labels.ravel())[1:]
    if sizes.size == 0:
        raise ImageError(
            f"{volume.source or 'volume'}: no voxel above {BODY_HU:g} HU, so no body; give a mask"
        )
    mask = labels == 1 + int(sizes.argmax())
    mask = np.stack([ndimage.binary_fill_holes(plane) for plane in mask])
    box = _bounding_box(mask, context=[math.ceil(CONTEXT_MM / BODY_MM)] * 3)
    hu, mask = hu[box], np.ascontiguousarray(mask[box])
    spacing = (BODY_MM,) * 3
    return _region(hu, mask, spacing, cubic=(hu, mask, _signed_mm(mask, spacing)), cubic_mm=BODY_MM)


def _region(
    hu: np.ndarray,
    mask: np.ndarray,
    spacing: tuple[float, float, float],
    *,
    cubic: tuple[np.ndarray, np.ndarray, np.ndarray],
    cubic_mm: float,
) -> Region:
    cubic_hu, cubic_mask, field = cubic
    # a body is on one grid, so its field is the distance already
    signed = field if mask is cubic_mask else _signed_mm(cubic_mask, (cubic_mm,) * 3)
    return Region(
        hu,
        mask,
        spacing,
        cubic_hu=cubic_hu,
        cubic_mask=cubic_mask,
        cubic_mm=cubic_mm,
        depth_mm=signed
        - np.sign(signed) * np.float32(cubic_mm / 2),  # the surface is half way between voxels
        field=field,
        surface_mm2=_surface_mm2(cubic_mask, cubic_mm),
    )


def _hu(array: np.ndarray) -> np.ndarray:
    return np.clip(array, *HU_RANGE).astype(np.float32)


def _bounding_box(mask: np.ndarray, *, context: Sequence[int]) -> tuple[slice, ...] | None:
    box = []
    for axis, more in enumerate(context):
        found = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        if found.size == 0:
            return None
        box.append(slice(max(0, int(found[0]) - more), min(mask.shape[axis], int(found[-1]) + 1 + more)))
    return tuple(box)


def _cubic_size(shape: Sequence[int], spacing: Sequence[float], step_mm: float) -> list[int]:
    return [max(1, round(n * s / step_mm)) for n, s in zip(shape, spacing, strict=True)]


def _smooth(hu: np.ndarray, spacing: Sequence[float], step_mm: float) -> np.ndarray:
    """Blur axes finer than the cubic grid to its voxel width, so that noise is averaged, not picked.

    Widths as full widths at half maximum: sigma² = (step² − spacing²) / (8 ln 2).
    """
    from scipy.ndimage import gaussian_filter

    sigma = [math.sqrt(max(0.0, step_mm**2 - s**2) / (8 * math.log(2))) / s for s in spacing]
    return gaussian_filter(hu, sigma, mode="nearest", truncate=3) if any(sigma) else hu


def resample_centred(
    array: np.ndarray, spacing: Sequence[float], size: Sequence[int], step_mm: float
) -> np.ndarray:
    """Linear, on cubic voxels whose middle is the array's middle; float32."""
    from scipy.ndimage import affine_transform

    scale = [step_mm / s for s in spacing]
    offset = [(n - 1) / 2 - k * (m - 1) / 2 for n, m, k in zip(array.shape, size, scale, strict=True)]
    return affine_transform(
        array, scale, offset, output_shape=tuple(size), output=np.float32, order=1, mode="nearest"
    )


def _cubic_mask(
    mask: np.ndarray, spacing: tuple[float, float, float], size: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """The mask on the cubic grid, of the same volume, and the smooth field that it is a level set of.

    Interpolates the distance to the surface, not the mask (shape-based interpolation), so that thick slices
    give a slope and no stairs: the surface of ellipsoids comes out within 4 % for slices of 0.6 to 5 mm,
    whereas ITK's estimate on the anisotropic grid itself is off by up to 26 %.
    """
    field = resample_centred(_signed_mm(mask, spacing), spacing, size, CUBIC_MM)
    count = round(float(mask.sum() * np.prod(spacing)) / CUBIC_MM**3)
    rank = field.size - min(max(1, count), field.size)
    # 1e-4 mm: voxels that tie stay together whichever way the axes run
    return field >= float(np.partition(field.ravel(), rank)[rank]) - 1e-4, field


def _signed_mm(mask: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    """Distance to the nearest voxel centre on the other side, positive inside; beyond the array is outside."""
    import SimpleITK as sitk  # noqa: N813

    def to_nearest(target: np.ndarray) -> np.ndarray:
        image = sitk.GetImageFromArray(target.astype(np.uint8))
        image.SetSpacing(spacing[::-1])
        distance = sitk.SignedMaurerDistanceMap(image, squaredDistance=False, useImageSpacing=True)
        return np.maximum(sitk.GetArrayFromImage(distance)[1:-1, 1:-1, 1:-1], 0)

    padded = np.pad(mask, 1)
    return np.asarray(to_nearest(~padded) - to_nearest(padded), dtype=np.float32)


def _surface_mm2(mask: np.ndarray, step_mm: float) -> float:
    """Surface by the Crofton formula (ITK); where the volume's edge cuts the region, the cut counts."""
    import SimpleITK as sitk  # noqa: N813

    image = sitk.GetImageFromArray(np.pad(mask, 1).astype(np.uint8))
    image.SetSpacing([step_mm] * 3)
    statistics = sitk.LabelShapeStatisticsImageFilter()
    statistics.ComputePerimeterOn()
    statistics.Execute(image)
    return float(statistics.GetPerimeter(1))
