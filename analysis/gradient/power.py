"""What a cohort of this size could have found: power of the trend test over the true concordance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

POINTS = 51


@dataclass(frozen=True)
class PowerCurve:
    """Power of the one-sided trend test at level alpha by true (expected) concordance, 0.5 … 1.

    `critical`: the concordance from which the test rejects.
    """

    alpha: float
    critical: float
    concordance: tuple[float, ...]
    power: tuple[float, ...]


def power_curve(
    variance: Callable[[np.ndarray], np.ndarray], null: np.ndarray, *, alpha: float
) -> PowerCurve:
    """Normal approximation with the variance (by true concordance) that also makes the interval of the concordance.

    `null` [B]: the refitted permutation distribution. The minimum detectable concordance is where this curve
    reaches 80 %.
    """
    critical = float(np.quantile(null, 1 - alpha))
    candidates = np.linspace(0.5, 1.0, POINTS)
    spread = np.sqrt(np.maximum(variance(candidates), 1e-300))
    power = norm.cdf((candidates - critical) / spread)
    return PowerCurve(alpha, critical, tuple(map(float, candidates)), tuple(map(float, power)))
