from __future__ import annotations

import itertools
import json
from math import comb
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import retrieval_metrics, search
from analysis.cohort import Cohort
from analysis.gallery import fused_ranking
from analysis.retrieval_scores import (
    jackknife_interval,
    patient_split,
    published_split,
    random_expectation,
    score_rankings,
    without_each,
)
from analysis.vectors import as_vectors, comparable, nearest_rows
from flexict_core.errors import AnalysisError, CohortError


def clusters(n: int = 60, *, seed: int = 0, d: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Three labels; patients of a label point the same way, so that cosine neighbours share it."""
    rng = np.random.default_rng(seed)
    label = np.arange(n) % 3
    centres = np.eye(3, d) * 4
    return centres[label] + rng.normal(size=(n, d)), label


# --- neighbours ---------------------------------------------------------------------------------------------


def test_search_equals_sorting_all_cosines() -> None:
    X, _ = clusters()
    found = search(X, "7", k=10)
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    cosine = unit @ unit[7]
    order = [i for i in np.argsort(-cosine, kind="stable") if i != 7][:10]
    assert found.neighbours["patient_id"].tolist() == [str(i) for i in order]
    np.testing.assert_allclose(found.neighbours["similarity"], cosine[order], rtol=1e-13)
    assert found.neighbours["rank"].tolist() == list(range(1, 11))


def test_rows_of_the_same_patient_are_never_neighbours() -> None:
    X, _ = clusters(12)
    ids = ["a", "a", "b", "b", *"cdefghij"]
    X[1] = X[0] * 2  # the nearest row of all belongs to the same patient
    found = search(X, "a", k=10, patient_id=ids)
    assert "a" not in found.neighbours["patient_id"].tolist()
    assert len(found.neighbours) == 10


def test_ties_keep_the_lower_index_first() -> None:
    base = np.array([[1.0, 0.2, 0.1]])
    X = np.vstack([base * s for s in (1, 3, 7, 0.1, 11)] + [[[0.0, 1.0, 0.0]]])
    found = search(X, base[0], k=5)
    assert found.neighbours["patient_id"].tolist() == ["0", "1", "2", "3", "4"]


def test_candidates_that_float32_cannot_tell_apart_are_ranked_exactly() -> None:
    # 400 cosines that differ by 1e-9 near 1: below the resolution of float32, well above that of float64
    angle = 0.1 + np.arange(400) * 1e-8
    X = np.column_stack([np.cos(angle), np.sin(angle)])[::-1]
    found = search(X, np.array([1.0, 0.0]), k=5)
    assert found.neighbours["patient_id"].tolist() == ["399", "398", "397", "396", "395"]


def test_nearest_rows_gives_exact_euclidean_distances() -> None:
    rng = np.random.default_rng(1)
    points = rng.normal(size=(300, 5)) * 50
    index, distance = nearest_rows(points, points[:20], 7, metric="euclidean")
    full = np.sqrt(((points[:20, None] - points[None]) ** 2).sum(axis=2))
    np.testing.assert_array_equal(index, np.argsort(full, axis=1, kind="stable")[:, :7])
    np.testing.assert_allclose(distance, np.sort(full, axis=1)[:, :7], rtol=1e-12, atol=1e-12)


def test_vector_query_reaches_the_patient_it_was_copied_from() -> None:
    X, _ = clusters()
    found = search(X, X[23] * 5, k=1)
    assert found.neighbours["patient_id"].tolist() == ["23"]
    assert found.neighbours["similarity"][0] == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda X: search(X, "patient 7"), "query 'patient 7' is no patient"),
        (lambda X: search(X, "7", k=60), "k = 60, but the gallery holds 59"),
        (lambda X: search(X, "7", k=0), "k = 0"),
        (lambda X: search(X, np.zeros(8)), "of the query is all zeros"),
        (lambda X: search(X, np.ones(9)), r"shape \(9,\): give 8 numbers"),
        (lambda X: search(X, np.full(8, np.nan)), "NaN or infinity"),
        (lambda X: search(np.vstack([X, np.zeros((1, 8))]), "7"), "patient '60' is all zeros"),
        (lambda X: search([X, X[:-1]], "7"), "60 and 59 rows"),
        (lambda X: search(np.where(np.arange(8) == 2, np.nan, X), "7"), "NaN or infinity"),
        (lambda X: search(X[:, 0], "7"), r"shape \(60,\)"),
        (lambda X: search(X, "7", patient_id=["a"]), "1 patient IDs for 60"),
        (lambda X: search([X, X], X[0]), "name a patient"),
        (lambda X: retrieval_metrics(X, "stage"), "an array has none"),
        (lambda X: retrieval_metrics(X, np.arange(60)), "no query shares its label"),
        (lambda X: retrieval_metrics(X, np.zeros(59)), "59 values for 60"),
        (lambda X: retrieval_metrics(X, [None] * 60), "0 rows have a value"),
        (
            lambda X: retrieval_metrics(X, np.zeros(60), protocol="half"),
            "choose one of loo, split, published",
        ),
        (lambda X: retrieval_metrics(X, np.arange(60), protocol="split"), "no stratum has 2 patients"),
        (lambda X: retrieval_metrics(X, np.zeros(60), k=[70]), r"k = \[70\]"),
    ],
)
def test_a_mistake_gets_one_clear_line(call, message: str) -> None:
    with pytest.raises(AnalysisError, match=message) as raised:
        call(clusters()[0])
    assert "\n" not in str(raised.value)


def test_an_unknown_query_is_answered_with_the_nearest_id() -> None:
    with pytest.raises(AnalysisError, match="did you mean 'LUNG1-013'"):
        search(clusters(20)[0], "LUNG-013", patient_id=[f"LUNG1-{i:03}" for i in range(20)])


# --- metrics ------------------------------------------------------------------------------------------------


def test_hand_counted_scores() -> None:
    hits = np.array([[False, True, True, False], [True, False, False, True]])
    scores = score_rankings(hits, [1, 2, 3])
    assert scores["recall@1"].tolist() == [0, 1]
    assert scores["recall@2"].tolist() == [1, 1]
    np.testing.assert_allclose(scores["precision@3"], [2 / 3, 1 / 3])
    np.testing.assert_allclose(scores["mAP"], [(1 / 2 + 2 / 3) / 2, (1 + 2 / 4) / 2])


@pytest.mark.parametrize(("size", "relevant"), [(1, 1), (4, 1), (5, 2), (6, 3), (7, 5), (6, 6)])
def test_random_expectation_equals_the_mean_over_every_ranking(size: int, relevant: int) -> None:
    ks = [k for k in (1, 2, 3) if k <= size]
    every = [np.isin(np.arange(size), hit) for hit in itertools.combinations(range(size), relevant)]
    mean = {name: v.mean() for name, v in score_rankings(np.array(every), ks).items()}
    expected = random_expectation(np.array([relevant]), np.array([size]), ks)
    assert set(mean) == set(expected)
    for name, value in mean.items():
        assert expected[name][0] == pytest.approx(value, abs=1e-14), name
    for k in ks:
        assert expected[f"recall@{k}"][0] == pytest.approx(1 - comb(size - relevant, k) / comb(size, k))
    if relevant < size:
        assert expected["mAP"][0] > relevant / size  # the prevalence is too low


def test_scores_without_one_row_equal_scoring_the_rest() -> None:
    rng = np.random.default_rng(3)
    hits = rng.random((20, 9)) < 0.4
    hits[:, 2] = True
    scores, left = without_each(hits, [1, 3, 9])
    for place in range(9):
        rest = np.delete(hits, place, axis=1)
        some = rest.any(axis=1)
        np.testing.assert_array_equal(left[:, place], rest.sum(axis=1))
        direct = score_rankings(rest[some], [1, 3, 8])
        for name, of in (
            ("recall@1", "recall@1"),
            ("precision@3", "precision@3"),
            ("recall@9", "recall@8"),
            ("precision@9", "precision@8"),
            ("mAP", "mAP"),
        ):
            np.testing.assert_allclose(scores[name][some, place], direct[of], atol=1e-14, err_msg=name)


def test_leave_one_out_equals_a_plain_loop() -> None:
    X, label = clusters(30, seed=2)
    label[:5] = label[:5][::-1]
    result = retrieval_metrics(X, label, k=(1, 5))
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    average, top = [], []
    for i in range(30):
        others = np.delete(np.arange(30), i)
        ranked = others[np.argsort(-(unit[others] @ unit[i]), kind="stable")]
        hit = label[ranked] == label[i]
        average.append(np.mean([hit[: r + 1].mean() for r in np.flatnonzero(hit)]))
        top.append(hit[:5].mean())
    np.testing.assert_allclose(result.per_query["average_precision"], average, atol=1e-13)
    np.testing.assert_allclose(result.per_query["precision@5"], top, atol=1e-13)
    assert result.metrics["mAP"].mean == pytest.approx(np.mean(average), abs=1e-13)
    assert result.queries == 30
    assert result.gallery == 29


def test_leave_one_out_intervals_come_from_leaving_patients_out() -> None:
    X, label = clusters(24, seed=4)
    X += np.random.default_rng(9).normal(size=X.shape) * 3
    result = retrieval_metrics(X, label, k=(1, 3))
    without = []
    for i in range(24):
        rest = np.delete(np.arange(24), i)
        without.append(retrieval_metrics(X[rest], label[rest], k=(1, 3)).metrics)
    for name, row in result.metrics.items():
        low, high = jackknife_interval(row.mean, np.array([m[name].mean for m in without]))
        assert row.ci == pytest.approx((max(low, 0), min(high, 1)), abs=1e-12)
        gain = np.array([m[name].difference for m in without])
        assert row.difference_ci == pytest.approx(jackknife_interval(row.difference, gain), abs=1e-12)


def test_jackknife_of_a_mean_is_students_interval() -> None:
    from scipy import stats

    x = np.random.default_rng(0).normal(size=25)
    low, high = jackknife_interval(x.mean(), (x.sum() - x) / 24)
    expected = stats.t.interval(0.95, 24, loc=x.mean(), scale=stats.sem(x))
    assert (low, high) == pytest.approx(expected, abs=1e-12)


def test_unrelated_labels_are_seldom_called_related() -> None:
    claims = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        row = retrieval_metrics(rng.normal(size=(40, 20)), rng.permutation(np.arange(40) % 4), k=(1,))
        low, high = row.metrics["mAP"].difference_ci
        claims += low > 0 or high < 0
    assert claims <= 16  # two-sided 5 %: at most 18 of 200 with 99 % probability


def test_planted_clusters_are_found_and_noise_is_not() -> None:
    X, label = clusters(90)
    found = retrieval_metrics(X, label, k=(1, 5))
    assert found.metrics["mAP"].mean > 0.8 > found.metrics["mAP"].random
    assert "more often than at random" in found.verdict
    noise = retrieval_metrics(np.random.default_rng(5).normal(size=(90, 8)), label)
    assert "no more often than at random" in noise.verdict


def test_patients_without_a_label_or_a_match_are_left_out_and_counted() -> None:
    X, label = clusters(30)
    texts = [f"T{v}" for v in label]
    texts[0], texts[1], texts[2] = None, "", "T9"
    result = retrieval_metrics(X, texts, k=(1,))
    assert result.n == 28
    assert result.queries == 27
    assert set(result.per_query["patient_id"]).isdisjoint({"0", "1", "2"})
    assert any("2 rows have no value" in w for w in result.warnings)
    assert any("1 queries have a label that nobody" in w for w in result.warnings)


def test_a_k_above_the_gallery_is_left_out_with_a_warning() -> None:
    X, label = clusters(9)
    result = retrieval_metrics(X, label, k=(1, 3, 50))
    assert set(result.metrics) == {"recall@1", "recall@3", "precision@1", "precision@3", "mAP"}
    assert any("k above 8 left out" in w for w in result.warnings)


def test_several_rows_a_patient_never_match_themselves_and_give_no_interval() -> None:
    X, label = clusters(30)
    ids = np.repeat(np.arange(10), 3)
    result = retrieval_metrics(X, label, k=(1,), patient_id=ids)
    assert result.gallery == 27
    assert result.metrics["mAP"].ci is None
    assert "cannot be told" in result.verdict
    split = retrieval_metrics(X, label, k=(1,), patient_id=ids, protocol="split", stratify=np.zeros(30))
    assert split.queries == 15
    assert split.metrics["mAP"].ci is not None


def test_split_takes_whole_patients_half_of_each_stratum() -> None:
    strata = np.repeat([0, 1, 2], [20, 11, 1])
    ids = np.array([f"p{i}" for i in range(32)], dtype=object)
    queries, gallery = patient_split(strata, ids, seed=3)
    assert np.bincount(strata[queries]).tolist() == [10, 5]
    assert sorted([*queries, *gallery]) == list(range(32))
    twice = np.array([f"p{i // 2}" for i in range(32)], dtype=object)
    queries, gallery = patient_split(np.zeros(32, dtype=int), twice, seed=3)
    assert set(twice[queries]).isdisjoint(twice[gallery])
    assert len(queries) == 16


def test_fusing_an_embedding_with_itself_keeps_its_ranking() -> None:
    X, label = clusters(30)
    one, two = search(X, "3", k=9), search([X, X], "3", k=9)
    assert one.neighbours["patient_id"].tolist() == two.neighbours["patient_id"].tolist()
    np.testing.assert_allclose(two.neighbours["rrf_score"], 2 / (20 + np.arange(9)))
    alone, fused = retrieval_metrics(X, label), retrieval_metrics([X, X], label)
    assert fused.metrics == alone.metrics
    assert "2 embeddings were fused" in fused.methods_text()


def test_results_speak_for_themselves() -> None:
    X, label = clusters(30)
    result = retrieval_metrics(X, label, k=(1, 5))
    told = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert told["command"] == "retrieve"
    assert told["n"] == 30
    assert told["metrics"]["recall@1"].keys() >= {"mean", "ci", "random"}
    assert told["metrics"]["mAP"]["prevalence"] == pytest.approx(9 / 29)
    assert len(told["per_query"]) == 30
    assert told["neighbours"] == []
    assert told["provenance"]["seed"] == 42
    assert told["provenance"]["versions"]["faiss-cpu"]
    assert result.table()["metric"].tolist() == list(result.metrics)
    assert "jackknife" in result.methods_text()
    assert f"{result.metrics['mAP'].mean:.3f}" in result.summary()
    found = search(X, "3", k=2)
    assert json.loads(json.dumps(found.to_dict()))["neighbours"][0]["rank"] == 1
    assert "cosine" in found.methods_text()
    assert "3" in found.summary()


def test_standardising_keeps_a_large_unit_from_deciding() -> None:
    from dataclasses import replace

    X, _ = clusters(40)
    named = replace(as_vectors(X), feature_names=tuple("abcdefgh"))
    scaled = replace(named, X=X * np.array([1e6, 1, 1, 1, 1e-4, 1, 1, 1]) + 5)
    before, after = comparable(named, metric="cosine"), comparable(scaled, metric="cosine")
    np.testing.assert_allclose(after.points, before.points, atol=1e-9)
    flat = replace(named, X=np.column_stack([X, np.full(40, 0.1)]))
    assert comparable(flat, metric="cosine").constant == 1
    assert "1 constant dimensions" in comparable(flat, metric="cosine").describe()
    assert "standard deviation" in before.describe()


def cohort(
    X: np.ndarray, *, ids: list[str], names: tuple[str, ...] | None = None, **columns: object
) -> Cohort:
    table = pd.DataFrame({"patient_id": ids, **columns})
    empty = pd.DataFrame({"patient_id": [], "reason": []})
    return Cohort(
        X=X, patient_id=np.array(ids, dtype=object), table=table, rows=table, feature_names=names, lost=empty,
        embedding_id=f"emb-{X.shape[1]}", synthetic=True, licence="CC0", name="demo", data_sha256={"clinical": "a"},
    )  # fmt: skip


def test_a_cohort_brings_ids_labels_units_and_provenance() -> None:
    X, label = clusters(30)
    ids = [f"p{i:02}" for i in range(30)]
    data = cohort(X, ids=ids, names=tuple("abcdefgh"), stage=[float(v) for v in label], site=["A", None] * 15)
    found = search(data, "p07", k=3)
    standard = (X - X.mean(axis=0)) / X.std(axis=0)
    standard /= np.linalg.norm(standard, axis=1, keepdims=True)
    cosine = standard @ standard[7]
    assert found.neighbours["patient_id"].tolist() == [ids[i] for i in np.argsort(-cosine) if i != 7][:3]
    assert found.provenance.synthetic
    assert found.provenance.embedding_id == "emb-8"
    result = retrieval_metrics(data, "stage", k=(1,), stratify="site")
    assert result.label == "stage"
    assert result.n == 15
    assert result.per_query["label"].unique().tolist() == ["0", "2", "1"]
    with pytest.raises(CohortError, match="did you mean 'stage'"):
        retrieval_metrics(data, "stag")


def test_cohorts_are_fused_by_patient_not_by_row() -> None:
    X, label = clusters(30)
    ids = [f"p{i:02}" for i in range(30)]
    order = np.random.default_rng(8).permutation(30)[:28]
    other = cohort(X[order], ids=[ids[i] for i in order])
    kept = np.sort(order)
    one = retrieval_metrics(X[kept], label[kept], k=(1,))
    both = retrieval_metrics([cohort(X, ids=ids, stage=label), other], "stage", k=(1,))
    assert both.metrics == one.metrics
    assert both.per_query["patient_id"].tolist() == [ids[i] for i in kept]
    assert any("2 patients lack one of the embeddings" in w for w in both.warnings)
    assert both.provenance.embedding_id == "emb-8"
    assert set(both.provenance.data_sha256) == {"1:clinical", "2:clinical"}


# --- reference values ---------------------------------------------------------------------------------------


@pytest.mark.shared_data
def test_published_protocol_reproduces_the_reference(shared: Path) -> None:
    from safetensors.numpy import load_file

    folder = shared / "reference" / "flexict"
    golden = json.loads((folder / "retrieval_golden.json").read_text())
    tensors = load_file(folder / "retrieval_golden.safetensors")
    grades, groups = np.array(golden["grades"]), golden["groups"]
    queries, gallery = published_split(grades, seed=42)
    assert queries.tolist() == golden["query_index"]
    assert gallery.tolist() == golden["support_index"]

    one = retrieval_metrics(
        tensors["scale1"], groups, k=(1, 3, 5), protocol="published", stratify=grades, seed=42
    )
    wanted = golden["metrics"]["scale1"]
    for name in ("recall@1", "precision@1", "recall@3", "precision@3", "recall@5", "precision@5", "mAP"):
        assert one.metrics[name].mean == pytest.approx(wanted[name], abs=1e-13), name
    interval = wanted["mAP_bootstrap"]
    assert one.metrics["mAP"].ci == pytest.approx((interval["ci_lower"], interval["ci_upper"]), abs=1e-13)
    for name in ("recall@1", "recall@3", "recall@5"):
        assert one.metrics[name].random == pytest.approx(golden["random"][name], abs=1e-13)
    assert one.prevalence == pytest.approx(golden["random"]["mAP_prevalence"], abs=1e-13)

    both = [tensors["scale1"], tensors["scale2"]]
    fused = retrieval_metrics(
        both, groups, k=(1, 3, 5), protocol="published", stratify=grades, rrf_k=golden["rrf_k"]
    )
    assert fused.metrics["mAP"].mean == pytest.approx(
        0.585649, abs=5e-7
    )  # the original breaks ties otherwise
    for name in ("recall@1", "precision@1", "recall@3", "precision@3", "recall@5", "precision@5"):
        assert fused.metrics[name].mean == pytest.approx(golden["metrics"]["rrf"][name], abs=1e-13), name
    cosines = [(x[queries].astype(float) @ x[gallery].astype(float).T) for x in both]
    _, score = fused_ranking(cosines, np.zeros((70, 72), dtype=bool), golden["rrf_k"])
    np.testing.assert_array_equal(score, tensors["rrf_score"])
