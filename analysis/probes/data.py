"""From arrays or cohorts to the patients of a probe, with every refusal by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.clinical import canonical, parse_order, stage_codes
from analysis.matching import mean_by_patient
from analysis.probes.nested import FOLDS
from analysis.results import Provenance, array_sha256
from flexict_core.errors import AnalysisError
from flexict_core.tables import listing

if TYPE_CHECKING:
    from analysis.cohort import Cohort

MOST_CLASSES, FEWEST = 20, 20


@dataclass(frozen=True, kw_only=True, eq=False)
class ProbeData:
    """One row a patient. `embeddings`: each [n, d] by name; `truth`: codes [n], values [n] or [n, 2] time, event."""

    embeddings: dict[str, np.ndarray]
    truth: np.ndarray
    labels: tuple[str, ...]
    patient_id: np.ndarray
    target: str
    warnings: tuple[str, ...]
    source: Cohort | None

    @property
    def n(self) -> int:
        return len(self.truth)

    def provenance(self, parameters: Mapping[str, Any], seed: int) -> Provenance:
        if self.source is not None:
            return self.source.provenance(parameters=parameters, seed=seed)
        hashes = {name: array_sha256(X) for name, X in self.embeddings.items()}
        return Provenance(
            data_sha256={**hashes, "target": array_sha256(self.truth)}, parameters=dict(parameters), seed=seed
        )


def gather(
    data: Any,
    target: Any,
    *,
    task: str,
    order: str | Sequence[str] | None,
    event: Any,
    event_value: str | None,
    patients: Sequence[Any] | None,
) -> ProbeData:
    """Join, average and check; several embeddings keep the patients that all of them hold."""
    from analysis.cohort import Cohort

    several = list(data) if isinstance(data, list | tuple) else [data]
    if isinstance(several[0], Cohort):
        raw = _from_cohorts(several, target, event)
    else:
        raw = _from_arrays(several, target, event, patients)
    return _checked(raw, task=task, order=order, event_value=event_value)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Raw:
    embeddings: dict[str, np.ndarray]
    target: list[Any]
    event: list[Any] | None
    patient_id: np.ndarray
    names: tuple[str, str]
    warnings: tuple[str, ...]
    source: Cohort | None


def _from_cohorts(cohorts: Sequence[Cohort], target: Any, event: Any) -> _Raw:
    first = cohorts[0]
    for name, value in (("target", target), ("event", event)):
        if not (isinstance(value, str) or (name == "event" and value is None)):
            raise AnalysisError(f"{name}={value!r}: with a cohort, give the name of its column")
    shared = [p for p in first.patient_id if all(p in set(c.patient_id) for c in cohorts[1:])]
    if not shared:
        raise AnalysisError("the embeddings have no patient in common: compare embeddings of one cohort")
    notes = list(first.warnings)
    if len(shared) < first.n:
        notes.append(
            f"{first.n - len(shared)} patients are not in every embedding: left out of the comparison"
        )
    names = [c.embedding_id or f"embedding {i + 1}" for i, c in enumerate(cohorts)]
    if len(set(names)) < len(names):
        raise AnalysisError(f"embedding {listing(names)} is named twice: compare different embeddings")
    rows = []
    for c in cohorts:
        at = {p: i for i, p in enumerate(c.patient_id)}
        rows.append([at[p] for p in shared])
    keep = rows[0]
    return _Raw(
        embeddings={name: c.X[at] for name, c, at in zip(names, cohorts, rows, strict=True)},
        target=list(np.asarray(first.column(target), dtype=object)[keep]),
        event=None if event is None else list(np.asarray(first.column(event), dtype=object)[keep]),
        patient_id=np.asarray(shared, dtype=object),
        names=(target, event or ""),
        warnings=tuple(notes),
        source=first,
    )


def _from_arrays(arrays: Sequence[Any], target: Any, event: Any, patients: Sequence[Any] | None) -> _Raw:
    matrices = [np.asarray(a, dtype=float) for a in arrays]
    shapes = [m.shape for m in matrices]
    if any(m.ndim != 2 for m in matrices) or len({m.shape[0] for m in matrices}) > 1:
        raise AnalysisError(
            f"embeddings of shapes {listing(list(map(str, shapes)))} do not match: one row a patient"
        )
    n = shapes[0][0]
    for name, value in (("target", target), ("event", event), ("patients", patients)):
        if value is not None and (isinstance(value, str) or len(value) != n):
            got = repr(value) if isinstance(value, str) else f"{len(value)} values"
            raise AnalysisError(f"{name} needs {n} values, one an embedding, got {got}")
    ids = np.arange(n).astype(str) if patients is None else np.asarray(patients).astype(str)
    values, events = list(target), None if event is None else list(event)
    unique, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
    if unique.size < n:
        for name, column in (("target", values), ("event", events)):
            seen: dict[int, str] = {}
            for i, v in zip(inverse, column or [], strict=False):
                if seen.setdefault(int(i), canonical(v)) != canonical(v):
                    who = str(unique[i])
                    raise AnalysisError(
                        f"patient {who!r} has rows with different {name}: one value is needed"
                    )
        matrices = [mean_by_patient(m, ids)[0] for m in matrices]
        values, ids = [values[i] for i in first], unique
        events = None if events is None else [events[i] for i in first]
    return _Raw(
        embeddings={
            ("embedding" if len(matrices) == 1 else f"embedding {i + 1}"): m for i, m in enumerate(matrices)
        },
        target=values,
        event=events,
        patient_id=ids,
        names=("target", "event"),
        warnings=(),
        source=None,
    )


def _checked(raw: _Raw, *, task: str, order: Any, event_value: str | None) -> ProbeData:
    truth, known, labels = _truth(raw, task=task, order=order, event_value=event_value)
    notes = list(raw.warnings)
    if not known.all():
        notes.append(f"{int((~known).sum())} patients without {raw.names[0]} are left out")
    if int(known.sum()) < FEWEST:
        raise AnalysisError(
            f"{int(known.sum())} patients have {raw.names[0]!r}: a probe needs at least {FEWEST}"
        )
    truth, kept = truth[known], {}
    _check_truth(truth, labels, task=task, name=raw.names[0])
    for name, X in raw.embeddings.items():
        here = X[known]
        if not np.isfinite(here).all():
            raise AnalysisError(f"{name} holds NaN or infinity: leave those columns out or fill them")
        varies = np.ptp(here, axis=0) > 0
        if not varies.any():
            raise AnalysisError(f"{name}: every dimension is constant, so nothing can be read from it")
        if not varies.all():
            notes.append(
                f"{name}: {int((~varies).sum())} constant dimensions carry nothing and were left out"
            )
        kept[name] = here[:, varies]
    source = raw.source
    if source is not None:
        source = source.keep(
            np.isin(source.patient_id, raw.patient_id[known]),
            {int(i): f"{raw.names[0]} is missing" for i in range(source.n)},
        )
    return ProbeData(
        embeddings=kept, truth=truth, labels=labels, patient_id=raw.patient_id[known], target=raw.names[0],
        warnings=tuple(notes), source=source,
    )  # fmt: skip


def _truth(
    raw: _Raw, *, task: str, order: Any, event_value: str | None
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Truth of every patient, who has one, and the names of the classes."""
    from analysis.selection import natural_key

    texts = [canonical(v) for v in raw.target]
    known = np.array([t != "" for t in texts])
    if task == "survival":
        from analysis.time_to_event.times import read_times

        if raw.event is None:
            raise AnalysisError("task 'survival' needs an event: give --event COL (1 event, 0 censored)")
        time, event, _ = read_times(
            raw.target, raw.event, names=raw.names, event_value=event_value, competing="refuse"
        )
        return np.column_stack([time, event]), np.isfinite(time) & np.isfinite(event), ()
    if task == "regress":
        try:
            values = np.array([float(t) if t else np.nan for t in texts])
        except ValueError:
            odd = next(t for t in texts if t and not _is_number(t))
            raise AnalysisError(
                f"target {raw.names[0]!r} holds {odd!r}, not a number: use --task classify"
            ) from None
        return values, np.isfinite(values), ()
    if task == "ordinal":
        if order is None:
            raise AnalysisError("task 'ordinal' needs the order of its values: give --order 'I,II,III'")
        parsed = parse_order(order)
        codes, _ = stage_codes(raw.target, parsed, column=raw.names[0])
        return codes, codes >= 0, parsed.labels
    labels = tuple(sorted({t for t in texts if t}, key=natural_key))
    if len(labels) > MOST_CLASSES:
        raise AnalysisError(
            f"target {raw.names[0]!r} has {len(labels)} different values: more than {MOST_CLASSES} classes; group "
            "them, or use --task regress"
        )
    return np.array([labels.index(t) if t else -1 for t in texts]), known, labels


def _check_truth(truth: np.ndarray, labels: Sequence[str], *, task: str, name: str) -> None:
    if task == "survival":
        if int(truth[:, 1].sum()) < FOLDS:
            raise AnalysisError(
                f"{int(truth[:, 1].sum())} events: a probe of survival needs at least {FOLDS}"
            )
        return
    if task == "regress":
        if np.ptp(truth) == 0:
            raise AnalysisError(
                f"target {name!r} is {truth[0]:g} for every patient: there is nothing to predict"
            )
        return
    counts = Counter(truth.tolist())
    shown = ", ".join(f"{label}: {counts.get(k, 0)}" for k, label in enumerate(labels))
    if len(counts) < 2:
        raise AnalysisError(f"target {name!r} has one class only ({shown}): a probe needs two")
    if min(counts.get(k, 0) for k in range(len(labels))) < FOLDS:
        raise AnalysisError(
            f"target {name!r} has classes smaller than the {FOLDS} folds ({shown}): merge them, or leave them out "
            "with --where"
        )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
