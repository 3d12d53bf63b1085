"""A slide is the printed figure, larger as a whole and 16:9."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go
import pytest

from analysis.plots.enlarged import for_screen, on_slide
from analysis.plots.forest import ForestRow, forest
from analysis.plots.theme import MM, PT
from flexict_core.errors import FigureExportError

from .conftest import NAMES, Exhibit


def sizes(value: Any, within: str = "") -> list[float]:
    """Every size of a font in a figure, in points."""
    if isinstance(value, dict):
        own = [value["size"] / PT] if within in ("font", "tickfont", "textfont") and "size" in value else []
        return own + [s for name, item in value.items() for s in sizes(item, name)]
    if isinstance(value, list | tuple):
        return [s for item in value for s in sizes(item, within)]
    return []


@pytest.mark.parametrize("name", NAMES)
def test_every_plot_fills_a_slide_with_text_that_a_room_can_read(
    exhibits: dict[str, Exhibit], name: str
) -> None:
    e = exhibits[name]
    slide = on_slide(e.draw(e.result, width="slide"))
    assert slide.layout.width / MM == pytest.approx(338.67, abs=0.01)
    assert slide.layout.height / MM == pytest.approx(190.5, abs=0.01)
    found = sizes(slide.to_dict())
    assert min(found) >= 5 * 1.5 - 1e-6  # the stamp of the tallest figure; of most it is 11.7
    assert max(found) >= 7 * 1.5 - 1e-6
    printed = sorted(set(sizes(e.draw(e.result).to_dict())))
    factors = {round(a / b, 6) for a, b in zip(sorted(set(found)), printed, strict=True)}
    assert len(factors) == 1


def test_a_low_figure_has_text_of_14_points(exhibits: dict[str, Exhibit]) -> None:
    e = exhibits["gradient_power.power_plot"]
    slide = on_slide(e.draw(e.result, width="slide"))
    assert slide.layout.template.layout.xaxis.tickfont.size / PT == pytest.approx(14, abs=0.01)


def test_what_no_room_can_read_is_refused() -> None:
    rows = [ForestRow(f"row {i}", 0.5, (0.2, 0.8), 10) for i in range(24)]
    with pytest.raises(FigureExportError, match="too tall for a slide: show fewer rows"):
        on_slide(forest(rows, title="t", nothing=0.0, width="slide"))


def test_dashes_and_texts_grow_with_the_rest() -> None:
    line = go.Scatter(
        x=[0, 1], y=[0, 1], text=["a", "b"], line={"dash": "6px,1.5px", "width": 1}, textfont={"size": 8}
    )
    (large,) = for_screen(go.Figure(line, {"margin": {"l": 10}}), 2).data
    assert (large.line.dash, large.line.width, large.textfont.size) == ("12.00px,3.00px", 2, 16)
