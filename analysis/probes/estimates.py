"""Intervals of a probe's metrics, comparison of embeddings, the published protocol, label efficiency."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from analysis.gradient.comparison import holm_adjusted
from analysis.probes.intervals import difference_error, metric_interval
from analysis.probes.learners import fit_path, grid
from analysis.probes.metrics import LOWER_IS_BETTER, METRICS, PRIMARY, measure, primary
from analysis.probes.nested import FOLDS, Crossed, Question, best, refits, strata
from analysis.refitted_interval import DF, Refitted
from analysis.resampling import permutation_p_value, spread_of
from analysis.results import Interval

NULL_REPEATS = 2
FRACTIONS = (0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0)


@dataclass(frozen=True)
class MetricRow:
    """Mean over repeats and its interval; `chance`: without any relation (mean of the refits to permuted labels).

    p_value: one-sided, against refits to permuted labels. It tells whether there is anything, the interval how much.
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


def null_metrics(X: np.ndarray, q: Question, crossed: Crossed, *, draws: int) -> Null:
    """Refit to permuted outcomes (`probes.nested.refits`)."""
    truths, predicted = refits(X, q, crossed, draws=draws, repeats=NULL_REPEATS)
    repeats = predicted.shape[1]
    values = {name: np.empty((draws, repeats)) for name in METRICS[q.task]}
    for b in range(draws):
        for r in range(repeats):
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


@dataclass(frozen=True, eq=False)
class Refits:
    """Everything fitted anew for one embedding, by metric: fold draws, halves of the patients (None: no intervals),
    permuted outcomes (None: no test)."""

    repeats: dict[str, np.ndarray]
    halves: dict[str, np.ndarray] | None
    null: Null | None

    @classmethod
    def of(
        cls, q: Question, crossed: Crossed, halves: dict[str, np.ndarray] | None, null: Null | None
    ) -> Refits:
        each = [measure(q.task, q.truth, p[None]) for p in crossed.predicted]
        return cls({name: np.array([float(m[name][0]) for m in each]) for name in each[0]}, halves, null)

    def mean(self, name: str) -> float:
        return float(self.repeats[name].mean())

    def again(self, name: str) -> Refitted | None:
        if self.halves is None:
            return None
        null = None if self.null is None else self.null.values[name]
        return Refitted(self.repeats[name], self.halves[name], null)

    def chance(self, name: str, classes: int) -> float | None:
        """Exact where there is such a value, else the mean of the refits to permuted outcomes."""
        exact = chance_of(name, classes)
        return float(self.null.values[name].mean()) if exact is None and self.null is not None else exact


def metric_rows(q: Question, refits: Refits) -> dict[str, MetricRow]:
    """Every metric with chance, interval and p, as far as it was refitted."""
    rows = {}
    for name in METRICS[q.task]:
        value, again = refits.mean(name), refits.again(name)
        # an average precision has an exact chance in new patients, but not in few of them: it is not shown
        limit = 1 / q.classes if name == "macro_pr_auc" else chance_of(name, q.classes)
        ci = (
            None
            if again is None
            else metric_interval(name, value, again, chance=limit, n=q.n, classes=q.classes)
        )
        p = None if refits.null is None else _p_value(name, value, refits)
        rows[name] = MetricRow(value, ci, refits.chance(name, q.classes), p)
    return rows


def _p_value(name: str, value: float, refits: Refits) -> float:
    """Refits with fewer fold draws than the estimate scatter more: they are drawn in to what as many would have."""
    assert refits.null is not None
    null, sign = refits.null.values[name], -1.0 if name in LOWER_IS_BETTER else 1.0
    between, within = spread_of(null)
    mean, r, R = null.mean(axis=1), null.shape[1], refits.repeats[name].size
    there = between + within / r
    share = np.sqrt((between + within / max(r, R)) / there) if there > 0 else 1.0
    return permutation_p_value(sign * value, sign * (mean.mean() + share * (mean - mean.mean())))


def differences(q: Question, refits: dict[str, Refits]) -> tuple[Difference, ...]:
    """Every pair of embeddings, refitted alike: difference of the primary metric with interval, p, and Holm's over
    all."""
    from scipy.stats import t

    name = PRIMARY[q.task]
    found = [(a, b, refits[a].mean(name) - refits[b].mean(name)) for a, b in combinations(refits, 2)]
    errors = [_difference_error(q, refits[a], refits[b]) for a, b, _ in found]
    if not np.isfinite(errors).all():
        return tuple(Difference(a, b, name, gap, None, None, None) for a, b, gap in found)
    ps = [
        float(2 * t.sf(abs(gap) / error, DF)) if error > 0 else 1.0
        for (_, _, gap), error in zip(found, errors, strict=True)
    ]
    rows = []
    for (a, b, gap), error, p, corrected in zip(found, errors, ps, holm_adjusted(ps), strict=True):
        reach = float(t.ppf(0.975, DF)) * error
        rows.append(Difference(a, b, name, gap, (gap - reach, gap + reach), p, corrected))
    return tuple(rows)


def _difference_error(q: Question, first: Refits, second: Refits) -> float:
    """Standard error of the difference of the primary metric; NaN where nothing was refitted to halves."""
    name = PRIMARY[q.task]
    one, other = first.again(name), second.again(name)
    if one is None or other is None:
        return float("nan")
    chance = (first.chance(name, q.classes) or 0.0, second.chance(name, q.classes) or 0.0)
    values = (first.mean(name), second.mean(name))
    return difference_error(name, values, (one, other), chance=chance, n=q.n)


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
