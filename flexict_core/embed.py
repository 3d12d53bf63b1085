"""A manifest becomes embeddings: batches, workers, resume, quarantine, progress."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from warnings import warn

import numpy as np

from flexict_core.errors import CheckpointError, DataWarning, EncoderError, InputError
from flexict_core.manifest import Manifest, ManifestRow, RejectedRow, as_rejected, read_manifest
from flexict_core.prepare_row import Outcome, Task, unchanged
from flexict_core.store import EmbeddingStore
from flexict_core.store_format import QUARANTINE, Key
from flexict_core.store_index import read_index, read_vectors
from flexict_core.store_known import keys_of
from flexict_core.store_writer import EmbeddingWriter
from flexict_core.worker_pool import prepare_all

if TYPE_CHECKING:
    from flexict_core.encoders.base import Encoder

_MOST_WORKERS = 8
_FLUSH_S = 2.0
_BATCH = 4  # rows an encoder takes at once unless it says otherwise


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


def embed_manifest(
    manifest: Manifest | str | Path,
    store: EmbeddingStore | str | Path,
    *,
    encoder: Encoder,
    workers: int | None = None,
    batch_size: int | None = None,
    shard: tuple[int, int] = (1, 1),
    progress: bool = True,
) -> EmbedReport:
    """Embed every row of a manifest that the store does not hold yet.

    workers: processes that load and prepare; None for one a core (at most 8), 0 to do it in this process. The
    encoder runs here, `batch_size` rows at a time (None: as many as it prefers).
    shard: (i, n) takes the i-th of n interleaved parts of the rows, for several machines on one store.
    progress: a bar with rate and time left on stderr.

    A row is current while its image, mask and label have the hash they were embedded with; a changed one is
    embedded again in its place. A row that fails goes to quarantine with its reason and is tried again by the
    next run. The process may be killed at any time: the next run goes on, with no row lost or doubled.
    Raises InputError for impossible arguments, CheckpointError or EncoderError where the encoder itself
    fails.
    """
    (report,) = embed_together(
        manifest,
        store,
        encoders=[encoder],
        workers=workers,
        batch_size=batch_size,
        shard=shard,
        progress=progress,
    )
    return report


def embed_together(
    manifest: Manifest | str | Path,
    store: EmbeddingStore | str | Path,
    *,
    encoders: Sequence[Encoder],
    workers: int | None = None,
    batch_size: int | None = None,
    shard: tuple[int, int] = (1, 1),
    progress: bool = True,
) -> list[EmbedReport]:
    """`embed_manifest` for several encoders in one pass: each file is read once, each encoder has its embedding.

    Meant for the recipes or scales of one network, which then lies in memory once. Embeddings, their names and
    every stored vector are those of single runs; one report an encoder, in their order. InputError where two
    would write the same embedding.
    """
    start = time.monotonic()
    manifest = manifest if isinstance(manifest, Manifest) else read_manifest(manifest)
    store = store if isinstance(store, EmbeddingStore) else EmbeddingStore.create(store)
    _check(workers, batch_size, shard)
    workers = _default_workers() if workers is None else workers
    part, parts = shard
    rows, rejected = manifest.rows[part - 1 :: parts], manifest.rejected[part - 1 :: parts]
    if any(e.recipe.kind in ("native", "slices") for e in encoders):  # which take a mask where there is one
        _warn_of_mixed_regions(manifest)
    with ExitStack() as stack:
        runs = _open_runs(encoders, store, manifest, stack=stack, batch_size=batch_size)
        todo = []
        label = ", ".join(dict.fromkeys(e.name for e in encoders))
        with _bar(len(rows) * len(runs), label, shown=progress) as bar:
            for row in rows:
                tasks = [
                    Task(row, manifest.root, run.writer.known.get(row.key), encoder=number)
                    for number, run in enumerate(runs)
                ]
                waiting = [task for task in tasks if not unchanged(task)]
                for task in tasks:
                    runs[task.encoder].skipped += task not in waiting
                bar.update(len(tasks) - len(waiting))
                if waiting:
                    todo.append(waiting)
            for run in runs:
                run.fail(rejected)
            if todo:
                for outcomes in prepare_all(encoders, todo, workers=workers):
                    for outcome in outcomes:
                        bar.update(runs[outcome.task.encoder].put(outcome))
                for run in runs:
                    bar.update(run.finish())
        mine = _lines(rows, rejected)
        everyone = _lines(manifest.rows, manifest.rejected)
        for run in runs:
            run.refresh_moved()
            run.writer.settle(root=str(manifest.root), manifest=manifest.name, keep=everyone - mine)
    seconds = time.monotonic() - start
    return [run.report(seconds) for run in runs]


def _open_runs(
    encoders: Sequence[Encoder],
    store: EmbeddingStore,
    manifest: Manifest,
    *,
    stack: ExitStack,
    batch_size: int | None,
) -> list[_Run]:
    runs: list[_Run] = []
    for encoder in encoders:
        writer = store.writer(_spec(encoder, manifest), dim=encoder.dim, name=_name(encoder))
        if any(run.writer.embedding_id == writer.embedding_id for run in runs):
            raise InputError(f"embedding {writer.embedding_id!r} is asked for twice: give each recipe once")
        size = batch_size or int(getattr(encoder, "batch_size", _BATCH))
        runs.append(_Run(stack.enter_context(writer), encoder, manifest, batch_size=size))
    return runs


@dataclass
class _Run:
    """One encoder's part of a run. Outcomes go to the store, the quarantine, or the count of what was there."""

    writer: EmbeddingWriter
    encoder: Encoder
    manifest: Manifest
    batch_size: int
    done: int = 0
    skipped: int = 0
    quarantined: int = 0
    changed: list[str] = field(default_factory=list)
    moved: list[Outcome] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)
    flushed: float = field(default_factory=time.monotonic)
    batch: list[Outcome] = field(default_factory=list)

    def put(self, outcome: Outcome) -> int:
        """Take one more; the number that were dealt with by it, a batch or none."""
        self.batch.append(outcome)
        full = sum(o.kind == "ready" for o in self.batch) >= self.batch_size or len(self.batch) >= 64
        return self.finish() if full else 0  # rows that do not wait for the encoder ride along

    def finish(self) -> int:
        """Deal with what has gathered; how many that were."""
        batch, self.batch = self.batch, []
        if batch:
            self.take(batch)
        return len(batch)

    def report(self, seconds: float) -> EmbedReport:
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

    def take(self, outcomes: Sequence[Outcome]) -> None:
        self.moved += [o for o in outcomes if o.kind == "moved"]
        self.skipped += sum(o.kind in ("same", "moved") for o in outcomes)
        self.fail(as_rejected(o.task.row, o.reason, file=o.file) for o in outcomes if o.kind == "failed")
        ready = [o for o in outcomes if o.kind == "ready"]
        for outcome, vector in zip(ready, self._encode(ready), strict=True):
            if isinstance(vector, str):
                self.fail([as_rejected(outcome.task.row, vector)])
            else:
                self._add(outcome, vector)
        # A kill costs at most the last seconds, or 2 % of the time so far: parts stay few in long runs.
        now = time.monotonic()
        if now - self.flushed > max(_FLUSH_S, 0.02 * (now - self.started)):
            self.writer.flush()
            self.flushed = now

    def fail(self, rows: Iterable[RejectedRow]) -> None:
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

    def _add(self, outcome: Outcome, vector: np.ndarray) -> None:
        row = outcome.task.row
        self.writer.add([_stored(outcome, vector)])
        self.done += 1
        if outcome.task.known is not None:
            self.changed.append(f"{row.patient_id} ({row.image})")

    def _encode(self, ready: Sequence[Outcome]) -> list[np.ndarray | str]:
        """A vector for each, or the reason why there is none. A batch that fails is tried one by one."""
        if not ready:
            return []
        try:
            vectors = np.asarray(self.encoder.encode([o.payload for o in ready]), dtype=np.float32)
        except (CheckpointError, EncoderError):
            raise  # the encoder, not a row, is at fault
        except Exception as error:
            if len(ready) > 1:
                return [v for o in ready for v in self._encode([o])]
            return [" ".join(f"{type(error).__name__} while encoding: {error}".split())]
        if vectors.shape != (len(ready), self.encoder.dim):
            raise EncoderError(
                f"encoder {self.encoder.name!r} gave {vectors.shape} for {len(ready)} rows of "
                f"{self.encoder.dim} dimensions: its dim is wrong"
            )
        bad = np.count_nonzero(~np.isfinite(vectors), axis=1)
        lost = f"of {self.encoder.dim} values of the embedding are not finite: check the volume"
        return [f"{n} {lost}" if n else v for n, v in zip(bad, vectors, strict=True)]


