"""The 3D view of one case with its controls."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from app.components.ct_viewer import crosshair
from app.loaders import cases
from app.volume_view.component import Look, show_volume

if TYPE_CHECKING:
    from app.loaders.cases import Asked

# HU that is invisible below, white above
_TISSUES = {"Body": (-350.0, 500.0), "Bone": (150.0, 1000.0), "Airways and lung": (-950.0, -300.0)}


def show_3d(asked: Asked) -> None:
    """Volume rendering by NiiVue, cut open from the front so that the tumour can be seen."""
    case, scene = asked.case, cases.scene(asked)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        tissue = st.segmented_control(
            "Shows", list(_TISSUES), default="Body", key="volume-tissue", required=True
        )
        cut = st.toggle(
            "Cut open", value=True, key="volume-cut", help="Take away what lies in front of a coronal plane"
        )
        y = crosshair(case, asked.name)[1]
        first = round(100 * (y + 0.5) / case.volume.shape_zyx[1])
        depth = st.slider(
            "Cut at", 0, 100, first, key=f"volume-depth-{asked.name}", format="%d %%", width=220, disabled=not cut,
            help="From the front (0 %) to the back (100 %)",
        )  # fmt: skip
        opacity = 0.0
        if scene.mask is not None:
            shown = st.toggle("Mask", value=True, key="volume-mask", help="The mask as a solid in orange")
            opacity = 1.0 if shown else 0.0
    low, high = _TISSUES[tissue or "Body"]
    look = Look(low, high, 0.5 - depth / 100 if cut else None, opacity)
    show_volume(scene, look, name="-".join(str(part) for part in asked.key))
    st.caption(
        f"A coarser copy ({scene.spacing_mm:.1f} mm voxels, drawn by your browser's WebGL); the planes show the "
        "original. "
        "S superior, A anterior, L left. Drawn by NiiVue, served from this machine."
    )
