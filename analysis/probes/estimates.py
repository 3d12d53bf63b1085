"""Intervals of a probe's metrics, comparison of embeddings, the published protocol, label efficiency."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from analysis.gradient.comparison import holm_adjusted
from analysis.probes.learners import fit_path, grid
from analysis.probes.metrics import BOUNDS, LOWER_IS_BETTER, METRICS, PRIMARY, measure, primary
from analysis.probes.nested import FOLDS, Crossed, Question, best, refits, strata
from analysis.resampling import permutation_p_value, subsample_error, subsample_interval
from analysis.results import Interval

NULL_REPEATS = 2
FRACTIONS = (0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0)


@dataclass(frozen=True)
class MetricRow:
    """Mean over repeats and its interval; `chance`: without any relation (mean of the refits to permuted labels).

    p_value: one-sided, against refits to permuted labels. It tells whether there is anything; the interval, which
    near chance is wider than it need be, tells how much.
    """

    mean: float
    ci: Interval | None
    chance: float | None
    p_value: float | None = None


@dataclass(frozen=True)
class Difference:
    """Primary metric of one embedding minus that of another, on identical folds."""

    first: str
    second: str
    metric: str
    difference: float
    ci: Interval | None
    p_value: float | None
    p_holm: float | None


@dataclass(frozen=True)
class EfficiencyRow:
    """Primary metric when only a share of the training labels is used; lowest and highest over the draws."""

    fraction: float
    labels: int
    mean: float
    lowest: float
    highest: float
    draws: int


@dataclass(frozen=True)
class Published:
    """The published protocol: the best hyperparameter is chosen on the out-of-fold predictions that are reported."""

    metrics: dict[str, float]
    chosen: float
    flatters: dict[str, float]


@dataclass(frozen=True, eq=False)
class Null:
    """Metrics of refits to permuted outcomes: `values` [B, repeats] by metric."""

    values: dict[str, np.ndarray]


def null_metrics(X: np.ndarray, q: Question, *, value: float, draws: int) -> Null:
    """Refit to permuted outcomes with the hyperparameter that the folds chose most."""
    truths, predicted = refits(X, q, value=value, draws=draws, repeats=NULL_REPEATS)
    names = list(METRICS[q.task])
    values = {name: np.empty((draws, NULL_REPEATS)) for name in names}
    for b in range(draws):
        for r in range(NULL_REPEATS):
            for name, v in measure(q.task, truths[b], predicted[b, r : r + 1]).items():
                values[name][b, r] = v[0]
    return Null(values)


def chance_of(name: str, classes: int) -> float | None:
    """The metric's exact value without any relation, where it has one."""
    return {
        "balanced_accuracy": 1 / max(classes, 1),
        "macro_auc": 0.5,
        "c_index": 0.5,
        "quadratic_kappa": 0.0,
    }.get(name)


def metric_rows(
    q: Question, crossed: Crossed, null: Null | None, again: dict[str, np.ndarray] | None
) -> dict[str, MetricRow]:
    """Every metric with chance and, where it was refitted to subsamples (`again`), its interval."""
    rows = {}
    for name, values in measure(q.task, q.truth, crossed.predicted).items():
        value, chance = float(values[0]), chance_of(name, q.classes)
        if chance is None and null is not None:
            chance = float(null.values[name].mean())
        ci = None if again is None else subsample_interval(value, again[name], BOUNDS[name])
        rows[name] = MetricRow(value, ci, chance, None if null is None else _p_value(name, value, null))
    return rows


def _p_value(name: str, value: float, null: Null) -> float:
    sign = -1.0 if name in LOWER_IS_BETTER else 1.0
    return permutation_p_value(sign * value, sign * null.values[name].mean(axis=1))


