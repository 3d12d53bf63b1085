"""The look of every figure: true millimetres and points, colours that survive colour blindness, notes in print.

A figure is built at the size of the printed column (1 pt of text is 1 pt on paper), so what a page shows is
what a paper prints; `enlarged` makes the same figure larger as a whole, for screens and slides. Colours are those
of Okabe & Ito (2008) for categories and viridis for order; how far they stay apart for every kind of colour vision
is tested. A symbol doubles every colour.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from flexict_core.errors import AnalysisError

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from analysis.results import Interval, Provenance

Width = Literal["single", "double", "slide"] | float  # a number: millimetres, as of a panel among others
WIDTH_MM: dict[str, float] = {"single": 89.0, "double": 183.0, "slide": 338.6667 * 3 / 7}  # slide: then × 7/3
TALLEST_MM = 170.0
_NARROWEST_MM, _WIDEST_MM = 25.0, 400.0
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


def width_mm(width: Width) -> float:
    """A width in mm, by name or as it is. Raises AnalysisError for a name or number that no page has."""
    if isinstance(width, str):
        if width in WIDTH_MM:
            return WIDTH_MM[width]
    elif _NARROWEST_MM <= width <= _WIDEST_MM:
        return float(width)
    raise AnalysisError(
        f"figure width {width!r} is not known: choose {', '.join(WIDTH_MM)}, or {_NARROWEST_MM:.0f} to "
        f"{_WIDEST_MM:.0f} (mm)"
    )


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

    fig = go.Figure()
    fig.update_layout(
        template=journal_template(),
        width=width_mm(width) * MM,
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
    """Print "Research use only", and what else the data are; stamping twice changes nothing."""
    return stamp_text(fig, " · ".join([*labels(provenance), "Research use only"]))


def labels(provenance: Provenance) -> list[str]:
    """What every figure says of its data: synthetic, or from weights that have learnt nothing of patients."""
    synthetic = ["Synthetic data"] if provenance.synthetic else []
    return [*synthetic, "Random or test weights"] if provenance.weights_caution else synthetic


def stamp_text(fig: go.Figure, text: str) -> go.Figure:
    """Print a stamp of other words, as of a page whose panels show different data."""
    fig.update_layout(meta={**(fig.layout.meta or {}), "stamp": text})
    return _place_footer(fig)


def is_stamped(fig: go.Figure) -> bool:
    """True when the figure carries its stamp as text."""
    return any(a.name == "stamp" for a in fig.layout.annotations)


def duplicate(fig: go.Figure) -> go.Figure:
    """A copy whose arrays are arrays: `copy.deepcopy` would turn them into base64 text."""
    import plotly.graph_objects as go

    return go.Figure(fig)


def set_width(fig: go.Figure, width: Width) -> go.Figure:
    """A copy of the figure at another column width; margins and text keep their size, notes wrap anew."""
    copied = duplicate(fig)
    copied.update_layout(width=width_mm(width) * MM)
    return _place_footer(copied)


def add_note(fig: go.Figure, text: str) -> go.Figure:
    """A copy with one more note under its panel."""
    copied, meta = duplicate(fig), fig.layout.meta or {}
    copied.update_layout(meta={**meta, "notes": [*meta.get("notes", []), text]})
    return _place_footer(copied)


def without_footer(fig: go.Figure, *, keep_notes: bool = False) -> go.Figure:
    """A copy without the stamp (and the notes) under the panel, for pages that print them elsewhere."""
    copied, meta = duplicate(fig), fig.layout.meta or {}
    kept = meta.get("notes", []) if keep_notes else []
    copied.update_layout(meta={**meta, "notes": kept, "stamp": ""})
    return _place_footer(copied)


def panel_letter(fig: go.Figure, letter: str) -> go.Figure:
    """Bold 8 pt letter in the upper left corner of the page."""
    margin = fig.layout.margin
    fig.add_annotation(
        name="letter", text=f"<b>{letter}</b>", font={"size": LETTER_PT * PT}, xref="paper", yref="paper", x=0, y=1,
        xshift=-margin.l + 0.5 * MM, yshift=margin.t - 0.5 * MM, xanchor="left", yanchor="top", showarrow=False,
        borderpad=0, borderwidth=0,
    )  # fmt: skip
    return fig


def _place_footer(fig: go.Figure) -> go.Figure:
    """(Re)draw what depends on the width: titles under the axes in lines that fit, notes and stamp below them."""
    meta, layout = dict(fig.layout.meta or {}), fig.layout
    inside = (layout.width or 700) / MM - 2 * _EDGE_MM
    lines = [line for note in meta.get("notes", []) for line in wrapped(note, inside, NOTE_PT)]
    note_px = len(lines) * NOTE_PT * _LINE * PT
    stamp_px = STAMP_PT * _LINE * PT if meta.get("stamp") else 0.0
    edge = 0.5 * MM
    titles, title_px = _fitted_titles(fig, meta.get("titles", {}))
    footer = note_px + stamp_px + (_NOTE_GAP_MM * MM + edge if lines or stamp_px else 0.0) + title_px
    before, margin = meta.get("footer_px", 0.0), layout.margin
    bottom = (80 if margin.b is None else margin.b) - before + footer
    fig.update_layout(
        margin_b=bottom,
        height=(layout.height or 450) - before + footer,
        meta={**meta, "footer_px": footer, "titles": titles},
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
    fig.layout.annotations = kept  # an update would leave what is gone
    return fig


def _fitted_titles(fig: go.Figure, titles: dict[str, str]) -> tuple[dict[str, str], float]:
    """Break titles under x axes that are longer than their room; the texts as given, and the pixels added."""
    layout, margin = fig.layout, fig.layout.margin
    if layout.width is None or margin.l is None:
        return {}, 0.0
    axes = [layout[n] for n in ("xaxis", "xaxis2", "xaxis3") if n in layout and layout[n].title.text]
    given = {a.plotly_name: titles.get(a.plotly_name, a.title.text) for a in axes}
    across = layout.width - margin.l - margin.r
    spans = [[margin.l + across * d for d in (a.domain or (0, 1))] for a in axes]
    added = 0.0
    for k, (axis, (low, high)) in enumerate(zip(axes, spans, strict=True)):
        first = 0.0 if k == 0 else (spans[k - 1][1] + low) / 2
        last = layout.width if k == len(axes) - 1 else (high + spans[k + 1][0]) / 2
        centre = (low + high) / 2
        room = 2 * min(centre - first, last - centre) / MM - _EDGE_MM
        text = given[axis.plotly_name]
        lines = [part for line in text.split("<br>") for part in balanced(line, room, TITLE_PT)]
        axis.title.text = "<br>".join(lines)
        added = max(added, (len(lines) - 1 - text.count("<br>")) * TITLE_PT * _LINE * PT)
    return given, added


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


def balanced(text: str, mm: float, pt: float) -> list[str]:
    """As `wrapped`, in as few lines, of lengths as even as the words allow: no last word alone."""
    lines = wrapped(text, mm, pt)
    while mm > 1 and len(tighter := wrapped(text, mm := mm - 1, pt)) == len(lines):
        if max(text_mm(line, pt) for line in tighter) > mm:  # a word as long as the line
            break
        lines = tighter
    return lines


def decimal(value: float, digits: int = 3, *, sign: bool = False) -> str:
    """A number for print: a true minus, no minus before zero; `sign`: a plus where it is positive."""
    rounded = round(value, digits) + 0.0  # -0.0 + 0.0 is 0.0
    return f"{rounded:{'+' if sign and rounded else ''}.{digits}f}".replace("-", "−")


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
