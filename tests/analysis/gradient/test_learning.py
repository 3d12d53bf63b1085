"""What learning the axis adds: all of it without a gradient, known in closed form there, little where it is clear."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.gradient.axis import cross_fit
from analysis.gradient.contrasts import StageContrasts
from analysis.gradient.data import StageData, gather
from analysis.gradient.learning import learning_curve, tilted_stages
from analysis.gradient.rank_statistics import null_concordance_variance
from analysis.gradient.trend import trend_null
from analysis.splits import repeated_folds


def cohort(effect: float, *, n: int = 90, d: int = 15, groups: bool = False) -> StageData:
    rng = np.random.default_rng(1)
    codes = rng.permutation(np.arange(n) % 3)
    X = rng.standard_normal((n, d))
    X[:, 0] += effect * codes
    return gather(
        X, codes.astype(str), order="0,1,2", adjust=None, patients=None,
        groups=np.repeat(["a", "b"], n // 2) if groups else None,
    )  # fmt: skip


def test_drawn_stages_keep_their_counts_in_every_group_and_follow_the_axis(rng: np.random.Generator) -> None:
    d = cohort(0.0, groups=True)
    assert d.groups is not None
    z = rng.standard_normal(d.n)
    for strength in (0.0, 1.0, 50.0):
        drawn = tilted_stages(d, z, strength, 30, rng)
        for g in "ab":
            here = d.groups == g
            assert (np.sort(drawn[here], axis=0) == np.sort(d.codes[here])[:, None]).all()
    here = d.groups == "a"
    assert (np.diff(drawn[here][np.argsort(z[here])].mean(axis=1)) >= -0.4).all()  # strength 50: by rank of z
    slack = np.mean([np.corrcoef(z, column)[0, 1] for column in tilted_stages(d, z, 0.0, 200, rng).T])
    assert abs(slack) < 0.05


def test_without_a_gradient_learning_is_the_permutation_variance_less_that_of_fixed_scores() -> None:
    d = cohort(0.0)
    axis = cross_fit(d.X, repeated_folds(d.n, repeats=2))
    rng = np.random.default_rng(0)
    null = trend_null(axis, d, permutations=999, rng=rng)
    curve = learning_curve(axis, d, rng=rng, null=null, contrasts=StageContrasts.of(d, [(0, 1), (1, 2)]))
    assert curve.at(0.5) == pytest.approx(
        np.mean((null - 0.5) ** 2) - null_concordance_variance(d.counts), rel=1e-6
    )
    assert curve.at(0.5) > 0.5 * null_concordance_variance(d.counts)
    assert (np.diff(curve.concordance) > 0).all()
    assert curve.of_contrasts(0.5).shape == (5,)
    # the first stage's mean is as uncertain as the axis' sign, the middle one's hardly
    assert curve.of_contrasts(0.5)[0] > 4 * curve.of_contrasts(0.5)[1]


def test_a_clear_gradient_leaves_little_to_learning() -> None:
    d = cohort(3.0)
    axis = cross_fit(d.X, repeated_folds(d.n, repeats=2))
    rng = np.random.default_rng(0)
    curve = learning_curve(axis, d, rng=rng, null=trend_null(axis, d, permutations=199, rng=rng))
    assert abs(float(curve.at(0.95))) < 0.1 * float(curve.at(0.5))
