"""The CT of one case: three linked planes, window presets, slice positions in mm."""

from __future__ import annotations

from typing import Any

import streamlit as st

from app import loaders
from app.components.ct_planes import (
    PLANES,
    TUMOUR_WINDOW,
    WINDOWS,
    CtCase,
    Style,
    draw_planes,
    positions_mm,
    window_of,
)
from app.components.plain_text import literal
from flexict_core.errors import ImageError, MaskError

WHOLE, CLOSE = "Whole slice", "Around the tumour"
_AT_FIRST = {"ct-window": "Soft tissue", "ct-field": WHOLE, "ct-outline": True, "ct-crosshair": True}
_AXES = {"axial": "z", "coronal": "y", "sagittal": "x"}
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
    return window_of(case, st.session_state.get("ct-window") or "Soft tissue")


def show_ct(case: CtCase, name: str) -> None:
    """Three planes with their controls. `name` tells cases apart, so each keeps its own slices."""
    style = _choose_style(case, name)
    _show_planes(case, name, style)
    _describe(case, style.window)


@st.fragment
def _show_planes(case: CtCase, name: str, style: Style) -> None:
    """The pictures and their sliders; moving one draws only these again, not the page."""
    z, y, x = (
        st.session_state.get(_slice_key(plane, name), centre)
        for plane, centre in zip(PLANES, case.centre_zyx, strict=True)
    )
    pictures = draw_planes(case, (z, y, x), style)
    for column, plane in zip(st.columns(3, gap="small"), PLANES, strict=True):
        with column:
            st.image(pictures[plane], width="stretch", alt=f"{plane} plane of {name}")
            _slice_slider(case, plane, name)


def _slice_key(plane: str, name: str) -> str:
    return f"ct-{plane}-{name}"


def _choose_style(case: CtCase, name: str) -> Style:
    presets = [*WINDOWS, *([TUMOUR_WINDOW] if case.mask is not None else [])]
    for key, value in _AT_FIRST.items():
        st.session_state.setdefault(key, value)
    if st.session_state["ct-window"] not in presets:
        st.session_state["ct-window"] = "Soft tissue"
    keep: dict[str, Any] = {"persist_state": "session"}
    field, outline = WHOLE, False
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        preset = st.segmented_control("Window", presets, key="ct-window", required=True, **keep)
        if case.mask is not None:
            field = st.segmented_control("Field", [WHOLE, CLOSE], key="ct-field", required=True, **keep)
            outline = st.toggle("Outline", key="ct-outline", help="Outline of the mask", **keep)
        crosshair = st.toggle("Crosshair", key="ct-crosshair", help="Where the other two planes cut", **keep)
        back = st.button(
            "Centre", icon=":material/center_focus_strong:", key="ct-centre", help="Back to the first slices"
        )
        if back:
            for plane in PLANES:
                st.session_state.pop(_slice_key(plane, name), None)
    return Style(
        window_of(case, preset or "Soft tissue"),
        field_mm=_field_mm(case) if field == CLOSE else None,
        outline=outline,
        crosshair=crosshair,
    )


def _field_mm(case: CtCase) -> float:
    return max(60.0, _MARGIN * max(case.tumour_extent_zyx_mm))


def _slice_slider(case: CtCase, plane: str, name: str) -> None:
    axis, count = PLANES.index(plane), case.volume.shape_zyx[PLANES.index(plane)]
    key, position = _slice_key(plane, name), positions_mm(case, plane)
    st.session_state.setdefault(key, case.centre_zyx[axis])
    if count > 1:
        st.select_slider(
            f"{plane.capitalize()} slice",
            range(count),
            key=key,
            format_func=lambda i: f"{_AXES[plane]} {position[i]:.1f} mm ({i + 1}/{count})",
        )


def _describe(case: CtCase, window: tuple[float, float]) -> None:
    z, y, x = case.volume.spacing_zyx_mm
    size = " × ".join(str(n) for n in case.volume.shape_zyx[::-1])
    parts = [
        f"Window level {window[0]:.0f} HU, width {window[1]:.0f} HU",
        f"{size} voxels of {x:.2f} × {y:.2f} × {z:.2f} mm (x × y × z)",
        "radiological view: the patient's right is on the left of axial and coronal pictures",
        "positions in mm grow to the left (x), back (y) and head (z)",
    ]
    if case.volume.is_oblique:
        parts.append("the scan is oblique: letters name the nearest patient axis")
    if case.mask is None:
        parts.append("no mask: opened at the middle of the volume")
    st.caption(" · ".join(parts))
