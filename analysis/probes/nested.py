"""Nested, repeated cross-validation of a probe: hyperparameters are chosen in inner folds of the training patients.

Folds are drawn within classes, so that every class is in every training fold. Work runs in two processes when
there is enough of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.probes.learners import fit_path, grid, ridge_axes
from analysis.probes.metrics import LOWER_IS_BETTER, PRIMARY, primary

FOLDS, INNER = 5, 5
WORTH_A_PROCESS = 4e7  # rows × columns × fits from which starting processes pays


@dataclass(frozen=True)
class Question:
    """What is asked of every embedding alike: task, learner, truth (codes [n], values [n] or [n, 2] time and
    event), number of classes (0 for numbers)."""

    task: str
    learner: str
    truth: np.ndarray
    classes: int
    seed: int

    @property
    def n(self) -> int:
        return len(self.truth)


@dataclass(frozen=True)
class Crossed:
    """Out-of-fold predictions [R, n] or [R, n, K] and the hyperparameter chosen in each outer fold [R, F]."""

    predicted: np.ndarray
    chosen: np.ndarray
    assignment: np.ndarray  # [R, n] fold in which each patient is held out


def strata(q: Question, truth: np.ndarray) -> np.ndarray:
    """Codes within which folds are drawn: the class, the event, or none."""
    if q.classes:
        return truth
    return truth[:, 1].astype(int) if q.task == "survival" else np.zeros(len(truth), dtype=int)


def fold_assignment(codes: np.ndarray, folds: int, rng: np.random.Generator) -> np.ndarray:
    """[n] held-out fold of each patient, spread evenly within codes and over all."""
    order = rng.permutation(codes.size)
    order = order[np.argsort(codes[order], kind="stable")]
    out = np.empty(codes.size, dtype=int)
    out[order] = (np.arange(codes.size) + rng.integers(folds)) % folds
    return out


def nested(X: np.ndarray, q: Question, *, repeats: int, processes: int | None = None) -> Crossed:
    """Cross-fit with tuning inside; the same seed gives the same folds for every embedding."""
    rng = np.random.default_rng(q.seed)
    codes = strata(q, q.truth)
    assignment = np.stack([fold_assignment(codes, FOLDS, rng) for _ in range(repeats)])
    values = grid(q.task, q.learner, round(q.n * (1 - 1 / FOLDS)))
    jobs = [(r, f) for r in range(repeats) for f in range(FOLDS)]

    def one(r: int, f: int) -> tuple[np.ndarray, float]:
        held = assignment[r] == f
        return _tuned(X[~held], q, q.truth[~held], X[held], values, seed=_inner_seed(q.seed, r, f))

    done = run(one, jobs, work=len(jobs) * INNER * len(values) * X.size, processes=processes)
    first = done[0][0]
    predicted = np.zeros((repeats, q.n, *first.shape[1:]))
    chosen = np.zeros((repeats, FOLDS))
    for (r, f), (p, value) in zip(jobs, done, strict=True):
        predicted[r, assignment[r] == f] = p
        chosen[r, f] = value
    return Crossed(predicted, chosen, assignment)


def _inner_seed(seed: int, repeat: int, fold: int) -> int:
    return seed + 7919 * (repeat * FOLDS + fold + 1)


def _tuned(
    X: np.ndarray, q: Question, y: np.ndarray, test: np.ndarray, values: Sequence[float], *, seed: int
) -> tuple[np.ndarray, float]:
    """Predictions of the test rows with the value that the inner folds of the training rows choose."""
    inner = fold_assignment(strata(q, y), INNER, np.random.default_rng(seed))
    held_out: list[np.ndarray] = []
    for f in range(INNER):
        held = inner == f
        path = fit_path(
            q.task, q.learner, train=X[~held], target=y[~held], test=X[held], values=values, classes=q.classes,
            seed=q.seed,
        )  # fmt: skip
        for i, p in enumerate(path):
            if f == 0:
                held_out.append(np.zeros((len(y), *p.shape[1:])))
            held_out[i][held] = p
    value = values[best(q, y, held_out)]
    (p,) = fit_path(
        q.task, q.learner, train=X, target=y, test=test, values=[value], classes=q.classes, seed=q.seed
    )
    return p, value


def best(q: Question, y: np.ndarray, candidates: Sequence[np.ndarray]) -> int:
    """Place of the best candidate by the task's primary metric; of equals the simplest (first)."""
    scores = np.array([primary(q.task, y, p) for p in candidates])
    scores = np.where(np.isfinite(scores), scores, -np.inf)
    return int(np.argmax(-scores if PRIMARY[q.task] in LOWER_IS_BETTER else scores))


