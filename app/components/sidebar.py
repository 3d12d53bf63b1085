"""What every page shares: the embedding, the filter, the saved selections and the selection."""

from __future__ import annotations

import streamlit as st

from app import loaders, saved_selections, state
from app.components.plain_text import literal

EVERYONE = "(everyone)"


def show_sidebar(config: state.AppConfig) -> None:
    """Widgets for the embedding, the filter and the selection; they change the session's view."""
    with st.sidebar:
        infos = loaders.embeddings(config)
        names = {info.embedding_id: f"{info.name} · {info.rows} rows × {info.dim}" for info in infos}
        if not names:
            return
        state.choose(
            "Embedding",
            "embedding",
            list(names),
            format_func=lambda i: names[i],
            help="Embeddings of this store. All pages show the one chosen here.",
        )
        everyone = loaders.whole_cohort(config)
        levels = loaders.category_levels(everyone)
        conditions = [f"{column}={value}" for column, values in levels.items() for value in values]
        state.choose_many(
            "Filter",
            "where",
            conditions,
            placeholder="all patients",
            help="Keep only patients with these values. Several values of one column mean either; "
            "different columns must all hold.",
        )
        if left_out := loaders.columns(everyone).left_out:
            offered = len(loaders.columns(everyone).offered)
            st.caption(
                f":material/view_column: {offered + left_out:,} clinical columns: menus offer the first {offered}. "
                "Move those you need to the table's beginning."
            )
        _choose_saved(config)
        _show_selection(everyone.patient_id)


def _choose_saved(config: state.AppConfig) -> None:
    """A saved selection as a filter; a link to one that is gone falls back to everyone and says so."""
    held = saved_selections.saved(config)
    wanted = state.view().within
    if wanted is not None and wanted not in held:
        st.warning(
            f"There is no saved selection named {literal(wanted)} any more.", icon=":material/lasso_select:"
        )
        state.set_field("within", None)
    if not held:
        return
    name = state.choose(
        "Saved selection",
        "within",
        [EVERYONE, *held],
        format_func=lambda n: n if n == EVERYONE else f"{n} · {len(held[n].patients)} patients",
        help="Selections saved on the Map. Every result of such a filter says that it was chosen by looking.",
    )
    if name == EVERYONE:
        state.update(within=None)
        return
    st.caption(":material/visibility: Chosen by looking: every result says so.")


def _show_selection(ids: state.Ids) -> None:
    chosen = state.selection(ids)
    if not chosen:
        st.caption("No patients selected. Draw a lasso or a box on the Map to select some.")
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f":material/lasso_select: **{len(chosen):,} selected**", width="content")
        st.button("Clear", on_click=state.set_field, args=("selected", None), type="tertiary", key="clear")
    names = ", ".join(literal(i) for i in chosen[:6])
    st.caption(names + (f" and {len(chosen) - 6:,} more" if len(chosen) > 6 else ""))
    if len(state.view().selected or "") > state.LONGEST_LINK:
        st.caption(
            "This selection is too large for a link: it lasts as long as this browser tab, unless you save it "
            "on the Map."
        )
