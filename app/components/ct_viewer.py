"""The CT of one case: three linked planes, window presets, slice positions in mm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from app import loaders, state
from app.components.ct_planes import (
    PLANES,
    TUMOUR_WINDOW,
    WINDOWS,
    CtCase,
    Style,
    draw_planes,
    positions_mm,
    voxel_at,
    window_of,
)
from app.components.plain_text import literal
from app.plane_canvas.component import Plane, moved, show_planes
from flexict_core.errors import ImageError, MaskError

if TYPE_CHECKING:
    from app.components.patch_map import Layer

WHOLE, CLOSE = "Whole slice", "Around the tumour"
_AT_FIRST = {"ct-field": WHOLE, "ct-outline": True, "ct-crosshair": True}
_AXES = {"axial": "z", "coronal": "y", "sagittal": "x"}
_CANVAS = "ct-planes"
_MOST_CASES = 200  # whose slices are remembered
_MARGIN = 1.8  # field around the tumour, as a multiple of its largest extent


def load_row(row: Any) -> CtCase | None:
    """The CT of a row, without its mask where that cannot be used; None, and a message, where there is none."""
    try:
        return loaders.ct_case(row)
    except MaskError as error:
        st.warning(f"The CT is shown without its mask: {literal(error)}", icon=":material/warning:")
    except ImageError as error:
        _say_no_ct(error)
        return None
    try:
        return loaders.ct_case(row._replace(mask=""))
    except ImageError as error:
        _say_no_ct(error)
        return None


def _say_no_ct(error: ImageError) -> None:
    st.info(
        f"No CT to show: {literal(error)}. The clinical data and the similar cases below need none.",
        icon=":material/image_not_supported:",
    )


def chosen_window(case: CtCase) -> tuple[float, float]:
    """Level and width that the viewer's control stands on."""
    return window_of(case, st.session_state.get("view-window") or state.view().window or "Soft tissue")


def show_ct(case: CtCase, name: str, *, layer: Layer | None = None) -> None:
    """Three planes with their controls, under a patch map if there is one. `name` tells cases apart, so each keeps its
    own slices."""
    style = _choose_style(case, name)
    _show_planes(case, name, style, layer)
    _describe(case, style.window)


@st.fragment
def _show_planes(case: CtCase, name: str, style: Style, layer: Layer | None) -> None:
    """The pictures and their sliders; moving one draws only these again, not the page."""
    _follow_link(name)
    _follow(case, name, style)
    at = crosshair(case, name)
    pictures = draw_planes(case, at, style if layer is None else replace(style, overlay=layer.draw(at)))
    planes = [
        Plane(
            plane,
            pictures[plane],
            at[i],
            case.volume.shape_zyx[i],
            _said(case, plane, at[i]),
            f"{plane} plane",
        )
        for i, plane in enumerate(PLANES)
    ]
    show_planes(planes, name=name, key=_CANVAS, on_moved=partial(_note_move, name))
    for column, plane in zip(st.columns(3, gap="small"), PLANES, strict=True):
        with column:
            _slice_slider(case, plane, name)
    if layer is not None:
        layer.tell(at)
    _remember(case, name)


def crosshair(case: CtCase, name: str) -> tuple[int, int, int]:
    """The voxel (z, y, x) where the three planes meet: as chosen, else as the link says, else the case's centre."""
    z, y, x = _chosen_slices().get(name) or _from_link(case) or case.centre_zyx
    return z, y, x


def _chosen_slices() -> dict[str, list[int]]:
    """Slices (z, y, x) that this session has chosen, by case; the last cases of many."""
    return st.session_state.setdefault("_slices", {})


def _choose_slices(name: str, at: Sequence[int]) -> None:
    chosen = _chosen_slices()
    chosen.pop(name, None)
    chosen[name] = list(at)
    while len(chosen) > _MOST_CASES:
        del chosen[next(iter(chosen))]


def _note_move(name: str) -> None:
    """Streamlit keeps this function while the session lasts: it must hold no CT."""
    st.session_state["_moved"] = (name, moved(_CANVAS, name, PLANES))


def _follow(case: CtCase, name: str, style: Style) -> None:
    """Move the crosshair to where the reader clicked, or on by the slices that they scrolled."""
    of, event = st.session_state.pop("_moved", (name, None))
    if event is None or of != name:
        return
    at = [min(max(index, 0), n - 1) for index, n in zip(event.at, case.volume.shape_zyx, strict=True)]
    if event.share_xy is not None:
        at = list(voxel_at(case, event.plane, (at[0], at[1], at[2]), style=style, share_xy=event.share_xy))
    else:
        axis = PLANES.index(event.plane)
        at[axis] = min(max(at[axis] + event.step, 0), case.volume.shape_zyx[axis] - 1)
    _choose_slices(name, at)


