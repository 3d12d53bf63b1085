"""A probe's metrics in random halves of the patients, every outer fold fitted anew: what its intervals are made of.

A bootstrap of fixed out-of-fold predictions leaves out that another cohort would have taught another probe, and
covered 71–94 % in simulations; a delete-d jackknife counts the learning about twice where there is little to learn,
and covered up to 100 %. Halves share no patient (`analysis.resampling.halves_variance`). Hyperparameters are drawn
from those that the folds of all patients chose. Coverage: `tests/benchmarks/probe_calibration.py`.
"""

from __future__ import annotations

import numpy as np

from analysis.probes.learners import fit_path
from analysis.probes.metrics import measure
from analysis.probes.nested import FOLDS, Crossed, Question, fold_assignment, run, strata
from analysis.resampling import half_split

FOLD_DRAWS = 2  # of the outer folds in every half


def metrics_in_halves(
    X: np.ndarray, q: Question, crossed: Crossed, *, splits: int, processes: int | None = None
) -> dict[str, np.ndarray]:
    """Every metric [splits, 2, FOLD_DRAWS] in both halves; halves and folds are the same whatever the embedding."""
    rng, choice = np.random.default_rng([q.seed, 4]), np.random.default_rng([q.seed, 5])
    codes, chosen = strata(q, q.truth), crossed.chosen.ravel()
    jobs: list[tuple[int, int]] = []
    rows: list[np.ndarray] = []
    folds, values = [], []
    for _ in range(splits):
        first = half_split(codes, rng)
        for half in (np.flatnonzero(first), np.flatnonzero(~first)):
            for draw in range(FOLD_DRAWS):
                jobs.append((len(rows), draw))
                folds.append(fold_assignment(codes[half], FOLDS, rng))
                values.append(choice.choice(chosen, FOLDS))
            rows.append(half)

    def one(h: int, draw: int) -> dict[str, float]:
        mine, job = rows[h], h * FOLD_DRAWS + draw
        predicted = np.zeros((mine.size, *crossed.predicted.shape[2:]))
        for f in range(FOLDS):
            held = folds[job] == f
            (predicted[held],) = fit_path(
                q.task, q.learner, train=X[mine[~held]], target=q.truth[mine[~held]], test=X[mine[held]],
                values=[_for_half(q, values[job][f])], classes=q.classes, seed=q.seed,
            )  # fmt: skip
        return {k: float(v[0]) for k, v in measure(q.task, q.truth[mine], predicted[None]).items()}

    done = run(one, jobs, work=len(jobs) * FOLDS * X.size / 2, processes=processes)
    return {name: np.array([m[name] for m in done]).reshape(splits, 2, FOLD_DRAWS) for name in done[0]}


def _for_half(q: Question, value: float) -> float:
    """A neighbourhood keeps its share of the patients; a penalty stays as it is."""
    return max(1.0, round(value / 2)) if q.learner == "knn" else float(value)
