"""Trajectory: how the stages move, in the plane of the stage axis, and the same patients under other embeddings."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import streamlit as st

from app import loaders, state
from app.components.answer import is_wanted
from app.components.export_button import show_downloads
from app.components.gradient_settings import GradientSettings, choose_settings, show_gradient_start
from app.components.linked_pictures import Picture, show_linked
from app.components.plain_text import literal
from app.components.tables import show_table
from app.drawings import Drawing
from app.exhibits import Exhibit, keep_exhibit
from flexict_core.errors import FlexictError

if TYPE_CHECKING:
    from analysis.cohort import Cohort
    from analysis.gradient.trajectory import Trajectory

PAGE = "trajectory"
PICTURES = {"plane": "Stage-axis plane", "pca": "PCA", "umap": "UMAP"}
_MOST_BESIDE = 3


def render() -> None:
    """Draw the page."""
    config = state.AppConfig.from_environment()
    cohort = loaders.current_cohort(config)
    st.subheader("Trajectory", anchor=False)
    st.caption(
        "The stages' centres with 95 % ellipses: along the stage axis the out-of-fold score, across it the first "
        "component that the axis leaves. Choose further embeddings to see the same patients under each; a lasso in one "
        "picture selects them in all."
    )
    with st.container(border=True):
        settings = choose_settings(cohort, config)
        if settings is None:
            return
        names = {info.embedding_id: info.name for info in loaders.embeddings(config)}
        first, second = st.columns([4, 12], gap="small")
        with first:
            kind = state.choose("Picture", "picture", list(PICTURES), format_func=PICTURES.__getitem__)
        with second:
            others = [i for i in names if i != cohort.embedding_id]
            beside = state.choose_many(
                "Embeddings beside it", "beside", others, format_func=lambda i: names[i],
                placeholder="none" if others else "the store holds no other", max_selections=_MOST_BESIDE - 1,
            )  # fmt: skip
        if not show_gradient_start(cohort, settings, page=PAGE):
            return
    if kind == "plane" and not is_wanted(
        PAGE, loaders.question("gradient", cohort, settings), takes="some seconds for each embedding"
    ):
        return
    pictures = []
    for embedding in (cohort.embedding_id, *beside):
        try:
            other = loaders.cohort_of(config, embedding)
            exhibit, numbers = _picture(other, settings, str(kind), config)
        except FlexictError as error:
            st.warning(f"{literal(names[embedding])}: {literal(error)}", icon=":material/warning:")
            continue
        pictures.append(Picture(names[embedding], other, exhibit, "trajectory", numbers))
    show_linked(pictures, loaders.whole_cohort(config).patient_id)
    for picture in pictures:
        with st.expander(f"Numbers and files: {literal(picture.title)}"):
            show_downloads(picture.exhibit, key=f"trajectory-{picture.title}")
            if picture.numbers is not None:
                _show_numbers(picture.numbers, picture.title)
            st.code(picture.exhibit.result.methods_text(), language=None, wrap_lines=True)


def _picture(
    cohort: Cohort, settings: GradientSettings, kind: str, config: state.AppConfig
) -> tuple[Exhibit, Trajectory | None]:
    if kind == "plane":
        return _plane(cohort, settings)
    from analysis.plots.projection import projection_map, projection_map_source

    result = loaders.projection(cohort, "umap" if kind == "umap" else "pca", config)
    order = loaders.stage_order(cohort, settings.stage, config)
    values = cohort.column(settings.stage)
    drawing = Drawing(
        "trajectory",
        partial(projection_map, result, values, label=settings.stage, order=order),
        partial(projection_map_source, result, values, label=settings.stage, order=order),
    )
    title = f"{PICTURES[kind]} of {cohort.embedding_id} beside others"
    return keep_exhibit(title, result=result, cohort=cohort, drawings=[drawing]), None


def _plane(cohort: Cohort, settings: GradientSettings) -> tuple[Exhibit, Trajectory | None]:
    from analysis.plots.gradient_trajectory import trajectory_plane, trajectory_plane_source

    result = loaders.gradient(cohort, settings, page=PAGE)
    drawing = Drawing(
        "trajectory", partial(trajectory_plane, result), partial(trajectory_plane_source, result)
    )
    title = f"trajectory of {settings.stage} in {cohort.embedding_id}"
    return keep_exhibit(title, result=result, cohort=cohort, drawings=[drawing]), result.trajectory


def _show_numbers(path: Trajectory, title: str) -> None:
    import pandas as pd

    rows = [(c.label, c.n, c.x, c.y, *(c.semi_axes or (None, None)), c.angle_degrees) for c in path.centroids]
    names = ["stage", "n", "along", "across", "longer semi-axis", "shorter", "angle (°)"]
    show_table(pd.DataFrame(rows, columns=names), f"centroids-{title}")
    straight = (
        "" if path.straightness is None else f", straightness {path.straightness:.2f} (1 is a straight line)"
    )
    st.caption(
        f"Path {path.path_length:.2f}, ends {path.end_to_end:.2f} within-stage SDs apart{straight}; turns at the inner "
        f"stages: {', '.join(f'{a:.0f}°' for a in path.turning_angles) or 'none'}."
    )


render()
