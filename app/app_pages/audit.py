"""Audit: what could make the other results of this cohort wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from app import loaders, state
from app.components.export_button import show_downloads
from app.components.plain_text import literal
from app.components.tables import show_table

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

    from analysis.audit import AuditResult
    from analysis.cohort import Cohort

_NONE = "none"
_SCREEN_FACTOR = 1.35


def render() -> None:
    """Draw the page."""
    config = state.AppConfig.from_environment()
    cohort = loaders.current_cohort(config)
    st.subheader("Audit", anchor=False)
    st.caption(
        "Which recorded fields can be read from the embedding, what is lost when a site is left out, which entries "
        "are duplicates, and what the encoder may have seen before. The verdict then stands on every page."
    )
    with st.container(border=True):
        label, group, split, fields = _choose(cohort, config)
        clicked = st.button("Run", type="primary", icon=":material/play_arrow:", key="run-audit")
    settings = loaders.AuditSettings(label, _order(cohort, label, config), group, split, fields)
    if not (clicked or loaders.has_audit(cohort, settings)):
        st.info(
            "Press Run for the audit: some seconds for a few hundred patients.", icon=":material/play_arrow:"
        )
        return
    with st.spinner("Auditing…"):
        result = loaders.audit(cohort, settings)
    _show(result)


def _choose(
    cohort: Cohort, config: state.AppConfig
) -> tuple[str | None, str | None, str | None, tuple[str, ...]]:
    levels = list(loaders.category_levels(cohort))
    columns = [str(c) for c in cohort.table.columns if c != cohort.id_column]
    asked = st.columns(3, gap="small")
    options = [_NONE, *loaders.plottable_columns(cohort)]
    first = options.index(config.stage) if config.stage in options else 0
    label = asked[0].selectbox("Label", options, index=first, key="audit-label")
    group = asked[1].selectbox(
        "Leave out each", [_NONE, *levels], key="audit-group", disabled=label == _NONE, help="site or scanner"
    )
    split = asked[2].selectbox("Split", [_NONE, *levels], key="audit-split", help="train and test")
    fields = st.multiselect("Recorded fields", columns, key="audit-fields", placeholder="all")
    chosen = [None if v in (_NONE, None) else str(v) for v in (label, group, split)]
    return chosen[0], chosen[1] if chosen[0] else None, chosen[2], tuple(fields)


def _order(cohort: Cohort, label: str | None, config: state.AppConfig) -> tuple[str, ...] | None:
    order = loaders.stage_order(cohort, label, config) if label else None
    return tuple(order) if order else None


def _show(result: AuditResult) -> None:
    with st.container(border=True, key="verdict"):
        if result.provenance.synthetic:
            st.badge("synthetic data", icon=":material/science:", color="orange")
        st.markdown(f"#### {literal(result.verdict[:1].upper() + result.verdict[1:])}.")
    exhibit = _exhibit(result)
    for place, (name, figure) in zip(st.columns(2, gap="small"), exhibit.figures.items(), strict=False):
        with place:
            _show_figure(figure, name)
    show_downloads(exhibit, key="audit")
    ledger, duplicates, overlap, rest = st.tabs(
        ["Ledger", f"Duplicates ({len(result.duplicates)})", "Pretraining", "Methods and warnings"]
    )
    with ledger:
        show_table(result.table(), "ledger")
        for text in result.fields_left_out:
            st.caption(literal(f"Not read: {text}"))
    with duplicates:
        _show_rows(result, "duplicates", "No duplicates found; image content was not compared.")
    with overlap:
        _show_rows(result, "overlap", "Nothing is known.")
    with rest:
        for warning in result.warnings:
            st.warning(literal(warning), icon=":material/warning:")
        st.code(result.methods_text(), language=None, wrap_lines=True)


def _show_rows(result: AuditResult, name: str, nothing: str) -> None:
    import pandas as pd

    rows = pd.DataFrame(result.to_dict()[name])
    if rows.empty:
        st.info(nothing, icon=":material/check_circle:")
    else:
        show_table(rows.astype({c: str for c in rows if c == "splits"}), name)


def _exhibit(result: AuditResult) -> state.Exhibit:
    from app.drawings import audit_drawings

    drawn: dict[str, tuple[Figure, pd.DataFrame]] = {
        d.stem.removeprefix("audit_"): (d.draw(), d.source()) for d in audit_drawings(result)
    }
    return state.keep_exhibit(
        f"audit of {result.provenance.cohort}" + (f" for {result.label}" if result.label else ""),
        result=result,
        figures={name: figure for name, (figure, _) in drawn.items()},
        sources={name: source for name, (_, source) in drawn.items()},
    )


def _show_figure(figure: Figure, name: str) -> None:
    from analysis.plots.enlarged import for_screen

    st.plotly_chart(
        for_screen(figure, _SCREEN_FACTOR),
        theme=None,
        key=f"figure-{name}",
        config={"displayModeBar": False},
        alt=figure.layout.meta["caption"],
    )


render()
