"""Permutations that respect blocks of exchange, the p-values that they give, and jackknives."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.special import gammaln

LEFT_OUT = 0.3  # of the patients, in each subsample of a delete-d jackknife
CHUNK_BYTES = 64_000_000  # permuted columns are made and used in blocks of about this size


def chunks(n: int, draws: int) -> Iterator[int]:
    """Split `draws` columns of n doubles into block sizes that stay within `CHUNK_BYTES`."""
    size = max(1, CHUNK_BYTES // (8 * max(n, 1)))
    while draws > 0:
        yield min(size, draws)
        draws -= size


def permuted_columns(
    y: np.ndarray, draws: int, rng: np.random.Generator, *, groups: np.ndarray | None = None
) -> np.ndarray:
    """[n, draws]: each column is y [n] permuted at random, within `groups` [n] where given."""
    blocks = (
        [np.arange(y.size)] if groups is None else [np.flatnonzero(groups == g) for g in np.unique(groups)]
    )
    out = np.empty((draws, y.size), dtype=y.dtype)
    for block in blocks:
        out[:, block] = rng.permuted(np.broadcast_to(y[block], (draws, block.size)), axis=1)
    return out.T


def permutation_p_value(observed: float, null: np.ndarray) -> float:
    """One-sided p = (1 + #{null ≥ observed}) / (B + 1): larger is more extreme.

    Values within rounding error of the observed one count as equal, which errs towards a larger p.

    Source: Phipson & Smyth, Stat. Appl. Genet. Mol. Biol. 9 (2010) 39.
    """
    margin = 1e-12 * max(1.0, abs(observed))
    return float((1 + np.count_nonzero(null >= observed - margin)) / (null.size + 1))


def jackknife_variance(left: np.ndarray) -> float:
    """Variance of an estimate from its values [n] without each patient."""
    return float((left.size - 1) / left.size * np.sum((left - left.mean()) ** 2))


def subsample(codes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """[n] who stays when `LEFT_OUT` of the patients of every code are left out at random."""
    kept = np.ones(codes.size, dtype=bool)
    for code in np.unique(codes):
        mine = rng.permutation(np.flatnonzero(codes == code))
        kept[mine[: round(LEFT_OUT * mine.size)]] = False
    return kept


def subsample_error(values: np.ndarray) -> float:
    """Standard error of an estimate from its values [B] in subsamples, everything refitted there: delete-d jackknife.

    With a share f left out, the variance over subsamples times (1 − f) / f is that over cohorts. Unlike leaving out
    one patient this holds for estimates that jump (an accuracy) or that contain a fit.

    Source: Shao & Wu, Ann. Stat. 17 (1989) 1176.
    """
    return float(np.sqrt((1 - LEFT_OUT) / LEFT_OUT * values.var(ddof=1)))


def subsample_interval(
    estimate: float, values: np.ndarray, bounds: tuple[float, float] | None = None
) -> tuple[float, float] | None:
    """95 % interval from `subsample_error`, Student's t on B − 1 degrees of freedom; None where a value is missing."""
    from scipy.stats import t

    reach = float(t.ppf(0.975, values.size - 1)) * subsample_error(values)
    if not np.isfinite([estimate, reach]).all():
        return None
    low, high = bounds or (-np.inf, np.inf)
    return max(estimate - reach, low), min(estimate + reach, high)


def log10_arrangements(codes: np.ndarray, groups: np.ndarray | None = None) -> float:
    """log10 of the number of distinct stage arrangements within groups: the floor of an exact p-value."""
    total = 0.0
    for g in [None] if groups is None else np.unique(groups):
        counts = np.bincount(codes if g is None else codes[groups == g])
        total += gammaln(counts.sum() + 1) - gammaln(counts + 1).sum()
    return float(total / np.log(10))


def exact_floor(codes: np.ndarray, groups: np.ndarray | None = None) -> float:
    """Smallest p-value that any exchange of the stages (within groups) can give: one over their arrangements."""
    arrangements = 10.0 ** min(log10_arrangements(codes, groups), 300.0)
    return 1.0 / (round(arrangements) if arrangements < 1e12 else arrangements)
