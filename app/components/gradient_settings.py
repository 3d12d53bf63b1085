"""What the stage gradient is asked: stage column, order of stages, adjusters, group."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import streamlit as st

from app import loaders, state
from app.components.plain_text import literal
from flexict_core.errors import CohortError

if TYPE_CHECKING:
    from analysis.cohort import Cohort

NO_GROUP = "(none)"

# Names whose order by letter is that of the stages: with a number in them, or a Roman one up to VIII
_RISING = re.compile(r".*\d.*|(stage )?(i{1,3}|iv|vi{0,3})[a-d]?", re.IGNORECASE)


@dataclass(frozen=True)
class GradientSettings:
    """One question to `analysis.stage_gradient`."""

    stage: str
    order: str
    adjust: tuple[str, ...]
    group: str | None


def choose_settings(cohort: Cohort, config: state.AppConfig) -> GradientSettings | None:
    """Widgets for the question; None, and a message, where there is no column to ask about."""
    levels = loaders.category_levels(cohort)
    if not levels:
        st.info(
            "The clinical table has no column with 2 to 20 different values, so there is no stage to test.",
            icon=":material/info:",
        )
        return None
    first = [c for c in (config.stage, *_likely(list(levels))) if c in levels]
    columns = list(dict.fromkeys([*first, *levels]))
    first_field, second_field, third_field, fourth_field = st.columns([4, 4, 9, 4], gap="small")
    wanted = state.view().stage
    with first_field:
        stage = state.choose("Stage column", "stage", columns, on_change=_restart, args=(True,)) or columns[0]
    if wanted is not None and stage != wanted:  # the order was another column's
        state.set_field("order", None)
    with second_field:
        order = _choose_order(config, stage, levels[stage])
    with third_field:
        adjust = state.choose_many(
            "Adjusters",
            "adjust",
            _adjuster_options(cohort, stage, state.view().adjust),
            placeholder="none",
            help="The gradient must survive these: tumour size first of all, then scanner, slice thickness, age, "
            "sex. `feature:NAME` is a named dimension of the embedding.",
            on_change=_restart,
        )
    with fourth_field:
        group = state.choose(
            "Group",
            "group",
            [NO_GROUP, *(c for c in levels if c != stage)],
            help="For several sites or collections: stages are exchanged only among the patients of one group.",
            on_change=_restart,
        )
    group = None if group == NO_GROUP else group
    state.update(group=group)
    if (meant := wanted or config.stage) is not None and meant not in levels:
        st.info(
            f"{literal(meant)} does not have 2 to 20 different values among these patients: "
            f"{literal(stage)} is offered instead.",
            icon=":material/info:",
        )
    return GradientSettings(stage, order, adjust, group)


def _restart(forget_order: bool = False) -> None:
    """A changed question has no answer yet."""
    state.set_run(state.GRADIENT_RUN, False)
    state.set_run("trajectory", False)
    if forget_order:
        state.set_field("order", None)


def _likely(columns: list[str]) -> list[str]:
    return [c for c in columns if "stage" in c.lower()] + [c for c in columns if "grade" in c.lower()]


def _choose_order(config: state.AppConfig, stage: str, levels: list[str]) -> str:
    prefilled = config.order if stage == config.stage and config.order else ",".join(levels)
    # set anew at every run: on another page the same key is another widget, which would start out empty
    st.session_state["view-order"] = st.session_state.get("view-order", state.view().order or prefilled)
    order = st.text_input(
        "Order, earliest first",
        key="view-order",
        help=f"Values of this column: {', '.join(levels)}. A plus merges values into one stage: 1a+1b,2,3",
        on_change=_restart,
    )
    state.update(order=order if order != prefilled else None)
    told = stage == config.stage and bool(config.order)
    if order == ",".join(levels) and not told and not all(map(_RISING.fullmatch, levels)):
        st.caption(":material/sort_by_alpha: By letter so far: put the earliest stage first.")
    return order


def _adjuster_options(cohort: Cohort, stage: str, wanted: tuple[str, ...]) -> list[str]:
    columns = [c for c in loaders.columns(cohort).offered if c != stage]
    features = [f"feature:{name}" for name in cohort.feature_names or ()]
    return list(dict.fromkeys([*columns, *features, *wanted]))


def counts_text(cohort: Cohort, settings: GradientSettings) -> str:
    """How many patients each stage of the order has, in Markdown. Raises CohortError for a wrong order."""
    kept, codes, parsed = cohort.with_stage(settings.stage, settings.order)
    counts = [f"**{literal(label)}** {int((codes == k).sum())}" for k, label in enumerate(parsed.labels)]
    missing = cohort.n - kept.n
    return f"Patients: {' → '.join(counts)}" + (f" · {missing} without a usable stage" if missing else "")


def show_gradient_start(cohort: Cohort, settings: GradientSettings, *, page: str) -> bool:
    """The Run button beside the patients of each stage; False where the order is wrong, which is said."""
    try:
        counts = counts_text(cohort, settings)
    except CohortError as error:
        st.error(literal(str(error).replace("--order", "the order")), icon=":material/error:")
        counts = None
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Run",
            type="primary",
            icon=":material/play_arrow:",
            disabled=counts is None,
            key="run",
            on_click=state.set_run,
            args=(page, True),
        )
        if counts is not None:
            st.caption(counts)
    return counts is not None
