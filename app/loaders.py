"""Cached loaders behind the pages, keyed by what they read (files with their stamps, embedding id, filter).

They are shared between the sessions of a server: what they return is read, never changed.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from app import jobs, saved_selections, state
from app.components.ct_planes import CtCase, open_case
from flexict_core.errors import ImageError, StoreError

if TYPE_CHECKING:
    import pandas as pd

    from analysis.audit import AuditResult
    from analysis.clusters import ClusterResult
    from analysis.cohort import Cohort
    from analysis.gallery import Gallery
    from analysis.plots.projection import Colouring
    from analysis.probe import ProbeResult
    from analysis.projection import Method, ProjectionResult
    from analysis.retrieval import NeighbourResult, RetrievalResult
    from analysis.selection_contrast import SelectionContrast
    from analysis.stage_gradient import StageGradientResult
    from analysis.survival import SurvivalResult
    from analysis.time_to_event.groups import GroupSurvival
    from app.components.gradient_settings import GradientSettings
    from flexict_core.store import EmbeddingInfo

Stamp = tuple[tuple[str, int, int], ...]
_MOST_LEVELS = 20
_MOST_SPELLINGS = 200  # of them in a column
Question = tuple[Any, ...]


def stamp(path: Path) -> Stamp:
    """Names, sizes and times of a file, or of the files in a folder: changes when the data change."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    return tuple((str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in files)


def store_stamp(store: Path) -> Stamp:
    """That of the embeddings alone: selections and verdicts beside them change no cohort."""
    held = [
        p for name in ("spec.json", "part-*.parquet", "quarantine.parquet") for p in store.glob(f"*/{name}")
    ]
    return tuple(entry for path in sorted(held) for entry in stamp(path))


def embeddings(config: state.AppConfig) -> list[EmbeddingInfo]:
    """What the store holds."""
    from flexict_core.store import EmbeddingStore

    EmbeddingStore(config.store)  # says so where there is no store
    return _embeddings(config.store, store_stamp(config.store))


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
    """The patients that the view's filter and its saved selection keep."""
    return cohort_of(config, chosen_embedding(config))


def cohort_of(config: state.AppConfig, embedding: str) -> Cohort:
    """The same patients in another embedding of the store."""
    seen = state.view()
    stamps = _stamps(config)
    if seen.within is None:
        return _cohort(config, embedding, seen.where, stamps)
    stamp = saved_selections.stamp(config, seen.within)
    return _selected_cohort(config, embedding, seen.where, (*stamps, *stamp), seen.within)


def _stamps(config: state.AppConfig) -> Stamp:
    return (*store_stamp(config.store), *stamp(config.clinical))


@st.cache_resource(show_spinner="Joining embeddings and clinical table…", max_entries=16)
def _cohort(config: state.AppConfig, embedding: str, where: tuple[str, ...], stamps: Stamp) -> Cohort:
    from analysis.cohort import load_cohort

    return load_cohort(
        config.store, embedding, config.clinical, id_column=config.id_column, where=where,
        id_replace=config.id_replace,
    )  # fmt: skip


@st.cache_resource(show_spinner=False, max_entries=8)
def _selected_cohort(
    config: state.AppConfig, embedding: str, where: tuple[str, ...], stamps: tuple[Any, ...], name: str
) -> Cohort:
    whole = _cohort(config, embedding, where, _stamps(config))
    return saved_selections.only(whole, saved_selections.load(config, name))


def quarantine(config: state.AppConfig) -> pd.DataFrame:
    """Rows of the chosen embedding's manifest that could not be embedded, with the reason."""
    from flexict_core.store import EmbeddingStore

    return EmbeddingStore(config.store).quarantine(chosen_embedding(config))


_KEYS: dict[
    int, tuple[weakref.ref[Any], tuple[str, ...]]
] = {}  # to hash 266,227 IDs takes a tenth of a second
_MOST_KEYS = 64


def cohort_key(cohort: Cohort) -> tuple[str, ...]:
    """Identifies the cohort's content for the caches: embedding, data hashes, and who is kept."""
    held = _KEYS.get(id(cohort))
    if held is not None and held[0]() is cohort:
        return held[1]
    key = (
        cohort.embedding_id,
        *sorted(cohort.data_sha256.values()),
        cohort.name,
        str(hash(tuple(cohort.patient_id))),
    )
    _KEYS[id(cohort)] = (weakref.ref(cohort), key)
    while len(_KEYS) > _MOST_KEYS:
        _KEYS.pop(next(iter(_KEYS)), None)
    return key


def question(kind: str, cohort: Cohort, settings: Any = None) -> Question:
    """What is asked of which cohort: the key of the answer among the jobs."""
    return (kind, cohort_key(cohort), settings)


