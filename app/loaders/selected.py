"""The selected patients of a cohort, against the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from app import state
from app.loaders.cohorts import cohort_key

if TYPE_CHECKING:
    from analysis.cohort import Cohort
    from analysis.projection import ProjectionResult
    from analysis.selection import SelectionResult
    from analysis.selection_contrast import SelectionContrast
    from analysis.time_to_event.groups import GroupSurvival


def selected_mask(cohort: Cohort, everyone: state.Ids) -> np.ndarray:
    """Which patients of the cohort [n] the session has selected."""
    return _among(cohort.patient_id, cohort_key(cohort), everyone, state.view().selected)


def drawn_mask(
    cohort: Cohort, result: ProjectionResult, everyone: state.Ids, selected: str | None
) -> np.ndarray:
    """Which patients [n] of the cohort's picture, in its order, a packed selection names."""
    return _among(result.patient_id, (*cohort_key(cohort), result.method), everyone, selected)


@st.cache_data(show_spinner=False, max_entries=24)
def _among(
    _patients: np.ndarray, key: tuple[str, ...], _everyone: state.Ids, selected: str | None
) -> np.ndarray:
    import pandas as pd

    if selected is None:
        return np.zeros(len(_patients), dtype=bool)
    chosen = state.unpack_selection(_everyone, selected)  # by hash: sorting 266,227 texts would be felt
    return np.asarray(pd.Index(_patients.astype(str), dtype=object).isin(chosen))


def composition(cohort: Cohort, inside: np.ndarray, column: str, order: tuple[str, ...]) -> SelectionResult:
    """The selected patients and the rest by the values of one column."""
    return _composition(cohort, inside, cohort_key(cohort), inside.tobytes(), column, order)


@st.cache_resource(show_spinner=False, max_entries=8)
def _composition(
    _cohort: Cohort,
    _inside: np.ndarray,
    key: tuple[str, ...],
    selected: bytes,
    column: str,
    order: tuple[str, ...],
) -> SelectionResult:
    from analysis.selection import compare_selection

    return compare_selection(_cohort, _cohort.patient_id[_inside], column=column, order=order)


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
