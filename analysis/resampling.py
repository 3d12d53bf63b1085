"""Permutations that respect blocks of exchange, the p-values that they give, jackknives, and random halves."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.special import gammaln

LEFT_OUT = 0.2  # of the patients, in each subsample of a delete-d jackknife
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


def half_split(codes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """[n] who is in the first of two halves drawn at random, each code divided evenly (an odd one out at random)."""
    order = rng.permutation(codes.size)
    order = order[np.argsort(codes[order], kind="stable")]
    first = np.empty(codes.size, dtype=bool)
    first[order] = (np.arange(codes.size) + rng.integers(2)) % 2 == 0
    return first


def halves_variance(values: np.ndarray) -> float:
    """Variance of an estimate from its values [S, 2, F] in both halves of S random splits, under F ≥ 2 fold draws.

    Two halves share no patient, so that half the squared difference of what is fitted and measured in them has as mean
    the variance in n / 2 patients, whatever the estimate is made of. Products of differences under *different* fold
    draws leave out what the draw of the folds adds (the caller adds it as often as it counts), and a variance that
    falls as 1 / n is half as large in all patients. May be negative by chance.
    """
    apart = values[:, 0] - values[:, 1]
    draws = apart.shape[1]
    pairs = (apart.sum(axis=1) ** 2 - (apart**2).sum(axis=1)) / (draws * (draws - 1))
    return float(pairs.mean() / 4)


def subsample(codes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rows, in order, that stay when `LEFT_OUT` of the patients of every code are left out at random."""
    kept = np.ones(codes.size, dtype=bool)
    for code in np.unique(codes):
        mine = rng.permutation(np.flatnonzero(codes == code))
        kept[mine[: round(LEFT_OUT * mine.size)]] = False
    return np.flatnonzero(kept)


def subsample_variance(values: np.ndarray) -> tuple[float, float]:
    """Variance of an estimate from its values [B, F] in subsamples under F ≥ 2 fold draws, everything refitted there
    (delete-d jackknife), and the variance that one draw of the folds adds.

    With a share f left out, the variance over subsamples times (1 − f) / f is that over cohorts; that of the folds
    must be taken out first, for it would be multiplied too.

    Source: Shao & Wu, Ann. Stat. 17 (1989) 1176.
    """
    between, noise = spread_of(values)
    return (1 - LEFT_OUT) / LEFT_OUT * between, noise


def spread_of(values: np.ndarray) -> tuple[float, float]:
    """Variance of values [B, F] between draws, free of fold noise, and that of the noise of one fold draw."""
    noise = float(values.var(axis=1, ddof=1).mean()) if values.shape[1] > 1 else 0.0
    return max(float(values.mean(axis=1).var(ddof=1)) - noise / values.shape[1], 0.0), noise


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
