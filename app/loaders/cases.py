"""What the Case page asks for beyond the shared loaders: encoders, patch tokens, axes, other scales."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from app import jobs, loaders, state
from flexict_core.errors import EncoderError, FlexictError, ImageError

if TYPE_CHECKING:
    from analysis.cohort import Cohort
    from analysis.gradient.transport import StageAxis
    from analysis.matched_neighbours import MatchedNeighbours
    from app.components.ct_planes import CtCase
    from app.uploads import UploadedCt
    from app.volume_view.component import Scene
    from flexict_core.encoders.base import Encoder
    from flexict_core.encoders.token_map import TokenMap

_MOST_SCALES = 6
_UPLOAD_TOKENS = "_upload-tokens"


@dataclass(frozen=True, eq=False)
class Asked:
    """The case a map is drawn of: a row of the store, or an upload of this session. key: tells it from all others."""

    name: str
    case: CtCase
    key: tuple[Any, ...]
    patient: str | None = None
    upload: bool = False
    stored: np.ndarray | None = None  # the vector in the store, where the patient has a single row


def specification(cohort: Cohort) -> dict[str, Any]:
    """What the chosen embedding was made with."""
    from flexict_core.store.format import read_spec

    return read_spec(cohort.store / cohort.embedding_id) if cohort.store is not None else {}


def encoder(cohort: Cohort) -> Encoder:
    """The encoder of the chosen embedding; EncoderError or CheckpointError where it is not at hand."""
    weights = tuple(
        sorted((k, v) for k, v in os.environ.items() if k.startswith("FLEXICT_") and "CHECKPOINT" in k)
    )
    return _encoder(specification(cohort), cohort.embedding_id, weights)


@st.cache_resource(show_spinner="Loading the encoder…", max_entries=2)
def _encoder(_spec: dict[str, Any], embedding_id: str, weights: tuple[tuple[str, str], ...]) -> Encoder:
    from flexict_core.encoders.stored import encoder_of

    return encoder_of(_spec)


def scales(config: state.AppConfig, cohort: Cohort) -> dict[str, Cohort]:
    """The chosen embedding and the others of the store, by name: scales at which cases can be alike."""
    others = [
        info.embedding_id for info in loaders.embeddings(config) if info.embedding_id != cohort.embedding_id
    ]
    found = {cohort.embedding_id: cohort}
    for embedding in others[: _MOST_SCALES - 1]:
        try:
            found[embedding] = loaders.cohort_of(config, embedding)
        except FlexictError:  # an embedding of other patients is no scale of these
            continue
    return found


def matched(cohort: Cohort, patient: str, *, match: tuple[str, ...], k: int) -> MatchedNeighbours:
    return _matched(cohort, loaders.cohort_key(cohort), patient, match, k)


@st.cache_resource(show_spinner="Searching among matched cases…", max_entries=64)
def _matched(
    _cohort: Cohort, key: tuple[str, ...], patient: str, match: tuple[str, ...], k: int
) -> MatchedNeighbours:
    from analysis.matched_neighbours import search_matched

    return search_matched(_cohort, patient, match=match, k=k)


def axis(
    cohort: Cohort, patient: str | None, *, stage: str, order: tuple[str, ...], group: str | None
) -> StageAxis:
    """The stage axis of all patients but this one, within the values of the column `group` where one is chosen."""
    return _axis(cohort, loaders.cohort_key(cohort), patient, (stage, order, group))


@st.cache_resource(show_spinner="Fitting the stage axis…", max_entries=32)
def _axis(
    _cohort: Cohort,
    key: tuple[str, ...],
    patient: str | None,
    asked: tuple[str, tuple[str, ...], str | None],
) -> StageAxis:
    from analysis.stage_axis_map import axis_of_others

    stage, order, group = asked
    return axis_of_others(_cohort, patient, stage=stage, order=order, group=group)


def tokens(cohort: Cohort, asked: Asked) -> TokenMap:
    """Patch tokens of a case, made while the page shows progress and can be cancelled; the last few stay in memory."""
    made_by = encoder(cohort)
    if not hasattr(made_by, "tokens"):
        raise EncoderError(f"encoder {made_by.name!r} gives no patch tokens")
    held = st.session_state.get(_UPLOAD_TOKENS)
    question = ("tokens", cohort.embedding_id, *asked.key)
    if asked.upload and held is not None and held[0] == question:
        return held[1]
    if asked.case.native is None:
        raise ImageError(f"{asked.name}: there is no image to encode")
    volume, roi = asked.case.native

    def work(say: Callable[[str], None]) -> TokenMap:
        say(f"encoding the CT on {getattr(made_by, 'device', 'this machine')}")
        return made_by.tokens(volume, roi)

    found: TokenMap = jobs.answer(
        question,
        f"Patch map of {asked.name}",
        work,
        cancelled=partial(state.set_field, "shows", None),
        keep=not asked.upload,  # an upload leaves with its session; all sessions share the shelf
    )
    if asked.upload:
        st.session_state[_UPLOAD_TOKENS] = (question, found)
    return found


def upload_vector(cohort: Cohort, upload: UploadedCt) -> np.ndarray:
    """The uploaded CT as a vector [D] of the chosen embedding, made with its own encoder. The session keeps it."""
    held = st.session_state.setdefault("_upload-vectors", {})
    key = (cohort.embedding_id, upload.sha256)
    if key in held:
        return held[key]
    made_by = encoder(cohort)
    assert upload.case.native is not None  # `open_case` gives it
    volume, roi = upload.case.native

    def work(say: Callable[[str], None]) -> np.ndarray:
        say("preparing the CT")
        prepared = made_by.prepare(volume, roi)
        say(f"encoding on {getattr(made_by, 'device', 'this machine')}")
        vector: np.ndarray = made_by.encode([prepared])[0]
        return vector

    question = ("upload", *key)
    found: np.ndarray = jobs.answer(
        question, f"Embedding {upload.name} with {made_by.name}", work, cancelled=forget_upload, keep=False
    )
    held.clear()
    held[key] = found
    return found


def forget_upload() -> None:
    """Drop the upload and all that was made of it, and empty its widgets."""
    for key in ("_upload", "_upload-vectors", "_upload-scene", "_pca", _UPLOAD_TOKENS):
        st.session_state.pop(key, None)
    st.session_state["_upload-round"] = st.session_state.get("_upload-round", 0) + 1


def scene(asked: Asked) -> Scene:
    """The files of the 3D view."""
    from app.volume_view.component import scene_of

    if asked.upload:
        held = st.session_state.get("_upload-scene")
        if held is None or held[0] != asked.key:
            held = st.session_state["_upload-scene"] = (asked.key, scene_of(asked.case))
        return held[1]
    return _scene(asked, asked.key)


@st.cache_resource(show_spinner="Preparing the 3D view…", max_entries=4)
def _scene(_asked: Asked, key: tuple[Any, ...]) -> Scene:
    from app.volume_view.component import scene_of

    return scene_of(_asked.case)
