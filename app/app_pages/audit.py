"""Audit: what could make the other results of this cohort wrong."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import streamlit as st

from app import loaders, state
from app.components.answer import is_wanted, show_body, show_start, show_verdict_line
from app.components.plain_text import literal
from app.components.tables import show_table
from app.drawings import audit_drawings
from app.exhibits import keep_exhibit

if TYPE_CHECKING:
    from analysis.audit import AuditResult
    from analysis.cohort import Cohort

PAGE = "audit"
_NONE = "none"


def render() -> None:
    """Draw the page."""
    config = state.AppConfig.from_environment()
    cohort = loaders.current_cohort(config)
    st.subheader("Audit", anchor=False)
    st.caption(
        "Which recorded fields can be read from the embedding, what is lost when a site is left out, which entries "
        "are duplicates, and what the encoder may have seen before. The verdict then stands on every page and in "
        "every file exported."
    )
    with st.container(border=True):
        label, group, split, fields = _choose(cohort, config)
        show_start(PAGE)
    settings = loaders.AuditSettings(label, _order(cohort, label, config), group, split, fields)
    asked = loaders.question("audit", cohort, settings)
    if not is_wanted(PAGE, asked, takes="some seconds for a few hundred patients"):
        return
    _show(cohort, loaders.audit(cohort, settings))


def _choose(
    cohort: Cohort, config: state.AppConfig
) -> tuple[str | None, str | None, str | None, tuple[str, ...]]:
    levels = list(loaders.category_levels(cohort))
    columns = loaders.columns(cohort).offered
    again = {"on_change": state.set_run, "args": (PAGE, False)}
    asked = st.columns(3, gap="small")
    options = [_NONE, *loaders.plottable_columns(cohort)]
    options.sort(key=lambda c: c != config.stage)
    with asked[0]:
        label = state.choose("Label", "label", options, **again)
    with asked[1]:
        group = state.choose(
            "Leave out each",
            "leave",
            [_NONE, *levels],
            disabled=label == _NONE,
            help="site or scanner",
            **again,
        )
    with asked[2]:
        split = state.choose("Split", "split", [_NONE, *levels], help="train and test", **again)
    fields = state.choose_many("Recorded fields", "fields", columns, placeholder="all", **again)
    chosen = [None if v in (_NONE, None) else str(v) for v in (label, group, split)]
    return chosen[0], chosen[1] if chosen[0] else None, chosen[2], fields


def _order(cohort: Cohort, label: str | None, config: state.AppConfig) -> tuple[str, ...] | None:
    order = loaders.stage_order(cohort, label, config) if label else None
    return tuple(order) if order else None


def _show(cohort: Cohort, result: AuditResult) -> None:
    show_verdict_line(result)
    exhibit = keep_exhibit(
        f"audit of {result.provenance.cohort}" + (f" for {result.label}" if result.label else ""),
        result=result,
        cohort=cohort,
        drawings=audit_drawings(result),
        stem="audit_",
    )
    for text in result.fields_left_out:
        st.caption(literal(f"Not read: {text}"))
    nothing = "No duplicates found; image content was not compared."
    show_body(
        exhibit,
        key="audit",
        table_name="ledger",
        more={
            f"Duplicates ({len(result.duplicates)})": partial(_show_rows, result, "duplicates", nothing),
            "Pretraining": partial(_show_rows, result, "overlap", "Nothing is known."),
        },
    )


def _show_rows(result: AuditResult, name: str, nothing: str) -> None:
    import pandas as pd

    rows = pd.DataFrame(result.to_dict()[name])
    if rows.empty:
        st.info(nothing, icon=":material/check_circle:")
    else:
        show_table(rows.astype({c: str for c in rows if c == "splits"}), name)


render()
