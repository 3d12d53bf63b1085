"""Cases found by a sentence, where the encoder of the store reads words."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import streamlit as st

from app import loaders, state
from app.components.plain_text import literal
from app.loaders import cases
from flexict_core.errors import FlexictError

if TYPE_CHECKING:
    from analysis.cohort import Cohort
    from analysis.retrieval import NeighbourResult
    from flexict_core.encoders.flexict import VolumeEncoder

_EXAMPLE = "A spiculated mass in the right upper lobe."
_LONGEST = 2000


def choose_words() -> str:
    """The sentence, kept in the link; "" for none."""
    key = "view-words"
    st.session_state.setdefault(key, state.view().words or "")
    text = st.text_input(
        "Sentence",
        key=key,
        max_chars=_LONGEST,
        placeholder=_EXAMPLE,
        help="A finding as a report would say it",
    )
    text = " ".join(str(text or "").split())
    state.update(words=text)
    return text


def why_no_words(cohort: Cohort) -> str | None:
    """Why no words can be placed beside this embedding, in one line; None where they can."""
    try:
        _encoder(cohort)
    except FlexictError as error:
        return str(error)
    return None


def found_by_words(cohort: Cohort, text: str, k: int) -> NeighbourResult:
    """The k patients whose CT is nearest to the sentence."""
    return _found(cohort, loaders.cohort_key(cohort), text, k)


@st.cache_resource(show_spinner="Reading the sentence…", max_entries=64)
def _found(_cohort: Cohort, key: tuple[str, ...], text: str, k: int) -> NeighbourResult:
    from analysis import search_by_text

    return search_by_text(_cohort, text, encode_text=_encoder(_cohort).encode_text, k=k)


def _encoder(cohort: Cohort) -> VolumeEncoder:
    places = tuple(sorted((k, v) for k, v in os.environ.items() if k.startswith("FLEXICT_")))
    return _load(cases.specification(cohort), cohort.embedding_id, places)


@st.cache_resource(show_spinner="Loading the text model…", max_entries=1)
def _load(_spec: dict[str, object], embedding_id: str, places: tuple[tuple[str, str], ...]) -> VolumeEncoder:
    from flexict_core.encoders.text import words_for

    return words_for(_spec)


def say_no_words(reason: str) -> None:
    st.info(
        f"No sentence can be asked of this embedding: {literal(reason)}.", icon=":material/speaker_notes_off:"
    )
