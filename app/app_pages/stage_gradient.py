"""Stage gradient: do the embeddings follow the stage, at every step, beyond the adjusters?"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import streamlit as st

from app import loaders, state
from app.components.answer import is_wanted, show_body
from app.components.gradient_settings import choose_settings, show_gradient_start
from app.components.verdict_card import show_verdict
from app.drawings import gradient_drawings
from app.exhibits import Exhibit, keep_exhibit

if TYPE_CHECKING:
    from analysis.cohort import Cohort
    from analysis.stage_gradient import StageGradientResult

NAMES = {
    "scores": "scores_by_stage",
    "null": "permutation_null",
}  # what the files of these figures are called


def render() -> None:
    """Draw the page."""
    config = state.AppConfig.from_environment()
    cohort = loaders.current_cohort(config)
    st.subheader("Stage gradient", anchor=False)
    st.caption(
        "Do the embeddings rise with the stage, at every step, beyond what size or scanner explain? The filter "
        "decides who takes part; patients selected on the Map do so only once they are saved and chosen as a filter, "
        "and every result then says that they were chosen by looking."
    )
    with st.container(border=True):
        settings = choose_settings(cohort, config)
        if settings is None or not show_gradient_start(cohort, settings, page=state.GRADIENT_RUN):
            return
    asked = loaders.question("gradient", cohort, settings)
    if not is_wanted(state.GRADIENT_RUN, asked, takes="some seconds for a few hundred patients"):
        return
    result = loaders.gradient(cohort, settings)
    show_verdict(result)
    show_body(
        _exhibit(cohort, result), key="gradient", table_name="estimates", column_config=_number_columns()
    )


def _exhibit(cohort: Cohort, result: StageGradientResult) -> Exhibit:
    title = f"stage gradient of {result.parameters['stage']} in {result.provenance.cohort}"
    if result.adjusters is not None:
        title += f" beyond {', '.join(result.adjusters.columns)}"
    drawings = [
        replace(d, stem=NAMES.get(d.stem.removeprefix("gradient_"), d.stem.removeprefix("gradient_")))
        for d in gradient_drawings(result)
    ]
    drawings.sort(key=lambda d: d.stem not in ("scores_by_stage", "adjusters"))  # side by side, first
    return keep_exhibit(title, result=result, cohort=cohort, drawings=drawings)


def _number_columns() -> dict[str, object]:
    number = st.column_config.NumberColumn
    plain = {name: number(format="%.3f") for name in ("value", "ci_low", "ci_high")}
    return {**plain, "p_value": number(format="%.4f")}


render()
