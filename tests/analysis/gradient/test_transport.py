"""A frozen axis: read back bit for bit, refused where it does not belong, its interval shown to cover."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from analysis import stage_gradient
from analysis.gradient.transport import StageAxis, fixed_score_interval
from analysis.stage_gradient import StageGradientResult
from flexict_core.errors import AnalysisError, InputError
from tests.benchmarks.populations import Population

ORDER = ["0", "1", "2", "3"]
PLANTED = Population("planted", 20, 4, effect=1.5)


def run(
    seed: int, *, n: int = 80, population: Population = PLANTED, **options: object
) -> StageGradientResult:
    cohort = population.draw(n, np.random.default_rng(seed))
    return stage_gradient(cohort.X, cohort.codes.astype(str), order=ORDER, permutations=199, **options)


@pytest.fixture(scope="module")
def home() -> StageGradientResult:
    return run(1)


def test_the_axis_is_a_ridge_fit_of_the_whole_cohort(home: StageGradientResult) -> None:
    cohort = PLANTED.draw(80, np.random.default_rng(1))
    Z = StandardScaler().fit_transform(cohort.X)
    e = np.linalg.svd(Z, compute_uv=False) ** 2
    assert home.axis is not None
    low, high = 1e-6, 1e6  # the penalty with the stated effective degrees of freedom, found independently
    for _ in range(200):
        middle = np.sqrt(low * high)
        low, high = (middle, high) if np.sum(e / (e + middle)) > home.axis.effective_df else (low, middle)
    ridge = Ridge(alpha=low, solver="svd").fit(Z, cohort.codes)
    assert home.axis.weights == pytest.approx(ridge.coef_, abs=1e-8)
    assert home.axis.scores(cohort.X) == pytest.approx(ridge.predict(Z) - ridge.intercept_, abs=1e-8)


def test_an_axis_reads_back_bit_for_bit(home: StageGradientResult, tmp_path: Path) -> None:
    assert home.axis is not None
    file = tmp_path / "axis.json"
    file.write_text(home.axis.to_json(), encoding="utf-8")
    again = StageAxis.load(file)
    assert again.sha256 == home.axis.sha256
    assert np.array_equal(again.weights, home.axis.weights)
    assert again.order == tuple(ORDER)
    assert again.n == 80
    assert again.concordance == home.trend.concordance


def test_a_planted_axis_transports_and_its_numbers_are_those_of_its_scores(
    home: StageGradientResult, tmp_path: Path
) -> None:
    assert home.axis is not None
    file = tmp_path / "axis.json"
    file.write_text(home.axis.to_json(), encoding="utf-8")
    away = run(2, axis=file).transport
    assert away is not None
    cohort = PLANTED.draw(80, np.random.default_rng(2))
    scores = home.axis.scores(cohort.X)
    concordant = pairs = 0.0  # the definition, pair by pair
    for i in range(80):
        for j in range(80):
            if cohort.codes[i] < cohort.codes[j]:
                concordant += (scores[i] < scores[j]) + 0.5 * (scores[i] == scores[j])
                pairs += 1
    assert away.concordance == pytest.approx(concordant / pairs, abs=1e-12)
    assert away.p_value == pytest.approx(1 / 200)
    assert away.ci is not None
    assert away.ci[0] > 0.5
    assert away.shared_patients == 0
    assert away.axis_sha256 == home.axis.sha256


def test_nothing_is_learnt_in_the_other_cohort(home: StageGradientResult) -> None:
    null = run(3, population=Population("independent", 20, 4), axis=home.axis).transport
    assert null is not None
    assert null.p_value > 0.05
    assert "no trend detected along the frozen axis" in null.verdict
    assert f"{null.minimum_detectable_concordance:.2f}" in null.verdict


def test_patients_of_the_training_cohort_are_found(home: StageGradientResult) -> None:
    same = run(1, axis=home.axis)
    assert same.transport is not None
    assert same.transport.shared_patients == 80
    assert any("80 of 80 patients were in the training cohort" in w for w in same.warnings)


def test_p_values_of_a_frozen_axis_are_uniform_under_no_gradient(home: StageGradientResult) -> None:
    from analysis.gradient.data import gather
    from analysis.gradient.transport import apply_axis

    assert home.axis is not None
    p = []
    for seed in range(300):
        cohort = Population("independent", 20, 4).draw(30, np.random.default_rng(1000 + seed))
        d = gather(cohort.X, cohort.codes.astype(str), order=ORDER, adjust=None, groups=None, patients=None)
        rng = np.random.default_rng(seed)
        p.append(apply_axis(home.axis, d, permutations=99, rng=rng, alpha=0.05).p_value)
    assert np.mean(np.array(p) <= 0.05) == pytest.approx(0.05, abs=0.042)  # 99.9 % binomial band
    assert np.mean(np.array(p) <= 0.5) == pytest.approx(0.5, abs=0.095)


@pytest.mark.parametrize(
    ("counts", "shift", "spread"), [((20, 20), 0.0, 1.0), ((30, 8), 1.0, 2.0), ((10, 10), 2.5, 1.0)]
)
def test_the_interval_of_fixed_scores_covers(counts: tuple[int, int], shift: float, spread: float) -> None:
    from scipy.stats import norm

    truth = norm.cdf(shift / np.sqrt(1 + spread**2))
    rng, codes = np.random.default_rng(4), np.repeat([0, 1], counts)
    inside = []
    for _ in range(300):
        scores = rng.standard_normal(codes.size) * np.where(codes == 1, spread, 1.0) + shift * codes
        low, high = fixed_score_interval(scores, codes, 2)
        inside.append(low <= truth <= high)
    assert np.mean(inside) > 0.91  # nominal 0.95, 99.9 % band of 300 runs


def test_the_interval_holds_the_auc_and_stays_open_at_a_perfect_order(rng: np.random.Generator) -> None:
    codes = np.repeat([0, 1], 15)
    scores = rng.standard_normal(30) + codes
    low, high = fixed_score_interval(scores, codes, 2)
    assert low < roc_auc_score(codes, scores) < high
    low, high = fixed_score_interval(np.arange(30.0), codes, 2)
    assert high == 1.0
    assert 0.7 < low < 0.95


def axis_with(axis: StageAxis, tmp_path: Path, **changes: object) -> StageAxis:
    import dataclasses

    return dataclasses.replace(axis, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"embedding_id": "flexict-3d-1a2b"},
            "learnt on embedding 'flexict-3d-1a2b', this cohort is an array",
        ),
        (
            {"order": ("I", "II", "III", "IV")},
            "learnt on the stages I, II, III, IV, this cohort has 0, 1, 2, 3",
        ),
        ({"order": ("3", "2", "1", "0")}, "same stages in the same order"),
        ({"weights": np.ones(7)}, "the axis has 7 dimensions, these embeddings have 20"),
    ],
)
def test_an_axis_that_does_not_belong_here_is_refused(
    home: StageGradientResult, tmp_path: Path, changes: dict, message: str
) -> None:
    assert home.axis is not None
    with pytest.raises(AnalysisError, match=message):
        run(2, axis=axis_with(home.axis, tmp_path, **changes))


def test_files_that_are_no_axis_or_were_changed_are_refused(
    home: StageGradientResult, tmp_path: Path
) -> None:
    assert home.axis is not None
    file = tmp_path / "axis.json"
    with pytest.raises(InputError, match="cannot be read"):
        StageAxis.load(file)
    file.write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match="is no stage axis"):
        StageAxis.load(file)
    content = json.loads(home.axis.to_json())
    content["weights"][0] += 1e-9
    file.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(InputError, match="was changed after it was written"):
        StageAxis.load(file)


@pytest.mark.shared_data
def test_lung1_axis_of_one_half_orders_the_other_half(shared: Path) -> None:
    table = pd.read_csv(shared / "data/lung1/radiomics_and_clinical.csv")
    table = table[pd.to_numeric(table["clinical.T.Stage"], errors="coerce").isin([1, 2, 3, 4])]
    features = [c for c in table if c.startswith(("original_", "wavelet-"))]
    half = np.random.default_rng(0).permutation(len(table)) < len(table) // 2
    first, second = table[half], table[~half]

    def run_half(part: pd.DataFrame, axis: StageAxis | None) -> StageGradientResult:
        return stage_gradient(
            part[features].to_numpy(float),
            part["clinical.T.Stage"].to_numpy(),
            order="1,2,3,4",
            permutations=999,
            axis=axis,
        )

    t = run_half(second, run_half(first, None).axis).transport
    assert t is not None
    assert t.n == 209
    assert t.p_value == pytest.approx(0.001)
    assert t.shared_patients == 0
    assert t.ci is not None
    assert t.ci[0] < 0.70 < t.ci[1]  # cross-fitted in all 418: 0.70 in an independent computation


@pytest.mark.shared_data
def test_an_axis_of_lung_stages_is_refused_for_kidney_stages(shared: Path) -> None:
    shape = pd.read_csv(shared / "data/kits/mask_shape_features.csv")
    clinical = pd.read_csv(shared / "data/kits/c4kc_clinical.csv", dtype={"pathology_t_stage": str})
    shape["patient_id"] = shape["case_id"].str.replace("case_", "KiTS-")
    joined = shape.merge(clinical[clinical["pathology_t_stage"] != "0"], on="patient_id")
    features = [c for c in shape if c.startswith("tumor_") and not joined[c].isna().any()]
    half = np.arange(len(joined)) % 2 == 0
    X, stage = joined[features].to_numpy(float), joined["pathology_t_stage"].to_numpy()
    order = "1a+1b,2a+2b,3+4"
    home = stage_gradient(X[half], stage[half], order=order, permutations=199)
    away = stage_gradient(X[~half], stage[~half], order=order, permutations=199, axis=home.axis).transport
    assert away is not None
    assert away.p_value <= 0.01
    assert home.axis is not None
    with pytest.raises(AnalysisError, match="learnt on the stages"):
        stage_gradient(X[~half], stage[~half], order="1a,1b,2a,2b,3,4", permutations=199, axis=home.axis)
