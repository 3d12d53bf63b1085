"""The confounder ledger: what the embedding tells of each recorded field, and how the field goes with the label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.audits.association import as_values, association, with_holm
from analysis.audits.gather import AuditData
from analysis.audits.result import CONFOUNDS, NOT_SHOWN, READABLE, Association, FieldRow
from analysis.gradient.axis import CrossFit
from analysis.gradient.readability import Readability, readability
from flexict_core.errors import AnalysisError

_MOST_LEVELS = 10


@dataclass(frozen=True)
class Ledger:
    """Fields, the most readable first; why others were left out; the label itself."""

    rows: tuple[FieldRow, ...]
    left_out: tuple[str, ...]
    label: FieldRow | None


def field_ledger(d: AuditData, axis: CrossFit, *, draws: int, seed: int, alpha: float) -> Ledger:
    """Readability of every field of d, and its association with the label where there is one."""
    import pandas as pd

    read, left_out = readability(d.X, d.fields, axis=axis, seed=seed, draws=draws)
    beside: dict[str, Association | None] = {r.name: None for r in read}
    own: FieldRow | None = None
    if d.label is not None:
        label = as_values(d.label, n=d.n, name="label")
        beside = with_holm(
            {
                r.name: association(as_values(d.fields[r.name], n=d.n, name=r.name), label, seed=seed)
                for r in read
            }
        )
        name = d.label_name or "label"
        found, why = readability(d.X, pd.DataFrame({name: d.label}), axis=axis, seed=seed, draws=draws)
        own = _row(found[0], None, "") if found else None
        left_out = (*left_out, *(f"{w} (the label)" for w in why))
    rows = [_row(r, beside[r.name], _verdict(r, beside[r.name], alpha)) for r in read]
    return Ledger(tuple(sorted(rows, key=lambda r: -r.strength)), left_out, own)


def label_target(d: AuditData) -> tuple[np.ndarray, bool]:
    """Codes [n] of the label (−1 where missing) and whether they are ordered; numbers are cut into fifths."""
    label = as_values(d.label, n=d.n, name="label")
    codes = np.full(d.n, -1, dtype=np.int64)
    if label.dtype.kind == "f":
        known = np.isfinite(label)
        values = label[known]
        if len(np.unique(values)) > _MOST_LEVELS:
            edges = np.quantile(values, [0.2, 0.4, 0.6, 0.8])
            values = np.searchsorted(edges, values, side="right")
        codes[known] = np.unique(values, return_inverse=True)[1]
        ordered = True
    else:
        known = np.array([v is not None for v in label], dtype=bool)
        levels, inverse = np.unique(label[known].astype(str), return_inverse=True)
        if len(levels) > _MOST_LEVELS:
            raise AnalysisError(
                f"label {d.label_name!r} has {len(levels)} different values: group it, or make it a number"
            )
        codes[known], ordered = inverse, False
    if len(np.unique(codes[known])) < 2:
        raise AnalysisError(f"label {d.label_name!r} has a single value: nothing can go with it")
    return codes, ordered


def _verdict(r: Readability, a: Association | None, alpha: float) -> str:
    if r.p_holm >= alpha:
        return NOT_SHOWN
    return CONFOUNDS if a is not None and a.p_holm < alpha else READABLE


def _row(r: Readability, a: Association | None, verdict: str) -> FieldRow:
    return FieldRow(
        name=r.name, kind=r.kind, metric=r.metric, readability=r.value, ci=r.ci, p_value=r.p_value,
        p_holm=r.p_holm, n=r.n, levels=r.levels, strength=_strength(r.value, r.kind),
        strength_ci=None if r.ci is None else (_strength(r.ci[0], r.kind), _strength(r.ci[1], r.kind)),
        association=a, verdict=verdict,
    )  # fmt: skip


def _strength(value: float, kind: str) -> float:
    """AUC or signed squared correlation on one scale from −1 to 1."""
    return 2 * value - 1 if kind == "category" else float(np.sign(value) * np.sqrt(abs(value)))
