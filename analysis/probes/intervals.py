"""Intervals of a probe's metrics and of their differences: `analysis.refitted_interval` on a scale fit for each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.refitted_interval import Function, Refitted, nearness, refitted_interval
from analysis.results import Interval


@dataclass(frozen=True, eq=False)
class Scale:
    """g on which a metric's spread hardly depends on its value, its inverse, and the slope of the metric on g."""

    to: Function
    back: Function
    slope: Function


def scale_of(name: str, n: int, classes: int = 0) -> Scale:
    """Log of an error, log of what R² leaves unexplained, logit of a share, Fisher's z of κ.

    The standard deviation of a mean average precision rose about in line with its distance from 0.6 times its chance in
    simulations: that is the lower end of its scale.
    """
    if name == "mae":
        return Scale(lambda c: np.log(np.maximum(c, 1e-300)), np.exp, lambda c: np.asarray(c, dtype=float))
    if name == "r2":
        return Scale(
            lambda c: -np.log(np.maximum(1 - np.asarray(c), 1e-300)),
            lambda g: 1 - np.exp(-np.asarray(g)),
            lambda c: 1 - np.asarray(c),
        )
    low = {"quadratic_kappa": -1.0, "macro_pr_auc": 0.6 / max(classes, 2)}.get(name, 0.0)
    e = 0.5 / n  # finite at the ends, as Haldane's half
    wide = 1 - low

    def to(c: np.ndarray | float) -> np.ndarray:
        share = np.maximum((np.asarray(c, dtype=float) - low) / wide, 0.0)
        return np.asarray(np.log((share + e) / (1 - share + e)))

    def back(g: np.ndarray | float) -> np.ndarray:
        ratio = np.exp(np.asarray(g, dtype=float))
        return np.asarray(low + wide * np.clip((ratio * (1 + e) - e) / (1 + ratio), 0, 1))

    def slope(c: np.ndarray | float) -> np.ndarray:
        share = (np.asarray(c, dtype=float) - low) / wide
        return np.asarray(wide * (share + e) * (1 - share + e) / (1 + 2 * e))

    return Scale(to, back, slope)


def metric_interval(
    name: str, estimate: float, again: Refitted, *, chance: float | None, n: int, classes: int = 0
) -> Interval | None:
    """95 % interval of a metric, or None.

    chance: its value without any relation in endlessly many new patients, where that is known; else the mean of the
    refits to permuted outcomes stands for it.
    """
    scale = scale_of(name, n, classes)
    own = again.on(scale.to)
    # R² divides by the cohort's own mean square, which is (n − 1) / n of the variance
    shift = -np.log(n / (n - 1)) if name == "r2" else 0.0
    P, start, bias = 0.0, 0.0, 0.0
    if own.null is not None and name != "mae":  # an error varies without any relation too, as the patients do
        P, centre = own.null_variance(), float(own.null.mean()) - shift
        start = centre if chance is None else float(scale.to(chance))
        bias = centre - start
    found = refitted_interval(
        float(scale.to(estimate)) - shift,
        variance=own.variance(),
        null_variance=P,
        chance=start,
        bias=bias,
    )
    if found is None:
        return None
    low, high = (float(scale.back(g)) for g in found)
    return min(low, estimate), max(high, estimate)


def difference_error(
    name: str,
    values: tuple[float, float],
    pair: tuple[Refitted, Refitted],
    *,
    chance: tuple[float, float],
    n: int,
) -> float:
    """Standard error of the difference of a metric between two embeddings refitted alike (delta method).

    Permutations count as far as both embeddings are near chance.
    """
    scale = scale_of(name, n)
    on = [r.on(scale.to) for r in pair]
    a, b = (r.on(_times(float(scale.slope(c)))) for r, c in zip(on, values, strict=True))
    apart = a.minus(b)
    if apart.null is None or name == "mae":
        return float(np.sqrt(apart.variance()))
    w = 1.0
    for r, value, start in zip(on, values, chance, strict=True):
        w *= float(nearness(scale.to(value), float(scale.to(start)), r.null_variance()))
    P, H = apart.null_variance(), apart.variance()
    return float(np.sqrt(w * P + (1 - w) * H))


def _times(factor: float) -> Function:
    return lambda g: np.asarray(g) * factor
