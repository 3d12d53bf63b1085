"""Map: the cohort in two dimensions, coloured by any column; a lasso selects patients for every page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import streamlit as st

from app import loaders, state
from app.components.export_button import show_downloads
from app.components.map import draws_in_webgl, show_map
from app.components.plain_text import literal
from app.components.tables import show_table

if TYPE_CHECKING:
    import pandas as pd

    from analysis.cohort import Cohort
    from analysis.projection import ProjectionResult
    from analysis.selection import SelectionResult

METHODS = {"pca": "PCA", "umap": "UMAP"}
NO_COLOUR = "(one colour)"


def render() -> None:
    """Draw the page."""
    config = state.AppConfig.from_environment()
    cohort, everyone = loaders.current_cohort(config), loaders.whole_cohort(config)
    st.subheader("Map", anchor=False)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        method = state.choose(
            "Projection", "method", list(METHODS), format_func=METHODS.__getitem__, width=160
        )
        colour = state.choose("Colour", "colour", _colours(cohort, config), width=320)
    result = loaders.projection(cohort, "umap" if method == "umap" else "pca")
    exhibit = _exhibit(cohort, result, colour, config)
    left, right = st.columns([13, 7], gap="medium")
    with left:
        show_map(cohort, result, exhibit.figures["map"], everyone=everyone.patient_id)
        for warning in set(result.warnings) - set(cohort.warnings):
            st.warning(literal(warning), icon=":material/warning:")
        show_downloads(exhibit, key="map")
        with st.expander("How this picture was made"):
            st.markdown(literal(result.methods_text()))
    with right:
        inside = set(map(str, cohort.patient_id))
        chosen = [p for p in state.selection(everyone.patient_id) if p in inside]
        if chosen:
            _show_selection(cohort, chosen, config)
        else:
            st.markdown("##### Selection")
            st.info(
                "Draw around points with the mouse: lasso at once, box from the tools above the picture; a click "
                "takes one point, a double click clears. The selected patients are counted here against the rest "
                "and stay selected on every page.",
                icon=":material/lasso_select:",
            )


def _colours(cohort: Cohort, config: state.AppConfig) -> list[str]:
    columns = loaders.plottable_columns(cohort)
    first = [c for c in (state.view().stage, config.stage) if c in columns]
    features = [f"feature:{name}" for name in cohort.feature_names or ()]
    return list(dict.fromkeys([*first, *columns, NO_COLOUR, *features]))


def _exhibit(
    cohort: Cohort, result: ProjectionResult, colour: str | None, config: state.AppConfig
) -> state.Exhibit:
    from analysis.plots.projection import projection_map, projection_map_source

    values = None if colour in (None, NO_COLOUR) else cohort.column(str(colour))
    order = loaders.stage_order(cohort, str(colour), config)
    how: dict[str, Any] = {"label": str(colour), "order": order}
    return state.keep_exhibit(
        f"{METHODS[result.method]} coloured by {colour}",
        result=result,
        figures={"map": projection_map(result, values, webgl=draws_in_webgl(result), **how)},
        sources={"map": projection_map_source(result, values, **how)},
    )


def _show_selection(cohort: Cohort, chosen: list[str], config: state.AppConfig) -> None:
    from analysis.selection import compare_selection

    st.markdown(f"##### {len(chosen)} of {cohort.n} patients selected")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        patient = st.selectbox("Open a case", chosen, key="map-open")
        if st.button("Open case", icon=":material/radiology:", type="primary", key="map-open-case"):
            state.set_field("case", patient)
            st.switch_page("app_pages/case.py")
    levels = loaders.category_levels(cohort)
    if levels:
        first = [c for c in (state.view().colour, config.stage) if c in levels]
        columns = list(dict.fromkeys([*first, *levels]))
        column = st.selectbox("Counts of", columns, key="map-counts-of")
        order = loaders.stage_order(cohort, column, config) or ()
        counts = compare_selection(cohort, chosen, column=column, order=order)
        show_table(_worded(counts), "selection-counts", download=counts.table())
        st.caption(
            "Counts only: patients picked by where their embeddings lie are no random sample, so nothing is "
            "tested here."
        )
        state.keep_exhibit(f"selection by {column}", result=counts)
    selected = cohort.table[cohort.table[cohort.id_column].isin(chosen)]
    show_table(selected, "selected-patients", height=300)


def _worded(counts: SelectionResult) -> pd.DataFrame:
    import pandas as pd

    def share(n: int, part: float) -> str:
        return f"{n} ({100 * part:.0f} %)" if part == part else f"{n}"

    rows = [
        (r.label, share(r.n_selected, r.share_selected), share(r.n_rest, r.share_rest)) for r in counts.levels
    ]
    return pd.DataFrame(rows, columns=[counts.column, "selected", "rest"])


render()