def _stored(outcome: Outcome, vector: np.ndarray) -> dict[str, Any]:
    row = outcome.task.row
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
        "embedding": vector,
    }


def _vectors(writer: EmbeddingWriter, keys: set[Key]) -> dict[Key, np.ndarray]:
    index = read_index(writer.folder).of_patients({key[0] for key in keys})
    X = read_vectors(index, writer.dim)
    return {key: x for key, x in zip(keys_of(index.sorted_table()), X, strict=True) if key in keys}


def _lines(rows: Iterable[ManifestRow], rejected: Iterable[RejectedRow]) -> set[tuple[int, str]]:
    return {(r.number, r.image) for r in rows} | {(r.number, r.image) for r in rejected}


def _check(workers: int | None, batch_size: int | None, shard: tuple[int, int]) -> None:
    if workers is not None and workers < 0:
        raise InputError(f"workers {workers} is negative: give 0 or more")
    if batch_size is not None and batch_size < 1:
        raise InputError(f"batch_size {batch_size} is not positive: give 1 or more")
    part, parts = shard
    if not 1 <= part <= parts:
        raise InputError(f"shard {part}/{parts} does not exist: give i/n with 1 <= i <= n")


def _default_workers() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, _MOST_WORKERS)


def _name(encoder: Encoder) -> str:
    """`baseline`, `flexict-3d-default-cls`: what tells embeddings of one encoder apart."""
    if encoder.recipe.kind == "native":
        return encoder.name
    return "-".join(p for p in (encoder.name, encoder.recipe.name, encoder.pooling) if p)


def _spec(encoder: Encoder, manifest: Manifest) -> dict[str, Any]:
    names = encoder.feature_names
    return {
        "encoder": encoder.name,
        "recipe": encoder.recipe.name,
        "pooling": encoder.pooling,
        **encoder.spec(),
        "licence": encoder.licence,
        "feature_names": None if names is None else list(names),
        "synthetic": manifest.synthetic,
    }


def _warn_of_mixed_regions(manifest: Manifest) -> None:
    without = sum(row.mask is None and row.seed_lps_mm is None for row in manifest.rows)
    if 0 < without < len(manifest.rows):
        warn(
            f"{without} of {len(manifest.rows)} rows have no mask: their vectors describe the whole volume, "
            "those of the others a region; comparing the two is not fair",
            DataWarning,
            stacklevel=3,
        )


def _bar(total: int, name: str, *, shown: bool) -> Any:
    from tqdm import tqdm

    return tqdm(total=total, desc=name, unit="case", file=sys.stderr, disable=not shown, dynamic_ncols=True)
