"""From arrays or a cohort to the patients of a survival analysis, with every refusal by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.clinical import canonical
from analysis.matching import mean_by_patient
from analysis.results import Provenance, array_sha256
from analysis.time_to_event.times import Competing, read_times
from flexict_core.errors import AnalysisError

if TYPE_CHECKING:
    import pandas as pd

    from analysis.cohort import Cohort

MOST_GROUPS = 8
FEWEST_PATIENTS, FEWEST_EVENTS = 20, 5


@dataclass(frozen=True, kw_only=True, eq=False)
class SurvivalData:
    """One row a patient: X [n, d], time [n] > 0, event [n] 0 or 1, clinical table and groups [n] where given."""

    X: np.ndarray
    time: np.ndarray
    event: np.ndarray
    patient_id: np.ndarray
    clinical: pd.DataFrame | None
    groups: np.ndarray | None
    names: tuple[str, str]
    by: str | None
    warnings: tuple[str, ...]
    source: Cohort | None

    @property
    def n(self) -> int:
        return int(self.time.size)

    @property
    def events(self) -> int:
        return int(self.event.sum())

    def provenance(self, parameters: Mapping[str, Any], seed: int) -> Provenance:
        if self.source is not None:
            return self.source.provenance(parameters=parameters, seed=seed)
        hashes = {"embedding": array_sha256(self.X), "outcome": array_sha256(self.time, self.event)}
        return Provenance(data_sha256=hashes, parameters=dict(parameters), seed=seed)


def gather(
    data: np.ndarray | Cohort,
    *,
    duration: Any,
    event: Any,
    by: Any,
    clinical: Any,
    patients: Sequence[Any] | None,
    event_value: str | None,
    competing: Competing,
) -> SurvivalData:
    """Join, average and check. Raises AnalysisError or CohortError for what cannot be analysed."""
    from analysis.cohort import Cohort

    if isinstance(data, Cohort):
        raw = _from_cohort(
            data, duration, event, by=by, clinical=clinical, event_value=event_value, competing=competing
        )
    else:
        raw = _from_arrays(
            data, duration, event, by=by, clinical=clinical, patients=patients, event_value=event_value,
            competing=competing,
        )  # fmt: skip
    return _checked(raw)


def _from_cohort(
    cohort: Cohort,
    duration: Any,
    event: Any,
    *,
    by: Any,
    clinical: Any,
    event_value: str | None,
    competing: Competing,
) -> SurvivalData:
    for name, value in (("duration", duration), ("event", event)):
        if not isinstance(value, str):
            raise AnalysisError(f"{name}={value!r}: with a cohort, give the name of its column")
    columns = list(clinical or [])
    for name in (duration, event):
        if name in columns or name == by:
            raise AnalysisError(f"column {name!r} is the outcome itself: leave it out of the other columns")
    needed = [*columns, *([by] if by else [])]
    kept = cohort.complete(list(dict.fromkeys(needed))) if needed else cohort
    time, happened, notes = read_times(
        kept.column(duration), kept.column(event), names=(duration, event),
        event_value=event_value, competing=competing,
    )  # fmt: skip
    unknown = ~(np.isfinite(time) & np.isfinite(happened))
    reasons = {
        int(i): f"{duration if not np.isfinite(time[i]) else event} is missing"
        for i in np.flatnonzero(unknown)
    }
    kept = kept.keep(~unknown, reasons)
    return SurvivalData(
        X=kept.X,
        time=time[~unknown],
        event=happened[~unknown].astype(int),
        patient_id=kept.patient_id,
        clinical=kept.columns(columns) if columns else None,
        groups=_texts(kept.column(by)) if by else None,
        names=(duration, event),
        by=by,
        warnings=(*kept.warnings, *notes),
        source=kept,
    )


def _from_arrays(
    data: Any,
    duration: Any,
    event: Any,
    *,
    by: Any,
    clinical: Any,
    patients: Sequence[Any] | None,
    event_value: str | None,
    competing: Competing,
) -> SurvivalData:
    import pandas as pd

    X = np.asarray(data, dtype=float)
    if X.ndim != 2:
        raise AnalysisError(f"embeddings of shape {X.shape} are not [n, d]: give one row a patient")
    n = X.shape[0]
    parts = {"duration": duration, "event": event, "by": by, "clinical": clinical, "patients": patients}
    for name, value in parts.items():
        if value is not None and (isinstance(value, str) or len(value) != n):
            got = repr(value) if isinstance(value, str) else f"{len(value)} values"
            raise AnalysisError(f"{name} needs {n} values, one an embedding, got {got}")
    frame = pd.DataFrame({"duration": list(duration), "event": list(event)})
    if by is not None:
        frame["by"] = list(by)
    table = None if clinical is None else pd.DataFrame(clinical).reset_index(drop=True)
    ids = np.arange(n).astype(str) if patients is None else np.asarray(patients).astype(str)
    if np.unique(ids).size < n:
        X, frame, table, ids = _one_row_a_patient(X, frame, table, ids)
    time, happened, notes = read_times(
        frame["duration"].to_numpy(), frame["event"].to_numpy(), names=("duration", "event"),
        event_value=event_value, competing=competing,
    )  # fmt: skip
    whole = np.isfinite(time) & np.isfinite(happened)
    if by is not None:
        whole &= frame["by"].notna().to_numpy()
    if table is not None:
        whole &= table.notna().all(axis=1).to_numpy()
    if not whole.all():
        notes.append(f"{int((~whole).sum())} patients without time, event or a covariate were left out")
    return SurvivalData(
        X=X[whole],
        time=time[whole],
        event=happened[whole].astype(int),
        patient_id=ids[whole],
        clinical=None if table is None else table[whole].reset_index(drop=True),
        groups=None if by is None else _texts(frame["by"][whole]),
        names=("duration", "event"),
        by=None if by is None else "group",
        warnings=tuple(notes),
        source=None,
    )


def _one_row_a_patient(
    X: np.ndarray, frame: pd.DataFrame, table: pd.DataFrame | None, ids: np.ndarray
) -> tuple[np.ndarray, pd.DataFrame, pd.DataFrame | None, np.ndarray]:
    mean, order = mean_by_patient(X, ids)
    _, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
    for part in (frame, table) if table is not None else (frame,):
        for column in part.columns:
            differs = part[column].groupby(inverse).nunique(dropna=False).gt(1).to_numpy()
            if differs.any():
                who = str(order[np.flatnonzero(differs)[0]])
                raise AnalysisError(f"patient {who!r} has rows with different {column}: one value is needed")
    chosen = None if table is None else table.iloc[first].reset_index(drop=True)
    return mean, frame.iloc[first].reset_index(drop=True), chosen, order


def _checked(d: SurvivalData) -> SurvivalData:
    if not np.isfinite(d.X).all():
        raise AnalysisError("the embedding holds NaN or infinity: leave those columns out or fill them")
    if d.n < FEWEST_PATIENTS or d.events < FEWEST_EVENTS:
        raise AnalysisError(
            f"{d.n} patients with {d.events} events: a cross-fitted risk score needs at least "
            f"{FEWEST_PATIENTS} patients and {FEWEST_EVENTS} events"
        )
    varies = np.ptp(d.X, axis=0) > 0
    notes = list(d.warnings)
    if not varies.any():
        raise AnalysisError("every embedding dimension is constant: no risk can be learnt from it")
    if not varies.all():
        notes.append(f"{int((~varies).sum())} constant embedding dimensions carry nothing and were left out")
    if d.groups is not None:
        kinds = np.unique(d.groups)
        if not 2 <= kinds.size <= MOST_GROUPS:
            raise AnalysisError(
                f"column {d.by!r} has {kinds.size} different values: curves need 2 to {MOST_GROUPS} groups"
            )
    return replace(d, X=d.X[:, varies], warnings=tuple(notes))


def _texts(values: Any) -> np.ndarray:
    return np.array([canonical(v) for v in values], dtype=object)
