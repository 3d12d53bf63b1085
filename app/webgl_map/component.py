"""The map of many points in WebGL: regl-scatterplot (MIT), bundled here, so that nothing is fetched from elsewhere.

The page sends texts and colours with every run, and where the browser gets what it does not have yet: x and y (float32,
all x first), the colour code of each patient (uint8), the numbers of the column where it has some (float32), and the
patient IDs (UTF-8, one a line). A change of colour moves one byte a patient.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from app.webgl_map.blocks import Block, address, block, told
from app.webgl_map.palette import Palette, on_dark, palette

if TYPE_CHECKING:
    from analysis.plots.projection import Colouring
    from analysis.projection import ProjectionResult

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Points:
    """Where a picture's patients lie, and their IDs: the same under every colour."""

    n: int
    places: Block
    names: Block
    axes: str


@dataclass(frozen=True)
class Colours:
    """How a column colours them."""

    label: str
    palette: Palette
    codes: Block
    values: Block | None


def points(result: ProjectionResult) -> Points:
    """The points of a picture."""
    names = "\n".join(" ".join(str(p).split()) for p in result.patient_id).encode()
    places = np.ascontiguousarray(result.coordinates.T, dtype=np.float32)
    return Points(result.n, block(places.tobytes()), block(names), axes_line(result))


def colours(colour: Colouring | None, n: int, *, dark: bool = False) -> Colours:
    """The colours of n patients, on light or dark paper."""
    painted = on_dark(palette(colour, n)) if dark else palette(colour, n)
    numbers = None if colour is None or colour.numbers is None else colour.numbers.astype(np.float32)
    return Colours(
        colour.label if colour else "Patients",
        painted,
        block(painted.codes.tobytes()),
        None if numbers is None else block(numbers.tobytes()),
    )


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
        js=(_HERE / "loader.js").read_text(encoding="utf-8"),
    )


@cache
def _program() -> bytes:
    return (_HERE / "bundle.js").read_bytes()


def show(
    drawn: Points,
    painted: Colours,
    *,
    marked: np.ndarray,
    alt: str,
    key: str,
    on_selected: Callable[[], None],
) -> None:
    """Draw the map; marked [n]: patients highlighted at first; `on_selected` is called when the reader selects,
    `selection_of(key)` then says whom."""
    head = {
        "n": drawn.n,
        "places": told(drawn.places, place=f"{key}-places"),
        "names": told(drawn.names, place=f"{key}-names"),
        "codes": told(painted.codes, place=f"{key}-codes"),
        "values": painted.values and told(painted.values, place=f"{key}-values"),
        "marked": base64.b64encode(np.packbits(marked).tobytes()).decode() if marked.any() else "",
        "palette": painted.palette.colours,
        "legend": painted.palette.legend,
        "scale": painted.palette.scale,
        "label": painted.label,
        "axes": drawn.axes,
        "alt": alt,
        "program": address(_program(), "text/javascript", place=f"{key}-program"),
    }
    said = (
        drawn.places.key,
        painted.codes.key,
        head["marked"],
        head["palette"],
        head["legend"],
        head["label"],
        alt,
    )
    head["stamp"] = hashlib.sha256(repr(said).encode()).hexdigest()[:16]
    _component()(key=key, data=head, on_selected_change=on_selected)


def selection_of(key: str) -> tuple[str, str] | None:
    """The last selection: which places it was drawn on, and the patients as text for `chosen_rows`."""
    event = st.session_state.get(key)
    said = getattr(event, "selected", None)
    return None if said is None else (str(said["places"]), str(said["rows"]))
