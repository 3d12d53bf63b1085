"""Density clusters under the map: how stable they are, what they are rich in, and selecting one."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import streamlit as st

from app import loaders, state
from app.components.export_button import show_downloads
from app.components.figures import show_figure
from app.components.plain_text import literal
from app.components.selection_tools import select_patients
from app.components.tables import show_table
from app.drawings import Drawing
from app.exhibits import keep_exhibit

if TYPE_CHECKING:
    from analysis.clusters import ClusterResult
    from analysis.cohort import Cohort
    from analysis.projection import ProjectionResult

PAGE = "clusters"
_MOST = 20_000  # patients: HDBSCAN of more takes many minutes


def show_clusters(cohort: Cohort, everyone: state.Ids, result: ProjectionResult) -> None:
    """The section, with its own button: clusters are sought in the embedding, never on the picture."""
    with st.expander("Clusters", icon=":material/bubble_chart:", expanded=state.is_run(PAGE)):
        st.caption(
            "Density clusters (HDBSCAN) of the embedding itself, found without a look at the clinical columns; each is "
            "compared with the others in every column, with Holm's correction."
        )
        if cohort.n > _MOST:
            st.info(
                f"{cohort.n:,} patients are too many to be clustered while you wait: filter to at most {_MOST:,}, or "
                "run `flexict project --clusters`.",
                icon=":material/info:",
            )
            return
        if not state.is_run(PAGE):
            st.button("Find clusters", key="run-clusters", on_click=state.set_run, args=(PAGE, True))
            return
        found = loaders.clusters(cohort)
        st.markdown(f"**{literal(found.verdict)}**")
        if found.clusters:
            _show_found(cohort, everyone, result, found)


def _show_found(cohort: Cohort, everyone: state.Ids, result: ProjectionResult, found: ClusterResult) -> None:
    import pandas as pd

    from analysis.plots.projection import projection_map, projection_map_source

    names = ["none" if c < 0 else f"cluster {c}" for c in found.cluster]
    label = "density cluster"
    drawing = Drawing(
        "clusters",
        partial(projection_map, result, names, label=label),
        partial(projection_map_source, result, names, label=label),
    )
    exhibit = keep_exhibit(
        f"clusters of {found.provenance.cohort}", result=found, cohort=cohort, drawings=[drawing]
    )
    left, right = st.columns(2, gap="medium")
    with left:
        if cohort.n <= 5000:
            show_figure(exhibit.figures["clusters"], "figure-clusters")
        show_downloads(exhibit, key="clusters")
    with right:
        rows = pd.DataFrame([vars(r) for r in found.clusters])
        show_table(rows, "clusters")
        with st.container(horizontal=True):
            for row in found.clusters[:8]:
                st.button(
                    f"Select cluster {row.cluster}",
                    key=f"select-cluster-{row.cluster}",
                    on_click=select_patients,
                    args=(cohort, everyone, found.cluster == row.cluster),
                )
    st.markdown("###### What they are rich in")
    show_table(found.enrichment_table(), "enrichment", height=260)
    for text in found.columns_left_out:
        st.caption(literal(f"Not compared: {text}"))
