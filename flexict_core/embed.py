"""A manifest becomes embeddings: batches, workers, resume, quarantine, progress."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any
from warnings import warn

from flexict_core.embed_run import EmbedReport, EmbedRun
from flexict_core.engines.local import embed_locally
from flexict_core.errors import DataWarning, InputError
from flexict_core.manifest import Manifest, ManifestRow, RejectedRow, read_manifest
from flexict_core.prepare_row import Outcome, Task, unchanged
from flexict_core.store import EmbeddingStore

if TYPE_CHECKING:
    from flexict_core.encoders.base import Encoder
    from flexict_core.engines.ray_data import Ray

__all__ = ["EmbedReport", "embed_manifest", "embed_together"]

TIMEOUT_S = 600.0  # for reading and preparing one row
_MOST_WORKERS = 8


def embed_manifest(
    manifest: Manifest | str | Path,
    store: EmbeddingStore | str | Path,
    *,
    encoder: Encoder,
    workers: int | None = None,
    batch_size: int | None = None,
    shard: tuple[int, int] = (1, 1),
    timeout_s: float | None = TIMEOUT_S,
    ray: Ray | None = None,
    progress: bool = True,
) -> EmbedReport:
    """Embed every row of a manifest that the store does not hold yet.

    workers: processes that load and prepare; None for one a core (at most 8), 0 to do it in this process. The
    encoder runs here, `batch_size` rows at a time (None: as many as it prefers).
    shard: (i, n) takes the i-th of n interleaved parts of the rows, for several machines on one store.
    timeout_s: a row that takes longer to read and prepare goes to quarantine; None, and workers=0: waits for ever.
    ray: spread the work over a Ray cluster instead (`engines.ray_data.Ray`); the rows are the same.
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
        timeout_s=timeout_s,
        ray=ray,
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
    timeout_s: float | None = TIMEOUT_S,
    ray: Ray | None = None,
    progress: bool = True,
) -> list[EmbedReport]:
    """`embed_manifest` for several encoders in one pass: each file is read once, each encoder has its embedding.

    Meant for the recipes or scales of one network, which then lies in memory once. Embeddings, their names and
    every stored vector are those of single runs; one report an encoder, in their order. InputError where two
    would write the same embedding.
    """
    import pandas  # noqa: F401 — Arrow loads it on first use; Ctrl-C must not fall into that while rows are held
    import pyarrow.parquet  # noqa: F401

    start = time.monotonic()
    manifest = manifest if isinstance(manifest, Manifest) else read_manifest(manifest)
    store = store if isinstance(store, EmbeddingStore) else EmbeddingStore.create(store)
    _check(workers, batch_size, shard, timeout_s)
    part, parts = shard
    rows, rejected = manifest.rows[part - 1 :: parts], manifest.rejected[part - 1 :: parts]
    if any(e.recipe.kind in ("native", "slices") for e in encoders):  # which take a mask where there is one
        _warn_of_mixed_regions(manifest)
    with ExitStack() as stack:
        runs = _open_runs(encoders, store, manifest, stack=stack)
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
                engine = _engine(encoders, todo, workers, batch_size=batch_size, timeout_s=timeout_s, ray=ray)
                for outcomes in engine:
                    for outcome in outcomes:
                        runs[outcome.task.encoder].take([outcome])
                    bar.update(len(outcomes))
        mine = _lines(rows, rejected)
        everyone = _lines(manifest.rows, manifest.rejected)
        for run in runs:
            run.refresh_moved()
            run.writer.settle(root=str(manifest.root), manifest=manifest.name, keep=everyone - mine)
    seconds = time.monotonic() - start
    return [run.report(seconds) for run in runs]


def _engine(
    encoders: Sequence[Encoder],
    todo: Sequence[Sequence[Task]],
    workers: int | None,
    *,
    batch_size: int | None,
    timeout_s: float | None,
    ray: Ray | None,
) -> Iterator[list[Outcome]]:
    if ray is not None:
        return ray.embed(encoders, todo, workers=workers, batch_size=batch_size, timeout_s=timeout_s)
    workers = _default_workers() if workers is None else workers
    return embed_locally(encoders, todo, workers=workers, batch_size=batch_size, timeout_s=timeout_s)


def _open_runs(
    encoders: Sequence[Encoder], store: EmbeddingStore, manifest: Manifest, *, stack: ExitStack
) -> list[EmbedRun]:
    runs: list[EmbedRun] = []
    for encoder in encoders:
        writer = store.writer(_spec(encoder, manifest), dim=encoder.dim, name=_name(encoder))
        if any(run.writer.embedding_id == writer.embedding_id for run in runs):
            raise InputError(f"embedding {writer.embedding_id!r} is asked for twice: give each recipe once")
        runs.append(EmbedRun(stack.enter_context(writer), manifest))
    return runs


def _lines(rows: Iterable[ManifestRow], rejected: Iterable[RejectedRow]) -> set[tuple[int, str]]:
    return {(r.number, r.image) for r in rows} | {(r.number, r.image) for r in rejected}


def _check(
    workers: int | None, batch_size: int | None, shard: tuple[int, int], timeout_s: float | None
) -> None:
    if timeout_s is not None and not timeout_s > 0:
        raise InputError(f"timeout of {timeout_s} s is not positive: give seconds, or leave it out")
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
