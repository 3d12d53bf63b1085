"""HU values of a region, their arrangement, and its margin.

Texture and margin are measured on cubic voxels of one size, in bins of fixed HU width and anchor (IBSI's
fixed bin size), so that voxel size and slice thickness matter less. They do still matter: noise, kernel and
slice thickness change every feature that looks at neighbouring voxels; audit them before trusting a
difference between scanners.
"""

from __future__ import annotations

from itertools import product

import numpy as np

from flexict_core.encoders.roi_region import Region

BIN_HU = 25.0
_LOW, _HIGH = -1000.0, 1000.0  # HU beyond are clipped before they are binned
_LEVELS = int((_HIGH - _LOW) / BIN_HU)
# one of each pair of opposite neighbours of a voxel
_DIRECTIONS = tuple(d for d in product((-1, 0, 1), repeat=3) if d > (0, 0, 0))
_RIM_MM, _SHELL_MM = 3.0, 4.5


def intensity_features(region: Region) -> dict[str, float]:
    """HU of the region's voxels on the file's grid. Constant regions: spread, skewness, kurtosis, entropy
    0."""
    hu = region.hu[region.mask].astype(np.float64)
    mean, sd = float(hu.mean()), float(hu.std())
    z = (hu - mean) / sd if sd > 1e-6 else np.zeros_like(hu)
    p10, p25, p50, p75, p90 = (float(p) for p in np.percentile(hu, (10, 25, 50, 75, 90)))
    return {
        "intensity_mean_hu": mean,
        "intensity_sd_hu": sd,
        "intensity_p10_hu": p10,
        "intensity_p25_hu": p25,
        "intensity_median_hu": p50,
        "intensity_p75_hu": p75,
        "intensity_p90_hu": p90,
        "intensity_skewness": float((z**3).mean()),
        "intensity_kurtosis_excess": float((z**4).mean()) - 3 if sd > 1e-6 else 0.0,
        "intensity_entropy_bits": _entropy_bits(np.bincount(_binned(hu), minlength=_LEVELS)),
        "intensity_air_fraction": float((hu < -500).mean()),
        "intensity_fat_fraction": float(((hu >= -150) & (hu < -30)).mean()),
        "intensity_fluid_fraction": float(((hu >= -10) & (hu < 20)).mean()),
        "intensity_soft_fraction": float(((hu >= 20) & (hu < 100)).mean()),
        "intensity_bright_fraction": float((hu >= 150).mean()),
        "intensity_core_minus_rim_hu": _core_minus_rim(region),
    }


def texture_features(region: Region) -> dict[str, float]:
    """Co-occurrence of HU at one and at three cubic voxels, over all 13 directions, and SD by scale.

    Without any pair of voxels a region counts as constant: contrast, dissimilarity and entropy 0,
    homogeneity, energy and correlation 1. A region with no pair at three voxels takes the values at one.
    """
    binned = np.where(region.cubic_mask, _binned(region.cubic_hu), -1)
    near = co_occurrence(binned, distance=1)
    far = co_occurrence(binned, distance=3)
    far = far if far.any() else near
    return {
        **{f"texture_glcm_{name}": value for name, value in haralick(near).items()},
        "texture_glcm_contrast_far": haralick(far)["contrast"],
        "texture_glcm_correlation_far": haralick(far)["correlation"],
        **_scales(region),
    }


def co_occurrence(levels: np.ndarray, *, distance: int) -> np.ndarray:
    """Counts [levels, levels], symmetric, of voxel pairs `distance` apart in 13 directions; −1 is outside."""
    total = np.zeros(_LEVELS * _LEVELS, dtype=np.int64)
    for direction in _DIRECTIONS:
        first = tuple(
            slice(max(0, -d * distance), n - max(0, d * distance))
            for d, n in zip(direction, levels.shape, strict=True)
        )
        second = tuple(
            slice(max(0, d * distance), n - max(0, -d * distance))
            for d, n in zip(direction, levels.shape, strict=True)
        )
        if any(s.stop <= s.start for s in first):
            continue
        a, b = levels[first], levels[second]
        inside = (a >= 0) & (b >= 0)
        total += np.bincount(a[inside] * _LEVELS + b[inside], minlength=_LEVELS * _LEVELS)
    counts = total.reshape(_LEVELS, _LEVELS)
    return counts + counts.T


def margin_features(region: Region) -> dict[str, float]:
    """The surface and the tissue on both sides: rim (up to 3 mm inside), shell (up to 4.5 mm outside).

    As sharp as the mask is right: a generous contour looks blurred. Where the volume ends at the region there
    is no
    shell: contrast, gradients and shell SD are then 0, overlap 1, and the shell has the rim's HU.
    """
    hu, depth = region.cubic_hu, region.depth_mm
    rim = hu[region.cubic_mask & (depth <= _RIM_MM)]
    shell = hu[~region.cubic_mask & (depth >= -_SHELL_MM)]
    inner = float(rim.mean(dtype=np.float64))
    outer = float(shell.mean(dtype=np.float64)) if shell.size else inner
    slopes = _outward_slopes(region)
    return {
        "margin_rim_hu": inner,
        "margin_shell_hu": outer,
        "margin_shell_sd_hu": float(shell.std(dtype=np.float64)) if shell.size else 0.0,
        "margin_contrast_hu": inner - outer,
        "margin_overlap": _overlap(rim, shell) if shell.size else 1.0,
        "margin_gradient_hu_per_mm": float(np.abs(slopes).mean()) if slopes.size else 0.0,
        "margin_gradient_sd_hu_per_mm": float(slopes.std()) if slopes.size else 0.0,
        "margin_net_gradient_hu_per_mm": float(-slopes.mean()) if slopes.size else 0.0,
        "margin_roughness_mm": _roughness_mm(region),
    }


