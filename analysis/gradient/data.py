"""From arrays or a cohort to the rows that a stage-gradient test works on, with every refusal by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.clinical import parse_order, stage_codes
from analysis.resampling import exact_floor
from analysis.results import Provenance, array_sha256
from flexict_core.errors import AnalysisError

if TYPE_CHECKING:
    import pandas as pd

    from analysis.cohort import Cohort

MIN_PER_STAGE = 3


@dataclass(frozen=True, eq=False)
class StageData:
    """One row a patient: X [n, d], codes [n] of the stages in `order`, adjusters [n rows] and groups [n]."""

    X: np.ndarray
    codes: np.ndarray
    order: tuple[str, ...]
    patient_id: np.ndarray
    adjusters: pd.DataFrame | None
    groups: np.ndarray | None
    stage_name: str
    group_name: str | None
    warnings: tuple[str, ...]
    source: Cohort | None
    X_full: np.ndarray  # [n, D]: X with the dimensions that are constant here

    @property
    def n(self) -> int:
        return int(self.codes.size)

    @property
    def n_stages(self) -> int:
        return len(self.order)

    @property
    def y(self) -> np.ndarray:
        """Stage codes as numbers: stages are equally spaced for the axis, ranks alone count in the tests."""
        return self.codes.astype(float)

    @property
    def counts(self) -> np.ndarray:
        return np.bincount(self.codes, minlength=self.n_stages)

    @property
    def within_groups(self) -> np.ndarray:
        """X less the mean of each patient's group: what may be compared within groups."""
        return self.X if self.groups is None else self.X - _group_means(self.X, self.groups)

    def centred(self, codes: np.ndarray) -> np.ndarray:
        """Stage codes [n] or [n, B] as numbers, less the group's mean, which no exchange within it changes."""
        values = codes.astype(float)
        if self.groups is None:
            return values
        mean = _group_means(self.y[:, None], self.groups)
        return values - (mean if values.ndim == 2 else mean[:, 0])

    def provenance(self, parameters: Mapping[str, Any], seed: int) -> Provenance:
        if self.source is not None:
            return self.source.provenance(parameters=parameters, seed=seed)
        hashes = {"embedding": array_sha256(self.X), "stage": array_sha256(self.codes)}
        return Provenance(data_sha256=hashes, parameters=dict(parameters), seed=seed)


