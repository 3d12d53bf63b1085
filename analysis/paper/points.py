"""Points of a figure on paper: vectors, or, where they are too many for that, a bitmap that says so."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.plots.enlarged import for_screen
from analysis.plots.theme import add_note

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from analysis.figure_browser import FigureBrowser

MOST_VECTOR_POINTS = 20_000  # above it a PDF takes megabytes and seconds to open
RASTER_DPI = 600


def vector_traces(fig: go.Figure) -> go.Figure:
    """A copy in which every WebGL trace, which a browser prints as a bitmap, is one of vectors."""
    return _with_traces(fig, lambda trace: {**trace, "type": trace["type"].removesuffix("gl")})


def too_many(fig: go.Figure) -> bool:
    """Whether the figure holds more points than a vector file should."""
    return sum(_count(t) for t in fig.data if _is_points(t)) > MOST_VECTOR_POINTS


def noted(fig: go.Figure) -> go.Figure:
    """A copy whose notes say that its points are a bitmap."""
    return add_note(
        fig, f"Points: bitmap of {RASTER_DPI} dpi, for there are more than {MOST_VECTOR_POINTS:,}."
    )


def with_bitmap(browser: FigureBrowser, fig: go.Figure) -> go.Figure:
    """A copy whose points are a bitmap of 600 dpi under the vectors of axes and text.

    Of each set of points the outermost stay vectors too: they hold the axes where they were, and the legend.
    """
    picture = base64.b64encode(_points_alone(browser, fig)).decode("ascii")
    kept = _with_traces(fig, _outermost)
    layout, margin = fig.layout, fig.layout.margin
    across, up = layout.width - margin.l - margin.r, layout.height - margin.t - margin.b
    kept.add_layout_image(
        source=f"data:image/png;base64,{picture}", xref="paper", yref="paper", layer="below", sizing="stretch",
        x=-margin.l / across, y=1 + margin.t / up, sizex=layout.width / across, sizey=layout.height / up,
    )  # fmt: skip
    return kept


def _points_alone(browser: FigureBrowser, fig: go.Figure) -> bytes:
    """PNG of the page with nothing but the points on it, transparent elsewhere."""
    unseen = {"customdata": None, "text": None, "hovertemplate": None, "hoverinfo": "skip"}
    page = _with_traces(fig, lambda t: {**t, **unseen, "type": "scattergl"} if _large(t) else None)
    page.layout.annotations, page.layout.shapes, page.layout.images = (), (), ()
    page.update_layout(showlegend=False, paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)")
    page.update_xaxes(visible=False)
    page.update_yaxes(visible=False)
    page.update_traces(marker_showscale=False)
    large = for_screen(
        page, RASTER_DPI / 96
    )  # not `scale`: it would enlarge a canvas drawn at screen resolution
    return browser.image(large, "png", width_px=large.layout.width, height_px=large.layout.height)


def _with_traces(fig: go.Figure, change: Any) -> go.Figure:
    import plotly.graph_objects as go

    traces = [change(trace.to_plotly_json()) for trace in fig.data]
    return go.Figure([t for t in traces if t is not None], fig.layout)


def _outermost(trace: dict[str, Any]) -> dict[str, Any]:
    """The trace with the points at its four ends only."""
    if not _large(trace):
        return trace
    x, y = np.asarray(trace["x"], dtype=float), np.asarray(trace["y"], dtype=float)
    ends = np.unique([np.nanargmin(x), np.nanargmax(x), np.nanargmin(y), np.nanargmax(y)])
    marker = {k: _of(v, ends, len(x)) for k, v in trace["marker"].items()}
    if "colorscale" in marker:  # the scale of all colours, not of the four that stay
        every = np.asarray(trace["marker"]["color"], dtype=float)
        marker = {"cmin": float(np.nanmin(every)), "cmax": float(np.nanmax(every)), **marker}
    return {**{k: _of(v, ends, len(x)) for k, v in trace.items()}, "marker": marker}


def _of(value: Any, rows: np.ndarray, count: int) -> Any:
    """Those rows of a value that there is one of a point; any other value as it is."""
    if isinstance(value, str | dict) or not hasattr(value, "__len__") or len(value) != count:
        return value
    return [value[i] for i in rows]


def _large(trace: dict[str, Any]) -> bool:
    return (
        trace["type"] in ("scatter", "scattergl") and trace.get("mode") == "markers" and len(trace["x"]) > 4
    )


def _is_points(trace: Any) -> bool:
    return trace.type in ("scatter", "scattergl") and "markers" in (trace.mode or "")


def _count(trace: Any) -> int:
    return 0 if trace.x is None else len(trace.x)
