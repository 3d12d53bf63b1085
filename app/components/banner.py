"""The line at the top of every page: what is looked at, under which licence, and what it is not for."""

from __future__ import annotations

import streamlit as st

from analysis.audits.stamp import audit_verdict
from analysis.cohort import Cohort
from app.components.data_marks import show_data_marks
from app.components.plain_text import literal

RESEARCH_ONLY = "Research use only, not for diagnosis"


def show_banner(cohort: Cohort | None, *, total: int | None = None) -> None:
    """Encoder, licence, cohort and size, whether data are synthetic; without a cohort only the purpose."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="banner"):
        if cohort is not None:
            show_data_marks(cohort, capitals=True)
            count = (
                f"{cohort.n} of {total} patients" if total not in (None, cohort.n) else f"{cohort.n} patients"
            )
            st.markdown(f"**{literal(cohort.name)}** · {count}", width="content")
            st.markdown(f"Encoder **{literal(cohort.encoder or cohort.embedding_id)}**", width="content")
            st.markdown(f"Licence {literal(cohort.licence or 'not stated')}", width="content")
        st.badge(RESEARCH_ONLY, icon=":material/info:", color="gray")
        if cohort is not None:
            said = audit_verdict(cohort)
            st.caption(f"Audit: {literal(said) if said else 'not audited'}")
