"""Case: the CT of one patient, of an upload or of none, what the encoder sees in it, and the cases most like it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from app import loaders, state
from app.components.case_upload import choose_upload, embed_upload
from app.components.case_words import choose_words, found_by_words, say_no_words, why_no_words
from app.components.ct_planes import WINDOWS
from app.components.ct_viewer import chosen_window, crosshair, load_row, show_ct
from app.components.neighbours import Query, shown_value
from app.components.plain_text import literal
from app.components.similar_cases import show_similar, told_first
from app.components.tables import show_table
from app.loaders.cases import Asked, specification
from flexict_core.encoders.stored import weights_caution

if TYPE_CHECKING:
    from analysis.cohort import Cohort
    from app.components.ct_planes import CtCase

_SOURCES = {"patient": "Patient of the cohort", "upload": "Uploaded CT", "words": "Sentence"}
_VIEWS = {"planes": "Three planes", "3d": "3D", "patches": "Patch map"}
_FIELDS_OF_A_CASE = 12


def render() -> None:
    """Draw the page."""
    config = state.AppConfig.from_environment()
    cohort = loaders.current_cohort(config)
    st.subheader("Case", anchor=False)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        source = _choose("Find cases like", "ask", _SOURCES, width="content")
        patient = _choose_patient(cohort, loaders.whole_cohort(config)) if source == "patient" else ""
    if source == "patient":
        _render_patient(cohort, patient)
    elif source == "upload":
        _render_upload(cohort)
    else:
        _render_words(cohort)


def _render_patient(cohort: Cohort, patient: str) -> None:
    rows = list(cohort.rows[cohort.rows["patient_id"] == patient].itertuples(index=False))
    row = rows[0] if len(rows) == 1 else _choose_row(rows, patient)
    case, query = load_row(row), Query(patient, patient=patient)
    if case is not None:
        name = f"{patient}-{row.series_uid}-{row.roi_id}"
        image, mask = loaders.image_paths(row)
        stamps = (*loaders.stamp(image), *(loaders.stamp(mask) if mask and case.mask is not None else ()))
        at = int(np.flatnonzero(cohort.patient_id == patient)[0])
        stored = cohort.X[at] if len(rows) == 1 else None
        _show_case(cohort, Asked(name, case, (name, stamps), patient, stored=stored))
        query = Query(patient, case, crosshair(case, name), patient)
    _show_clinical_row(cohort, patient)
    show_similar(
        cohort,
        query,
        window=_window(case),
        find=lambda k: loaders.neighbours(cohort, patient, k),
        followed=case is not None,
    )


def _render_upload(cohort: Cohort) -> None:
    upload = choose_upload()
    if upload is None:
        return
    case = upload.case
    name = f"upload-{upload.sha256[:12]}"
    _show_case(cohort, Asked(name, case, (name,), upload=True))
    vector = embed_upload(cohort, upload)
    if vector is None:
        return
    from analysis import search

    show_similar(
        cohort,
        Query(upload.name, case, crosshair(case, name), vector=vector),
        window=_window(case),
        find=lambda k: replace(search(cohort, vector, k=k), query=f"the uploaded CT {upload.name}"),
        followed=True,
    )


def _render_words(cohort: Cohort) -> None:
    if (reason := why_no_words(cohort)) is not None:
        say_no_words(reason)
        return
    text = choose_words()
    if said := weights_caution(specification(cohort)):
        st.warning(f"Weights: {said}.", icon=":material/science:")
    if not text:
        st.info(
            "Write a sentence: the cases whose CT lies nearest to it come up here.",
            icon=":material/edit_note:",
        )
        return
    show_similar(
        cohort,
        Query(text),
        window=_window(None),
        find=lambda k: found_by_words(cohort, text, k),
        followed=False,
    )


def _show_case(cohort: Cohort, asked: Asked) -> None:
    """The planes, the 3D view or the patch maps. Only what is shown is made."""
    view = _choose("View", "shows", _VIEWS, label_visibility="collapsed")
    if view == "planes":
        show_ct(asked.case, asked.name)
    elif view == "3d":
        from app.components.ct_3d import show_3d

        show_3d(asked)
    else:
        from app.components.patch_map import show_patch_maps

        show_patch_maps(cohort, asked)


def _choose(label: str, field: str, options: dict[str, str], **widget: Any) -> str:
    """One of a few options, kept in the link; the first is what an empty link means."""
    first, key = next(iter(options)), f"view-{field}"
    wanted = getattr(state.view(), field)
    st.session_state.setdefault(key, options.get(wanted or "", options[first]))
    shown = st.segmented_control(label, list(options.values()), key=key, required=True, **widget)
    chosen = next((name for name, title in options.items() if title == shown), first)
    state.update(**{field: chosen if chosen != first else None})
    return chosen


def _choose_patient(cohort: Cohort, everyone: Cohort) -> str:
    ids = [str(p) for p in cohort.patient_id]
    chosen = set(state.selection(everyone.patient_id))
    with st.container(horizontal=True, vertical_alignment="bottom", width="content"):
        if chosen & set(ids) and st.toggle("Only the selected patients", key="case-only-selected"):
            ids = [p for p in ids if p in chosen]
        patient = state.choose("Patient", "case", ids, width=260) or ids[0]
        at = ids.index(patient)
        for label, icon, to in (("Previous", "chevron_left", at - 1), ("Next", "chevron_right", at + 1)):
            st.button(
                label,
                icon=f":material/{icon}:",
                on_click=state.set_field,
                args=("case", ids[to % len(ids)]),
                disabled=not 0 <= to < len(ids),
                key=f"case-{label}",
            )
        st.caption(f"{at + 1} of {len(ids)}", width="content")
    if st.session_state.setdefault("_at-of", patient) != patient:  # the link's point was in another patient
        st.session_state["_at-of"] = patient
        state.update(at=None)
    return patient


def _choose_row(rows: list[Any], patient: str) -> Any:
    names = [f"{row.series_uid or 'series'} · {row.roi_id or 'region'} · {row.image}" for row in rows]
    at = st.selectbox(
        f"{len(rows)} series or regions of this patient",
        range(len(rows)),
        format_func=lambda i: names[i],
        key=f"row-{patient}",
    )
    return rows[at]


def _show_clinical_row(cohort: Cohort, patient: str) -> None:
    clinical = cohort.table[cohort.table[cohort.id_column] == patient].iloc[0].drop(cohort.id_column)
    st.markdown("##### Clinical data")
    shown = [(name, clinical[name]) for name in told_first(cohort)[:_FIELDS_OF_A_CASE]]
    st.markdown(" &emsp; ".join(f":gray[{literal(k)}]&nbsp;**{literal(shown_value(v))}**" for k, v in shown))
    if len(clinical) > len(shown):
        with st.expander(f"All {len(clinical)} columns"):
            table = clinical.map(shown_value).rename_axis("column").reset_index(name="value")
            show_table(table, f"clinical-row-{patient}", height=300)


def _window(case: CtCase | None) -> tuple[float, float]:
    return WINDOWS["Soft tissue"] if case is None else chosen_window(case)


render()
