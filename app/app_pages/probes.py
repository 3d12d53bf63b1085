"""Probes: what can be read from the embedding?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import streamlit as st

from app import loaders, state
from app.components.export_button import show_downloads
from app.components.plain_text import literal
from app.components.tables import show_table

if TYPE_CHECKING:
    from analysis.cohort import Cohort
    from analysis.probe import ProbeResult

TASKS = {"Classes": "classify", "Ordered classes": "ordinal", "Number": "regress"}
LEARNERS = {"Linear": "linear", "Nearest patients": "knn"}


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
        asked = _choose(cohort, config)
        if asked is None:
            return
        clicked = st.button("Run", type="primary", icon=":material/play_arrow:", key="run-probe")
    if clicked:
        st.session_state["probe-asked"] = asked
    if st.session_state.get("probe-asked") != asked:
        st.info("Press Run: up to a minute for a few hundred patients.", icon=":material/play_arrow:")
        return
    _show(_probe(cohort, loaders.cohort_key(cohort), asked))


def _choose(cohort: Cohort, config: state.AppConfig) -> tuple[Any, ...] | None:
    table, levels = cohort.table, loaders.category_levels(cohort)
    numbers = [str(c) for c in table.columns if table[c].dtype.kind == "f" and table[c].nunique() > 2]
    tasks = [name for name, kind in TASKS.items() if (numbers if kind == "regress" else levels)]
    if not tasks:
        st.info("The clinical table has no column of classes or numbers to read.", icon=":material/info:")
        return None
    first, second, third, fourth, fifth = st.columns([4, 5, 4, 5, 5], gap="small")
    with first:
        task = TASKS[st.selectbox("Task", tasks, key="probe-task")]
    with second:
        columns = numbers if task == "regress" else list(levels)
        stage_first = sorted(columns, key=lambda c: c != config.stage)
        target = st.selectbox("Target", stage_first, key=f"probe-target-{task}")
    with third:
        learner = LEARNERS[st.selectbox("Probe", list(LEARNERS), key="probe-learner")]
    order = None
    with fourth:
        if task == "ordinal":
            known = loaders.stage_order(cohort, target, config) or levels[target]
            order = st.text_input("Order, earliest first", ",".join(known), key=f"probe-order-{target}")
    published = False
    with fifth:
        if (task, learner) == ("classify", "linear"):
            published = st.checkbox("Published protocol beside it", key="probe-published")
    return target, task, learner, order, "published" if published else "nested"


@st.cache_resource(show_spinner="Cross-validating the probe…", max_entries=16)
def _probe(_cohort: Cohort, key: tuple[str, ...], asked: tuple[Any, ...]) -> ProbeResult:
    from analysis import probe

    target, task, learner, order, protocol = asked
    return probe(_cohort, target, task=task, learner=learner, order=order, protocol=protocol)


def _show(result: ProbeResult) -> None:
    from analysis.plots.enlarged import for_screen
    from app.drawings import probe_drawings

    with st.container(border=True):
        st.markdown(f"#### {literal(result.verdict)}.")
    drawings = probe_drawings(result)
    exhibit = state.keep_exhibit(
        f"{result.learner} probe of {result.target} in {result.provenance.cohort}",
        result=result,
        figures={d.stem: d.draw() for d in drawings},
        sources={d.stem: d.source() for d in drawings},
    )
    names = list(exhibit.figures)
    for start in range(0, len(names), 2):
        for place, name in zip(st.columns(2, gap="small"), names[start : start + 2], strict=False):
            with place:
                figure = exhibit.figures[name]
                st.plotly_chart(
                    for_screen(figure, 1.35), theme=None, key=f"figure-{name}", config={"displayModeBar": False},
                    alt=figure.layout.meta["caption"],
                )  # fmt: skip
    show_downloads(exhibit, key="probe")
    estimates, warnings, methods = st.tabs(
        ["Estimates", f"Warnings ({len(result.warnings)})", "Methods text"]
    )
    with estimates:
        show_table(result.table(), "probe-estimates")
    with warnings:
        for warning in result.warnings:
            st.warning(literal(warning), icon=":material/warning:")
    with methods:
        st.code(result.methods_text(), language=None, wrap_lines=True)


render()