def refits(
    X: np.ndarray, q: Question, crossed: Crossed, *, draws: int, repeats: int, processes: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Predictions [draws, repeats, n, …] of refits to permuted outcomes [draws, n, …].

    Ridge regression, whose refits cost one product, is tuned anew and has as many repeats as the estimate; elsewhere
    each fold takes a hyperparameter from those that the outer folds chose.
    """
    rng, choice = np.random.default_rng([q.seed, 1]), np.random.default_rng([q.seed, 6])
    truths = np.stack([q.truth[rng.permutation(q.n)] for _ in range(draws)])
    if (q.task, q.learner) == ("regress", "linear"):
        return truths, tuned_ridge(X, truths.T, assignment=crossed.assignment, seed=q.seed)
    folds = [[fold_assignment(strata(q, truth), FOLDS, rng) for _ in range(repeats)] for truth in truths]
    values = choice.choice(crossed.chosen.ravel(), (draws, repeats, FOLDS))

    def one(b: int, r: int) -> np.ndarray:
        out: np.ndarray | None = None
        for f in range(FOLDS):
            held = folds[b][r] == f
            (p,) = fit_path(
                q.task, q.learner, train=X[~held], target=truths[b][~held], test=X[held], values=[values[b, r, f]],
                classes=q.classes, seed=q.seed,
            )  # fmt: skip
            out = np.zeros((q.n, *p.shape[1:])) if out is None else out
            out[held] = p
        assert out is not None
        return out

    jobs = [(b, r) for b in range(draws) for r in range(repeats)]
    done = run(one, jobs, work=len(jobs) * FOLDS * X.size, processes=processes)
    predicted = np.stack(done).reshape(draws, repeats, *done[0].shape)
    return truths, predicted


def tuned_ridge(X: np.ndarray, Y: np.ndarray, *, assignment: np.ndarray, seed: int) -> np.ndarray:
    """[B, R, n] what `nested` predicts by ridge regression for each column of Y [n, B]: one decomposition a fold."""
    n, B = Y.shape
    values = np.array(grid("regress", "linear", round(n * (1 - 1 / FOLDS))))
    out, codes = np.empty((B, len(assignment), n)), np.zeros(n, dtype=int)
    for r, folds in enumerate(assignment):
        for f in range(FOLDS):
            held = folds == f
            train, test, y = X[~held], X[held], Y[~held]
            inner = fold_assignment(codes[~held], INNER, np.random.default_rng(_inner_seed(seed, r, f)))
            lost = np.zeros((values.size, B))
            for g in range(INNER):
                part = inner == g
                along, out_of, s, middle = ridge_axes(train[~part], y[~part], train[part])
                for i, value in enumerate(values):
                    fitted = middle + out_of @ ((s / (s**2 + value))[:, None] * along)
                    lost[i] += ((fitted - y[part]) ** 2).sum(axis=0)
            chosen = values[lost.argmin(axis=0)]  # the best R², of equals the strongest penalty
            along, out_of, s, middle = ridge_axes(train, y, test)
            out[:, r, held] = (middle + out_of @ (s[:, None] / (s[:, None] ** 2 + chosen) * along)).T
    return out


def run(
    one: Callable[..., Any], jobs: Sequence[tuple[int, int]], *, work: float, processes: int | None
) -> list[Any]:
    """Each job's answer in order, in processes where that pays; one thread each, so that they do not fight."""
    from threadpoolctl import threadpool_limits

    count = processes or (min(2, os.cpu_count() or 1) if work > WORTH_A_PROCESS else 1)
    if count == 1:
        with threadpool_limits(limits=1):
            return [one(*job) for job in jobs]
    from joblib import Parallel, delayed

    return list(Parallel(n_jobs=count, batch_size=1)(delayed(one)(*job) for job in jobs))
