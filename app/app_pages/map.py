"""Map: the cohort in two dimensions, coloured by any column; a lasso selects patients for every page."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import streamlit as st

from app import loaders, state
from app.components.clusters import show_clusters
from app.components.export_button import show_downloads
from app.components.map import show_map
from app.components.placement import show_placement
from app.components.plain_text import literal
from app.components.selection_panel import show_selection
from app.components.selection_tools import show_selection_by_value
from app.drawings import Drawing
from app.exhibits import Exhibit, keep_exhibit

if TYPE_CHECKING:
    from analysis.cohort import Cohort
    from analysis.projection import ProjectionResult

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
    result = loaders.projection(cohort, "umap" if method == "umap" else "pca", config)
    order = loaders.stage_order(cohort, str(colour), config)
    plain = colour in (None, NO_COLOUR)
    exhibit = _exhibit(cohort, result, None if plain else str(colour), order)
    left, right = st.columns([11, 9], gap="medium")
    with left:
        colouring = None if plain else loaders.colouring(cohort, str(colour), order)
        show_map(cohort, result, exhibit, colour=colouring, everyone=everyone.patient_id)
        for warning in set(result.warnings) - set(cohort.warnings):
            st.warning(literal(warning), icon=":material/warning:")
        show_selection_by_value(cohort, everyone.patient_id)
        show_downloads(exhibit, key="map")
        with st.expander("How this picture was made"):
            st.markdown(literal(result.methods_text()))
    with right:
        show_selection(
            cohort, everyone.patient_id, config, picture=f"{METHODS[result.method]} coloured by {colour}"
        )
    show_clusters(cohort, everyone.patient_id, result)
    show_placement(cohort, config, result)


def _colours(cohort: Cohort, config: state.AppConfig) -> list[str]:
    columns = loaders.plottable_columns(cohort)
    first = [c for c in (state.view().stage, config.stage) if c in columns]
    features = [f"feature:{name}" for name in cohort.feature_names or ()]
    return list(dict.fromkeys([*first, *columns, NO_COLOUR, *features]))


def _exhibit(
    cohort: Cohort, result: ProjectionResult, colour: str | None, order: list[str] | None
) -> Exhibit:
    from analysis.plots.projection import projection_map, projection_map_source

    values = None if colour is None else cohort.column(colour)
    how: dict[str, Any] = {"label": colour or "", "order": order}
    drawing = Drawing(
        "map",
        partial(projection_map, result, values, **how),
        partial(projection_map_source, result, values, **how),
    )
    return keep_exhibit(
        f"{METHODS[result.method]} coloured by {colour or NO_COLOUR}",
        result=result,
        cohort=cohort,
        drawings=[drawing],
    )


render()
