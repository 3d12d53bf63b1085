"""The selected patients of a cohort, against the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from app import state
from app.loaders.cohorts import cohort_key

if TYPE_CHECKING:
    from analysis.cohort import Cohort
    from analysis.selection_contrast import SelectionContrast
    from analysis.time_to_event.groups import GroupSurvival


def selected_mask(cohort: Cohort, everyone: state.Ids) -> np.ndarray:
    """Which patients of the cohort [n] the session has selected."""
    return _selected_mask(cohort, cohort_key(cohort), everyone, state.view().selected)


@st.cache_data(show_spinner=False, max_entries=16)
def _selected_mask(
    _cohort: Cohort, key: tuple[str, ...], _everyone: state.Ids, selected: str | None
) -> np.ndarray:
    import pandas as pd

    chosen = state.unpack_selection(_everyone, selected)  # by hash: sorting 266,227 texts would be felt
    return np.asarray(pd.Index(_cohort.patient_id.astype(str), dtype=object).isin(chosen))


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
