"""Survival: curves, Cox models, and what a risk score of the embedding is worth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from app import loaders, state
from app.components.answer import is_wanted, show_body, show_start, show_verdict_line
from app.components.outcome import choose_outcome
from app.drawings import survival_drawings
from app.exhibits import keep_exhibit

if TYPE_CHECKING:
    from analysis.cohort import Cohort

PAGE = "survival"
RISK = "(thirds of the risk score)"
CLUSTER = "(density cluster)"


def render() -> None:
    """Draw the page."""
    cohort = loaders.current_cohort(state.AppConfig.from_environment())
    st.subheader("Survival", anchor=False)
    st.caption(
        "Does a risk score learnt from the embedding, tested on patients that it has not seen, tell how long "
        "patients live, and does it add to what the clinic knows?"
    )
    with st.container(border=True):
        settings = _choose(cohort)
        if settings is None:
            return
        show_start(PAGE)
    if settings.by == CLUSTER:
        cohort, settings = _by_cluster(cohort, settings)
    asked = loaders.question("survival", cohort, settings)
    if not is_wanted(PAGE, asked, takes="some seconds for a few hundred patients"):
        return
    result = loaders.survival(cohort, settings)
    show_verdict_line(result)
    exhibit = keep_exhibit(
        f"survival by {result.by} in {result.provenance.cohort}",
        result=result,
        cohort=cohort,
        drawings=survival_drawings(result),
        stem="survival_",
    )
    show_body(exhibit, key="survival", table_name="survival-estimates")


def _choose(cohort: Cohort) -> loaders.SurvivalSettings | None:
    levels = loaders.category_levels(cohort)
    first, second = st.columns([11, 12], gap="small")
    with first:
        outcome = choose_outcome(cohort, restart=PAGE)
        if outcome is None:
            return None
    duration, event, value = outcome
    with second:
        left, right = st.columns([4, 8], gap="small")
    with left:
        stage = state.AppConfig.from_environment().stage
        columns = sorted((c for c in levels if c != event), key=lambda c: c != stage)
        by = state.choose(
            "Curves by", "curves", [RISK, *columns, CLUSTER], on_change=state.set_run, args=(PAGE, False),
            help="Thirds of the risk score follow the embedding's own axis of risk; clusters are found without a look "
            "at the clinical columns.",
        )  # fmt: skip
    with right:
        others = [c for c in loaders.columns(cohort).offered if c not in (duration, event, by)]
        clinical = state.choose_many(
            "Clinical columns", "clinical", others, placeholder="none", on_change=state.set_run, args=(PAGE, False),
            help="The Cox models hold these, and the embedding must add to them.",
        )  # fmt: skip
    return loaders.SurvivalSettings(duration, event, value, None if by == RISK else by, clinical)


def _by_cluster(
    cohort: Cohort, settings: loaders.SurvivalSettings
) -> tuple[Cohort, loaders.SurvivalSettings]:
    """The cohort with its clusters as a column: patients in no cluster have no value there."""
    import dataclasses

    found = loaders.clusters(cohort)
    names = [None if c < 0 else f"cluster {c}" for c in found.cluster]
    name = "density cluster"
    table = cohort.table.assign(**{name: names})
    return dataclasses.replace(cohort, table=table), dataclasses.replace(settings, by=name)


render()