def _remember(case: CtCase, name: str) -> None:
    """Keep the crosshair in the view, so that the link holds it; the case's own centre needs no words."""
    at = crosshair(case, name)
    world = case.volume.index_to_world(np.array(at[::-1], float))
    state.update(at=None if at == case.centre_zyx else ",".join(f"{v:.1f}" for v in world))
    st.session_state["_at"] = state.view().at
    state.write_url()


def _follow_link(name: str) -> None:
    """Let go of the slices that were chosen before, where the link was changed to another point."""
    if state.view().at and state.view().at != st.session_state.get("_at"):
        _chosen_slices().pop(name, None)


def _from_link(case: CtCase) -> tuple[int, int, int] | None:
    """The voxel at the link's point, clipped to the volume; None without a point."""
    try:
        world = [float(v) for v in (state.view().at or "").split(",")]
        index = np.rint(case.volume.world_to_index(world)).astype(int)
    except ValueError:
        return None
    x, y, z = (int(np.clip(i, 0, n - 1)) for i, n in zip(index, case.volume.shape_zyx[::-1], strict=True))
    return z, y, x


def _choose_style(case: CtCase, name: str) -> Style:
    presets = [*WINDOWS, *([TUMOUR_WINDOW] if case.mask is not None else [])]
    for key, value in {**_AT_FIRST, "view-window": state.view().window or "Soft tissue"}.items():
        st.session_state.setdefault(key, value)
    if st.session_state["view-window"] not in presets:
        st.session_state["view-window"] = "Soft tissue"
    keep: dict[str, Any] = {"persist_state": "session"}
    field, outline = WHOLE, False
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        preset = st.segmented_control("Window", presets, key="view-window", required=True, **keep)
        if case.mask is not None:
            field = st.segmented_control("Field", [WHOLE, CLOSE], key="ct-field", required=True, **keep)
            outline = st.toggle("Outline", key="ct-outline", help="Outline of the mask", **keep)
        cross = st.toggle("Crosshair", key="ct-crosshair", help="Where the other two planes cut", **keep)
        back = st.button(
            "Centre", icon=":material/center_focus_strong:", key="ct-centre", help="Back to the first slices"
        )
        if back:
            _chosen_slices().pop(name, None)
            state.update(at=None)
    state.update(window=preset if preset != "Soft tissue" else None)
    return Style(
        window_of(case, preset or "Soft tissue"),
        field_mm=_field_mm(case) if field == CLOSE else None,
        outline=outline,
        crosshair=cross,
    )


def _field_mm(case: CtCase) -> float:
    return max(60.0, _MARGIN * max(case.tumour_extent_zyx_mm))


def _slice_slider(case: CtCase, plane: str, name: str) -> None:
    """One slider a plane for all cases: Streamlit keeps every widget that a session ever had, with its words."""
    axis, count, key = PLANES.index(plane), case.volume.shape_zyx[PLANES.index(plane)], f"ct-{plane}"
    st.session_state[key] = crosshair(case, name)[axis]
    if count > 1:
        said = tuple(_said(case, plane, index) for index in range(count))
        st.select_slider(
            f"{plane.capitalize()} slice",
            range(count),
            key=key,
            format_func=said.__getitem__,
            on_change=_slide,
            args=(key, axis, name, crosshair(case, name)),
        )


def _slide(key: str, axis: int, name: str, seen: tuple[int, int, int]) -> None:
    _choose_slices(name, [int(st.session_state[key]) if i == axis else index for i, index in enumerate(seen)])


def _said(case: CtCase, plane: str, index: int) -> str:
    count = case.volume.shape_zyx[PLANES.index(plane)]
    return f"{_AXES[plane]} {positions_mm(case, plane)[index]:.1f} mm ({index + 1}/{count})"


def _describe(case: CtCase, window: tuple[float, float]) -> None:
    z, y, x = case.volume.spacing_zyx_mm
    size = " × ".join(str(n) for n in case.volume.shape_zyx[::-1])
    parts = [
        f"Window level {window[0]:.0f} HU, width {window[1]:.0f} HU",
        f"{size} voxels of {x:.2f} × {y:.2f} × {z:.2f} mm (x × y × z)",
        "radiological view: the patient's right is on the left of axial and coronal pictures",
        "positions in mm grow to the left (x), back (y) and head (z)",
        "click a picture to move the other two there; wheel or arrow keys go through its slices",
    ]
    if case.volume.is_oblique:
        parts.append("the scan is oblique: letters name the nearest patient axis")
    if case.mask is None:
        parts.append("no mask: opened at the middle of the volume")
    st.caption(" · ".join(parts))
