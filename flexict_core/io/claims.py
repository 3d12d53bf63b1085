"""What the header of an image file claims, weighed before memory is taken for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flexict_core.errors import ImageError
from flexict_core.volume import Volume

_MOST_VOXELS = 1 << 32  # 1024 x 1024 x 4096: the finest scan of a whole body has half as many
_LARGE_BYTES = 1 << 29
_MOST_PACKED = 100  # noise lets CT shrink two- to fourfold, and a phantom without noise tenfold
_MOST_MM = 3000.0
_LEAST_MM = 2.0


@dataclass(frozen=True)
class Claim:
    """grid: the volume without its voxels. needed: bytes of these; stored: bytes that the file has for them;
    first: where they start in the file, once it is unpacked."""

    grid: Volume
    needed: int
    stored: int
    first: int


Check = Callable[[Claim], None]


def claim_of(
    path: Path,
    shape_zyx: tuple[int, int, int],
    affine: np.ndarray,
    *,
    dtype: np.dtype,
    stored: int,
    first: int = 0,
) -> Claim:
    """The claim of a header. Raises ImageError where the affine is none."""
    grid = Volume(np.broadcast_to(np.zeros((), dtype), shape_zyx), affine, path)
    return Claim(grid, grid.array.size * dtype.itemsize, stored, first)


def check_size(claim: Claim) -> None:
    """ImageError for more voxels than any CT or mask has."""
    if claim.grid.array.size > _MOST_VOXELS:
        sides = " x ".join(map(str, claim.grid.shape_zyx[::-1]))
        raise ImageError(
            f"{claim.grid.source}: its header claims {sides} voxels, more than a CT has; check its source"
        )


def check_ct(claim: Claim) -> None:
    """ImageError for what no CT can be: too many voxels, or hundreds of megabytes without a bit of noise."""
    check_size(claim)
    if claim.needed > max(_LARGE_BYTES, _MOST_PACKED * claim.stored):
        times = claim.needed / max(claim.stored, 1)
        raise ImageError(
            f"{claim.grid.source}: {claim.needed} bytes of voxels are packed {times:.0f}-fold, no CT is; "
            f"check its source"
        )


def check_extent(volume: Volume) -> None:
    """ImageError for a volume that is larger than a room or smaller than a grain: a spacing in other units."""
    sides = [n * side for n, side in zip(volume.shape_zyx, volume.spacing_zyx_mm, strict=True)]
    if max(sides) > _MOST_MM or max(sides) < _LEAST_MM:
        shown = " x ".join(f"{side:.4g}" for side in sides[::-1])
        spacing = " x ".join(f"{side:.4g}" for side in volume.spacing_zyx_mm[::-1])
        raise ImageError(
            f"{volume.source or 'volume'}: a volume of {shown} mm is no patient's; repair the spacing "
            f"({spacing} mm)"
        )
