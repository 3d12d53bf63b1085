"""A Ray cluster: CPU tasks read and prepare, actors hold the encoder, the vectors come back to this process.

Only this process writes to the store, so the machines need the images and the weights under the same paths, and
not the store. Ray sends no usage statistics and opens no dashboard for a cluster that is started here.

Ray itself retries nothing: whatever is lost with a process or a machine is asked for again by the next pass over
what is missing, and a row that is lost three times goes to quarantine. So no row is lost, none comes twice.
"""

from __future__ import annotations

import os
import pickle
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from flexict_core.engines.encode import encode_outcomes, preferred_batch
from flexict_core.engines.ray_cluster import connected, gpus_of, other_versions, versions
from flexict_core.errors import CheckpointError, EncoderError, FlexictError
from flexict_core.prepare_row import Outcome, Task, failed, prepare_row

if TYPE_CHECKING:
    from flexict_core.encoders.base import Encoder

_PASSES = 3  # how often a row may be lost with its worker
_WAVE = 10_000  # rows that Ray plans at once
_FEW = 16  # rows that may well all be deadly
_GPU_BATCH = 8
_LOST = f"the worker died {_PASSES} times while this row was in it: out of memory, a crash, or longer than --timeout"


@dataclass(frozen=True)
class Ray:
    """How to use a cluster. address: None starts Ray on this machine; "auto" or "HOST:PORT" joins a cluster.
    gpus: encoders on GPUs, one each; None: where the cluster has any."""

    address: str | None = None
    gpus: bool | None = None

    def embed(
        self,
        encoders: Sequence[Encoder],
        rows: Sequence[Sequence[Task]],
        *,
        workers: int | None,
        batch_size: int | None,
        timeout_s: float | None,
    ) -> Iterator[list[Outcome]]:
        """Finished outcomes of every row, in any order.

        workers: rows read at a time over all machines; None: as many as there are cores. InputError where Ray is not
        installed or the cluster cannot be joined, FlexictError where not one row comes back.
        """
        with connected(self.address, workers) as ray:
            gpus = gpus_of(ray, self.gpus)
            size = batch_size or (_GPU_BATCH if gpus else max(preferred_batch(e, None) for e in encoders))
            plan = _Plan(_frozen(encoders), workers=workers, batch_size=size, gpus=gpus, timeout_s=timeout_s)
            for wave in _waves(rows):
                yield from _through(ray, plan, wave)


@dataclass(frozen=True)
class _Plan:
    frozen: bytes
    workers: int | None
    batch_size: int
    gpus: int
    timeout_s: float | None


def _waves(rows: Sequence[Sequence[Task]]) -> Iterator[dict[int, Sequence[Task]]]:
    for start in range(0, len(rows), _WAVE):
        yield dict(enumerate(rows[start : start + _WAVE], start))


def _through(ray: Any, plan: _Plan, missing: dict[int, Sequence[Task]]) -> Iterator[list[Outcome]]:
    for _ in range(_PASSES):
        before, trouble = len(missing), ""
        try:
            for number, outcomes in _one_pass(ray, plan, missing):
                if missing.pop(number, None) is not None:
                    yield outcomes
        except ray.exceptions.RayError as error:  # what a pass did not bring is asked for again
            trouble = f" ({type(error).__name__})"
        if not missing:
            return
        if len(missing) == before and (trouble or before > _FEW):  # not the rows' fault
            raise FlexictError(
                f"no row came back from the Ray workers{trouble}: look at their memory and at Ray's logs, then run "
                "again, stored rows are kept"
            )
    for tasks in missing.values():
        yield [failed(task, _LOST) for task in tasks]


def _one_pass(
    ray: Any, plan: _Plan, missing: dict[int, Sequence[Task]]
) -> Iterator[tuple[int, list[Outcome]]]:
    encoded = _pipeline(ray, plan, missing)
    for row in encoded.iter_rows():
        loaded = pickle.loads(row["load"])  # noqa: S301 — made by our own actor a moment ago
        if isinstance(loaded, FlexictError):
            raise loaded
        yield int(row["number"]), loaded


