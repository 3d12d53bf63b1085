"""The stage gradient finds what was planted, says no where nothing is, and refuses by name what it cannot carry."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom
from sklearn.linear_model import LogisticRegression

from analysis import stage_gradient
from analysis.gradient import adjusted
from analysis.gradient.data import gather
from analysis.splits import repeated_folds
from analysis.stage_gradient import StageGradientResult
from flexict_core.errors import AnalysisError, CohortError
from tests.benchmarks.calibration_settings import Setting, p_values_of_one
from tests.benchmarks.populations import Population

ORDER = ["0", "1", "2", "3"]


def run(
    population: Population, n: int, seed: int, *, draws: int = 199, adjust: bool = False
) -> StageGradientResult:
    cohort = population.draw(n, np.random.default_rng(seed))
    return stage_gradient(
        cohort.X,
        cohort.codes.astype(str),
        order=ORDER[: population.n_stages],
        adjust=cohort.adjusters if adjust else None,
        permutations=draws,
        seed=seed,
    )


@pytest.fixture(scope="module")
def planted() -> StageGradientResult:
    return run(Population("planted", 30, 4, effect=1.5), 160, 3, draws=999, adjust=True)


def test_a_planted_gradient_is_found_at_every_step(planted: StageGradientResult) -> None:
    assert planted.strict.verdict == "strictly increasing"
    assert planted.trend.p_value == pytest.approx(1 / 1000)
    assert planted.adjusters is not None
    assert planted.adjusters.verdict == "beyond adjusters"  # age has nothing to do with it
    assert planted.adjusters.baseline_ci is not None
    assert planted.adjusters.baseline_ci[0] < 0.5 < planted.adjusters.baseline_ci[1]
    assert [s.mean_score for s in planted.stages] == sorted(s.mean_score for s in planted.stages)


def test_a_reversed_step_is_called_reversed_and_never_strictly_increasing() -> None:
    result = run(Population("planted", 30, 4, effect=1.5, shape=(0, 1.5, 3, 1)), 240, 5)
    assert result.strict.verdict == "trend with a reversed step"
    assert result.strict.reversed_steps == ("2 → 3",)
    assert result.strict.largest_violation_ci is not None
    assert result.strict.largest_violation_ci[0] > 0


def test_size_alone_is_explained_by_adjusters_though_the_trend_is_strong() -> None:
    result = run(Population("size", 30, 4), 200, 8, adjust=True, draws=399)
    assert result.trend.p_value == pytest.approx(1 / 400)
    assert result.adjusters is not None
    assert result.adjusters.verdict == "explained by adjusters"
    assert "explained by adjusters" in result.verdict


def test_nothing_is_found_in_nothing_and_the_power_is_said() -> None:
    result = run(Population("independent", 20, 3), 60, 2)
    assert result.strict.verdict == "no trend detected"
    assert f"{result.minimum_detectable_concordance:.2f} could have been detected" in result.verdict
    assert 0.55 < result.minimum_detectable_concordance < 0.85


def test_sizes_are_within_their_binomial_bands() -> None:
    runs = 120
    high = binom.ppf(0.999, runs, 0.05)
    alone = Setting("independent", Population("independent", 20, 3), 45)
    blocks = Setting("patient blocks", Population("independent", 20, 3), 40, blocks=True)
    for setting in (alone, blocks):
        found = pd.DataFrame([p_values_of_one(setting, 99, 100 + r) for r in range(runs)])
        assert (found[["trend", "step"]] <= 0.05).sum().max() <= high
    driven = Setting("size-driven", Population("size", 20, 3), 60, adjusted=True)
    found = pd.DataFrame([p_values_of_one(driven, 99, 300 + r) for r in range(runs)])
    assert (found[["conditional", "Freedman–Lane"]] <= 0.05).sum().max() <= high
    assert (found["trend"] <= 0.05).mean() > 0.9  # what an unadjusted test would have claimed


def test_residuals_are_permuted_about_the_stage_expected_by_the_model_of_stage_given_adjusters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its mean lies between the first and the last stage, which a least-squares fit leaves where a stage is rare."""
    rng = np.random.default_rng(0)
    size = rng.standard_normal(120)
    codes = (size > 1.2).astype(int) + (size > 1.8)
    X, table = rng.standard_normal((120, 5)), pd.DataFrame({"size": size + 0.3 * rng.standard_normal(120)})
    d = gather(X, codes.astype(str), order=["0", "1", "2"], adjust=table, groups=None, patients=None)
    seen: list[np.ndarray] = []

    def recorded(beyond: object, Q: np.ndarray, Y: np.ndarray) -> np.ndarray:
        seen.append(np.atleast_2d(Y.T).T)
        return np.zeros(seen[-1].shape[1])

    monkeypatch.setattr(adjusted, "_statistic", recorded)
    null = adjusted.adjusted_null(d, repeated_folds(120), permutations=999, rng=rng)
    model = LogisticRegression(C=10.0, max_iter=5000, tol=1e-8).fit(null.basis.matrix, codes)
    expected = model.predict_proba(null.basis.matrix) @ [0, 1, 2]
    second = seen[-1]
    residuals = np.sort(codes - expected)
    np.testing.assert_allclose(
        np.sort(second - expected[:, None], axis=0), residuals[:, None] + 0 * second, atol=1e-3
    )
    Q = np.linalg.qr(np.column_stack([np.ones(120), null.basis.matrix]))[0]
    assert (Q @ (Q.T @ codes)).min() < 0  # a least-squares fit would expect less than the first stage


