"""Coverage of the intervals of the probes and size of their tests, by simulation.

    python -m tests.benchmarks.probe_calibration [--runs 200] [--workers 2] [--only "linear 100"] [--out DIR]

Every run is kept in `DIR/runs`; the same command goes on where it stopped, and all settings (those whose name holds
`--only`: task, learner, n, d, signal) advance together. After each round it writes `probe_calibration.csv` and `.md`;
`--table` writes them from the runs that are there.

Truth: the mean, over the simulated cohorts, of each metric on 2,000 new patients of a probe tuned and learnt on 4/5 of
the cohort, which is what cross-validation estimates. The target follows the first two embedding dimensions; three classes
of equal frequency, ordered where the task is. The paired difference is that of the embedding and the same with noise;
`equal`: of two embeddings of equal worth, whose true difference is 0. Tests: how often each is below 5 %.
"""

from __future__ import annotations

import argparse
import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

# before numpy is imported: one thread a worker process
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import numpy as np
import pandas as pd
from scipy.stats import binom

from analysis.probe import DRAWS, REPEATS, SPLITS
from analysis.probes.estimates import Refits, differences, metric_rows, null_metrics
from analysis.probes.halves import metrics_in_halves
from analysis.probes.learners import grid
from analysis.probes.metrics import METRICS, PRIMARY, measure
from analysis.probes.nested import Question, _tuned, nested

NEW, CLASSES = 2000, 3
NOISE = 0.8  # SD of what the second embedding adds to the first
FEWER_REPEATS = 4  # of the outer folds: their draw is a small part of the variance, and it is accounted for


@dataclass(frozen=True)
class Setting:
    task: str
    learner: str
    n: int
    d: int
    signal: float

    @property
    def name(self) -> str:
        return f"{self.task} {self.learner} {self.n} {self.d} {self.signal:g}"

    @property
    def classes(self) -> int:
        return CLASSES if self.task in ("classify", "ordinal") else 0


def settings() -> list[Setting]:
    sizes = [(100, 10), (200, 20)]
    every = [
        Setting(task, learner, n, d, signal)
        for task in METRICS
        for learner in ("linear", "knn")
        for n, d in sizes
        for signal in (0.0, 0.7, 2.0)
    ]
    return every + [Setting(task, "mlp", 100, 10, signal) for task in METRICS for signal in (0.0, 0.7, 2.0)]


def population(rng: np.random.Generator, s: Setting, n: int) -> tuple[np.ndarray, np.ndarray]:
    X = rng.standard_normal((n, s.d)) * np.linspace(1.5, 0.7, s.d)
    along = s.signal * (X[:, 0] / 1.5 + X[:, 1]) / np.sqrt(2)
    if s.task == "survival":
        death, end = rng.exponential(np.exp(-along)), rng.exponential(2.0, n)
        return X, np.column_stack([np.minimum(death, end), death <= end]).astype(float)
    value = along + rng.standard_normal(n)
    if s.task == "regress":
        return X, value
    edge = 0.43 * np.sqrt(1 + s.signal**2)
    return X, np.digitize(value, [-edge, edge])


def noisy(rng: np.random.Generator, X: np.ndarray) -> np.ndarray:
    return X + NOISE * rng.standard_normal(X.shape)


def one_run(s: Setting, seed: int) -> dict[str, float]:
    """Estimate, interval and truth of every metric and difference, and the p-values."""
    rng = np.random.default_rng([seed, s.n, round(10 * s.signal)])
    X, y = population(rng, s, s.n)
    q = Question(s.task, s.learner, y, s.classes, int(rng.integers(1 << 30)))
    embeddings = {"plain": X, "noisy": noisy(rng, X)}
    if s.n == 100 and s.learner != "mlp":
        embeddings["noisy too"] = noisy(rng, X)
    refits = {}
    for name, Z in embeddings.items():
        crossed = nested(Z, q, repeats=min(FEWER_REPEATS, REPEATS[s.learner]), processes=1)
        halves = metrics_in_halves(Z, q, crossed, splits=SPLITS[s.learner], processes=1)
        null = null_metrics(Z, q, crossed, draws=DRAWS[s.learner]) if DRAWS[s.learner] else None
        refits[name] = Refits.of(q, crossed, halves, null)
    rows = metric_rows(q, refits["plain"])
    gaps = {(g.first, g.second): g for g in differences(q, refits)}
    keep = rng.permutation(s.n)[: round(0.8 * s.n)]
    fresh, truth = population(rng, s, NEW)

    def true(train: np.ndarray, new: np.ndarray) -> dict[str, float]:
        values = grid(s.task, s.learner, keep.size)
        p, _ = _tuned(train[keep], q, y[keep], new, values, seed=1)
        return {k: float(v[0]) for k, v in measure(s.task, truth, p[None]).items()}

    first, second = true(X, fresh), true(embeddings["noisy"], noisy(rng, fresh))
    name = PRIMARY[s.task]
    out: dict[str, float] = {}

    def add(what: str, mean: float, ci: tuple[float, float] | None, value: float) -> None:
        low, high = ci or (float("nan"), float("nan"))
        out.update({f"{what}|mean": mean, f"{what}|low": low, f"{what}|high": high, f"{what}|truth": value})

    for metric, row in rows.items():
        add(metric, row.mean, row.ci, first[metric])
    gap = gaps["plain", "noisy"]
    add(f"difference of {name}", gap.difference, gap.ci, first[name] - second[name])
    if ("noisy", "noisy too") in gaps:
        gap = gaps["noisy", "noisy too"]
        add("equal", gap.difference, gap.ci, 0.0)
        out["p equal"] = float("nan") if gap.p_value is None else gap.p_value
    p = rows[name].p_value
    out["p any"] = float("nan") if p is None else p
    return out


