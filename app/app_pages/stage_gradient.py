"""Stage gradient: do the embeddings follow the stage, at every step, beyond the adjusters?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from app import loaders, state
from app.components.export_button import show_downloads
from app.components.gradient_settings import GradientSettings, choose_settings, counts_text
from app.components.plain_text import literal
from app.components.tables import show_table
from app.components.verdict_card import show_verdict
from app.drawings import further_drawings
from flexict_core.errors import CohortError

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

    from analysis.cohort import Cohort
    from analysis.stage_gradient import StageGradientResult

_SCREEN_FACTOR = 1.35  # two figures of a column side by side at 1280 px


def render() -> None:
    """Draw the page."""
    config = state.AppConfig.from_environment()
    cohort = loaders.current_cohort(config)
    st.subheader("Stage gradient", anchor=False)
    st.caption(
        "Do the embeddings rise with the stage, at every step, beyond what size or scanner explain? The filter "
        "decides who takes part; the Map's selection does not, for that would be circular."
    )
    with st.container(border=True):
        settings = choose_settings(cohort, config)
        if settings is None:
            return
        clicked = _show_start(cohort, settings)
    if clicked is None:
        return
    if clicked:
        state.update(run="1")
    if not (state.view().run or loaders.has_gradient(cohort, settings)):
        st.info(
            "Press Run for the verdict: some seconds for a few hundred patients.",
            icon=":material/play_arrow:",
        )
        return
    _show_result(_run(cohort, settings))


def _show_start(cohort: Cohort, settings: GradientSettings) -> bool | None:
    """The Run button beside the patients of each stage: whether it was pressed; None when the order is wrong."""
    try:
        counts = counts_text(cohort, settings)
    except CohortError as error:
        st.error(literal(str(error).replace("--order", "the order")), icon=":material/error:")
        counts = None
    with st.container(horizontal=True, vertical_alignment="center"):
        unusable = counts is None
        clicked = st.button("Run", type="primary", icon=":material/play_arrow:", disabled=unusable, key="run")
        if counts is not None:
            st.caption(counts)
    return None if unusable else clicked


def _run(cohort: Cohort, settings: GradientSettings) -> StageGradientResult:
    if loaders.has_gradient(cohort, settings):
        return loaders.gradient(cohort, settings)
    place = st.empty()
    with place.status("Testing the stage gradient…") as status:

        def say(step: str) -> None:
            status.update(label=f"{step.capitalize()}…")

        result = loaders.gradient(cohort, settings, progress=say)
    place.empty()
    return result


def _show_result(result: StageGradientResult) -> None:
    show_verdict(result)
    exhibit = _exhibit(result)
    names = list(exhibit.figures)
    for start in range(0, len(names), 2):
        for place, name in zip(st.columns(2, gap="small"), names[start : start + 2], strict=False):
            with place:
                _show_figure(exhibit.figures[name], name)
    show_downloads(exhibit, key="gradient")
    estimates, warnings, methods = st.tabs(
        ["Estimates", f"Warnings ({len(result.warnings)})", "Methods text"]
    )
    with estimates:
        show_table(result.table(), "estimates", column_config=_number_columns())
    with warnings:
        for warning in result.warnings:
            st.warning(literal(warning), icon=":material/warning:")
        if not result.warnings:
            st.info("No warnings.", icon=":material/check_circle:")
    with methods:
        st.code(result.methods_text(), language=None, wrap_lines=True)


def _exhibit(result: StageGradientResult) -> state.Exhibit:
    from analysis.plots import stage_gradient as plots

    drawn: dict[str, tuple[Figure, pd.DataFrame]] = {
        "scores_by_stage": (plots.scores_by_stage(result), plots.scores_by_stage_source(result)),
        "steps": (plots.steps_forest(result), plots.steps_forest_source(result)),
        "permutation_null": (plots.permutation_null(result), plots.permutation_null_source(result)),
    }
    if result.adjusters is not None:
        beside = {"adjusters": (plots.adjusters_panel(result), plots.adjusters_panel_source(result))}
        drawn = {"scores_by_stage": drawn.pop("scores_by_stage"), **beside, **drawn}
    for drawing in further_drawings(result):
        drawn[drawing.stem.removeprefix("gradient_")] = (drawing.draw(), drawing.source())
    title = f"stage gradient of {result.parameters['stage']} in {result.provenance.cohort}"
    if result.adjusters is not None:
        title += f" beyond {', '.join(result.adjusters.columns)}"
    return state.keep_exhibit(
        title,
        result=result,
        figures={name: figure for name, (figure, _) in drawn.items()},
        sources={name: source for name, (_, source) in drawn.items()},
    )


def _show_figure(figure: Figure, name: str) -> None:
    from analysis.plots.enlarged import for_screen

    st.plotly_chart(
        for_screen(figure, _SCREEN_FACTOR),
        theme=None,
        key=f"figure-{name}",
        config={"displayModeBar": False},
        alt=figure.layout.meta["caption"],
    )


def _number_columns() -> dict[str, object]:
    number = st.column_config.NumberColumn
    plain = {name: number(format="%.3f") for name in ("value", "ci_low", "ci_high")}
    return {**plain, "p_value": number(format="%.4f")}


render()
