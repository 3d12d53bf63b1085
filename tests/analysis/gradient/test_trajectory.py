"""The path of the stages against closed forms, and centroids that do not part where nothing does."""

from __future__ import annotations

import numpy as np
import pytest

from analysis import stage_gradient
from analysis.gradient.trajectory import (
    Centroid,
    ellipse_points,
    noise_free_path,
    path_lengths,
    turning_angles,
)
from tests.benchmarks.populations import Population

ORDER = ["0", "1", "2", "3"]


def test_lengths_and_angles_of_known_paths() -> None:
    square = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])
    assert path_lengths(square) == pytest.approx((3.0, 1.0))
    assert turning_angles(square) == pytest.approx((90.0, 90.0))
    assert turning_angles(np.array([[0.0, 0], [1, 1], [3, 3]])) == pytest.approx((0.0,), abs=1e-5)
    assert turning_angles(np.array([[0.0, 0], [2, 0], [1, 0]])) == pytest.approx((180.0,))
    assert turning_angles(np.array([[0.0, 0], [2, 0]])) == ()


def test_lengths_in_the_whole_space_are_free_of_noise_on_average() -> None:
    centres = np.zeros((3, 60))
    centres[1, 0], centres[2, :2] = 3.0, (3.0, 4.0)  # steps of 3 and 4 at a right angle, ends 5 apart
    codes, found, naive = np.repeat([0, 1, 2], 15), [], []
    for seed in range(200):
        Z = centres[codes] + np.random.default_rng(seed).standard_normal((45, 60))
        length, ends, angles = noise_free_path(Z, codes, 3)
        found.append([length, ends, angles[0]])
        naive.append(path_lengths(np.array([Z[codes == k].mean(axis=0) for k in range(3)]))[0])
    assert np.mean(found, axis=0) == pytest.approx([7.0, 5.0, 90.0], rel=0.03)
    assert np.mean(naive) > 8.5  # what noise would have added


def test_ellipse_outline_has_its_axes_and_angle() -> None:
    x, y = ellipse_points(Centroid("II", 20, 1.0, 2.0, (3.0, 1.0), 30.0), count=360)
    distance = np.hypot(x - 1.0, y - 2.0)
    assert distance.max() == pytest.approx(3.0)
    assert distance.min() == pytest.approx(1.0)
    far = np.argmax(distance)
    assert np.degrees(np.arctan2(y[far] - 2.0, x[far] - 1.0)) % 180 == pytest.approx(30.0)
    assert ellipse_points(Centroid("I", 2, 0.0, 0.0, None, None))[0].size == 0


def test_the_plane_shows_a_straight_gradient_straight_and_the_axis_from_early_to_late() -> None:
    cohort = Population("planted", 20, 4, effect=2.0).draw(200, np.random.default_rng(1))
    t = stage_gradient(cohort.X, cohort.codes.astype(str), order=ORDER, permutations=99).trajectory
    assert t is not None
    x = [c.x for c in t.centroids]
    assert x == sorted(x)
    assert t.straightness is not None
    assert t.straightness > 0.97
    assert max(t.turning_angles) < 25
    assert t.across.shape == (200,)


def test_centroids_of_nothing_do_not_part_though_dimensions_outnumber_patients() -> None:
    # an axis that is shown with the patients it was learnt from would separate these stages perfectly
    rng = np.random.default_rng(2)
    X, codes = rng.standard_normal((60, 300)), np.arange(60) % 3
    result = stage_gradient(X, codes.astype(str), order=ORDER[:3], permutations=99)
    t = result.trajectory
    assert t is not None
    assert result.axis is not None
    in_sample = result.axis.scores(X)
    assert in_sample[codes == 2].min() > in_sample[codes == 0].max()
    for centroid, stage in zip(t.centroids, result.stages, strict=True):
        assert abs(centroid.x) < 1
        assert centroid.x == pytest.approx(stage.mean_score, abs=1e-9)
        assert centroid.semi_axes is not None
        assert stage.ci is not None
        # along the axis the ellipse is no narrower than what the interval of the mean says
        outline = ellipse_points(centroid)[0]
        assert np.ptp(outline) / 2 >= (stage.ci[1] - stage.ci[0]) / 2 * 0.999


def test_the_across_component_is_orthogonal_and_one_dimension_has_none() -> None:
    rng = np.random.default_rng(3)
    codes = np.arange(60) % 3
    X = rng.standard_normal((60, 1)) + codes[:, None]
    t = stage_gradient(X, codes.astype(str), order=ORDER[:3], permutations=99).trajectory
    assert t is not None
    assert np.abs(t.across).max() == pytest.approx(0.0, abs=1e-9)
    assert t.explained_variance == 0.0
