"""The map of many points in WebGL: regl-scatterplot (MIT), bundled here, so that nothing is fetched from elsewhere.

The page sends one block of bytes: the length of a JSON header (uint32, little-endian), the header, x and y (float32),
the numbers of the column where it has some (float32), the colour code of each patient (uint16), the patients marked at
first (one bit each, the first the highest of its byte), and the patient IDs (UTF-8, one a line).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

if TYPE_CHECKING:
    from analysis.plots.projection import Colouring
    from analysis.projection import ProjectionResult

_HERE = Path(__file__).parent
_STEPS = 64  # of a colour scale
_TICKS = 5


@dataclass(frozen=True)
class Palette:
    """Colour codes [n] of the patients, the colour of each code, what the legend says, and a scale for numbers."""

    codes: np.ndarray
    colours: tuple[str, ...]
    legend: tuple[dict[str, Any], ...]
    scale: dict[str, Any] | None


def palette(colour: Colouring | None, n: int) -> Palette:
    """The colours of the printed map, as codes; `legend` counts every category, missing values last."""
    from analysis.plots.projection import MISSING, OTHER
    from analysis.plots.theme import MISSING_COLOUR, category_style, ordered_colours

    if colour is None:
        fill = category_style(0)[0]
        return Palette(np.zeros(n, np.uint16), (fill,), (_entry(0, fill, "patients", n),), None)
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
    fills = [_hex(fill) for fill in fills]
    codes = np.full(n, len(names), np.uint16)
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

    from analysis.plots.projection import MISSING
    from analysis.plots.theme import MISSING_COLOUR

    known = np.isfinite(numbers)
    low, high = float(numbers[known].min()), float(numbers[known].max())
    steps = (numbers[known] - low) / ((high - low) or 1.0) * _STEPS
    codes = np.full(len(numbers), _STEPS, np.uint16)
    codes[known] = np.minimum(steps.astype(int), _STEPS - 1)
    fills = tuple(_hex(c) for c in sample_colorscale("Viridis", list(np.linspace(1, 0, _STEPS))))
    ticks = [f"{v:.4g}" for v in np.linspace(low, high, _TICKS)]
    missing = int((~known).sum())
    legend = (_entry(_STEPS, MISSING_COLOUR, MISSING, missing),) if missing else ()
    return Palette(
        codes, (*fills, MISSING_COLOUR), legend, {"colours": fills[::8] + fills[-1:], "ticks": ticks}
    )


def _entry(code: int, colour: str, name: str, n: int) -> dict[str, Any]:
    return {"code": code, "colour": colour, "name": name, "text": f"{name} (n = {n:,})"}


def _hex(colour: str) -> str:
    if colour.startswith("#"):
        return colour
    red, green, blue = (round(float(v)) for v in colour.removeprefix("rgb(").removesuffix(")").split(","))
    return f"#{red:02x}{green:02x}{blue:02x}"


def places_of(result: ProjectionResult) -> str:
    """Tells one picture from another."""
    return hashlib.sha256(_places(result)).hexdigest()[:16]


def _places(result: ProjectionResult) -> bytes:
    return np.ascontiguousarray(result.coordinates.T, dtype=np.float32).tobytes()


def axes_line(result: ProjectionResult) -> str:
    """What stands at the axes of the printed map, as one line."""
    if result.explained_variance is not None:
        across, up = (f"{100 * v:.1f} %" for v in result.explained_variance)
        return f"Across: PC 1 ({across} of variance). Up: PC 2 ({up}). Both axes have one scale."
    return f"{result.method.upper()}: axes have no unit, and distances are not measured."


def trust_line(result: ProjectionResult) -> str:
    """How far the picture can be believed."""
    sample = "" if result.judged == result.n else f", {result.judged:,} patients sampled"
    return (
        f"Trustworthiness {result.trustworthiness:.3f}, continuity {result.continuity:.3f} "
        f"(k = {result.k}{sample}; 1 is best), n = {result.n:,}."
    )


def pack(result: ProjectionResult, colour: Colouring | None, *, marked: np.ndarray, alt: str) -> bytes:
    """The block of bytes for the browser; marked [n]: patients highlighted at first."""
    painted = palette(colour, result.n)
    places = _places(result)
    numbers = (
        None if colour is None or colour.numbers is None else colour.numbers.astype(np.float32).tobytes()
    )
    names = "\n".join(" ".join(str(p).split()) for p in result.patient_id).encode()
    body = b"".join([places, numbers or b"", painted.codes.tobytes(), np.packbits(marked).tobytes(), names])
    told = {
        "n": result.n,
        "places": places_of(result),
        "stamp": hashlib.sha256(body + str(painted.legend).encode()).hexdigest()[:16],
        "numeric": numbers is not None,
        "palette": painted.colours,
        "legend": painted.legend,
        "scale": painted.scale,
        "label": colour.label if colour else "Patients",
        "axes": axes_line(result),
        "alt": alt,
    }
    head = json.dumps(told, ensure_ascii=False).encode()
    return len(head).to_bytes(4, "little") + head + body


def chosen_rows(text: str, n: int) -> np.ndarray:
    """Which of n patients a message of the browser selects, [n] booleans; nobody where it is not such a message."""
    try:
        bits = np.frombuffer(base64.b64decode(text, validate=True), dtype=np.uint8)
    except (binascii.Error, ValueError):
        return np.zeros(n, dtype=bool)
    return np.unpackbits(bits)[:n].astype(bool) if len(bits) == (n + 7) // 8 else np.zeros(n, dtype=bool)


@cache
def _component() -> Callable[..., Any]:
    """Registered at its first use; a name registered twice would warn."""
    return st.components.v2.component(
        "flexict_webgl_map",
        css=(_HERE / "style.css").read_text(encoding="utf-8"),
        js=(_HERE / "bundle.js").read_text(encoding="utf-8"),
    )


def show(data: bytes, *, key: str, on_selected: Callable[[], None]) -> None:
    """Draw the map; `on_selected` is called when the reader selects, `selection_of(key)` then says whom."""
    _component()(key=key, data=data, on_selected_change=on_selected)


def selection_of(key: str) -> tuple[str, str] | None:
    """The last selection: which places it was drawn on, and the patients as text for `chosen_rows`."""
    event = st.session_state.get(key)
    said = getattr(event, "selected", None)
    return None if said is None else (str(said["places"]), str(said["rows"]))
