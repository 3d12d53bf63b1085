"""The demo cohort's planted truth is found again by other people's estimators."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from lifelines import CoxPHFitter
from scipy.stats import chi2, spearmanr

from analysis.demo_cohort import write
from analysis.synthetic import (
    STAGES,
    ClinicalTruth,
    PlantedModel,
    make_clinical,
    phantom_spec,
    write_demo_cohort,
)
from flexict_core.errors import InputError
from flexict_core.io import load_mask, load_volume
from flexict_core.manifest import read_manifest

MODEL = PlantedModel()


@pytest.fixture(scope="module")
def large() -> pd.DataFrame:
    """Enough patients that an estimate lies close to the planted number."""
    return _all(make_clinical(5000, seed=3))


@pytest.fixture(scope="module")
def demo() -> pd.DataFrame:
    return _all(make_clinical())


def _all(truth: ClinicalTruth) -> pd.DataFrame:
    table = truth.table.merge(truth.planted, on="patient_id", validate="one_to_one")
    table["k"] = [STAGES.index(s) for s in table["stage"]]
    table["log_d"] = np.log(table["tumour_diameter_mm"])
    by_cohort = table.groupby("cohort")
    table["s"] = by_cohort["log_d"].transform(lambda v: (v - v.mean()) / v.std(ddof=0))
    table["q"] = by_cohort["k"].transform(lambda v: (v - v.mean()) / v.std(ddof=0))
    return table


def test_the_table_is_what_the_analyses_expect(demo: pd.DataFrame) -> None:
    assert demo["patient_id"].is_unique
    assert demo["patient_id"].iloc[0] == "SYN-A-001"
    assert (demo.groupby("cohort").size() >= 110).all()
    counts = demo.groupby(["cohort", "stage"]).size()
    assert (counts >= 12).all()
    assert counts.max() >= 1.3 * counts.min()  # spread unevenly
    assert demo["tumour_diameter_mm"].between(10, 92).all()
    assert (demo["survival_days"] >= 1).all()
    assert set(demo["event"]) == {0, 1}
    assert (demo["slice_thickness_mm"] == demo["scanner"].map({"S1": 1.5, "S2": 3.0})).all()
    assert not demo.isna().any().any()


def test_size_rises_with_stage_in_both_cohorts(demo: pd.DataFrame, large: pd.DataFrame) -> None:
    for _, g in demo.groupby("cohort"):
        assert 0.4 < spearmanr(g["k"], g["tumour_diameter_mm"]).statistic < 0.75
        assert g.groupby("k")["tumour_diameter_mm"].median().is_monotonic_increasing
    for _, g in large.groupby("cohort"):
        # The cut at 10 and 92 mm moves the means by less than 0.01.
        np.testing.assert_allclose(g.groupby("k")["log_d"].mean(), MODEL.log_diameter_mean, atol=0.04)
        assert g.groupby("k")["log_d"].std().to_numpy() == pytest.approx(MODEL.log_diameter_sd, rel=0.06)


@pytest.mark.parametrize("cohort", ["A", "B"])
def test_the_phenotype_carries_stage_beyond_size_in_a_alone(large: pd.DataFrame, cohort: str) -> None:
    g = large[large["cohort"] == cohort]
    fit = sm.OLS(g["phenotype"], sm.add_constant(g[["s", "q"]])).fit()
    for term, planted in (("s", MODEL.phenotype_on_size), ("q", MODEL.phenotype_on_stage)):
        assert abs(fit.params[term] - planted[cohort]) < 3 * fit.bse[term]
    assert np.sqrt(fit.scale) == pytest.approx(MODEL.phenotype_sd[cohort], rel=0.05)


@pytest.mark.parametrize("cohort", ["A", "B"])
def test_given_size_and_scanner_stage_depends_on_the_traits_in_a_alone(
    large: pd.DataFrame, cohort: str
) -> None:
    g = large[large["cohort"] == cohort].iloc[:2000]
    Z = sm.add_constant(g[["log_d"]].assign(second=(g["scanner"] == "S2").astype(float)))
    traits = g[["margin_irregularity", "heterogeneity", "bmi", "emphysema"]]
    small = sm.MNLogit(g["k"], Z).fit(disp=False)
    whole = sm.MNLogit(g["k"], Z.join(traits)).fit(disp=False)
    p = chi2.sf(2 * (whole.llf - small.llf), 3 * traits.shape[1])
    assert p < 1e-20 if cohort == "A" else p > 0.01
    # Given the diameter, stage is a multinomial logit in its logarithm: slopes (mu_k - mu_0) / sigma².
    slopes = np.diff(MODEL.log_diameter_mean, prepend=MODEL.log_diameter_mean[0]).cumsum()[1:]
    slopes = slopes / MODEL.log_diameter_sd**2
    assert (np.abs(small.params.loc["log_d"] - slopes) < 3.5 * small.bse.loc["log_d"]).all()


def test_the_demos_own_draw_shows_the_planted_difference(demo: pd.DataFrame) -> None:
    p = {}
    for name, g in demo.groupby("cohort"):
        Z = sm.add_constant(g[["s"]].assign(square=g["s"] ** 2, second=(g["scanner"] == "S2").astype(float)))
        rest = [sm.OLS(g[c], Z).fit().resid for c in ("margin_irregularity", "k")]
        p[name] = spearmanr(*rest).pvalue
    assert p["A"] < 1e-5
    assert p["B"] > 0.05


def test_scanner_leans_with_stage_as_documented(large: pd.DataFrame) -> None:
    share = (large["scanner"] == "S2").groupby(large["k"]).mean()
    np.testing.assert_allclose(share, MODEL.scanner_s2_share, atol=0.04)


def test_nobody_else_knows_the_stage(large: pd.DataFrame) -> None:
    # Eight independent looks: 4 SE each.
    for column in ("age_years", "smoking_pack_years", "height_cm", "bmi", "emphysema", "pleural_contact"):
        assert abs(spearmanr(large["k"], large[column]).statistic) < 4 / np.sqrt(len(large))
    assert abs(spearmanr(large["k"], large["sex"] == "M").statistic) < 4 / np.sqrt(len(large))
    assert abs(spearmanr(large["k"], large["tumour_lobe"] == "RUL").statistic) < 4 / np.sqrt(len(large))


def test_cox_regression_finds_the_planted_hazards(large: pd.DataFrame) -> None:
    data = large[["k", "phenotype", "age_years", "survival_days", "event"]]
    fit = CoxPHFitter().fit(data, "survival_days", "event")
    planted = {
        "k": MODEL.log_hazard_per_stage,
        "phenotype": MODEL.log_hazard_per_phenotype,
        "age_years": MODEL.log_hazard_per_year_of_age,
    }
    for term, value in planted.items():
        assert abs(fit.params_[term] - value) < 3.5 * fit.standard_errors_[term]
    assert 0.4 < large["event"].mean() < 0.7  # the rest are censored by the end of follow-up
    assert large.loc[large["event"] == 0, "survival_days"].between(*MODEL.follow_up_days).all()


def test_the_same_seed_gives_the_same_table_and_another_does_not() -> None:
    first, second, other = make_clinical(40, seed=5), make_clinical(40, seed=5), make_clinical(40, seed=6)
    pd.testing.assert_frame_equal(first.table, second.table)
    pd.testing.assert_frame_equal(first.planted, second.planted)
    assert (first.table["tumour_diameter_mm"] != other.table["tumour_diameter_mm"]).any()
    assert first.planted["image_seed"].is_unique


def test_the_phantom_is_drawn_from_the_recorded_diameter() -> None:
    truth = make_clinical(20, seed=5)
    spec, seed = phantom_spec(truth, 3)
    assert spec.tumour_diameter_mm == truth.table["tumour_diameter_mm"][3]
    assert spec.scanner.name == truth.table["scanner"][3]
    assert seed == truth.planted["image_seed"][3]


def test_too_small_a_cohort_is_refused() -> None:
    with pytest.raises(InputError, match=r"patients_per_cohort is 5.*16"):
        make_clinical(5)


def _hashes(folder: Path) -> dict[str, str]:
    files = (p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def _few(rows: list[int]) -> ClinicalTruth:
    truth = make_clinical(16, seed=2)
    return replace(
        truth,
        table=truth.table.iloc[rows].reset_index(drop=True),
        planted=truth.planted.iloc[rows].reset_index(drop=True),
    )


def test_a_cohort_on_disk_is_complete_repeatable_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    truth = _few([0, 1, 16])
    result = write(truth, tmp_path / "one", workers=1, progress=False)
    assert (result.patients, result.made, result.kept) == (3, 3, 0)
    manifest = read_manifest(result.manifest)
    assert manifest.synthetic
    assert [row.patient_id for row in manifest.rows] == list(truth.table["patient_id"])
    assert not manifest.rejected

    planted = json.loads(result.truth.read_text())
    assert planted["synthetic"] is True
    for row in manifest.rows:
        ct = load_volume(manifest.root / row.image)
        mask = load_mask(manifest.root / str(row.mask), label=row.mask_label, reference=ct)
        volume = mask.array.sum() * np.prod(mask.spacing_zyx_mm)
        assert volume == pytest.approx(planted["patients"][row.patient_id]["tumour_volume_mm3"], rel=0.05)
    table = pd.read_csv(result.clinical)
    pd.testing.assert_frame_equal(table, truth.table, check_dtype=False)

    # Two processes write the same bytes as one.
    write(truth, tmp_path / "two", workers=2, progress=False)
    before = _hashes(tmp_path / "one")
    assert _hashes(tmp_path / "two") == before

    again = write(truth, tmp_path / "one", workers=1, progress=False)
    assert (again.made, again.kept) == (0, 3)
    cut = tmp_path / "one" / manifest.rows[0].image
    cut.write_bytes(cut.read_bytes()[:-7])
    (tmp_path / "one" / str(manifest.rows[2].mask)).unlink()
    repaired = write(truth, tmp_path / "one", workers=1, progress=False)
    assert (repaired.made, repaired.kept) == (2, 1)
    assert _hashes(tmp_path / "one") == before


def test_a_folder_with_somebodys_own_cohort_is_left_alone(tmp_path: Path) -> None:
    own = tmp_path / "manifest.csv"
    own.write_text("patient_id,image\np1,a.nii.gz\n")
    with pytest.raises(InputError, match="choose another folder"):
        write_demo_cohort(tmp_path, patients_per_cohort=16, progress=False)
    assert own.read_text() == "patient_id,image\np1,a.nii.gz\n"
    assert not (tmp_path / "synthetic.json").exists()