def _binned(hu: np.ndarray) -> np.ndarray:
    inside = np.clip(hu, _LOW, _HIGH)
    return np.minimum((inside - _LOW) // BIN_HU, _LEVELS - 1).astype(np.intp)


def _entropy_bits(counts: np.ndarray) -> float:
    p = counts[counts > 0] / counts.sum()
    return float(abs(-(p * np.log2(p)).sum()))


def haralick(counts: np.ndarray) -> dict[str, float]:
    """Measures of a co-occurrence matrix (Haralick 1973; IBSI)."""
    total = counts.sum()
    if total == 0:
        return dict(zip(_GLCM, (0.0, 0.0, 1.0, 1.0, 1.0, 0.0), strict=True))
    p = counts / total
    level = np.arange(_LEVELS)
    apart = level[:, None] - level[None, :]
    mean = float(p.sum(axis=1) @ level)
    variance = float(p.sum(axis=1) @ (level - mean) ** 2)
    covariance = float(((level[:, None] - mean) * (level[None, :] - mean) * p).sum())
    values = (
        float((p * apart**2).sum()),
        float((p * np.abs(apart)).sum()) * BIN_HU,
        float((p / (1 + apart**2)).sum()),
        float((p**2).sum()),
        covariance / variance if variance > 0 else 1.0,
        _entropy_bits(counts),
    )
    return dict(zip(_GLCM, values, strict=True))


_GLCM = ("contrast", "dissimilarity_hu", "homogeneity", "energy", "correlation", "entropy_bits")


def _scales(region: Region) -> dict[str, float]:
    """SD in three bands of scale: finer than 2 mm (mostly noise), 2 to 5 mm, coarser than 5 mm (Gaussian
    sigmas).

    Smoothed within the region only (normalised convolution), so that its surroundings do not leak in.
    """
    from scipy.ndimage import gaussian_filter

    mask = region.cubic_mask
    weight = mask.astype(np.float32)
    mean = float(region.cubic_hu[mask].mean(dtype=np.float64))
    values = (region.cubic_hu - np.float32(mean)) * weight
    levels = [values[mask]]
    for sigma_mm in (2.0, 5.0):
        sigma = sigma_mm / region.cubic_mm
        smooth = gaussian_filter(values, sigma, mode="constant", truncate=3)[mask]
        share = gaussian_filter(weight, sigma, mode="constant", truncate=3)[mask]
        levels.append(smooth / np.maximum(share, 1e-6))
    original, fine, coarse = (level.astype(np.float64) for level in levels)
    return {
        "texture_fine_sd_hu": float((original - fine).std()),
        "texture_mid_sd_hu": float((fine - coarse).std()),
        "texture_coarse_sd_hu": float(coarse.std()),
    }


def _core_minus_rim(region: Region) -> float:
    """Mean HU of the deeper half (by depth) minus that of the rest: negative for a necrotic centre."""
    depth = region.depth_mm[region.cubic_mask]
    hu = region.cubic_hu[region.cubic_mask].astype(np.float64)
    core = depth > depth.max() / 2
    return float(hu[core].mean() - hu[~core].mean()) if core.any() and not core.all() else 0.0


def _outward_slopes(region: Region) -> np.ndarray:
    """HU per mm along the outward normal at the surface's voxels; central differences over two cubic
    voxels."""
    at = np.argwhere(np.abs(region.depth_mm) < 0.75 * region.cubic_mm)
    shape = np.array(region.cubic_mask.shape)
    at = at[((at > 0) & (at < shape - 1)).all(axis=1)]  # at the volume's edge there is no other side
    slope, normal = np.zeros((2, len(at), 3))
    for axis in range(3):
        step = np.eye(3, dtype=int)[axis]
        after, before = tuple((at + step).T), tuple((at - step).T)
        slope[:, axis] = (region.cubic_hu[after] - region.cubic_hu[before]) / (2 * region.cubic_mm)
        normal[:, axis] = region.field[before] - region.field[after]
    length = np.linalg.norm(normal, axis=1)
    clear = length > 1e-6  # a sheet one voxel thick has no outward side
    return (slope[clear] * normal[clear]).sum(axis=1) / length[clear]


def _overlap(rim: np.ndarray, shell: np.ndarray) -> float:
    """Overlap of the two HU histograms, 0 (fully apart) to 1 (alike)."""
    p, q = (np.bincount(_binned(v), minlength=_LEVELS) / v.size for v in (rim, shell))
    return float(np.minimum(p, q).sum())


def _roughness_mm(region: Region) -> float:
    """Mean shift of the surface when the mask is smoothed (Gaussian, 3 mm) to the same volume; 0 for a
    ball."""
    from scipy.ndimage import gaussian_filter

    mask = region.cubic_mask
    smooth = gaussian_filter(mask.astype(np.float32), 3.0 / region.cubic_mm, mode="constant", truncate=3)
    count = int(mask.sum())
    if count == mask.size:
        return 0.0
    threshold = np.partition(smooth.ravel(), mask.size - count)[mask.size - count]
    moved = np.count_nonzero((smooth >= threshold) & ~mask) + np.count_nonzero((smooth < threshold) & mask)
    return moved * region.cubic_mm**3 / region.surface_mm2
