"""The look of every figure: true millimetres and points, colours that survive colour blindness, notes in print.

A figure is built at the size of the printed column (1 pt of text is 1 pt on paper), so what a page shows is
what a paper prints; `for_screen` enlarges all of it alike. Colours are those of Okabe & Ito (2008) for
categories and viridis for order; a symbol doubles every colour.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from flexict_core.errors import AnalysisError

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from analysis.results import Interval, Provenance

Width = Literal["single", "double"]
WIDTH_MM: dict[str, float] = {"single": 89.0, "double": 183.0}
TALLEST_MM = 170.0
PT, MM = 96 / 72, 96 / 25.4  # CSS pixels in a point and in a millimetre
FONT = "Arial, Helvetica, Liberation Sans, sans-serif"
TICK_PT, TITLE_PT, NOTE_PT, STAMP_PT, LETTER_PT = 6.0, 7.0, 5.5, 5.0, 8.0
INK, FAINT, MISSING_COLOUR = "#1A1A1A", "#8C8C8C", "#B8B8B8"
# blue, vermillion, bluish green, orange, reddish purple, sky blue, black, yellow
CATEGORY_COLOURS = (
    "#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#000000", "#F0E442",
)  # fmt: skip
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "triangle-down", "star", "pentagon")
_EDGE_MM, _NOTE_GAP_MM, _LINE = 1.5, 1.0, 1.3  # page edge to notes, axis to notes, line height in ems


def category_style(index: int) -> tuple[str, str]:
    """Colour and symbol of a category; beyond eight, colours repeat with other symbols."""
    shift = index // len(CATEGORY_COLOURS)
    return (
        CATEGORY_COLOURS[index % len(CATEGORY_COLOURS)],
        SYMBOLS[(index + shift) % len(SYMBOLS)],
    )


def ordered_colours(count: int) -> list[str]:
    """Viridis from light (first) to dark (last): even steps to the eye, and in grey."""
    from plotly.colors import sample_colorscale

    steps = [0.5] if count == 1 else [0.82 - 0.78 * i / (count - 1) for i in range(count)]
    return [str(c) for c in sample_colorscale("Viridis", steps)]


@cache
def journal_template() -> Any:
    """Plotly template with sizes in points: thin axes with ticks outside, no grid, no title, no background."""
    import plotly.graph_objects as go

    axis = {
        "showgrid": False,
        "zeroline": False,
        "showline": True,
        "linecolor": INK,
        "linewidth": 0.5 * PT,
        "ticks": "outside",
        "tickcolor": INK,
        "tickwidth": 0.5 * PT,
        "ticklen": 2 * PT,
        "tickfont": {"size": TICK_PT * PT},
        "title": {"font": {"size": TITLE_PT * PT}, "standoff": 3 * PT},
        "automargin": False,
    }
    layout = go.Layout(
        font={"family": FONT, "size": TICK_PT * PT, "color": INK},
        paper_bgcolor="white",
        plot_bgcolor="white",
        colorway=list(CATEGORY_COLOURS),
        xaxis=axis,
        yaxis=axis,
        legend={
            "font": {"size": TICK_PT * PT},
            "bgcolor": "rgba(255,255,255,0)",
            "itemsizing": "trace",
            "tracegroupgap": 0,
            "borderwidth": 0,
        },
        annotationdefaults={"font": {"size": TICK_PT * PT}, "showarrow": False},
        hoverlabel={"font": {"family": FONT}},
        bargap=0,
    )
    return go.layout.Template(layout=layout)


def blank(
    *,
    width: Width = "single",
    panel_mm: float,
    left_mm: float = 12,
    right_mm: float = 3,
    top_mm: float = 3,
    bottom_mm: float = 9,
) -> go.Figure:
    """An empty figure of a column's width whose panel is `panel_mm` tall; `finish` adds room for the notes."""
    import plotly.graph_objects as go

    if width not in WIDTH_MM:
        raise AnalysisError(f"figure width {width!r} is not known: choose {' or '.join(WIDTH_MM)}")
    fig = go.Figure()
    fig.update_layout(
        template=journal_template(),
        width=WIDTH_MM[width] * MM,
        height=(top_mm + panel_mm + bottom_mm) * MM,
        margin={
            "l": left_mm * MM,
            "r": right_mm * MM,
            "t": top_mm * MM,
            "b": bottom_mm * MM,
            "pad": 0,
            "autoexpand": False,
        },
        showlegend=False,
        meta={"footer_px": 0.0},
    )
    return fig


def finish(
    fig: go.Figure, provenance: Provenance, *, name: str, notes: Sequence[str], caption: str
) -> go.Figure:
    """Print notes and stamp under the panel; keep the figure's name and caption for its files."""
    fig.update_layout(
        meta={**(fig.layout.meta or {}), "name": name, "notes": list(notes), "caption": caption}
    )
    return stamp(fig, provenance)


def stamp(fig: go.Figure, provenance: Provenance) -> go.Figure:
    """Print "Research use only", and "Synthetic data" where they are; stamping twice changes nothing."""
    text = "Synthetic data · Research use only" if provenance.synthetic else "Research use only"
    fig.update_layout(meta={**(fig.layout.meta or {}), "stamp": text})
    return _place_footer(fig)


def is_stamped(fig: go.Figure) -> bool:
    """True when the figure carries its stamp as text."""
    return any(a.name == "stamp" for a in fig.layout.annotations)


def set_width(fig: go.Figure, width: Width) -> go.Figure:
    """A copy of the figure at another column width; margins and text keep their size, notes wrap anew."""
    if width not in WIDTH_MM:
        raise AnalysisError(f"figure width {width!r} is not known: choose {' or '.join(WIDTH_MM)}")
    copied = copy.deepcopy(fig)
    copied.update_layout(width=WIDTH_MM[width] * MM)
    return _place_footer(copied)


