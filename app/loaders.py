"""Cached loaders behind the pages, keyed by what they read (files with their stamps, embedding id, filter).

They are shared between the sessions of a server: what they return is read, never changed.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from app import state
from app.components.ct_planes import CtCase, open_case
from flexict_core.errors import ImageError, StoreError

if TYPE_CHECKING:
    import pandas as pd

    from analysis.audit import AuditResult
    from analysis.cohort import Cohort
    from analysis.projection import Method, ProjectionResult
    from analysis.retrieval import NeighbourResult
    from analysis.stage_gradient import StageGradientResult
    from app.components.gradient_settings import GradientSettings
    from flexict_core.store import EmbeddingInfo

Stamp = tuple[tuple[str, int, int], ...]
_MOST_LEVELS = 20
_MOST_GRADIENTS = 32


def stamp(path: Path) -> Stamp:
    """Names, sizes and times of a file, or of the files in a folder: changes when the data change."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    return tuple((str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in files)


def embeddings(config: state.AppConfig) -> list[EmbeddingInfo]:
    """What the store holds."""
    from flexict_core.store import EmbeddingStore

    EmbeddingStore(config.store)  # says so where there is no store
    return _embeddings(config.store, stamp(config.store))


@st.cache_data(show_spinner=False, max_entries=4)
def _embeddings(store: Path, _stamp: Stamp) -> list[EmbeddingInfo]:
    from flexict_core.store import EmbeddingStore

    return EmbeddingStore(store).list()


def chosen_embedding(config: state.AppConfig) -> str:
    """The embedding of the view, or the first of the store."""
    ids = [info.embedding_id for info in embeddings(config)]
    if not ids:
        raise StoreError(f"store {str(config.store)!r} holds no embedding: run flexict embed or import first")
    wanted = state.view().embedding
    return wanted if wanted in ids else ids[0]


def whole_cohort(config: state.AppConfig) -> Cohort:
    """The chosen embedding joined with the clinical table, before any filter."""
    return _cohort(config, chosen_embedding(config), (), _stamps(config))


def current_cohort(config: state.AppConfig) -> Cohort:
    """The patients that the view's filter keeps."""
    return _cohort(config, chosen_embedding(config), state.view().where, _stamps(config))


def _stamps(config: state.AppConfig) -> Stamp:
    return (*stamp(config.store), *stamp(config.clinical))


@st.cache_resource(show_spinner="Joining embeddings and clinical table…", max_entries=16)
def _cohort(config: state.AppConfig, embedding: str, where: tuple[str, ...], stamps: Stamp) -> Cohort:
    from analysis.cohort import load_cohort

    return load_cohort(config.store, embedding, config.clinical, id_column=config.id_column, where=where)


def quarantine(config: state.AppConfig) -> pd.DataFrame:
    """Rows of the chosen embedding's manifest that could not be embedded, with the reason."""
    from flexict_core.store import EmbeddingStore

    return EmbeddingStore(config.store).quarantine(chosen_embedding(config))


def cohort_key(cohort: Cohort) -> tuple[str, ...]:
    """Identifies the cohort's content for the caches: embedding, data hashes, and who is kept."""
    who = str(hash(tuple(cohort.patient_id)))
    return (cohort.embedding_id, *sorted(cohort.data_sha256.values()), cohort.name, who)


def projection(cohort: Cohort, method: Method) -> ProjectionResult:
    return _projection(cohort, cohort_key(cohort), method)


@st.cache_resource(show_spinner="Computing the projection…", max_entries=32)
def _projection(_cohort: Cohort, key: tuple[str, ...], method: Method) -> ProjectionResult:
    from analysis import project

    return project(_cohort, method=method)


def neighbours(cohort: Cohort, patient: str, k: int) -> NeighbourResult:
    return _neighbours(cohort, cohort_key(cohort), patient, k)


@st.cache_resource(show_spinner="Searching for similar cases…", max_entries=256)
def _neighbours(_cohort: Cohort, key: tuple[str, ...], patient: str, k: int) -> NeighbourResult:
    from analysis import search

    return search(_cohort, patient, k=k)


def gradient(
    cohort: Cohort, settings: GradientSettings, *, progress: Callable[[str], None] | None = None
) -> StageGradientResult:
    """The stage gradient of these settings, from the shelf where it was made before."""
    from analysis import stage_gradient

    shelf, key = _gradient_shelf(), (cohort_key(cohort), settings)
    if key not in shelf:
        shelf[key] = stage_gradient(
            cohort,
            settings.stage,
            order=settings.order,
            adjust=list(settings.adjust) or None,
            groups=settings.group,
            progress=progress,
        )
        while len(shelf) > _MOST_GRADIENTS:
            shelf.pop(next(iter(shelf)))
    return shelf[key]


def has_gradient(cohort: Cohort, settings: GradientSettings) -> bool:
    """True when `gradient` would answer at once."""
    return (cohort_key(cohort), settings) in _gradient_shelf()


