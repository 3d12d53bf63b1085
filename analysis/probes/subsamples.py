"""How much a cross-validated metric would differ in another cohort: the delete-d jackknife, every probe refitted.

A bootstrap of fixed out-of-fold predictions leaves out that another cohort would have taught another probe, and
covered 71–94 % in simulations. So part of the patients is left out at random, within classes, every outer fold is
fitted anew to those who stay, and the metric is taken in them. With a share f left out the variance of the metric
over such subsamples, times (1 − f) / f, is that of the metric over cohorts; unlike leaving out one patient this holds
for metrics that jump, such as accuracies. Hyperparameters stay those that the folds chose.

Source: Shao & Wu, Ann. Stat. 17 (1989) 1176. Coverage: `tests/benchmarks/probe_calibration.py`.
"""

from __future__ import annotations

import numpy as np

from analysis.probes.learners import fit_path
from analysis.probes.metrics import BOUNDS, measure
from analysis.probes.nested import FOLDS, Crossed, Question, run, strata
from analysis.results import Interval

LEFT_OUT = 0.3
REPEATS = 2  # of the outer folds that are fitted anew


def subsampled_metrics(
    X: np.ndarray, q: Question, crossed: Crossed, *, draws: int, processes: int | None = None
) -> dict[str, np.ndarray]:
    """Every metric [draws] in subsamples; the same patients are left out whatever the embedding."""
    rng = np.random.default_rng([q.seed, 4])
    kept = np.stack([_kept(strata(q, q.truth), rng) for _ in range(draws)])
    repeats = min(REPEATS, len(crossed.assignment))

    def one(b: int, r: int) -> np.ndarray:
        predicted = np.zeros(crossed.predicted.shape[1:])
        for f in range(FOLDS):
            held = crossed.assignment[r] == f
            train, test = kept[b] & ~held, kept[b] & held
            value = crossed.chosen[r, f]
            if q.learner == "knn":
                value = min(value, np.count_nonzero(train))
            if test.any():
                (predicted[test],) = fit_path(
                    q.task, q.learner, train=X[train], target=q.truth[train], test=X[test], values=[value],
                    classes=q.classes, seed=q.seed,
                )  # fmt: skip
        return predicted[kept[b]]

    jobs = [(b, r) for b in range(draws) for r in range(repeats)]
    done = run(one, jobs, work=len(jobs) * FOLDS * X.size, processes=processes)
    found = [
        measure(q.task, q.truth[kept[b]], np.stack(done[b * repeats : (b + 1) * repeats]))
        for b in range(draws)
    ]
    return {name: np.array([float(m[name][0]) for m in found]) for name in found[0]}


def _kept(codes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    kept = np.ones(codes.size, dtype=bool)
    for code in np.unique(codes):
        mine = rng.permutation(np.flatnonzero(codes == code))
        kept[mine[: round(LEFT_OUT * mine.size)]] = False
    return kept


def standard_error(values: np.ndarray) -> float:
    """Of a metric, or a difference of two, from its values [B] in subsamples; NaN where one could not be had."""
    return float(np.sqrt((1 - LEFT_OUT) / LEFT_OUT * values.var(ddof=1)))


def subsample_interval(estimate: float, values: np.ndarray, name: str | None = None) -> Interval | None:
    """95 % interval by Student's t on B − 1 degrees of freedom, within the bounds of metric `name`, if it is one."""
    from scipy.stats import t

    reach = float(t.ppf(0.975, values.size - 1)) * standard_error(values)
    if not np.isfinite([estimate, reach]).all():
        return None
    low, high = (name and BOUNDS[name]) or (-np.inf, np.inf)
    return max(estimate - reach, low), min(estimate + reach, high)
