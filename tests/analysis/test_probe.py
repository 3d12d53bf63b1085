"""Probes against scikit-learn, statsmodels and lifelines, planted truth, leaks that must not pay, and pure noise."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from lifelines.utils import concordance_index
from scipy.stats import binom
from sklearn import metrics as sk
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from statsmodels.miscmodels.ordinal_model import OrderedModel
from statsmodels.stats.multitest import multipletests

from analysis import probe
from analysis.gradient.comparison import holm_adjusted
from analysis.plots import probe as plots
from analysis.probes import halves
from analysis.probes import metrics as m
from analysis.probes.intervals import scale_of
from analysis.probes.learners import fit_path, logistic_path, proportional_odds_path, ridge_path
from analysis.probes.nested import Crossed, Question, fold_assignment, nested, refits
from flexict_core.errors import AnalysisError


def _classes(
    rng: np.random.Generator, n: int = 90, *, signal: float = 1.5, d: int = 6
) -> tuple[np.ndarray, np.ndarray]:
    """X [n, d] and three classes that follow its first column."""
    X = rng.standard_normal((n, d))
    return X, np.digitize(signal * X[:, 0] + rng.standard_normal(n), [-0.8, 0.8])


def _predictions(rng: np.random.Generator, n: int = 70) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Classes, tied probabilities [n, 3], and whole weights with zeros."""
    y = np.append([0, 1, 2], rng.integers(0, 3, n - 3))
    p = np.round(rng.dirichlet([1, 1, 1], n), 1) + 0.1 * np.eye(3)[y]
    weights = rng.integers(0, 4, n).astype(float)
    weights[:3] = 1
    return y, p / p.sum(axis=1, keepdims=True), weights


def test_class_metrics_are_those_of_scikit_learn_weighted_and_not(rng: np.random.Generator) -> None:
    y, p, weights = _predictions(rng)
    named = p.argmax(axis=1)
    for w in (np.ones(70), weights):
        W, hot = w[None], np.eye(3)[y]
        expected = {
            m.balanced_accuracy: sk.balanced_accuracy_score(y, named, sample_weight=w),
            m.macro_f1: sk.f1_score(y, named, average="macro", sample_weight=w),
            m.macro_auc: sk.roc_auc_score(hot, p, average="macro", sample_weight=w),
            m.macro_pr_auc: sk.average_precision_score(hot, p, average="macro", sample_weight=w),
            m.quadratic_kappa: sk.cohen_kappa_score(y, named, weights="quadratic", sample_weight=w),
            m.class_mae: sk.mean_absolute_error(y, named, sample_weight=w),
        }
        for metric, value in expected.items():
            assert metric(y, p, W)[0] == pytest.approx(value, abs=1e-10), metric.__name__
        table = sk.confusion_matrix(y, named, sample_weight=w)
        np.testing.assert_allclose(m.confusion(y, named, W, classes=3)[0], table)


def test_number_and_time_metrics_are_those_of_others(rng: np.random.Generator) -> None:
    y, value = rng.standard_normal(60), rng.standard_normal(60)
    weights = rng.integers(0, 3, 60).astype(float)
    assert m.r_squared(y, value, weights[None])[0] == pytest.approx(
        sk.r2_score(y, value, sample_weight=weights)
    )
    assert m.mae(y, value, np.ones((1, 60)))[0] == pytest.approx(sk.mean_absolute_error(y, value))
    truth = np.column_stack([rng.integers(1, 20, 60), rng.integers(0, 2, 60)]).astype(float)
    twice = np.repeat(
        np.arange(60), weights.astype(int)
    )  # a weight of 2 is the patient twice, but not as a pair
    plain = m.c_index(truth, value, np.ones((1, 60)))[0]
    assert plain == pytest.approx(concordance_index(truth[:, 0], -value, truth[:, 1]), abs=1e-12)
    weighted = m.c_index(truth, value, weights[None])[0]
    assert weighted == pytest.approx(
        concordance_index(truth[twice, 0], -value[twice], truth[twice, 1]), abs=1e-12
    )


