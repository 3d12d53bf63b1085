"""Size, power and interval coverage of the stage gradient, by simulation.

    python -m tests.benchmarks.calibration [--runs 1000] [--draws 399] [--workers 2] [--only NAME] [--out DIR]

Writes `calibration.csv` and `calibration.md`. Every row says how many runs it rests on and the 99 % band
within which a correct method would fall; a row outside its band is marked, never left out.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

# before numpy is imported: one thread a worker process
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import numpy as np
import pandas as pd
from scipy.stats import binom

from analysis.gradient.adjusted import adjusted_tests
from analysis.gradient.adjusters import adjuster_basis
from analysis.gradient.axis import adjusted_gain, basis_gain, cross_fit, ridge_gain
from analysis.gradient.data import gather
from analysis.gradient.rank_statistics import concordance, standardised_stage_means
from analysis.gradient.trend import step_tests, trend_test
from analysis.splits import repeated_folds
from flexict_core.errors import AnalysisError
from tests.benchmarks.populations import Cohort, Population

NEW_PATIENTS = 2000
TRUTH_RUNS = 200


@dataclass(frozen=True)
class Setting:
    """One row group of the table: a population, a cohort size and what is looked at."""

    name: str
    population: Population
    n: int
    adjusted: bool = False
    grouped: bool = False
    null: bool = True


def settings() -> list[Setting]:
    """All settings of the published table."""
    uneven = (0.5, 0.3, 0.15, 0.05)
    rows = [
        Setting("independent", Population("independent", 40, stages), n)
        for n, stages in ((30, 2), (30, 3), (60, 4), (150, 4), (150, 7), (400, 4))
    ]
    rows += [
        Setting("independent, d = 2", Population("independent", 2, 3), 60),
        Setting("independent, unbalanced", Population("independent", 40, 4, weights=uneven), 150),
        Setting("independent, heavy tails", Population("independent", 200, 4, heavy=True), 100),
        Setting(
            "site drives stage and embedding", Population("independent", 40, 4, sites=4), 120, grouped=True
        ),
    ]
    for kind in ("size", "scanner", "nonlinear"):
        rows += [
            Setting(f"{kind}-driven", Population(kind, 40, stages), n, adjusted=True)
            for n, stages in ((30, 2), (60, 4), (150, 4))
        ]
    for effect in (0.3, 0.5, 1.0):
        rows += [
            Setting(f"planted {effect:g}, independent dimensions",
                    Population("planted", 40, stages, effect=effect, isotropic=True), n, null=False)
            for n, stages in ((60, 4), (150, 4), (150, 2))
        ]  # fmt: skip
    for effect in (0.5, 1.0):
        rows += [
            Setting(
                f"planted {effect:g}, factors",
                Population("planted", 40, stages, effect=effect),
                n,
                null=False,
            )
            for n, stages in ((30, 3), (60, 4), (150, 4))
        ]
    rows += [
        Setting("planted, not monotonic",
                Population("planted", 40, 4, effect=1.0, shape=(0, 1, 2, 1)), 150, null=False),
        Setting("planted, plateau",
                Population("planted", 40, 7, effect=1.0, shape=(0, 1, 2, 2, 2, 2, 3)), 200, null=False),
        Setting("planted, unbalanced", Population("planted", 40, 4, effect=0.7, weights=uneven), 150, null=False),
        Setting("planted, later stages more spread",
                Population("planted", 40, 4, effect=1.0, spread=2.0, isotropic=True), 150, null=False),
        Setting("planted, heavy tails",
                Population("planted", 200, 4, effect=1.0, heavy=True), 100, null=False),
    ]  # fmt: skip
    for beyond in (0.2, 0.4, 0.8):
        rows += [
            Setting(f"size-driven + phenotype {beyond:g}",
                    Population("size", 40, 4, beyond=beyond), n, adjusted=True, null=False)
            for n in (60, 150)
        ]  # fmt: skip
    rows.append(
        Setting("scanner-driven + phenotype 0.5",
                Population("scanner", 40, 4, beyond=0.5), 150, adjusted=True, null=False)
    )  # fmt: skip
    return rows


def _truth_of_one(setting: Setting, seed: int) -> np.ndarray:
    """On new patients: concordance, standardised stage means, adjusters-only and combined concordance.

    Ten axes, each learnt from a random 4/5 of a cohort, are averaged as the method averages its repeats.
    """
    rng = np.random.default_rng(seed)
    cohort, new = setting.population.draw(setting.n, rng), setting.population.draw(NEW_PATIENTS, rng)
    n, stages = setting.n, setting.population.n_stages
    basis = adjuster_basis(_together(cohort, new)).matrix if setting.adjusted else None
    plain, beyond, base = np.zeros(NEW_PATIENTS), np.zeros(NEW_PATIENTS), np.zeros(NEW_PATIENTS)
    for _ in range(10):
        chosen = rng.permutation(n)[: round(0.8 * n)]
        y = cohort.codes[chosen].astype(float)
        plain += ridge_gain(cohort.X[chosen], new.X) @ y
        if basis is not None:
            base += np.round(basis_gain(basis[chosen], basis[n:]) @ y, 9)
            gain = adjusted_gain(cohort.X[chosen], new.X, basis_train=basis[chosen], basis_test=basis[n:])
            beyond += gain @ y
    values = [
        float(concordance(plain, new.codes, stages)),
        *standardised_stage_means(plain, new.codes, stages),
    ]
    if basis is not None:
        c_base = float(concordance(base, new.codes, stages))
        values += [c_base, float(concordance(base + beyond, new.codes, stages)) - c_base]
    return np.array(values)


def _together(cohort: Cohort, new: Cohort) -> pd.DataFrame:
    return pd.concat([cohort.adjusters, new.adjusters], ignore_index=True)


def _one_run(setting: Setting, draws: int, seed: int) -> dict[str, float]:
    """One cohort through the tests of the public function, without its controls and figures."""
    cohort = setting.population.draw(setting.n, np.random.default_rng([seed, 1]))
    for_folds, for_draws = np.random.SeedSequence([seed, 2]).spawn(2)
    rng = np.random.default_rng(for_draws)
    adjusters = None
    try:
        d = gather(
            cohort.X,
            cohort.codes.astype(str),
            order=[str(k) for k in range(setting.population.n_stages)],
            adjust=cohort.adjusters if setting.adjusted else None,
            groups=cohort.groups if setting.grouped else None,
            patients=None,
        )
        folds = repeated_folds(d.n, seed=for_folds)
        axis = cross_fit(d.within_groups, folds)
        trend = trend_test(axis, d, permutations=draws, rng=rng, alpha=0.05)
        steps = step_tests(axis, d, permutations=draws, rng=rng, alpha=0.05, trend=trend)
        if setting.adjusted:
            adjusters = adjusted_tests(
                steps.scores, d, folds, permutations=draws, rng=rng, alpha=0.05, trend=trend.trend
            )
    except AnalysisError:
        return {"refused": 1.0}
    row: dict[str, float] = {
        "refused": 0.0,
        "trend p": trend.trend.p_value,
        "step p": steps.steps[0].p_value,
        "detectable": np.nan if trend.minimum_detectable is None else trend.minimum_detectable,
        "strictly": float(steps.strict.verdict == "strictly increasing"),
        "reversed": float(len(steps.strict.reversed_steps) > 0),
    }
    intervals = {"concordance": trend.trend.ci}
    intervals |= {f"mean {k}": s.ci for k, s in enumerate(steps.stages)}
    intervals |= {f"step {k}": s.ci for k, s in enumerate(steps.steps)}
    if adjusters is not None:
        row["conditional p"] = adjusters.p_conditional
        row["Freedman–Lane p"] = adjusters.p_freedman_lane
        row["beyond"] = float(adjusters.verdict == "beyond adjusters")
        row["explained"] = float(adjusters.verdict == "explained by adjusters")
        intervals["adjusters alone"] = adjusters.baseline_ci
        intervals["added concordance"] = adjusters.added_value_ci
    for name, ci in intervals.items():
        row[f"{name} low"], row[f"{name} high"] = ci if ci is not None else (np.nan, np.nan)
    return row


def _truths(setting: Setting, truths: np.ndarray) -> dict[str, float]:
    stages = setting.population.n_stages
    mean = truths.mean(axis=0)
    named = {"concordance": mean[0]}
    named |= {f"mean {k}": mean[1 + k] for k in range(stages)}
    named |= {f"step {k}": mean[2 + k] - mean[1 + k] for k in range(stages - 1)}
    if setting.adjusted:
        named |= {"adjusters alone": mean[1 + stages], "added concordance": mean[2 + stages]}
    return named


def evaluate(setting: Setting, *, runs: int, draws: int, map_: Callable = map) -> list[dict[str, object]]:
    """All rows of one setting."""
    frame = pd.DataFrame(list(map_(_one_run, [setting] * runs, [draws] * runs, range(runs))))
    refused, asked = float(frame["refused"].mean()), runs
    frame = frame[frame["refused"] == 0]
    runs = len(frame)
    base = {
        "setting": setting.name,
        "n": setting.n,
        "K": setting.population.n_stages,
        "d": setting.population.d,
    }
    rows: list[dict[str, object]] = []

    def add(what: str, value: float, target: float | None, total: int, truth: float | None = None) -> None:
        low, high = (
            (np.nan, np.nan) if target is None else binom.interval(0.99, total, target) / np.float64(total)
        )
        inside = (
            "" if target is None else "yes" if low <= value <= high else "above" if value > high else "below"
        )
        rows.append({**base, "what": what, "truth": truth, "value": value, "runs": total, "band_low": low,
                     "band_high": high, "inside": inside})  # fmt: skip

    if refused:
        add("refused: the adjusters determine the stage", refused, None, asked)
    if setting.null:
        tests = ["conditional p", "Freedman–Lane p"] if setting.adjusted else ["trend p", "step p"]
        for test in tests:
            add(f"size of {test} at 5 %", float((frame[test] <= 0.05).mean()), 0.05, runs)
        if setting.adjusted:
            add("unadjusted trend test rejects", float((frame["trend p"] <= 0.05).mean()), None, runs)
            add("verdict: beyond adjusters", float(frame["beyond"].mean()), None, runs)
            add("verdict: explained by adjusters", float(frame["explained"].mean()), None, runs)
        else:
            add("verdict: strictly increasing", float(frame["strictly"].mean()), None, runs)
    else:
        test = "conditional p" if setting.adjusted else "trend p"
        add(f"power of {test} at 5 %", float((frame[test] <= 0.05).mean()), None, runs)
        add("verdict: strictly increasing", float(frame["strictly"].mean()), None, runs)
        add("verdict: a reversed step", float(frame["reversed"].mean()), None, runs)
        if setting.adjusted:
            add("verdict: beyond adjusters", float(frame["beyond"].mean()), None, runs)
            add("verdict: explained by adjusters", float(frame["explained"].mean()), None, runs)
    if not setting.grouped:
        truths = np.stack(list(map_(_truth_of_one, [setting] * TRUTH_RUNS, range(10**6, 10**6 + TRUTH_RUNS))))
        for name, truth in _truths(setting, truths).items():
            low, high = frame[f"{name} low"], frame[f"{name} high"]
            shown = low.notna()
            covered = float(((low <= truth) & (truth <= high))[shown].mean()) if shown.any() else np.nan
            add(f"coverage of {name}", covered, 0.95, int(shown.sum()), float(truth))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--planted-runs", type=int, default=400, help="runs of settings that are not null")
    parser.add_argument("--draws", type=int, default=399)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", default="")
    parser.add_argument("--out", type=Path, default=Path("calibration"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, object]] = []
    with ProcessPoolExecutor(args.workers) as pool:

        def map_(f: Callable, *columns: object) -> object:
            return pool.map(f, *columns, chunksize=10)

        for setting in settings():
            if args.only in setting.name:
                start = time.time()
                runs = args.runs if setting.null else args.planted_runs
                new = evaluate(setting, runs=runs, draws=args.draws, map_=map_)
                rows += new
                print(
                    f"{setting.name} n={setting.n} K={setting.population.n_stages}: {time.time() - start:.0f} s"
                )
                for row in new:
                    print("   ", row["what"], f"{row['value']:.3f}", row["inside"], flush=True)
                pd.DataFrame(rows).to_csv(args.out / "calibration.csv", index=False)
    table = pd.DataFrame(rows)
    columns = list(table.columns)
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for row in table.itertuples(index=False):
        cells = ["" if pd.isna(v) else f"{v:.3f}" if isinstance(v, float) else str(v) for v in row]
        lines.append("| " + " | ".join(cells) + " |")
    (args.out / "calibration.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
