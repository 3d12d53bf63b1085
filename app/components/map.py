"""The map of patients: an interactive projection whose lasso or box selects them for every page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from app import loaders, state
from app.components.figures import is_dark, on_screen
from app.held import Held
from app.webgl_map import component as webgl

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from analysis.cohort import Cohort
    from analysis.plots.projection import Colouring
    from analysis.projection import ProjectionResult
    from app.exhibits import Exhibit

WEBGL_ABOVE = 5000  # points; SVG is sharper below, and every point has its symbol
_SCREEN_FACTOR = 1.5
_PANEL_PX = (340, 480)  # least and most height of the panel; its width is the page's
_TYPICAL_WIDTH_PX = 500
_TOOLBAR_PX = 26  # room for the tools above the panel
_POINTS: Held[webgl.Points] = Held(most=6, most_mb=64)
_COLOURS: Held[webgl.Colours] = Held(most=48, most_mb=64)
_TOOLS = {"displaylogo": False, "scrollZoom": True, "modeBarButtonsToRemove": ["toImage", "autoScale2d"]}


def show_map(
    cohort: Cohort,
    result: ProjectionResult,
    exhibit: Exhibit,
    *,
    colour: Colouring | None,
    everyone: state.Ids,
) -> None:
    """Draw the map; what is drawn around goes into the session's selection.

    A selection that comes from elsewhere (the URL, another page, another colouring) is highlighted in the picture.
    While the user selects in this picture it stays as it is, so that zoom and lasso are not lost.
    """
    shown = state.view()
    drawn = (result.method, shown.colour, shown.embedding, shown.where, shown.within)
    if st.session_state.get("_map-drawn") != drawn or shown.selected != st.session_state.get("_map-told"):
        st.session_state["_map-drawn"] = drawn
        st.session_state["_map-highlight"] = shown.selected
    st.session_state["_map-told"] = shown.selected
    alt = f"{result.method.upper()} map of {cohort.n} patients coloured by {shown.colour}"
    if result.n > WEBGL_ABOVE:
        _show_many(cohort, result, colour, everyone=everyone, alt=alt)
        return
    screen = on_screen(exhibit.figures["map"], _SCREEN_FACTOR)
    screen.update_layout(margin_t=screen.layout.margin.t + _TOOLBAR_PX)
    screen.update_layout(height=_height_px(result, screen), dragmode="lasso", hovermode="closest")
    highlight(screen, state.unpack_selection(everyone, st.session_state["_map-highlight"]))
    key = "map-" + "-".join(str(part) for part in drawn)
    st.plotly_chart(
        screen, key=key, theme=None, on_select=lambda: _take_selection(key, everyone), config=_TOOLS, alt=alt
    )


def _show_many(
    cohort: Cohort, result: ProjectionResult, colour: Colouring | None, *, everyone: state.Ids, alt: str
) -> None:
    key, who = f"webgl-{result.method}", loaders.cohort_key(cohort)
    drawn = _POINTS.get((who, result.method), lambda: webgl.points(result))
    dark = is_dark()
    column = colour and (colour.label, colour.categories, colour.ordered)
    painted = _COLOURS.get((who, column, dark), lambda: webgl.colours(colour, result.n, dark=dark))
    webgl.show(
        drawn,
        painted,
        marked=loaders.drawn_mask(cohort, result, everyone, st.session_state["_map-highlight"]),
        alt=alt,
        key=key,
        on_selected=lambda: _take_rows(key, drawn, result, everyone),
    )
    if message := webgl.trust_line(result):
        st.caption(message)


def _take_rows(key: str, drawn: webgl.Points, result: ProjectionResult, everyone: state.Ids) -> None:
    said = webgl.selection_of(key)
    if said is None or said[0] != drawn.places.key:
        return  # a selection that was drawn on another picture
    rows = webgl.chosen_rows(said[1], result.n)
    state.set_field("selected", state.pack_selection(everyone, result.patient_id[rows]))
    st.session_state["_map-told"] = state.view().selected


def _height_px(result: ProjectionResult, figure: Figure) -> float:
    """Room for the panel in the proportions of the cloud, whose axes share one scale, and for the margins."""
    width, height = (max(float(np.ptp(axis)), 1e-12) for axis in result.coordinates.T)
    panel = min(max(1.1 * _TYPICAL_WIDTH_PX * height / width, _PANEL_PX[0]), _PANEL_PX[1])
    margin = figure.layout.margin
    return panel + margin.t + margin.b


def highlight(figure: Figure, chosen: Sequence[str]) -> None:
    """Fade every point that is not chosen; nobody chosen fades nobody."""
    wanted = set(chosen)
    if not wanted:
        return
    for trace in figure.data:
        ids = trace.customdata if trace.customdata is not None else ()
        trace.selectedpoints = [i for i, patient in enumerate(ids) if str(patient) in wanted]
        trace.unselected = {"marker": {"opacity": 0.15}}


def selected_ids(points: Sequence[Any]) -> list[str]:
    """Patient IDs of a selection event's points, each once."""
    ids = []
    for point in points:
        data = point.get("customdata")
        ids += [str(v) for v in (data if isinstance(data, list | tuple) else [data]) if v is not None]
    return list(dict.fromkeys(ids))


def _take_selection(key: str, everyone: state.Ids) -> None:
    event = st.session_state.get(key)
    points = event.selection.points if event is not None else []
    state.set_field("selected", state.pack_selection(everyone, selected_ids(points)))
    st.session_state["_map-told"] = state.view().selected
