"""Recipes: how a CT volume becomes the input of an encoder (preprocessing of FlexiCT, arXiv 2605.21906).

Where the published pipelines leave a choice open, it is made here:

- Oblique volumes are not rotated: axes are flipped and permuted to the closest LPS, and sampling runs along
  the index axes.
- `roi_adaptive` resamples on the file's own axes before it turns to LPS, so a flipped file starts its 2 mm
  grid at its own first voxel. `default`, `local_path` and `slice_2d` turn first.
- A cube of n voxels takes n // 2 below its centre voxel and the rest from there; what the volume's edge cuts
  off is not filled, so the box that is resized may be shorter along an axis.
- `roi_adaptive` and `roi_fixed` are centred on the centroid of the mask at 2 mm. Where a tiny mask has no
  voxel left at 2 mm, `roi_fixed` takes the centroid at full resolution, and `roi_adaptive` refuses it.
- `local_path` pads like `default` (minimum, missing // 2 before) and resizes with align_corners=False.
- `slice_2d` pads to a centred square (missing // 2 before) and resizes with align_corners=False.
- Both of these score with n - 1, like `default`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from flexict_core.errors import EncoderError, MaskError
from flexict_core.recipe_steps import STEPS
from flexict_core.volume import Volume


@dataclass(frozen=True)
class Recipe:
    """Preprocessing, complete: equal recipes give equal arrays.

    kind: the family of steps (a key of `recipe_steps.STEPS`).
    spacing_mm: side of the resampled voxels. size: voxels (or pixels) a side of the result.
    hu_low, hu_high: HU beyond are clipped. ddof: 1 for the z-score's n - 1, 0 for n.
    roi_scale: side of the cube over the ROI's largest side (roi_adaptive only).
    cube_voxels: side of the cube in voxels of `spacing_mm` (roi_fixed only).
    align_corners: how the last resize places its points. version: rises when results change.
    """

    name: str
    kind: str
    spacing_mm: float = 2.0
    size: int = 160
    hu_low: float = -1000.0
    hu_high: float = 1000.0
    ddof: int = 1
    roi_scale: float | None = None
    cube_voxels: int | None = None
    align_corners: bool = False
    version: int = 1

    def __post_init__(self) -> None:
        if self.kind not in STEPS:
            raise EncoderError(f"recipe kind {self.kind!r} is not known; choose one of {', '.join(STEPS)}")
        if not (self.spacing_mm > 0 and self.size > 0 and self.hu_low < self.hu_high):
            raise EncoderError(f"recipe {self.name!r} needs spacing_mm > 0, size > 0 and hu_low < hu_high")
        for kind, setting in (("roi_adaptive", "roi_scale"), ("roi_fixed", "cube_voxels")):
            value = getattr(self, setting)
            if (self.kind == kind) != (value is not None and value > 0):
                raise EncoderError(
                    f"recipe {self.name!r}: {setting} is {value}; {kind} needs it > 0, others None"
                )

    @property
    def needs_roi(self) -> bool:
        return self.kind in ("roi_adaptive", "roi_fixed")

    def to_dict(self) -> dict[str, Any]:
        """Every setting, for an embedding's specification."""
        return asdict(self)


RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe("default", "whole"),
        Recipe("local_path", "whole_resized"),
        Recipe("roi_adaptive", "roi_adaptive", ddof=0, roi_scale=1.5, align_corners=True),
        Recipe("roi_adaptive_2.0", "roi_adaptive", ddof=0, roi_scale=2.0, align_corners=True),
        Recipe("roi_fixed_32", "roi_fixed", spacing_mm=1.0, cube_voxels=32),
        Recipe("roi_fixed_64", "roi_fixed", spacing_mm=1.0, cube_voxels=64),
        Recipe("slice_2d", "slices", size=512),
        Recipe("native", "native"),
    )
}


def apply_recipe(volume: Volume, recipe: str | Recipe, roi: Volume | None = None) -> np.ndarray:
    """Preprocess one CT volume for an encoder.

    volume: CT in HU, in any orientation. roi: the mask on the same grid; the ROI recipes need it, the others
    do not look at it.

    Returns float32 [1, D, H, W], axes towards S, P, L: z-scored, 160 a side (`slice_2d`: one 512 x 512 plane
    per 2 mm slice), or HU at the file's own spacing for "native".

    Raises EncoderError for an unknown recipe, MaskError for a mask that is missing, empty, on another grid or
    too small, and ImageError for a volume of one constant value.
    """
    if isinstance(recipe, str):
        if recipe not in RECIPES:
            raise EncoderError(f"recipe {recipe!r} is not known; choose one of {', '.join(RECIPES)}")
        recipe = RECIPES[recipe]
    if recipe.needs_roi:
        check_roi(volume, recipe, roi)
    return np.ascontiguousarray(STEPS[recipe.kind](volume, recipe, roi), dtype=np.float32)[None]


def check_roi(volume: Volume, recipe: Recipe, roi: Volume | None) -> None:
    """MaskError where a ROI recipe lacks a usable mask: none, on another grid, or empty."""
    if roi is None:
        raise MaskError(f"recipe {recipe.name!r} needs a mask and none was given; give one, or use 'default'")
    name = str(roi.source or "mask")
    if not roi.same_grid(volume):
        raise MaskError(f"{name}: the mask is not on its CT's grid; resample it to the CT")
    if not roi.array.any():
        raise MaskError(f"{name}: the mask is empty; give another mask")
