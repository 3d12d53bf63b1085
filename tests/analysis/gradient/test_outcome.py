"""Cox models of the stage score: lifelines' own numbers, planted effects, and every input error by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter
from lifelines.statistics import proportional_hazard_test
from lifelines.utils import concordance_index

from analysis import stage_gradient
from analysis.gradient.outcome import outcome_models
from analysis.time_to_event.times import read_outcome
from flexict_core.errors import AnalysisError

ORDER = ("I", "II", "III")


def planted(
    n: int, seed: int, *, hazard: float, stage_hazard: float = 0.0, censored: float = 0.3
) -> tuple[np.ndarray, ...]:
    """Scores [n], stage codes [n], exponential times and events; log hazards are linear in both."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 3, n)
    scores = codes + rng.standard_normal(n)
    standard = (scores - scores.mean()) / scores.std(ddof=1)
    time = rng.exponential(np.exp(-(hazard * standard + stage_hazard * codes)))
    limit = rng.exponential(np.quantile(time, 1 - censored) * 2, n)
    return scores, codes, np.minimum(time, limit) + 1e-6, (time <= limit).astype(float)


def test_numbers_are_those_of_lifelines() -> None:
    scores, codes, time, event = planted(150, 1, hazard=0.5, stage_hazard=0.3)
    outcome = outcome_models(scores, codes, ORDER, time=time, event=event)
    frame = pd.DataFrame(
        {
            "score": (scores - scores.mean()) / scores.std(ddof=1),
            "II": codes == 1,
            "III": codes == 2,
            "time": time,
            "event": event,
        }
    ).astype(float)
    for model, columns in zip(outcome.models, (["score"], ["score", "II", "III"]), strict=True):
        kept = frame[[*columns, "time", "event"]]
        fit = CoxPHFitter().fit(kept, "time", "event")
        row = fit.summary.loc["score"]
        assert model.hazard_ratio == pytest.approx(row["exp(coef)"], abs=1e-8)
        assert model.ci == pytest.approx((row["exp(coef) lower 95%"], row["exp(coef) upper 95%"]), abs=1e-8)
        assert model.p_value == pytest.approx(row["p"], abs=1e-8)
        assert model.c_index == pytest.approx(fit.concordance_index_, abs=1e-8)
        assert model.c_index == pytest.approx(
            concordance_index(time, -fit.predict_partial_hazard(kept), event), abs=1e-8
        )
        hazards = proportional_hazard_test(fit, kept, time_transform="rank").summary
        assert model.proportional_hazards_p == pytest.approx(hazards.loc["score", "p"], abs=1e-8)
    alone = CoxPHFitter().fit(frame[["score", "time", "event"]], "time", "event")
    assert outcome.models[0].likelihood_ratio_p == pytest.approx(
        alone.log_likelihood_ratio_test().p_value, abs=1e-8
    )
    base = CoxPHFitter().fit(frame[["II", "III", "time", "event"]], "time", "event")
    assert outcome.models[1].c_index_gain == pytest.approx(
        outcome.models[1].c_index - base.concordance_index_, abs=1e-8
    )
    assert outcome.events == event.sum()


def test_a_planted_hazard_ratio_is_recovered() -> None:
    scores, codes, time, event = planted(1500, 2, hazard=np.log(1.5))
    alone = outcome_models(scores, codes, ORDER, time=time, event=event).models[0]
    assert alone.ci[0] < 1.5 < alone.ci[1]
    assert alone.hazard_ratio == pytest.approx(1.5, rel=0.1)


def test_a_score_that_only_repeats_the_stage_adds_nothing_to_it() -> None:
    scores, codes, time, event = planted(600, 3, hazard=0.0, stage_hazard=0.6)
    outcome = outcome_models(scores, codes, ORDER, time=time, event=event)
    assert outcome.models[0].p_value < 0.001
    assert outcome.models[1].p_value > 0.05
    assert (
        outcome.verdict == "a later stage score goes with a worse outcome, but nothing is shown beside stage"
    )
    assert outcome.held_out_gain is not None
    assert abs(outcome.held_out_gain) < 0.02


