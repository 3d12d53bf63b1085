"""Retrieval by label, among matched patients, and hubness: planted truths and naive recounts."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import skew

from analysis import retrieval_metrics
from analysis.gallery import open_gallery
from analysis.hubness import hubness
from analysis.matched_retrieval import make_match
from analysis.plots.retrieval import parts_against_random, parts_against_random_source
from analysis.ranked_queries import score_queries
from analysis.retrieval_scores import random_expectation, score_rankings
from flexict_core.errors import AnalysisError

N = 90


def planted(beyond: float) -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
    """The embedding holds the scanner, and the label as far as `beyond`; the label goes with the scanner."""
    rng = np.random.default_rng(4)
    label = rng.integers(0, 2, N)
    scanner = np.where(rng.random(N) < 0.15 + 0.7 * label, "S2", "S1")
    X = rng.standard_normal((N, 6))
    X[:, 0] += 5 * (scanner == "S2")
    X[:, 1] += beyond * label
    return X - X.mean(axis=0), np.array(["early", "late"])[label], pd.DataFrame({"scanner": scanner})


def test_what_the_scanner_gives_is_gone_among_equal_scanners() -> None:
    X, label, table = planted(0.0)
    found = retrieval_metrics(X, label, match=table, k=(1, 5))
    assert found.metrics["mAP"].difference_ci is not None
    assert found.metrics["mAP"].difference_ci[0] > 0  # near patients share the label …
    assert found.matched is not None
    low, high = found.matched.metrics["mAP"].difference_ci or (0, 0)
    assert low <= 0 <= high  # … through the scanner alone
    assert "not shown to share" in found.matched.verdict


def test_what_is_there_beyond_the_scanner_stays() -> None:
    X, label, table = planted(4.0)
    matched = retrieval_metrics(X, label, match=table, k=(1, 5)).matched
    assert matched is not None
    assert matched.metrics["mAP"].difference_ci is not None
    assert matched.metrics["mAP"].difference_ci[0] > 0
    assert matched.columns == ("scanner",)


def _naive(
    cosine: np.ndarray, codes: np.ndarray, alike: np.ndarray, ks: list[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Mean scores and gains over all queries, and without each patient, by deleting the row and starting anew."""

    def mean(left: np.ndarray, scored: np.ndarray) -> np.ndarray:
        rows = []
        for q in scored:
            others = np.array([r for r in left if r != q and alike[q, r]])
            ranked = others[np.argsort(-cosine[q, others], kind="stable")]
            hits = (codes[ranked] == codes[q])[None]
            if hits.any():
                chance = random_expectation(hits.sum(axis=1), np.array([len(others)]), ks)
                score = score_rankings(hits, ks)
                rows.append([*(v[0] for v in score.values()), *(score[k][0] - chance[k][0] for k in score)])
        return np.mean(rows, axis=0)

    everyone = np.arange(len(codes))
    enough = (alike & ~np.eye(len(codes), dtype=bool)).sum(axis=1) >= max(ks)
    whole = np.array([(codes[alike[q]] == codes[q]).sum() > 1 for q in everyone])
    scored = everyone[enough & whole]
    away = [mean(everyone[everyone != r], scored[scored != r]) for r in everyone]
    return mean(everyone, scored), np.array(away).T


def test_the_matched_jackknife_equals_deleting_each_patient() -> None:
    rng = np.random.default_rng(8)
    X, codes = rng.standard_normal((40, 5)), rng.integers(0, 3, 40)
    table = pd.DataFrame({"scanner": rng.choice(["a", "b"], 40), "size": rng.normal(size=40)})
    table.loc[3, "size"] = np.nan
    gallery, ks, rows = open_gallery(X, patient_id=None), [1, 3], np.arange(40)
    match = make_match(table, ["scanner", "size"], caliper=1.0)
    found = score_queries(gallery, rows, rows, codes, ks=ks, rrf_k=20, match=match)
    size = ((table["size"] - table["size"].mean()) / table["size"].std(ddof=0)).to_numpy()
    scanner = table["scanner"].to_numpy()
    alike = (scanner[:, None] == scanner[None]) & (np.abs(size[:, None] - size[None]) <= 1.0)
    cosine = gallery.cosines(rows, rows)[0]
    mean, without = _naive(cosine, codes, alike, ks)
    assert 3 not in found.queries  # without a size nobody is like it
    np.testing.assert_allclose(found.columns().mean(axis=0), mean, atol=1e-12)
    np.testing.assert_allclose(found.without, without, atol=1e-12)


