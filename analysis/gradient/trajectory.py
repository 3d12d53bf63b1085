"""The path of the stages: their centroids in the plane of the stage axis and the first component across it.

Along the axis stands the out-of-fold score (scores of the axis' own training patients would separate the stages
even where nothing does); across it the first principal component of the embeddings after the axis is taken out.
Lengths and angles are also given in the whole space of standardised embeddings, with the sampling noise of the
centroids taken off: noise alone makes any path longer and more crooked. Nothing here is measured on a UMAP.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from analysis.gradient.data import StageData
from analysis.gradient.result import StageRow
from analysis.gradient.transport import StageAxis

DRAWS = 1000
_CHI2_95 = 5.991464547107979  # 95 % point of χ² with 2 degrees of freedom: −2 ln 0.05


@dataclass(frozen=True)
class Centroid:
    """Centre of a stage in the plane (within-stage SDs) and its 95 % ellipse.

    `semi_axes`: lengths, longer first; `angle_degrees`: of the longer one from the stage axis, counter-clockwise.
    """

    label: str
    n: int
    x: float
    y: float
    semi_axes: tuple[float, float] | None
    angle_degrees: float | None


@dataclass(frozen=True, eq=False)
class Trajectory:
    """`across` [n]: each patient's place across the axis, in within-stage SDs (along it stand the scores).

    `turning_angles`: at each inner stage, 0° straight on, 180° straight back. `straightness`: end-to-end distance
    over path length (1 = straight). The `space_…` ones are of the whole embedding space, free of sampling noise
    on average; None where the noise leaves nothing to measure.
    """

    centroids: tuple[Centroid, ...]
    explained_variance: float
    path_length: float
    end_to_end: float
    straightness: float | None
    turning_angles: tuple[float, ...]
    space_path_length: float | None
    space_end_to_end: float | None
    space_turning_angles: tuple[float | None, ...]
    draws: int
    across: np.ndarray

    def details(self) -> dict[str, Any]:
        """Everything but the places of single patients."""
        return {k: v for k, v in vars(self).items() if k != "across"}


def trajectory(
    axis: StageAxis,
    d: StageData,
    scores: np.ndarray,
    *,
    stages: tuple[StageRow, ...],
    rng: np.random.Generator,
    draws: int = DRAWS,
) -> Trajectory:
    """Centroids, ellipses, lengths and angles; `scores` [n] out of fold, in within-stage SDs.

    Ellipses come from resampling the patients of each stage in the fixed plane; along the axis they are widened
    to the interval of the stage's mean score, which holds the uncertainty of learning the axis.
    """
    Z = (d.X_full - axis.mean) / axis.scale
    component, share = _first_component_across(Z, axis.weights)
    across = _within_stage_units(Z @ component, d)
    points = np.column_stack([scores, across])
    centres = np.array([points[d.codes == k].mean(axis=0) for k in range(d.n_stages)])
    rows = []
    for k, label in enumerate(d.order):
        cloud = points[d.codes == k]
        ellipse = _ellipse(cloud, stages[k], rng, draws) if len(cloud) >= 3 else (None, None)
        rows.append(Centroid(label, len(cloud), float(centres[k, 0]), float(centres[k, 1]), *ellipse))
    length, ends = path_lengths(centres)
    space_length, space_ends, space_angles = noise_free_path(Z, d.codes, d.n_stages)
    return Trajectory(
        centroids=tuple(rows),
        explained_variance=share,
        path_length=length,
        end_to_end=ends,
        straightness=ends / length if length > 0 else None,
        turning_angles=turning_angles(centres),
        space_path_length=space_length,
        space_end_to_end=space_ends,
        space_turning_angles=space_angles,
        draws=draws,
        across=across,
    )


def path_lengths(centres: np.ndarray) -> tuple[float, float]:
    """Length of the path through the rows of centres [K, m], and the distance of its ends."""
    steps = np.linalg.norm(np.diff(centres, axis=0), axis=1)
    return float(steps.sum()), float(np.linalg.norm(centres[-1] - centres[0]))


def turning_angles(centres: np.ndarray) -> tuple[float, ...]:
    """Change of direction in degrees (0 … 180) at each inner row of centres [K, m]."""
    steps = np.diff(centres, axis=0)
    return tuple(_degrees(float(a @ b), float(a @ a), float(b @ b)) or 0.0 for a, b in pairwise(steps))


def noise_free_path(
    Z: np.ndarray, codes: np.ndarray, n_stages: int
) -> tuple[float | None, float | None, tuple[float | None, ...]]:
    """Path length, end-to-end distance and turning angles of the stage means of Z [n, d].

    Squared distances and products of steps are free of the sampling noise of the means on average: the trace of
    each mean's covariance is taken off. A distance whose square comes out negative counts as 0.
    """
    centres = np.array([Z[codes == k].mean(axis=0) for k in range(n_stages)])
    counts = np.bincount(codes, minlength=n_stages)
    if counts.min() < 2:
        return None, None, (None,) * max(n_stages - 2, 0)
    noise = np.array([Z[codes == k].var(axis=0, ddof=1).sum() / counts[k] for k in range(n_stages)])
    steps = np.diff(centres, axis=0)
    square = np.sum(steps**2, axis=1) - noise[:-1] - noise[1:]
    ends = float(np.sum((centres[-1] - centres[0]) ** 2) - noise[0] - noise[-1])
    angles = [
        _degrees(float(a @ b) + float(noise[k + 1]), float(square[k]), float(square[k + 1]))
        for k, (a, b) in enumerate(pairwise(steps))
    ]
    return float(np.sqrt(np.maximum(square, 0)).sum()), float(np.sqrt(max(ends, 0.0))), tuple(angles)


def _degrees(product: float, first: float, second: float) -> float | None:
    """Angle between two steps from their inner product and squared lengths."""
    if first <= 0 or second <= 0:
        return None
    return float(np.degrees(np.arccos(np.clip(product / np.sqrt(first * second), -1.0, 1.0))))


def _first_component_across(Z: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, float]:
    """First principal component [d] of Z orthogonal to the axis, and its share of the variance there.

    Its sign makes its largest loading positive.
    """
    length = np.linalg.norm(weights)
    direction = weights / length if length > 0 else weights
    rest = Z - np.outer(Z @ direction, direction)
    rest -= rest.mean(axis=0)
    if rest.shape[1] <= rest.shape[0]:
        e, V = np.linalg.eigh(rest.T @ rest)
        component = V[:, -1]
    else:
        e, U = np.linalg.eigh(rest @ rest.T)
        component = rest.T @ U[:, -1]
    total = float(np.maximum(e, 0).sum())
    norm = np.linalg.norm(component)
    if total <= 1e-12 * max(float(np.sum(Z**2)), 1e-300) or norm == 0:  # one dimension: nothing lies across
        return np.zeros(Z.shape[1]), 0.0
    component = component / norm
    component *= np.sign(component[np.argmax(np.abs(component))])
    return component, float(e[-1] / total)


def _within_stage_units(values: np.ndarray, d: StageData) -> np.ndarray:
    means = np.array([values[d.codes == k].mean() for k in range(d.n_stages)])
    within = np.sqrt(np.sum((values - means[d.codes]) ** 2) / (d.n - d.n_stages))
    return np.asarray((values - means.mean()) / within if within > 1e-12 else values * 0.0)


def _ellipse(
    cloud: np.ndarray, stage: StageRow, rng: np.random.Generator, draws: int
) -> tuple[tuple[float, float], float]:
    """Semi-axes and angle of the 95 % ellipse of a stage's centre; cloud [n_k, 2]."""
    resampled = cloud[rng.integers(0, len(cloud), (draws, len(cloud)))].mean(axis=1)  # [draws, 2]
    # resampling n patients gives the variance with n in the denominator
    covariance = np.cov(resampled.T) * len(cloud) / (len(cloud) - 1)
    if stage.ci is not None and covariance[0, 0] > 0:
        along = ((stage.ci[1] - stage.ci[0]) / 2 / 1.959963984540054) ** 2
        stretch = np.sqrt(max(along / covariance[0, 0], 1.0))
        covariance = covariance * np.outer([stretch, 1.0], [stretch, 1.0])
    e, V = np.linalg.eigh(covariance)
    axes = np.sqrt(np.maximum(e, 0.0) * _CHI2_95)
    angle = float(np.degrees(np.arctan2(V[1, 1], V[0, 1])))
    return (float(axes[1]), float(axes[0])), angle % 180.0


def ellipse_points(centroid: Centroid, count: int = 72) -> tuple[np.ndarray, np.ndarray]:
    """x and y [count + 1] of the closed outline of a centroid's ellipse (empty without one)."""
    if centroid.semi_axes is None or centroid.angle_degrees is None:
        return np.empty(0), np.empty(0)
    turn = np.linspace(0, 2 * np.pi, count + 1)
    a, b = centroid.semi_axes[0] * np.cos(turn), centroid.semi_axes[1] * np.sin(turn)
    angle = np.radians(centroid.angle_degrees)
    x = centroid.x + a * np.cos(angle) - b * np.sin(angle)
    y = centroid.y + a * np.sin(angle) + b * np.cos(angle)
    return x, y