def test_the_interval_excludes_one_half_when_the_test_rejects() -> None:
    population = Population("planted", 20, 3, effect=0.5)
    results = [run(population, 60, seed, draws=499) for seed in range(25)]
    for r in results:
        assert r.trend.ci is not None
        if r.trend.p_value < 0.005:
            assert r.trend.ci[0] > 0.5
        if r.trend.p_value > 0.06:
            assert r.trend.ci[0] < 0.5


def test_groups_confine_the_exchange() -> None:
    # stage and embedding differ between two sites and not within: a gradient across sites is no gradient
    rng = np.random.default_rng(0)
    site = np.repeat(["north", "south"], 60)
    stage = np.where(site == "north", rng.integers(0, 2, 120), rng.integers(1, 3, 120)).astype(str)
    X = rng.standard_normal((120, 8)) + 2.0 * (site == "south")[:, None]
    free = stage_gradient(X, stage, order=ORDER[:3], permutations=499)
    within = stage_gradient(X, stage, order=ORDER[:3], groups=site, permutations=499)
    assert free.trend.p_value <= 0.01 < 0.05 < within.trend.p_value
    assert {row["group"] for row in within.controls["leave_one_group_out"]} == {"north", "south"}


def test_rows_of_a_patient_count_once() -> None:
    cohort = Population("planted", 10, 3, effect=1.0).draw(60, np.random.default_rng(1))
    ids = np.arange(60).astype(str)
    stages = cohort.codes.astype(str)
    once = stage_gradient(cohort.X, stages, order=ORDER[:3], patients=ids, permutations=99)
    shift = np.random.default_rng(2).standard_normal(cohort.X.shape)
    twice = stage_gradient(
        np.vstack([cohort.X + shift, cohort.X - shift]),
        np.tile(stages, 2),
        order=ORDER[:3],
        patients=np.tile(ids, 2),
        permutations=99,
    )
    assert twice.n == 60
    by_id = np.argsort(twice.patient_id.astype(int))  # patients are sorted as text
    assert np.sort(twice.stage_codes[by_id]).tolist() == np.sort(once.stage_codes).tolist()
    with pytest.raises(AnalysisError, match="patient '0' has rows with different values of stage"):
        stage_gradient(
            cohort.X, np.arange(60) % 3, order=ORDER[:3], patients=np.arange(60) % 2, permutations=99
        )


def test_same_seed_same_bytes_and_plain_json(planted: StageGradientResult) -> None:
    again = run(Population("planted", 30, 4, effect=1.5), 160, 3, draws=999, adjust=True)
    text = json.dumps(planted.to_dict(), allow_nan=False)
    assert json.dumps(again.to_dict(), allow_nan=False) == text
    parsed = json.loads(text)
    for key in ("schema_version", "command", "verdict", "n", "warnings", "provenance", "stages", "trend", "steps",
                "strict", "adjusters", "controls", "transport", "outcome",
                "minimum_detectable_concordance"):  # fmt: skip
        assert key in parsed
    assert set(parsed["steps"][0]) >= {"from", "to", "difference", "ci", "p_value", "auc"}
    assert set(parsed["provenance"]) >= {
        "embedding_id",
        "data_sha256",
        "parameters",
        "seed",
        "versions",
        "synthetic",
    }


def test_words_and_table_say_the_numbers_of_the_result(planted: StageGradientResult) -> None:
    assert f"{planted.trend.concordance:.3f}" in planted.summary()
    assert f"{planted.trend.concordance:.3f}" in planted.methods_text()
    table = planted.table().set_index("estimate")
    assert table.loc["concordance", "value"] == planted.trend.concordance
    assert planted.adjusters is not None
    assert table.loc["added concordance", "value"] == planted.adjusters.added_value


