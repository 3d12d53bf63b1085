"""The nearest cases beside the one that is open: thumbnails at one scale, similarity, clinical row."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from app import loaders, state
from app.components.ct_planes import Style, draw_plane
from app.components.plain_text import literal
from flexict_core.errors import ImageError

if TYPE_CHECKING:
    from analysis.cohort import Cohort
    from analysis.retrieval import NeighbourResult

Window = tuple[float, float]  # level, width in HU
FIELD_MM = 120.0
_ACROSS = 6


def show_neighbours(cohort: Cohort, found: NeighbourResult, *, window: Window, fields: Sequence[str]) -> None:
    """The query and then one card a neighbour, in rank order; `fields` are the clinical columns written on them."""
    cards: list[tuple[str, str, float | None]] = [(found.query, "This case", None)]
    cards += [
        (str(row.patient_id), f"{row.rank}. {row.patient_id}", float(row.similarity))
        for row in found.neighbours.itertuples(index=False)
    ]
    for start in range(0, len(cards), _ACROSS):
        for column, card in zip(
            st.columns(_ACROSS, gap="small"), cards[start : start + _ACROSS], strict=False
        ):
            with column, st.container(border=True, gap="small"):
                _card(cohort, card, window=window, fields=fields)


def _card(
    cohort: Cohort, card: tuple[str, str, float | None], *, window: Window, fields: Sequence[str]
) -> None:
    patient, title, similarity = card
    st.markdown(f"**{literal(title)}**")
    show_thumbnail(cohort, patient, window)
    clinical = cohort.table[cohort.table[cohort.id_column] == patient].iloc[0]
    lines = [f"{literal(name)} **{literal(shown_value(clinical[name]))}**" for name in fields]
    if similarity is not None:
        lines.insert(0, f"cosine **{similarity:.3f}**")
    st.caption("  \n".join(lines))
    if similarity is not None:
        st.button(
            "Open", key=f"open-{patient}", on_click=state.set_field, args=("case", patient), width="stretch"
        )


def show_thumbnail(cohort: Cohort, patient: str, window: Window) -> None:
    """The axial slice through the patient's tumour, 120 mm wide, or a line that says why there is none."""
    row = next(cohort.rows[cohort.rows["patient_id"] == patient].itertuples(index=False))
    try:
        picture = thumbnail(row, window)
    except ImageError:
        st.caption(":material/image_not_supported: no image")
        return
    st.image(picture, width="stretch", alt=f"Axial slice through the tumour of {patient}")


def thumbnail(row: Any, window: Window) -> bytes:
    """PNG of a store row at its own tumour centre. Raises ImageError where there is no image to show."""
    image, mask = loaders.image_paths(row)
    stamps = (*loaders.stamp(image), *(loaders.stamp(mask) if mask else ()))
    return _thumbnail(row, stamps, str(row.mask_label), window)


@st.cache_data(show_spinner=False, max_entries=2000)
def _thumbnail(_row: Any, stamps: loaders.Stamp, label: str, window: Window) -> bytes:
    case = loaders.read_case(_row)
    style = Style(window, field_mm=FIELD_MM, longest_px=320, crosshair=False, letters=False)
    picture = draw_plane(case, "axial", case.centre_zyx, style=style)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def shown_value(value: Any) -> str:
    """A clinical value as text: whole numbers without a fraction, nothing as a dash."""
    if value is None or value != value:
        return "–"
    return f"{value:g}" if isinstance(value, float) else str(value)
