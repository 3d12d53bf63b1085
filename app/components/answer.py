"""What every analysis shows alike: Run button, verdict, figures, downloads, estimates, warnings, methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import streamlit as st

from app import jobs, state
from app.components.data_marks import show_data_marks
from app.components.export_button import show_downloads
from app.components.figures import show_figures
from app.components.plain_text import literal
from app.components.tables import show_table

if TYPE_CHECKING:
    from analysis.results import Result
    from app.exhibits import Exhibit


def show_start(page: str, *, disabled: bool = False) -> None:
    """The Run button; it stays pressed in the link until a setting changes."""
    st.button(
        "Run",
        type="primary",
        icon=":material/play_arrow:",
        key=f"run-{page}",
        disabled=disabled,
        on_click=state.set_run,
        args=(page, True),
    )


def is_wanted(page: str, question: Any, *, takes: str) -> bool:
    """Whether to show the answer: asked for, or known already. Else a line says what Run would take."""
    if state.is_run(page) or jobs.has(question):
        return True
    st.info(f"Press Run: {takes}.", icon=":material/play_arrow:")
    return False


def show_verdict_line(result: Result) -> None:
    """The verdict in words, with a mark on synthetic data."""
    with st.container(border=True, key="verdict"):
        show_data_marks(result.provenance)
        st.markdown(f"#### {literal(result.verdict[:1].upper() + result.verdict[1:])}.")


def show_warnings(result: Result) -> None:
    """All of them, or that there are none."""
    for warning in result.warnings:
        st.warning(literal(warning), icon=":material/warning:")
    if not result.warnings:
        st.info("No warnings.", icon=":material/check_circle:")


def show_body(
    exhibit: Exhibit,
    *,
    key: str,
    table_name: str,
    more: Mapping[str, Callable[[], None]] | None = None,
    **dataframe: Any,
) -> None:
    """Figures, downloads, and tabs: estimates, what is `more` to this analysis, warnings, methods."""
    show_figures(exhibit)
    show_downloads(exhibit, key=key)
    result, further = exhibit.result, more or {}
    tabs = st.tabs(["Estimates", *further, f"Warnings ({len(result.warnings)})", "Methods text"])
    with tabs[0]:
        show_table(result.table(), table_name, **dataframe)
    for tab, show in zip(tabs[1:], further.values(), strict=False):
        with tab:
            show()
    with tabs[-2]:
        show_warnings(result)
    with tabs[-1]:
        st.code(result.methods_text(), language=None, wrap_lines=True)
