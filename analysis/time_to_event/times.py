"""Time and event as they stand in a table, checked; competing events are never taken for censoring unasked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from analysis.clinical import canonical
from flexict_core.errors import AnalysisError
from flexict_core.tables import listing

Competing = Literal["refuse", "censor"]


def read_times(
    duration: Sequence[Any] | np.ndarray,
    event: Sequence[Any] | np.ndarray,
    *,
    names: tuple[str, str],
    event_value: str | None,
    competing: Competing,
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Time and event (NaN where unknown) and notes; competing events are refused unless censored on purpose."""
    notes = []
    if event_value is not None:
        others = sorted({canonical(v) for v in event} - {"", canonical(event_value)})
        if len(others) > 1 and competing == "refuse":
            raise AnalysisError(
                f"event {names[1]!r} holds {listing(others)} beside {event_value!r}: competing events are not "
                "censoring; say --competing censor for the cause-specific analysis, or merge the values"
            )
        if len(others) > 1:
            notes.append(
                f"{listing(others)} of {names[1]!r} count as censored: hazards are cause-specific, and 1 − "
                "Kaplan–Meier overstates the risk of the event where another can come first"
            )
    time, happened = read_outcome(
        duration, event, duration_name=names[0], event_name=names[1], event_value=event_value
    )
    return time, happened, notes


def read_outcome(
    duration: np.ndarray | Sequence[Any],
    event: np.ndarray | Sequence[Any],
    *,
    duration_name: str = "duration",
    event_name: str = "event",
    event_value: str | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Time [n] (NaN where unknown) and event [n] (1, 0, NaN), checked.

    Raises AnalysisError for times that are not positive numbers, events other than 0 and 1 unless `event_value`
    names the one that counts, and for no event at all.
    """
    time = _numbers(duration, duration_name)
    bad = np.flatnonzero(time <= 0)
    if bad.size:
        raise AnalysisError(
            f"duration {duration_name!r} is {time[bad[0]]:g} for {bad.size} patients (row {bad[0] + 1} first): "
            f'times must be above 0; correct them, or leave these patients out with --where "{duration_name}!='
            f'{time[bad[0]]:g}"'
        )
    texts = [canonical(v) for v in event]
    present = sorted({text for text in texts if text})
    if event_value is not None:
        wanted = canonical(event_value)
        if wanted not in present:
            raise AnalysisError(
                f"event value {event_value!r} is not in {event_name!r}, which holds {listing(present)}"
            )
        happened = np.array([np.nan if not s else float(s == wanted) for s in texts])
    else:
        odd = [v for v in ("1" if v == "True" else "0" if v == "False" else v for v in present)
               if v not in ("0", "1")]  # fmt: skip
        if odd:
            raise AnalysisError(
                f"event {event_name!r} holds {listing(odd)}, not 0 and 1: name the value that means an event "
                f"with --event-value {odd[-1]!r}"
            )
        happened = np.array([np.nan if not s else float(s in ("1", "True")) for s in texts])
    known = np.isfinite(time) & np.isfinite(happened)
    if not known.any():
        raise AnalysisError(f"no patient has both {duration_name!r} and {event_name!r}")
    if happened[known].sum() == 0:
        raise AnalysisError(
            f"event {event_name!r} never happens: all {int(known.sum())} patients are censored, so there is no "
            "outcome to model"
        )
    return time, happened


def _numbers(values: np.ndarray | Sequence[Any], name: str) -> np.ndarray:
    out = np.full(len(values), np.nan)
    for i, value in enumerate(values):
        text = canonical(value)
        if not text:
            continue
        try:
            out[i] = float(text)
        except ValueError:
            raise AnalysisError(f"duration {name!r} holds {value!r} (row {i + 1}), not a number") from None
    if not np.isfinite(out).any():
        raise AnalysisError(f"duration {name!r} is missing for every patient")
    return out
