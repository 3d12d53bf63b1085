"""Selecting without a mouse: the patients with a value, or in a range, of a clinical column."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from app import loaders, state

if TYPE_CHECKING:
    from analysis.cohort import Cohort


def show_selection_by_value(cohort: Cohort, everyone: state.Ids) -> None:
    """A column, its values, and a button: reaches by the keyboard what the lasso reaches by hand."""
    levels = loaders.category_levels(cohort)
    columns = loaders.plottable_columns(cohort)
    if not columns:
        return
    with st.expander("Select by value instead of drawing", icon=":material/keyboard:"):
        column = st.selectbox("Column to select by", columns, key="pick-column")
        if column in levels:
            values = st.multiselect("Values", levels[column], key=f"pick-{column}")
            inside = _with_values(cohort, column, values)
        else:
            numbers = cohort.column(column).astype(float)
            low, high = float(np.nanmin(numbers)), float(np.nanmax(numbers))
            first, last = st.columns(2)
            least = first.number_input("From", value=low, key=f"pick-low-{column}")
            most = last.number_input("To", value=high, key=f"pick-high-{column}")
            inside = (numbers >= least) & (numbers <= most)
        st.button(
            f"Select {int(inside.sum()):,} patients",
            key="pick",
            disabled=not inside.any(),
            on_click=select_patients,
            args=(cohort, everyone, inside),
        )


def select_patients(cohort: Cohort, everyone: state.Ids, inside: np.ndarray) -> None:
    """Make the patients of a mask [n] the selection of every page."""
    state.set_field("selected", state.pack_selection(everyone, cohort.patient_id[inside]))


def _with_values(cohort: Cohort, column: str, values: list[str]) -> np.ndarray:
    from analysis.clinical import canonical_column

    return np.asarray(np.isin(canonical_column(cohort.column(column)).astype(str), values), dtype=bool)