def test_the_verdict_turns_at_the_level_asked_for() -> None:
    scores, codes, time, event = planted(80, 4, hazard=0.3)
    p = outcome_models(scores, codes, ORDER, time=time, event=event).models[0].p_value
    assert 1e-4 < p < 0.4
    for alpha, shown in ((p * 1.01, True), (p * 0.99, False)):
        said = outcome_models(scores, codes, ORDER, time=time, event=event, alpha=alpha).verdict
        assert said.startswith("a later stage score goes with") == shown


def test_hazards_that_cross_are_said() -> None:
    rng = np.random.default_rng(4)
    codes = np.repeat([0, 1, 2], 200)
    scores = rng.standard_normal(600)
    # Weibull shapes that differ with the score: its hazard ratio falls with time
    time = rng.weibull(np.where(scores > 0, 0.6, 2.5))
    outcome = outcome_models(scores, codes, ORDER, time=time + 1e-9, event=np.ones(600))
    assert outcome.models[0].proportional_hazards_p < 1e-6
    assert any("hazard ratio changes over time" in w for w in outcome.warnings)


def test_few_events_and_missing_follow_up_are_said() -> None:
    scores, codes, time, event = planted(60, 5, hazard=0.5)
    event = event * (np.arange(60) < 20)
    time[:3] = np.nan
    outcome = outcome_models(scores, codes, ORDER, time=time, event=event, names=("days", "dead"))
    assert outcome.n == 57
    assert any("3 patients without days or dead" in w for w in outcome.warnings)
    assert outcome.models[1].events_per_variable == pytest.approx(outcome.events / 3)
    assert any("events per variable, fewer than 10" in w for w in outcome.warnings)


def test_events_may_be_words_when_the_one_that_counts_is_named() -> None:
    words = np.array(["dead", "censored", None, "dead"], dtype=object)
    time, event = read_outcome([1, 2, 3, 4], words, event_value="dead")
    assert time.tolist() == [1, 2, 3, 4]
    assert event[[0, 1, 3]].tolist() == [1, 0, 1]
    assert np.isnan(event[2])
    assert read_outcome([1, 2], [True, False])[1].tolist() == [1, 0]


def test_a_competing_event_is_censored_only_with_a_word_on_it() -> None:
    scores, codes, time, event = planted(120, 6, hazard=0.5)
    words = np.where(event == 1, np.where(np.arange(120) % 3 == 0, "other", "tumour"), "alive")
    X = np.column_stack([scores, np.random.default_rng(6).normal(size=(120, 3))])
    result = stage_gradient(
        X,
        np.array(ORDER)[codes],
        order=ORDER,
        duration=time,
        event=words,
        event_value="tumour",
        permutations=99,
    )
    assert result.outcome is not None
    assert result.outcome.events == np.count_nonzero(words == "tumour")
    assert any("cause-specific" in w and "'other'" in w for w in result.warnings)


@pytest.mark.parametrize(
    ("duration", "event", "value", "message"),
    [
        ([3, 0, 2], [1, 0, 1], None, "duration 'duration' is 0 for 1 patients"),
        ([3, -1, 2], [1, 0, 1], None, "times must be above 0"),
        ([3, 1, 2], [1, 0, 2], None, "event 'event' holds .*2.*, not 0 and 1"),
        ([3, 1, 2], ["dead", "censored", "dead"], None, "--event-value"),
        ([3, 1, 2], ["dead", "censored", "dead"], "deceased", "event value 'deceased' is not in 'event'"),
        ([3, 1, 2], [0, 0, 0], None, "all 3 patients are censored"),
        ([3, "long", 2], [1, 0, 1], None, "holds 'long' .*not a number"),
        ([None, None, None], [1, 0, 1], None, "missing for every patient"),
    ],
)
def test_input_errors_are_one_line_and_name_the_thing(
    duration: list, event: list, value: str | None, message: str
) -> None:
    with pytest.raises(AnalysisError, match=message) as error:
        read_outcome(duration, event, event_value=value)
    assert "\n" not in str(error.value)


def test_duration_without_event_is_refused() -> None:
    X, stage = np.random.default_rng(0).standard_normal((40, 3)), np.repeat(["0", "1"], 20)
    with pytest.raises(AnalysisError, match="duration and event belong together"):
        stage_gradient(X, stage, order="0,1", permutations=99, duration=np.ones(40))


