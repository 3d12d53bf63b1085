"""Coverage of the intervals of the probes, by simulation; prints a Markdown table.

    python -m tests.benchmarks.probe_calibration [--task classify] [--learner linear] [--runs 200] [--setting N]

Truth: the mean, over the simulated cohorts, of each metric on 2,000 new patients of a probe tuned and learnt on 4/5
of the cohort, which is what cross-validation estimates. The target follows the first two embedding dimensions;
three classes of equal frequency, ordered where the task is. The second embedding of the paired difference is the
first with noise; `size of the difference`: how often that of two embeddings of equal worth is significant at 5 %;
`permutation test`: how often anything is said to be readable (where the signal is 0, its size).
"""

from __future__ import annotations

import argparse

import numpy as np

from analysis.probe import DRAWS, SUBSAMPLES, _typical
from analysis.probes.estimates import differences, metric_rows, null_metrics
from analysis.probes.learners import grid
from analysis.probes.metrics import METRICS, PRIMARY, measure
from analysis.probes.nested import Question, _tuned, nested
from analysis.probes.subsamples import subsampled_metrics

NEW, CLASSES = 2000, 3
REPEATS = {"linear": 4, "knn": 4, "mlp": 2}
SETTINGS = [(100, 10, 0.0), (100, 10, 0.7), (100, 10, 2.0), (200, 40, 0.0), (200, 40, 0.7)]
NOISE = 0.8  # SD of what the second embedding adds to the first


def population(rng: np.random.Generator, task: str, n: int, d: int, signal: float):
    X = rng.standard_normal((n, d)) * np.linspace(1.5, 0.7, d)
    along = signal * (X[:, 0] / 1.5 + X[:, 1]) / np.sqrt(2)
    if task == "survival":
        death, end = rng.exponential(np.exp(-along)), rng.exponential(2.0, n)
        return X, np.column_stack([np.minimum(death, end), death <= end]).astype(float)
    value = along + rng.standard_normal(n)
    if task == "regress":
        return X, value
    edge = 0.43 * np.sqrt(1 + signal**2)
    return X, np.digitize(value, [-edge, edge])


def noisy(rng: np.random.Generator, X: np.ndarray) -> np.ndarray:
    return X + NOISE * rng.standard_normal(X.shape)


def one_run(rng: np.random.Generator, task: str, learner: str, setting):
    """Rows and true metrics of the first embedding; difference and truth; p of two of equal worth; p of the first."""
    n, d, signal = setting
    classes = CLASSES if task in ("classify", "ordinal") else 0
    X, y = population(rng, task, n, d, signal)
    q = Question(task, learner, y, classes, int(rng.integers(1 << 30)))
    embeddings = {"plain": X, "noisy": noisy(rng, X), "noisy too": noisy(rng, X)}
    crossed = {e: nested(Z, q, repeats=REPEATS[learner], processes=1) for e, Z in embeddings.items()}
    again = {
        e: subsampled_metrics(Z, q, crossed[e], draws=SUBSAMPLES[learner], processes=1)
        for e, Z in embeddings.items()
    }
    gaps = {(g.first, g.second): g for g in differences(q, crossed, again)}
    keep = rng.permutation(n)[: round(0.8 * n)]
    fresh, truth = population(rng, task, NEW, d, signal)

    def true(train: np.ndarray, new: np.ndarray) -> dict[str, float]:
        p, _ = _tuned(train[keep], q, y[keep], new, grid(task, learner, keep.size), seed=1)
        return {k: float(v[0]) for k, v in measure(task, truth, p[None]).items()}

    first, second = true(X, fresh), true(embeddings["noisy"], noisy(rng, fresh))
    name = PRIMARY[task]
    gap = gaps["plain", "noisy"]
    rows = metric_rows(q, crossed["plain"], None, again["plain"])
    p_equal = gaps["noisy", "noisy too"].p_value
    null = null_metrics(X, q, value=_typical(crossed["plain"]), draws=DRAWS[learner] or 50)
    p_any = metric_rows(q, crossed["plain"], null, None)[name].p_value
    return rows, first, (gap.difference, gap.ci, first[name] - second[name]), p_equal, p_any


def line(*cells: object) -> None:
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def covered(intervals: np.ndarray, true: float, estimates: np.ndarray) -> tuple[str, ...]:
    inside = (intervals[:, 0] <= true) & (true <= intervals[:, 1])
    width = np.mean(intervals[:, 1] - intervals[:, 0])
    return f"{true:.3f}", f"{estimates.mean():.3f}", f"{100 * inside.mean():.1f}", f"{width:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--task", default="classify")
    parser.add_argument("--learner", default="linear")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--setting", type=int, default=None, help="only the setting of this number")
    args = parser.parse_args()
    line("task", "learner", "n", "d", "signal", "metric", "truth", "mean estimate", "covered %", "width")
    line(*["---"] * 10)
    for number, setting in enumerate(SETTINGS):
        if args.setting not in (None, number):
            continue
        rng = np.random.default_rng(number)
        runs = [one_run(rng, args.task, args.learner, setting) for _ in range(args.runs)]
        head = (args.task, args.learner, *setting)
        for name in METRICS[args.task]:
            ci = np.array([r[0][name].ci for r in runs])
            true = float(np.mean([r[1][name] for r in runs]))
            line(*head, name, *covered(ci, true, np.array([r[0][name].mean for r in runs])))
        ci = np.array([r[2][1] for r in runs])
        true = float(np.mean([r[2][2] for r in runs]))
        line(
            *head,
            "difference of " + PRIMARY[args.task],
            *covered(ci, true, np.array([r[2][0] for r in runs])),
        )
        size = 100 * np.mean([r[3] < 0.05 for r in runs])
        found = 100 * np.mean([r[4] < 0.05 for r in runs])
        line(*head, "permutation test", "", "", f"{found:.1f} rejected", "")
        line(*head, "size of the difference", "5 %", "", f"{size:.1f} rejected", "")


if __name__ == "__main__":
    main()
