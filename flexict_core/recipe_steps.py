"""The steps of each kind of recipe: (volume, recipe, roi) → [D, H, W] on axes towards S, P, L.

Volumes are scored part by part: mean and deviation come from all voxels, but only the voxels that a recipe
keeps are turned into floats.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from flexict_core.errors import MaskError
from flexict_core.recipe_score import Score, score_of
from flexict_core.resample import (
    AIR_HU,
    Taps,
    interpolate,
    resample_linear,
    resample_nearest,
    resampled_grid,
    resampled_size,
    resize_linear,
    taps_at,
)
from flexict_core.volume import Volume, once_a_volume

if TYPE_CHECKING:
    from flexict_core.preprocess import Recipe

_MASK_MM = 2.0  # both ROI recipes measure the mask on this grid, whatever the CT is sampled at


def _centred(have: int, want: int) -> tuple[slice, slice]:
    """Padding or centre crop of one axis: where it goes in an axis of `want` voxels, and what of it does."""
    if have < want:
        before = (want - have) // 2
        return slice(before, before + have), slice(0, have)
    start = have // 2 - want // 2
    return slice(0, want), slice(start, start + want)


def _cut(start: int, length: int, size: int) -> slice:
    """The part of a run of voxels that lies on an axis of `size`."""
    return slice(max(start, 0), min(start + length, size))


def _centred_cube(volume: Volume, score: Score, side: int) -> np.ndarray:
    """The z-scored volume, padded with its minimum or cropped to a cube."""
    cube = np.full((side,) * 3, score.of(score.minimum), np.float32)
    into, taken = zip(*(_centred(n, side) for n in volume.shape_zyx), strict=True)
    cube[into] = score.of(volume.array[taken])
    return cube


@once_a_volume
def _turned_then_resampled(volume: Volume, spacing_mm: float) -> Volume:
    return resample_linear(volume.to_orientation("LPS"), spacing_mm)


@once_a_volume
def _resampled_then_turned(volume: Volume, spacing_mm: float) -> Volume:
    return resample_linear(volume, spacing_mm).to_orientation("LPS")


def _whole(volume: Volume, recipe: Recipe, roi: Volume | None) -> np.ndarray:
    fine = _turned_then_resampled(volume, recipe.spacing_mm)
    return _centred_cube(fine, score_of(fine, recipe), recipe.size)


def _whole_resized(volume: Volume, recipe: Recipe, roi: Volume | None) -> np.ndarray:
    fine = _turned_then_resampled(volume, recipe.spacing_mm)
    cube = _centred_cube(fine, score_of(fine, recipe), max(fine.shape_zyx))
    return resize_linear(cube, (recipe.size,) * 3, align_corners=recipe.align_corners)


def _slices(volume: Volume, recipe: Recipe, roi: Volume | None) -> np.ndarray:
    return slice_stack(volume, recipe)


def slice_stack(
    volume: Volume, recipe: Recipe, *, keep: Sequence[int] | np.ndarray | None = None
) -> np.ndarray:
    """[S, size, size]: the axial slices of the LPS volume, or those numbered in `keep` (only they are resized)."""
    fine = _turned_then_resampled(volume, recipe.spacing_mm)
    score = score_of(fine, recipe)
    depth, height, width = fine.shape_zyx
    side = max(height, width)
    (rows, _), (columns, _) = _centred(height, side), _centred(width, side)
    square = np.full((side, side), score.of(AIR_HU), np.float32)
    chosen = range(depth) if keep is None else keep
    out = np.empty((len(chosen), recipe.size, recipe.size), np.float32)
    for row, z in enumerate(chosen):
        square[rows, columns] = score.of(fine.array[z])
        out[row] = resize_linear(square, (recipe.size,) * 2, align_corners=recipe.align_corners)
    return out


def _native(volume: Volume, recipe: Recipe, roi: Volume | None) -> np.ndarray:
    return volume.to_orientation("LPS").array


def _roi_adaptive(volume: Volume, recipe: Recipe, roi: Volume | None) -> np.ndarray:
    fine = _resampled_then_turned(volume, recipe.spacing_mm)
    box = _adaptive_box(fine, recipe, roi)
    cube = score_of(fine, recipe).of(fine.array[box])
    return resize_linear(cube, (recipe.size,) * 3, align_corners=recipe.align_corners)


def _adaptive_box(fine: Volume, recipe: Recipe, roi: Volume | None) -> tuple[slice, slice, slice]:
    """The cube's voxels, z y x, on the LPS grid of `recipe.spacing_mm` (`fine`, of which only the grid counts)."""
    if roi is None or recipe.roi_scale is None:
        raise MaskError(f"recipe {recipe.name!r} needs a mask")
    mask = resample_nearest(roi, _MASK_MM).to_orientation("LPS")
    where_zyx = np.nonzero(mask.array)
    if not len(where_zyx[0]):
        raise MaskError(
            f"{roi.source or 'mask'}: {np.count_nonzero(roi.array)} voxels are too few, none is left at "
            f"{_MASK_MM:g} mm; use recipe 'roi_fixed_32'"
        )
    side = max(int(axis.max() - axis.min()) + 1 for axis in where_zyx)
    length = max(1, round(side * recipe.roi_scale))
    centre = fine.world_to_index(_centroid_lps_mm(mask))
    z, y, x = (
        _cut(round(_settled(c)) - length // 2, length, n)
        for c, n in zip(centre[::-1], fine.shape_zyx, strict=True)
    )
    return z, y, x


def _roi_fixed(volume: Volume, recipe: Recipe, roi: Volume | None) -> np.ndarray:
    # The fine grid starts at the RAS corner of the volume; only the cube's own points on it are computed.
    ras = volume.to_orientation("RAS")
    score = score_of(volume, recipe)
    box, taps, beyond = [], {}, []
    for axis, points in enumerate(_fixed_points(ras, recipe, roi)):
        n, side = ras.shape_zyx[axis], ras.spacing_zyx_mm[axis]
        position = points * (recipe.spacing_mm / side)
        low, high, weight = taps_at(position, n)
        first = int(low.min())
        box.append(slice(first, int(high.max()) + 1))
        taps[axis] = Taps(low - first, high - first, weight)
        beyond.append(position > n - 0.5)
    cube = interpolate(score.of(ras.array[tuple(box)]).astype(np.float64), taps).astype(np.float32)
    for axis, outside in enumerate(beyond):
        cube[(slice(None),) * axis + (outside,)] = score.of(AIR_HU)
    return resize_linear(cube, (recipe.size,) * 3, align_corners=recipe.align_corners)


def _fixed_points(ras: Volume, recipe: Recipe, roi: Volume | None) -> list[np.ndarray]:
    """For z, y, x: the cube's points, in LPS order, as indices on the RAS grid of `recipe.spacing_mm`."""
    if roi is None or recipe.cube_voxels is None:
        raise MaskError(f"recipe {recipe.name!r} needs a mask")
    mask = resample_nearest(roi, _MASK_MM)
    centre_lps_mm = _centroid_lps_mm(mask if mask.array.any() else roi)
    centre_mm = ras.world_to_index(centre_lps_mm)[::-1] * ras.spacing_zyx_mm
    fine_size = resampled_size(ras, recipe.spacing_mm)
    return [
        _cube_points(
            float(centre_mm[axis]) / recipe.spacing_mm, recipe.cube_voxels, fine_size[axis], turned=axis > 0
        )
        for axis in range(3)
    ]


def roi_grid(volume: Volume, recipe: Recipe, roi: Volume | None) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Where a ROI recipe samples before its last resize: [4, 4] cube index (x, y, z) → LPS mm, and size z y x."""
    step = np.eye(4)  # cube index → index on the fine grid
    if recipe.kind == "roi_adaptive":
        grid = resampled_grid(volume, recipe.spacing_mm).to_orientation("LPS")
        box = _adaptive_box(grid, recipe, roi)
        step[:3, 3] = [part.start for part in box[::-1]]
        lengths = [part.stop - part.start for part in box]
    else:
        ras = volume.to_orientation("RAS")
        grid = resampled_grid(ras, recipe.spacing_mm)
        points = _fixed_points(ras, recipe, roi)
        step[:3, 3] = [p[0] for p in points[::-1]]
        step[[2, 1, 0], [2, 1, 0]] = [1, -1, -1]  # y and x run against RAS
        lengths = [len(p) for p in points]
    return grid.affine @ step, (lengths[0], lengths[1], lengths[2])


def _cube_points(centre: float, length: int, size: int, *, turned: bool) -> np.ndarray:
    """Indices on a RAS axis of `size` points that a cube takes, in LPS order (y and x are `turned`)."""
    last = size - 1
    start = int(_settled(last - centre if turned else centre)) - length // 2  # int() truncates
    kept = _cut(start, length, size)
    points = np.arange(kept.start, kept.stop)
    return last - points if turned else points


def _settled(index: float) -> float:
    """Without the last bits: symmetric masks centre on whole and half indices, where noise would decide."""
    return round(float(index), 6)


def _centroid_lps_mm(mask: Volume) -> np.ndarray:
    return mask.index_to_world([axis.mean() for axis in np.nonzero(mask.array)[::-1]])


STEPS: dict[str, Callable[[Volume, Recipe, Volume | None], np.ndarray]] = {
    "whole": _whole,
    "whole_resized": _whole_resized,
    "slices": _slices,
    "roi_adaptive": _roi_adaptive,
    "roi_fixed": _roi_fixed,
    "native": _native,
}
