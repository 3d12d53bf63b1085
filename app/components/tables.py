"""Tables on pages, each with a download that is safe to open in a spreadsheet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import streamlit as st

if TYPE_CHECKING:
    import pandas as pd


_P_VALUES = ("p_value", "p_holm")  # without a format of their own, small ones show nothing but zeros


def show_table(
    table: pd.DataFrame,
    name: str,
    *,
    height: int | None = None,
    download: pd.DataFrame | None = None,
    **dataframe: Any,
) -> Any:
    """A table and, under it, its size and a button for `<name>.csv`. Returns what `st.dataframe` returns.

    download: what the file holds, where the page shows another wording of it.
    """
    from analysis.export import csv_text

    formats = {c: st.column_config.NumberColumn(format="%.3g") for c in _P_VALUES if c in table.columns}
    dataframe["column_config"] = {**formats, **dataframe.get("column_config", {})}
    shown = st.dataframe(table, hide_index=True, height=height or "auto", key=f"table-{name}", **dataframe)
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.caption(f"{len(table)} rows")
        st.download_button(
            "CSV",
            data=lambda: csv_text(table if download is None else download).encode(),
            file_name=f"{name}.csv",
            mime="text/csv",
            icon=":material/download:",
            key=f"csv-{name}",
            on_click="ignore",
            type="tertiary",
        )
    return shown