def _group_means(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """[n, d]: the mean of each row's group."""
    out = np.empty(values.shape)
    for g in np.unique(groups):
        out[groups == g] = values[groups == g].mean(axis=0)
    return out


def gather(
    data: np.ndarray | Cohort,
    stage: Sequence[Any] | np.ndarray | str | None,
    *,
    order: Sequence[str] | str,
    adjust: pd.DataFrame | Sequence[str] | None,
    groups: Sequence[Any] | np.ndarray | str | None,
    patients: Sequence[Any] | None,
) -> StageData:
    """Join, order, average and check; refuse what cannot be tested, warn of what makes it weak."""
    from analysis.cohort import Cohort

    if isinstance(data, Cohort):
        raw = _from_cohort(data, stage, order=order, adjust=adjust, groups=groups)
    else:
        raw = _from_arrays(data, stage, order=order, adjust=adjust, groups=groups, patients=patients)
    return _checked(raw)


def _from_cohort(
    cohort: Cohort,
    stage: Any,
    *,
    order: Sequence[str] | str,
    adjust: Any,
    groups: Any,
) -> StageData:
    if not isinstance(stage, str):
        raise AnalysisError(f"stage={stage!r}: with a cohort, give the name of the stage column")
    names = list(adjust) if adjust is not None else []
    if stage in names:
        raise AnalysisError(f"adjuster {stage!r} is the stage itself: leave it out of the adjusters")
    if groups is not None and not isinstance(groups, str):
        raise AnalysisError("groups: with a cohort, give the name of the group column")
    needed = [*names, groups] if groups is not None else names
    complete = cohort.complete(list(dict.fromkeys(needed))) if needed else cohort
    kept, codes, parsed = complete.with_stage(stage, order)
    return StageData(
        X=kept.X,
        codes=codes,
        order=parsed.labels,
        patient_id=kept.patient_id,
        adjusters=kept.columns(names) if names else None,
        groups=None if groups is None else np.asarray(kept.column(groups)).astype(str),
        stage_name=stage,
        group_name=groups,
        warnings=kept.warnings,
        source=kept,
        X_full=kept.X,
    )


def _from_arrays(
    data: Any,
    stage: Any,
    *,
    order: Sequence[str] | str,
    adjust: Any,
    groups: Any,
    patients: Sequence[Any] | None,
) -> StageData:
    import pandas as pd

    X = np.asarray(data, dtype=float)
    if X.ndim != 2:
        raise AnalysisError(f"embeddings of shape {X.shape} are not [n, d]: give one row a patient")
    n = X.shape[0]
    if stage is None or isinstance(stage, str) or len(stage) != n:
        given = "none" if stage is None else repr(stage) if isinstance(stage, str) else len(stage)
        raise AnalysisError(f"{n} embeddings need {n} stages, got {given}")
    if adjust is not None and not isinstance(adjust, pd.DataFrame):
        raise AnalysisError("adjust: with arrays, give a pandas DataFrame with one row a patient")
    for name, value in (("adjust", adjust), ("groups", groups), ("patients", patients)):
        if value is not None and len(value) != n:
            raise AnalysisError(f"{name} has {len(value)} rows for {n} embeddings")
    frame = pd.DataFrame(index=range(n)) if adjust is None else adjust.reset_index(drop=True)
    frame = frame.assign(__stage=list(stage), __group="" if groups is None else list(groups))
    ids = np.arange(n).astype(str) if patients is None else np.asarray(patients).astype(str)
    X, frame, ids = _one_row_a_patient(X, frame, ids)
    parsed = parse_order(order)
    codes, _ = stage_codes(list(frame.pop("__stage")), parsed, column="stage")
    group_column = frame.pop("__group")
    whole = (codes >= 0) & ~frame.isna().any(axis=1).to_numpy() & ~group_column.isna().to_numpy()
    lost = int((~whole).sum())
    if not whole.any():
        raise AnalysisError("no patient has a stage and every adjuster")
    return StageData(
        X=X[whole],
        codes=codes[whole],
        order=parsed.labels,
        patient_id=ids[whole],
        adjusters=None if adjust is None else frame[whole].reset_index(drop=True),
        groups=None if groups is None else group_column[whole].astype(str).to_numpy(),
        stage_name="stage",
        group_name=None if groups is None else "exchange group",
        warnings=(f"{lost} patients without a stage, adjuster or group were left out",) if lost else (),
        source=None,
        X_full=X[whole],
    )


def _one_row_a_patient(
    X: np.ndarray, frame: pd.DataFrame, ids: np.ndarray
) -> tuple[np.ndarray, pd.DataFrame, np.ndarray]:
    """Average the rows of a patient; stage, adjusters and group must not differ between them."""
    unique, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
    if unique.size == ids.size:
        return X, frame, ids
    for column in frame.columns:
        kinds = frame[column].groupby(inverse).nunique(dropna=False)
        if (differs := kinds.gt(1)).any():
            who = unique[np.flatnonzero(differs.to_numpy())[0]]
            name = column.removeprefix("__")
            raise AnalysisError(
                f"patient {str(who)!r} has rows with different values of {name}: one is needed"
            )
    sums = np.zeros((unique.size, X.shape[1]))
    np.add.at(sums, inverse, X)
    mean = sums / np.bincount(inverse)[:, None]
    return mean, frame.iloc[first].reset_index(drop=True), unique


def _checked(d: StageData) -> StageData:
    warnings = list(d.warnings)
    if not np.isfinite(d.X).all():
        bad = np.flatnonzero(~np.isfinite(d.X).all(axis=0))
        raise AnalysisError(
            f"{bad.size} of {d.X.shape[1]} embedding columns hold NaN or infinity (first: column {bad[0]}): "
            "leave them out or fill them before the test"
        )
    order, codes = _stages_present(d, warnings)
    counts = np.bincount(codes, minlength=len(order))
    if (counts >= MIN_PER_STAGE).sum() < 2:
        held = ", ".join(f"{s}: {c}" for s, c in zip(order, counts, strict=True))
        raise AnalysisError(
            f"fewer than two stages have {MIN_PER_STAGE} or more patients ({held}): a gradient needs two"
        )
    few = [f"{s} ({c})" for s, c in zip(order, counts, strict=True) if c < MIN_PER_STAGE]
    if few:
        warnings.append(
            f"stages with fewer than {MIN_PER_STAGE} patients: {', '.join(few)}; their steps say little"
        )
    if d.n < 25:
        warnings.append(f"only {d.n} patients: fewer than 5 in each held-out fold")
    if d.groups is not None:
        _check_groups(d.groups, codes, warnings)
    if (floor := exact_floor(codes, d.groups)) > 1e-4:
        warnings.append(f"few arrangements of the stages exist: no p-value of the trend is below {floor:.2g}")
    with np.errstate(over="ignore"):
        spread = np.ptp(d.X, axis=0)
    if not np.isfinite(spread).all():
        raise AnalysisError("embedding values span more than a double can hold: rescale them")
    varies = spread > 1e-12 * np.abs(d.X).max(axis=0)
    if not varies.any():
        raise AnalysisError("every embedding dimension is constant: nothing can follow the stage")
    if not varies.all():
        warnings.append(
            f"{int((~varies).sum())} constant embedding dimensions carry nothing and were left out"
        )
    duplicate = d.n - np.unique(d.X, axis=0).shape[0]
    if duplicate:
        warnings.append(
            f"{duplicate} patients have exactly the embedding of another: look for duplicate scans"
        )
    return StageData(
        X=(d.X[:, varies] - d.X[:, varies].mean(axis=0)) / spread[varies],  # so that no unit is too small
        codes=codes,
        order=order,
        patient_id=d.patient_id,
        adjusters=d.adjusters,
        groups=d.groups,
        stage_name=d.stage_name,
        group_name=d.group_name,
        warnings=tuple(warnings),
        source=d.source,
        X_full=d.X_full,
    )


def _stages_present(d: StageData, warnings: list[str]) -> tuple[tuple[str, ...], np.ndarray]:
    """Order and codes without the stages that no patient has."""
    present = np.flatnonzero(np.bincount(d.codes, minlength=len(d.order)))
    if present.size == len(d.order):
        return d.order, d.codes
    absent = [s for k, s in enumerate(d.order) if k not in present]
    warnings.append(f"no patient has stage {', '.join(absent)}: its neighbours are compared directly")
    return tuple(d.order[k] for k in present), np.searchsorted(present, d.codes)


def _check_groups(groups: np.ndarray, codes: np.ndarray, warnings: list[str]) -> None:
    single = [g for g in np.unique(groups) if np.unique(codes[groups == g]).size == 1]
    if len(single) == np.unique(groups).size:
        raise AnalysisError("every group holds a single stage: within groups nothing can be exchanged")
    if single:
        shown = ", ".join(map(str, single[:5])) + (" …" if len(single) > 5 else "")
        warnings.append(f"{len(single)} groups hold one stage only and add nothing to the test: {shown}")
