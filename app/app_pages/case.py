"""Case: the CT of one patient in three planes, the clinical row, and the cases that look most like it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import streamlit as st

from app import loaders, state
from app.components.ct_planes import WINDOWS
from app.components.ct_viewer import chosen_window, load_row, show_ct
from app.components.neighbours import show_neighbours, shown_value
from app.components.plain_text import literal
from app.components.tables import show_table
from app.exhibits import keep_exhibit

if TYPE_CHECKING:
    from analysis.cohort import Cohort

_COUNTS = (5, 10, 20)
_FIELDS_ON_A_CARD = 3
_FIELDS_OF_A_CASE = 12
_WIDE_TABLE = 20  # columns


def render() -> None:
    """Draw the page."""
    config = state.AppConfig.from_environment()
    cohort = loaders.current_cohort(config)
    st.subheader("Case", anchor=False)
    patient = _choose_patient(cohort, loaders.whole_cohort(config))
    rows = list(cohort.rows[cohort.rows["patient_id"] == patient].itertuples(index=False))
    row = rows[0] if len(rows) == 1 else _choose_row(rows, patient)
    case = load_row(row)
    if case is not None:
        show_ct(case, f"{patient}-{row.series_uid}-{row.roi_id}")
    _show_clinical_row(cohort, patient)
    _show_similar(cohort, patient, chosen_window(case) if case is not None else WINDOWS["Soft tissue"])


def _choose_patient(cohort: Cohort, everyone: Cohort) -> str:
    ids = [str(p) for p in cohort.patient_id]
    chosen = set(state.selection(everyone.patient_id))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if chosen & set(ids) and st.toggle("Only the selected patients", key="case-only-selected"):
            ids = [p for p in ids if p in chosen]
        patient = state.choose("Patient", "case", ids, width=320) or ids[0]
        at = ids.index(patient)
        for label, icon, to in (("Previous", "chevron_left", at - 1), ("Next", "chevron_right", at + 1)):
            st.button(
                label,
                icon=f":material/{icon}:",
                on_click=state.set_field,
                args=("case", ids[to % len(ids)]),
                disabled=not 0 <= to < len(ids),
                key=f"case-{label}",
            )
        st.caption(f"{at + 1} of {len(ids)}", width="content")
    return patient


def _choose_row(rows: list[Any], patient: str) -> Any:
    names = [f"{row.series_uid or 'series'} · {row.roi_id or 'region'} · {row.image}" for row in rows]
    at = st.selectbox(
        f"{len(rows)} series or regions of this patient",
        range(len(rows)),
        format_func=lambda i: names[i],
        key=f"row-{patient}",
    )
    return rows[at]


def _show_clinical_row(cohort: Cohort, patient: str) -> None:
    clinical = cohort.table[cohort.table[cohort.id_column] == patient].iloc[0][_told_first(cohort)]
    st.markdown("##### Clinical data")
    shown = list(clinical.items())[:_FIELDS_OF_A_CASE]
    st.markdown(" &emsp; ".join(f":gray[{literal(k)}]&nbsp;**{literal(shown_value(v))}**" for k, v in shown))
    if len(clinical) > len(shown):
        with st.expander(f"All {len(clinical)} columns"):
            table = clinical.map(shown_value).rename_axis("column").reset_index(name="value")
            show_table(table, f"clinical-row-{patient}", height=300)


def _show_similar(cohort: Cohort, patient: str, window: tuple[float, float]) -> None:
    st.markdown("##### Most similar cases")
    if cohort.n < 2:
        st.info("This cohort holds one patient: there is nobody to compare with.", icon=":material/info:")
        return
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        counts = [c for c in _COUNTS if c < cohort.n] or [cohort.n - 1]
        k = st.segmented_control("How many", counts, default=counts[0], key="case-k", required=True)
        columns = _told_first(cohort)
        st.session_state.setdefault("case-fields", columns[:_FIELDS_ON_A_CARD])
        st.session_state["case-fields"] = [c for c in st.session_state["case-fields"] if c in columns]
        fields = st.multiselect("Columns on the cards", columns, key="case-fields", persist_state="session")
    found = loaders.neighbours(cohort, patient, k)
    st.caption(
        f"Cosine similarity of the embeddings; {literal(found.space)}. The patient's own rows are never among "
        "them. Pictures: the axial slice through each tumour's centre, all 120 mm wide, in the window chosen above."
    )
    show_neighbours(cohort, found, window=window, fields=fields)
    with st.expander("Table of these cases"):
        table = found.neighbours.merge(
            cohort.table, left_on="patient_id", right_on=cohort.id_column, how="left"
        )
        show_table(table.loc[:, ~table.columns.duplicated()], f"neighbours-{patient}")
    keep_exhibit(f"neighbours of {patient}", result=found, cohort=cohort)


def _told_first(cohort: Cohort) -> list[str]:
    """Clinical columns: the stage first; in a wide table those with few values before the rest."""
    columns = [str(c) for c in cohort.table.columns if c != cohort.id_column]
    stage = state.view().stage or state.AppConfig.from_environment().stage
    short = loaders.category_levels(cohort) if len(columns) > _WIDE_TABLE else {}
    first = [c for c in (stage, *short) if c in columns]
    return list(dict.fromkeys([*first, *columns]))


render()
