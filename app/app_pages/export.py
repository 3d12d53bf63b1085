"""Export: every result and figure that this session has seen, as files for a paper."""

from __future__ import annotations

import streamlit as st

from app import state
from app.components.export_button import WIDTHS, archive, show_downloads
from app.components.plain_text import literal
from app.components.tables import show_table


def render() -> None:
    """Draw the page."""
    st.subheader("Export", anchor=False)
    exhibits = list(state.exhibits().values())
    if not exhibits:
        st.info(
            "Nothing to export yet. Results appear here as soon as you have looked at them: a map, the neighbours "
            "of a case, a stage gradient.",
            icon=":material/download:",
        )
        return
    st.caption(
        "Everything this session has looked at. Figures are drawn at the exact width of a journal's column with "
        "text that can be edited; beside each lie the numbers drawn (CSV), its provenance (JSON) and a caption."
    )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        width = WIDTHS[st.selectbox("Width of the figures", list(WIDTHS), key="export-width", width=240)]
        st.download_button(
            f"Everything ({len(exhibits)} results, zip)",
            data=lambda: archive(exhibits, width=width),
            file_name="flexict-results.zip",
            mime="application/zip",
            icon=":material/folder_zip:",
            type="primary",
            key="export-all",
            on_click="ignore",
        )
    for number, exhibit in enumerate(reversed(exhibits)):
        with st.container(border=True):
            st.markdown(f"##### {literal(exhibit.title[:1].upper() + exhibit.title[1:])}")
            st.markdown(literal(exhibit.result.verdict))
            show_downloads(exhibit, key=f"export-{number}")
            with st.expander("Methods text and main table"):
                st.code(exhibit.result.methods_text(), language=None, wrap_lines=True)
                show_table(exhibit.result.table(), f"export-table-{number}", height=300)


render()
