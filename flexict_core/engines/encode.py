"""Prepared rows through the encoder, wherever it lives: in the run's process or in a Ray actor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from flexict_core.errors import CheckpointError, EncoderError
from flexict_core.prepare_row import Outcome

if TYPE_CHECKING:
    from flexict_core.encoders.base import Encoder

BATCH = 4  # rows an encoder takes at once unless it says otherwise


def encode_outcomes(encoder: Encoder, outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The same outcomes in their order, those that were `ready` now `embedded` (payload: [D] float32) or failed.

    Raises CheckpointError or EncoderError where the encoder itself is at fault.
    """
    ready = [o for o in outcomes if o.kind == "ready"]
    vectors = iter(_encode(encoder, ready))
    done = []
    for outcome in outcomes:
        if outcome.kind == "ready":
            vector = next(vectors)
            if isinstance(vector, str):
                outcome = replace(
                    outcome, kind="failed", payload=None, reason=vector, file=outcome.task.row.image
                )
            else:
                outcome = replace(outcome, kind="embedded", payload=vector)
        done.append(outcome)
    return done


def preferred_batch(encoder: Encoder, batch_size: int | None) -> int:
    """Rows to give at once: what was asked for, or what the encoder prefers."""
    return batch_size or int(getattr(encoder, "batch_size", BATCH))


def _encode(encoder: Encoder, ready: Sequence[Outcome]) -> list[np.ndarray | str]:
    """A vector for each, or the reason why there is none. A batch that fails is tried one by one."""
    if not ready:
        return []
    try:
        vectors = np.asarray(encoder.encode([o.payload for o in ready]), dtype=np.float32)
    except (CheckpointError, EncoderError):
        raise  # the encoder, not a row, is at fault
    except Exception as error:
        if len(ready) > 1:
            return [v for o in ready for v in _encode(encoder, [o])]
        return [" ".join(f"{type(error).__name__} while encoding: {error}".split())]
    if vectors.shape != (len(ready), encoder.dim):
        raise EncoderError(
            f"encoder {encoder.name!r} gave {vectors.shape} for {len(ready)} rows of "
            f"{encoder.dim} dimensions: its dim is wrong"
        )
    bad = np.count_nonzero(~np.isfinite(vectors), axis=1)
    lost = f"of {encoder.dim} values of the embedding are not finite: check the volume"
    return [f"{n} {lost}" if n else v for n, v in zip(bad, vectors, strict=True)]
