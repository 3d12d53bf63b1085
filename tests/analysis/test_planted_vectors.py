"""Embeddings for calibration: their documented truth, checked by plain arithmetic on large samples."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr

from analysis.planted_vectors import (
    independent,
    nonlinear_confounding,
    planted_beyond_size,
    planted_gradient,
    scanner_driven,
    size_driven,
)

N = 6000
SIX_SE = 6 / np.sqrt(N)


def _concordance(score: np.ndarray, stage: np.ndarray) -> float:
    """P(s_i < s_j | y_i < y_j), counted pair by pair."""
    wins = pairs = 0.0
    for low in range(stage.max()):
        later = np.sort(score[stage > low])
        mine = score[stage == low]
        wins += float((len(later) - np.searchsorted(later, mine)).sum())
        pairs += len(later) * len(mine)
    return wins / pairs


def _rest(value: np.ndarray, by: np.ndarray, degree: int) -> np.ndarray:
    return value - np.polyval(np.polyfit(by, value, degree), by)


@pytest.mark.parametrize("effect", [0.0, 0.4, 1.2])
def test_the_planted_axis_has_the_concordance_of_the_closed_form(effect: float) -> None:
    X, stage, adjusters, truth = planted_gradient(N, 12, 4, effect=effect, seed=1)
    assert X.shape == (N, 12)
    assert np.bincount(stage).tolist() == [1500] * 4
    assert _concordance(X @ truth["axis"], stage) == pytest.approx(truth["concordance"], abs=0.012)
    assert truth["beyond_adjusters"] is (effect != 0)
    assert abs(spearmanr(adjusters["size"], stage).statistic) < SIX_SE


def test_the_closed_form_is_one_half_without_effect_and_known_for_two_stages() -> None:
    assert planted_gradient(100, 3, 4, effect=0, seed=0).truth["concordance"] == 0.5
    # Two even stages lie 2 SD of z apart: Phi(2 e / sqrt 2), and Phi(1) = 0.8413447.
    two = planted_gradient(100, 3, 2, effect=1 / np.sqrt(2), seed=0)
    assert two.truth["concordance"] == pytest.approx(0.8413447, abs=1e-7)


def test_size_driven_has_nothing_left_given_size() -> None:
    X, stage, adjusters, truth = size_driven(N, 10, 4, seed=2)
    score, size = X @ truth["axis"], adjusters["size"].to_numpy()
    assert spearmanr(score, stage).statistic > 0.4
    assert abs(pearsonr(_rest(score, size, 1), _rest(stage.astype(float), size, 3)).statistic) < SIX_SE


def test_scanner_driven_has_nothing_left_within_a_scanner() -> None:
    X, stage, adjusters, truth = scanner_driven(N, 10, 4, seed=3)
    score = X @ truth["axis"]
    assert spearmanr(score, stage).statistic > 0.1
    for name in ("S1", "S2"):
        here = (adjusters["scanner"] == name).to_numpy()
        assert abs(spearmanr(score[here], stage[here]).statistic) < 6 / np.sqrt(here.sum())


def test_a_straight_line_does_not_remove_bent_confounding_and_a_curve_does() -> None:
    X, stage, adjusters, truth = nonlinear_confounding(N, 10, 4, seed=4)
    score, size = X @ truth["axis"], adjusters["size"].to_numpy()
    left = {d: pearsonr(_rest(score, size, d), _rest(stage.astype(float), size, d)).statistic for d in (1, 9)}
    assert left[1] > 0.3
    assert abs(left[9]) < SIX_SE


@pytest.mark.parametrize("effect", [0.0, 0.8])
def test_beyond_size_is_left_after_size(effect: float) -> None:
    X, stage, adjusters, truth = planted_beyond_size(N, 10, 4, effect=effect, seed=5)
    size = adjusters["size"].to_numpy()
    left = pearsonr(_rest(X @ truth["axis"], size, 1), _rest(stage.astype(float), size, 3)).statistic
    if effect:
        assert left > 0.4
    else:
        assert abs(left) < SIX_SE
    assert truth["beyond_adjusters"] is (effect != 0)


def test_independent_rows_of_a_patient_belong_together() -> None:
    X, stage, adjusters, truth = independent(N, 8, 4, seed=6, rows_per_patient=3)
    assert truth == {"beyond_adjusters": False, "concordance": 0.5}
    patient = adjusters["patient"].to_numpy()
    assert (np.bincount(patient) == 3).all()
    assert len({(p, s) for p, s in zip(patient, stage, strict=True)}) == N // 3
    assert pearsonr(X[0::3].ravel(), X[1::3].ravel()).statistic == pytest.approx(0.5, abs=0.02)
    assert X.std() == pytest.approx(1, abs=0.02)
    assert max(abs(spearmanr(x, stage).statistic) for x in X.T) < 6 * np.sqrt(3) / np.sqrt(N)
    with pytest.raises(ValueError, match="multiple of rows_per_patient"):
        independent(10, 2, 3, seed=0, rows_per_patient=3)


def test_the_same_seed_gives_the_same_numbers() -> None:
    first, second = size_driven(50, 4, 3, seed=7), size_driven(50, 4, 3, seed=7)
    np.testing.assert_array_equal(first.X, second.X)
    np.testing.assert_array_equal(first.stage, second.stage)
    assert (size_driven(50, 4, 3, seed=8).X != first.X).any()
