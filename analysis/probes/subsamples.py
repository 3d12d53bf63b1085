"""A probe's metrics in subsamples of the patients, every outer fold fitted anew: what its intervals are made of.

A bootstrap of fixed out-of-fold predictions leaves out that another cohort would have taught another probe, and
covered 71–94 % in simulations; the delete-d jackknife (`analysis.resampling`) holds both. Hyperparameters stay those
that the folds chose. Coverage: `tests/benchmarks/probe_calibration.py`.
"""

from __future__ import annotations

import numpy as np

from analysis.probes.learners import fit_path
from analysis.probes.metrics import measure
from analysis.probes.nested import FOLDS, Crossed, Question, run, strata
from analysis.resampling import subsample

REPEATS = 2  # of the outer folds that are fitted anew


def subsampled_metrics(
    X: np.ndarray, q: Question, crossed: Crossed, *, draws: int, processes: int | None = None
) -> dict[str, np.ndarray]:
    """Every metric [draws] in subsamples; the same patients are left out whatever the embedding."""
    rng = np.random.default_rng([q.seed, 4])
    kept = np.stack([subsample(strata(q, q.truth), rng) for _ in range(draws)])
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
