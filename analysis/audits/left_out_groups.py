"""What is lost when a whole site (or scanner) is left out of the learning, against random groups of its size.

The pooled, cross-validated concordance is what would be reported; the concordance inside a group that no fold has
learnt from is what a new site would see. An encoder that tells sites apart, in a cohort where sites differ in the
label, loses much between the two. The reference is exact: groups are drawn anew with the same sizes, and every fit
is repeated. No interval is printed, for none has been shown to cover.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analysis.audits.result import GroupRow, LeftOutGroups
from analysis.gradient.axis import CrossFit, ridge_gain
from analysis.gradient.comparison import holm_adjusted
from analysis.gradient.rank_statistics import concordance
from analysis.resampling import permutation_p_value
from flexict_core.errors import AnalysisError

FEWEST = 5  # patients of a group that is scored
MOST_GROUPS = 20
_WORK = 2e10  # about 20 s of fits on one core
_FEWEST_DRAWS, _MOST_DRAWS = 99, 499


def left_out_groups(
    X: np.ndarray,
    codes: np.ndarray,
    groups: np.ndarray,
    *,
    ordered: bool,
    fit: CrossFit,
    column: str,
    label: str,
    rng: np.random.Generator,
) -> LeftOutGroups:
    """Scores of each group of `groups` [n] learnt on all others; codes [n] are label values 0 … K − 1.

    ordered: whether the codes are stages; else the concordance is the mean of one value against the rest.
    Raises AnalysisError for fewer than two groups, or more than 20 that can be scored.
    """
    names = np.unique(groups)
    if len(names) < 2:
        raise AnalysisError(f"group {column!r} is always {str(names[0])!r}: leaving it out leaves nobody")
    scored = [str(g) for g in names if np.count_nonzero(groups == g) >= FEWEST]
    if len(scored) > MOST_GROUPS:
        raise AnalysisError(
            f"group {column!r} has {len(scored)} values of {FEWEST} or more patients, {MOST_GROUPS} are the "
            "most: name a coarser column"
        )
    targets = _targets(codes, ordered)
    pooled_scores = [fit.scores(t) for t in targets]
    pooled = _concordance(pooled_scores, codes, ordered)
    cost = X.shape[0] * X.shape[1] * min(X.shape) * max(len(scored), 1)
    draws = int(np.clip(_WORK / cost, _FEWEST_DRAWS, _MOST_DRAWS))
    observed = _held_out(X, codes, groups, ordered=ordered)
    null = [_held_out(X, codes, rng.permutation(groups), ordered=ordered) for _ in range(draws)]
    rows = []
    for name in names:
        own = groups == name
        value = observed[0].get(str(name))
        drops = np.array([pooled - held[str(name)] for held, _ in null if str(name) in held])
        p = None if value is None or not len(drops) else permutation_p_value(pooled - value, drops)
        rows.append(
            GroupRow(
                group=str(name),
                n=int(own.sum()),
                within=_defined(_concordance([s[own] for s in pooled_scores], codes[own], ordered)),
                left_out=value,
                drop=None if value is None else pooled - value,
                p_value=p,
                p_holm=None,
                note=_why(codes[own], value),
            )
        )
    mean = observed[1]
    if mean is None:
        raise AnalysisError(
            f"no group of {column!r} has {FEWEST} patients with different values of {label}: none can be scored"
        )
    overall = np.array([pooled - m for _, m in null if m is not None])
    return LeftOutGroups(
        column=column,
        label=label,
        pooled=pooled,
        left_out=mean,
        drop=pooled - mean,
        p_value=permutation_p_value(pooled - mean, overall),
        draws=draws,
        rows=tuple(_with_holm(rows)),
    )


def _targets(codes: np.ndarray, ordered: bool) -> list[np.ndarray]:
    K = int(codes.max()) + 1
    if ordered or K == 2:
        return [codes.astype(float)]
    return [(codes == k).astype(float) for k in range(K)]


def _concordance(scores: Sequence[np.ndarray], codes: np.ndarray, ordered: bool) -> float:
    """Concordance of one ordered score, or the mean AUC of each value's own score; NaN where there is no pair."""
    if len(codes) == 0:
        return float("nan")
    K = int(codes.max()) + 1
    if ordered or len(scores) == 1:
        return float(concordance(scores[0], codes, K)) if K > 1 else float("nan")
    each = [
        float(concordance(s, (codes == k).astype(np.int64), 2))
        for k, s in enumerate(scores)
        if 0 < np.count_nonzero(codes == k) < len(codes)
    ]
    return float(np.mean(each)) if each else float("nan")


def _held_out(
    X: np.ndarray, codes: np.ndarray, groups: np.ndarray, *, ordered: bool
) -> tuple[dict[str, float], float | None]:
    """Concordance in each group that can be scored, and their mean weighted by pairs of different labels."""
    values, weights = {}, []
    for name in np.unique(groups):
        own = groups == name
        inside = codes[own]
        if own.sum() < FEWEST or np.ptp(inside) == 0 or np.ptp(codes[~own]) == 0:
            continue
        gain = ridge_gain(X[~own], X[own])
        value = _concordance([gain @ t[~own] for t in _targets(codes, ordered)], inside, ordered)
        if np.isfinite(value):
            values[str(name)] = value
            weights.append(len(inside) ** 2 - float((np.bincount(inside) ** 2).sum()))
    return values, float(np.average(list(values.values()), weights=weights)) if values else None


def _defined(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _why(codes: np.ndarray, value: float | None) -> str:
    if value is not None:
        return ""
    return f"fewer than {FEWEST} patients" if len(codes) < FEWEST else "one value of the label only"


def _with_holm(rows: Sequence[GroupRow]) -> list[GroupRow]:
    from dataclasses import replace

    tested = [r for r in rows if r.p_value is not None]
    holm = dict(
        zip([r.group for r in tested], holm_adjusted([r.p_value or 0.0 for r in tested]), strict=True)
    )
    return [replace(r, p_holm=holm.get(r.group)) for r in rows]
