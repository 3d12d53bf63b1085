"""Embeddings joined with the clinical table: the whole cohort, what the view's filter keeps, and its key."""

from __future__ import annotations

import weakref
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from app import saved_selections, state
from app.held import Held
from flexict_core.errors import StoreError

if TYPE_CHECKING:
    import pandas as pd

    from analysis.cohort import Cohort
    from flexict_core.store import EmbeddingInfo

Stamp = tuple[tuple[str, int, int], ...]
# to hash 266,227 IDs takes a tenth of a second
_KEYS: dict[int, tuple[weakref.ref[Any], tuple[str, ...]]] = {}
_MOST_KEYS = 64
_COHORTS: Held[Cohort] = Held(most=16, most_mb=3072)  # 266,227 vectors of 864 numbers are 880 MB


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


def held_cohort(config: state.AppConfig, embedding: str) -> Cohort:
    """All patients of an embedding, outside of any page; held for the pages."""
    return _cohort(config, embedding, (), _stamps(config), waiting=nullcontext())


def _cohort(
    config: state.AppConfig,
    embedding: str,
    where: tuple[str, ...],
    stamps: Stamp,
    *,
    waiting: AbstractContextManager[Any] | None = None,
) -> Cohort:
    """waiting: what is shown meanwhile, a spinner unless told."""
    from analysis.cohort import load_cohort

    def make() -> Cohort:
        with waiting or st.spinner("Joining embeddings and clinical table…"):
            return load_cohort(
                config.store, embedding, config.clinical, id_column=config.id_column, where=where,
                id_replace=config.id_replace,
            )  # fmt: skip

    return _COHORTS.get((config, embedding, where, stamps), make)


def _selected_cohort(
    config: state.AppConfig, embedding: str, where: tuple[str, ...], stamps: tuple[Any, ...], name: str
) -> Cohort:
    def make() -> Cohort:
        whole = _cohort(config, embedding, where, _stamps(config))
        return saved_selections.only(whole, saved_selections.load(config, name))

    return _COHORTS.get((config, embedding, where, stamps, name), make)


def quarantine(config: state.AppConfig) -> pd.DataFrame:
    """Rows of the chosen embedding's manifest that could not be embedded, with the reason."""
    from flexict_core.store import EmbeddingStore

    return EmbeddingStore(config.store).quarantine(chosen_embedding(config))


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
