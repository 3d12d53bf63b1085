"""One row of a manifest: found, hashed, read once, and prepared for every encoder that still needs it.

A row's failure is an outcome, never an exception.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from flexict_core.errors import (
    FlexictError,
    ImageError,
    ManifestError,
    MaskError,
)
from flexict_core.intake.pseudonyms import is_pseudonym, without_uids
from flexict_core.manifest import ManifestRow, resolve_inside
from flexict_core.source_files import file_sha256s, file_state, source_sha256, source_stat, wanted_series
from flexict_core.store.known import KnownRow

if TYPE_CHECKING:
    from flexict_core.encoders.base import Encoder
    from flexict_core.volume import Volume


# The volume that this process read last, for the other regions of one CT.
_last_read: dict[tuple[Path, str | None, str, str], Volume] = {}


@dataclass(frozen=True)
class Task:
    """One row to prepare for one encoder, with what the store already holds under its key."""

    row: ManifestRow
    root: Path
    known: KnownRow | None = None
    encoder: int = 0  # which of the run's encoders


@dataclass(frozen=True)
class Outcome:
    """ready: `payload` waits to be encoded. embedded: `payload` is the vector. same: the store has it. moved: the
    same data under another path or of another time. failed: `reason`, one line, and `file`, the one at fault.

    file_sha256: of image and mask alone ("": no mask).
    """

    task: Task
    kind: Literal["ready", "embedded", "same", "moved", "failed"]
    source_sha256: str = ""
    source_stat: str = ""
    file_sha256: tuple[str, str] = ("", "")
    payload: Any = None
    reason: str = ""
    file: str = ""


def unchanged(task: Task) -> bool:
    """Whether paths, sizes and times alone show that the stored row is current; reads no file."""
    known = task.known
    if known is None or not known.source_stat or not _same_place(task, known):
        return False
    try:
        return known.source_stat == source_stat(_paths(task.row, task.root), task.row)
    except (OSError, ManifestError):
        return False


def prepare_row(encoders: Sequence[Encoder], tasks: Sequence[Task]) -> list[Outcome]:
    """Everything up to the encoders' forward passes; `tasks` are one row's, each for another encoder.

    The files are hashed and read once. Never raises for what is wrong with the row.
    """
    source = _Source(tasks[0])
    return [_prepare_or_fail(encoders[task.encoder], task, source) for task in tasks]


def failed(task: Task, reason: str, *, file: str | None = None) -> Outcome:
    """The outcome of a row that cannot be used; paths inside the manifest's folder lose that folder."""
    line = " ".join(reason.split()).replace(f"{task.root}{os.sep}", "")
    if is_pseudonym(task.row.series_uid) or is_pseudonym(task.row.patient_id):
        line = without_uids(line)
    return Outcome(task, "failed", reason=line, file=task.row.image if file is None else file)


def _prepare_or_fail(encoder: Encoder, task: Task, source: _Source) -> Outcome:
    source.at_fault = task.row.image
    try:
        return _prepare(encoder, task, source)
    except FlexictError as error:
        reason = str(error)
    except OSError as error:
        reason = (
            f"{error.filename or task.row.image} cannot be read ({error.strerror or error}): check the file"
        )
    except MemoryError:
        reason = "not enough memory to prepare this volume: use fewer workers or a smaller volume"
    except Exception as error:  # one odd file must not stop a thousand good ones
        reason = f"{type(error).__name__} while preparing: {error}"
    with suppress(OSError, ManifestError):  # half a file is no wonder while it is being written
        reason = source.changed() or reason
    return failed(task, reason, file=source.at_fault)


