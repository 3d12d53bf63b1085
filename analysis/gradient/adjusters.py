"""What an adjuster says about the stage: its basis, the stage given the adjusters, and redraws from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from flexict_core.errors import AnalysisError

if TYPE_CHECKING:
    import pandas as pd

_DETERMINED_LOG_LOSS = 0.05  # mean negative log-likelihood below which the adjusters all but name the stage


@dataclass(frozen=True)
class AdjusterBasis:
    """Columns that span what the adjusters can say.

    `matrix` [n, q]: standardised, full rank, no intercept; `description`: one phrase a column of the table.
    """

    matrix: np.ndarray
    description: tuple[str, ...]
    cautions: tuple[str, ...] = ()


def spline_df(n: int, *, splines: int = 1, others: int = 0) -> int:
    """Degrees of freedom of each spline: 3 at n = 24, at most 5 (from n = 40), all columns within n / 5."""
    return int(np.clip(min(n // 8, (n // 5 - others) // max(splines, 1)), 1, 5))


def is_number(values: pd.Series, n_levels: int, df: int) -> bool:
    """Whether an adjuster is taken as a number: numeric, with more values than its spline has freedom."""
    return n_levels > df + 1 and np.issubdtype(np.asarray(values.tolist()).dtype, np.number)


def adjuster_basis(table: pd.DataFrame, *, patients: int | None = None) -> AdjusterBasis:
    """Natural cubic splines for numbers, indicator columns for categories; collinear columns left out.

    A number with no more distinct values than the spline has degrees of freedom + 1 is taken as a category.
    The basis is made from the adjusters alone, without a look at the stage. `patients`: the number that sets the
    freedom of the splines (default: the rows).

    Raises:
        AnalysisError: a column with a single value, or with a missing one.
    """
    n = len(table) if patients is None else patients
    levels = {name: _levels(table[name], str(name), len(table)) for name in table.columns}
    numbers = [name for name in table.columns if is_number(table[name], len(levels[name]), spline_df(n))]
    others = sum(len(levels[name]) - 1 for name in table.columns if name not in numbers)
    df = spline_df(n, splines=len(numbers), others=others)
    blocks, description = [], []
    for name in table.columns:
        values = table[name]
        if name in numbers:
            blocks.append(_spline(np.asarray(values.tolist(), dtype=float), df))
            description.append(f"{name} (natural cubic spline, {df} df)" if df > 1 else f"{name} (linear)")
        else:
            blocks.append(np.column_stack([(values == v).to_numpy(float) for v in levels[name][1:]]))
            description.append(f"{name} ({len(levels[name])} categories)")
    matrix = _full_rank(np.column_stack(blocks))
    columns = matrix.shape[1]
    if columns > n / 3:
        raise AnalysisError(
            f"{columns} adjuster columns are too many for {n} patients (at most a third): leave adjusters out or "
            "merge categories"
        )
    cautions: tuple[str, ...] = ()
    if columns > n / 5:
        cautions = (f"{columns} adjuster columns for {n} patients leave the adjusted tests little power",)
    return AdjusterBasis(matrix, tuple(description), cautions)


def _levels(values: pd.Series, name: str, n: int) -> list[object]:
    """Distinct values of an adjuster; refuses one that is missing, infinite or always the same."""
    if values.isna().any():
        raise AnalysisError(f"adjuster {name!r} is missing for {int(values.isna().sum())} of {n} patients")
    as_array = np.asarray(values.tolist())
    if np.issubdtype(as_array.dtype, np.floating) and not np.isfinite(as_array).all():
        raise AnalysisError(f"adjuster {name!r} holds an infinite value: mend or leave out those patients")
    levels = sorted(set(values.tolist()), key=str)
    if len(levels) < 2:
        raise AnalysisError(f"adjuster {name!r} has the single value {levels[0]!r}: leave it out")
    return levels


def _spline(x: np.ndarray, df: int) -> np.ndarray:
    """Natural cubic spline basis [n, df] with quantile knots (linear for df = 1)."""
    if df == 1:
        return x[:, None]
    from patsy import dmatrix

    z = (x - x.mean()) / x.std()
    try:
        return np.asarray(dmatrix(f"cr(z, df={df}, constraints='center') - 1", {"z": z}))
    except ValueError:  # quantile knots that coincide, where one value is very frequent
        return z[:, None]


def _full_rank(matrix: np.ndarray) -> np.ndarray:
    """Standardised columns without those that the earlier ones (and the intercept) already span."""
    kept: list[np.ndarray] = []
    span = np.ones((matrix.shape[0], 1)) / np.sqrt(matrix.shape[0])
    for column in matrix.T:
        rest = column - span @ (span.T @ column)
        if np.linalg.norm(rest) > 1e-8 * (np.linalg.norm(column) + 1e-300):
            kept.append((column - column.mean()) / column.std())
            span = np.column_stack([span, rest / np.linalg.norm(rest)])
    return np.column_stack(kept)


def stage_given_adjusters(basis: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """P(stage | adjusters) [n, K]: multinomial logistic regression with a weak ridge (C = 10).

    Raises:
        AnalysisError: the adjusters determine the stage, so that nothing is left to test.
    """
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=10.0, max_iter=5000, tol=1e-6).fit(basis, codes)
    probability = model.predict_proba(basis)
    loss = -np.mean(np.log(np.maximum(probability[np.arange(codes.size), codes], 1e-300)))
    if loss < _DETERMINED_LOG_LOSS:
        raise AnalysisError(
            f"the adjusters determine the stage (mean log-loss {loss:.3f}): nothing is left to test beyond "
            "them; leave out the one that defines the stage"
        )
    return probability


def redrawn_stages(
    probability: np.ndarray, draws: int, rng: np.random.Generator, *, groups: np.ndarray | None = None
) -> np.ndarray:
    """[n, draws] stage codes drawn from P(stage | adjusters): the conditional randomisation of the stage.

    Source: Candès, Fan, Janson & Lv, J. R. Stat. Soc. B 80 (2018) 551, §3.
    """
    cumulative = np.cumsum(probability, axis=1)[:, :-1]  # [n, K-1]
    u = rng.random((draws, probability.shape[0]))
    codes = np.zeros(u.shape, dtype=np.int64)
    for k in range(cumulative.shape[1]):
        codes += u > cumulative[:, k]
    return codes.T


def residual_projector(basis: np.ndarray) -> np.ndarray:
    """Orthonormal basis Q [n, q + 1] of (1, basis); the residual of y is y − Q Qᵀ y."""
    Q, _ = np.linalg.qr(np.column_stack([np.ones(basis.shape[0]), basis]))
    return Q


def strata_of(values: Sequence[float] | np.ndarray, *, categorical: bool) -> np.ndarray:
    """Strata [n] of the main adjuster: its categories, or 2–5 groups of equal count."""
    array = np.asarray(values)
    if categorical:
        return np.unique(array.astype(str), return_inverse=True)[1]
    n_strata = int(np.clip(array.size // 20, 2, 5))
    edges = np.quantile(array.astype(float), np.arange(1, n_strata) / n_strata)
    return np.searchsorted(edges, array.astype(float), side="right")
