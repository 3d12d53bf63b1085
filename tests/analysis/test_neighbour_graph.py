"""The neighbour graph by cells against the exact one: same form, nearly the same neighbours, recall as counted."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.neighbour_graph import neighbour_graph
from analysis.vectors import Metric, as_vectors, comparable


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_cells_find_nearly_all_neighbours_and_say_how_many(metric: Metric) -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((6000, 8)) + 4 * rng.standard_normal((30, 8))[rng.integers(0, 30, 6000)]
    X[10] = X[4000]
    space = comparable(as_vectors(X), metric=metric)
    exact = neighbour_graph(space, 10)
    cells = neighbour_graph(space, 10, exact_up_to=1000)
    shared = np.mean([len(np.intersect1d(a, b)) / 10 for a, b in zip(exact.index, cells.index, strict=True)])
    assert exact.recall is None
    assert cells.recall is not None
    assert shared > 0.97
    assert cells.recall == pytest.approx(shared, abs=0.01)  # of a sample of 500
    assert f"{100 * cells.recall:.1f} %" in cells.describe()
    np.testing.assert_array_equal(cells.index[:, 0], np.arange(6000))  # itself first, though another is equal
    assert (cells.distance[:, 0] == 0).all()
    same = (exact.index == cells.index).all(axis=1)
    np.testing.assert_allclose(
        cells.distance[same], exact.distance[same], atol=5e-3 if metric == "euclidean" else 1e-5
    )


def test_the_same_call_gives_the_same_graph() -> None:
    space = comparable(as_vectors(np.random.default_rng(1).standard_normal((3000, 6))), metric="cosine")
    first, second = (neighbour_graph(space, 5, exact_up_to=1000) for _ in range(2))
    np.testing.assert_array_equal(first.index, second.index)