class _Source:
    """The files of one row, read when first asked for and then kept while the row is prepared."""

    def __init__(self, task: Task) -> None:
        self.row, self.root = task.row, task.root
        self.at_fault = task.row.image  # the file to name should something go wrong now
        self._state: list[list[tuple[int, ...]]] = []  # of the files when they were hashed

    @cached_property
    def identity(self) -> tuple[str, str, tuple[str, str]]:
        """(source_sha256, source_stat, hashes of image and mask); ImageError or MaskError where one is missing."""
        paths = _paths(self.row, self.root)
        for path, name in zip(paths, (self.row.image, self.row.mask or ""), strict=False):
            self.at_fault = name
            kind = MaskError if name != self.row.image else ImageError
            if not path.exists():
                raise kind(f"{name} does not exist: correct the path in the manifest")
            if not (path.is_file() or path.is_dir()):  # to open a pipe is to wait for ever
                raise kind(f"{name} is a pipe, socket or device, no file: correct the path in the manifest")
        self.at_fault = self.row.image
        stat = source_stat(paths, self.row)
        self._state = [file_state(path) for path in paths]
        files = file_sha256s(paths, self.row)
        digest = source_sha256(paths, self.row, digests=files)
        return digest, stat, (files[0], files[1] if len(files) > 1 else "")

    def changed(self) -> str:
        """What to say where a file is no longer the one that was hashed (what was read may be neither), or ""."""
        names = (self.row.image, self.row.mask or "")
        for path, name, state in zip(_paths(self.row, self.root), names, self._state, strict=False):
            if file_state(path) != state:
                self.at_fault = name
                return f"{name} changed while it was read: run again when nothing writes to it"
        return ""

    @cached_property
    def volume(self) -> Volume:
        from flexict_core.io import load_volume

        path, series = _paths(self.row, self.root)[0], wanted_series(self.row)
        key = (path, series, self.row.on_gaps, self.identity[2][0])  # the hash: the bytes are the same
        if key not in _last_read:
            _last_read.clear()  # before the next one is read: one at a time
            _last_read[key] = load_volume(path, series_uid=series, on_gaps=self.row.on_gaps)
        return _last_read[key]

    @cached_property
    def mask(self) -> Volume | None:
        from flexict_core.io import load_mask

        if self.row.mask is None:
            return None
        volume = self.volume
        self.at_fault = self.row.mask
        mask = load_mask(_paths(self.row, self.root)[1], label=self.label, reference=volume)
        self.at_fault = self.row.image
        return mask

    @cached_property
    def label(self) -> int | None:
        """The row's mask_label as a number, which is what a store holds."""
        from flexict_core.io import region_number

        label = self.row.mask_label
        return region_number(_paths(self.row, self.root)[1], label) if isinstance(label, str) else label


def _prepare(encoder: Encoder, task: Task, source: _Source) -> Outcome:
    row, known = task.row, task.known
    digest, stat, files = source.identity
    if known is not None and known.source_sha256 == digest:
        kept = _same_place(task, known) and (not stat or stat == known.source_stat)
        return Outcome(_numbered(task, known.mask_label), "same" if kept else "moved", digest, stat, files)
    if known is not None and known.root != str(task.root) and Path(known.root, known.image).exists():
        raise ManifestError(
            f"the store holds this patient, series and ROI with another image ({known.root}/{known.image}): "
            "use another store, or tell them apart by series_uid"
        )
    volume, roi = source.volume, source.mask
    if roi is None and row.seed_lps_mm is not None:
        roi = _seed_roi(encoder, volume, row.seed_lps_mm)
    payload = encoder.prepare(volume, roi)
    if change := source.changed():
        raise ImageError(change)
    return Outcome(_numbered(task, source.label), "ready", digest, stat, files, payload=payload)


def _numbered(task: Task, label: int | None) -> Task:
    """The task with a number where the manifest has a region's name."""
    return replace(task, row=replace(task.row, mask_label=label))


def _seed_roi(encoder: Encoder, volume: Volume, seed_lps_mm: tuple[float, float, float]) -> Volume | None:
    """A seed point as a region of one voxel: enough to centre a cube of fixed size, and for nothing else."""
    kind = encoder.recipe.kind
    if kind not in ("roi_fixed", "roi_adaptive", "native"):
        return None  # whole-volume recipes look at no region
    if kind != "roi_fixed":
        raise MaskError(
            f"a seed point has no extent and {encoder.name!r} needs one: give a mask or a roi_fixed recipe"
        )
    z, y, x = (round(float(i)) for i in volume.world_to_index(seed_lps_mm)[::-1])
    shape = volume.shape_zyx
    if not all(0 <= i < n for i, n in zip((z, y, x), shape, strict=True)):
        raise MaskError(f"seed point {seed_lps_mm} mm lies outside the volume: check that it is LPS")
    mask = np.zeros(shape, dtype=bool)
    mask[z, y, x] = True
    return volume.with_array(mask)


def _paths(row: ManifestRow, root: Path) -> list[Path]:
    names = [row.image] if row.mask is None else [row.image, row.mask]
    return [resolve_inside(root, name) for name in names]


def _same_place(task: Task, known: KnownRow) -> bool:
    return (known.root, known.image, known.mask) == (str(task.root), task.row.image, task.row.mask or "")
