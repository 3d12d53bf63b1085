"""A cohort: the embeddings of a store joined with a clinical table by patient ID.

Nothing is dropped in silence: every patient who is in only one of the two, or lacks a value that an analysis
needs, stands in `Cohort.lost` with the reason, and one sentence a reason stands in `Cohort.warnings`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.clinical import (
    ClinicalTable,
    StageOrder,
    canonical,
    parse_order,
    read_clinical,
    require_column,
    stage_codes,
)
from analysis.matching import lost_frame, mean_by_patient, nothing_in_common, sentences, unmatched
from flexict_core.encoders.stored import weights_caution
from flexict_core.errors import CohortError
from flexict_core.tables import listing, nearest

if TYPE_CHECKING:
    import pandas as pd

    from analysis.results import Provenance
    from flexict_core.store import EmbeddingStore, EmbeddingTable

MOST_CATEGORIES = 20


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Cohort:
    """One row a patient, in the same order in `X`, `patient_id` and `table`.

    X [n, d] float64; patient_id [n] text; table: the clinical columns (numbers as float64, else text or
    None); rows: the store's rows of these patients (several where a patient has several series or ROIs; their
    mean is the row of X); lost: columns patient_id, reason. The rest is provenance.
    """

    X: np.ndarray
    patient_id: np.ndarray
    table: pd.DataFrame
    rows: pd.DataFrame
    feature_names: tuple[str, ...] | None
    lost: pd.DataFrame
    warnings: tuple[str, ...] = ()
    name: str = ""
    id_column: str = "patient_id"
    embedding_id: str = ""
    encoder: str = ""
    licence: str | None = None
    synthetic: bool = False
    weights_caution: str | None = None
    data_sha256: Mapping[str, str] = field(default_factory=dict)
    store: Path | None = None

    def __repr__(self) -> str:
        return f"Cohort({self.name!r}: {self.n} patients × {self.X.shape[1]} dimensions of {self.embedding_id!r})"

    @property
    def n(self) -> int:
        """Number of patients."""
        return len(self.patient_id)

    def column(self, name: str) -> np.ndarray:
        """[n] values of a clinical column, or of a named dimension "feature:NAME" or "EMBEDDING:NAME".

        A dimension of another embedding of the same store is the mean over the patient's rows there, NaN for
        a patient who is not in it. Raises CohortError with the nearest name when there is no such column.
        """
        if name in self.table.columns:
            return self.table[name].to_numpy()
        if ":" not in name:
            require_column(name, list(self.table.columns), f"the clinical table of {self.name}")
        embedding, _, dimension = name.partition(":")
        if embedding == "feature":
            return _dimension(self.X, self.feature_names, dimension, self.embedding_id)
        return self._other_embedding(embedding, dimension)

    def _other_embedding(self, embedding: str, dimension: str) -> np.ndarray:
        from flexict_core.store import EmbeddingStore

        if self.store is None:
            raise CohortError(f"column {embedding}:{dimension!r}: this cohort was not read from a store")
        other = EmbeddingStore(self.store).read(embedding)
        values = _dimension(other.X, _feature_names(other), dimension, other.embedding_id)
        ids = other.rows["patient_id"].astype(str).str.strip().to_numpy(dtype=object)
        mean, order = mean_by_patient(values[:, None], ids)
        at = dict(zip(order, mean[:, 0], strict=True))
        return np.array([at.get(p, np.nan) for p in self.patient_id], dtype=np.float64)

    def columns(self, names: Sequence[str]) -> pd.DataFrame:
        """[n, len(names)] of `column`; refuses text of so many values that it is no category."""
        import pandas as pd

        frame = pd.DataFrame({name: self.column(name) for name in names}, index=range(self.n))
        for name in frame.columns:
            kinds = frame[name].dropna().unique()
            if frame[name].dtype == object and len(kinds) > min(MOST_CATEGORIES, max(2, self.n // 3)):
                odd = [k for k in kinds if not _is_number(k)]
                raise CohortError(
                    f"column {name!r} is text with {len(kinds)} different values ({listing(odd, most=3)}): "
                    "neither a number nor a category; make it numeric, or group it"
                )
        return frame

    def keep(self, mask: np.ndarray, reasons: Mapping[int, str]) -> Cohort:
        """The patients of a boolean mask [n]; the others go to `lost` with their reason by position."""
        gone = np.flatnonzero(~mask)
        if not len(gone):
            return self
        lost = [(str(self.patient_id[i]), reasons[int(i)]) for i in gone]
        if not mask.any():
            raise CohortError(f"no patient of {self.name} is left: {sentences(lost)[0]}")
        kept_ids = set(self.patient_id[mask])
        return dataclasses.replace(
            self,
            X=self.X[mask],
            patient_id=self.patient_id[mask],
            table=self.table[mask].reset_index(drop=True),
            rows=self.rows[self.rows["patient_id"].isin(kept_ids)].reset_index(drop=True),
            lost=lost_frame([*self.lost.itertuples(index=False, name=None), *lost]),
            warnings=(*self.warnings, *sentences(lost)),
        )

    def with_stage(
        self, stage: str, order: str | Sequence[str] | StageOrder
    ) -> tuple[Cohort, np.ndarray, StageOrder]:
        """The patients who have a stage, their codes 0…K−1 [n], and the parsed order.

        In the table of the cohort that comes back, `stage` holds the labels of the order ("1a+1b" when
        merged). Raises CohortError for a misspelt column and for stages that the order does not name (with
        counts).
        """
        parsed = parse_order(order)
        codes, reasons = stage_codes(list(self.column(stage)), parsed, column=stage)
        kept = self.keep(codes >= 0, reasons)
        codes = codes[codes >= 0]
        labels = np.array(parsed.labels, dtype=object)[codes]
        return dataclasses.replace(kept, table=kept.table.assign(**{stage: labels})), codes, parsed

    def complete(self, names: Sequence[str]) -> Cohort:
        """The patients who have a value in each of these columns (or named dimensions)."""
        frame = self.columns(names)
        gap = frame.isna().to_numpy()
        reasons = {
            int(i): f"{frame.columns[gap[i].argmax()]} is missing" for i in np.flatnonzero(gap.any(axis=1))
        }
        return self.keep(~gap.any(axis=1), reasons)

    def provenance(
        self, *, parameters: Mapping[str, Any] | None = None, seed: int | None = None
    ) -> Provenance:
        """Provenance of a result made from this cohort."""
        from analysis.results import Provenance

        return Provenance(
            embedding_id=self.embedding_id or None,
            data_sha256=dict(self.data_sha256),
            parameters=dict(parameters or {}),
            seed=seed,
            synthetic=self.synthetic,
            weights_caution=self.weights_caution,
            licence=self.licence,
            cohort=self.name or None,
        )


def load_cohort(
    store: str | Path | EmbeddingStore,
    embedding: str | None,
    clinical: str | Path,
    *,
    id_column: str,
    where: Sequence[str] = (),
    id_replace: Sequence[str] = (),
    name: str | None = None,
) -> Cohort:
    """Join an embedding with a clinical table (CSV, Parquet, XLSX; see `analysis.clinical`) by patient ID.

    IDs are compared as text. Several rows of a patient in the store are averaged, so that a patient counts
    once. `embedding` is an embedding_id or unambiguous name; None takes the only one of the store. `where`
    holds "COLUMN=VALUE" or "COLUMN!=VALUE": different columns must all hold, several "=" of one column mean
    either. `id_replace` holds "FROM=TO" for the clinical IDs. Raises CohortError for duplicate IDs, a
    misspelt column and when no ID is common; StoreError for what the store does not hold.
    """
    import pandas as pd

    from flexict_core.store import EmbeddingStore

    archive = store if isinstance(store, EmbeddingStore) else EmbeddingStore(Path(store))
    held = archive.read(only_embedding(archive) if embedding is None else embedding)
    if not len(held.rows):
        raise CohortError(
            f"embedding {held.embedding_id!r} has no rows yet: run flexict embed or import again"
        )
    table = read_clinical(clinical, id_column=id_column, id_replace=id_replace)
    row_ids = held.rows["patient_id"].astype(str).str.strip().to_numpy(dtype=object)
    X, patients = mean_by_patient(np.asarray(held.X, dtype=np.float64), row_ids)
    at = pd.Index(patients).get_indexer(table.patient_id)  # −1: not in the store
    known = at >= 0
    if not known.any():
        raise CohortError(nothing_in_common(patients, table))
    lost = unmatched(patients, table)
    common = table.patient_id[known]
    caution = weights_caution(held.spec)
    rows = held.rows
    rows["patient_id"] = row_ids
    cohort = Cohort(
        X=X[at[known]],
        patient_id=common,
        table=_rows_of(table.frame, known),
        rows=_rows_of(rows, np.asarray(pd.Index(row_ids).isin(common))),
        feature_names=_feature_names(held),
        lost=lost_frame(lost),
        warnings=(*of_weights(caution, "this embedding"), *sentences(lost), *_without_id(table)),
        name=name or _cohort_name(table.source, where),
        id_column=id_column,
        embedding_id=held.embedding_id,
        encoder=str(held.spec.get("encoder", "")),
        licence=held.spec.get("licence") or None,
        synthetic=bool(held.spec.get("synthetic", False)),
        weights_caution=caution,
        data_sha256=_hashes(table, held, X, patients),
        store=Path(archive.path),
    )
    return _finite(_filtered(cohort, where))


def of_weights(caution: str | None, which: str) -> tuple[str, ...]:
    """The warning of an embedding whose weights have learnt nothing of patients; none of others."""
    return () if caution is None else (f"the weights behind {which} are {caution}",)


def _rows_of(frame: pd.DataFrame, wanted: np.ndarray) -> pd.DataFrame:
    """The rows of a mask [n], counted anew; a table of which every row is wanted is not copied."""
    return frame if wanted.all() else frame[wanted].reset_index(drop=True)


def only_embedding(store: EmbeddingStore) -> str:
    """The embedding_id of a store that holds one embedding; else CohortError that lists them."""
    infos = store.list()
    if len(infos) != 1:
        names = (
            listing([i.name for i in infos], most=8) if infos else "none: run flexict embed or import first"
        )
        raise CohortError(
            f"store {str(store.path)!r} holds {len(infos)} embeddings ({names}): choose by --embedding"
        )
    return str(infos[0].embedding_id)


def _filtered(cohort: Cohort, where: Sequence[str]) -> Cohort:
    """Rows that meet every condition. What a user leaves out on purpose is listed but makes no warning."""
    wanted: dict[str, set[str]] = {}
    mask = np.ones(cohort.n, dtype=bool)
    for condition in where:
        column, equals, value = (part.strip() for part in condition.partition("="))
        unwanted = column.endswith("!")
        column = column.removesuffix("!").strip()
        if not equals or not column:
            raise CohortError(
                f"--where {condition!r} is not COLUMN=VALUE: write for example --where cohort=A"
            )
        values = [canonical(v) for v in cohort.column(column)]
        if canonical(value) not in values:
            kinds = listing(sorted(set(values)), most=8)
            raise CohortError(
                f"--where {condition!r}: column {column!r} never is {value!r}; it holds {kinds}"
            )
        if unwanted:
            mask &= np.array([v != canonical(value) for v in values])
        else:
            wanted.setdefault(column, set()).add(canonical(value))
    for column, allowed in wanted.items():
        mask &= np.array([canonical(v) in allowed for v in cohort.column(column)])
    reason = f"left out by --where {' '.join(where)}"
    kept = cohort.keep(mask, {int(i): reason for i in np.flatnonzero(~mask)})
    return dataclasses.replace(kept, warnings=cohort.warnings)


def _finite(cohort: Cohort) -> Cohort:
    good = np.isfinite(cohort.X).all(axis=1)
    return cohort.keep(good, {int(i): "the embedding holds NaN or infinity" for i in np.flatnonzero(~good)})


def _without_id(table: ClinicalTable) -> list[str]:
    if not table.without_id:
        return []
    return [
        f"{table.without_id} rows of {table.source.name} have no ID in column {table.id_column!r}: left out"
    ]


def _cohort_name(source: Path, where: Sequence[str]) -> str:
    return "/".join((source.resolve().parent.name, source.stem)) + (f" ({', '.join(where)})" if where else "")


def _feature_names(held: EmbeddingTable) -> tuple[str, ...] | None:
    names = held.spec.get("feature_names")
    return tuple(names) if names else None


def _dimension(X: np.ndarray, names: tuple[str, ...] | None, dimension: str, embedding_id: str) -> np.ndarray:
    if names is None:
        raise CohortError(
            f"embedding {embedding_id!r} has no named dimensions, so there is no {dimension!r} to take"
        )
    if dimension not in names:
        raise CohortError(
            f"embedding {embedding_id!r} has no dimension {dimension!r}: {nearest(dimension, names)}"
        )
    return np.asarray(X[:, names.index(dimension)], dtype=np.float64)


def _hashes(
    table: ClinicalTable, held: EmbeddingTable, X: np.ndarray, patients: np.ndarray
) -> dict[str, str]:
    from analysis.results import array_sha256

    hashes = {"clinical": table.sha256, "embedding": array_sha256(X, patients)}
    if "source_sha256" in held.rows and held.rows["source_sha256"].notna().any():
        hashes["images"] = array_sha256(np.sort(held.rows["source_sha256"].fillna("").to_numpy(dtype=str)))
    return hashes


def _is_number(value: object) -> bool:
    try:
        float(str(value))
    except ValueError:
        return False
    return True
