"""Patch tokens on the CT they came from: dense features for maps of what the network sees where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from flexict_core.errors import EncoderError, InputError
from flexict_core.resample import resampled_size

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from flexict_core.preprocess import Recipe
    from flexict_core.volume import Volume


@dataclass(frozen=True, eq=False)
class TokenMap:
    """tokens: [d, h, w, C] float32, axes towards S, P, L; d counts slices for the 2D encoder.

    affine: [4, 4], token index (x, y, z) → centre of its patch in LPS mm. cls: the CLS token of the same pass,
    [C] of a volume or [d, C] of slices; None where it is not known.
    """

    tokens: np.ndarray
    affine: np.ndarray
    cls: np.ndarray | None = None

    @property
    def grid(self) -> tuple[int, int, int]:
        d, h, w, _ = self.tokens.shape
        return d, h, w

    def index_at(self, point_lps_mm: ArrayLike) -> tuple[int, int, int]:
        """(z, y, x) of the token whose patch holds a point; InputError outside the map."""
        xyz = np.linalg.solve(self.affine, np.append(np.asarray(point_lps_mm, float), 1.0))[:3]
        x, y, z = (int(np.floor(i + 0.5)) for i in xyz)
        if not all(0 <= i < n for i, n in zip((z, y, x), self.grid, strict=True)):
            raise InputError(
                f"point {np.asarray(point_lps_mm)} (LPS mm) lies outside the encoded field: choose one inside"
            )
        return z, y, x

    def similarity_to(self, point_lps_mm: ArrayLike) -> np.ndarray:
        """[d, h, w] float32: cosine similarity of every token to the one at a point in LPS mm."""
        unit = self.tokens / np.maximum(np.linalg.norm(self.tokens, axis=-1, keepdims=True), 1e-12)
        return unit @ unit[self.index_at(point_lps_mm)]

    def principal_components(self, count: int = 3) -> np.ndarray:
        """[d, h, w, count] float32 scores on the leading principal axes of the centred tokens, largest first.

        Signs are fixed by making each axis's largest loading positive.
        """
        flat = self.tokens.reshape(-1, self.tokens.shape[-1]).astype(np.float64)
        if not 1 <= count <= min(flat.shape):
            raise InputError(
                f"{count} components asked of {flat.shape[0]} tokens of {flat.shape[1]} dimensions"
            )
        flat -= flat.mean(0)
        axes = np.linalg.eigh(flat.T @ flat)[1][:, ::-1][:, :count]  # eigh sorts ascending
        axes *= np.sign(axes[np.abs(axes).argmax(0), np.arange(count)])
        return (flat @ axes).reshape(*self.grid, count).astype(np.float32)


def token_affine(
    volume: Volume,
    recipe: Recipe,
    patch_zyx: tuple[int, int, int],
    *,
    roi: Volume | None = None,
    first_slice: int = 0,
) -> np.ndarray:
    """[4, 4]: token index (x, y, z) → patch centre in LPS mm; EncoderError for a recipe without a fixed grid.

    patch_zyx: voxels (pixels) of the recipe's array a token covers; 1 along z for slices. roi: the mask that a
    ROI recipe is centred on.
    """
    if recipe.kind in ("roi_adaptive", "roi_fixed"):
        return _roi_affine(volume, recipe, patch_zyx, roi)
    if recipe.kind not in ("whole", "whole_resized", "slices"):
        raise EncoderError(f"recipe {recipe.name!r} gives no patch tokens: use 'default'")
    lps = volume.to_orientation("LPS")
    fine = np.array(lps.affine)  # index on the resampled grid → mm; the first voxel keeps its centre
    fine[:3, :3] *= recipe.spacing_mm / np.linalg.norm(fine[:3, :3], axis=0)
    size = resampled_size(lps, recipe.spacing_mm)
    square = max(size[1:]) if recipe.kind == "slices" else max(size)
    side = recipe.size if recipe.kind == "whole" else square  # of the padded or cropped cube, before a resize
    scale = side / recipe.size  # resampled voxels to one of the recipe's array

    step = np.eye(4)  # token index → index on the resampled grid
    for axis, (have, patch) in enumerate(zip(size, patch_zyx, strict=True)):
        row = 2 - axis
        if recipe.kind == "slices" and axis == 0:
            step[row, row], step[row, 3] = patch, first_slice
            continue
        before = (side - have) // 2 if have < side else side // 2 - have // 2  # negative where it was cropped
        step[row, row] = patch * scale
        step[row, 3] = patch * scale / 2 - 0.5 - before
    return fine @ step


def _roi_affine(
    volume: Volume, recipe: Recipe, patch_zyx: tuple[int, int, int], roi: Volume | None
) -> np.ndarray:
    """As `token_affine`, for a cube about a region that was stretched to the recipe's size."""
    from flexict_core.preprocess import check_roi
    from flexict_core.recipe_steps import roi_grid

    check_roi(volume, recipe, roi)
    cube, lengths = roi_grid(volume, recipe, roi)
    step = np.eye(4)  # token index → index in the cube before it was resized
    for axis, (length, patch) in enumerate(zip(lengths, patch_zyx, strict=True)):
        row, middle = 2 - axis, (patch - 1) / 2  # of the first patch, in voxels of the recipe's array
        if recipe.align_corners:
            scale = (length - 1) / (recipe.size - 1)
            step[row, row], step[row, 3] = patch * scale, middle * scale
        else:
            scale = length / recipe.size
            step[row, row], step[row, 3] = patch * scale, (middle + 0.5) * scale - 0.5
    return cube @ step