def projection(cohort: Cohort, method: Method, config: state.AppConfig) -> ProjectionResult:
    """The picture of a cohort: from the folder of results where it lies there, else drawn anew."""
    from analysis import project
    from app.stored_results import stored_projection

    asked = question("project", cohort, method)
    if not jobs.has(asked) and (held := stored_projection(config.results, cohort, method)) is not None:
        jobs.shelf().keep(asked, held)
    return jobs.answer(
        asked,
        f"Drawing the {method.upper()} of {cohort.n:,} patients",
        lambda say: project(cohort, method=method),
        cancelled=partial(state.set_field, "method", "pca"),
    )


def clusters(cohort: Cohort) -> ClusterResult:
    """Density clusters of the embedding with what they are rich in."""
    from analysis.clusters import find_clusters

    return jobs.answer(
        question("clusters", cohort),
        "Looking for clusters",
        lambda say: find_clusters(cohort),
        cancelled=partial(state.set_run, "clusters", False),
    )


def placed(cohort: Cohort, condition: str, method: Method) -> tuple[ProjectionResult, Cohort]:
    """The map of those who do not meet "COLUMN=VALUE" with the others placed on it, and whom it was drawn of."""
    from dataclasses import replace

    from analysis import project
    from analysis.placement import place_new, set_apart

    known, new = set_apart(cohort, condition)

    def work(say: Callable[[str], None]) -> ProjectionResult:
        picture = project(known, method=method)
        say("placing the new cases")
        return replace(picture, placed=place_new(picture, known, new))

    asked = question("place", cohort, (condition, method))
    return jobs.answer(
        asked, "Drawing the map of the others", work, cancelled=partial(state.set_run, "place", False)
    ), known


def neighbours(cohort: Cohort, patient: str, k: int) -> NeighbourResult:
    return _neighbours(cohort, cohort_key(cohort), patient, k)


@st.cache_resource(show_spinner="Searching for similar cases…", max_entries=256)
def _neighbours(_cohort: Cohort, key: tuple[str, ...], patient: str, k: int) -> NeighbourResult:
    from analysis import search

    return search(_gallery(_cohort, key), patient, k=k)


@st.cache_resource(show_spinner=False, max_entries=2)
def _gallery(_cohort: Cohort, key: tuple[str, ...]) -> Gallery:
    """The cohort made ready for many searches; a large one keeps its index."""
    from analysis.gallery import open_gallery

    return open_gallery(_cohort, patient_id=None)


def retrieval(cohort: Cohort, label: str, match: tuple[str, ...]) -> RetrievalResult:
    """How often near patients share a label, and among patients alike in the columns of `match`."""
    from analysis import retrieval_metrics

    return jobs.answer(
        question("retrieve", cohort, (label, match)),
        "Ranking every patient against all others",
        lambda say: retrieval_metrics(cohort, label, match=list(match) or None),
        cancelled=partial(state.set_run, "retrieval", False),
    )


def gradient(
    cohort: Cohort, settings: GradientSettings, *, page: str = state.GRADIENT_RUN
) -> StageGradientResult:
    """The stage gradient of these settings."""
    from analysis import stage_gradient

    return jobs.answer(
        question("gradient", cohort, settings),
        "Testing the stage gradient",
        lambda say: stage_gradient(
            cohort,
            settings.stage,
            order=settings.order,
            adjust=list(settings.adjust) or None,
            groups=settings.group,
            progress=say,
        ),
        cancelled=partial(state.set_run, page, False),
    )


def selected_mask(cohort: Cohort, everyone: state.Ids) -> np.ndarray:
    """Which patients of the cohort [n] the session has selected."""
    return _selected_mask(cohort, cohort_key(cohort), everyone, state.view().selected)


@st.cache_data(show_spinner=False, max_entries=16)
def _selected_mask(
    _cohort: Cohort, key: tuple[str, ...], _everyone: state.Ids, selected: str | None
) -> np.ndarray:
    chosen = state.unpack_selection(_everyone, selected)
    return np.isin(_cohort.patient_id.astype(str), np.array(chosen, dtype=str))


def contrast(cohort: Cohort, inside: np.ndarray) -> SelectionContrast:
    """The selected patients against the rest in every column."""
    return _contrast(cohort, inside, cohort_key(cohort), inside.tobytes())


@st.cache_resource(show_spinner="Comparing the selection with the rest…", max_entries=16)
def _contrast(
    _cohort: Cohort, _inside: np.ndarray, key: tuple[str, ...], selected: bytes
) -> SelectionContrast:
    from analysis.selection_contrast import contrast_selection

    return contrast_selection(_cohort, _inside)


def selection_survival(cohort: Cohort, inside: np.ndarray, outcome: tuple[str, str, str]) -> GroupSurvival:
    """Curves of the selected patients and of the rest; outcome: columns of time and event, and an event's value."""
    return _selection_survival(cohort, inside, cohort_key(cohort), inside.tobytes(), outcome)


