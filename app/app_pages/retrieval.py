"""Retrieval: do near patients share a label, and still so among patients who are alike in size or scanner?"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import streamlit as st

from app import loaders, state
from app.components.answer import is_wanted, show_body, show_start, show_verdict_line
from app.components.plain_text import literal
from app.components.tables import show_table
from app.drawings import retrieve_drawings
from app.exhibits import keep_exhibit

if TYPE_CHECKING:
    from analysis.retrieval import RetrievalResult

PAGE = "retrieval"
_MOST = 30_000  # patients: every one is ranked against all others


def render() -> None:
    """Draw the page."""
    config = state.AppConfig.from_environment()
    cohort = loaders.current_cohort(config)
    st.subheader("Retrieval", anchor=False)
    st.caption(
        "How often the nearest patients share a label, against exact chance. The matched control lets a query meet "
        "only patients who are alike in the columns held equal: what is left then is not size or scanner."
    )
    levels = loaders.category_levels(cohort)
    if not levels or cohort.n > _MOST:
        st.info(
            "The clinical table has no column with 2 to 20 different values to be retrieved."
            if not levels
            else f"{cohort.n:,} patients are too many to be ranked while you wait: filter to at most {_MOST:,}, or run "
            "`flexict retrieve`.",
            icon=":material/info:",
        )
        return
    with st.container(border=True):
        again = {"on_change": state.set_run, "args": (PAGE, False)}
        first, second = st.columns([4, 12], gap="small")
        with first:
            columns = sorted(levels, key=lambda c: c != config.stage)
            label = state.choose("Label of a hit", "alike", columns, **again) or columns[0]
        with second:
            others = [c for c in loaders.plottable_columns(cohort) if c != label]
            match = state.choose_many(
                "Hold equal", "match", others, placeholder="nothing: no matched control",
                help="Numbers within half a standard deviation, categories the same.", **again,
            )  # fmt: skip
        show_start(PAGE)
    asked = loaders.question("retrieve", cohort, (label, match))
    if not is_wanted(PAGE, asked, takes="a second for a few hundred patients"):
        return
    result = loaders.retrieval(cohort, label, match)
    show_verdict_line(result)
    if result.matched is not None:
        with st.container(border=True, key="matched"):
            st.markdown(f":material/balance: **Matched control.** {literal(result.matched.verdict)}")
    exhibit = keep_exhibit(
        f"retrieval of {label} in {result.provenance.cohort}",
        result=result,
        cohort=cohort,
        drawings=retrieve_drawings(result),
        stem="retrieve_",
    )
    more = {"Every query": partial(_show_queries, result)}
    show_body(exhibit, key="retrieve", table_name="retrieval", more=more)


def _show_queries(result: RetrievalResult) -> None:
    show_table(result.per_query, "queries", height=360)


render()
