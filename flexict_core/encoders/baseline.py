"""A weightless, interpretable encoder: size, shape, intensity, texture and margin of a region.

The yardstick that a foundation model must beat, and a way to say in words what a difference is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from flexict_core.preprocess import RECIPES

if TYPE_CHECKING:
    from flexict_core.encoders.base import JSON
    from flexict_core.volume import Volume

VERSION = 1  # rises when a number changes

# name → meaning; the unit is the name's ending, none means a ratio or a count of bins
FEATURES: dict[str, str] = {
    "size_volume_ml": "volume",
    "size_surface_cm2": "surface area",
    "size_max_diameter_mm": "longest diameter in 3D",
    "size_axial_diameter_mm": "longest diameter in one axial slice",
    "size_axial_area_cm2": "largest axial cross-section",
    "size_height_mm": "extent from foot to head",
    "size_major_axis_mm": "longest axis of the ellipsoid with the same moments",
    "size_middle_axis_mm": "middle axis of that ellipsoid",
    "size_least_axis_mm": "shortest axis of that ellipsoid",
    "size_inner_radius_mm": "radius of the largest ball inside",
    "shape_sphericity": "surface of the ball of equal volume over the surface; 1 for a ball",
    "shape_elongation": "middle over major axis; 1 for a ball",
    "shape_flatness": "least over major axis; 1 for a ball",
    "shape_solidity": "volume over that of the convex hull; 1 for a convex body",
    "shape_radial_variation": "SD over mean of the surface's distance from its centre; 0 for a ball",
    "shape_surface_to_volume_per_mm": "surface over volume",
    "shape_largest_part_fraction": "share of the largest connected part; 1 for one piece",
    "intensity_mean_hu": "mean",
    "intensity_sd_hu": "standard deviation",
    "intensity_p10_hu": "10th percentile",
    "intensity_p25_hu": "25th percentile",
    "intensity_median_hu": "median",
    "intensity_p75_hu": "75th percentile",
    "intensity_p90_hu": "90th percentile",
    "intensity_skewness": "skewness; positive for a tail of dense voxels",
    "intensity_kurtosis_excess": "kurtosis minus 3; 0 for a normal distribution",
    "intensity_entropy_bits": "entropy of the histogram in bins of 25 HU",
    "intensity_air_fraction": "share below -500 HU: gas, aerated lung",
    "intensity_fat_fraction": "share from -150 to -30 HU: fat",
    "intensity_fluid_fraction": "share from -10 to 20 HU: fluid, necrosis",
    "intensity_soft_fraction": "share from 20 to 100 HU: soft tissue",
    "intensity_bright_fraction": "share from 150 HU: contrast medium, calcium, bone",
    "intensity_core_minus_rim_hu": "mean of the deeper half minus that of the rest",
    "texture_glcm_contrast": "mean squared difference of neighbours, in bins",
    "texture_glcm_dissimilarity_hu": "mean difference of neighbours",
    "texture_glcm_homogeneity": "closeness of neighbours, 1 where all are equal",
    "texture_glcm_energy": "sum of squared pair frequencies, 1 where all are equal",
    "texture_glcm_correlation": "correlation of neighbours",
    "texture_glcm_entropy_bits": "entropy of pairs of neighbours",
    "texture_glcm_contrast_far": "mean squared difference at three cubic voxels, in bins",
    "texture_glcm_correlation_far": "correlation at three cubic voxels",
    "texture_fine_sd_hu": "standard deviation finer than 2 mm, mostly noise",
    "texture_mid_sd_hu": "standard deviation between 2 and 5 mm",
    "texture_coarse_sd_hu": "standard deviation coarser than 5 mm",
    "margin_rim_hu": "mean up to 3 mm inside the surface",
    "margin_shell_hu": "mean up to 4.5 mm outside the surface",
    "margin_shell_sd_hu": "standard deviation up to 4.5 mm outside",
    "margin_contrast_hu": "rim minus shell",
    "margin_overlap": "overlap of the histograms of rim and shell; 1 for no visible border",
    "margin_gradient_hu_per_mm": "mean steepness across the surface",
    "margin_gradient_sd_hu_per_mm": "how much the steepness varies over the surface",
    "margin_net_gradient_hu_per_mm": "mean fall from inside to outside",
    "margin_roughness_mm": "mean shift of the surface when smoothed at 3 mm; 0 for a ball",
}


class BaselineEncoder:
    """Describes the region of the mask, or the body where there is none; needs no weights.

    Each dimension is one of `FEATURES`, in physical units and of the patient's axes, so neither the file's
    orientation nor a flip changes it. Every value is finite, also for a region of one voxel (the fallbacks
    stand beside each family). All work happens in `prepare`.
    """

    name = "baseline"
    pooling = ""
    licence = "Apache-2.0"

    def __init__(self) -> None:
        self.recipe = RECIPES["native"]
        self.feature_names: tuple[str, ...] | None = tuple(FEATURES)
        self.dim = len(FEATURES)

    def prepare(self, volume: Volume, roi: Volume | None = None) -> np.ndarray:
        """CT in HU, and a mask on its grid → [dim] float32.

        Raises MaskError for an empty mask or one on another grid, ImageError for a CT without a body.
        """
        from flexict_core.encoders.roi_region import body_region, roi_region
        from flexict_core.encoders.shape_features import shape_features, size_features
        from flexict_core.encoders.texture_features import (
            intensity_features,
            margin_features,
            texture_features,
        )

        region = body_region(volume) if roi is None else roi_region(volume, roi)
        families = (size_features, shape_features, intensity_features, texture_features, margin_features)
        values = {name: value for family in families for name, value in family(region).items()}
        return np.array([values[name] for name in FEATURES], dtype=np.float32)

    def encode(self, batch: Sequence[np.ndarray]) -> np.ndarray:
        """[B, dim] float32: `prepare` has done the work."""
        return np.stack(list(batch)).astype(np.float32, copy=False)

    def spec(self) -> dict[str, JSON]:
        return {
            "encoder": self.name,
            "encoder_version": VERSION,
            "checkpoint_sha256": None,
            "recipe": self.recipe.name,
            "pooling": self.pooling,
            "patch_size": None,
            "precision": "fp32",
        }
