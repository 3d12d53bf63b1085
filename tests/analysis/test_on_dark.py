"""Figures on a dark screen: the same data, ink that can be read, and an original left as it was."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import pytest
from plotly.colors import hex_to_rgb, unlabel_rgb

from analysis.plots.on_dark import PAPER, on_dark
from analysis.plots.theme import CATEGORY_COLOURS, FAINT, INK, blank, ordered_colours


def _luminance(colour: str) -> float:
    """Relative luminance of WCAG 2."""
    parts = unlabel_rgb(colour) if colour.startswith("rgb") else hex_to_rgb(colour)
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (p / 255 for p in parts)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(colour: str) -> float:
    light, dark = sorted((_luminance(colour), _luminance(PAPER)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("colour", [*CATEGORY_COLOURS, *ordered_colours(4), INK, FAINT])
def test_every_colour_of_the_theme_can_be_seen_on_dark_paper(colour: str) -> None:
    fig = blank(width="single", panel_mm=40)
    fig.add_trace(go.Scatter(x=[1.0, 2.0], y=[3.0, 4.0], mode="markers", marker={"color": colour}))
    dark = on_dark(fig)
    assert _contrast(dark.data[0].marker.color) >= 3  # graphical objects, WCAG 1.4.11
    assert np.array_equal(dark.data[0].x, fig.data[0].x)
    assert fig.data[0].marker.color == colour


def test_the_page_shows_through_and_text_is_light() -> None:
    dark = on_dark(blank(width="single", panel_mm=40))
    template = dark.layout.template.layout
    assert template.paper_bgcolor == template.plot_bgcolor == "rgba(0,0,0,0)"
    assert _contrast(template.font.color) >= 7
