"""The same patients in pictures side by side: a selection in one is shown in all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import streamlit as st

from app import state
from app.components.figures import on_screen
from app.components.map import highlight, selected_ids
from app.components.plain_text import literal

if TYPE_CHECKING:
    from analysis.cohort import Cohort
    from analysis.gradient.trajectory import Trajectory
    from app.exhibits import Exhibit

_TOOLS = {"displaylogo": False, "scrollZoom": True, "modeBarButtonsToRemove": ["toImage", "autoScale2d"]}
_TOOLBAR_PX = 26


@dataclass(frozen=True)
class Picture:
    """One embedding's picture: a figure of the exhibit, and the path of its stages where it shows one."""

    title: str
    cohort: Cohort
    exhibit: Exhibit
    figure: str
    numbers: Trajectory | None


def show_linked(pictures: Sequence[Picture], everyone: state.Ids) -> None:
    """One column a picture; each is drawn anew with what was selected in another, and left as it is by its own."""
    if not pictures:
        return
    for column, picture in zip(st.columns(max(2, len(pictures)), gap="small"), pictures, strict=False):
        with column:
            st.markdown(f"**{literal(picture.title)}** · {picture.cohort.n} patients")
            _show(picture, everyone)


def _show(picture: Picture, everyone: state.Ids) -> None:
    name = f"linked-{picture.cohort.embedding_id}-{picture.exhibit.title}"
    if st.session_state.get("_linked-source") != name:  # what another picture selected is shown in a new one
        st.session_state[f"_{name}"] = state.view().selected
    shown: str | None = st.session_state.get(f"_{name}")
    screen = on_screen(picture.exhibit.figures[picture.figure])
    screen.update_layout(margin_t=screen.layout.margin.t + _TOOLBAR_PX, dragmode="lasso", hovermode="closest")
    screen.layout.height = (screen.layout.height or 400) + _TOOLBAR_PX
    highlight(screen, state.unpack_selection(everyone, shown))
    key = f"{name}-{shown}"
    st.plotly_chart(
        screen,
        key=key,
        theme=None,
        config=_TOOLS,
        on_select=lambda: _take(key, name, everyone),
        alt=f"{picture.title}: {picture.exhibit.figures[picture.figure].layout.meta['caption']}",
    )


def _take(key: str, name: str, everyone: state.Ids) -> None:
    event = st.session_state.get(key)
    points = event.selection.points if event is not None else []
    st.session_state["_linked-source"] = name
    state.set_field("selected", state.pack_selection(everyone, selected_ids(points)))
