"""What a dashboard session looks at: its view, which the URL holds, and the results that it has seen.

A `View` is read from the URL when a session starts (or when the URL is changed by hand) and written back after
every run, so a reload or a sent link shows the same thing.
"""

from __future__ import annotations

import base64
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from flexict_core.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

    from analysis.results import Result

Ids = Sequence[str] | np.ndarray
_MOST_EXHIBITS = 40
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
    run: str | None = None  # "1": the stage gradient of this view is shown
    case: str | None = None
    selected: str | None = None  # see `pack_selection`


_LISTS = {f.name for f in fields(View) if f.default == ()}


def view() -> View:
    """The current session's view."""
    return st.session_state.setdefault("_view", View())


def update(**changes: Any) -> None:
    """Change the view; lists become tuples, an empty text becomes None."""
    tidy: dict[str, Any] = {k: tuple(v) if k in _LISTS else (v or None) for k, v in changes.items()}
    st.session_state["_view"] = replace(view(), **tidy)


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


def set_field(name: str, value: Any) -> None:
    """Change a field from outside its widget (a button, a selection on a picture)."""
    st.session_state.pop(f"view-{name}", None)
    update(**{name: value})


def pack_selection(ids: Ids, chosen: Sequence[str]) -> str | None:
    """Selected patients as short text: one bit a patient of the sorted cohort, compressed, base64."""
    if not len(chosen):
        return None
    everyone = np.sort(np.asarray(ids, dtype=str))
    bits = np.packbits(np.isin(everyone, np.asarray(chosen, dtype=str))).tobytes()
    return base64.urlsafe_b64encode(zlib.compress(_checksum(everyone) + bits, 9)).decode().rstrip("=")


def unpack_selection(ids: Ids, text: str | None) -> tuple[str, ...]:
    """The inverse; a text made for another cohort, or no such text at all, selects nobody."""
    if not text:
        return ()
    everyone = np.sort(np.asarray(ids, dtype=str))
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        packed = zlib.decompressobj().decompress(raw, len(everyone) // 8 + 16)
    except (ValueError, zlib.error):
        return ()
    if packed[:4] != _checksum(everyone) or len(packed) - 4 != (len(everyone) + 7) // 8:
        return ()
    bits = np.unpackbits(np.frombuffer(packed[4:], dtype=np.uint8))[: len(everyone)].astype(bool)
    return tuple(str(i) for i in everyone[bits])


def _checksum(everyone: np.ndarray) -> bytes:
    return zlib.crc32("\x1f".join(everyone).encode()).to_bytes(4, "big")


def selection(ids: Ids) -> tuple[str, ...]:
    """The patients that are selected, in sorted order; `ids` are all patients of the embedding."""
    return unpack_selection(ids, view().selected)


@dataclass(frozen=True)
class Exhibit:
    """A result that this session has seen, with the figures drawn from it and the data behind each."""

    title: str
    result: Result
    figures: Mapping[str, Figure] = field(default_factory=dict)
    sources: Mapping[str, pd.DataFrame] = field(default_factory=dict)


def keep_exhibit(
    title: str,
    *,
    result: Result,
    figures: Mapping[str, Figure] | None = None,
    sources: Mapping[str, pd.DataFrame] | None = None,
) -> Exhibit:
    """Remember a result for the Export page: the last of each title, and the last 40 of all."""
    exhibit = Exhibit(title, result, figures or {}, sources or {})
    held = st.session_state.setdefault("_exhibits", {})
    held.pop(title, None)
    held[title] = exhibit
    while len(held) > _MOST_EXHIBITS:
        del held[next(iter(held))]
    return exhibit


def exhibits() -> dict[str, Exhibit]:
    """Everything this session has seen, oldest first."""
    return dict(st.session_state.get("_exhibits", {}))
