"""Survival against lifelines, scikit-learn, golden values of scikit-survival, closed forms and planted truth."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter, KaplanMeierFitter
from lifelines.statistics import multivariate_logrank_test, proportional_hazard_test
from lifelines.utils import concordance_index
from scipy.stats import binom
from sklearn.metrics import roc_auc_score

from analysis import survival
from analysis.gradient.axis import ridge_gain
from analysis.plots import survival as plots
from analysis.time_to_event.data import gather
from analysis.time_to_event.estimates import score_estimates
from analysis.time_to_event.measures import (
    brier,
    concordance,
    concordance_jackknife,
    dynamic_auc,
    log_rank,
    log_rank_trend,
    uno_weights,
)
from analysis.time_to_event.ridge_cox import ridge_cox, slopes
from analysis.time_to_event.risk_score import RiskScore, martingale_residuals
from flexict_core.errors import AnalysisError


def _cohort(
    rng: np.random.Generator, n: int = 120, *, signal: float = 1.0, d: int = 8
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """X, clinical age, time, event: the hazard follows X[:, 0] and the age."""
    X, age = rng.standard_normal((n, d)), rng.standard_normal(n)
    death = rng.exponential(np.exp(-signal * X[:, 0] - 0.5 * age))
    end = rng.exponential(2.0, n)
    return X, age, np.minimum(death, end), (death <= end).astype(int)


def _tied(rng: np.random.Generator, n: int = 80) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Score with ties, times in whole days with ties, events."""
    return rng.integers(0, 6, n).astype(float), rng.integers(1, 25, n).astype(float), rng.integers(0, 2, n)


def test_concordance_is_that_of_lifelines_with_ties(rng: np.random.Generator) -> None:
    score, time, event = _tied(rng)
    assert concordance(score, time, event) == pytest.approx(concordance_index(time, -score, event), abs=1e-12)
    left = concordance_jackknife(score, time, event)
    for i in (0, 17, 79):
        keep = np.arange(80) != i
        without = concordance_index(time[keep], -score[keep], event[keep])
        assert left[i] == pytest.approx(without, abs=1e-12)


def test_log_rank_is_that_of_lifelines_with_ties(rng: np.random.Generator) -> None:
    _, time, event = _tied(rng)
    groups = rng.integers(0, 3, 80)
    expected = multivariate_logrank_test(time, groups, event).test_statistic
    assert log_rank(groups[:, None], time, event, n_groups=3)[0] == pytest.approx(expected, abs=1e-8)
    two = (groups > 0).astype(int)
    z = log_rank_trend(two[:, None], time, event, n_groups=2)[0]
    assert z**2 == pytest.approx(multivariate_logrank_test(time, two, event).test_statistic, abs=1e-8)
    early = (np.arange(80) >= 40).astype(int)  # whose events all come first
    assert log_rank_trend(early[:, None], np.where(early, 1.0, 2.0), np.ones(80), n_groups=2)[0] > 3


def test_weighted_measures_are_those_of_scikit_survival() -> None:
    """Golden values: scikit-survival 0.28.0 (concordance_index_ipcw, cumulative_dynamic_auc, brier_score)."""
    rng = np.random.default_rng(42)
    x = rng.standard_normal(60)
    death, end = rng.exponential(np.exp(-0.7 * x)), rng.exponential(1.5, 60)
    t, e = np.minimum(death, end), (death <= end).astype(int)
    s = x + 0.5 * rng.standard_normal(60)
    assert concordance(s, t, e) == pytest.approx(0.6786941580756014, abs=1e-10)
    early = concordance(s, t, e, weights=uno_weights(t, e, tau=1.0))
    assert early == pytest.approx(0.6807320060645423, abs=1e-10)
    assert concordance(s, t, e, weights=uno_weights(t, e)) == pytest.approx(0.6846256901721312, abs=1e-10)
    for h, auc, score in (
        (0.3, 0.6804529427422784, 0.20285915050941242),
        (0.6, 0.6545129675272636, 0.2305076470104161),
        (0.9, 0.7669511648421077, 0.19603469082832783),
    ):
        assert dynamic_auc(s, t, e, horizon=h)[0][0] == pytest.approx(auc, abs=1e-10)
        assert brier(np.exp(-np.exp(0.7 * s) * h), t, e, horizon=h) == pytest.approx(score, abs=1e-10)


