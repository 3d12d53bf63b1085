"""Export: every result and figure that this session has seen, as files for a paper."""

from __future__ import annotations

import streamlit as st

from app import state, stored_results
from app.components.export_button import WIDTHS, archive, show_downloads
from app.components.plain_text import literal
from app.components.tables import show_table
from app.exhibits import exhibits


def render() -> None:
    """Draw the page."""
    st.subheader("Export", anchor=False)
    seen = list(exhibits().values())
    if not seen:
        st.info(
            "Nothing to export yet. Results appear here as soon as you have looked at them: a map, the neighbours "
            "of a case, a stage gradient.",
            icon=":material/download:",
        )
        _show_folder(state.AppConfig.from_environment())
        return
    st.caption(
        "Everything this session has looked at. Figures are drawn at the exact width of a journal's column with "
        "text that can be edited; beside each lie the numbers drawn (CSV), its provenance (JSON) and a caption."
    )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        width = WIDTHS[st.selectbox("Width of the figures", list(WIDTHS), key="export-width", width=240)]
        st.download_button(
            f"Everything ({len(seen)} results, zip)",
            data=lambda: archive(seen, width=width),
            file_name="flexict-results.zip",
            mime="application/zip",
            icon=":material/folder_zip:",
            type="primary",
            key="export-all",
            on_click="ignore",
        )
    for number, exhibit in enumerate(reversed(seen)):
        with st.container(border=True):
            st.markdown(f"##### {literal(exhibit.title[:1].upper() + exhibit.title[1:])}")
            st.markdown(literal(exhibit.result.verdict))
            show_downloads(exhibit, key=f"export-{number}")
            with st.expander("Methods text and main table"):
                st.code(exhibit.result.methods_text(), language=None, wrap_lines=True)
                show_table(exhibit.result.table(), f"export-table-{number}", height=300)
    _show_folder(state.AppConfig.from_environment())


def _show_folder(config: state.AppConfig) -> None:
    """Files of the folder that the dashboard was started with (`--results`): none but these can be chosen."""
    files = stored_results.result_files(config.results)
    if config.results is None or not files:
        return
    with st.expander(f"Files of earlier runs in {literal(config.results.name)} ({len(files)})"):
        names = [str(path.relative_to(config.results)) for path in files]
        at = st.selectbox("File", range(len(files)), format_func=names.__getitem__, key="export-file")
        st.download_button(
            "Download",
            data=lambda: files[at].read_bytes(),
            file_name=files[at].name,
            icon=":material/download:",
            key="export-file-download",
            on_click="ignore",
        )


render()