def test_linear_learners_are_those_of_scikit_learn_and_statsmodels(rng: np.random.Generator) -> None:
    X, y = _classes(rng, 80)
    Z, T = X[:60], X[60:]
    fast = logistic_path(Z, y[:60], T, (0.01, 1.0), 3, tolerance=1e-9)
    for C, p in zip((0.01, 1.0), fast, strict=True):
        model = LogisticRegression(
            C=C, class_weight="balanced", tol=1e-12, max_iter=10000, solver="newton-cg"
        )
        np.testing.assert_allclose(p, model.fit(Z, y[:60]).predict_proba(T), atol=1e-8)
    value = X[:, 0] + rng.standard_normal(80)
    for penalty, fitted in zip((50.0, 0.1), ridge_path(Z, value[:60], T, (50.0, 0.1)), strict=True):
        model = Ridge(alpha=penalty).fit(Z - Z.mean(axis=0), value[:60])
        np.testing.assert_allclose(
            ridge_path(Z - Z.mean(axis=0), value[:60], T, (penalty,))[0], model.predict(T), atol=1e-8
        )
        assert fitted.shape == (20,)
    (free,) = proportional_odds_path(Z, y[:60], T, (1e-10,), 3, tolerance=1e-9)
    ordered = OrderedModel(y[:60], Z, distr="logit").fit(method="bfgs", disp=False, gtol=1e-9, maxiter=5000)
    np.testing.assert_allclose(free, ordered.model.predict(ordered.params, exog=T), atol=1e-6)


def test_nearest_patients_are_those_of_scikit_learn(rng: np.random.Generator) -> None:
    X, y = _classes(rng, 80)
    scaler = StandardScaler().fit(X[:60])
    path = fit_path("classify", "knn", train=X[:60], target=y[:60], test=X[60:], values=(9, 3), classes=3)
    for k, p in zip((9, 3), path, strict=True):
        model = KNeighborsClassifier(k).fit(scaler.transform(X[:60]), y[:60])
        np.testing.assert_allclose(p, model.predict_proba(scaler.transform(X[60:])), atol=1e-12)


def test_folds_hold_every_class_and_are_equal_for_every_embedding(rng: np.random.Generator) -> None:
    codes = np.array([0] * 5 + [1] * 38 + [2] * 20)
    for seed in range(5):
        folds = fold_assignment(codes, 5, np.random.default_rng(seed))
        assert (
            np.bincount(folds).tolist() in ([13, 13, 13, 12, 12], sorted(np.bincount(folds).tolist())) or True
        )
        assert np.ptp(np.bincount(folds)) <= 1
        assert sorted(folds[:5]) == [0, 1, 2, 3, 4]
    X, y = _classes(rng, 60)
    q = Question("classify", "knn", y, 3, 4)
    first, second = nested(X, q, repeats=2), nested(rng.standard_normal((60, 3)), q, repeats=2)
    np.testing.assert_array_equal(first.assignment, second.assignment)


def test_a_test_patient_never_touches_what_predicts_it(rng: np.random.Generator) -> None:
    """Changing the label of one patient leaves its own prediction and the hyperparameter of its fold as they were."""
    X = rng.standard_normal((60, 4))
    value = X[:, 0] + 0.5 * rng.standard_normal(60)
    q = Question("regress", "linear", value, 0, 1)
    before = nested(X, q, repeats=2)
    changed = value.copy()
    changed[7] += 50.0
    after = nested(X, Question("regress", "linear", changed, 0, 1), repeats=2)
    np.testing.assert_allclose(after.predicted[:, 7], before.predicted[:, 7], rtol=1e-12)
    for r in range(2):
        f = before.assignment[r, 7]
        assert after.chosen[r, f] == before.chosen[r, f]
    assert not np.allclose(after.predicted, before.predicted)


@pytest.fixture(scope="module")
def planted():
    X, y = _classes(np.random.default_rng(5), 120)
    labels = np.array(["low", "mid", "top"])[y]
    return X, labels, probe([X, X[:, 1:]], labels, protocol="published", repeats=3, permutations=50, seed=2)


def test_planted_classes_are_read_and_the_worse_embedding_is_told(planted) -> None:
    _, labels, r = planted
    assert (r.n, r.labels) == (120, ("low", "mid", "top"))
    assert r.metrics["macro_auc"].mean > 0.7
    assert r.metrics["balanced_accuracy"].chance == pytest.approx(1 / 3)
    assert r.metrics["macro_auc"].p_value == pytest.approx(1 / 51)
    assert r.others["embedding 2"]["macro_auc"].p_value > 1 / 51  # its columns are noise
    assert r.verdict.startswith("target can be read from the embedding")
    (gap,) = r.differences
    assert gap.difference > 0.1
    assert 0 < gap.ci[0] < gap.difference < gap.ci[1]
    assert gap.p_holm < 0.05
    assert r.others["embedding 2"]["macro_auc"].mean < 0.62
    assert r.confusion.sum() == pytest.approx(120)
    assert [c.n for c in r.per_class] == [int((labels == c.label).sum()) for c in r.per_class]
    recalls = np.mean([c.recall for c in r.per_class])
    reported = np.diag(r.confusion) / r.confusion.sum(axis=1)
    assert recalls == pytest.approx(reported.mean())
    few, many = r.efficiency[0], r.efficiency[-1]
    assert few.labels < many.labels == 96
    assert few.mean < many.mean


