"""Long work behind the pages: done in a thread of the server, shown with its progress, cancelled at a click.

An answer stays on a shelf that all sessions share, so that a reload, another page or another reader finds it; a reload
during the work finds the work. Work is stopped once nobody waits for it any more. It is stopped where it says what it
does next, and, for work that is silent, at the next step of the interpreter.
"""

from __future__ import annotations

import ctypes
import sys
import threading
import time
import weakref
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, TypeVar

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from app.held import Held

T = TypeVar("T")
Say = Callable[[str], None]
Work = Callable[[Say], T]

_MOST_ANSWERS, _MOST_ANSWERS_MB = 48, 256  # patch tokens of a CT are 28 MB with the published network
_AT_ONCE = 2
_POLL_S = 0.15
_SOON_S = 0.6  # work that ends sooner shows no progress


class Cancelled(BaseException):
    """Raised inside the work. No Exception, so that no library takes it for a fault to be survived."""


class StoppedError(Exception):
    """The work that this page waits for was cancelled: there is no answer to show."""


@dataclass(eq=False)
class Job:
    """One piece of work: what it does now, and how it ended."""

    title: str
    step: str = "waiting for other work to end"
    started: float = field(default_factory=time.monotonic)
    answer: Any = None
    error: BaseException | None = None
    done: threading.Event = field(default_factory=threading.Event)
    stop: threading.Event = field(default_factory=threading.Event)
    waiting: set[str] = field(default_factory=set)  # sessions
    _at_work: int | None = None  # identifier of the thread while the work itself runs
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def do(self, work: Work[Any]) -> None:
        """Run the work in this thread; only in here may Cancelled be raised from outside."""
        ident = threading.get_ident()
        with self._turn:
            self._at_work = ident
        try:
            self.answer = work(self.say)
        finally:
            with self._turn:
                self._at_work = None
                # one that was sent but not raised yet would hit what comes after the work
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), None)

    def say(self, step: str) -> None:
        """What the work does next; the place where it is stopped."""
        if self.stop.is_set():
            raise Cancelled
        self.step = step

    def leave(self, session: str) -> None:
        """This session waits no more; without any other, the work is stopped."""
        self.waiting.discard(session)
        if self.waiting or self.done.is_set() or self.stop.is_set():
            return
        self.stop.set()
        self.step = "stopping"
        threading.Thread(target=self._interrupt, name="flexict cancel", daemon=True).start()

    def _interrupt(self) -> None:
        """Raise Cancelled in silent work too; never inside an import, which would leave half a module behind."""
        while not self.done.wait(_POLL_S):
            with self._turn:
                ident = self._at_work
                frame = sys._current_frames().get(ident) if ident is not None else None
                if ident is None or frame is None or _is_importing(frame):
                    continue
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(Cancelled))
                return


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if "importlib" in frame.f_code.co_filename:
            return True
        frame = frame.f_back
    return False


class Shelf:
    """Answers and running jobs by question, shared by the sessions of a server."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._room = threading.BoundedSemaphore(_AT_ONCE)
        self._answers = Held[Any](most=_MOST_ANSWERS, most_mb=_MOST_ANSWERS_MB)
        self._jobs: dict[Hashable, Job] = {}

    def has(self, question: Hashable) -> bool:
        """Whether the answer is known."""
        return question in self._answers

    def running(self, question: Hashable) -> bool:
        """Whether it is being worked on."""
        return question in self._jobs

    def answer(self, question: Hashable) -> Any:
        """A known answer."""
        return self._answers[question]

    def keep(self, question: Hashable, answer: Any) -> None:
        """Put an answer on the shelf; what nobody asked for longest falls off."""
        self._answers.put(question, answer)

    def join(
        self, question: Hashable, title: str, work: Work[Any], *, session: str, keep: bool = True
    ) -> Job:
        """The job of this question, started if need be; the session waits for it.

        keep: whether its answer goes on the shelf, or only to those who wait for it.
        """
        with self._lock:
            job = self._jobs.get(question)
            if job is None or job.stop.is_set():
                job = self._jobs[question] = Job(title)
                threading.Thread(
                    target=self._do, args=(question, job, work, keep), name=f"flexict {title}", daemon=True
                ).start()
            job.waiting.add(session)
            return job

    def _do(self, question: Hashable, job: Job, work: Work[Any], keep: bool) -> None:
        try:
            # Asked again and again: a job that is cancelled in the queue must take nobody's place.
            while not self._room.acquire(timeout=_POLL_S):
                job.say("waiting for other work to end")
            try:
                job.say("starting")
                job.do(work)
            finally:
                self._room.release()
            if keep:
                self.keep(question, job.answer)
        except BaseException as error:  # it is raised again where the page waits
            job.error = error
        finally:
            with self._lock:
                if self._jobs.get(question) is job:
                    del self._jobs[question]
            job.done.set()


@st.cache_resource(show_spinner=False)
def shelf() -> Shelf:
    """The server's one shelf."""
    return Shelf()


def has(question: Hashable) -> bool:
    """Whether `answer` would answer at once."""
    return shelf().has(question)


def answer(
    question: Hashable, title: str, work: Work[T], *, cancelled: Callable[[], None], keep: bool = True
) -> T:
    """The answer to a question: from the shelf, or by `work`, which gets a function to say its steps with.

    While the work goes on the page shows title, step, time and a Cancel button, which calls `cancelled` (to take the
    question back, or the next run would ask it again). What the work raises is raised here;
    StoppedError once it was cancelled. keep=False: an answer of this session alone never lies on the shelf.
    """
    held = shelf()
    with suppress(KeyError):
        return held.answer(question)
    session = _session()
    job = held.join(question, title, work, session=session, keep=keep)
    known = weakref.ref(job)  # Streamlit keeps the function of a button for as long as the session lasts

    def give_up() -> None:
        if (waited_for := known()) is not None:
            waited_for.leave(session)
        cancelled()

    if not job.done.wait(_SOON_S):
        _wait(job, give_up)
    job.waiting.discard(session)
    if job.error is not None:
        if isinstance(job.error, Cancelled):
            cancelled()
            raise StoppedError(job.title)
        raise job.error
    return job.answer


def _wait(job: Job, give_up: Callable[[], None]) -> None:
    """Show the work until it ends. A click on Cancel ends this run of the page where it next draws."""
    place = st.empty()
    with place.container(border=True, key="progress"):
        said = st.empty()
        st.button("Cancel", icon=":material/cancel:", key="cancel", on_click=give_up)
        st.caption("You may leave this page or reload it: the work goes on, and is found here again.")
    while not job.done.wait(_POLL_S):
        seconds = time.monotonic() - job.started
        said.status(f"{job.title}: {job.step} … {seconds:.0f} s", state="running", expanded=False)
    place.empty()


def _session() -> str:
    context = get_script_run_ctx()
    return "" if context is None else context.session_id
