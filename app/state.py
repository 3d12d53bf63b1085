"""What a dashboard session looks at: its view, which the URL holds.

A `View` is read from the URL when a session starts (or when the URL is changed by hand) and written back after
every run, so a reload or a sent link shows the same thing.
"""

from __future__ import annotations

import base64
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

from flexict_core.errors import InputError

Ids = Sequence[str] | np.ndarray
_MOST_ROLLS = 8
LONGEST_LINK = 2000  # characters that a selection may take in the URL; a larger one stays in the session


@dataclass(frozen=True)
class AppConfig:
    """What `flexict app` was started with; it hands this over in FLEXICT_APP_* variables."""

    store: Path
    clinical: Path
    id_column: str
    results: Path | None = None
    stage: str | None = None
    order: str | None = None
    id_replace: tuple[str, ...] = ()

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> AppConfig:
        values = os.environ if environ is None else environ
        named = {name: values.get(f"FLEXICT_APP_{name}") or None for name in ("STORE", "CLINICAL", "ID")}
        absent = [f"FLEXICT_APP_{name}" for name, value in named.items() if value is None]
        if absent:
            raise InputError(
                f"the dashboard was started without {', '.join(absent)}: start it with "
                "`flexict app --store DIR --clinical FILE --id COLUMN`"
            )
        results = values.get("FLEXICT_APP_RESULTS")
        return cls(
            Path(str(named["STORE"])),
            Path(str(named["CLINICAL"])),
            str(named["ID"]),
            Path(results) if results else None,
            values.get("FLEXICT_APP_STAGE") or None,
            values.get("FLEXICT_APP_ORDER") or None,
            tuple(filter(None, values.get("FLEXICT_APP_ID_REPLACE", "").split("\n"))),
        )


@dataclass(frozen=True)
class View:
    """The shareable state of a session. Field names are the names in the URL."""

    embedding: str | None = None
    where: tuple[str, ...] = ()  # filters, each "column=value", all must hold
    method: str | None = None
    colour: str | None = None
    stage: str | None = None
    order: str | None = None
    adjust: tuple[str, ...] = ()
    group: str | None = None
    run: tuple[str, ...] = ()  # pages whose analysis of this view is shown; "1" is the stage gradient
    case: str | None = None
    selected: str | None = None  # see `pack_selection`
    within: str | None = None  # name of a saved selection that every page is filtered by
    time: str | None = None  # survival: columns of time and event, the value of an event, groups, covariates
    event: str | None = None
    happened: str | None = None
    curves: str | None = None
    clinical: tuple[str, ...] = ()
    task: str | None = None  # probes
    target: str | None = None
    learner: str | None = None
    classes: str | None = None
    protocol: str | None = None
    label: str | None = None  # audit
    leave: str | None = None
    split: str | None = None
    fields: tuple[str, ...] = ()
    alike: str | None = None  # retrieval: the label of a hit, columns held equal
    match: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()  # trajectory: embeddings side by side, and their picture
    picture: str | None = None
    place: str | None = None  # map: new cases
    ask: str | None = None  # case: a patient, an upload or words, and the sentence
    words: str | None = None
    shows: str | None = None  # case: planes, 3D or patch map, which map, window, and the point (LPS mm)
    patches: str | None = None
    window: str | None = None
    at: str | None = None
    # case: where the similar cases are cut, whether only matched ones are met, how many
    level: str | None = None
    matched: str | None = None
    count: str | None = None


_LISTS = {f.name for f in fields(View) if f.default == ()}
GRADIENT_RUN = "1"


def view() -> View:
    """The current session's view."""
    return st.session_state.setdefault("_view", View())


def update(**changes: Any) -> None:
    """Change the view; lists become tuples, an empty text becomes None."""
    tidy: dict[str, Any] = {k: tuple(v) if k in _LISTS else (v or None) for k, v in changes.items()}
    st.session_state["_view"] = replace(view(), **tidy)


def set_run(page: str, wanted: bool) -> None:
    """Say that this page's analysis is to be shown, or that its question has no answer yet."""
    others = tuple(name for name in view().run if name != page)
    update(run=(*others, page) if wanted else others)


def is_run(page: str) -> bool:
    """Whether this page's analysis was asked for (by the button, or by the link that was opened)."""
    return page in view().run


def read_url() -> None:
    """Take the view over from the URL, unless the URL is the one that this session wrote itself."""
    params = {k: tuple(st.query_params.get_all(k)) for k in st.query_params if k in View.__dataclass_fields__}
    if not params or params == st.session_state.get("_url"):
        return
    values: dict[str, Any] = {k: v if k in _LISTS else v[-1] for k, v in params.items()}
    st.session_state["_view"] = View(**values)
    st.session_state["_url"] = params
    for key in [k for k in st.session_state if str(k).startswith("view-")]:
        del st.session_state[key]