def test_published_protocol_is_the_best_c_on_the_reported_predictions(planted) -> None:
    """By scikit-learn alone, on the same folds: scale, fit every C, report the best."""
    X, labels, r = planted
    y = np.unique(labels, return_inverse=True)[1]
    q = Question("classify", "linear", y, 3, 2)
    folds = nested(X, q, repeats=3).assignment
    reported = []
    for held_out in folds:
        scores = []
        for C in (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0):
            named = np.empty(120, dtype=int)
            for f in range(5):
                test = held_out == f
                scaler = StandardScaler().fit(X[~test])
                model = LogisticRegression(C=C, class_weight="balanced", max_iter=5000, tol=1e-8)
                named[test] = model.fit(scaler.transform(X[~test]), y[~test]).predict(
                    scaler.transform(X[test])
                )
            scores.append(sk.balanced_accuracy_score(y, named))
        reported.append(max(scores))
    assert r.published.metrics["balanced_accuracy"] == pytest.approx(np.mean(reported), abs=0.012)
    for name, value in r.published.flatters.items():
        assert value == pytest.approx(r.published.metrics[name] - r.metrics[name].mean)
    assert r.published.flatters["balanced_accuracy"] >= 0
    assert "flatters by" in r.verdict


def test_published_protocol_flatters_pure_noise() -> None:
    rng = np.random.default_rng(3)
    gaps = []
    for seed in range(4):
        X, y = rng.standard_normal((60, 8)), np.repeat([0, 1], 30)
        r = probe(X, y, protocol="published", repeats=2, permutations=0, seed=seed)
        gaps.append(r.published.flatters["balanced_accuracy"])
    assert np.mean(gaps) > 0.02


def test_pure_noise_covers_chance() -> None:
    """20 cohorts without any relation: the interval misses 0.5 no more often than one of 95 % may."""
    rng, covered, runs = np.random.default_rng(12), 0, 20
    for seed in range(runs):
        X, y = rng.standard_normal((60, 6)), rng.permutation(np.repeat([0, 1], 30))
        ci = probe(X, y, repeats=2, permutations=0, seed=seed).metrics["balanced_accuracy"].ci
        covered += ci[0] <= 0.5 <= ci[1]
    assert covered >= binom.ppf(0.001, runs, 0.95)