@st.cache_resource(show_spinner="Comparing survival…", max_entries=16)
def _selection_survival(
    _cohort: Cohort,
    _inside: np.ndarray,
    key: tuple[str, ...],
    selected: bytes,
    outcome: tuple[str, str, str],
) -> GroupSurvival:
    from analysis.selection_contrast import CHOSEN_BY_LOOKING, REST, SELECTED
    from analysis.time_to_event.groups import compare_groups

    duration, event, value = outcome
    return compare_groups(
        _cohort,
        np.where(_inside, SELECTED, REST),
        duration,
        event=event,
        event_value=value,
        by="selection on the map",
        notes=[CHOSEN_BY_LOOKING],
    )


@dataclass(frozen=True)
class AuditSettings:
    """What the audit page asks; order: the label's values from early to late, None where it is no stage."""

    label: str | None
    order: tuple[str, ...] | None
    group: str | None
    split: str | None
    fields: tuple[str, ...]


def audit(cohort: Cohort, settings: AuditSettings) -> AuditResult:
    """The audit of these settings; its verdict goes beside the store."""
    from analysis import audit as make
    from analysis.audits.stamp import write_stamp

    def work(say: Callable[[str], None]) -> AuditResult:
        result = make(
            cohort,
            label=settings.label,
            order=settings.order,
            fields=settings.fields or None,
            group=settings.group,
            split=settings.split,
            progress=say,
        )
        with suppress(StoreError):  # a store that may only be read keeps no verdict
            write_stamp(cohort, result)
        return result

    return jobs.answer(
        question("audit", cohort, settings),
        "Auditing",
        work,
        cancelled=partial(state.set_run, "audit", False),
    )


@dataclass(frozen=True)
class ProbeSettings:
    """One question to `analysis.probe`."""

    target: str
    task: str
    learner: str
    order: str | None
    protocol: str


def probe(cohort: Cohort, settings: ProbeSettings) -> ProbeResult:
    """The probe of these settings."""
    from analysis import probe as make

    asked: dict[str, Any] = vars(settings)
    options = {name: value for name, value in asked.items() if name != "target"}
    return jobs.answer(
        question("probe", cohort, settings),
        "Cross-validating the probe",
        lambda say: make(cohort, settings.target, progress=say, **options),
        cancelled=partial(state.set_run, "probes", False),
    )


@dataclass(frozen=True)
class SurvivalSettings:
    """One question to `analysis.survival`; by: None for thirds of the risk score."""

    duration: str
    event: str
    event_value: str
    by: str | None
    clinical: tuple[str, ...]


def survival(cohort: Cohort, settings: SurvivalSettings) -> SurvivalResult:
    """The survival analysis of these settings."""
    from analysis import survival as make

    return jobs.answer(
        question("survival", cohort, settings),
        "Learning the risk score",
        lambda say: make(
            cohort,
            settings.duration,
            settings.event,
            event_value=settings.event_value,
            by=settings.by,
            clinical=list(settings.clinical) or None,
            progress=say,
        ),
        cancelled=partial(state.set_run, "survival", False),
    )


def colouring(cohort: Cohort, column: str, order: list[str] | None) -> Colouring:
    """How a column colours the map."""
    return _colouring(cohort, cohort_key(cohort), column, tuple(order) if order else None)


@st.cache_resource(show_spinner=False, max_entries=64)
def _colouring(
    _cohort: Cohort, key: tuple[str, ...], column: str, order: tuple[str, ...] | None
) -> Colouring:
    from analysis.plots.projection import colouring as make

    return make(_cohort.column(column), label=column, order=order)


def category_levels(cohort: Cohort) -> dict[str, list[str]]:
    """Columns with few different values, and those values as text, in natural order."""
    return _category_levels(cohort, cohort_key(cohort))


@st.cache_data(show_spinner=False, max_entries=32)
def _category_levels(_cohort: Cohort, key: tuple[str, ...]) -> dict[str, list[str]]:
    from analysis.clinical import canonical
    from analysis.selection import natural_key

    levels = {}
    for name in _cohort.table.columns:
        different = _cohort.table[name].unique()
        if len(different) > _MOST_SPELLINGS:
            continue
        values = sorted({canonical(v) for v in different} - {""}, key=natural_key)
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
    return _ct_case(
        row, (*stamp(image), *(stamp(mask) if mask else ())), str(row.mask_label), str(row.series_uid)
    )


@st.cache_resource(show_spinner="Reading the CT…", max_entries=3)
def _ct_case(_row: Any, stamps: Stamp, label: str, series: str) -> CtCase:
    return read_case(_row)


def read_case(row: Any) -> CtCase:
    """The CT and mask of a store row, read anew."""
    image, mask = image_paths(row)
    label = row.mask_label
    return open_case(
        image,
        mask,
        mask_label=int(label) if isinstance(label, int | np.integer) else None,
        series_uid=row.series_uid,
    )
