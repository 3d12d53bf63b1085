"""Which clinical columns hold the outcome: time, event, and the value that is an event."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from app import loaders, state

if TYPE_CHECKING:
    from analysis.cohort import Cohort


def outcome_columns(cohort: Cohort) -> tuple[list[str], list[str]]:
    """Columns that may be times, and columns that may be events, the likely ones first."""
    levels, times = loaders.category_levels(cohort), list(loaders.columns(cohort).numbers)
    events = [c for c, values in levels.items() if len(values) == 2]
    return (
        _likely(times, "surv", "time", "days", "follow"),
        _likely(events, "event", "dead", "death", "status"),
    )


def choose_outcome(cohort: Cohort, *, restart: str | None = None) -> tuple[str, str, str] | None:
    """Widgets for time, event and its value; None, and a message, where the table has no outcome.

    restart: the page whose question is new once one of them changes.
    """
    times, events = outcome_columns(cohort)
    if not times or not events:
        st.info(
            "The clinical table has no column of times, or none with two values for the event.",
            icon=":material/info:",
        )
        return None
    first, second, third = st.columns([4, 4, 3], gap="small")
    with first:
        duration = state.choose("Time", "time", times, on_change=_restart, args=(restart,)) or times[0]
    with second:
        event = state.choose("Event", "event", events, on_change=_restart, args=(restart, True)) or events[0]
    with third:
        values = loaders.category_levels(cohort)[event][::-1]
        value = state.choose("Value of an event", "happened", values, on_change=_restart, args=(restart,))
    return duration, event, value or values[0]


def _restart(page: str | None, other_event: bool = False) -> None:
    if page is not None:
        state.set_run(page, False)
    if other_event:
        state.set_field("happened", None)


def _likely(columns: list[str], *words: str) -> list[str]:
    return sorted(columns, key=lambda c: not any(w in c.lower() for w in words))