def panel_letter(fig: go.Figure, letter: str) -> go.Figure:
    """Bold 8 pt letter in the upper left corner of the page."""
    margin = fig.layout.margin
    fig.add_annotation(
        name="letter", text=f"<b>{letter}</b>", font={"size": LETTER_PT * PT}, xref="paper", yref="paper", x=0, y=1,
        xshift=-margin.l + 0.5 * MM, yshift=margin.t - 0.5 * MM, xanchor="left", yanchor="top", showarrow=False,
    )  # fmt: skip
    return fig


def _place_footer(fig: go.Figure) -> go.Figure:
    """(Re)draw notes and stamp in room added below the panel's own bottom margin."""
    meta, layout = dict(fig.layout.meta or {}), fig.layout
    inside = (layout.width or 700) / MM - 2 * _EDGE_MM
    lines = [line for note in meta.get("notes", []) for line in wrapped(note, inside, NOTE_PT)]
    note_px = len(lines) * NOTE_PT * _LINE * PT
    stamp_px = STAMP_PT * _LINE * PT if meta.get("stamp") else 0.0
    edge = 0.5 * MM
    footer = note_px + stamp_px + (_NOTE_GAP_MM * MM + edge if lines or stamp_px else 0.0)
    before, margin = meta.get("footer_px", 0.0), layout.margin
    bottom = (80 if margin.b is None else margin.b) - before + footer
    fig.update_layout(
        margin_b=bottom, height=(layout.height or 450) - before + footer, meta={**meta, "footer_px": footer}
    )
    kept = [a for a in layout.annotations if a.name not in ("notes", "stamp")]
    left = 80 if margin.l is None else margin.l
    common: dict[str, Any] = {
        "xref": "paper", "yref": "paper", "x": 0, "y": 0, "xanchor": "left", "yanchor": "bottom",
        "xshift": -left + _EDGE_MM * MM, "align": "left", "showarrow": False, "borderpad": 0,
    }  # fmt: skip
    if lines:
        kept.append(
            {**common, "name": "notes", "text": "<br>".join(lines), "yshift": -bottom + edge + stamp_px,
             "font": {"size": NOTE_PT * PT, "color": INK}}
        )  # fmt: skip
    if stamp_px:
        kept.append(
            {**common, "name": "stamp", "text": meta["stamp"], "yshift": -bottom + edge,
             "font": {"size": STAMP_PT * PT, "color": "#555555"}}
        )  # fmt: skip
    fig.update_layout(annotations=kept)
    return fig


def text_mm(text: str, pt: float) -> float:
    """Width of a line of Arial, in mm, rounded up a little: lets margins be set before anything is drawn."""
    em = 0.0
    for c in text:
        if c in "ijl.,:;'|! ()[]ftI·":
            em += 0.31
        elif c in "mwMW%@—":
            em += 0.87
        else:
            em += 0.68 if c.isupper() else 0.56
    return em * pt * 25.4 / 72


def wrapped(text: str, mm: float, pt: float) -> list[str]:
    """Words of `text` in lines of at most `mm`; "p = 0.01" stays together."""
    lines: list[str] = []
    for word in re.sub(r" (%|[=≤<>] )", lambda m: m[0].replace(" ", "\u00a0"), text).split(" "):
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_mm(longer, pt) <= mm:
            lines[-1] = longer
        else:
            lines.append(word)
    return [line.replace("\u00a0", " ") for line in lines]


def shown(text: Any) -> str:
    """A user's own text as plotly shows it letter by letter, not as markup."""
    return str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def interval_trace(
    x: Sequence[float], y: Sequence[float], intervals: Sequence[Interval | None], *, along: Literal["x", "y"],
    colour: str = INK, symbol: str = "diamond", size_pt: float = 4.0, **trace: Any,
) -> go.Scatter:  # fmt: skip
    """Estimates as markers with their intervals as bars along one axis; no bar where there is no interval."""
    import plotly.graph_objects as go

    centre = x if along == "x" else y
    up = [None if ci is None else ci[1] - c for c, ci in zip(centre, intervals, strict=True)]
    down = [None if ci is None else c - ci[0] for c, ci in zip(centre, intervals, strict=True)]
    bars = {
        "type": "data", "symmetric": False, "array": up, "arrayminus": down, "color": colour,
        "thickness": 0.75 * PT, "width": 1.5 * PT,
    }  # fmt: skip
    return go.Scatter(
        x=list(x),
        y=list(y),
        mode="markers",
        marker={"symbol": symbol, "size": size_pt * PT, "color": colour},
        **({f"error_{along}": bars} if any(intervals) else {}),
        **trace,
    )


def for_screen(fig: go.Figure, factor: float = 1.6) -> go.Figure:
    """A copy enlarged as a whole (text, lines, markers, margins): the printed figure held closer to the eye."""
    import plotly.graph_objects as go

    traces = [_scaled(trace.to_plotly_json(), factor, within="trace") for trace in fig.data]
    return go.Figure(traces, _scaled(fig.layout.to_plotly_json(), factor, within="layout"))


_PIXELS = {
    "font": {"size"}, "tickfont": {"size"}, "marker": {"size"}, "line": {"width"}, "margin": {"l", "r", "t", "b"},
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
        out = {}
        for key, item in value.items():
            if key in lengths and isinstance(item, int | float) and not isinstance(item, bool):
                out[key] = item * factor
            else:
                out[key] = _scaled(item, factor, within=key.rstrip("0123456789"))
        return out
    if isinstance(value, list | tuple):
        return [_scaled(item, factor, within=within) for item in value]
    return value
