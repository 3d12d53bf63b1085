"""The nearest cases beside the one that is open: the same level at one scale, why they match, clinical row."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import streamlit as st

from app import loaders, state
from app.components.ct_planes import Style, draw_plane
from app.components.plain_text import brief, literal
from app.components.same_level import Voxel, level_in
from flexict_core.errors import ImageError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from analysis.cohort import Cohort
    from analysis.retrieval import NeighbourResult
    from app.components.ct_planes import CtCase

Window = tuple[float, float]  # level, width in HU
FIELD_MM = 120.0
_ACROSS = 6
_LONGEST = 120  # letters of a value on a card


@dataclass(frozen=True, eq=False)
class Query:
    """What was asked about: a case with the voxel where its planes meet, or words alone (case None)."""

    title: str
    case: CtCase | None = None
    at_zyx: Voxel | None = None
    patient: str | None = None
    vector: np.ndarray | None = None  # [D] of a case that is in no store


@dataclass(frozen=True, eq=False)
class Cards:
    """How the cards are filled. why: lines of text for each patient. level: a key of `same_level.LEVELS`."""

    window: Window
    fields: Sequence[str]
    level: str
    why: Mapping[str, Sequence[str]]


def show_neighbours(cohort: Cohort, found: NeighbourResult, *, query: Query, cards: Cards) -> None:
    """The query and then one card a neighbour, in rank order."""
    drawn = [None, *found.neighbours.itertuples(index=False)]
    for start in range(0, len(drawn), _ACROSS):
        for column, row in zip(
            st.columns(_ACROSS, gap="small"), drawn[start : start + _ACROSS], strict=False
        ):
            with column, st.container(border=True, gap="small"):
                if row is None:
                    _query_card(cohort, query, cards)
                else:
                    _card(cohort, row, query, cards)


def _query_card(cohort: Cohort, query: Query, cards: Cards) -> None:
    st.markdown("**This case**" if query.case is not None or query.patient else "**These words**")
    if query.case is not None:
        at = query.case.centre_zyx if cards.level == "centre" or query.at_zyx is None else query.at_zyx
        st.image(_picture(query.case, at, cards.window), width="stretch", alt=f"Axial slice of {query.title}")
    elif query.patient:
        _no_image()
    st.caption("  \n".join([literal(query.title), *_clinical_lines(cohort, query.patient, cards.fields)]))


def _card(cohort: Cohort, row: Any, query: Query, cards: Cards) -> None:
    patient = str(row.patient_id)
    st.markdown(f"**{row.rank}. {literal(patient)}**")
    _show_slice(cohort, patient, query, cards)
    lines = [f"cosine **{row.similarity:.3f}** · distance {1 - row.similarity:.3f}"]
    if hasattr(row, "rank_among_all"):
        lines.append(f"rank {row.rank_among_all} without matching")
    lines += _clinical_lines(cohort, patient, cards.fields)
    st.caption("  \n".join(lines))
    st.button("Open", key=f"open-{patient}", on_click=open_patient, args=(patient,), width="stretch")
    if why := cards.why.get(patient):
        with st.popover("Why", width="stretch", key=f"why-{patient}", help=f"Why {literal(patient)} matches"):
            st.markdown("\n".join(f"- {literal(line)}" for line in why))


def open_patient(patient: str) -> None:
    """Show this patient's case, whatever was asked about before."""
    state.set_field("case", patient)
    state.update(ask=None, at=None)
    st.session_state.pop("view-ask", None)


def _clinical_lines(cohort: Cohort, patient: str | None, fields: Sequence[str]) -> list[str]:
    if patient is None:
        return []
    clinical = cohort.table[cohort.table[cohort.id_column] == patient].iloc[0]
    return [f"{literal(name)} **{literal(shown_value(clinical[name]))}**" for name in fields]


def _show_slice(cohort: Cohort, patient: str, query: Query, cards: Cards) -> None:
    if cards.level == "centre" or query.case is None or query.at_zyx is None:
        show_thumbnail(cohort, patient, cards.window)
        return
    try:
        other = loaders.read_case(_row(cohort, patient))
    except ImageError:
        _no_image()
        return
    at = level_in(other, cards.level, case=query.case, at_zyx=query.at_zyx)
    st.image(_picture(other, at, cards.window), width="stretch", alt=f"Axial slice of {patient}")


def show_thumbnail(cohort: Cohort, patient: str, window: Window) -> None:
    """The axial slice through the patient's tumour, 120 mm wide, or a line that says why there is none."""
    try:
        picture = thumbnail(_row(cohort, patient), window)
    except ImageError:
        _no_image()
        return
    st.image(picture, width="stretch", alt=f"Axial slice through the tumour of {patient}")


def _row(cohort: Cohort, patient: str) -> Any:
    return next(cohort.rows[cohort.rows["patient_id"] == patient].itertuples(index=False))


def _no_image() -> None:
    st.caption(":material/image_not_supported: no image")


def thumbnail(row: Any, window: Window) -> bytes:
    """JPEG of a store row at its own tumour centre. Raises ImageError where there is no image to show."""
    image, mask = loaders.image_paths(row)
    stamps = (*loaders.stamp(image), *(loaders.stamp(mask) if mask else ()))
    return _thumbnail(row, stamps, (str(row.mask_label), str(row.series_uid)), window)


@st.cache_data(show_spinner=False, max_entries=500)  # 10 to 25 kB each
def _thumbnail(_row: Any, stamps: loaders.Stamp, part: tuple[str, str], window: Window) -> bytes:
    case = loaders.read_case(_row)
    return _picture(case, case.centre_zyx, window)


def _picture(case: CtCase, at_zyx: Voxel, window: Window) -> bytes:
    style = Style(window, field_mm=FIELD_MM, longest_px=320, crosshair=False, letters=False)
    buffer = io.BytesIO()
    draw_plane(case, "axial", at_zyx, style=style).save(buffer, format="JPEG", quality=92, subsampling=0)
    return buffer.getvalue()


def reasons(
    cohort: Cohort, query: str | np.ndarray, ranks: pd.DataFrame | None, patients: Sequence[str]
) -> dict[str, list[str]]:
    """Lines that say why patients match a patient or a vector [D]: rank at every scale, named features they share."""
    from analysis.match_reasons import shared_traits

    lines: dict[str, list[str]] = {patient: [] for patient in patients}
    for row in () if ranks is None else ranks.itertuples(index=False):
        here = " (shown here)" if row.scale == cohort.embedding_id else ""
        lines[row.patient_id].append(
            f"{row.scale.rsplit('-', 1)[0]}{here}: rank {row.rank} of {row.of}, cosine {row.similarity:.3f}, distance "
            f"{row.distance:.3f}"
        )
    for patient in patients:
        for trait in shared_traits(cohort, query, patient):
            side = "both high" if trait.query > 0 else "both low"
            lines[patient].append(f"{trait.name} {side} ({trait.query:+.1f}, {trait.other:+.1f} SD)")
    return lines


def shown_value(value: Any) -> str:
    """A clinical value as text: whole numbers without a fraction, nothing as a dash."""
    if value is None or value != value:
        return "–"
    return f"{value:g}" if isinstance(value, float) else brief(value, _LONGEST)
