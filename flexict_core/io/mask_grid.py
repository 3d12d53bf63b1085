"""A mask on one grid → the grid of the CT, where both are known to be in one frame of reference."""

from __future__ import annotations

import numpy as np

from flexict_core.errors import MaskError
from flexict_core.volume import Volume

_COINCIDE = 0.05  # voxels


def onto_grid(mask: Volume, reference: Volume) -> Volume:
    """The mask at the reference's voxel centres: the nearest mask voxel's value (exact where grids coincide).

    mask: bool. Raises MaskError where it is empty, reaches beyond the reference, or has no voxel left there.
    """
    name = str(mask.source or "mask")
    low, high = _extent(mask, name)
    corners = np.array([[(low, high)[b >> a & 1][a] for a in range(3)] for b in range(8)], dtype=float)
    there = reference.world_to_index(mask.index_to_world(corners))
    size = np.array(reference.shape_zyx[::-1])
    # Half a mask voxel around its outermost centres, seen from the reference.
    reach = np.abs(_step(mask, reference)).sum(axis=1) / 2
    margin = 0.5 + reach
    if (there < -margin).any() or (there > size - 1 + margin).any():
        raise MaskError(f"{name}: the mask reaches outside its CT; give the CT it was drawn on")
    first = np.maximum(np.floor(there.min(axis=0) - reach), 0).astype(int)
    last = np.minimum(np.ceil(there.max(axis=0) + reach) + 1, size).astype(int)
    out = np.zeros(reference.shape_zyx, bool)
    y, x = np.meshgrid(np.arange(first[1], last[1]), np.arange(first[0], last[0]), indexing="ij")
    most = np.array(mask.shape_zyx[::-1])
    for z in range(first[2], last[2]):
        points = np.stack([x, y, np.full_like(x, z)], axis=-1).reshape(-1, 3)
        # A hair towards zero, so that a tie does not depend on rounding.
        at = np.floor(mask.world_to_index(reference.index_to_world(points)) + 0.5 - 1e-6).astype(int)
        inside = ((at >= 0) & (at < most)).all(axis=1)
        values = np.zeros(len(at), bool)
        values[inside] = mask.array[at[inside, 2], at[inside, 1], at[inside, 0]]
        out[z, first[1] : last[1], first[0] : last[0]] = values.reshape(x.shape)
    if not out.any():
        raise MaskError(f"{name}: no voxel of the mask falls on a voxel of its CT; its region is too small")
    return Volume(out, reference.affine, mask.source, reference.dicom)


def coincide(mask: Volume, reference: Volume) -> bool:
    """Whether the voxel centres of both are the same points, as far as either extends, in any orientation."""
    step = _step(mask, reference)
    turn = np.rint(step)
    if not (np.abs(turn).sum(axis=0) == 1).all() or not (np.abs(turn).sum(axis=1) == 1).all():
        return False
    size = np.array(mask.shape_zyx[::-1])
    ends = reference.world_to_index(mask.index_to_world(np.stack([np.zeros(3), size - 1])))
    drift = np.abs((step - turn) @ (size - 1)).max()
    return bool(drift <= _COINCIDE and np.abs(ends - np.rint(ends)).max() <= _COINCIDE)


def _step(mask: Volume, reference: Volume) -> np.ndarray:
    """[3, 3]: a step along each of the mask's axes, in voxels of the reference."""
    return np.linalg.inv(reference.affine[:3, :3]) @ mask.affine[:3, :3]


def _extent(mask: Volume, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest index (x, y, z) of the mask's voxels."""
    ends = []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        there = np.flatnonzero(mask.array.any(axis=others))
        if not len(there):
            raise MaskError(f"{name}: the mask is empty; give another mask")
        ends.append((there[0], there[-1]))
    low, high = np.array(ends[::-1]).T
    return low, high
