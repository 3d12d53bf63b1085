"""The patch-level maps of one case: what the encoder tells apart, what looks like a point, where a score comes from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from app import loaders, state
from app.components.ct_viewer import show_ct
from app.components.patch_colours import Scale, axis_overlay, pca_overlay, similarity_overlay
from app.components.plain_text import literal
from app.components.plane_overlay import Overlay, Voxel
from app.components.tables import show_table
from app.loaders import cases
from flexict_core.errors import FlexictError, InputError

if TYPE_CHECKING:
    from analysis.cohort import Cohort
    from analysis.gradient.transport import StageAxis
    from analysis.stage_axis_map import StageAxisMap
    from app.components.ct_planes import CtCase
    from app.loaders.cases import Asked
    from flexict_core.encoders.token_map import TokenMap

MAPS = {"pca": "PCA colours", "similar": "Similarity to a point", "stage": "Stage axis"}
_STRONGEST = 20
_TOP_FEATURES = 12


@dataclass(frozen=True)
class Layer:
    """What is laid over the planes where they meet at a voxel, and what is said of it under them."""

    draw: Callable[[Voxel], Overlay]
    tell: Callable[[Voxel], None]


def show_patch_maps(cohort: Cohort, asked: Asked) -> None:
    """The planes under a map of choice; without patches or weights, the planes and what can be said instead."""
    from flexict_core.encoders.stored import weights_caution

    spec = cases.specification(cohort)
    if not spec.get("patch_size"):
        _without_patches(cohort, asked)
        return
    try:
        tokens = cases.tokens(cohort, asked)
    except FlexictError as error:
        st.info(
            f"No patch map: {literal(error)}. A map is made anew from the CT, which needs the encoder's weights.",
            icon=":material/grid_off:",
        )
        show_ct(asked.case, asked.name)
        return
    if said := weights_caution(spec):
        st.warning(f"Weights: {said}.", icon=":material/science:")
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        st.session_state.setdefault("view-patches", MAPS.get(state.view().patches or "", MAPS["pca"]))
        shown = st.segmented_control("Map", list(MAPS.values()), key="view-patches", required=True)
        opacity = st.slider("Strength", 0, 100, 55, 5, key="patch-strength", format="%d %%", width=220) / 100
    which = next(name for name, title in MAPS.items() if title == shown)
    state.update(patches=which if which != "pca" else None)
    if which == "stage":
        _stage_map(cohort, asked, tokens, spec=spec, opacity=opacity)
        return
    layer = _pca(cohort, asked, tokens, opacity) if which == "pca" else _similar(asked.case, tokens, opacity)
    show_ct(asked.case, asked.name, layer=layer)


def _pca(cohort: Cohort, asked: Asked, tokens: TokenMap, opacity: float) -> Layer:
    key, held = (cohort.embedding_id, *asked.key), st.session_state.get("_pca")
    if held is None or held[0] != key:
        held = st.session_state["_pca"] = (key, tokens.principal_components(3))
    overlay = pca_overlay(held[1], tokens.affine, opacity)
    d, h, w = tokens.grid

    def tell(_: Voxel) -> None:
        st.caption(
            f"Red, green and blue are the first three principal components of this CT's {d * h * w:,} patches "
            f"({d} × {h} × {w}, z × y × x): patches of one colour look alike to the encoder. Colours mean "
            "nothing between cases."
        )

    return Layer(lambda _: overlay, tell)


def _similar(case: CtCase, tokens: TokenMap, opacity: float) -> Layer:
    last: dict[Voxel, np.ndarray | None] = {}

    def values(at: Voxel) -> np.ndarray | None:
        if at not in last:
            last.clear()
            try:
                last[at] = tokens.similarity_to(_world(case, at))
            except InputError:
                last[at] = None
        return last[at]

    def draw(at: Voxel) -> Overlay:
        found = values(at)
        if found is None:
            return Overlay(np.zeros((*tokens.grid, 4), np.uint8), tokens.affine)
        return similarity_overlay(tokens, found, opacity)[0]

    def tell(at: Voxel) -> None:
        found = values(at)
        if found is None:
            st.info(
                "The crosshair lies outside the field that was encoded: click inside it.",
                icon=":material/ads_click:",
            )
            return
        _show_scale(similarity_overlay(tokens, found, opacity)[1])
        x, y, z = _world(case, at)
        st.caption(
            f"Point: x {x:.1f}, y {y:.1f}, z {z:.1f} mm. Click a picture, or move the sliders, to choose another. "
            f"{int((found > 0.9).sum()):,} of {found.size:,} patches have a cosine above 0.9."
        )

    return Layer(draw, tell)


def _stage_map(
    cohort: Cohort, asked: Asked, tokens: TokenMap, *, spec: dict[str, Any], opacity: float
) -> None:
    from analysis.stage_axis_map import stage_axis_map, why_no_map

    if reason := why_no_map(spec):
        st.info(f"No stage-axis map: {literal(reason)}.", icon=":material/grid_off:")
        show_ct(asked.case, asked.name)
        return
    try:
        axis = _axis(cohort, asked)
        found = stage_axis_map(tokens, axis, pooling=str(spec["pooling"]), embedding=asked.stored)
    except FlexictError as error:
        st.info(f"No stage-axis map: {literal(error)}", icon=":material/grid_off:")
        show_ct(asked.case, asked.name)
        return
    _show_parts(cohort, found, axis, apart=asked.patient is not None)
    overlay, scale = axis_overlay(found, opacity)
    show_ct(
        asked.case, asked.name, layer=Layer(lambda _: overlay, partial(_tell_stage, asked.case, found, scale))
    )
    _show_strongest(asked, found)


def _axis(cohort: Cohort, asked: Asked) -> StageAxis:
    """The axis of the others for the stage of the view. InputError where there is no stage with an order."""
    config = state.AppConfig.from_environment()
    stage = state.view().stage or config.stage
    order = loaders.stage_order(cohort, stage, config) if stage else None
    if stage is None or order is None:
        raise InputError(
            "no stage with an order is known: choose both on the Stage gradient page, then come back"
        )
    return cases.axis(cohort, asked.patient, stage=stage, order=tuple(order), group=state.view().group)


def _show_parts(cohort: Cohort, found: StageAxisMap, axis: StageAxis, *, apart: bool) -> None:
    """The score of the case in its parts, and what share of it has a place. apart: the axis was learnt without it."""
    from analysis.stage_axis_map import patch_share_of_spread

    spread = patch_share_of_spread(axis, cohort.X, pooling=found.pooling)
    share = "none" if found.share is None else f"{found.share:.0%}"
    cards = (
        (
            "Score",
            f"{found.score:+.3f}",
            "Stages from the mean of the patients that the axis was learnt from",
        ),
        ("Patches (mapped)", f"{found.patch_part:+.3f}", "Sum of all patches of the map"),
        ("CLS (no place)", f"{found.cls_part:+.3f}", "The CLS token is no average over patches"),
        ("Share on the map", share, "Patches / score; none where the two parts pull in opposite directions"),
        (
            "Share of the spread",
            f"{spread:.0%}",
            "Over the cohort: covariance of the patches' part with the score",
        ),
    )
    for column, (label, value, why) in zip(st.columns(len(cards)), cards, strict=True):
        column.metric(label, value, help=why)
    who = "without this patient" if apart else "of all patients with a stage"
    st.caption(
        f"Axis of {literal(found.stage)} ({', '.join(literal(s) for s in found.order)}), learnt from {axis.n} "
        f"patients, {who}. In stages: {literal(found.summary())}."
    )


def _tell_stage(case: CtCase, found: StageAxisMap, scale: Scale, at: Voxel) -> None:
    _show_scale(scale)
    index = np.floor(np.linalg.solve(found.affine, [*_world(case, at), 1.0])[:3][::-1] + 0.5).astype(int)
    inside = all(0 <= i < n for i, n in zip(index, found.contributions.shape, strict=True))
    here = f"{found.contributions[tuple(index)]:+.2g} stages" if inside else "outside the encoded field"
    st.caption(
        f"Patch at the crosshair: {here}. Orange with + speaks for a later stage, purple with − for an earlier one "
        f"(signs stand on the strongest patches). The {found.contributions.size:,} numbers sum to "
        f"{found.patch_part:+.3f}. An association of the axis, not a finding and no cause."
    )


def _show_strongest(asked: Asked, found: StageAxisMap) -> None:
    import pandas as pd

    from flexict_core.io.write import nifti_bytes

    values = found.contributions.ravel()
    places = np.argsort(-np.abs(values), kind="stable")[:_STRONGEST]
    zyx = np.array(np.unravel_index(places, found.contributions.shape)).T
    world = zyx[:, ::-1] @ found.affine[:3, :3].T + found.affine[:3, 3]
    table = pd.DataFrame(np.round(world, 1), columns=["x_mm", "y_mm", "z_mm"])
    table.insert(0, "stages", values[places])
    with st.expander(f"The {len(table)} strongest patches, and the map as a file"):
        show_table(table, f"stage-axis-patches-{asked.name}", height=260)
        st.download_button(
            "Map as NIfTI overlay",
            data=lambda: nifti_bytes(found.to_volume()),
            file_name=f"stage-axis-{asked.name}.nii.gz",
            mime="application/gzip",
            icon=":material/download:",
            key="stage-axis-nifti",
            on_click="ignore",
        )


def _without_patches(cohort: Cohort, asked: Asked) -> None:
    """The planes, and for named features what each adds to the stage score: exact too, but without a place."""
    from analysis.stage_axis_map import feature_contributions

    name = literal(cohort.encoder or cohort.embedding_id)
    st.info(
        f"No patch map: {name} gives one vector of the whole region and no patches, so nothing of it can be laid on "
        "the CT. Embeddings of flexict-2d, flexict-3d and random-3d with pooling cls_mean or mean_patch have maps.",
        icon=":material/grid_off:",
    )
    if cohort.feature_names is not None and asked.patient is not None:
        try:
            axis = _axis(cohort, asked)
            at = int(np.flatnonzero(cohort.patient_id == asked.patient)[0])
            table = feature_contributions(axis, cohort.X[at], cohort.feature_names)
        except FlexictError as error:
            st.caption(f"What each feature adds to the stage score: {literal(error)}")
        else:
            score = float(table["contribution"].sum())
            st.markdown(f"**What its features add to the stage score** ({score:+.2f} stages from the mean)")
            shown = table.head(_TOP_FEATURES).rename(
                columns={"sd": "SDs from mean", "contribution": "stages"}
            )
            show_table(shown, f"stage-features-{asked.name}", height=300, download=table)
    show_ct(asked.case, asked.name)


def _world(case: CtCase, at: Voxel) -> np.ndarray:
    return case.volume.index_to_world(np.array(at[::-1], float))


def _show_scale(scale: Scale) -> None:
    """The colour bar between its end values."""
    middle = (
        "0"
        if scale.low < 0 < scale.high and scale.low == -scale.high
        else f"{(scale.low + scale.high) / 2:.2g}"
    )
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(f"**{scale.low:.2g}**", width="content")
        st.image(np.tile(scale.colours[None], (14, 1, 1)), width=320)
        st.markdown(f"**{scale.high:+.2g}**" if scale.low < 0 else f"**{scale.high:.2g}**", width="content")
        st.caption(f"{scale.unit}; {middle} in the middle", width="content")