def _pipeline(ray: Any, plan: _Plan, missing: dict[int, Sequence[Task]]) -> Any:
    items = [{"number": number, "load": pickle.dumps(tasks)} for number, tasks in missing.items()]
    with warnings.catch_warnings():
        # The only way to say these; goes with Ray 2.64, which the extra excludes.
        warnings.simplefilter("ignore")
        prepared = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
            _prepare,
            batch_size=1,
            batch_format="numpy",
            fn_args=(ray.put(plan.frozen), plan.timeout_s, versions()),
            num_cpus=1,
            concurrency=plan.workers,
            ray_remote_args_fn=_once,
        )
        return prepared.map_batches(
            _Encode,
            batch_size=plan.batch_size,
            batch_format="numpy",
            fn_constructor_args=(plan.frozen, bool(plan.gpus), versions()),
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=max(1, plan.gpus)),
            ray_remote_args_fn=_once_an_actor,
            **({"num_gpus": 1} if plan.gpus else {"num_cpus": 0.5}),
        )


def _once() -> dict[str, Any]:
    return {"max_retries": 0}


def _once_an_actor() -> dict[str, Any]:
    return {"max_restarts": -1, "max_task_retries": 0}


def _prepare(
    batch: dict[str, Any], frozen: Any, timeout_s: float | None, theirs: dict[str, str]
) -> dict[str, Any]:
    """In a Ray task: one row read and prepared."""
    if (fault := other_versions(theirs)) is not None:
        return {"number": batch["number"], "load": _cells([pickle.dumps(fault) for _ in batch["load"]])}
    encoders = _thawed(frozen)
    with _no_longer_than(timeout_s):
        loads = [pickle.dumps(prepare_row(encoders, pickle.loads(load))) for load in batch["load"]]  # noqa: S301
    return {"number": batch["number"], "load": _cells(loads)}


class _Encode:
    """In a Ray actor: the encoders, their weights loaded once."""

    def __init__(self, frozen: bytes, gpu: bool, theirs: dict[str, str]) -> None:
        self.fault = other_versions(theirs)
        self.encoders = () if self.fault else _thawed(frozen)
        if gpu and not self.fault:
            from flexict_core.encoders.inference import resolve_device

            for encoder in self.encoders:
                if hasattr(encoder, "device"):
                    encoder.device = resolve_device("cuda")

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        loads = [pickle.loads(load) for load in batch["load"]]  # noqa: S301
        faults = [load for load in loads if isinstance(load, FlexictError)] + [self.fault] * bool(self.fault)
        done = [faults[0] for _ in loads] if faults else self._encoded(loads)
        return {"number": batch["number"], "load": _cells([pickle.dumps(d) for d in done])}

    def _encoded(self, rows: list[list[Outcome]]) -> list[Any]:
        try:
            done: list[Any] = [[] for _ in rows]
            for number, encoder in enumerate(self.encoders):
                mine = [(i, o) for i, row in enumerate(rows) for o in row if o.task.encoder == number]
                finished = encode_outcomes(encoder, [o for _, o in mine])
                for (i, _), outcome in zip(mine, finished, strict=True):
                    done[i].append(outcome)
        except (
            CheckpointError,
            EncoderError,
        ) as error:  # the encoder's fault: the run's end, told to the driver
            return [error for _ in rows]
        return done


def _cells(loads: Sequence[bytes]) -> np.ndarray:
    cells = np.empty(len(loads), object)
    cells[:] = loads
    return cells


def _frozen(encoders: Sequence[Encoder]) -> bytes:
    try:
        return pickle.dumps(tuple(encoders))
    except Exception as error:
        names = ", ".join(dict.fromkeys(e.name for e in encoders))
        raise EncoderError(
            f"encoder {names!r} cannot be sent to Ray workers ({error}): use --engine local"
        ) from error


_kept: tuple[bytes, tuple[Encoder, ...]] | None = None  # of this worker process


def _thawed(frozen: Any) -> tuple[Encoder, ...]:
    global _kept
    if not isinstance(frozen, bytes):
        import ray

        frozen = ray.get(frozen)
    if _kept is None or _kept[0] != frozen:
        _kept = (frozen, pickle.loads(frozen))  # noqa: S301 — made by the run's own process
    return _kept[1]


@contextmanager
def _no_longer_than(timeout_s: float | None) -> Iterator[None]:
    """End this worker process where the work in it hangs: nothing else stops a decoder."""
    if timeout_s is None:
        yield
        return
    timer = threading.Timer(timeout_s, os._exit, (1,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
