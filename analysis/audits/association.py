"""How a recorded field goes with the label: the second half of what makes a confounder.

Two numbers: Spearman's ρ. A number and a category: Kruskal–Wallis, ε² = H / (n − 1). Two categories: Cramér's V
with the chi-squared test, by permutation where an expected count lies below 5. All by scipy.
"""

from __future__ import annotations

import numpy as np

from analysis.audits.result import Association
from flexict_core.errors import AnalysisError

_DRAWS = 9999
_FEWEST = 5


def association(a: np.ndarray, b: np.ndarray, *, seed: int = 0) -> tuple[str, float, float, str, int] | None:
    """(measure, value, p, test, n) of two columns [n]: float arrays are numbers, object arrays are categories.

    Patients who lack either are left out. None where one of them is constant or fewer than 5 are left.
    """
    kept = _known(a) & _known(b)
    a, b = a[kept], b[kept]
    if len(a) < _FEWEST or len(np.unique(_text(a))) < 2 or len(np.unique(_text(b))) < 2:
        return None
    numbers = [v for v in (a, b) if v.dtype.kind == "f"]
    if len(numbers) == 2:
        return (*_spearman(a, b), len(a))
    if len(numbers) == 1:
        return (*_kruskal(numbers[0], a if b is numbers[0] else b), len(a))
    return (*_cramer(a, b, seed), len(a))


def with_holm(found: dict[str, tuple[str, float, float, str, int] | None]) -> dict[str, Association | None]:
    """Holm's correction over the fields that could be compared with the label."""
    from analysis.gradient.comparison import holm_adjusted

    names = [n for n, v in found.items() if v is not None]
    adjusted = dict(zip(names, holm_adjusted([found[n][2] for n in names]), strict=True))  # type: ignore[index]
    return {
        name: None if v is None else Association(v[0], v[1], v[2], adjusted[name], v[3], v[4])
        for name, v in found.items()
    }


def as_values(column: object, *, n: int, name: str) -> np.ndarray:
    """A column as float64 [n] where all that is known is a number, else as text with None for missing [n]."""
    import pandas as pd

    from analysis.clinical import canonical

    values = pd.Series(list(column))  # type: ignore[call-overload]
    if len(values) != n:
        raise AnalysisError(f"{name} has {len(values)} values for {n} patients: give one a patient")
    if values.dtype.kind in "ifu":
        return values.to_numpy(dtype=float)
    return np.array([canonical(v) or None for v in values], dtype=object)


def _known(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind == "f":
        return np.isfinite(values)
    return np.array([v is not None for v in values], dtype=bool)


def _text(values: np.ndarray) -> np.ndarray:
    return values if values.dtype.kind == "f" else values.astype(str)


def _spearman(a: np.ndarray, b: np.ndarray) -> tuple[str, float, float, str]:
    from scipy.stats import spearmanr

    found = spearmanr(a, b)
    return "Spearman ρ", float(found.statistic), float(found.pvalue), "Spearman"


def _kruskal(numbers: np.ndarray, category: np.ndarray) -> tuple[str, float, float, str]:
    from scipy.stats import kruskal

    if np.ptp(numbers) == 0:
        return "ε²", 0.0, 1.0, "Kruskal–Wallis"
    names = category.astype(str)
    found = kruskal(*(numbers[names == level] for level in np.unique(names)))
    return "ε²", float(found.statistic / (len(numbers) - 1)), float(found.pvalue), "Kruskal–Wallis"


def _cramer(a: np.ndarray, b: np.ndarray, seed: int) -> tuple[str, float, float, str]:
    from scipy.stats import PermutationMethod, chi2_contingency
    from scipy.stats.contingency import association as strength
    from scipy.stats.contingency import crosstab

    counts = crosstab(a.astype(str), b.astype(str)).count
    found = chi2_contingency(counts, correction=False)
    test = "chi-squared"
    if found.expected_freq.min() < _FEWEST:
        method = PermutationMethod(n_resamples=_DRAWS, rng=np.random.default_rng(seed))
        found = chi2_contingency(counts, correction=False, method=method)
        test = f"chi-squared, {_DRAWS} permutations"
    return "Cramér V", float(strength(counts, method="cramer")), float(found.pvalue), test
