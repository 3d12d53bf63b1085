"""Patients near one patient in the embedding."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from app.held import Held
from app.loaders.cohorts import cohort_key

if TYPE_CHECKING:
    from analysis.cohort import Cohort
    from analysis.gallery import Gallery
    from analysis.retrieval import NeighbourResult

_GALLERIES: Held[Gallery] = Held(most=2, most_mb=2048)


def neighbours(cohort: Cohort, patient: str, k: int) -> NeighbourResult:
    return _neighbours(cohort, cohort_key(cohort), patient, k)


@st.cache_resource(show_spinner="Searching for similar cases…", max_entries=64)
def _neighbours(_cohort: Cohort, key: tuple[str, ...], patient: str, k: int) -> NeighbourResult:
    from analysis import search

    return search(_gallery(_cohort, key), patient, k=k)


def _gallery(cohort: Cohort, key: tuple[str, ...]) -> Gallery:
    """The cohort made ready for many searches; a large one keeps its index, which weighs as much again."""
    from analysis.gallery import open_gallery

    return _GALLERIES.get(key, lambda: open_gallery(cohort, patient_id=None))
