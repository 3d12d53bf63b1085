"""Intervals of a probe's metrics, comparison of embeddings, the published protocol, label efficiency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from analysis.probes.learners import fit_path, grid
from analysis.probes.metrics import BOUNDS, METRICS, PRIMARY, measure, primary
from analysis.probes.nested import FOLDS, Crossed, Question, best, refits, strata
from analysis.results import Interval

RESAMPLES = 400
NULL_REPEATS = 2
FRACTIONS = (0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
# bootstrap variance is multiplied by this; 2 where nothing is said
INFLATION = {"balanced_accuracy": 1.7, "macro_f1": 1.7, "macro_auc": 2.2, "c_index": 2.2, "mae": 1.25}
# what tests/benchmarks/probe_calibration.py has shown to cover; everything else prints no interval
SHOWN: frozenset[tuple[str, str, str]] = frozenset(
    (task, learner, metric)
    for task, learner in (("classify", "linear"), ("regress", "linear"), ("survival", "linear"))
    for metric in METRICS[task]
)


@dataclass(frozen=True)
class MetricRow:
    """Mean over repeats and its interval; `chance`: without any relation (mean of the refits to permuted labels)."""

    mean: float
    ci: Interval | None
    chance: float | None


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


def scaled(values: np.ndarray, repeats: int) -> np.ndarray:
    """[B] means of values [B, R], their spread shrunk from R to `repeats` repeats (variance components)."""
    mean = values.mean(axis=1)
    within = float(values.var(axis=1, ddof=1).mean())
    seen = float(mean.var(ddof=1))
    wanted = max(seen - within / values.shape[1], 0.0) + within / repeats
    return mean.mean() + (mean - mean.mean()) * np.sqrt(wanted / seen if seen > 0 else 1.0)


def bootstrap_weights(n: int, draws: int, seed: int) -> np.ndarray:
    """[draws, n] how often each patient is drawn."""
    return np.random.default_rng([seed, 2]).multinomial(n, np.full(n, 1 / n), size=draws).astype(float)


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


def metric_rows(q: Question, crossed: Crossed, null: Null | None) -> dict[str, MetricRow]:
    """Every metric with its interval, where one has been shown to cover."""
    point = {k: float(v[0]) for k, v in measure(q.task, q.truth, crossed.predicted).items()}
    W = bootstrap_weights(q.n, RESAMPLES, q.seed)
    drawn = measure(q.task, q.truth, crossed.predicted, W)
    rows = {}
    for name, value in point.items():
        chance = chance_of(name, q.classes)
        if chance is None and null is not None:
            chance = float(null.values[name].mean())
        ci = None
        if (q.task, q.learner, name) in SHOWN:
            ci = inflated_interval(value, float(np.nanvar(drawn[name], ddof=1)), name)
        rows[name] = MetricRow(value, ci, chance)
    return rows


def inflated_interval(value: float, fixed: float, name: str) -> Interval | None:
    """95 % normal interval from the bootstrap variance of the fixed predictions, enlarged for the learning.

    Another cohort would have taught another probe, with another hyperparameter; the bootstrap of fixed predictions
    leaves that out and covered 71–94 % in simulations. Its variance is therefore multiplied by `INFLATION`, a factor
    found by simulation (`tests/benchmarks/probe_calibration.py`), not derived.
    """
    if not np.isfinite(fixed):
        return None
    reach = 1.959963984540054 * float(np.sqrt(INFLATION.get(name, 2.0) * fixed))
    low, high = BOUNDS[name] or (-np.inf, np.inf)
    return max(value - reach, low), min(value + reach, high)


def differences(
    q: Question, crossed: dict[str, Crossed], nulls: dict[str, Null] | None
) -> tuple[Difference, ...]:
    """Every pair of embeddings: paired difference of the primary metric, its p, and Holm's over all pairs."""
    from scipy.stats import norm

    name = PRIMARY[q.task]
    W = bootstrap_weights(q.n, RESAMPLES, q.seed)
    point = {e: float(measure(q.task, q.truth, c.predicted)[name][0]) for e, c in crossed.items()}
    if nulls is None:
        return tuple(
            Difference(a, b, name, point[a] - point[b], None, None, None) for a, b in combinations(crossed, 2)
        )
    drawn = {e: measure(q.task, q.truth, c.predicted, W)[name] for e, c in crossed.items()}
    rows, ps = [], []
    for a, b in combinations(crossed, 2):
        gap = point[a] - point[b]
        spread = scaled(nulls[a].values[name] - nulls[b].values[name], len(crossed[a].predicted))
        fixed = float(np.nanvar(drawn[a] - drawn[b], ddof=1))
        whole = max(float(spread.var(ddof=1)), fixed)
        ps.append(float(2 * norm.sf(abs(gap) / np.sqrt(whole))))
        rows.append((a, b, gap))
    corrected = holm(ps)
    return tuple(
        Difference(a, b, name, gap, None, p, h) for (a, b, gap), p, h in zip(rows, ps, corrected, strict=True)
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (Scand. J. Stat. 6 (1979) 65)."""
    order = np.argsort(p_values)
    out, highest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        out[i] = highest
    return out


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
