"""The colours of the printed map as codes, with the legend that names and counts them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from analysis.plots.projection import Colouring

_STEPS = 64  # of a colour scale
_INTERVALS = 4  # of them, which a legend names and counts
_TICKS = 5


@dataclass(frozen=True)
class Palette:
    """Colour codes [n] (uint8) of the patients, the colour of each code, what the legend says, a scale for numbers."""

    codes: np.ndarray
    colours: tuple[str, ...]
    legend: tuple[dict[str, Any], ...]
    scale: dict[str, Any] | None


def on_dark(painted: Palette) -> Palette:
    """The same for a dark page, where the darkest colours would be lost."""
    from analysis.plots.on_dark import colour_on_dark

    lighter = {c: colour_on_dark(c) for c in painted.colours}
    legend = tuple({**entry, "colour": lighter[entry["colour"]]} for entry in painted.legend)
    scale = painted.scale and {**painted.scale, "colours": [lighter[c] for c in painted.scale["colours"]]}
    return replace(painted, colours=tuple(lighter[c] for c in painted.colours), legend=legend, scale=scale)


def palette(colour: Colouring | None, n: int) -> Palette:
    """`legend` counts every category, or every quarter of the scale of a number; missing values last."""
    from analysis.plots.on_dark import as_hex
    from analysis.plots.projection import MISSING, OTHER
    from analysis.plots.theme import MISSING_COLOUR, category_style, ordered_colours

    if colour is None:
        fill = category_style(0)[0]
        return Palette(np.zeros(n, np.uint8), (fill,), (_entry(0, fill, "patients", n),), None)
    if colour.numbers is not None:
        return _scale(colour.numbers)
    assert colour.labels is not None
    names = colour.categories
    fills = (
        ordered_colours(len(names))
        if colour.ordered and names
        else [category_style(i)[0] for i in range(len(names))]
    )
    if not colour.ordered:
        fills = [MISSING_COLOUR if name == OTHER else fill for name, fill in zip(names, fills, strict=True)]
    fills = [as_hex(fill) for fill in fills]
    codes = np.full(n, len(names), np.uint8)
    legend = []
    for code, (name, fill) in enumerate(zip(names, fills, strict=True)):
        has = colour.labels == name
        codes[has] = code
        legend.append(_entry(code, fill, name, int(has.sum())))
    if missing := int((codes == len(names)).sum()):
        legend.append(_entry(len(names), MISSING_COLOUR, MISSING, missing))
    return Palette(codes, (*fills, MISSING_COLOUR), tuple(legend), None)


def _scale(numbers: np.ndarray) -> Palette:
    from plotly.colors import sample_colorscale

    from analysis.plots.on_dark import as_hex
    from analysis.plots.projection import MISSING
    from analysis.plots.theme import MISSING_COLOUR

    known = np.isfinite(numbers)
    low, high = float(numbers[known].min()), float(numbers[known].max())
    steps = (numbers[known] - low) / ((high - low) or 1.0) * _STEPS
    codes = np.full(len(numbers), _STEPS, np.uint8)
    codes[known] = np.minimum(steps.astype(int), _STEPS - 1)
    fills = tuple(as_hex(c) for c in sample_colorscale("Viridis", list(np.linspace(1, 0, _STEPS))))
    ticks = [f"{v:.4g}" for v in np.linspace(low, high, _TICKS)]
    legend = []
    each = _STEPS // _INTERVALS
    ends = np.linspace(low, high, _INTERVALS + 1)
    for first in range(0, _STEPS, each):
        count = int(np.count_nonzero((codes >= first) & (codes < first + each)))
        least, most = ends[first // each], ends[first // each + 1]
        name = f"{least:.4g} to {most:.4g}"
        legend.append({**_entry(first, fills[first + each // 2], name, count), "last": first + each - 1})
    if missing := int((~known).sum()):
        legend.append(_entry(_STEPS, MISSING_COLOUR, MISSING, missing))
    scale = {"colours": fills[::8] + fills[-1:], "ticks": ticks}
    return Palette(codes, (*fills, MISSING_COLOUR), tuple(legend), scale)


def _entry(code: int, colour: str, name: str, n: int) -> dict[str, Any]:
    return {"code": code, "colour": colour, "name": name, "text": f"{name} (n = {n:,})"}
