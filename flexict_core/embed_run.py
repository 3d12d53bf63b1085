"""One embedding's part of a run: finished outcomes go to its store, its quarantine, or the count of what was there."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from flexict_core.manifest import Manifest, RejectedRow, as_rejected
from flexict_core.prepare_row import Outcome
from flexict_core.store.format import QUARANTINE, Key
from flexict_core.store.index import read_index, read_vectors
from flexict_core.store.known import keys_of
from flexict_core.store.writer import EmbeddingWriter

FLUSH_S, MOST_S = 2.0, 120.0


@dataclass(frozen=True)
class EmbedReport:
    """What a run did. done: embedded now (`changed` names those among them whose file had changed since);
    skipped: in the store already; quarantined: failed, with reasons in `quarantine_path`."""

    embedding_id: str
    done: int
    skipped: int
    quarantined: int
    seconds: float
    quarantine_path: Path | None
    changed: tuple[str, ...] = ()

    def summary(self) -> str:
        """The run in one or a few lines."""
        lines = [
            f"{self.embedding_id}: {self.done} embedded, {self.skipped} already there, "
            f"{self.quarantined} in quarantine ({self.seconds:.1f} s)"
        ]
        if self.changed:
            more = f" and {len(self.changed) - 5} more" if len(self.changed) > 5 else ""
            lines.append(f"changed since and embedded again: {', '.join(self.changed[:5])}{more}")
        if self.quarantine_path is not None:
            lines.append(f"quarantine: {self.quarantine_path}")
        return "\n".join(lines)


@dataclass
class EmbedRun:
    """What becomes of outcomes; made for one run and one writer."""

    writer: EmbeddingWriter
    manifest: Manifest
    done: int = 0
    skipped: int = 0
    quarantined: int = 0
    changed: list[str] = field(default_factory=list)
    moved: list[Outcome] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)
    flushed: float = field(default_factory=time.monotonic)

    def take(self, outcomes: Sequence[Outcome]) -> None:
        """File some finished outcomes; what they hold is durable within two minutes."""
        self.moved += [o for o in outcomes if o.kind == "moved"]
        self.skipped += sum(o.kind in ("same", "moved") for o in outcomes)
        self.fail(as_rejected(o.task.row, o.reason, file=o.file) for o in outcomes if o.kind == "failed")
        for outcome in outcomes:
            if outcome.kind == "embedded":
                self._add(outcome)
        # A kill costs the last seconds, or 2 % of the time so far but never more than two minutes: parts stay few.
        now = time.monotonic()
        if now - self.flushed > min(max(FLUSH_S, 0.02 * (now - self.started)), MOST_S):
            self.writer.flush()
            self.flushed = now

    def fail(self, rows: Iterable[RejectedRow]) -> None:
        """Rows into quarantine."""
        entries = [
            {
                "row": r.number,
                "patient_id": r.patient_id,
                "series_uid": r.series_uid,
                "roi_id": r.roi_id,
                "file": r.file,
                "reason": r.reason,
                "image": r.image,
                "mask": r.mask,
                "root": str(self.manifest.root),
                "manifest": self.manifest.name,
            }
            for r in rows
        ]
        self.quarantined += len(entries)
        self.writer.quarantine(entries)

    def refresh_moved(self) -> None:
        """Rows whose files lie elsewhere now: the vector stays, the path is brought up to date."""
        if not self.moved:
            return
        self.writer.flush()
        vectors = _vectors(self.writer, {o.task.row.key for o in self.moved})
        self.writer.add(_stored(o, vectors[o.task.row.key]) for o in self.moved)

    def report(self, seconds: float) -> EmbedReport:
        """What the run did, after its end."""
        path = self.writer.folder / QUARANTINE
        return EmbedReport(
            embedding_id=self.writer.embedding_id,
            done=self.done,
            skipped=self.skipped,
            quarantined=self.quarantined,
            seconds=seconds,
            quarantine_path=path if self.quarantined and path.is_file() else None,
            changed=tuple(self.changed),
        )

    def _add(self, outcome: Outcome) -> None:
        row, known = outcome.task.row, outcome.task.known
        self.writer.add([_stored(outcome, outcome.payload)])
        self.done += 1
        if known is not None:
            hashes = f"sha256 {known.source_sha256[:12]} is now {outcome.source_sha256[:12]}"
            self.changed.append(f"{row.patient_id} ({row.image}, {hashes})")


def _stored(outcome: Outcome, vector: np.ndarray) -> dict[str, Any]:
    row = outcome.task.row
    image_sha256, mask_sha256 = outcome.file_sha256
    return {
        "patient_id": row.patient_id,
        "series_uid": row.series_uid,
        "roi_id": row.roi_id,
        "root": str(outcome.task.root),
        "image": row.image,
        "mask": row.mask,
        "mask_label": row.mask_label,
        "source_sha256": outcome.source_sha256,
        "source_stat": outcome.source_stat,
        "image_sha256": image_sha256,
        "mask_sha256": mask_sha256,
        "embedding": vector,
    }


def _vectors(writer: EmbeddingWriter, keys: set[Key]) -> dict[Key, np.ndarray]:
    index = read_index(writer.folder).of_patients({key[0] for key in keys})
    X = read_vectors(index, writer.dim)
    return {key: x for key, x in zip(keys_of(index.sorted_table()), X, strict=True) if key in keys}
