"""The further sections together: patients averaged alike, groups honoured, no section moves another's numbers."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from analysis import stage_gradient
from flexict_core.errors import AnalysisError
from tests.benchmarks.populations import Population

ORDER = ["0", "1", "2"]
COHORT = Population("planted", 12, 3, effect=1.2).draw(60, np.random.default_rng(1))
STAGE = COHORT.codes.astype(str)


def outcome_of(rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {"duration": rng.exponential(np.exp(-0.5 * COHORT.codes)) + 0.01, "event": rng.integers(0, 2, 60)}


def test_asking_for_more_changes_no_number_that_was_there(rng: np.random.Generator) -> None:
    plain = stage_gradient(COHORT.X, STAGE, order=ORDER, permutations=99)
    more = stage_gradient(
        COHORT.X, STAGE, order=ORDER, permutations=99, axis=plain.axis, against={"noise": rng.standard_normal((60, 4))},
        **outcome_of(rng),
    )  # fmt: skip
    assert more.trend == plain.trend
    assert more.steps == plain.steps
    assert more.controls == plain.controls
    assert more.trajectory is not None
    assert plain.trajectory is not None
    assert more.trajectory.centroids == plain.trajectory.centroids
    assert plain.transport is plain.outcome is plain.comparison is None
    assert more.transport is not None
    assert more.outcome is not None
    assert more.comparison is not None


def test_json_holds_every_section_and_no_patient_in_transport(rng: np.random.Generator) -> None:
    result = stage_gradient(
        COHORT.X, STAGE, order=ORDER, permutations=99,
        axis=stage_gradient(COHORT.X, STAGE, order=ORDER, permutations=99).axis, **outcome_of(rng),
    )  # fmt: skip
    parsed = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert {"concordance", "ci", "p_value", "axis_sha256", "stages", "verdict"} <= set(parsed["transport"])
    assert "scores" not in parsed["transport"]
    assert "across" not in parsed["trajectory"]
    assert parsed["outcome"]["models"][0]["name"] == "score alone"
    assert {"random_weights", "size_only", "readability", "permuted_stage"} <= set(parsed["controls"])
    assert parsed["power"]["power"] == sorted(parsed["power"]["power"])


def test_the_power_curve_reaches_80_percent_at_the_minimum_detectable_concordance() -> None:
    result = stage_gradient(COHORT.X, STAGE, order=ORDER, permutations=199)
    assert result.power is not None
    assert result.minimum_detectable_concordance is not None
    at = np.interp(result.minimum_detectable_concordance, result.power.concordance, result.power.power)
    assert at == pytest.approx(0.8, abs=0.01)
    assert np.interp(result.power.critical, result.power.concordance, result.power.power) == pytest.approx(
        0.5, abs=0.01
    )


def test_rows_of_a_patient_are_averaged_in_every_embedding_and_their_outcome_counts_once(
    rng: np.random.Generator,
) -> None:
    ids, other, outcome = np.arange(60).astype(str), rng.standard_normal((60, 5)), outcome_of(rng)
    shift = rng.standard_normal((60, 5))
    common = {"order": ORDER, "permutations": 99}
    once = stage_gradient(COHORT.X, STAGE, patients=ids, against={"other": other}, **outcome, **common)
    twice = stage_gradient(
        np.vstack([COHORT.X, COHORT.X]),
        np.tile(STAGE, 2),
        patients=np.tile(ids, 2),
        against={"other": np.vstack([other + shift, other - shift])},
        duration=np.tile(outcome["duration"], 2),
        event=np.tile(outcome["event"], 2),
        **common,
    )
    assert twice.n == once.n == 60
    assert twice.outcome is not None
    assert twice.outcome.events == outcome["event"].sum()
    with pytest.raises(AnalysisError, match="patient '0' has rows with different values of duration"):
        stage_gradient(
            np.vstack([COHORT.X, COHORT.X]), np.tile(STAGE, 2), patients=np.tile(ids, 2),
            duration=np.arange(1, 121), event=np.tile(outcome["event"], 2), **common,
        )  # fmt: skip


def test_within_groups_a_difference_between_sites_is_no_axis() -> None:
    # stage and embedding differ between two sites and not within
    rng = np.random.default_rng(0)
    site = np.repeat(["north", "south"], 60)
    stage = np.where(site == "north", rng.integers(0, 2, 120), rng.integers(1, 3, 120))
    X = rng.standard_normal((120, 8))
    X[:, 0] += 4.0 * (site == "south")
    free = stage_gradient(X, stage.astype(str), order=ORDER, permutations=99).axis
    within = stage_gradient(X, stage.astype(str), order=ORDER, groups=site, permutations=99).axis
    assert free is not None
    assert within is not None
    share = [abs(a.weights[0]) / np.linalg.norm(a.weights) for a in (free, within)]
    assert share[0] > 0.8
    assert share[1] < 0.6


def test_a_comparison_honours_groups() -> None:
    rng = np.random.default_rng(4)
    site = np.repeat(["a", "b"], 45)
    stage = rng.integers(0, 3, 90)
    good, site_only = rng.standard_normal((90, 5)), rng.standard_normal((90, 5))
    good[:, 0] += 1.5 * stage
    site_only[:, 0] += 5.0 * (site == "b")
    result = stage_gradient(
        good, stage.astype(str), order=ORDER, groups=site, permutations=199, against={"site": site_only}
    )
    assert result.comparison is not None
    own, other = result.comparison.embeddings
    assert own.concordance == result.trend.concordance
    assert own.p_value == result.trend.p_value
    assert other.p_value > 0.05
    assert result.comparison.pairs[0].p_holm < 0.05


def test_adjusters_that_are_categories_alone_are_compared_within_folds_only(rng: np.random.Generator) -> None:
    sex = np.array(["f", "m"])[rng.integers(0, 2, 60)]
    result = stage_gradient(COHORT.X, STAGE, order=ORDER, permutations=99, adjust=pd.DataFrame({"sex": sex}))
    assert result.comparison is None
    assert result.adjusters is not None
