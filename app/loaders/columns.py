"""Clinical columns: which have few values, which can be drawn, in what order and colours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from app import state
from app.held import Held
from app.loaders.cohorts import cohort_key

if TYPE_CHECKING:
    from analysis.cohort import Cohort
    from analysis.plots.projection import Colouring

_MOST_LEVELS = 20
_MOST_SPELLINGS = 200  # of them in a column  # of them in a column
_COLOURINGS: Held[Colouring] = Held(most=64, most_mb=128)


def colouring(cohort: Cohort, column: str, order: list[str] | None) -> Colouring:
    """How a column colours the map."""
    from analysis.plots.projection import colouring as make

    key = (cohort_key(cohort), column, tuple(order or ()))
    return _COLOURINGS.get(key, lambda: make(cohort.column(column), label=column, order=order))


def category_levels(cohort: Cohort) -> dict[str, list[str]]:
    """Columns with few different values, and those values as text, in natural order."""
    return _category_levels(cohort, cohort_key(cohort))


@st.cache_data(show_spinner=False, max_entries=16)
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
