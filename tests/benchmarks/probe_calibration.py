"""Coverage of the intervals of the probes and size of their tests, by simulation.

    python -m tests.benchmarks.probe_calibration [--runs 200] [--workers 2] [--only "linear 100"] [--out DIR]

Every run is kept in `DIR/runs`; the same command goes on where it stopped, and all settings (those whose name holds
`--only`: task, learner, n, d, signal) advance together. After each round it writes `table.csv` and `table.md`;
`--table` writes them from the runs that are there.

Truth: the mean, over the simulated cohorts, of each metric on 2,000 new patients of a probe tuned and learnt on 4/5 of
the cohort, which is what cross-validation estimates. The target follows the first two embedding dimensions; three classes
of equal frequency, ordered where the task is. The paired difference is that of the embedding and the same with noise;
*equals*: two embeddings of equal worth, whose true difference is 0.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

# before numpy is imported: one thread a worker process
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import numpy as np

from analysis.probe import DRAWS, REPEATS, SPLITS
from analysis.probes.estimates import Refits, differences, metric_rows, null_metrics
from analysis.probes.halves import metrics_in_halves
from analysis.probes.learners import grid
from analysis.probes.metrics import METRICS, PRIMARY, measure
from analysis.probes.nested import Question, _tuned, nested
from tests.benchmarks.coverage_runs import Run, estimate, options, simulate, test

NEW, CLASSES = 2000, 3
NOISE = 0.8  # SD of what the second embedding adds to the first
FEWER_REPEATS = 2  # of the outer folds: their draw is a small part of the variance, and it is accounted for


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
    def columns(self) -> dict[str, object]:
        return {"task": self.task, "learner": self.learner, "n": self.n, "d": self.d, "signal": self.signal}

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


def one_run(s: Setting, seed: int) -> Run:
    """Estimate, interval and truth of every metric and difference, and the p-values."""
    rng = np.random.default_rng([seed, s.n, round(10 * s.signal)])
    X, y = population(rng, s, s.n)
    q = Question(s.task, s.learner, y, s.classes, int(rng.integers(1 << 30)))
    embeddings = {"plain": X, "noisy": noisy(rng, X)}
    if s.learner == "knn" or (s.task == "regress" and s.learner == "linear"):  # where refits cost little
        embeddings["noisy too"] = noisy(rng, X)
    refits = {}
    for name, Z in embeddings.items():
        crossed = nested(Z, q, repeats=min(FEWER_REPEATS, REPEATS[s.learner]), processes=1)
        halves = metrics_in_halves(Z, q, crossed, splits=SPLITS[s.learner] or 12, processes=1)
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
    out: Run = {}
    for metric, row in rows.items():
        out |= estimate(metric, row.mean, row.ci, first[metric])
    gap = gaps["plain", "noisy"]
    out |= estimate(f"difference of {name}", gap.difference, gap.ci, first[name] - second[name])
    if ("noisy", "noisy too") in gaps:
        gap = gaps["noisy", "noisy too"]
        out |= estimate("difference of equals", gap.difference, gap.ci, 0.0)
        out |= test("for a difference of equals", gap.p_value, null=True)
    return out | test("for anything to read", rows[name].p_value, null=s.signal == 0)


if __name__ == "__main__":
    simulate(settings(), one_run, options(__doc__, "probe_calibration"))
