"""Rows prepared ahead in worker processes.

A worker that dies (memory, a crash in a decoder) takes only its own row with it: the rows that were under way
are tried again one by one, each alone in a process. One that takes too long is killed, and the others that were
under way begin anew.
"""

from __future__ import annotations

import os
import pickle
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias
from warnings import warn

from flexict_core.errors import EncoderError, FlexictError, FlexictWarning
from flexict_core.prepare_row import Outcome, Task, failed, prepare_row

if TYPE_CHECKING:
    from flexict_core.encoders.base import Encoder

# one thread a process; the libraries read these when they load
_THREADS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)


def prepare_all(
    encoders: Sequence[Encoder],
    rows: Iterable[Sequence[Task]],
    *,
    workers: int,
    timeout_s: float | None = None,
) -> Iterator[list[Outcome]]:
    """Outcomes row by row in the order of `rows`, prepared ahead in `workers` processes; 0: in this process.

    The tasks of a row are one for each encoder that needs it. Call it before the encoders load their weights:
    the processes get them as they are now.
    timeout_s: a row that is worked on for longer fails; never in this process, where nothing can end it.
    """
    if workers == 0:
        yield from (prepare_row(encoders, tasks) for tasks in rows)
        return
    try:
        frozen = pickle.dumps(tuple(encoders))
    except Exception as error:
        names = ", ".join(dict.fromkeys(e.name for e in encoders))
        raise EncoderError(
            f"encoder {names!r} cannot be sent to worker processes ({error}): use workers=0"
        ) from error
    pool = _start(frozen, workers)
    if pool is None:
        warn(
            "worker processes cannot start, rows are prepared one by one: in a script, call this under "
            "`if __name__ == '__main__':`",
            FlexictWarning,
            stacklevel=3,
        )
        yield from (prepare_row(encoders, tasks) for tasks in rows)
        return
    yield from _in_pool(pool, frozen, deque(rows), workers=workers, timeout_s=timeout_s)


Ahead: TypeAlias = deque[tuple[Sequence[Task], "Future[list[Outcome]]"]]


def _in_pool(
    pool: ProcessPoolExecutor,
    frozen: bytes,
    waiting: deque[Sequence[Task]],
    *,
    workers: int,
    timeout_s: float | None,
) -> Iterator[list[Outcome]]:
    ahead: Ahead = deque()
    try:
        while waiting or ahead:
            while waiting and len(ahead) < 2 * workers:
                tasks = waiting[0]
                try:
                    ahead.append((tasks, pool.submit(_work, tasks)))
                except BrokenProcessPool:
                    break
                waiting.popleft()
            try:
                # Rows are taken up in order: when all before it are done, the first one is being worked on.
                if ahead and not isinstance(ahead[0][1].exception(timeout_s), BrokenProcessPool):
                    yield ahead.popleft()[1].result()
                    continue
            except TimeoutError:
                tasks, _ = ahead.popleft()
                yield [too_long(task, timeout_s) for task in tasks]
                _stop(pool)
                pool = _restart(frozen, workers)
                ahead = _begun_anew(pool, ahead)
                continue
            _stop(pool)
            yield from _one_by_one(frozen, ahead, timeout_s)
            ahead.clear()
            pool = _restart(frozen, workers)
    finally:
        _stop(pool)


def too_long(task: Task, timeout_s: float | None) -> Outcome:
    """The outcome of a row that was given up."""
    return failed(
        task, f"reading and preparing took more than {timeout_s:g} s: check the file, or raise --timeout"
    )


def _begun_anew(pool: ProcessPoolExecutor, ahead: Ahead) -> Ahead:
    return deque((tasks, f if _is_done(f) else pool.submit(_work, tasks)) for tasks, f in ahead)


def _is_done(future: Future[list[Outcome]]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


def _one_by_one(frozen: bytes, ahead: Ahead, timeout_s: float | None) -> Iterator[list[Outcome]]:
    """Which of the rows under way killed its worker: each is tried alone, and only the killer fails."""
    pool = _restart(frozen, 1)
    try:
        for tasks, future in ahead:
            if _is_done(future):
                yield future.result()
                continue
            try:
                yield pool.submit(_work, tasks).result(timeout_s)
                continue
            except BrokenProcessPool:
                reason = "the worker process died while preparing this row: out of memory or a crash"
                yield [failed(task, reason) for task in tasks]
            except TimeoutError:
                yield [too_long(task, timeout_s) for task in tasks]
            _stop(pool)
            pool = _restart(frozen, 1)
    finally:
        _stop(pool)


def _start(frozen: bytes, workers: int) -> ProcessPoolExecutor | None:
    from multiprocessing import get_context

    # spawn: a forked child would inherit the locks of torch's and pyarrow's threads
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _initialise, (frozen,))
    try:
        pool.submit(_ready).result()
    except BrokenProcessPool:
        _stop(pool)
        return None
    except BaseException:
        _stop(pool)
        raise
    return pool


def _restart(frozen: bytes, workers: int) -> ProcessPoolExecutor:
    pool = _start(frozen, workers)
    if pool is None:
        raise FlexictError(
            "worker processes no longer start: free memory and run again, stored rows are kept"
        )
    return pool


def _stop(pool: ProcessPoolExecutor) -> None:
    processes = list((getattr(pool, "_processes", None) or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        with suppress(Exception):
            process.terminate()
    for process in processes:
        with suppress(Exception):
            process.join(2)  # none is left behind, and what it used is on this process's account
            process.kill()  # deep in a decoder it may not hear the first


_encoders: tuple[Encoder, ...] = ()  # of this worker process


def _initialise(frozen: bytes) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the main process's to handle
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    global _encoders
    _encoders = pickle.loads(frozen)  # noqa: S301 — made by the parent process a moment ago


def _end_with_parent() -> None:
    from multiprocessing import parent_process

    parent = parent_process()
    if parent is not None:
        parent.join()  # a killed parent leaves its workers waiting for ever
        os._exit(1)


def _ready() -> None:
    """Answers once the worker has its encoders."""


def _work(tasks: Sequence[Task]) -> list[Outcome]:
    return prepare_row(_encoders, tasks)