def test_without_censoring_the_weights_vanish(rng: np.random.Generator) -> None:
    score, time = rng.standard_normal(50), rng.exponential(1, 50)
    event = np.ones(50, dtype=int)
    np.testing.assert_allclose(uno_weights(time, event), 1.0)
    value, left = dynamic_auc(score, time, event, horizon=0.7)
    assert value[0] == pytest.approx(roc_auc_score(time <= 0.7, score), abs=1e-12)
    keep = np.arange(50) != 3
    assert left[3] == pytest.approx(roc_auc_score(time[keep] <= 0.7, score[keep]), abs=1e-12)
    p = rng.random(50)
    assert brier(p, time, event, horizon=0.7) == pytest.approx(np.mean(((time > 0.7) - p) ** 2), abs=1e-12)


def test_ridge_cox_is_that_of_lifelines(rng: np.random.Generator) -> None:
    X, _, time, event = _cohort(rng, 100, d=4)
    frame = pd.DataFrame(X).assign(time=time, event=event)
    fitted = CoxPHFitter().fit(frame, "time", "event", fit_options={"precision": 1e-12})
    np.testing.assert_allclose(ridge_cox(X, time, event, penalty=1e-9), fitted.params_, atol=1e-7)
    one = CoxPHFitter().fit(frame[[0, "time", "event"]], "time", "event", fit_options={"precision": 1e-12})
    slope, information = slopes(X[:, :1], time=time, event=event)
    assert slope[0] == pytest.approx(one.params_[0], abs=1e-6)
    assert information[0] ** -0.5 == pytest.approx(one.standard_errors_[0], rel=1e-5)
    # at the optimum of the penalised likelihood the gradient is 0, by finite differences of the naive formula
    beta = ridge_cox(X, time, event, penalty=5.0)

    def objective(b: np.ndarray) -> float:
        eta = X @ b
        parts = [eta[i] - np.log(np.exp(eta[time >= time[i]]).sum()) for i in np.flatnonzero(event)]
        return sum(parts) - 2.5 * b @ b

    for k in range(4):
        step = np.eye(4)[k] * 1e-5
        assert abs(objective(beta + step) - objective(beta - step)) / 2e-5 < 1e-4


def test_risk_score_equals_refitting_by_hand(rng: np.random.Generator) -> None:
    X, _, time, event = _cohort(rng, 60)
    model = RiskScore.of(X, repeats=1, seed=4)
    owner = np.stack([rng.permutation(60) for _ in range(3)], axis=1)
    many = model.scores(time, event, owner)
    for b in range(3):
        t, e = time[owner[:, b]], event[owner[:, b]]
        expected = np.zeros(60)
        for train, test in model.folds:
            hazard = np.array(
                [
                    sum(
                        e[train][t[train] == u].sum() / (t[train] >= u).sum()
                        for u in np.unique(t[train])
                        if u <= v
                    )
                    for v in t[train]
                ]
            )
            expected[test] = ridge_gain(X[train], X[test]) @ (e[train] - hazard)
        np.testing.assert_allclose(many[:, b], expected * 60 / event.sum(), atol=1e-10)
    np.testing.assert_allclose(model.scores(t, e), many[:, 2], atol=1e-10)
    assert martingale_residuals(time, event, np.ones((60, 1))).sum() == pytest.approx(0, abs=1e-9)


@pytest.fixture(scope="module")
def planted():
    X, age, time, event = _cohort(np.random.default_rng(3), 160)
    table = pd.DataFrame({"age": age, "sex": np.where(np.arange(160) % 2, "f", "m")})
    return X, table, time, event, survival(X, time, event, clinical=table, permutations=199, unit="years")


