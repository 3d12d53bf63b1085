"""Permutations, redraws and their p-values against enumeration and closed forms."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pandas as pd
import pytest

from analysis.gradient.adjusters import (
    adjuster_basis,
    redrawn_stages,
    residual_projector,
    spline_df,
    stage_given_adjusters,
    strata_of,
)
from analysis.resampling import chunks, log10_arrangements, permutation_p_value, permuted_columns
from flexict_core.errors import AnalysisError


def test_p_value_counts_the_observed_arrangement_and_ties() -> None:
    null = np.array([0.1, 0.5, 0.5, 0.9])
    assert permutation_p_value(0.5, null) == pytest.approx(4 / 5)
    assert permutation_p_value(1.0, null) == pytest.approx(1 / 5)
    assert permutation_p_value(0.5 + 1e-15, null) == pytest.approx(4 / 5)  # rounding is no evidence


def test_permutations_stay_within_their_groups(rng: np.random.Generator) -> None:
    y, groups = np.arange(12), np.repeat(["a", "b", "c"], [3, 4, 5])
    drawn = permuted_columns(y, 500, rng, groups=groups)
    for g in "abc":
        assert (np.sort(drawn[groups == g], axis=0) == y[groups == g][:, None]).all()
    first = drawn[0]  # uniform over the three members of its group
    assert np.bincount(first, minlength=3) / 500 == pytest.approx([1 / 3] * 3, abs=0.08)


def test_permutation_p_agrees_with_full_enumeration(rng: np.random.Generator) -> None:
    y, x = np.array([0, 0, 0, 1, 1, 1]), rng.standard_normal(6)
    everything = np.array([np.dot(x, p) for p in permutations(y)])
    exact = np.mean(everything >= x @ y - 1e-12)
    drawn = permuted_columns(y, 20_000, rng)
    assert permutation_p_value(float(x @ y), x @ drawn) == pytest.approx(exact, abs=0.012)


def test_number_of_arrangements_is_the_multinomial_coefficient() -> None:
    codes = np.array([0, 0, 1, 1, 2])
    assert 10 ** log10_arrangements(codes) == pytest.approx(30)
    assert 10 ** log10_arrangements(codes, np.array([0, 0, 1, 1, 1])) == pytest.approx(3)


def test_chunks_cover_every_draw() -> None:
    assert sum(chunks(10_000_000, 25)) == 25
    assert max(chunks(10_000_000, 25)) == 1


def test_spline_basis_spans_constants_lines_and_curves_but_not_the_stage(rng: np.random.Generator) -> None:
    size = rng.lognormal(3.5, 0.5, 120)
    basis = adjuster_basis(pd.DataFrame({"size": size}))
    assert basis.matrix.shape == (120, spline_df(120))
    Q = residual_projector(basis.matrix)
    assert size - Q @ (Q.T @ size) == pytest.approx(
        np.zeros(120), abs=1e-6
    )  # a natural spline holds every line
    bend = np.log(size)
    assert np.var(bend - Q @ (Q.T @ bend)) < 0.01 * np.var(bend)


def test_categories_become_indicators_and_repeated_columns_add_nothing() -> None:
    scanner = np.array(["A", "B", "C"] * 20, dtype=object)
    twice = pd.DataFrame(
        {"scanner": scanner, "again": scanner, "thickness": np.where(scanner == "A", 1.0, 3.0)}
    )
    assert adjuster_basis(twice).matrix.shape == (60, 2)


def test_unusable_adjusters_are_refused_by_name() -> None:
    with pytest.raises(AnalysisError, match="'kvp' has the single value 120"):
        adjuster_basis(pd.DataFrame({"kvp": [120] * 9}))
    with pytest.raises(AnalysisError, match="'age' is missing for 1 of 3"):
        adjuster_basis(pd.DataFrame({"age": [1.0, None, 2.0]}))


def test_redraws_follow_the_stage_model(rng: np.random.Generator) -> None:
    probability = np.tile([0.2, 0.5, 0.3], (2, 1))
    drawn = redrawn_stages(probability, 20_000, rng)
    for row in drawn:
        assert np.bincount(row, minlength=3) / 20_000 == pytest.approx([0.2, 0.5, 0.3], abs=0.015)


def test_stage_model_recovers_a_logit_and_refuses_what_it_determines(rng: np.random.Generator) -> None:
    z = rng.standard_normal((4000, 1))
    true = 1 / (1 + np.exp(-(0.4 + 1.3 * z[:, 0])))
    fitted = stage_given_adjusters(z, (rng.random(4000) < true).astype(int))[:, 1]
    assert np.abs(fitted - true).max() < 0.05
    with pytest.raises(AnalysisError, match="the adjusters determine the stage"):
        stage_given_adjusters(np.repeat([-50.0, 50.0], 40)[:, None], np.repeat([0, 1], 40))


def test_strata_have_equal_counts_or_are_the_categories() -> None:
    assert np.bincount(strata_of(np.arange(100.0), categorical=False)).tolist() == [20] * 5
    assert np.unique(strata_of(np.array(["x", "y", "x"]), categorical=True)).size == 2
