"""The most similar cases with their controls: how many, at which level, among whom, and why they match."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import streamlit as st

from app import loaders, state
from app.components.neighbours import Cards, Query, Window, reasons, show_neighbours
from app.components.plain_text import literal
from app.components.same_level import LEVELS, LEVELS_SAID
from app.components.tables import show_table
from app.exhibits import keep_exhibit
from app.loaders import cases
from flexict_core.errors import FlexictError

if TYPE_CHECKING:
    from collections.abc import Callable

    from analysis.cohort import Cohort
    from analysis.retrieval import NeighbourResult

_COUNTS = (5, 10, 20)
_FIELDS_ON_A_CARD = 3
_WIDE_TABLE = 20  # columns
_MOST_MATCHED = 4


def show_similar(
    cohort: Cohort, query: Query, *, window: Window, find: Callable[[int], NeighbourResult], followed: bool
) -> None:
    """Controls, one card a case, and the table. find: the k nearest; followed: whether planes are shown to follow."""
    st.markdown("##### Most similar cases")
    if query.patient is not None and cohort.n < 2:
        st.info("This cohort holds one patient: there is nobody to compare with.", icon=":material/info:")
        return
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        most = cohort.n - 1 if query.patient is not None else cohort.n
        counts = [c for c in _COUNTS if c <= most] or [most]
        k = _choose_count(counts)
        columns = told_first(cohort)
        st.session_state.setdefault("case-fields", columns[:_FIELDS_ON_A_CARD])
        st.session_state["case-fields"] = [c for c in st.session_state["case-fields"] if c in columns]
        fields = st.multiselect("Columns on the cards", columns, key="case-fields", persist_state="session")
    level = _choose_level() if followed else "centre"
    match = _choose_match(cohort, query)
    try:
        found = (
            find(k)
            if match is None or query.patient is None
            else cases.matched(cohort, query.patient, match=match, k=k)
        )
    except FlexictError as error:
        st.info(literal(error), icon=":material/person_search:")
        return
    why = _reasons(cohort, query, found)
    st.caption(_said(query, found, level))
    show_neighbours(
        cohort, found, query=query, cards=Cards(window, fields, level, {} if why is None else why[0])
    )
    _show_tables(cohort, query, found, None if why is None else why[1])
    keep_exhibit(f"neighbours of {query.title}", result=found, cohort=cohort)


def _choose_count(counts: list[int]) -> int:
    key = "view-count"
    if st.session_state.get(key) not in counts:
        wanted = state.view().count or ""
        st.session_state[key] = int(wanted) if wanted.isdecimal() and int(wanted) in counts else counts[0]
    k = int(st.segmented_control("How many", counts, key=key, required=True) or counts[0])
    state.update(count=str(k) if k != counts[0] else None)
    return k


def _choose_level() -> str:
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        st.session_state.setdefault("view-level", LEVELS.get(state.view().level or "", LEVELS["centre"]))
        shown = st.segmented_control("Cut at", list(LEVELS.values()), key="view-level", required=True)
        level = next(name for name, title in LEVELS.items() if title == shown)
        state.update(level=level if level != "centre" else None)
        if level != "centre":
            st.button(
                "Follow the planes", icon=":material/sync:", help="Cut again where the planes above stand now"
            )
    return level


def _choose_match(cohort: Cohort, query: Query) -> tuple[str, ...] | None:
    """Columns to match on, or None for everybody."""
    if query.patient is None:
        st.caption("Matched controls need clinical data, which this query does not have.")
        return None
    plottable = set(loaders.plottable_columns(cohort))
    options = [c for c in told_first(cohort) if c in plottable]
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        st.session_state.setdefault("view-matched", state.view().matched == "1")
        wanted = st.toggle(
            "Only matched controls",
            key="view-matched",
            help="Meet only patients who are like this one in the chosen columns: what still looks alike is not alike "
            "because of them",
        )
        state.update(matched="1" if wanted else None)
        if not wanted:
            return None
        if not state.view().match and "view-match" not in st.session_state:
            state.set_field("match", [c for c in state.view().adjust if c in options][:_MOST_MATCHED])
        return state.choose_many(
            "Alike in", "match", options, placeholder="choose columns, such as size and scanner"
        )


def _reasons(cohort: Cohort, query: Query, found: NeighbourResult) -> tuple[dict[str, list[str]], Any] | None:
    patients = [str(p) for p in found.neighbours["patient_id"]]
    if query.patient is None:
        return None if query.vector is None else (reasons(cohort, query.vector, None, patients), None)
    from analysis.match_reasons import ranks_across

    ranks = ranks_across(cases.scales(state.AppConfig.from_environment(), cohort), query.patient, patients)
    return reasons(cohort, query.patient, ranks, patients), ranks


def _said(query: Query, found: NeighbourResult, level: str) -> str:
    from analysis.matched_neighbours import MatchedNeighbours

    parts = [f"Cosine similarity of the embeddings; {literal(found.space)}."]
    if query.patient is not None:
        parts.append("The patient's own rows are never among them.")
    if isinstance(found, MatchedNeighbours):
        parts.append(f"Only the {found.candidates} patients alike in {literal(found.matched)}.")
    window = "in the window chosen above" if query.case is not None else "in the soft-tissue window"
    parts.append(f"Pictures: {LEVELS_SAID[level]}, 120 mm wide or the whole scan, {window}.")
    return " ".join(parts)


def _show_tables(cohort: Cohort, query: Query, found: NeighbourResult, ranks: Any) -> None:
    with st.expander("Table of these cases"):
        table = found.neighbours.merge(
            cohort.table, left_on="patient_id", right_on=cohort.id_column, how="left"
        )
        show_table(table.loc[:, ~table.columns.duplicated()], f"neighbours-{_file_name(query)}")
    if ranks is not None and ranks["scale"].nunique() > 1:
        with st.expander(f"Why they match: rank and distance in {ranks['scale'].nunique()} embeddings"):
            show_table(ranks, f"why-{_file_name(query)}")


def _file_name(query: Query) -> str:
    """Whose tables these are, for the name of a file."""
    return query.patient or ("words" if query.case is None else "upload")


def told_first(cohort: Cohort) -> list[str]:
    """Clinical columns: the stage first; in a wide table those with few values before the rest."""
    columns = loaders.columns(cohort).offered
    stage = state.view().stage or state.AppConfig.from_environment().stage
    short = loaders.category_levels(cohort) if len(columns) > _WIDE_TABLE else {}
    known = set(columns)
    first = [c for c in (stage, *short) if c in known]
    return list(dict.fromkeys([*first, *columns]))
