"""A figure on a dark screen: the same data, ink and paper exchanged. What is exported stays as printed."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import plotly.graph_objects as go

PAPER, INK_ON_DARK, CLEAR = "#181714", "#E6E6E6", "rgba(0,0,0,0)"  # the page itself is the paper
_EXCHANGED = {
    "#1A1A1A": INK_ON_DARK, "white": PAPER, "#FFFFFF": PAPER, "#000000": "#FFFFFF", "black": "#FFFFFF",
    "#8C8C8C": "#A8A8A8", "#555555": "#A8A8A8", "#6E6E6E": "#9A9A9A", "#B8B8B8": "#8A8A8A",
    "rgba(255,255,255,0)": CLEAR,
    # blue, green and purple of the categories, lightened until they stand 4.5:1 on the dark paper
    "#0072B2": "#4AA3DF", "#009E73": "#21C795",
}  # fmt: skip
_LIGHT_VIRIDIS = 0.38  # the darkest third of viridis is lost on dark paper


def on_dark(fig: go.Figure) -> go.Figure:
    """A copy with light ink on dark paper; colours of order are moved into the light part of viridis."""
    import plotly.graph_objects as go

    ramp = _ramp(fig)
    data = [_exchanged(trace.to_plotly_json(), ramp) for trace in fig.data]
    layout = _exchanged(fig.layout.to_plotly_json(), ramp)
    if "template" in layout:
        layout["template"] = go.layout.Template(layout["template"])
    return go.Figure(data, layout)


def colour_on_dark(colour: str) -> str:
    """A colour of the palettes, "#rrggbb" or "rgb(…)", as it stands on dark paper, in the form it came in."""
    from plotly.colors import hex_to_rgb

    if colour.upper() in _EXCHANGED:
        return _EXCHANGED[colour.upper()]
    if not colour.startswith("#"):
        return _moved([colour]).get(colour, colour)
    text = f"rgb{hex_to_rgb(colour)}"
    return as_hex(_moved([text]).get(text, text))


def as_hex(colour: str) -> str:
    """A colour of the palettes, "#rrggbb" or "rgb(…)", as "#rrggbb"."""
    if colour.startswith("#"):
        return colour
    red, green, blue = (round(float(v)) for v in colour.removeprefix("rgb(").removesuffix(")").split(","))
    return f"#{red:02x}{green:02x}{blue:02x}"


def _ramp(fig: go.Figure) -> dict[str, str]:
    """Colours sampled from viridis ("rgb(…)"), each with its place moved up to where dark paper shows it."""
    return _moved({c for trace in fig.data for c in _colours(trace.to_plotly_json()) if c.startswith("rgb(")})


def _moved(texts: Collection[str]) -> dict[str, str]:
    from plotly.colors import sample_colorscale, unlabel_rgb

    if not texts:
        return {}
    steps = [i / 255 for i in range(256)]
    known = [unlabel_rgb(c) for c in sample_colorscale("Viridis", steps)]
    moved = {}
    for text in texts:
        colour = unlabel_rgb(text)
        distances = [sum((a - b) ** 2 for a, b in zip(colour, k, strict=True)) for k in known]
        nearest = min(range(256), key=distances.__getitem__)
        if distances[nearest] < 30:
            place = _LIGHT_VIRIDIS + (1 - _LIGHT_VIRIDIS) * steps[nearest]
            moved[text] = str(sample_colorscale("Viridis", [place])[0])
    return moved


def _colours(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [c for item in value.values() for c in _colours(item)]
    if isinstance(value, list | tuple):
        return [c for item in value for c in _colours(item)]
    return [value] if isinstance(value, str) else []


def _exchanged(value: Any, ramp: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {
            key: CLEAR if key in ("paper_bgcolor", "plot_bgcolor") else _exchanged(item, ramp)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_exchanged(item, ramp) for item in value]
    if isinstance(value, str):
        return ramp.get(value) or _EXCHANGED.get(value, value)
    return value
