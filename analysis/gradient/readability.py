"""Readability: how well a recorded field (scanner, thickness, site, sex) can be read from the embedding.

The same cross-fitted ridge that learns the stage axis is asked for the field instead. Categories are scored by the
area under the ROC curve (mean of one against the rest), numbers by the squared correlation of the held-out
prediction, with its sign. What can be read can confound.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import norm

from analysis.gradient.axis import CrossFit, cross_fit, fold_repeats
from analysis.gradient.comparison import holm_adjusted
from analysis.gradient.rank_statistics import concordance, concordant_share, left_out
from analysis.resampling import jackknife_variance, permutation_p_value, permuted_columns
from analysis.results import Interval
from analysis.splits import repeated_folds

if TYPE_CHECKING:
    import pandas as pd

DRAWS = 199
MOST_FIELDS = 30
MOST_CATEGORIES = 10
FEWEST = 5  # patients of a category that can be read
FEWEST_PATIENTS = 20


@dataclass(frozen=True)
class Readability:
    """One field: kind "category" (metric AUC, 0.5 = not readable) or "number" (metric R², 0 = not readable)."""

    name: str
    kind: str
    metric: str
    value: float
    ci: Interval | None
    p_value: float
    p_holm: float
    n: int
    levels: int | None


def readability(
    X: np.ndarray,
    fields: pd.DataFrame,
    *,
    axis: CrossFit | None = None,
    seed: int = 0,
    draws: int = DRAWS,
) -> tuple[tuple[Readability, ...], tuple[str, ...]]:
    """Cross-fitted AUC or R² of each column of `fields` [n rows] from X [n, d]; p by permutation with refits.

    `axis`: the fit of X on all n patients, where it exists already. Returns the fields that can be asked for, and
    one phrase for each that cannot.
    """
    rng = np.random.default_rng([seed, 5])
    rows: list[Readability] = []
    skipped: list[str] = []
    fits: dict[bytes, CrossFit] = {}
    for name in fields.columns:
        if len(rows) == MOST_FIELDS:
            skipped.append(f"{name}: only the first {MOST_FIELDS} fields are read")
            continue
        kept, target, kind, why = _target(fields[name])
        if not why and kind == "number" and _is_a_dimension(X[kept], target):
            why = "is a dimension of the embedding itself"
        if why:
            skipped.append(f"{name}: {why}")
            continue
        fit = axis if kept.all() else fits.get(kept.tobytes())
        if fit is None:
            n = int(kept.sum())
            fit = fits[kept.tobytes()] = cross_fit(
                X[kept], repeated_folds(n, repeats=min(fold_repeats(n), 3), seed=seed)
            )
        read = _read_category if kind == "category" else _read_number
        value, ci, p = read(fit, target, draws, rng)
        levels = int(target.max()) + 1 if kind == "category" else None
        rows.append(
            Readability(
                str(name),
                kind,
                "AUC" if kind == "category" else "R²",
                value,
                ci,
                p,
                1.0,
                int(kept.sum()),
                levels,
            )
        )
    holm = holm_adjusted([r.p_value for r in rows])
    return tuple(Readability(**{**vars(r), "p_holm": h}) for r, h in zip(rows, holm, strict=True)), tuple(
        skipped
    )


def _is_a_dimension(X: np.ndarray, target: np.ndarray) -> bool:
    """Whether a column of X [n, d] holds the same numbers, to single precision."""
    alike = np.isclose(X[0], target[0], rtol=1e-6, atol=0.0)
    return bool(np.isclose(X[:, alike], target[:, None], rtol=1e-6, atol=0.0).all(axis=0).any())


def _target(column: pd.Series) -> tuple[np.ndarray, np.ndarray, str, str]:
    """Rows with a value, the field as category codes or numbers, its kind, and why it cannot be read (or "")."""
    nothing = np.empty(0)
    kept = column.notna().to_numpy()
    held = column[kept]
    if len(held) < FEWEST_PATIENTS:
        return kept, nothing, "", f"known for {len(held)} patients, fewer than {FEWEST_PATIENTS}"
    levels, codes, counts = np.unique(held.to_numpy().astype(str), return_inverse=True, return_counts=True)
    if len(levels) < 2:
        return kept, nothing, "", f"always {levels[0]}"
    numeric = held.dtype.kind in "ifu"
    if numeric and len(levels) > 5:
        return kept, held.to_numpy(float), "number", ""
    frequent = counts >= FEWEST
    if len(levels) > MOST_CATEGORIES or frequent.sum() < 2:
        why = (
            f"{len(levels)} different values"
            if len(levels) > MOST_CATEGORIES
            else f"no two values are held by {FEWEST} or more patients"
        )
        return kept, nothing, "", why
    if not frequent.all():  # rare categories cannot be read: their patients are left out of this field
        inside = frequent[codes]
        kept = kept.copy()
        kept[np.flatnonzero(kept)[~inside]] = False
        codes = np.unique(codes[inside], return_inverse=True)[1]
        if len(codes) < FEWEST_PATIENTS:
            return kept, nothing, "", f"frequent values are known for {len(codes)} patients"
    return kept, codes.astype(np.int64), "category", ""


def _read_category(
    fit: CrossFit,
    codes: np.ndarray,
    draws: int,
    rng: np.random.Generator,
) -> tuple[float, Interval, float]:
    """Mean one-against-rest AUC, its score interval, and p."""
    K = int(codes.max()) + 1
    levels = range(1, 2) if K == 2 else range(K)  # two categories give the same AUC twice
    drawn = permuted_columns(codes, draws, rng)
    observed, null, left, at_null = 0.0, np.zeros(draws), np.zeros(codes.size), 0.0
    null_left = [np.zeros(codes.size) for _ in range(min(draws, 50))]
    for level in levels:
        own = (codes == level).astype(np.int64)
        scores = fit.scores(own.astype(float))
        observed += float(concordance(scores, own, 2)) / len(levels)
        left += left_out(*concordant_share(scores, own, 2)) / len(levels)
        shuffled = (drawn == level).astype(np.int64)
        refitted = fit.scores(shuffled.astype(float))
        null += concordance(refitted, shuffled, 2) / len(levels)
        for b, values in enumerate(null_left):
            values += left_out(*concordant_share(refitted[:, b], shuffled[:, b], 2)) / len(levels)
    at_null = float(np.mean([jackknife_variance(values) for values in null_left]))
    ci = _score_interval(
        observed,
        0.5,
        fixed=jackknife_variance(left),
        fixed_null=at_null,
        permuted=float(np.mean((null - 0.5) ** 2)),
        shape=lambda c: 4 * c * (1 - c),
        bounds=(0.0, 1.0),
        n=codes.size,
    )
    return observed, ci, permutation_p_value(observed, null)


def _read_number(
    fit: CrossFit,
    values: np.ndarray,
    draws: int,
    rng: np.random.Generator,
) -> tuple[float, Interval, float]:
    """Signed squared correlation of held-out prediction and field, its score interval, and p."""
    z = (values - values.mean()) / values.std()
    prediction = fit.scores(z)
    observed = float(_correlation(prediction, z))
    drawn = permuted_columns(z, draws, rng)
    refitted = fit.scores(drawn)
    null = _correlation(refitted, drawn)
    at_null = float(
        np.mean([_correlation_variance(refitted[:, b], drawn[:, b]) for b in range(min(draws, 50))])
    )
    low, high = _score_interval(
        observed,
        0.0,
        fixed=_correlation_variance(prediction, z),
        fixed_null=at_null,
        permuted=float(np.mean(null**2)),
        shape=lambda r: (1 - r**2) ** 2,
        bounds=(-1.0, 1.0),
        n=z.size,
    )
    return (
        _signed_square(observed),
        (_signed_square(low), _signed_square(high)),
        permutation_p_value(observed, null),
    )


def _signed_square(r: float) -> float:
    return float(np.sign(r) * r**2)


def _score_interval(
    estimate: float,
    nothing: float,
    *,
    fixed: float,
    fixed_null: float,
    permuted: float,
    shape: Callable[[float], float],
    bounds: tuple[float, float],
    n: int,
) -> Interval:
    """Score interval as of the stage concordance: fixed-score variance by `shape`, and the learning variance.

    The fixed-score variance at a candidate is the jackknife's, scaled by shape(candidate) / shape(estimate) and
    drawn towards its null value where the estimate is extreme.
    """
    prior = 2.0 / n
    unit = (fixed + prior * fixed_null) / (float(shape(estimate)) + prior)
    candidates = np.linspace(*bounds, 4001)
    learning = max(permuted - fixed_null, 0.0)
    # an axis is well determined once the signal is some standard errors from nothing: two are taken off
    signal = np.maximum(np.abs(candidates - nothing) / np.sqrt(max(permuted, 1e-300)) - 2.0, 0.0)
    weight = 1.0 / (1.0 + signal**2)
    variance = unit * np.array([float(shape(c)) for c in candidates]) + learning * weight
    kept = candidates[(estimate - candidates) ** 2 <= norm.ppf(0.975) ** 2 * variance]
    return (
        (min(float(kept[0]), estimate), max(float(kept[-1]), estimate)) if kept.size else (estimate, estimate)
    )


def _correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Correlation by column, [] or [B]."""
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    size = np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))
    return np.divide((a * b).sum(axis=0), size, out=np.zeros_like(size), where=size > 0)


def _correlation_variance(a: np.ndarray, b: np.ndarray) -> float:
    """Infinitesimal jackknife variance of a correlation: no normality is needed."""
    u, v = (a - a.mean()) / max(a.std(), 1e-300), (b - b.mean()) / max(b.std(), 1e-300)
    r = float(np.mean(u * v))
    return float(np.sum((u * v - r * (u**2 + v**2) / 2) ** 2) / a.size**2)
