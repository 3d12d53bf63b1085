"""Selections kept under a name: one JSON file each, in the folder of results, or beside the store where there is none.

A saved selection filters every page. It was chosen by looking, which the cohort that it makes says in its name and its
warnings, so that every result and every file made of it says so too.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from flexict_core.errors import CohortError, InputError

if TYPE_CHECKING:
    from analysis.cohort import Cohort
    from app.state import AppConfig

FOLDER = "selections"
_LONGEST = 60
HOW_CHOSEN = (
    "the patients are those of the saved selection {name!r}, chosen by looking at a picture (post hoc): p-values of "
    "what they were chosen along confirm nothing"
)


@dataclass(frozen=True)
class SavedSelection:
    """Patients under a name; `picture`: what they were chosen on."""

    name: str
    patients: tuple[str, ...]
    picture: str
    embedding_id: str


def folder(config: AppConfig) -> Path:
    """Where the selections of this dashboard lie."""
    return (config.results or config.store) / FOLDER


def _path(config: AppConfig, name: str) -> Path:
    """A file name made of the name's letters, told apart by its hash: no name leads out of the folder."""
    letters = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-").lower()[:40] or "selection"
    return folder(config) / f"{letters}-{hashlib.sha256(name.encode()).hexdigest()[:8]}.json"


def save(config: AppConfig, selection: SavedSelection) -> Path:
    """Write a selection. Raises InputError for an empty or long name, a name that is taken, a folder of no use."""
    from analysis.export import json_text, write_text

    name = selection.name
    if not name.strip() or len(name) > _LONGEST or not name.isprintable():
        raise InputError(f"name {name!r} of the selection: give 1 to {_LONGEST} printable characters")
    path = _path(config, name)
    if path.exists():
        raise InputError(
            f"a selection named {name!r} is there already: choose another name, or delete it first"
        )
    return write_text(path, json_text(asdict(selection)))


def saved(config: AppConfig) -> dict[str, SavedSelection]:
    """All of them by name, in the order of the alphabet; a damaged file is left out."""
    found = [s for path in sorted(folder(config).glob("*.json")) if (s := _read(path)) is not None]
    return {s.name: s for s in sorted(found, key=lambda s: s.name.lower())}


def _read(path: Path) -> SavedSelection | None:
    try:
        held = json.loads(path.read_text("utf-8"))
        return SavedSelection(
            str(held["name"]),
            tuple(map(str, held["patients"])),
            str(held["picture"]),
            str(held["embedding_id"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def load(config: AppConfig, name: str) -> SavedSelection:
    """One by its name. Raises CohortError where there is none."""
    found = _read(_path(config, name))
    if found is None:
        raise CohortError(f"there is no saved selection named {name!r}: choose another in the sidebar")
    return found


def delete(config: AppConfig, name: str) -> None:
    """Take a selection away; one that is not there is no fault."""
    _path(config, name).unlink(missing_ok=True)


def stamp(config: AppConfig, name: str | None) -> tuple[int, int]:
    """Changes when the file of the selection does."""
    path = _path(config, name) if name else None
    return (path.stat().st_mtime_ns, path.stat().st_size) if path is not None and path.is_file() else (0, 0)


def only(cohort: Cohort, selection: SavedSelection) -> Cohort:
    """The cohort's patients of the selection, and, in its name and warnings, how they were chosen."""
    inside = np.isin(cohort.patient_id.astype(str), np.array(selection.patients, dtype=str))
    if not inside.any():
        raise CohortError(
            f"no patient of the saved selection {selection.name!r} is in {cohort.name}: choose another filter"
        )
    gone = {int(i): f"not in the saved selection {selection.name}" for i in np.flatnonzero(~inside)}
    kept = cohort.keep(inside, gone)
    return dataclasses.replace(
        kept,
        name=f"{cohort.name} (selection “{selection.name}”, chosen by looking)",
        warnings=(*cohort.warnings, HOW_CHOSEN.format(name=selection.name)),
    )
