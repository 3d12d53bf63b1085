"""What is said beyond the adjusters, where the truth is known: categories, little room, weak power, blocks."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis import stage_gradient
from analysis.gradient.adjusters import adjuster_basis
from analysis.gradient.axis import basis_gain
from analysis.gradient.held_out_pairs import held_out_pairs
from analysis.gradient.rank_statistics import concordance
from analysis.splits import repeated_folds
from flexict_core.errors import AnalysisError

ORDER = ["0", "1", "2", "3"]


def scanner_cohort(n: int, effect: float, seed: int) -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
    """Stage depends on one of two scanners; the embedding is noise."""
    rng = np.random.default_rng(seed)
    scanner = rng.integers(0, 2, n)
    latent = effect * scanner + rng.standard_normal(n)
    codes = np.searchsorted(np.quantile(latent, [0.25, 0.5, 0.75]), latent)
    return rng.standard_normal((n, 30)), codes, pd.DataFrame({"scanner": np.where(scanner == 1, "S2", "S1")})


def test_a_scanners_concordance_is_that_of_new_patients_and_noise_adds_nothing() -> None:
    estimates, gains = [], []
    for seed in range(16):
        X, codes, table = scanner_cohort(150, 1.0, seed)
        result = stage_gradient(X, codes.astype(str), order=ORDER, adjust=table, permutations=99, seed=seed)
        assert result.adjusters is not None
        estimates.append(result.adjusters.baseline_concordance)
        gains.append(result.adjusters.added_value_ci)
    # new patients: the scanner itself is the score, its ties count half
    _, codes, table = scanner_cohort(200_000, 1.0, 999)
    truth = float(concordance((table["scanner"] == "S2").to_numpy(float), codes, 4))
    assert np.mean(estimates) == pytest.approx(truth, abs=0.02)
    assert sum(ci is not None and ci[0] > 0 for ci in gains) <= 2


def test_held_out_pairs_are_counted_as_written(rng: np.random.Generator) -> None:
    n, basis = 30, rng.integers(0, 2, (30, 1)).astype(float)
    codes = rng.integers(0, 3, (n, 2))
    folds = repeated_folds(n, repeats=2, seed=3)
    pairs = held_out_pairs(
        rng.standard_normal((n, 5)), basis, folds, codes=codes, n_stages=3, jackknife=np.array([0])
    )
    good = total = 0.0
    for train, test in folds:
        scores = np.round(basis_gain(basis[train], basis[test]) @ codes[train, 0], 9)
        for i, a in enumerate(test):
            for j, b in enumerate(test):
                if codes[a, 0] < codes[b, 0]:
                    total += 1
                    good += 1.0 if scores[i] < scores[j] else 0.5 if scores[i] == scores[j] else 0.0
    assert pairs.base[0] == pytest.approx(good / total, abs=1e-12)


def test_explained_is_not_said_where_power_or_room_is_lacking() -> None:
    # the phenotype is in the embedding and carries stage beyond size, but size leaves almost no room
    said = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        size, phenotype = rng.standard_normal((2, 60))
        latent = 5 * size + phenotype + rng.standard_normal(60)
        codes = np.searchsorted(np.quantile(latent, [1 / 3, 2 / 3]), latent)
        X = rng.standard_normal((60, 20))
        X[:, 0] += 2 * size
        X[:, 1] += phenotype
        result = stage_gradient(
            X,
            codes.astype(str),
            order=ORDER[:3],
            adjust=pd.DataFrame({"size": size}),
            permutations=199,
            seed=seed,
        )
        assert result.adjusters is not None
        said.append(result.adjusters.verdict)
    assert "explained by adjusters" not in said


def test_a_suppressor_is_called_what_it_is() -> None:
    rng = np.random.default_rng(4)
    size = rng.standard_normal(200)
    phenotype = rng.standard_normal(200)
    latent = size + phenotype
    codes = np.searchsorted(np.quantile(latent, [0.25, 0.5, 0.75]), latent)
    X = rng.standard_normal((200, 6)) * 0.3
    X[:, 0] += phenotype - size  # nothing to do with the stage until size is known
    result = stage_gradient(
        X, codes.astype(str), order=ORDER, adjust=pd.DataFrame({"s": size}), permutations=499
    )
    assert result.strict.verdict == "no trend detected"
    assert "associated with the stage only after adjustment for s" in result.verdict


def test_adjusters_share_their_freedom_and_too_many_are_refused(rng: np.random.Generator) -> None:
    six = pd.DataFrame(rng.standard_normal((60, 6)), columns=list("abcdef"))
    assert adjuster_basis(six).matrix.shape == (60, 12)  # 60 / 5 columns among six splines
    many = pd.DataFrame(rng.standard_normal((40, 15)), columns=[f"a{k}" for k in range(15)])
    with pytest.raises(AnalysisError, match="15 adjuster columns are too many for 40 patients"):
        adjuster_basis(many)
    ten = pd.DataFrame(rng.standard_normal((40, 10)), columns=[f"a{k}" for k in range(10)])
    assert "leave the adjusted tests little power" in adjuster_basis(ten).cautions[0]


def test_adjusters_of_any_type_are_taken_or_refused_by_name(rng: np.random.Generator) -> None:
    X, codes = rng.standard_normal((60, 5)), rng.integers(0, 3, 60).astype(str)
    letters = pd.DataFrame({"site": pd.Categorical(rng.choice(list("ABCDEFG"), 60))})
    assert stage_gradient(X, codes, order=ORDER[:3], adjust=letters, permutations=99).adjusters is not None
    as_objects = pd.DataFrame({"size": rng.standard_normal(60)}).astype(object)
    result = stage_gradient(X, codes, order=ORDER[:3], adjust=as_objects, permutations=99)
    assert result.adjusters is not None
    assert "groups of equal count" in result.adjusters.strata
    infinite = pd.DataFrame({"size": np.where(np.arange(60) == 3, np.inf, np.arange(60.0))})
    with pytest.raises(AnalysisError, match="'size' holds an infinite value"):
        stage_gradient(X, codes, order=ORDER[:3], adjust=infinite, permutations=99)


def test_an_adjuster_called_group_does_not_hide_the_groups(rng: np.random.Generator) -> None:
    X, codes = rng.standard_normal((80, 5)), rng.integers(0, 2, 80).astype(str)
    table = pd.DataFrame({"group": rng.standard_normal(80)})
    site = np.repeat(["a", "b"], 40)
    result = stage_gradient(X, codes, order=ORDER[:2], adjust=table, groups=site, permutations=99)
    assert result.adjusters is not None
    assert result.adjusters.columns == ("group", "exchange group")