def write_url() -> None:
    """Put the view into the URL, without what has its default value."""
    params: dict[str, tuple[str, ...]] = {}
    for f in fields(View):
        value = getattr(view(), f.name)
        if value and not (isinstance(value, str) and len(value) > LONGEST_LINK):
            params[f.name] = value if f.name in _LISTS else (value,)
    current = {
        k: tuple(st.query_params.get_all(k)) for k in st.query_params if k in View.__dataclass_fields__
    }
    st.session_state["_url"] = params
    if current != params:
        st.query_params.from_dict({k: list(v) for k, v in params.items()})


def choose(label: str, name: str, options: Sequence[str], **widget: Any) -> str | None:
    """A select box for one field of the view; an unknown value falls back to the first option."""
    key = f"view-{name}"
    if not options:
        update(**{name: None})
        return None
    wanted = st.session_state.get(key, getattr(view(), name))
    st.session_state[key] = wanted if wanted in options else options[0]
    value = st.selectbox(label, options, key=key, **widget)
    update(**{name: value})
    return value


def choose_many(label: str, name: str, options: Sequence[str], **widget: Any) -> tuple[str, ...]:
    """A multi-select for one field of the view; values that are no option are dropped."""
    key = f"view-{name}"
    wanted = st.session_state.get(key, getattr(view(), name))
    st.session_state[key] = [v for v in wanted if v in options]
    value = tuple(st.multiselect(label, options, key=key, **widget))
    update(**{name: value})
    return value


def write(label: str, name: str, prefilled: str, *, of: str, **widget: Any) -> str:
    """A line of text for one field of the view, prefilled anew for another column (`of`); the URL holds a change."""
    key, column = f"view-{name}", f"_{name}-of"
    if st.session_state.setdefault(column, of) != of:
        st.session_state[column] = of
        st.session_state.pop(key, None)
        update(**{name: None})
    st.session_state.setdefault(key, getattr(view(), name) or prefilled)
    text: str = st.text_input(label, key=key, **widget)
    update(**{name: text if text != prefilled else None})
    return text


def set_field(name: str, value: Any) -> None:
    """Change a field from outside its widget (a button, a selection on a picture)."""
    st.session_state.pop(f"view-{name}", None)
    update(**{name: value})


def pack_selection(ids: Ids, chosen: Sequence[str] | np.ndarray) -> str | None:
    """Selected patients as short text: one bit a patient of the sorted cohort, compressed, base64."""
    if not len(chosen):
        return None
    roll = _roll(ids)
    bits = np.packbits(roll.has(np.asarray(chosen, dtype=str))).tobytes()
    return base64.urlsafe_b64encode(zlib.compress(roll.checksum + bits, 9)).decode().rstrip("=")


def unpack_selection(ids: Ids, text: str | None) -> tuple[str, ...]:
    """The inverse; a text made for another cohort, or no such text at all, selects nobody."""
    if not text:
        return ()
    roll = _roll(ids)
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        packed = zlib.decompressobj().decompress(raw, len(roll.everyone) // 8 + 16)
    except (ValueError, zlib.error):
        return ()
    if packed[:4] != roll.checksum or len(packed) - 4 != (len(roll.everyone) + 7) // 8:
        return ()
    bits = np.unpackbits(np.frombuffer(packed[4:], dtype=np.uint8))[: len(roll.everyone)].astype(bool)
    return tuple(roll.everyone[bits].tolist())


@dataclass(frozen=True, eq=False)
class _Roll:
    """All patients in sorted order, with a checksum; `source` keeps the IDs that it was made of alive."""

    source: Ids
    everyone: np.ndarray
    checksum: bytes

    def has(self, chosen: np.ndarray) -> np.ndarray:
        """Which of everyone are among the chosen, [n] booleans."""
        at = np.minimum(np.searchsorted(self.everyone, chosen), len(self.everyone) - 1)
        found = np.zeros(len(self.everyone), dtype=bool)
        found[at[self.everyone[at] == chosen]] = True
        return found


_ROLLS: dict[int, _Roll] = {}  # sorting 266,227 IDs at every run of a page would be felt


def _roll(ids: Ids) -> _Roll:
    held = _ROLLS.get(id(ids))
    if held is None or held.source is not ids:
        everyone = np.sort(np.asarray(ids, dtype=str))
        checksum = zlib.crc32("\x1f".join(everyone).encode()).to_bytes(4, "big")
        held = _Roll(ids, everyone, checksum)
        if isinstance(ids, np.ndarray):  # a list may be changed by whoever holds it
            _ROLLS[id(ids)] = held
            while len(_ROLLS) > _MOST_ROLLS:
                _ROLLS.pop(next(iter(_ROLLS)), None)
    return held


def selection(ids: Ids) -> tuple[str, ...]:
    """The patients that are selected, in sorted order; `ids` are all patients of the embedding."""
    return unpack_selection(ids, view().selected)