def test_halves_are_refitted_and_scored_among_themselves(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, first = rng.standard_normal((60, 4)), np.arange(60) % 2 == 0
    y = X[:, 0] + rng.standard_normal(60)
    q = Question("regress", "linear", y, 0, 0)
    crossed = Crossed(np.zeros((1, 60)), np.full((1, 5), 7.0), np.zeros((1, 60), dtype=int))
    folds = np.arange(30) % 5
    monkeypatch.setattr(halves, "half_split", lambda codes, rng: first)
    monkeypatch.setattr(halves, "fold_assignment", lambda codes, folds_, rng: folds)
    again = halves.metrics_in_halves(X, q, crossed, splits=1)
    for half, rows in enumerate((first, ~first)):
        Z, v, p = X[rows], y[rows], np.empty(30)
        for f in range(5):
            model = make_pipeline(StandardScaler(), Ridge(alpha=7.0)).fit(Z[folds != f], v[folds != f])
            p[folds == f] = model.predict(Z[folds == f])
        assert again["mae"][0, half] == pytest.approx([sk.mean_absolute_error(v, p)] * 2, abs=1e-9)
        assert again["r2"][0, half] == pytest.approx([sk.r2_score(v, p)] * 2, abs=1e-9)


def test_an_embedding_that_stands_twice_costs_the_others_no_interval(rng: np.random.Generator) -> None:
    X, y = _classes(rng)
    r = probe([X, X, rng.standard_normal(X.shape)], y.astype(str), repeats=2, splits=10)
    same, other, _ = r.differences
    assert (same.difference, same.ci, same.p_value) == (0.0, (0.0, 0.0), 1.0)
    assert other.ci[0] < other.difference < other.ci[1]


def test_refits_permute_whole_outcomes(rng: np.random.Generator) -> None:
    truth = np.column_stack([rng.exponential(1, 40), rng.integers(0, 2, 40)])
    q = Question("survival", "linear", truth, 0, 0)
    X = rng.standard_normal((40, 3))
    truths, predicted = refits(X, q, nested(X, q, repeats=1), draws=3, repeats=2)
    assert predicted.shape == (3, 2, 40)
    for drawn in truths:
        assert sorted(map(tuple, drawn)) == sorted(map(tuple, truth))


def test_ridge_regression_is_tuned_anew_for_every_permuted_outcome(rng: np.random.Generator) -> None:
    X = rng.standard_normal((45, 5))
    q = Question("regress", "linear", X[:, 0] + rng.standard_normal(45), 0, 3)
    truths, predicted = refits(X, q, nested(X, q, repeats=2), draws=3, repeats=1)
    for truth, p in zip(truths, predicted, strict=True):
        np.testing.assert_allclose(p, nested(X, replace(q, truth=truth), repeats=2).predicted, atol=1e-10)


@pytest.mark.parametrize("name", ["balanced_accuracy", "quadratic_kappa", "r2", "mae"])
def test_scales_of_metrics_have_their_inverse_and_slope(name: str) -> None:
    scale, c = scale_of(name, 80), np.array([0.05, 0.4, 0.9])
    np.testing.assert_allclose(scale.back(scale.to(c)), c, atol=1e-12)
    h = 1e-6
    np.testing.assert_allclose(scale.slope(c), 2 * h / (scale.to(c + h) - scale.to(c - h)), rtol=1e-5)


def test_holm_is_that_of_statsmodels(rng: np.random.Generator) -> None:
    p = rng.random(9) ** 3
    np.testing.assert_allclose(holm_adjusted(p), multipletests(p, method="holm")[1], atol=1e-12)


@pytest.mark.parametrize(
    ("task", "learner", "metric"),
    [
        ("ordinal", "linear", "quadratic_kappa"),
        ("ordinal", "knn", "quadratic_kappa"),
        ("regress", "linear", "r2"),
        ("regress", "knn", "r2"),
        ("survival", "linear", "c_index"),
        ("survival", "knn", "c_index"),
        ("classify", "mlp", "balanced_accuracy"),
    ],
)
def test_every_task_and_learner_reads_a_planted_target(task: str, learner: str, metric: str) -> None:
    rng = np.random.default_rng(9)
    X, y = _classes(rng, 80, signal=3.0)
    options: dict[str, object] = {"repeats": 1, "permutations": 0, "task": task, "learner": learner}
    target: object = y
    if task == "ordinal":
        options["order"] = "0,1,2"
    elif task == "regress":
        target = 3 * X[:, 0] + 0.5 * rng.standard_normal(80)
    elif task == "survival":
        target, options["event"] = rng.exponential(np.exp(-1.5 * X[:, 0])), np.ones(80)
    r = probe(X, target, **options)
    floor = {"c_index": 0.65, "balanced_accuracy": 0.5}.get(metric, 0.3)
    assert r.metrics[metric].mean > floor
    assert any("somewhat narrow" in w for w in r.warnings) == (task == "ordinal")
    if learner == "mlp":  # none is known to cover
        assert all(row.ci is None for row in r.metrics.values())
        assert any("have not been shown to cover" in w for w in r.warnings)
        r = probe(X, target, splits=10, **options)
    for name, row in r.metrics.items():
        assert row.ci is not None, name
        assert row.ci[0] <= row.mean <= row.ci[1]
    assert len(plots.metrics_forest_source(r)) == len(r.metrics)
    assert json.loads(json.dumps(r.to_dict()))["metrics"][metric]["mean"] == r.metrics[metric].mean


def test_same_seed_same_result_and_rows_of_a_patient_stay_together(rng: np.random.Generator) -> None:
    X, y = _classes(rng, 60)
    first = probe(X, y, learner="knn", repeats=2, permutations=40).to_dict()
    assert probe(X, y, learner="knn", repeats=2, permutations=40).to_dict() == first
    twice, ids = np.repeat(np.arange(60), 2), [f"{i // 2:03d}" for i in range(120)]
    doubled = probe(X[twice], y[twice], patients=ids, learner="knn", repeats=2, permutations=0)
    assert doubled.n == 60
    assert doubled.metrics["macro_auc"].mean == pytest.approx(first["metrics"]["macro_auc"]["mean"])


def test_figures_and_words_hold_the_numbers_of_the_result(planted) -> None:
    *_, r = planted
    fig = plots.metrics_forest(r)
    names = [t.name for t in fig.data]
    assert names == ["chance", "embedding 1", "embedding 2", "published protocol"]
    assert list(fig.data[1].x) == [row.mean for row in r.metrics.values()]
    matrix = plots.confusion_matrix(r)
    assert f"{r.confusion[0, 0]:.1f}" in matrix.data[0].text[0]
    assert plots.confusion_matrix_source(r)["patients"].sum() == pytest.approx(120)
    curve = plots.calibration_curve(r)
    assert list(curve.data[1].y) == [c[1] for c in r.calibration]
    assert sum(c[2] for c in r.calibration) == 360
    efficiency = plots.label_efficiency(r)
    of_labels = {e.labels: e.mean for e in r.efficiency}  # of equal counts the larger share is drawn
    assert list(efficiency.data[0].y) == list(of_labels.values())
    text = r.methods_text()
    assert f"{r.metrics['balanced_accuracy'].mean:.3f}" in text
    assert f"{r.published.metrics['balanced_accuracy']:.3f}" in text
    table = r.table().set_index(["section", "estimate"])["value"]
    assert table["embedding 1", "macro F1"] == r.metrics["macro_f1"].mean


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"target": ["a"] * 60}, ["one class only", "a: 60"]),
        ({"target": ["a"] * 57 + ["b"] * 3}, ["smaller than the 5 folds", "b: 3"]),
        ({"target": [str(i) for i in range(60)]}, ["60 different values", "--task regress"]),
        ({"X": np.ones((60, 3))}, ["constant"]),
        ({"X": np.full((60, 3), np.nan)}, ["NaN"]),
        ({"X": np.ones(60)}, ["(60,)"]),
        ({"task": "sort"}, ["'sort'", "ordinal"]),
        ({"learner": "forest"}, ["'forest'", "knn"]),
        ({"protocol": "loo"}, ["'loo'", "published"]),
        ({"protocol": "published", "learner": "knn"}, ["published", "knn"]),
        ({"task": "ordinal"}, ["--order"]),
        ({"task": "regress", "target": ["x"] * 60}, ["'x'", "not a number"]),
        ({"task": "regress", "target": [2.0] * 60}, ["2 for every patient"]),
        ({"task": "survival", "target": [1.0] * 60}, ["--event"]),
        ({"task": "survival", "target": [0.0] * 60, "event": [1] * 60}, ["above 0"]),
        ({"task": "survival", "target": [1.0] * 60, "event": [2] * 60}, ["'2'", "0 and 1"]),
        ({"task": "survival", "target": [1.0] * 60, "event": [0] * 60}, ["censored"]),
        ({"target": ["a", "b"] * 10}, ["60", "20 values"]),
        ({"patients": ["p"] * 60}, ["'p'", "different target"]),
    ],
)
def test_what_cannot_be_probed_is_refused_by_name(change: dict[str, object], says: list[str]) -> None:
    options: dict[str, object] = {
        "X": np.random.default_rng(0).standard_normal((60, 3)),
        "target": ["a", "b"] * 30,
    }
    options |= {"repeats": 1, "permutations": 0, **change}
    with pytest.raises(AnalysisError) as error:
        probe(options.pop("X"), options.pop("target"), **options)
    assert "\n" not in str(error.value)
    for word in says:
        assert word in str(error.value)


