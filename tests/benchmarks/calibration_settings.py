"""What the calibration looks at: populations, cohort sizes, one run of the tests, one of everything, one truth."""

from __future__ import annotations

from dataclasses import dataclass
from zlib import crc32

import numpy as np
import pandas as pd

from analysis.gradient.adjusted import adjusted_null, adjusted_tests
from analysis.gradient.adjusters import adjuster_basis
from analysis.gradient.axis import adjusted_gain, basis_gain, cross_fit, ridge_gain
from analysis.gradient.data import StageData, gather
from analysis.gradient.rank_statistics import concordance, standardised_stage_means
from analysis.gradient.trend import step_null, step_tests, trend_null, trend_test
from analysis.resampling import permutation_p_value
from analysis.splits import repeated_folds
from flexict_core.errors import AnalysisError
from tests.benchmarks.populations import Population

NEW_PATIENTS = 2000
SINGLE_AXES = 4
ALPHA = 0.05
UNEVEN = (0.5, 0.3, 0.15, 0.05)


@dataclass(frozen=True)
class Setting:
    """A population, a cohort size and what is looked at; `blocks`: one to three series of every patient."""

    name: str
    population: Population
    n: int
    adjusted: bool = False
    grouped: bool = False
    blocks: bool = False
    null: bool = True

    @property
    def key(self) -> str:
        """Name, patients and stages, as a file name."""
        text = f"{self.name} {self.n}-{self.population.n_stages}"
        return "".join(c if c.isalnum() or c in "-." else "_" for c in text)

    def stream(self, seed: int, part: int) -> list[int]:
        """Entropy of a run's random numbers: every setting has its own cohorts."""
        return [seed, part, crc32(self.key.encode())]


def settings() -> list[Setting]:
    """All settings of the published table."""
    rows = [
        Setting("independent", Population("independent", 40, stages), n)
        for n in (30, 60, 150, 400)
        for stages in (2, 3, 4, 7)
    ]
    rows += [
        Setting("independent, d = 2", Population("independent", 2, 3), 60),
        Setting("independent, unbalanced", Population("independent", 40, 4, weights=UNEVEN), 60),
        Setting("independent, unbalanced", Population("independent", 40, 4, weights=UNEVEN), 150),
        Setting("independent, heavy tails", Population("independent", 200, 4, heavy=True), 100),
        Setting("patient blocks", Population("independent", 40, 3), 60, blocks=True),
        Setting("patient blocks", Population("independent", 40, 4), 150, blocks=True),
        Setting(
            "site drives stage and embedding", Population("independent", 40, 4, sites=4), 120, grouped=True
        ),
    ]
    for kind in ("size", "scanner", "nonlinear"):
        rows += [
            Setting(f"{kind}-driven", Population(kind, 40, stages), n, adjusted=True)
            for n, stages in ((30, 2), (60, 3), (60, 4), (150, 4), (150, 7), (400, 4))
        ]
        uneven = Population(kind, 40, 4, weights=UNEVEN)
        rows.append(Setting(f"{kind}-driven, unbalanced", uneven, 150, adjusted=True))
    return rows + _with_a_gradient()


def _with_a_gradient() -> list[Setting]:
    rows = []
    for effect in (0.3, 0.5, 1.0):
        population = {s: Population("planted", 40, s, effect=effect, isotropic=True) for s in (2, 4)}
        rows += [
            Setting(f"planted {effect:g}, independent dimensions", population[stages], n, null=False)
            for n, stages in ((60, 4), (150, 4), (150, 2))
        ]
    for effect in (0.5, 1.0):
        rows += [
            Setting(
                f"planted {effect:g}, factors", Population("planted", 40, s, effect=effect), n, null=False
            )
            for n, s in ((30, 3), (60, 4), (150, 4))
        ]
    for name, n, population in (
        ("not monotonic", 150, Population("planted", 40, 4, effect=1.0, shape=(0, 1, 2, 1))),
        ("plateau", 200, Population("planted", 40, 7, effect=1.0, shape=(0, 1, 2, 2, 2, 2, 3))),
        ("unbalanced", 150, Population("planted", 40, 4, effect=0.7, weights=UNEVEN)),
        (
            "later stages more spread",
            150,
            Population("planted", 40, 4, effect=1.0, spread=2.0, isotropic=True),
        ),
        ("heavy tails", 100, Population("planted", 200, 4, effect=1.0, heavy=True)),
    ):
        rows.append(Setting(f"planted, {name}", population, n, null=False))
    for beyond in (0.2, 0.4, 0.8):
        population_ = Population("size", 40, 4, beyond=beyond)
        rows += [
            Setting(f"size-driven + phenotype {beyond:g}", population_, n, adjusted=True, null=False)
            for n in (60, 150)
        ]
    scanner = Population("scanner", 40, 4, beyond=0.5)
    return [*rows, Setting("scanner-driven + phenotype 0.5", scanner, 150, adjusted=True, null=False)]


def rows_of(setting: Setting, seed: int) -> StageData:
    """A cohort of the setting as the public function would take it."""
    rng = np.random.default_rng(setting.stream(seed, 1))
    cohort = setting.population.draw(setting.n, rng)
    series = np.arange(setting.n)
    X = cohort.X
    if setting.blocks:
        series = np.repeat(series, rng.integers(1, 4, setting.n))
        X = X[series] + 0.5 * rng.standard_normal((series.size, X.shape[1]))
    return gather(
        X,
        cohort.codes[series].astype(str),
        order=[str(k) for k in range(setting.population.n_stages)],
        adjust=cohort.adjusters.iloc[series] if setting.adjusted else None,
        groups=cohort.groups[series] if setting.grouped else None,
        patients=series if setting.blocks else None,
    )