@st.cache_resource(show_spinner=False)
def _gradient_shelf() -> dict[tuple[Any, ...], StageGradientResult]:
    """Oldest first. By hand, for Streamlit's cache cannot hold a function that reports its progress."""
    return {}


@dataclass(frozen=True)
class AuditSettings:
    """What the audit page asks; order: the label's values from early to late, None where it is no stage."""

    label: str | None
    order: tuple[str, ...] | None
    group: str | None
    split: str | None
    fields: tuple[str, ...]


def audit(cohort: Cohort, settings: AuditSettings) -> AuditResult:
    """The audit of these settings, from the shelf where it was made before; its verdict goes beside the store."""
    from analysis import audit as make
    from analysis.audits.stamp import write_stamp

    shelf, key = _audit_shelf(), (cohort_key(cohort), settings)
    if key not in shelf:
        shelf[key] = make(
            cohort,
            label=settings.label,
            order=settings.order,
            fields=settings.fields or None,
            group=settings.group,
            split=settings.split,
        )
        with suppress(StoreError):  # a store that may only be read keeps no verdict
            write_stamp(cohort, shelf[key])
        while len(shelf) > _MOST_GRADIENTS:
            shelf.pop(next(iter(shelf)))
    return shelf[key]


def has_audit(cohort: Cohort, settings: AuditSettings) -> bool:
    """True when `audit` would answer at once."""
    return (cohort_key(cohort), settings) in _audit_shelf()


@st.cache_resource(show_spinner=False)
def _audit_shelf() -> dict[tuple[Any, ...], AuditResult]:
    """Oldest first."""
    return {}


def category_levels(cohort: Cohort) -> dict[str, list[str]]:
    """Columns with few different values, and those values as text, in natural order."""
    return _category_levels(cohort, cohort_key(cohort))


@st.cache_data(show_spinner=False, max_entries=32)
def _category_levels(_cohort: Cohort, key: tuple[str, ...]) -> dict[str, list[str]]:
    from analysis.clinical import canonical
    from analysis.selection import natural_key

    levels = {}
    for name in _cohort.table.columns:
        values = sorted({canonical(v) for v in _cohort.table[name]} - {""}, key=natural_key)
        if name != _cohort.id_column and 2 <= len(values) <= min(_MOST_LEVELS, max(2, _cohort.n // 2)):
            levels[str(name)] = values
    return levels


def stage_order(cohort: Cohort, column: str, config: state.AppConfig) -> list[str] | None:
    """The order of the stages where `column` is the stage column and the order names each of its values once."""
    from analysis.clinical import canonical

    shown = state.view()
    known = {config.stage: config.order, **({shown.stage: shown.order} if shown.order else {})}
    order = known.get(column)
    names = [canonical(part) for part in order.split(",")] if order else []
    present = set(category_levels(cohort).get(column, ()))
    return names if present and present <= set(names) else None


def plottable_columns(cohort: Cohort) -> list[str]:
    """Columns that are numbers or have few values: what a picture can show or be coloured by."""
    levels = category_levels(cohort)
    numeric = {str(c) for c in cohort.table.columns if cohort.table[c].dtype.kind == "f"}
    return [str(c) for c in cohort.table.columns if c in levels or (c in numeric and c != cohort.id_column)]


def image_paths(row: Any) -> tuple[Path, Path | None]:
    """Image and mask of a store row. Raises ImageError when there are none, or when one lies outside the manifest's
    folder: nothing else of this machine is shown."""
    if not row.root or not row.image:
        raise ImageError(f"patient {row.patient_id!r} has no image in the store: these vectors were imported")
    root = Path(row.root).resolve()
    paths = []
    for name in (row.image, row.mask):
        path = (root / name).resolve() if name else None
        if path is not None and not path.is_relative_to(root):
            raise ImageError(f"{name!r} lies outside the manifest's folder {str(root)!r}: it is not shown")
        if path is not None and not path.exists():
            raise ImageError(f"{str(path)!r} is not there any more: put it back to see this case")
        paths.append(path)
    return paths[0], paths[1]  # type: ignore[return-value]


def ct_case(row: Any) -> CtCase:
    """The CT and mask of a store row; the last few stay in memory."""
    image, mask = image_paths(row)
    return _ct_case(row, (*stamp(image), *(stamp(mask) if mask else ())), str(row.mask_label))


@st.cache_resource(show_spinner="Reading the CT…", max_entries=3)
def _ct_case(_row: Any, stamps: Stamp, label: str) -> CtCase:
    return read_case(_row)


def read_case(row: Any) -> CtCase:
    """The CT and mask of a store row, read anew."""
    image, mask = image_paths(row)
    label = row.mask_label
    return open_case(image, mask, mask_label=int(label) if isinstance(label, int | np.integer) else None)
