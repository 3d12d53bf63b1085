"""What the 3D view gets: a CT of at most two million voxels and its mask, as NIfTI files, and how to draw them.

The originals never leave this machine's disk for it: a coarser copy is sent, at most a few megabytes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from app.components.plane_marks import OUTLINE_COLOUR

if TYPE_CHECKING:
    from app.components.ct_planes import CtCase
    from flexict_core.volume import Volume

HEIGHT_PX = 560
_MOST_VOXELS = 2_000_000
_HU = (-1000, 1500)
_SERVED = Path(__file__).parent / "served"


@dataclass(frozen=True)
class Scene:
    """The files of one case: NIfTI bytes of the CT in HU and of the mask, on one grid; spacing_mm of its voxels."""

    ct: bytes
    mask: bytes | None
    spacing_mm: float


@dataclass(frozen=True)
class Look:
    """How it is drawn. low, high: HU from nothing to white. depth: of the cut from the front, −0.5 to 0.5 of the
    volume, None for no cut. mask_opacity: 0 to 1."""

    low: float
    high: float
    depth: float | None
    mask_opacity: float


def scene_of(case: CtCase) -> Scene:
    """The case on cubic voxels, as coarse as the limit demands; a mask too thin for them keeps its voxels."""
    from flexict_core.io.write import nifti_bytes
    from flexict_core.resample import resample_linear

    extent = [n * s for n, s in zip(case.volume.shape_zyx, case.volume.spacing_zyx_mm, strict=True)]
    spacing = max((math.prod(extent) / _MOST_VOXELS) ** (1 / 3), min(case.volume.spacing_zyx_mm), 0.5)
    clipped = case.volume.with_array(np.clip(case.volume.array, *_HU).astype(np.int16))
    ct = resample_linear(clipped, spacing)
    mask = None
    if case.mask is not None:
        share = resample_linear(case.mask.with_array(case.mask.array.astype(np.float32) * 1000.0), spacing)
        inside = share.array >= 500.0
        if not inside.any():  # thinner than the coarse voxels, or between their centres
            inside = _nearest_voxels(case.mask, share)
        mask = nifti_bytes(share.with_array(inside))
    return Scene(nifti_bytes(ct), mask, spacing)


def _nearest_voxels(mask: Volume, grid: Volume) -> np.ndarray:
    """Bool array of `grid`: the voxels nearest to those of the mask."""
    world = mask.index_to_world(np.argwhere(mask.array)[:, ::-1])
    index = np.rint(grid.world_to_index(world)).astype(int)[:, ::-1]
    inside = np.zeros(grid.array.shape, dtype=bool)
    inside[tuple(np.clip(index, 0, np.array(inside.shape) - 1).T)] = True
    return inside


def show_volume(scene: Scene, look: Look, *, name: str) -> None:
    """Draw the scene; `name` tells volumes apart, so that a new look does not send the voxels anew."""
    _component()(
        name=name,
        ct=scene.ct,
        mask=scene.mask,
        low=look.low,
        high=look.high,
        depth=look.depth,
        mask_opacity=look.mask_opacity,
        mask_colour=list(OUTLINE_COLOUR),
        height=HEIGHT_PX,
        key="volume-view",
        default=None,
    )


@cache
def _component() -> Any:
    from streamlit.components.v1 import declare_component

    return declare_component("volume_view", path=_SERVED)