def p_values_of_one(setting: Setting, draws: int, seed: int) -> dict[str, float]:
    """The p-values alone: trend, first step, and both adjusted tests."""
    for_folds, for_draws = np.random.SeedSequence(setting.stream(seed, 2)).spawn(2)
    rng = np.random.default_rng(for_draws)
    d = rows_of(setting, seed)
    folds = repeated_folds(d.n, seed=for_folds)
    axis = cross_fit(d.within_groups, folds)
    scores = axis.scores(d.centred(d.codes))
    observed = float(concordance(scores, d.codes, d.n_stages, groups=d.groups))
    row = {
        "seed": float(seed),
        "trend": permutation_p_value(observed, trend_null(axis, d, permutations=draws, rng=rng)),
        "step": permutation_p_value(*step_null(axis, d, scores, (0, 1), permutations=draws, rng=rng)),
    }
    if setting.adjusted:
        try:
            tests = adjusted_null(d, folds, permutations=draws, rng=rng)
        except AnalysisError:  # the adjusters determine the stage
            return row | {"conditional": np.nan, "Freedman–Lane": np.nan}
        row |= {"conditional": tests.p_conditional, "Freedman–Lane": tests.p_freedman_lane}
    return row


def all_of_one(setting: Setting, draws: int, seed: int) -> dict[str, float]:
    """One cohort through tests, intervals and verdicts, without controls and figures."""
    for_folds, for_draws = np.random.SeedSequence(setting.stream(seed, 2)).spawn(2)
    rng = np.random.default_rng(for_draws)
    adjusters = None
    try:
        d = rows_of(setting, seed)
        folds = repeated_folds(d.n, seed=for_folds)
        axis = cross_fit(d.within_groups, folds)
        trend = trend_test(axis, d, permutations=draws, rng=rng, alpha=ALPHA)
        steps = step_tests(axis, d, permutations=draws, rng=rng, alpha=ALPHA, trend=trend)
        if setting.adjusted:
            adjusters = adjusted_tests(
                steps.scores, d, folds, permutations=draws, rng=rng, alpha=ALPHA, trend=trend.trend
            )
    except AnalysisError:
        return {"seed": float(seed), "refused": 1.0}
    row: dict[str, float] = {
        "seed": float(seed),
        "refused": 0.0,
        "trend": trend.trend.p_value,
        "detectable": np.nan if trend.minimum_detectable is None else trend.minimum_detectable,
        "strictly increasing": float(steps.strict.verdict == "strictly increasing"),
        "a reversed step": float(len(steps.strict.reversed_steps) > 0),
    }
    intervals = {"concordance": trend.trend.ci}
    intervals |= {f"mean {k}": s.ci for k, s in enumerate(steps.stages)}
    intervals |= {f"step {k}": s.ci for k, s in enumerate(steps.steps)}
    if adjusters is not None:
        row["conditional"] = adjusters.p_conditional
        row["beyond adjusters"] = float(adjusters.verdict == "beyond adjusters")
        row["explained by adjusters"] = float(adjusters.verdict == "explained by adjusters")
        intervals["adjusters alone"] = adjusters.baseline_ci
        intervals["added concordance"] = adjusters.added_value_ci
    for name, ci in intervals.items():
        row[f"{name} low"], row[f"{name} high"] = ci if ci is not None else (np.nan, np.nan)
    return row


def truth_of_one(setting: Setting, _draws: int, seed: int) -> dict[str, float]:
    """On new patients: concordance, standardised stage means and steps, adjusters alone, added concordance.

    Ten axes, each learnt from a random 4/5 of a cohort, are averaged as the method averages its repeats. The
    adjusters' concordances are counted within folds, so theirs are means over single axes.
    """
    rng = np.random.default_rng(setting.stream(seed, 3))
    cohort, new = setting.population.draw(setting.n, rng), setting.population.draw(NEW_PATIENTS, rng)
    n, stages = setting.n, setting.population.n_stages
    table = pd.concat([cohort.adjusters, new.adjusters], ignore_index=True)
    basis = adjuster_basis(table, patients=n).matrix if setting.adjusted else None
    plain, single = np.zeros(NEW_PATIENTS), []
    for repeat in range(10):
        chosen = rng.permutation(n)[: round(0.8 * n)]
        y = cohort.codes[chosen].astype(float)
        plain += ridge_gain(cohort.X[chosen], new.X) @ y
        if basis is not None and repeat < SINGLE_AXES:
            base = np.round(basis_gain(basis[chosen], basis[n:]) @ y, 9)
            gain = adjusted_gain(cohort.X[chosen], new.X, basis_train=basis[chosen], basis_test=basis[n:])
            c_base = float(concordance(base, new.codes, stages))
            single.append([c_base, float(concordance(base + gain @ y, new.codes, stages)) - c_base])
    means = standardised_stage_means(plain, new.codes, stages)
    row = {"seed": float(seed), "concordance": float(concordance(plain, new.codes, stages))}
    row |= {f"mean {k}": float(m) for k, m in enumerate(means)}
    row |= {f"step {k}": float(m) for k, m in enumerate(np.diff(means))}
    if single:
        row["adjusters alone"], row["added concordance"] = map(float, np.mean(single, axis=0))
    return row
