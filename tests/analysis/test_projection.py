from __future__ import annotations

import json

import numpy as np
import pytest

from analysis import project
from analysis.vectors import as_vectors, comparable
from flexict_core.errors import AnalysisError


def blobs(n: int = 90, d: int = 12, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    label = np.arange(n) % 3
    return rng.normal(size=(n, d)) + 8 * np.eye(3, d)[label], label


def penalty(space: np.ndarray, picture: np.ndarray, k: int) -> float:
    """Trustworthiness by its definition (Venna & Kaski 2001), with plain loops."""
    n = len(space)

    def ranks(points: np.ndarray) -> np.ndarray:
        distance = np.linalg.norm(points[:, None] - points[None], axis=2)
        np.fill_diagonal(distance, -1)
        return np.argsort(np.argsort(distance, axis=1), axis=1)  # 0 is the point itself

    high, low = ranks(space), ranks(picture)
    total = 0
    for i in range(n):
        for j in range(n):
            if j != i and low[i, j] <= k and high[i, j] > k:
                total += high[i, j] - k
    return 1 - 2 * total / (n * k * (2 * n - 3 * k - 1))


def test_pca_equals_the_singular_value_decomposition() -> None:
    X, _ = blobs()
    result = project(X, method="pca", metric="cosine")
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    centred = unit - unit.mean(axis=0)
    U, S, _ = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(np.abs(result.coordinates), np.abs(U[:, :2] * S[:2]), atol=1e-10)
    np.testing.assert_allclose(result.explained_variance, (S**2 / (S**2).sum())[:2], atol=1e-12)


def test_the_sign_of_pca_does_not_depend_on_the_order_of_the_patients() -> None:
    X, _ = blobs()
    order = np.random.default_rng(1).permutation(len(X))
    one, other = project(X, method="pca"), project(X[order], method="pca")
    np.testing.assert_allclose(other.coordinates, one.coordinates[order], atol=1e-10)


def test_large_tables_take_another_solver_with_the_same_answer() -> None:
    rng = np.random.default_rng(2)
    X = rng.normal(size=(1100, 1050)) * np.r_[9, 5, np.ones(1048)]
    result = project(X, method="pca", metric="cosine")
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    values, vectors = np.linalg.eigh(np.cov(unit.T))
    wanted = (unit - unit.mean(axis=0)) @ vectors[:, :-3:-1]
    np.testing.assert_allclose(np.abs(result.coordinates), np.abs(wanted), atol=1e-8)
    np.testing.assert_allclose(result.explained_variance, (values / values.sum())[:-3:-1], atol=1e-10)


@pytest.mark.parametrize("method", ["pca", "umap"])
def test_trustworthiness_and_continuity_equal_their_definition(method: str) -> None:
    X, _ = blobs(40)
    result = project(X, method=method, n_neighbors=7)
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    assert result.k == 7
    assert result.judged == 40
    assert result.trustworthiness == pytest.approx(penalty(unit, result.coordinates, 7), abs=1e-12)
    assert result.continuity == pytest.approx(penalty(result.coordinates, unit, 7), abs=1e-12)
    assert result.trustworthiness != result.continuity


def test_umap_keeps_planted_groups_together_and_is_reproducible() -> None:
    X, label = blobs()
    one, again, other = project(X), project(X), project(X, seed=1)
    np.testing.assert_array_equal(one.coordinates, again.coordinates)
    assert not np.allclose(one.coordinates, other.coordinates)
    distance = np.linalg.norm(one.coordinates[:, None] - one.coordinates[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    assert (label[distance.argmin(axis=1)] == label).mean() > 0.97


def test_umap_agrees_with_the_class_of_the_library() -> None:
    """Same graph, start and seed through umap.UMAP; its warnings about the graph are what project avoids."""
    from analysis.projection import _principal, _umap_functions

    X, _ = blobs(60)
    result = project(X, metric="euclidean", n_neighbors=10, seed=3)
    points = comparable(as_vectors(X), metric="euclidean").points
    start, _ = _principal(points, 3)
    start = 10 * start / np.abs(start).max() + np.random.default_rng(3).normal(scale=1e-4, size=start.shape)
    distance = np.linalg.norm(points[:, None] - points[None], axis=2)
    index = np.argsort(distance, axis=1, kind="stable")[:, :10].astype(np.int32)
    graph = (index, np.take_along_axis(distance, index, axis=1))
    library = _umap_functions()
    with pytest.warns(UserWarning, match="NNDescent"):
        reference = library.UMAP(
            n_neighbors=10, min_dist=0.1, init=start, random_state=3, precomputed_knn=graph, n_jobs=1
        ).fit(points)
    np.testing.assert_allclose(result.coordinates, reference.embedding_, atol=1e-3)


@pytest.mark.parametrize("n", [5, 6, 9])
def test_few_patients_still_get_a_picture(n: int) -> None:
    result = project(blobs(n)[0])
    assert result.coordinates.shape == (n, 2)
    assert np.isfinite(result.coordinates).all()
    assert result.parameters["n_neighbors"] == n - 1
    assert any(f"lowered from 15 to {n - 1}" in w for w in result.warnings)
    assert 0 <= result.trustworthiness <= 1


def test_equal_patients_and_a_single_line_still_get_a_picture() -> None:
    X, _ = blobs(30)
    assert np.isfinite(project(np.vstack([X, X, X]), n_neighbors=4).coordinates).all()
    line = np.outer(np.arange(1.0, 21), np.ones(4)) + np.array([3.0, 0, 0, 0])
    assert np.isfinite(project(line, metric="euclidean").coordinates).all()


def test_named_features_are_standardised_so_that_no_unit_decides() -> None:
    X, _ = blobs(40, 4)
    one = project(X, method="pca", metric="euclidean")
    other = project(X * np.array([1000.0, 1, 0.001, 1]), method="pca", metric="euclidean")
    np.testing.assert_allclose(one.coordinates, other.coordinates, atol=1e-8)
    assert "standard deviation" in one.methods_text()
    assert one.parameters["standardised"]
    assert "as the encoder gives them" in project(X, method="pca").methods_text()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        *[(lambda X, n=n: project(X[:n]), f"{n} patients are too few") for n in (1, 2, 3, 4)],
        (lambda X: project(X[:, :1]), "1 dimension"),
        (lambda X: project(np.ones((20, 3))), "all 20 embeddings are equal"),
        (lambda X: project(np.ones((20, 3)) * 0.1, metric="euclidean"), "all 20 embeddings are equal"),
        (lambda X: project(X, method="sne"), "choose umap or pca or tsne"),
        (lambda X: project(X, other_seeds=-1), "other_seeds = -1"),
        (lambda X: project(X, metric="manhattan"), "choose cosine or euclidean"),
        (lambda X: project(X, n_neighbors=1), "n_neighbors = 1"),
        (lambda X: project(X, min_dist=2), "min_dist = 2"),
        (lambda X: project(np.vstack([X, X[:1] * np.inf])), "NaN or infinity"),
    ],
)
def test_a_mistake_gets_one_clear_line(call, message: str) -> None:
    with pytest.raises(AnalysisError, match=message):
        call(blobs(20)[0])


def test_results_speak_for_themselves() -> None:
    X, _ = blobs(30)
    result = project(X, patient_id=[f"p{i}" for i in range(30)], n_neighbors=5)
    told = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert told["command"] == "project"
    assert told["method"] == "umap"
    assert told["explained_variance"] is None
    assert told["coordinates"][3] == {
        "patient_id": "p3",
        "x": result.coordinates[3, 0],
        "y": result.coordinates[3, 1],
    }
    assert told["provenance"]["parameters"]["n_neighbors"] == 5
    assert told["provenance"]["versions"]["umap-learn"]
    assert f"{result.trustworthiness:.3f}" in result.summary()
    assert "seed 0" in result.methods_text()
    assert not hasattr(result, "transform")


def test_components_of_many_patients_are_those_of_a_decomposition() -> None:
    """Above 20,000 patients by the covariance: against numpy's singular vectors."""
    rng = np.random.default_rng(5)
    X = (rng.standard_normal((21_000, 6)) * [5, 3, 1, 1, 1, 0.1] + 7).astype(np.float32)
    found = project(X, method="pca", metric="cosine")
    rows = X / np.linalg.norm(X.astype(np.float64), axis=1, keepdims=True)
    u, s, _ = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    ours, theirs = found.coordinates, u[:, :2] * s[:2]
    assert ours * np.sign((ours * theirs).sum(axis=0)) == pytest.approx(theirs, abs=1e-9)
    assert found.explained_variance == pytest.approx(tuple(s[:2] ** 2 / (s**2).sum()), rel=1e-9)