def test_curves_and_cox_models_are_those_of_lifelines(planted) -> None:
    _, table, time, event, r = planted
    scores = r.scores
    assert sum(g.n for g in r.groups) == r.n == 160
    high = np.argsort(np.argsort(scores)) * 3 // 160 == 2
    fitted = KaplanMeierFitter().fit(time[high], event[high])
    g = r.groups[2]
    np.testing.assert_allclose(g.survival, fitted.survival_function_.to_numpy().ravel(), atol=1e-12)
    assert g.median == fitted.median_survival_time_
    assert g.at_risk == tuple(int((time[high] >= t).sum()) for t in r.ticks)
    frame = pd.DataFrame(
        {"age": table["age"], "sex": (table["sex"] == "m") * 1.0, "time": time, "event": event}
    )
    model = CoxPHFitter().fit(frame, "time", "event")
    rows = {(c.model, c.term): c for c in r.cox}
    age = rows["clinical", "age"]
    assert age.hazard_ratio == pytest.approx(model.hazard_ratios_["age"], abs=1e-8)
    assert age.ci == pytest.approx(tuple(np.exp(model.confidence_intervals_.loc["age"])), abs=1e-8)
    hazards = proportional_hazard_test(model, frame, time_transform="rank").summary
    assert age.proportional_hazards_p == pytest.approx(hazards.loc["age", "p"], abs=1e-8)
    assert rows["clinical", "sex: m against f"].p_value == pytest.approx(
        model.summary.loc["sex", "p"], abs=1e-8
    )
    assert rows["score and clinical", "risk score (per SD)"].ci is None
    assert r.c_index.mean == pytest.approx(concordance_index(time, -scores, event), abs=1e-12)


def test_a_planted_hazard_is_found_and_noise_is_not(planted) -> None:
    _, _, _, _, r = planted
    # C of the true log hazard for these exponential times lies near 0.73
    assert r.c_index.ci[0] > 0.5
    assert r.c_index.ci[0] < 0.72 < r.c_index.ci[1] + 0.05
    assert r.added.gain > 0.05
    assert 0 < r.added.ci[0] < r.added.gain < r.added.ci[1]
    assert r.added.p_value < 0.01
    assert r.logrank_p == pytest.approx(1 / 200)
    medians = [g.median for g in r.groups]
    assert medians[0] > medians[1] > medians[2]
    assert all(b.score < b.reference for b in r.brier)
    assert "and adds to them" in r.verdict
    assert f"C-index {r.added.baseline:.3f} without" in r.methods_text()


def test_pure_noise_covers_chance_and_keeps_its_size() -> None:
    """40 cohorts without any relation: the interval holds 0.5, and the tests reject, as often as they should."""
    rng, runs = np.random.default_rng(8), 40
    covered = tertiles = 0
    for run in range(runs):
        X, _, time, event = _cohort(rng, 60, signal=0.0)
        d = gather(
            X, duration=time, event=event, by=None, clinical=None, patients=None, event_value=None,
            competing="refuse",
        )  # fmt: skip
        e = score_estimates(d, horizons=(), permutations=99, rng=rng, seed=run)
        covered += e.c_index.ci[0] <= 0.5 <= e.c_index.ci[1]
        tertiles += e.tertile_p < 0.05
    assert covered >= binom.ppf(0.001, runs, 0.95)
    assert tertiles <= binom.ppf(0.999, runs, 0.05)


def test_groups_of_a_label(planted) -> None:
    X, table, time, event, _ = planted
    r = survival(X, time, event, by=table["sex"].to_numpy(), permutations=99)
    assert [g.label for g in r.groups] == ["f", "m"]
    expected = multivariate_logrank_test(time, table["sex"], event)
    assert r.logrank_p == pytest.approx(expected.p_value, abs=1e-8)
    assert r.logrank_test == "log-rank"
    shrunken = survival(X, time, event, clinical=table, penalty=0.1, permutations=99)
    assert all(c.ci is None for c in shrunken.cox)


def test_figures_json_and_words_hold_the_numbers_of_the_result(planted) -> None:
    *_, r = planted
    written = json.loads(json.dumps(r.to_dict()))
    assert written["c_index"]["mean"] == r.c_index.mean
    assert {"cox", "km_groups", "logrank_p", "proportional_hazards", "c_index"} <= set(written)
    fig = plots.kaplan_meier(r)
    curve = next(t for t in fig.data if t.name.startswith("high risk: n = 53"))
    np.testing.assert_array_equal(curve.y, r.groups[2].survival)
    texts = [a.text for a in fig.layout.annotations]
    assert [t for t in texts if t == "At risk"]
    assert all(str(n) in texts for g in r.groups for n in g.at_risk)
    source = plots.kaplan_meier_source(r)
    assert (source["element"] == "at risk").sum() == 3 * len(r.ticks)
    forest = plots.hazard_ratios(r)
    assert list(forest.data[0].x) == [c.hazard_ratio for c in r.cox]
    assert f"{r.c_index.mean:.3f}" in r.methods_text()
    assert f"{r.added.gain:+.3f}" in r.methods_text()
    gain = r.table().set_index("estimate").loc["gain"]
    assert (gain["value"], gain["p_value"]) == (r.added.gain, r.added.p_value)


