"""What the selected patients are: composition against the rest, survival, pictures; saving them under a name."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from app import loaders, saved_selections, state
from app.components.ct_planes import WINDOWS
from app.components.export_button import show_downloads
from app.components.figures import show_figure
from app.components.neighbours import show_thumbnail
from app.components.outcome import choose_outcome
from app.components.plain_text import literal
from app.components.tables import show_table
from app.drawings import Drawing
from app.exhibits import keep_exhibit
from flexict_core.errors import AnalysisError, FlexictError

if TYPE_CHECKING:
    import pandas as pd

    from analysis.cohort import Cohort
    from analysis.selection import SelectionResult

_ASK_ABOVE = 20_000  # patients: comparing so many takes longer than a lasso should
_PICTURES, _ACROSS = 9, 3
_ROWS = 5000
_LISTED = 1000
PARTS = ("Composition", "Survival", "Pictures", "Patients")


def show_selection(cohort: Cohort, everyone: state.Ids, config: state.AppConfig, *, picture: str) -> None:
    """The panel beside the map; `picture`: what the reader chose on."""
    inside = loaders.selected_mask(cohort, everyone)
    count = int(inside.sum())
    if not count:
        st.markdown("##### Selection")
        st.info(
            "Draw around points with the mouse: lasso at once, box from the tools above the picture; a click takes one "
            "point, a double click clears. By keyboard: “Select by value” under the picture. The selected patients are "
            "compared with the rest here and stay selected on every page.",
            icon=":material/lasso_select:",
        )
        return
    st.markdown(f"##### {count:,} of {cohort.n:,} patients selected")
    st.caption(
        ":material/visibility: **Chosen by looking (post hoc).** p-values of what you chose along, the embedding and "
        "the colour, confirm nothing; take the others as leads for another cohort."
    )
    _open_and_save(cohort, inside, config, picture)
    part = st.segmented_control(
        "Selection against the rest", PARTS, default=PARTS[0], key="selection-part", required=True,
        label_visibility="collapsed",
    )  # fmt: skip
    if part == "Composition":
        _show_composition(cohort, inside, config)
    elif part == "Survival":
        _show_survival(cohort, inside)
    elif part == "Pictures":
        _show_pictures(cohort, inside)
    else:
        rows = cohort.table[inside]
        if count > _ROWS:
            st.caption(f"The first {_ROWS:,} of {count:,}; the file holds them all.")
        show_table(rows.head(_ROWS), "selected-patients", height=300, download=rows)


def _open_and_save(cohort: Cohort, inside: np.ndarray, config: state.AppConfig, picture: str) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        patients = [str(p) for p in cohort.patient_id[inside][:_LISTED]]
        patient = st.selectbox("Open a case", patients, key="map-open", width=200)
        if st.button("Open case", icon=":material/radiology:", key="map-open-case"):
            state.set_field("case", patient)
            st.switch_page("app_pages/case.py")
        with st.popover("Save", icon=":material/bookmark_add:"):
            name = st.text_input("Name of the selection", key="save-name", max_chars=60)
            st.button(
                "Save selection", key="save", type="primary", disabled=not name.strip(),
                on_click=_save, args=(cohort, inside, config, name, picture),
            )  # fmt: skip
            st.caption(
                f"Kept on disk in {literal(saved_selections.folder(config))}, as a filter of every page."
            )
            for held in saved_selections.saved(config).values():
                st.button(
                    f"Delete “{literal(held.name)}” ({len(held.patients)})", key=f"delete-{held.name}", type="tertiary",
                    on_click=saved_selections.delete, args=(config, held.name),
                )  # fmt: skip
    if (said := st.session_state.pop("_save-said", None)) is not None:
        (st.success if said[0] else st.error)(literal(said[1]))


def _save(cohort: Cohort, inside: np.ndarray, config: state.AppConfig, name: str, picture: str) -> None:
    patients = tuple(str(p) for p in cohort.patient_id[inside])
    chosen = saved_selections.SavedSelection(name.strip(), patients, picture, cohort.embedding_id)
    try:
        saved_selections.save(config, chosen)
    except FlexictError as error:
        st.session_state["_save-said"] = (False, str(error))
        return
    st.session_state["save-name"] = ""
    st.session_state["_save-said"] = (
        True,
        f"Saved {len(patients):,} patients as “{chosen.name}”: choose it as a filter in the sidebar.",
    )


def _show_composition(cohort: Cohort, inside: np.ndarray, config: state.AppConfig) -> None:
    levels = loaders.category_levels(cohort)
    if levels:
        first = [c for c in (state.view().colour, config.stage) if c in levels]
        columns = list(dict.fromkeys([*first, *levels]))
        column = st.selectbox("Counts of", columns, key="map-counts-of")
        order = loaders.stage_order(cohort, column, config) or ()
        counts = loaders.composition(cohort, inside, column, tuple(order))
        show_table(_worded(counts), "selection-counts", download=counts.table())
        keep_exhibit(f"selection by {column}", result=counts, cohort=cohort)
    if cohort.n > _ASK_ABOVE and not st.toggle("Compare with the rest in every column", key="contrast"):
        return
    try:
        found = loaders.contrast(cohort, inside)
    except AnalysisError as error:
        st.info(literal(error), icon=":material/info:")
        return
    st.markdown("###### Against the rest, every column")
    table = found.table()
    show_table(
        table[["column", "value", "p_holm", "most"]], "selection-contrasts", height=260, download=table,
        column_config={
            "value": st.column_config.NumberColumn("effect", format="%.2f"),
            "p_holm": st.column_config.NumberColumn("p (Holm)", format="%.2g"),
        },
    )  # fmt: skip
    st.caption(
        "Effect: P(selected > rest), 0.5 is none, for numbers; Cramér V, 0 is none, for categories. Corrected over all "
        f"{len(found.contrasts)} columns."
    )
    exhibit = keep_exhibit("selection against the rest", result=found, cohort=cohort)
    show_downloads(exhibit, key="contrast")


def _show_survival(cohort: Cohort, inside: np.ndarray) -> None:
    from analysis.plots.survival import kaplan_meier, kaplan_meier_source

    outcome = choose_outcome(cohort)
    if outcome is None:
        return
    try:
        found = loaders.selection_survival(cohort, inside, outcome)
    except FlexictError as error:
        st.info(literal(error), icon=":material/info:")
        return
    drawing = Drawing("curves", partial(kaplan_meier, found), partial(kaplan_meier_source, found))
    exhibit = keep_exhibit("survival of the selection", result=found, cohort=cohort, drawings=[drawing])
    st.markdown(f"**{literal(found.verdict)}.**")
    show_figure(exhibit.figures["curves"], "figure-selection-survival", 1.2)
    show_table(found.table(), "selection-survival")
    show_downloads(exhibit, key="selection-survival")


def _show_pictures(cohort: Cohort, inside: np.ndarray) -> None:
    patients = [str(p) for p in cohort.patient_id[inside]]
    pages = -(-len(patients) // _PICTURES)
    page = 1
    if pages > 1:
        page = int(st.number_input(f"Sheet (1 to {pages})", 1, pages, key="selection-sheet"))
    shown = patients[(page - 1) * _PICTURES : page * _PICTURES]
    for start in range(0, len(shown), _ACROSS):
        for column, patient in zip(
            st.columns(_ACROSS, gap="small"), shown[start : start + _ACROSS], strict=False
        ):
            with column:
                show_thumbnail(cohort, patient, WINDOWS["Soft tissue"])
                st.caption(literal(patient))


def _worded(counts: SelectionResult) -> pd.DataFrame:
    import pandas as pd

    def share(n: int, part: float) -> str:
        return f"{n:,} ({100 * part:.0f} %)" if part == part else f"{n:,}"

    rows = [
        (r.label, share(r.n_selected, r.share_selected), share(r.n_rest, r.share_rest)) for r in counts.levels
    ]
    return pd.DataFrame(rows, columns=[counts.column, "selected", "rest"])
