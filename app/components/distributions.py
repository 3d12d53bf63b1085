"""How the clinical columns are distributed: one small histogram a column (the browser counts)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from app import loaders, state

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from analysis.cohort import Cohort

_AT_FIRST = 6
_ACROSS = 3
_LETTERS_BELOW = 36  # more letters than this do not fit under the bars: they lie on their side


def show_distributions(cohort: Cohort, *, stage: str | None) -> None:
    """Histograms of chosen columns, the stage first."""
    levels = loaders.category_levels(cohort)
    columns = loaders.plottable_columns(cohort)
    if not columns:
        st.info("No clinical column is numeric or has few enough values to be drawn.", icon=":material/info:")
        return
    first = [c for c in (stage, *columns) if c in columns]
    st.session_state.setdefault("cohort-columns", list(dict.fromkeys(first))[:_AT_FIRST])
    known = [c for c in st.session_state["cohort-columns"] if c in columns]
    st.session_state["cohort-columns"] = known
    chosen = st.multiselect("Columns", columns, key="cohort-columns", persist_state="session")
    for start in range(0, len(chosen), _ACROSS):
        for place, name in zip(st.columns(_ACROSS), chosen[start : start + _ACROSS], strict=False):
            with place:
                order = loaders.stage_order(cohort, name, state.AppConfig.from_environment())
                figure = histogram(cohort, name, order or levels.get(name))
                st.plotly_chart(
                    figure,
                    key=f"distribution-{name}",
                    config={"displayModeBar": False},
                    alt=f"Histogram of {name} over {cohort.n} patients",
                )


def histogram(cohort: Cohort, name: str, levels: list[str] | None) -> Figure:
    """Patients for each value (a category) or each bin (a number) of a clinical column."""
    import plotly.graph_objects as go

    from analysis.clinical import canonical
    from analysis.plots.theme import shown

    values = cohort.column(name)
    missing = sum(canonical(v) == "" for v in values)
    title = shown(name) + (f" ({missing} missing)" if missing else "")
    bars = {"color": "#0072B2", "line": {"width": 0.5, "color": "white"}}
    figure = go.Figure()
    figure.update_layout(
        height=230, margin={"l": 8, "r": 8, "t": 12, "b": 8}, bargap=0.15 if levels else 0.02
    )
    if not levels:
        figure.add_histogram(x=[v for v in values if canonical(v)], marker=bars)
        figure.update_traces(hovertemplate="%{x}: %{y} patients<extra></extra>")
        figure.update_layout(xaxis_title_text=title, yaxis_title_text="patients")
        return figure
    labels = [canonical(v) or "missing" for v in values]
    order = [*levels, *(["missing"] if missing else [])]
    axis = {"type": "category", "categoryorder": "array", "categoryarray": order, "title": {"text": title}}
    if max(map(len, order)) * len(order) <= _LETTERS_BELOW:
        figure.add_histogram(x=labels, marker=bars, hovertemplate="%{x}: %{y} patients<extra></extra>")
        figure.update_layout(xaxis=axis, yaxis_title_text="patients")
        return figure
    ticks = {"tickvals": order, "ticktext": [shown(v if len(v) <= 24 else f"{v[:23]}…") for v in order]}
    figure.add_histogram(y=labels, marker=bars, hovertemplate="%{y}: %{x} patients<extra></extra>")
    figure.update_layout(yaxis={**axis, **ticks, "autorange": "reversed"}, xaxis_title_text="patients")
    figure.update_layout(height=max(230, 70 + 20 * len(order)))
    return figure
