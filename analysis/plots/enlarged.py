"""The printed figure held closer to the eye: text, lines, markers and margins enlarged alike, for screen and slide."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from analysis.plots.theme import MM, WIDTH_MM, set_width
from flexict_core.errors import FigureExportError

if TYPE_CHECKING:
    import plotly.graph_objects as go

SLIDE_MM = (338.6667, 190.5)  # 13.33 × 7.5 inches, 16:9: what slide programs call widescreen
_LARGEST, _SMALLEST = SLIDE_MM[0] / WIDTH_MM["slide"], 1.5  # times print: text of 14 to 16 pt; of 9 to 10 pt
_SQUEEZED = 0.7  # a panel may be this much lower than on paper before the text is made smaller


def for_screen(fig: go.Figure, factor: float = 1.6) -> go.Figure:
    """A copy enlarged as a whole by `factor`."""
    import plotly.graph_objects as go

    traces = [_scaled(trace.to_plotly_json(), factor, within="trace") for trace in fig.data]
    return go.Figure(traces, _scaled(fig.layout.to_plotly_json(), factor, within="layout"))


def on_slide(fig: go.Figure) -> go.Figure:
    """A copy that fills a 16:9 slide: text of 14 pt and more (notes 12 pt), less only where the figure is tall.

    Raises FigureExportError where the text would be smaller than 9 pt.
    """
    factor = _LARGEST
    while True:
        page = set_width(fig, SLIDE_MM[0] / factor)
        margin, height = page.layout.margin, SLIDE_MM[1] / factor * MM
        if height - margin.t - margin.b >= _SQUEEZED * (page.layout.height - margin.t - margin.b):
            break
        factor *= 0.97
        if factor < _SMALLEST:
            name = (page.layout.meta or {}).get("name", "this figure")
            raise FigureExportError(f"{name} is too tall for a slide: show fewer rows, or use width double")
    page.update_layout(height=height)
    return for_screen(page, factor)


_PIXELS = {
    "font": {"size"}, "tickfont": {"size"}, "textfont": {"size"}, "marker": {"size"}, "line": {"width"},
    "margin": {"l", "r", "t", "b"},
    "title": {"standoff"}, "error_x": {"thickness", "width"}, "error_y": {"thickness", "width"},
    "legend": {"itemwidth", "tracegroupgap"}, "colorbar": {"thickness", "ticklen", "tickwidth", "outlinewidth"},
    "layout": {"width", "height"}, "annotations": {"xshift", "yshift", "arrowwidth", "borderpad"},
    "meta": {"footer_px"},
    **{f"{a}axis": {"linewidth", "tickwidth", "ticklen"} for a in "xy"},
}  # fmt: skip


def _scaled(value: Any, factor: float, *, within: str) -> Any:
    """Multiply every length in pixels; `within` is the key that holds the value (axis numbers dropped)."""
    if isinstance(value, dict):
        lengths = _PIXELS.get(within, set())
        out: dict[str, Any] = {}
        for key, item in value.items():
            if key in lengths and isinstance(item, int | float) and not isinstance(item, bool):
                out[key] = item * factor
            elif key == "dash" and isinstance(item, str):
                out[key] = re.sub(r"[\d.]+(?=px)", lambda n: f"{float(n[0]) * factor:.2f}", item)
            else:
                out[key] = _scaled(item, factor, within=key.rstrip("0123456789"))
        return out
    if isinstance(value, list | tuple):
        return [_scaled(item, factor, within=within) for item in value]
    return value
