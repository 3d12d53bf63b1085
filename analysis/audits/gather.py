"""What the audit works on, from a cohort and its column names or from an array and values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.cohort import Cohort
from analysis.results import Provenance, array_sha256
from flexict_core.errors import AnalysisError

if TYPE_CHECKING:
    import pandas as pd

FEWEST_PATIENTS = 20


@dataclass(frozen=True, kw_only=True)
class AuditData:
    """X [n, d] and, where named, label [n] (numbers or texts), group, split and person [n] ("" where missing).

    images: (patient, hash of image and mask) of every stored row.
    """

    X: np.ndarray
    patient_id: np.ndarray
    fields: pd.DataFrame
    label: np.ndarray | None
    label_name: str | None
    order: tuple[str, ...] | None
    group: np.ndarray | None
    group_name: str
    split: np.ndarray | None
    split_name: str | None
    person: np.ndarray | None
    person_name: str | None
    images: tuple[tuple[str, str], ...]
    rows: pd.DataFrame | None
    series: tuple[str, ...]
    encoder: str
    warnings: tuple[str, ...]
    origin: Provenance

    @property
    def n(self) -> int:
        return len(self.X)

    def provenance(self, parameters: Mapping[str, Any], seed: int) -> Provenance:
        return dataclasses.replace(self.origin, parameters=dict(parameters), seed=seed)


def gather(
    data: Cohort | np.ndarray,
    *,
    label: Any,
    order: Any,
    fields: Any,
    group: Any,
    split: Any,
    person: Any,
    patient_id: Sequence[Any] | None,
    encoder: str | None,
) -> AuditData:
    """Checked data; the label's values that `order` does not name are refused as everywhere."""
    from analysis.vectors import as_vectors

    cohort = data if isinstance(data, Cohort) else None
    vectors = as_vectors(data, patient_id=patient_id)
    if vectors.n < FEWEST_PATIENTS:
        raise AnalysisError(
            f"{vectors.n} patients are too few for an audit: it needs at least {FEWEST_PATIENTS}"
        )
    if not np.ptp(vectors.X, axis=0).any():
        raise AnalysisError("every embedding dimension is constant: nothing can be read from it")
    columns = {
        key: _column(value, cohort, vectors.n, key)
        for key, value in (("label", label), ("group", group), ("split", split), ("person", person))
    }
    values, parsed = columns["label"][0], None
    if order is not None:
        if values is None:
            raise AnalysisError(f"order {order!r} orders the label's values, and there is no label: name one")
        values, parsed = _ordered(values, order, columns["label"][1] or "label")
    if columns["split"][0] is not None and len({str(v) for v in _text(columns["split"][0])} - {""}) < 2:
        raise AnalysisError(f"split {columns['split'][1]!r} has one side only: nothing can cross it")
    named = {v for _, v in columns.values() if v}
    table = _fields(fields, cohort, vectors.n, without=named - {columns["group"][1] or ""})
    rows = None if cohort is None else cohort.rows
    return AuditData(
        X=vectors.X,
        patient_id=vectors.patient_id,
        fields=table,
        label=values,
        label_name=columns["label"][1],
        order=parsed,
        group=None if columns["group"][0] is None else _text(columns["group"][0]),
        group_name=columns["group"][1] or "group",
        split=None if columns["split"][0] is None else _text(columns["split"][0]),
        split_name=columns["split"][1],
        person=None if columns["person"][0] is None else _text(columns["person"][0]),
        person_name=columns["person"][1],
        images=() if rows is None else _image_hashes(rows),
        rows=rows,
        series=()
        if rows is None or "series_uid" not in rows
        else tuple(rows["series_uid"].fillna("").astype(str)),
        encoder=encoder or ("" if cohort is None else cohort.encoder),
        warnings=vectors.warnings,
        origin=vectors.origin
        if cohort is not None
        else Provenance(data_sha256={"X": array_sha256(vectors.X)}),
    )


def _column(value: Any, cohort: Cohort | None, n: int, key: str) -> tuple[np.ndarray | None, str | None]:
    """Values [n] (object or float) and name of a column given by name or by its values."""
    if value is None:
        return None, None
    if isinstance(value, str):
        if cohort is None:
            raise AnalysisError(f"{key} = {value!r} names a column, but an array has none: give its values")
        return cohort.column(value), value
    values = np.asarray(value)
    if values.shape != (n,):
        raise AnalysisError(f"{key} has shape {values.shape} for {n} patients: give one value a patient")
    return values if values.dtype.kind in "if" else values.astype(object), key


def _ordered(values: np.ndarray, order: Any, name: str) -> tuple[np.ndarray, tuple[str, ...]]:
    from analysis.clinical import parse_order, stage_codes

    parsed = parse_order(order)
    codes, _ = stage_codes(list(values), parsed, column=name)
    return np.where(codes >= 0, codes, np.nan).astype(float), parsed.labels


def _text(values: np.ndarray | None) -> np.ndarray:
    from analysis.clinical import canonical

    return np.array([canonical(v) for v in ([] if values is None else values)], dtype=object)


def _fields(fields: Any, cohort: Cohort | None, n: int, *, without: set[str]) -> pd.DataFrame:
    import pandas as pd

    if cohort is None:
        if fields is None:
            return pd.DataFrame(index=range(n))
        if not isinstance(fields, pd.DataFrame) or len(fields) != n:
            raise AnalysisError(f"fields must be a table of {n} rows, one a patient")
        return fields.reset_index(drop=True)
    if isinstance(fields, pd.DataFrame):
        raise AnalysisError("fields of a cohort are names of its columns: give a list of names")
    if fields is None:
        names = [c for c in cohort.table.columns if c not in without and c != cohort.id_column]
    else:
        names = list(fields)
        if taken := [f for f in names if f in without]:
            raise AnalysisError(
                f"field {taken[0]!r} is the label, the split or the person itself: leave it out"
            )
    return pd.DataFrame({name: cohort.column(name) for name in names}, index=range(n))


def _image_hashes(rows: pd.DataFrame) -> tuple[tuple[str, str], ...]:
    """(patient, hash) of rows that come from images; imported vectors have none."""
    if "source_sha256" not in rows or "image" not in rows:
        return ()
    held = rows[(rows["image"].fillna("") != "") & (rows["source_sha256"].fillna("") != "")]
    return tuple(zip(held["patient_id"].astype(str), held["source_sha256"].astype(str), strict=True))