@pytest.mark.shared_data
def test_lung1_survival(shared: Path) -> None:
    table = pd.read_csv(shared / "data/lung1/radiomics_and_clinical.csv")
    table = table[pd.to_numeric(table["clinical.T.Stage"], errors="coerce").isin([1, 2, 3, 4])]
    features = [c for c in table if c.startswith(("original_", "wavelet-"))]
    result = stage_gradient(
        table[features].to_numpy(float),
        table["clinical.T.Stage"].to_numpy(),
        order="1,2,3,4",
        permutations=199,
        duration=table["Survival.time"].to_numpy(),
        event=table["deadstatus.event"].to_numpy(),
        duration_unit="days",
    )
    outcome = result.outcome
    assert outcome is not None
    assert outcome.n == 418
    assert outcome.events == int(table["deadstatus.event"].sum())
    alone = outcome.models[0]
    assert alone.hazard_ratio > 1
    assert alone.p_value < 0.01  # tumour size is a known risk in this cohort
    frame = pd.DataFrame(
        {
            "score": (result.scores - result.scores.mean()) / result.scores.std(ddof=1),
            "time": table["Survival.time"].to_numpy(float),
            "event": table["deadstatus.event"].to_numpy(float),
        }
    )
    fit = CoxPHFitter().fit(frame, "time", "event")
    assert alone.hazard_ratio == pytest.approx(float(fit.hazard_ratios_["score"]), abs=1e-8)
    assert alone.c_index == pytest.approx(fit.concordance_index_, abs=1e-8)
    assert f"{outcome.events} events among 418 patients" in result.methods_text()


@pytest.mark.shared_data
def test_kits_vital_status_is_text_and_needs_the_event_value(shared: Path) -> None:
    table = pd.read_csv(shared / "data/kits/c4kc_clinical.csv", dtype={"pathology_t_stage": str})
    days = "vital_days_after_surgery"
    with pytest.raises(AnalysisError, match=r'is 0 for 3 patients.*--where "vital_days_after_surgery!=0"'):
        read_outcome(table[days], table["vital_status"], duration_name=days, event_value="dead")
    table = table[table[days] > 0]
    with pytest.raises(AnalysisError, match="--event-value"):
        read_outcome(table[days], table["vital_status"])
    time, event = read_outcome(table[days], table["vital_status"], event_value="dead")
    assert np.nansum(event) == (table["vital_status"] == "dead").sum()
    assert np.nanmin(time) > 0


@pytest.mark.shared_data
def test_sarcoma_has_too_few_deaths_for_three_variables_and_says_so(shared: Path) -> None:
    import nibabel as nib

    clinical = pd.read_csv(shared / "data/sts/clinical.csv")
    X = []
    for patient in clinical["patient_id"]:
        image = nib.load(shared / "data/sts" / patient / "CT_mask.nii.gz")
        inside = np.argwhere(np.asarray(image.dataobj) == 1) * np.abs(np.diagonal(image.affine)[:3])
        X.append([len(inside) ** (1 / 3), *np.ptp(inside, axis=0), *inside.std(axis=0)])
    result = stage_gradient(
        np.array(X),
        clinical["grade"].to_numpy(),
        order="Low,Intermediate,High",
        permutations=999,
        adjust=pd.DataFrame({"size": np.array(X)[:, 0]}),
        duration=clinical["follow_up_days"].to_numpy(),
        event=clinical["dead"].to_numpy(),
    )
    assert result.adjusters is not None
    assert result.adjusters.verdict == "cannot tell"
    detectable = result.adjusters.minimum_detectable_statistic
    assert (
        f"an adjusted correlation of {detectable:.2f} could have been detected with 80 % power"
        in result.verdict
    )
    outcome = result.outcome
    assert outcome is not None
    assert (outcome.n, outcome.events) == (25, 7)
    assert outcome.models[0].events_per_variable == 7.0
    assert sum("events per variable, fewer than 10" in w for w in result.warnings) == len(outcome.models)
    assert result.trend.p_value > 0.05
    assert (
        f"{result.minimum_detectable_concordance:.2f} could have been detected with 80 % power"
        in result.verdict
    )