def test_same_seed_same_result_and_repeated_rows_change_nothing(rng: np.random.Generator) -> None:
    X, _, time, event = _cohort(rng, 60)
    first = survival(X, time, event, permutations=99).to_dict()
    assert survival(X, time, event, permutations=99).to_dict() == first
    twice = np.repeat(np.arange(60), 2)
    ids = [f"{i:03d}" for i in twice]
    doubled = survival(X[twice], time[twice], event[twice], patients=ids, permutations=99)
    assert doubled.c_index.mean == pytest.approx(first["c_index"]["mean"], abs=1e-9)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"duration": 0.0}, ["duration", "0", "above 0"]),
        ({"event": 2}, ["event", "'2'", "--event-value"]),
        ({"event": 0}, ["never happens", "censored"]),
        ({"X": np.nan}, ["NaN"]),
        ({"X": 1.0}, ["constant"]),
        ({"by": "one"}, ["group", "1 different"]),
        ({"horizons": [1e6]}, ["1e+06", "follow-up"]),
        ({"permutations": 9}, ["9", "99"]),
        ({"penalty": -1.0}, ["-1", "0 or more"]),
        ({"patients": "same"}, ["'same'", "different"]),
        ({"clinical": "flat"}, ["'flat'", "single value"]),
        ({"competing": "ignore"}, ["'ignore'", "censor"]),
    ],
)
def test_what_cannot_be_analysed_is_refused_by_name(
    rng: np.random.Generator, change: dict[str, object], says: list[str]
) -> None:
    X, _, time, event = _cohort(rng, 40)
    options: dict[str, object] = {"permutations": 99}
    for name, value in change.items():
        if name == "duration":
            time[5] = value
        elif name == "event":
            event = np.where(np.arange(40) == 5, 2, event) if value == 2 else np.zeros(40)
        elif name == "X":
            X = np.full_like(X, value)
        elif name in ("by", "patients"):
            options[name] = [value] * 40
        elif name == "clinical":
            options[name] = pd.DataFrame({"flat": np.ones(40)})
        else:
            options[name] = value
    with pytest.raises(AnalysisError) as error:
        survival(X, time, event, **options)
    assert "\n" not in str(error.value)
    for word in says:
        assert word in str(error.value)


def test_competing_events_are_never_ignored(rng: np.random.Generator) -> None:
    X, _, time, event = _cohort(rng, 60)
    cause = np.where(event == 1, np.where(np.arange(60) % 3, "tumour", "other"), "alive")
    with pytest.raises(AnalysisError, match="competing events are not censoring"):
        survival(X, time, cause, event_value="tumour", permutations=99)
    r = survival(X, time, cause, event_value="tumour", competing="censor", permutations=99)
    assert r.events == (cause == "tumour").sum()
    assert any("cause-specific" in w for w in r.warnings)
    assert "cause-specific" in r.methods_text()


def test_few_events_per_variable_are_warned_of(rng: np.random.Generator) -> None:
    X, _, time, event = _cohort(rng, 40)
    table = pd.DataFrame(rng.standard_normal((40, 5)), columns=list("abcde"))
    r = survival(X, time, event, clinical=table, permutations=99)
    assert any("events per variable, fewer than 10" in w for w in r.warnings)
    assert any("only" in w and "events" in w for w in r.warnings)


@pytest.mark.shared_data
def test_lung1_radiomics_tell_survival(shared: Path) -> None:
    """The embedding is told from chance, and stays below what anyone has reported of these radiomics (0.65)."""
    table = pd.read_csv(shared / "data/lung1/radiomics_and_clinical.csv")
    clinical = pd.read_csv(shared / "data/lung1/clinical.csv").set_index("PatientID").loc[table["PatientID"]]
    X = table[[c for c in table.columns if c.startswith("original_")]].to_numpy()
    r = survival(
        X, clinical["Survival.time"].to_numpy(), clinical["deadstatus.event"].to_numpy(), permutations=199
    )
    assert r.n == 421
    assert r.events == int(clinical["deadstatus.event"].sum())
    assert 0.5 < r.c_index.ci[0] < 0.58 < r.c_index.ci[1] < 0.68
