"""Survival: curves, Cox models, and what a risk score of the embedding is worth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import streamlit as st

from app import loaders, state
from app.components.export_button import show_downloads
from app.components.plain_text import literal
from app.components.tables import show_table

if TYPE_CHECKING:
    from analysis.cohort import Cohort
    from analysis.survival import SurvivalResult

RISK = "(thirds of the risk score)"


def render() -> None:
    """Draw the page."""
    cohort = loaders.current_cohort(state.AppConfig.from_environment())
    st.subheader("Survival", anchor=False)
    st.caption(
        "Does a risk score learnt from the embedding, tested on patients that it has not seen, tell how long "
        "patients live, and does it add to what the clinic knows?"
    )
    with st.container(border=True):
        asked = _choose(cohort)
        if asked is None:
            return
        clicked = st.button("Run", type="primary", icon=":material/play_arrow:", key="run-survival")
    if clicked:
        st.session_state["survival-asked"] = asked
    if st.session_state.get("survival-asked") != asked:
        st.info("Press Run: some seconds for a few hundred patients.", icon=":material/play_arrow:")
        return
    _show(_survival(cohort, loaders.cohort_key(cohort), asked))


def _choose(cohort: Cohort) -> tuple[Any, ...] | None:
    table, levels = cohort.table, loaders.category_levels(cohort)
    times = [str(c) for c in table.columns if table[c].dtype.kind == "f" and table[c].nunique() > 2]
    events = [c for c, values in levels.items() if len(values) == 2]
    if not times or not events:
        st.info(
            "The clinical table has no column of times, or none with two values for the event.",
            icon=":material/info:",
        )
        return None
    first, second, third, fourth, fifth = st.columns([4, 4, 3, 4, 8], gap="small")
    with first:
        duration = st.selectbox("Time", _likely(times, "surv", "time", "days", "follow"), key="survival-time")
    with second:
        event = st.selectbox(
            "Event", _likely(events, "event", "dead", "death", "status"), key="survival-event"
        )
    with third:
        value = st.selectbox("Value of an event", levels[event][::-1], key=f"survival-value-{event}")
    with fourth:
        curves = [RISK, *(c for c in levels if c != event)]
        by = st.selectbox("Curves by", curves, key="survival-by")
    with fifth:
        others = [str(c) for c in table.columns if c not in (cohort.id_column, duration, event)]
        clinical = st.multiselect(
            "Clinical columns", others, key="survival-clinical", placeholder="none",
            help="The Cox models hold these, and the embedding must add to them.",
        )  # fmt: skip
    return duration, event, value, None if by == RISK else by, tuple(clinical)


def _likely(columns: list[str], *words: str) -> list[str]:
    return sorted(columns, key=lambda c: not any(w in c.lower() for w in words))


@st.cache_resource(show_spinner="Learning the risk score…", max_entries=16)
def _survival(_cohort: Cohort, key: tuple[str, ...], asked: tuple[Any, ...]) -> SurvivalResult:
    from analysis import survival

    duration, event, value, by, clinical = asked
    return survival(_cohort, duration, event, event_value=value, by=by, clinical=list(clinical) or None)


def _show(result: SurvivalResult) -> None:
    from analysis.plots.enlarged import for_screen
    from app.drawings import survival_drawings

    with st.container(border=True):
        st.markdown(f"#### {literal(result.verdict)}.")
    drawings = survival_drawings(result)
    exhibit = state.keep_exhibit(
        f"survival by {result.by} in {result.provenance.cohort}",
        result=result,
        figures={d.stem: d.draw() for d in drawings},
        sources={d.stem: d.source() for d in drawings},
    )
    for place, (name, figure) in zip(st.columns(2, gap="small"), exhibit.figures.items(), strict=True):
        with place:
            st.plotly_chart(
                for_screen(figure, 1.35), theme=None, key=f"figure-{name}", config={"displayModeBar": False},
                alt=figure.layout.meta["caption"],
            )  # fmt: skip
    show_downloads(exhibit, key="survival")
    estimates, warnings, methods = st.tabs(
        ["Estimates", f"Warnings ({len(result.warnings)})", "Methods text"]
    )
    with estimates:
        show_table(result.table(), "survival-estimates")
    with warnings:
        for warning in result.warnings:
            st.warning(literal(warning), icon=":material/warning:")
    with methods:
        st.code(result.methods_text(), language=None, wrap_lines=True)


render()
