"""Size and shape of a region, from its mask alone, in mm.

Volume, height and the axial measures are of the file's grid; surface (ITK's Crofton estimate) and longest
diameter of the cubic grid, which has no staircase. Diameters are between the middles of voxel faces, as of a
surface mesh (IBSI); axes are of the ellipsoid with the region's second moments.
"""

from __future__ import annotations

import math

import numpy as np

from flexict_core.encoders.roi_region import Region


def size_features(region: Region) -> dict[str, float]:
    """Volume, surface, diameters and axes. A single voxel has the size of a voxel."""
    mask, spacing = region.mask, np.array(region.spacing_zyx_mm)
    z, y, x = spacing
    slices = mask.sum(axis=(1, 2))
    present = np.flatnonzero(slices)
    major, middle, least = ellipsoid_axes_mm(mask, spacing)
    return {
        "size_volume_ml": float(mask.sum() * spacing.prod() / 1000),
        "size_surface_cm2": region.surface_mm2 / 100,
        "size_max_diameter_mm": _longest(_cubic_faces_mm(region)[0]),
        "size_axial_diameter_mm": _axial_diameter_mm(mask, spacing),
        "size_axial_area_cm2": float(slices.max() * y * x / 100),
        "size_height_mm": float((present[-1] - present[0] + 1) * z),
        "size_major_axis_mm": major,
        "size_middle_axis_mm": middle,
        "size_least_axis_mm": least,
        "size_inner_radius_mm": float(region.depth_mm.max()),
    }


def shape_features(region: Region) -> dict[str, float]:
    """Ratios without a unit (1 = round, full, whole), and the surface-to-volume ratio.

    A region of a voxel or two counts as a ball: sphericity and solidity 1.
    """
    from scipy.ndimage import generate_binary_structure, label

    mask, spacing = region.mask, np.array(region.spacing_zyx_mm)
    # all but the moments on the cubic grid: the steps between thick slices would pass for dents
    volume, surface = float(region.cubic_mask.sum() * region.cubic_mm**3), region.surface_mm2
    major, middle, least = ellipsoid_axes_mm(mask, spacing)
    points, areas = _cubic_faces_mm(region)
    parts, _ = label(mask, generate_binary_structure(3, 3))
    radius = np.linalg.norm(points - np.average(points, axis=0, weights=areas), axis=1)
    mean_radius = float(np.average(radius, weights=areas))
    spread = math.sqrt(float(np.average((radius - mean_radius) ** 2, weights=areas)))
    return {
        "shape_sphericity": min(1.0, (36 * math.pi * volume**2) ** (1 / 3) / surface),
        "shape_elongation": middle / major,
        "shape_flatness": least / major,
        "shape_solidity": min(1.0, volume / _hull_volume(points)),
        "shape_radial_variation": spread / mean_radius,
        "shape_surface_to_volume_per_mm": surface / volume,
        "shape_largest_part_fraction": float(np.bincount(parts.ravel())[1:].max() / mask.sum()),
    }


def ellipsoid_axes_mm(mask: np.ndarray, spacing_zyx_mm: np.ndarray) -> tuple[float, float, float]:
    """Full axes, longest first, of the solid ellipsoid with the same second moments: 2 √(5 λ).

    A voxel counts with its own extent (spacing² / 12), so no axis is ever 0.
    """
    index = np.argwhere(mask)
    points = index * spacing_zyx_mm
    centred = points - points.mean(axis=0)
    covariance = centred.T @ centred / len(points) + np.diag(spacing_zyx_mm**2 / 12)
    least, middle, major = 2 * np.sqrt(5 * np.linalg.eigvalsh(covariance))
    return float(major), float(middle), float(least)


def faces_mm(mask: np.ndarray, spacing_zyx_mm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Middles [n, 3] (z, y, x) of the voxel faces that bound the mask, and their areas [n] in mm²."""
    padded = np.pad(mask, 1)
    points, areas = [], []
    for axis in range(3):
        at = (
            np.argwhere(np.diff(padded, axis=axis)).astype(np.float64) - 1
        )  # diff of bools: where they differ
        at[:, axis] += 0.5
        points.append(at * spacing_zyx_mm)
        areas.append(np.full(len(at), spacing_zyx_mm.prod() / spacing_zyx_mm[axis]))
    return np.concatenate(points), np.concatenate(areas)


def _cubic_faces_mm(region: Region) -> tuple[np.ndarray, np.ndarray]:
    return faces_mm(region.cubic_mask, np.full(3, region.cubic_mm))


def _longest(points: np.ndarray) -> float:
    from scipy.spatial import ConvexHull
    from scipy.spatial.distance import pdist

    return float(pdist(points[ConvexHull(points).vertices]).max())


def _hull_volume(points: np.ndarray) -> float:
    from scipy.spatial import ConvexHull

    return float(ConvexHull(points).volume)


def _axial_diameter_mm(mask: np.ndarray, spacing_zyx_mm: np.ndarray) -> float:
    """The longest diameter within one axial slice, as a radiologist measures it."""
    longest = 0.0
    for plane in mask[mask.any(axis=(1, 2))]:
        extent = [np.ptp(np.flatnonzero(plane.any(axis=a))) + 1 for a in (1, 0)]
        if math.hypot(*(extent * spacing_zyx_mm[1:])) <= longest:
            continue  # not even its bounding box is longer
        points, _ = faces_mm(plane[None], spacing_zyx_mm)
        in_plane = points[points[:, 0] == 0][:, 1:]
        longest = max(longest, _longest(in_plane))
    return longest
