"""Further embeddings and columns on exactly the patients of an analysis, in its order."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.gradient.data import StageData
from analysis.matching import mean_by_patient
from flexict_core.errors import AnalysisError

if TYPE_CHECKING:
    from analysis.cohort import Cohort


def in_every_embedding(data: Any, against: Mapping[str, np.ndarray | Cohort]) -> Any:
    """A cohort without the patients whom another embedding lacks (they are listed as lost); arrays as they are."""
    from analysis.cohort import Cohort, of_weights

    for name, other in against.items():
        if isinstance(data, Cohort) != isinstance(other, Cohort):
            raise AnalysisError(
                f"embedding {name!r}: compare cohorts with cohorts, or arrays with arrays of the same rows"
            )
        if isinstance(data, Cohort) and isinstance(other, Cohort):
            held = np.isin(data.patient_id.astype(str), other.patient_id.astype(str))
            reason = f"not in embedding {name}"
            data = data.keep(held, {int(i): reason for i in np.flatnonzero(~held)})
            said = of_weights(other.weights_caution, f"embedding {name}")
            data = dataclasses.replace(data, warnings=(*data.warnings, *said))
    return data


def embedding_of(
    other: np.ndarray | Cohort, d: StageData, *, name: str, patients: Sequence[Any] | None
) -> np.ndarray:
    """[n, d] of another embedding in the order of `d`, without the dimensions that are constant here."""
    from analysis.cohort import Cohort

    if isinstance(other, Cohort):
        place = {str(p): i for i, p in enumerate(other.patient_id)}
        X = other.X[[place[str(p)] for p in d.patient_id]]
    else:
        array = np.asarray(other, dtype=float)
        if array.ndim != 2:
            raise AnalysisError(f"embedding {name!r} has shape {array.shape}: give one row a patient")
        ids = _row_ids(array.shape[0], patients, name)
        mean, order = mean_by_patient(array, ids)
        place = {str(p): i for i, p in enumerate(order)}
        if not all(str(p) in place for p in d.patient_id):
            raise AnalysisError(f"embedding {name!r} has {array.shape[0]} rows: give one for each patient")
        X = mean[[place[str(p)] for p in d.patient_id]]
    if not np.isfinite(X).all():
        raise AnalysisError(f"embedding {name!r} holds NaN or infinity: leave these columns out or fill them")
    varies = np.ptp(X, axis=0) > 0
    if not varies.any():
        raise AnalysisError(f"embedding {name!r} is constant: nothing in it can follow the stage")
    return np.asarray(X[:, varies])


def column_of(values: Any, d: StageData, *, name: str, patients: Sequence[Any] | None) -> np.ndarray:
    """[n] of a column in the order of `d`: the cohort's column of that name, or one value a row of an array."""
    if d.source is not None:
        if not isinstance(values, str):
            raise AnalysisError(f"{name}: with a cohort, give the name of the column")
        return d.source.column(values)
    if isinstance(values, str):
        raise AnalysisError(f"{name}={values!r}: with arrays, give one value a row")
    given = list(values)
    ids = _row_ids(len(given), patients, name)
    found: dict[str, Any] = {}
    for patient, value in zip(ids, given, strict=True):
        if found.setdefault(str(patient), value) != value and value == value:
            raise AnalysisError(
                f"patient {str(patient)!r} has rows with different values of {name}: one is needed"
            )
    if not all(str(p) in found for p in d.patient_id):
        raise AnalysisError(f"{name} has {len(given)} values: give one for each row of the embeddings")
    return np.array([found[str(p)] for p in d.patient_id], dtype=object)


def subset(d: StageData, kept: np.ndarray) -> StageData | None:
    """The patients of a mask [n]; None where a stage would be left with fewer than 3, or fewer than 25 in all."""
    counts = np.bincount(d.codes[kept], minlength=d.n_stages)
    if counts.min() < min(3, int(d.counts.min())) or kept.sum() < 25:
        return None
    return dataclasses.replace(
        d,
        X=d.X[kept],
        X_full=d.X_full[kept],
        codes=d.codes[kept],
        patient_id=d.patient_id[kept],
        adjusters=None if d.adjusters is None else d.adjusters[kept].reset_index(drop=True),
        groups=None if d.groups is None else d.groups[kept],
    )


def less_group_means(X: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """X [n, d] less the mean of each row's group (as `StageData.within_groups`); X itself without groups."""
    if groups is None:
        return X
    out = np.empty(X.shape)
    for g in np.unique(groups):
        out[groups == g] = X[groups == g] - X[groups == g].mean(axis=0)
    return out


def _row_ids(rows: int, patients: Sequence[Any] | None, name: str) -> np.ndarray:
    if patients is None:
        return np.arange(rows).astype(str)
    if len(patients) != rows:
        raise AnalysisError(f"{name} has {rows} rows for {len(patients)} patients' rows: give one a row")
    return np.asarray(patients).astype(str)
