"""This machine: worker processes read and prepare, the encoder runs in this process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from flexict_core.engines.encode import encode_outcomes, preferred_batch
from flexict_core.engines.processes import prepare_all
from flexict_core.prepare_row import Outcome, Task

if TYPE_CHECKING:
    from flexict_core.encoders.base import Encoder

_MOST_WAITING = 64  # rows that do not wait for the encoder ride along with a batch, but not for ever


def embed_locally(
    encoders: Sequence[Encoder],
    rows: Iterable[Sequence[Task]],
    *,
    workers: int,
    batch_size: int | None,
    timeout_s: float | None,
) -> Iterator[list[Outcome]]:
    """Finished outcomes, some of one encoder at a time."""
    sizes = [preferred_batch(encoder, batch_size) for encoder in encoders]
    batches: list[list[Outcome]] = [[] for _ in encoders]
    for outcomes in prepare_all(encoders, rows, workers=workers, timeout_s=timeout_s):
        for outcome in outcomes:
            number = outcome.task.encoder
            batch = batches[number]
            batch.append(outcome)
            if sum(o.kind == "ready" for o in batch) >= sizes[number] or len(batch) >= _MOST_WAITING:
                batches[number] = []
                yield encode_outcomes(encoders[number], batch)
    for encoder, batch in zip(encoders, batches, strict=True):
        if batch:
            yield encode_outcomes(encoder, batch)