def test_a_matched_ranking_is_that_of_the_stratum_alone() -> None:
    """All of one scanner in one run must give the scores of both strata done one by one."""
    X, label, table = planted(1.0)
    together = retrieval_metrics(X, label, match=table, k=(1, 3)).matched
    assert together is not None
    total, queries = 0.0, 0
    for name in ("S1", "S2"):
        own = (table["scanner"] == name).to_numpy()
        alone = retrieval_metrics(X[own], label[own], k=(1, 3))
        total += alone.metrics["mAP"].mean * alone.queries
        queries += alone.queries
    assert together.queries == queries
    assert together.metrics["mAP"].mean == pytest.approx(total / queries, abs=1e-12)


def test_rows_by_label_add_up_and_know_their_own_queries() -> None:
    X, label, _ = planted(1.5)
    found = retrieval_metrics(X, label, k=(1, 5))
    assert [row.label for row in found.by_label] == ["early", "late"]
    assert sum(row.queries for row in found.by_label) == found.queries
    mean = sum(row.metrics["mAP"].mean * row.queries for row in found.by_label) / found.queries
    assert mean == pytest.approx(found.metrics["mAP"].mean, abs=1e-12)
    own = found.per_query[found.per_query["label"] == "late"]
    late = found.by_label[1].metrics
    assert late["mAP"].mean == pytest.approx(own["average_precision"].mean(), abs=1e-12)
    assert late["mAP"].ci is not None
    assert late["mAP"].ci[0] < late["mAP"].mean < late["mAP"].ci[1]
    split = retrieval_metrics(X, label, k=(1, 5), protocol="split")
    assert all(row.metrics["mAP"].ci is not None for row in split.by_label)


def test_hubness_counts_neighbours_and_agrees_with_scipy() -> None:
    rng = np.random.default_rng(1)
    X = rng.standard_normal((60, 8))
    X[17] = X[:20].sum(axis=0)  # a row that lies towards many
    found = retrieval_metrics(X, ["a", "b"] * 30, k=(1, 5)).hubness
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -2)
    nearest = np.argsort(-cosine, axis=1, kind="stable")[:, :5]
    counts = np.bincount(nearest.ravel(), minlength=60)
    assert found is not None
    assert found.skewness == pytest.approx(skew(counts), abs=1e-8)
    assert (found.k, found.queries, found.mean) == (5, 60, pytest.approx(5.0))
    assert found.largest == counts.max()
    assert found.never == pytest.approx(np.mean(counts == 0))
    assert {h.patient_id for h in found.hubs} == {
        str(i) for i in np.flatnonzero(counts > counts.mean() + 2 * counts.std())
    }
    assert hubness(np.full(4, 3), np.arange(4), k=3, queries=4).skewness is None


def test_the_result_says_and_draws_its_parts() -> None:
    X, label, table = planted(1.0)
    found = retrieval_metrics(X, label, match=table, k=(1, 5))
    written = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert written["matched"]["columns"] == ["scanner"]
    assert [row["label"] for row in written["by_label"]] == ["early", "late"]
    assert written["hubness"]["k"] == 5
    assert "scanner (equal)" in found.methods_text()
    assert found.matched is not None
    assert found.matched.verdict in found.summary()
    source = parts_against_random_source(found)
    assert source["estimate"].tolist() == ["All queries", "Alike in scanner", "label early", "label late"]
    assert source["value"].iloc[1] == found.matched.metrics["mAP"].difference
    assert [float(t.x[0]) for t in parts_against_random(found).data] == source["value"].tolist()


@pytest.mark.parametrize(
    ("table", "options", "says"),
    [
        (pd.DataFrame({"scanner": ["S1"] * N}), {}, "single value"),
        (pd.DataFrame({"scanner": ["S1"] * 3}), {}, "3 rows for 90"),
        (pd.DataFrame({"size": np.arange(N) * 1.0}), {"caliper": 0}, "caliper = 0"),
        (pd.DataFrame({"size": np.arange(N) * 1.0}), {"caliper": 1e-6}, "widen the caliper"),
        (["scanner"], {}, "names columns"),
        (pd.DataFrame(index=range(N)), {}, "match is empty"),
    ],
)
def test_bad_matches_are_refused(table: object, options: dict, says: str) -> None:
    X, label, _ = planted(0.0)
    with pytest.raises(AnalysisError, match=says):
        retrieval_metrics(X, label, match=table, **options)
