"""Embeddings beside each other: paired, corrected, and honest about what is not shown."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.multitest import multipletests

from analysis import stage_gradient
from analysis.gradient.axis import cross_fit
from analysis.gradient.comparison import (
    JointNull,
    holm_adjusted,
    jackknife_covariance,
    joint_null,
    paired_difference,
)
from analysis.gradient.data import gather
from analysis.gradient.learning import LearningCurve
from analysis.gradient.rank_statistics import concordance
from analysis.splits import repeated_folds
from flexict_core.errors import AnalysisError

ORDER = ["0", "1", "2"]


def two_embeddings(
    n: int, seed: int, *, first: float, second: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    codes = rng.permutation(np.arange(n) % 3)
    A, B = rng.standard_normal((n, 12)), rng.standard_normal((n, 20))
    A[:, 0] += first * codes
    B[:, 0] += second * codes
    return A, B, codes.astype(str)


def test_holm_is_that_of_statsmodels(rng: np.random.Generator) -> None:
    p = rng.random(12) ** 3
    assert holm_adjusted(list(p)) == pytest.approx(multipletests(p, method="holm")[1], abs=1e-12)
    assert holm_adjusted([]) == []


def test_the_jackknife_covariance_is_that_of_leaving_each_patient_out(rng: np.random.Generator) -> None:
    codes = np.arange(24) % 3
    scores = [rng.standard_normal(24) + codes, rng.standard_normal(24)]
    left = np.array(
        [[float(concordance(np.delete(s, i), np.delete(codes, i), 3)) for i in range(24)] for s in scores]
    )
    expected = (
        23 / 24 * (left - left.mean(axis=1, keepdims=True)) @ (left - left.mean(axis=1, keepdims=True)).T
    )
    assert jackknife_covariance(scores, codes, 3) == pytest.approx(expected, abs=1e-12)


def test_the_same_embedding_differs_by_exactly_nothing() -> None:
    A, _, stage = two_embeddings(60, 1, first=1.0, second=0.0)
    comparison = stage_gradient(
        A, stage, order=ORDER, permutations=99, against={"again": A.copy()}
    ).comparison
    assert comparison is not None
    assert comparison.pairs[0].difference == 0.0
    assert comparison.pairs[0].ci == (0.0, 0.0)
    assert comparison.pairs[0].p_value == 1.0
    assert comparison.embeddings[1].concordance == comparison.embeddings[0].concordance


def test_a_better_embedding_is_found_and_numbers_agree_with_single_runs() -> None:
    A, B, stage = two_embeddings(120, 2, first=2.0, second=0.0)
    result = stage_gradient(A, stage, order=ORDER, permutations=199, against={"noise": B})
    c = result.comparison
    assert c is not None
    own, other = c.embeddings
    assert own.concordance == result.trend.concordance
    assert own.ci == result.trend.ci
    assert other.concordance == pytest.approx(
        stage_gradient(B, stage, order=ORDER, permutations=99).trend.concordance, abs=1e-12
    )
    pair = c.pairs[0]
    assert pair.difference == pytest.approx(own.concordance - other.concordance, abs=1e-12)
    assert pair.ci is not None
    assert pair.ci[0] > 0.1
    assert pair.p_holm < 0.001
    assert c.verdict == "embedding orders the stages better than noise (after Holm's correction)"


def test_two_that_are_equally_good_are_not_told_apart() -> None:
    told_apart = 0
    for seed in range(12):
        A, B, stage = two_embeddings(80, seed, first=1.0, second=1.0)
        c = stage_gradient(A, stage, order=ORDER, permutations=99, against={"other": B[:, :12]}).comparison
        assert c is not None
        ci = c.pairs[0].ci
        assert ci is not None
        apart = not ci[0] <= 0 <= ci[1]
        assert apart == (c.pairs[0].p_value < 0.05)
        assert apart != c.verdict.startswith("none is shown to order the stages better than the other")
        told_apart += apart
    assert told_apart <= 3  # 99.8 % point of 12 tests at 5 %


def test_adjusters_are_told_once_and_in_one_place() -> None:
    A, B, stage = two_embeddings(100, 4, first=0.0, second=0.0)
    size = pd.DataFrame({"size": stage.astype(float) * 2 + np.random.default_rng(5).standard_normal(100)})
    alone = stage_gradient(A, stage, order=ORDER, permutations=99, adjust=size)
    assert alone.comparison is None
    assert alone.adjusters is not None
    assert alone.adjusters.baseline_concordance > 0.8
    beside = stage_gradient(A, stage, order=ORDER, permutations=99, adjust=size, against={"B": B}).comparison
    assert beside is not None
    assert [e.name for e in beside.embeddings] == ["embedding", "B"]


@pytest.mark.parametrize(("effect", "n"), [(0.0, 45), (1.2, 60)])
def test_the_paired_interval_covers(effect: float, n: int) -> None:
    # equal by symmetry: both embeddings are drawn from one population, so the expected difference is 0
    inside, rejected = [], []
    for seed in range(120):
        rng = np.random.default_rng(seed)
        codes = rng.permutation(np.arange(n) % 3)
        shared = rng.standard_normal((n, 6))
        X = [
            0.7 * shared + rng.standard_normal((n, 6)) + effect * codes[:, None] * (np.arange(6) == 0)
            for _ in range(2)
        ]
        d = gather(X[0], codes.astype(str), order=ORDER, adjust=None, groups=None, patients=None)
        folds = repeated_folds(n, repeats=3, seed=seed)
        joint = joint_null([cross_fit(x, folds) for x in X], d, permutations=99, rng=rng)
        _, ci, p = paired_difference(joint, 0, 1)
        inside.append(ci[0] <= 0 <= ci[1])
        rejected.append(p <= 0.05)
    assert np.mean(inside) > 0.87  # nominal 0.95, 99.9 % band of 120 runs
    assert np.mean(inside) == 1 - np.mean(rejected)


def test_learning_counts_at_each_embeddings_own_concordance() -> None:
    spread = np.random.default_rng(0).standard_normal((2, 500)) * 0.05 + 0.5
    fixed = np.diag([1e-4, 1e-4])
    curve = LearningCurve(np.array([0.5, 0.9]), np.array([3e-4, 0.0]), np.zeros((2, 0)))
    near, mixed, far = (
        JointNull(np.array(c), spread, fixed, fixed, 60, (curve, curve)).variance(0, 1)
        for c in ((0.5, 0.5), (0.5, 0.95), (0.95, 0.95))
    )
    shared = np.corrcoef(spread)[0, 1] * 0.05**2 * np.prod(spread.std(axis=1, ddof=1) / 0.05)
    r = shared / np.prod(np.sqrt(spread.var(axis=1, ddof=1) - 1e-4))
    assert near == pytest.approx(2e-4 + 2 * 3e-4 * (1 - r), rel=1e-9)
    assert mixed == pytest.approx(2e-4 + 3e-4, rel=1e-9)
    assert far == pytest.approx(2e-4, rel=1e-9)


def test_rows_that_do_not_match_are_refused() -> None:
    A, B, stage = two_embeddings(60, 1, first=1.0, second=0.0)
    with pytest.raises(AnalysisError, match="embedding 'short' has 50 rows"):
        stage_gradient(A, stage, order=ORDER, permutations=99, against={"short": B[:50]})
    with pytest.raises(AnalysisError, match="embedding 'flat' is constant"):
        stage_gradient(A, stage, order=ORDER, permutations=99, against={"flat": np.ones((60, 3))})
    B[3, 3] = np.nan
    with pytest.raises(AnalysisError, match="embedding 'gaps' holds NaN"):
        stage_gradient(A, stage, order=ORDER, permutations=99, against={"gaps": B})