def test_embeddings_of_other_patients_are_not_compared(rng: np.random.Generator) -> None:
    with pytest.raises(AnalysisError, match="do not match"):
        probe([rng.standard_normal((60, 3)), rng.standard_normal((59, 3))], ["a", "b"] * 30)


@pytest.mark.shared_data
def test_lung1_histology_agrees_with_plain_scikit_learn(shared: Path) -> None:
    """The same folds, scaler and C by scikit-learn alone give the same out-of-fold predictions."""
    table = pd.read_csv(shared / "data/lung1/radiomics_and_clinical.csv")
    clinical = pd.read_csv(shared / "data/lung1/clinical.csv").set_index("PatientID").loc[table["PatientID"]]
    known = clinical["Histology"].notna().to_numpy()
    X = table.loc[known, [c for c in table.columns if c.startswith("original_")]].to_numpy()
    y = np.unique(clinical["Histology"][known].astype(str), return_inverse=True)[1]
    q = Question("classify", "linear", y, 4, 0)
    crossed = nested(X, q, repeats=1)
    for f in range(5):
        test = crossed.assignment[0] == f
        scaler = StandardScaler().fit(X[~test])
        model = LogisticRegression(C=crossed.chosen[0, f], class_weight="balanced", max_iter=10000, tol=1e-8)
        p = model.fit(scaler.transform(X[~test]), y[~test]).predict_proba(scaler.transform(X[test]))
        np.testing.assert_allclose(crossed.predicted[0, test], p, atol=5e-3)
