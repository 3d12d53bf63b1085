"""New cases on the map: patients with a value of a clinical column are put where their nearest patients lie."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from app import loaders, state
from app.components.export_button import show_downloads
from app.components.figures import show_figure
from app.components.tables import show_table
from app.drawings import project_drawings
from app.exhibits import keep_exhibit

if TYPE_CHECKING:
    from analysis.cohort import Cohort
    from analysis.projection import ProjectionResult

PAGE = "place"


def show_placement(cohort: Cohort, config: state.AppConfig, result: ProjectionResult) -> None:
    """The section: who is new, and where the new ones fall on the map of the others."""
    levels = loaders.category_levels(cohort)
    conditions = [f"{column}={value}" for column, values in levels.items() for value in values]
    if not conditions or cohort.n > 20_000:
        return
    with st.expander("Place new cases", icon=":material/add_location:", expanded=state.is_run(PAGE)):
        st.caption(
            "The map is drawn of the other patients alone; those of the value below are placed by their nearest "
            "patients in the embedding. Strangeness above 0.95: unlike everyone on the map."
        )
        with st.container(horizontal=True, vertical_alignment="bottom"):
            condition = state.choose(
                "New cases are those with",
                "place",
                conditions,
                width=320,
                on_change=state.set_run,
                args=(PAGE, False),
            )
            st.button("Place them", key="run-place", on_click=state.set_run, args=(PAGE, True))
        if state.is_run(PAGE) and condition:
            _show(cohort, condition, result)


def _show(cohort: Cohort, condition: str, result: ProjectionResult) -> None:
    found, known = loaders.placed(cohort, condition, result.method)
    drawings = project_drawings(found, None, label="", order=None)
    exhibit = keep_exhibit(
        f"new cases ({condition}) on the map", result=found, cohort=known, drawings=drawings, stem="project_"
    )
    left, right = st.columns(2, gap="medium")
    with left:
        show_figure(exhibit.figures["map"], "figure-placed")
        show_downloads(exhibit, key="placed")
    with right:
        assert found.placed is not None
        show_table(found.placed.table(), "placed", height=360)