def differences(
    q: Question, crossed: dict[str, Crossed], again: dict[str, dict[str, np.ndarray]] | None
) -> tuple[Difference, ...]:
    """Every pair of embeddings: paired difference of the primary metric with its interval, p, and Holm's over all.

    again: the metrics of each embedding in the same subsamples.
    """
    from scipy.stats import t

    name = PRIMARY[q.task]
    point = {e: float(measure(q.task, q.truth, c.predicted)[name][0]) for e, c in crossed.items()}
    pairs = [(a, b, point[a] - point[b]) for a, b in combinations(crossed, 2)]
    if again is None:
        return tuple(Difference(a, b, name, gap, None, None, None) for a, b, gap in pairs)
    apart = [again[a][name] - again[b][name] for a, b, _ in pairs]
    ps = [
        1.0 if gap == 0 else float(2 * t.sf(abs(gap) / subsample_error(values), values.size - 1))
        for (_, _, gap), values in zip(pairs, apart, strict=True)
    ]
    return tuple(
        Difference(a, b, name, gap, subsample_interval(gap, values), p, corrected)
        for (a, b, gap), values, p, corrected in zip(pairs, apart, ps, holm_adjusted(ps), strict=True)
    )


def published(X: np.ndarray, q: Question, nested_result: Crossed) -> Published:
    """Every C on the same folds; the best by the out-of-fold predictions that are then reported."""
    values = grid(q.task, q.learner, round(q.n * (1 - 1 / FOLDS)))
    paths: list[list[np.ndarray]] = []
    for assignment in nested_result.assignment:
        held_out: list[np.ndarray] = []
        for f in range(FOLDS):
            held = assignment == f
            path = fit_path(
                q.task, q.learner, train=X[~held], target=q.truth[~held], test=X[held], values=values,
                classes=q.classes, seed=q.seed,
            )  # fmt: skip
            for i, p in enumerate(path):
                if f == 0:
                    held_out.append(np.zeros((q.n, *p.shape[1:])))
                held_out[i][held] = p
        paths.append(held_out)
    picked = [best(q, q.truth, path) for path in paths]
    predicted = np.stack([path[i] for path, i in zip(paths, picked, strict=True)])
    own = {k: float(v[0]) for k, v in measure(q.task, q.truth, predicted).items()}
    other = {k: float(v[0]) for k, v in measure(q.task, q.truth, nested_result.predicted).items()}
    chosen = float(np.median([values[i] for i in picked]))
    return Published(own, chosen, {k: own[k] - other[k] for k in own})


def label_efficiency(
    X: np.ndarray, q: Question, crossed: Crossed, *, draws: int
) -> tuple[EfficiencyRow, ...]:
    """Primary metric on the same held-out patients when 1–100 % of the training labels are used.

    Shares are drawn within classes, at least one patient of each; the hyperparameter is the outer fold's own.
    """
    rng = np.random.default_rng([q.seed, 3])
    rows = []
    for fraction in FRACTIONS:
        found, used = [], []
        for r in range(min(draws, len(crossed.assignment))):
            predicted = np.zeros(crossed.predicted.shape[1:])
            for f in range(FOLDS):
                held = crossed.assignment[r] == f
                train = _share(np.flatnonzero(~held), strata(q, q.truth), fraction, rng)
                used.append(train.size)
                value = crossed.chosen[r, f]
                if q.learner == "knn":
                    value = min(value, train.size)
                (predicted[held],) = fit_path(
                    q.task, q.learner, train=X[train], target=q.truth[train], test=X[held], values=[value],
                    classes=q.classes, seed=q.seed,
                )  # fmt: skip
            found.append(primary(q.task, q.truth, predicted))
        rows.append(
            EfficiencyRow(
                fraction,
                round(float(np.mean(used))),
                float(np.mean(found)),
                min(found),
                max(found),
                len(found),
            )
        )
    return tuple(rows)


def _share(rows: np.ndarray, codes: np.ndarray, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """A share of the rows within codes; at least two in all and one of each code."""
    kept = []
    kinds = np.unique(codes[rows])
    for code in kinds:
        mine = rng.permutation(rows[codes[rows] == code])
        kept.append(mine[: max(1 if kinds.size > 1 else 2, round(fraction * mine.size))])
    return np.sort(np.concatenate(kept))