def band(runs: int, share: float) -> tuple[float, float]:
    """99 % of correct methods fall within, in %."""
    low, high = binom.ppf([0.005, 0.995], runs, share)
    return 100 * low / runs, 100 * high / runs


def rows_of(s: Setting, found: pd.DataFrame) -> list[dict[str, object]]:
    head: dict[str, object] = {"task": s.task, "learner": s.learner, "n": s.n, "d": s.d, "signal": s.signal}
    rows = []
    for what in dict.fromkeys(c.split("|")[0] for c in found if "|" in c):
        mean, low, high, truth = (found[f"{what}|{part}"] for part in ("mean", "low", "high", "truth"))
        there, value = low.notna(), float(truth.mean())
        covered = 100 * float(((low <= value) & (value <= high))[there].mean())
        rows.append(
            head
            | {"what": what, "truth": value, "mean": float(mean.mean()), "percent": covered, "of": 95.0,
               "width": float((high - low).mean()), "runs": int(there.sum())}
        )  # fmt: skip
    for column, what in (("p any", "test: anything to read"), ("p equal", "test: difference of equals")):
        if column in found and (p := found[column].dropna()).size:
            size = 5.0 if column == "p equal" or s.signal == 0 else float("nan")
            rows.append(
                head | {"what": what, "percent": 100 * float((p < 0.05).mean()), "of": size, "runs": p.size}
            )
    return rows


def markdown(table: pd.DataFrame) -> str:
    """Coverage (or rejections) in %, bold outside the 99 % band of its number of runs."""
    lines = [
        "| task | learner | n | signal | what | truth | mean estimate | covered or rejected % | width | runs |"
    ]
    lines.append("|---" * 10 + "|")
    for r in table.itertuples():
        low, high = band(int(r.runs), r.of / 100) if np.isfinite(r.of) else (-np.inf, np.inf)
        percent = f"{r.percent:.1f}" if low - 1e-9 <= r.percent <= high + 1e-9 else f"**{r.percent:.1f}**"
        numbers = [f"{v:.3f}" if np.isfinite(v) else "" for v in (r.truth, r.mean, r.width)]
        lines.append(
            f"| {r.task} | {r.learner} | {r.n} | {r.signal:g} | {r.what} | {numbers[0]} | {numbers[1]} | {percent} | "
            f"{numbers[2]} | {r.runs} |"
        )
    return "\n".join(lines) + "\n"


def write(out: Path, only: str) -> None:
    rows: list[dict[str, object]] = []
    for s in settings():
        path = out / "runs" / f"{s.name.replace(' ', '-')}.csv"
        if only in s.name and path.exists():
            rows += rows_of(s, pd.read_csv(path))
    table = pd.DataFrame(rows)
    table.to_csv(out / "probe_calibration.csv", index=False)
    (out / "probe_calibration.md").write_text(markdown(table) if rows else "", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--round", type=int, default=20, help="runs of a setting before the next has its turn"
    )
    parser.add_argument("--only", default="", help="settings whose name holds this")
    parser.add_argument("--table", action="store_true", help="run nothing more: the table of what is there")
    parser.add_argument("--out", type=Path, default=Path("probe_calibration"))
    args = parser.parse_args()
    (args.out / "runs").mkdir(parents=True, exist_ok=True)
    chosen = [s for s in settings() if args.only in s.name]
    moved = not args.table
    with ProcessPoolExecutor(args.workers) as pool:
        while moved:
            moved, start = False, time.time()
            for s in chosen:
                path = args.out / "runs" / f"{s.name.replace(' ', '-')}.csv"
                before = pd.read_csv(path) if path.exists() else pd.DataFrame()
                seeds = range(len(before), min(args.runs, len(before) + args.round))
                if not seeds:
                    continue
                moved, began = True, time.time()
                found = list(pool.map(one_run, [s] * len(seeds), seeds))
                temporary = path.with_suffix(".part")
                pd.concat([before, pd.DataFrame(found)], ignore_index=True).to_csv(temporary, index=False)
                temporary.replace(path)
                print(
                    f"{s.name}: {seeds.stop} runs, {(time.time() - began) / len(seeds):.2f} s each",
                    flush=True,
                )
            write(args.out, args.only)
            print(f"a round: {time.time() - start:.0f} s", flush=True)
    write(args.out, args.only)


if __name__ == "__main__":
    main()
