"""Probes: what can be read from the embedding?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from app import loaders, state
from app.components.answer import is_wanted, show_body, show_start, show_verdict_line
from app.drawings import probe_drawings
from app.exhibits import keep_exhibit

if TYPE_CHECKING:
    from analysis.cohort import Cohort

PAGE = "probes"
TASKS = {"classify": "Classes", "ordinal": "Ordered classes", "regress": "Number"}
LEARNERS = {"linear": "Linear", "knn": "Nearest patients"}
PROTOCOLS = {"nested": "Nested", "published": "Nested, published beside it"}


def render() -> None:
    """Draw the page."""
    config = state.AppConfig.from_environment()
    cohort = loaders.current_cohort(config)
    st.subheader("Probes", anchor=False)
    st.caption(
        "What can be read from the embedding in patients that the probe has not seen? Its hyperparameter is chosen "
        "inside the training patients."
    )
    with st.container(border=True):
        settings = _choose(cohort, config)
        if settings is None:
            return
        show_start(PAGE)
    asked = loaders.question("probe", cohort, settings)
    if not is_wanted(PAGE, asked, takes="up to a minute for a few hundred patients"):
        return
    result = loaders.probe(cohort, settings)
    show_verdict_line(result)
    exhibit = keep_exhibit(
        f"{result.learner} probe of {result.target} in {result.provenance.cohort}",
        result=result,
        cohort=cohort,
        drawings=probe_drawings(result),
        stem="probe_",
    )
    show_body(exhibit, key="probe", table_name="probe-estimates")


def _choose(cohort: Cohort, config: state.AppConfig) -> loaders.ProbeSettings | None:
    levels, numbers = loaders.category_levels(cohort), list(loaders.columns(cohort).numbers)
    tasks = [task for task in TASKS if (numbers if task == "regress" else levels)]
    if not tasks:
        st.info("The clinical table has no column of classes or numbers to read.", icon=":material/info:")
        return None
    again = {"on_change": state.set_run, "args": (PAGE, False)}
    first, second, third, fourth, fifth = st.columns([4, 5, 4, 5, 5], gap="small")
    with first:
        task = state.choose("Task", "task", tasks, format_func=TASKS.__getitem__, **again) or tasks[0]
    with second:
        columns = numbers if task == "regress" else list(levels)
        stage_first = sorted(columns, key=lambda c: c != config.stage)
        target = state.choose("Target", "target", stage_first, **again) or stage_first[0]
    with third:
        learner = state.choose("Probe", "learner", list(LEARNERS), format_func=LEARNERS.__getitem__, **again)
    order, protocol = None, "nested"
    with fourth:
        if task == "ordinal":
            known = loaders.stage_order(cohort, target, config) or levels[target]
            order = state.write("Order, earliest first", "classes", ",".join(known), of=target, **again)
    with fifth:
        if (task, learner) == ("classify", "linear"):
            protocol = state.choose(
                "Protocol", "protocol", list(PROTOCOLS), format_func=PROTOCOLS.__getitem__, **again
            )  # type: ignore[assignment]
    return loaders.ProbeSettings(target, task, learner or "linear", order, protocol or "nested")


render()
