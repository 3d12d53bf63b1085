"""What a probe's out-of-fold predictions are worth: every metric for one set of weights a patient or for many.

Weights [B, n] are how often each patient was drawn (bootstrap); one row of ones gives the metric itself, equal to
scikit-learn's. Predictions are probabilities [n, K] (classify, ordinal), values [n] (regress) or risks [n] (survival).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from analysis.time_to_event.measures import comparable

Metric = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def confusion(truth: np.ndarray, chosen: np.ndarray, weights: np.ndarray, *, classes: int) -> np.ndarray:
    """[B, K, K] weighted counts, true class first."""
    cell = np.eye(classes * classes)[truth * classes + chosen]  # [n, K·K]
    return (weights @ cell).reshape(-1, classes, classes)


def _ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    return np.divide(top, bottom, out=np.full(np.broadcast(top, bottom).shape, np.nan), where=bottom > 0)


def _mean_of_present(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis of what exists; NaN where nothing does."""
    there = np.isfinite(values)
    return _ratio(np.where(there, values, 0.0).sum(axis=-1), there.sum(axis=-1))


def balanced_accuracy(truth: np.ndarray, p: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean over classes of the share that is recognised."""
    table = confusion(truth, p.argmax(axis=1), weights, classes=p.shape[1])
    return _mean_of_present(_ratio(np.einsum("bkk->bk", table), table.sum(axis=2)))


def macro_f1(truth: np.ndarray, p: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean over classes of F1 (0 where a class is neither there nor named)."""
    table = confusion(truth, p.argmax(axis=1), weights, classes=p.shape[1])
    right = np.einsum("bkk->bk", table)
    named = table.sum(axis=1) + table.sum(axis=2)
    return np.nan_to_num(_ratio(2 * right, named)).mean(axis=1)


def quadratic_kappa(truth: np.ndarray, p: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Cohen's κ with quadratic weights of the most probable class."""
    k = p.shape[1]
    table = confusion(truth, p.argmax(axis=1), weights, classes=k)
    apart = (np.arange(k)[:, None] - np.arange(k)) ** 2
    expected = (
        table.sum(axis=2)[:, :, None] * table.sum(axis=1)[:, None, :] / weights.sum(axis=1)[:, None, None]
    )
    return 1 - _ratio((apart * table).sum(axis=(1, 2)), (apart * expected).sum(axis=(1, 2)))


def _ranked(score: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights [B, m] of positives and negatives at each distinct score, from high to low."""
    order = np.argsort(-score, kind="stable")
    first = np.flatnonzero(np.append(True, np.diff(score[order]) != 0))
    W = weights[:, order]
    y = positive[order]
    return np.add.reduceat(W * y, first, axis=1), np.add.reduceat(W * ~y, first, axis=1)


def roc_auc(score: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """[B] chance that a positive scores above a negative, ties half."""
    pos, neg = _ranked(score, positive, weights)
    below = neg.sum(axis=1, keepdims=True) - np.cumsum(neg, axis=1)
    return _ratio((pos * (below + neg / 2)).sum(axis=1), pos.sum(axis=1) * neg.sum(axis=1))


def average_precision(score: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """[B] area under precision against recall, by steps."""
    pos, neg = _ranked(score, positive, weights)
    found = np.cumsum(pos, axis=1)
    precision = _ratio(found, found + np.cumsum(neg, axis=1))
    return _ratio((pos * np.nan_to_num(precision)).sum(axis=1), pos.sum(axis=1))


def macro_auc(truth: np.ndarray, p: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean over classes of the AUC of one against the rest."""
    return _mean_of_present(
        np.stack([roc_auc(p[:, k], truth == k, weights) for k in range(p.shape[1])], axis=1)
    )


def macro_pr_auc(truth: np.ndarray, p: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean over classes of the average precision of one against the rest."""
    return _mean_of_present(
        np.stack([average_precision(p[:, k], truth == k, weights) for k in range(p.shape[1])], axis=1)
    )


def class_mae(truth: np.ndarray, p: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean distance of the most probable class in steps."""
    return weights @ np.abs(p.argmax(axis=1) - truth) / weights.sum(axis=1)


def mae(truth: np.ndarray, value: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean absolute error."""
    return weights @ np.abs(value - truth) / weights.sum(axis=1)


def r_squared(truth: np.ndarray, value: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Share of the variance that is explained; below 0 where the mean predicts better."""
    mean = weights @ truth / weights.sum(axis=1)
    around = weights @ truth**2 - weights.sum(axis=1) * mean**2
    return 1 - _ratio(weights @ (value - truth) ** 2, around)


def c_index(truth: np.ndarray, risk: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Harrell's concordance; truth [n, 2] holds time and event."""
    time, event = truth[:, 0], truth[:, 1]
    right, total = np.zeros(len(weights)), np.zeros(len(weights))
    for i, later in comparable(time, event):
        agree = (risk[later] < risk[i]) + 0.5 * (risk[later] == risk[i])
        W = weights[:, later]
        right += weights[:, i] * (W @ agree)
        total += weights[:, i] * W.sum(axis=1)
    return _ratio(right, total)


METRICS: dict[str, dict[str, Metric]] = {
    "classify": {
        "balanced_accuracy": balanced_accuracy, "macro_f1": macro_f1, "macro_auc": macro_auc,
        "macro_pr_auc": macro_pr_auc,
    },
    "ordinal": {
        "quadratic_kappa": quadratic_kappa, "balanced_accuracy": balanced_accuracy, "macro_auc": macro_auc,
        "mae": class_mae,
    },
    "regress": {"r2": r_squared, "mae": mae},
    "survival": {"c_index": c_index},
}  # fmt: skip
PRIMARY = {task: next(iter(metrics)) for task, metrics in METRICS.items()}
LOWER_IS_BETTER = ("mae",)


def measure(
    task: str, truth: Any, predicted: np.ndarray, weights: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Every metric [B] of a task, averaged over repeats: predicted [R, n] or [R, n, K]."""
    n = len(truth)
    W = np.ones((1, n)) if weights is None else weights
    return {
        name: np.mean([metric(truth, p, W) for p in predicted], axis=0)
        for name, metric in METRICS[task].items()
    }


def primary(task: str, truth: Any, predicted: np.ndarray) -> float:
    """The metric that hyperparameters are chosen by, of one set of predictions."""
    return float(METRICS[task][PRIMARY[task]](truth, predicted, np.ones((1, len(truth))))[0])
