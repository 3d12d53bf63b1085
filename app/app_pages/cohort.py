"""Cohort: what is loaded, who was left out and why, and how the clinical columns are distributed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from app import loaders, state
from app.components.distributions import show_distributions
from app.components.plain_text import literal
from app.components.tables import show_table

if TYPE_CHECKING:
    import pandas as pd

    from analysis.cohort import Cohort


def render() -> None:
    """Draw the page."""
    config = state.AppConfig.from_environment()
    st.subheader("Cohort", anchor=False)
    if not loaders.embeddings(config):
        _render_without_embeddings(config)
        return
    cohort, quarantine = loaders.current_cohort(config), loaders.quarantine(config)
    with st.container(horizontal=True):
        st.metric("Patients", cohort.n, border=True)
        st.metric("Series or regions", len(cohort.rows), border=True)
        st.metric("Dimensions", cohort.X.shape[1], border=True)
        st.metric("Patients left out", len(cohort.lost), border=True)
        st.metric("Rows in quarantine", len(quarantine), border=True)
    for warning in cohort.warnings:
        st.warning(literal(warning), icon=":material/warning:")
    left_out, held_back = f"Left out ({len(cohort.lost)})", f"Quarantine ({len(quarantine)})"
    names = ("Distributions", "Patients", left_out, held_back, "Embeddings in the store")
    distributions, patients, lost, quarantined, store = st.tabs(names)
    with distributions:
        show_distributions(cohort, stage=state.view().stage or config.stage)
    with patients:
        _show_patients(cohort)
    with lost:
        _show_or_say(
            cohort.lost, "Every patient is in both the embedding and the clinical table.", "left-out"
        )
    with quarantined:
        st.caption("Rows of the manifest that could not be embedded; `flexict embed` tries them again.")
        _show_or_say(quarantine, "Every row of the manifest was embedded.", "quarantine")
    with store:
        _show_embeddings(config)


def _show_patients(cohort: Cohort) -> None:
    chosen = state.selection(loaders.whole_cohort(state.AppConfig.from_environment()).patient_id)
    table = cohort.table
    if chosen and st.toggle(f"Only the {len(chosen)} selected on the map", key="cohort-only-selected"):
        table = table[table[cohort.id_column].isin(chosen)]
    show_table(table, "patients", height=420)


def _show_embeddings(config: state.AppConfig) -> None:
    import pandas as pd

    table = pd.DataFrame([vars(info) for info in loaders.embeddings(config)])
    show_table(table.rename(columns={"dim": "dimensions"}), "embeddings")


def _show_or_say(table: pd.DataFrame, otherwise: str, name: str) -> None:
    if len(table):
        show_table(table, name)
    else:
        st.info(otherwise, icon=":material/check_circle:")


def _render_without_embeddings(config: state.AppConfig) -> None:
    """An empty store: the clinical table can still be looked at."""
    from analysis.clinical import read_clinical

    st.info(
        "This store holds no embeddings yet. `flexict embed --manifest FILE --store DIR` makes them from CT "
        "volumes, `flexict import --vectors FILE --store DIR` takes vectors from elsewhere. Then reload this page.",
        icon=":material/info:",
    )
    st.markdown("##### Clinical table")
    show_table(read_clinical(config.clinical, id_column=config.id_column).frame, "clinical", height=420)


render()
