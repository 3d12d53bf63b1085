"""Figures on a page: the export's own, enlarged for the screen, on dark paper where the page is dark."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from app.exhibits import Exhibit

FACTOR = 1.35  # two figures of a column side by side at 1280 px
_ACROSS = 2


def on_screen(figure: Figure, factor: float = FACTOR) -> Figure:
    """A copy for this reader's screen; what is exported stays as it is."""
    from analysis.plots.enlarged import for_screen
    from analysis.plots.on_dark import on_dark

    large = for_screen(figure, factor)
    return on_dark(large) if is_dark() else large


def is_dark() -> bool:
    """Whether this reader's page is dark."""
    return st.context.theme.type == "dark"


def show_figure(figure: Figure, key: str, factor: float = FACTOR) -> None:
    """One figure, with its caption as the text for those who cannot see it."""
    st.plotly_chart(
        on_screen(figure, factor),
        theme=None,
        key=key,
        config={"displayModeBar": False},
        alt=figure.layout.meta["caption"],
    )


def show_figures(exhibit: Exhibit) -> None:
    """All figures of a result, two side by side."""
    names = list(exhibit.figures)
    for start in range(0, len(names), _ACROSS):
        columns = st.columns(_ACROSS, gap="small")
        for place, name in zip(columns, names[start : start + _ACROSS], strict=False):
            with place:
                show_figure(exhibit.figures[name], f"figure-{name}")