def test_only_the_first_three_parameters_are_positional() -> None:
    import inspect

    kinds = [p.kind for p in inspect.signature(stage_gradient).parameters.values()]
    assert sum(k is inspect.Parameter.POSITIONAL_OR_KEYWORD for k in kinds) <= 3


X20 = np.random.default_rng(5).standard_normal((20, 4))
STAGE20 = np.repeat(["0", "1"], 10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"stage": np.repeat(["0", "1"], [18, 2])}, "fewer than two stages have 3 or more patients"),
        ({"permutations": 10}, "permutations=10 is too few"),
        ({"data": np.ones((20, 4))}, "every embedding dimension is constant"),
        ({"data": np.where(np.arange(20)[:, None] == 3, np.nan, X20)}, "hold NaN or infinity"),
        ({"groups": STAGE20}, "every group holds a single stage"),
        ({"adjust": pd.DataFrame({"t": np.repeat([0.0, 1.0], 10)})}, "the adjusters determine the stage"),
        ({"data": X20[:9]}, "9 embeddings need 9 stages, got 20"),
        ({"alpha": 0.7}, "alpha=0.7"),
    ],
)
def test_refusals_are_by_name(arguments: dict, message: str) -> None:
    given = {"data": X20, "stage": STAGE20, "order": ["0", "1"], "permutations": 99} | arguments
    with pytest.raises(AnalysisError, match=message):
        stage_gradient(given.pop("data"), given.pop("stage"), **given)


def test_a_stage_outside_the_order_is_refused_and_listed() -> None:
    with pytest.raises(CohortError, match="2"):
        stage_gradient(X20, np.repeat(["0", "1", "2"], [8, 8, 4]), order=["0", "1"], permutations=99)


def test_hazards_are_said() -> None:
    X = np.column_stack([X20, np.ones(20)])
    X[1] = X[0]
    result = stage_gradient(
        X, np.repeat(["0", "1", "2"], [9, 9, 2]), order=["0", "1", "1b", "2"], permutations=99
    )
    text = " ".join(result.warnings)
    for said in ("only 20 patients", "1 constant embedding dimensions", "exactly the embedding of another",
                 "no patient has stage 1b", "stages with fewer than 3 patients: 2 (2)"):  # fmt: skip
        assert said in text


@pytest.mark.shared_data
def test_lung1_t_stage_trends_but_not_at_every_step_and_little_beyond_size(shared: Path) -> None:
    table = pd.read_csv(shared / "data/lung1/radiomics_and_clinical.csv")
    table = table[pd.to_numeric(table["clinical.T.Stage"], errors="coerce").isin([1, 2, 3, 4])]
    features = [c for c in table if c.startswith(("original_", "wavelet-"))]
    size = "original_shape_Maximum2DDiameterSlice"
    result = stage_gradient(
        table[features].to_numpy(float),
        table["clinical.T.Stage"].to_numpy(),
        order="1,2,3,4",
        adjust=table[[size]],
    )
    assert result.n == 418
    assert result.trend.p_value <= 0.001
    assert 0.66 < result.trend.concordance < 0.76  # 0.70 in an independent computation with 400 deep features
    assert result.strict.verdict != "strictly increasing"
    assert result.adjusters is not None
    assert result.adjusters.baseline_concordance > result.trend.concordance - 0.03
    assert result.adjusters.added_value < 0.03
    assert result.adjusters.stratified_concordance == pytest.approx(0.57, abs=0.03)


@pytest.mark.shared_data
def test_kits_pt_is_never_called_strictly_increasing(shared: Path) -> None:
    shape = pd.read_csv(shared / "data/kits/mask_shape_features.csv")
    clinical = pd.read_csv(shared / "data/kits/c4kc_clinical.csv", dtype={"pathology_t_stage": str})
    shape["patient_id"] = shape["case_id"].str.replace("case_", "KiTS-")
    joined = shape.merge(clinical[clinical["pathology_t_stage"] != "0"], on="patient_id")
    features = [c for c in shape if c.startswith("tumor_") and not joined[c].isna().any()]
    result = stage_gradient(
        joined[features].to_numpy(float),
        joined["pathology_t_stage"].tolist(),
        order="1a,1b,2a,2b,3,4",
        permutations=999,
    )
    assert result.trend.p_value <= 0.001
    assert result.strict.verdict != "strictly increasing"
    step = next(s for s in result.steps if s.from_stage == "2b")
    assert step.difference < 0
    assert (step.n_from, step.n_to) == (3, 43)
    assert result.strict.reversed_steps == ()  # three patients: not at the level shared among the steps
    assert result.strict.verdict == "trend, steps not all established"
