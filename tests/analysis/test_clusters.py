"""Density clusters against planted groups and scikit-learn and scipy; nothing in nothing; new patients on a map."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.cluster import HDBSCAN
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from analysis import project
from analysis.clusters import enrichment_of, find_clusters
from analysis.placement import place_new
from flexict_core.errors import AnalysisError

N = 90


@pytest.fixture(scope="module")
def grouped() -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
    """Three tight groups (40, 30, 20); the site goes with them, the age is higher in the first, sex is noise."""
    rng = np.random.default_rng(0)
    group = np.repeat([0, 1, 2], [40, 30, 20])
    X = rng.standard_normal((N, 6)) + 9 * np.eye(6)[group]
    table = pd.DataFrame(
        {
            "site": np.where(rng.random(N) < 0.9, np.array(["a", "b", "c"])[group], "a"),
            "age": rng.normal(60, 5, N) + 8 * (group == 0),
            "sex": rng.choice(["F", "M"], N),
            "name": [f"n{i}" for i in range(N)],
        }
    )
    return X, group, table


def test_planted_groups_are_found_stable_and_named(grouped: tuple) -> None:
    X, group, table = grouped
    found = find_clusters(X, columns=table, metric="euclidean")
    inside = found.cluster >= 0
    assert inside.mean() > 0.8
    assert (found.cluster[inside] == group[inside]).all()  # numbered by size
    assert [row.stability for row in found.clusters] == pytest.approx([1, 1, 1], abs=0.25)
    assert "3 of them stable" in found.verdict
    told = {(e.cluster, e.column) for e in found.enrichment if e.p_holm < 0.05}
    assert {(0, "site"), (1, "site"), (2, "site"), (0, "age")} <= told
    assert not any(column == "sex" for _, column in told)
    assert found.columns_left_out == ("name: 90 different values",)


def test_labels_are_those_of_hdbscan_and_effects_those_of_scipy(grouped: tuple) -> None:
    X, _, table = grouped
    found = find_clusters(X, columns=table, metric="euclidean", min_cluster_size=8)
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    points = PCA(n_components=6, svd_solver="full").fit_transform(Z)[:, : found.components]
    reference = HDBSCAN(min_cluster_size=8, copy=True).fit(points).labels_
    assert (np.unique(np.stack([found.cluster, reference]), axis=1).shape[1]) == len(np.unique(reference))
    inside = found.cluster >= 0
    own, age = found.cluster[inside] == 0, table["age"].to_numpy()[inside]
    u = stats.mannwhitneyu(age[own], age[~own])
    (row,) = [e for e in found.enrichment if (e.cluster, e.column) == (0, "age")]
    assert row.value == pytest.approx(u.statistic / (own.sum() * (~own).sum()), abs=1e-8)
    assert row.p_value == pytest.approx(u.pvalue, abs=1e-8)
    assert len({e.p_holm for e in found.enrichment}) > 1
    assert all(e.p_holm >= e.p_value for e in found.enrichment)


def test_columns_that_have_nothing_to_do_with_clusters_are_not_called_enriched(grouped: tuple) -> None:
    X, _, _ = grouped
    cluster = find_clusters(X, metric="euclidean").cluster  # the columns play no part in it
    false, runs = 0, 15
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        columns = {"a": rng.normal(size=N), "b": rng.choice(["x", "y"], N).astype(object)}
        columns["c"] = rng.choice(list("uvw"), N).astype(object)
        false += any(e.p_holm < 0.05 for e in enrichment_of(cluster, columns, seed=seed))
    assert false <= stats.binom.ppf(0.999, runs, 0.05)


def test_one_cloud_is_no_stable_clusters() -> None:
    cloud = np.random.default_rng(3).standard_normal((120, 10))
    found = find_clusters(cloud)
    assert not [row for row in found.clusters if row.stability is not None and row.stability >= 0.75]
    assert found.to_dict()["unclustered"] == np.count_nonzero(found.cluster < 0)


def test_clusters_speak_and_fit_json(grouped: tuple) -> None:
    X, _, table = grouped
    found = find_clusters(X, columns=table)
    written = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert len(written["clusters"]) == len(found.clusters)
    assert f"HDBSCAN (smallest size {found.min_cluster_size})" in found.methods_text()
    assert found.verdict in found.summary()
    assert list(found.table()["cluster"]) == found.cluster.tolist()
    assert len(found.enrichment_table()) == len(found.enrichment)


@pytest.mark.parametrize(
    ("X", "options", "says"),
    [
        (np.eye(5), {}, "too few"),
        (np.ones((30, 3)), {"metric": "euclidean"}, "all 30 embeddings are equal"),
        (np.random.default_rng(0).normal(size=(30, 3)), {"min_cluster_size": 20}, "from 2 to 15"),
        (np.random.default_rng(0).normal(size=(30, 3)), {"columns": ["age"]}, "array has none"),
    ],
)
def test_bad_questions_are_refused(X: np.ndarray, options: dict, says: str) -> None:
    with pytest.raises(AnalysisError, match=says):
        find_clusters(X, **options)


def test_new_patients_land_among_their_own(grouped: tuple) -> None:
    X, group, _ = grouped
    drawn = project(X, method="pca", metric="euclidean")
    rng = np.random.default_rng(5)
    new = rng.standard_normal((3, 6)) + 9 * np.eye(6)[:3]
    placed = place_new(drawn, X, np.vstack([new, X[7], np.full(6, 60.0)]))
    centres = np.stack([drawn.coordinates[group == g].mean(axis=0) for g in range(3)])
    nearest = np.linalg.norm(placed.coordinates[:3, None] - centres[None], axis=2).argmin(axis=1)
    assert nearest.tolist() == [0, 1, 2]
    np.testing.assert_allclose(placed.coordinates[3], drawn.coordinates[7], atol=1e-6)  # known: exactly there
    assert placed.nearest[3] == "7"
    assert placed.strangeness[3] < 0.95 < placed.strangeness[4]  # far from everyone
    assert (placed.spread[:4] < 0.5).all()
    alone = place_new(drawn, X, new[:1])
    np.testing.assert_array_equal(alone.coordinates[0], placed.coordinates[0])  # others change nothing


def test_a_place_is_the_weighted_mean_of_the_neighbours(grouped: tuple) -> None:
    X, _, _ = grouped
    drawn = project(X, method="pca", metric="cosine")
    new = np.random.default_rng(1).standard_normal((1, 6))
    distance = 1 - (X / np.linalg.norm(X, axis=1, keepdims=True)) @ (new[0] / np.linalg.norm(new))
    rows = np.argsort(distance)[:5]
    weights = 1 / distance[rows]
    expected = weights @ drawn.coordinates[rows] / weights.sum()
    np.testing.assert_allclose(place_new(drawn, X, new).coordinates[0], expected, atol=1e-10)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"data": np.zeros((4, 6)) + np.arange(6)}, "the data hold 4"),
        ({"new": np.ones((1, 5))}, "5 dimensions"),
        ({"k": 90}, "from 1 to 89"),
    ],
)
def test_bad_places_are_refused(grouped: tuple, change: dict, says: str) -> None:
    X, _, _ = grouped
    given = {"data": X, "new": X[:1], "k": 5, **change}
    drawn = project(X, method="pca", metric="euclidean")
    with pytest.raises(AnalysisError, match=says):
        place_new(drawn, given["data"], given["new"], k=given["k"])


def test_stability_is_the_share_of_neighbours_that_stay(grouped: tuple) -> None:
    X, _, _ = grouped
    first, second = (project(X, method="tsne", other_seeds=0, seed=s) for s in (0, 1))
    assert first.stability is None
    judged = project(X, method="tsne", other_seeds=1, seed=0)
    near = []
    for picture in (first.coordinates, second.coordinates):
        distance = np.linalg.norm(picture[:, None] - picture[None], axis=2)
        np.fill_diagonal(distance, np.inf)
        near.append(np.argsort(distance, axis=1)[:, : judged.k])
    share = np.mean([len(set(a) & set(b)) / judged.k for a, b in zip(*near, strict=True)])
    assert judged.stability == pytest.approx(share, abs=1e-12)
    assert f"stability over seeds {share:.2f}" in judged.verdict
    assert project(X, method="pca").stability == 1.0


def test_tsne_is_that_of_scikit_learn(grouped: tuple) -> None:
    X, _, _ = grouped
    ours = project(X, method="tsne", metric="euclidean", other_seeds=0, seed=4)
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    start = PCA(n_components=2, svd_solver="full").fit_transform(Z)
    start = 1e-4 * start / start[:, 0].std() + np.random.default_rng(4).normal(scale=1e-8, size=start.shape)
    model = TSNE(perplexity=(N - 1) / 3, init=start.astype(np.float32), random_state=4, n_jobs=1)
    np.testing.assert_allclose(ours.coordinates, model.fit_transform(Z.astype(np.float32)), atol=1e-3)
    assert ours.trustworthiness > 0.8
    assert "perplexity 29.6667" in ours.methods_text()
