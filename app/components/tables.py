"""Tables on pages, each with a download that is safe to open in a spreadsheet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import streamlit as st

from app.components.plain_text import brief

if TYPE_CHECKING:
    import pandas as pd


# What a page is sent of a table; the file holds all of it.
_MOST_ROWS, _MOST_COLUMNS, _LONGEST_CELL = 5000, 200, 500
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

    download: what the file holds, where the page shows another wording of it. Of a very large table the page shows the
    beginning, and says so.
    """
    from analysis.export import csv_text

    whole = table if download is None else download
    rows, columns = table.shape
    table = _shortened(table.iloc[:_MOST_ROWS, :_MOST_COLUMNS])

    formats = {c: st.column_config.NumberColumn(format="%.3g") for c in _P_VALUES if c in table.columns}
    dataframe["column_config"] = {**formats, **dataframe.get("column_config", {})}
    shown = st.dataframe(table, hide_index=True, height=height or "auto", key=f"table-{name}", **dataframe)
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.caption(_size(rows, columns))
        st.download_button(
            "CSV",
            data=lambda: csv_text(whole).encode(),
            file_name=f"{name}.csv",
            mime="text/csv",
            icon=":material/download:",
            key=f"csv-{name}",
            on_click="ignore",
            type="tertiary",
        )
    return shown


def _size(rows: int, columns: int) -> str:
    """How large the table is, and what of it is shown."""
    parts = [f"{rows:,} rows"] if rows <= _MOST_ROWS else [f"the first {_MOST_ROWS:,} of {rows:,} rows"]
    if columns > _MOST_COLUMNS:
        parts.append(f"the first {_MOST_COLUMNS} of {columns:,} columns")
    return ", ".join(parts) + ("" if len(parts) == 1 and rows <= _MOST_ROWS else "; the file holds all")


def _shortened(table: pd.DataFrame) -> pd.DataFrame:
    """The table with every long text cut; itself where there is none."""
    long = [
        c
        for c, kind in enumerate(table.dtypes)
        if kind.kind == "O" and any(isinstance(v, str) and len(v) > _LONGEST_CELL for v in table.iloc[:, c])
    ]
    if not long:
        return table
    table = table.copy()
    for c in long:
        cut = [brief(v, _LONGEST_CELL) if isinstance(v, str) else v for v in table.iloc[:, c]]
        table.isetitem(c, cut)
    return table
