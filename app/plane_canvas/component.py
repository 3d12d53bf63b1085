"""The three planes as one component: what they show goes in, where the reader clicked or scrolled comes out."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

if TYPE_CHECKING:
    from PIL.Image import Image

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Plane:
    """One picture: slice `index` (from 0) of `count`; text: where that is, in words."""

    plane: str
    picture: Image
    index: int
    count: int
    text: str
    label: str


@dataclass(frozen=True)
class Moved:
    """What the reader did on a plane: a click at shares (x, y) of the picture from its upper left, or `step` slices.

    at: the slice of every plane that the reader saw.
    """

    plane: str
    at: tuple[int, ...]
    share_xy: tuple[float, float] | None
    step: int


def show_planes(planes: Sequence[Plane], *, name: str, key: str, on_moved: Callable[[], None]) -> None:
    """Draw them; `on_moved` is called when the reader clicks or scrolls, `moved(key, name)` then says what."""
    told = [
        {
            "plane": p.plane,
            "src": f"data:image/jpeg;base64,{_jpeg(p.picture)}",
            "index": p.index,
            "count": p.count,
            "text": p.text,
            "label": p.label,
        }
        for p in planes
    ]
    _component()(key=key, data={"name": name, "planes": told}, on_moved_change=on_moved)


def moved(key: str, name: str, planes: Sequence[str]) -> Moved | None:
    """The last click or scroll on the planes of this name; None where the message is no such thing."""
    said = getattr(st.session_state.get(key), "moved", None)
    if not isinstance(said, Mapping) or said.get("name") != name or said.get("plane") not in planes:
        return None
    try:
        at = tuple(int(index) for index in said["at"])
        if len(at) != len(planes):
            return None
        if "step" in said:
            return Moved(said["plane"], at, None, int(said["step"]))
        return Moved(said["plane"], at, (float(said["x"]), float(said["y"])), 0)
    except (KeyError, TypeError, ValueError):
        return None


def _jpeg(picture: Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=92, subsampling=0)
    return base64.b64encode(buffer.getvalue()).decode()


@cache
def _component() -> Callable[..., Any]:
    """Registered at its first use; a name registered twice would warn."""
    return st.components.v2.component(
        "flexict_plane_canvas",
        html='<div class="planes"></div>',
        css=(_HERE / "canvas.css").read_text(encoding="utf-8"),
        js=(_HERE / "canvas.js").read_text(encoding="utf-8"),
    )
