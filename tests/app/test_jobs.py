"""Long work of the pages: done once, shared, found again, stopped when nobody waits for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from app.jobs import Cancelled, Shelf


def test_two_sessions_share_one_piece_of_work_and_its_answer() -> None:
    shelf, go, calls = Shelf(), threading.Event(), []

    def work(say: Callable[[str], None]) -> int:
        calls.append(1)
        say("half way")
        go.wait(10)
        return 42

    first = shelf.join("question", "Work", work, session="A")
    second = shelf.join("question", "Work", work, session="B")
    assert first is second
    first.leave("A")  # B still waits
    go.set()
    assert first.done.wait(10)
    assert first.error is None
    assert shelf.answer("question") == 42
    assert calls == [1]
    assert not shelf.running("question")


def test_work_that_says_its_steps_stops_at_the_next_one() -> None:
    shelf, started, go, reached = Shelf(), threading.Event(), threading.Event(), []

    def work(say: Callable[[str], None]) -> None:
        started.set()
        go.wait(10)
        say("next")
        reached.append(1)

    job = shelf.join("question", "Work", work, session="A")
    assert started.wait(10)
    job.leave("A")
    go.set()
    assert job.done.wait(10)
    assert isinstance(job.error, Cancelled)
    assert reached == []
    assert not shelf.has("question")
    again = shelf.join("question", "Work", lambda say: 7, session="A")
    assert again.done.wait(10)
    assert shelf.answer("question") == 7


def test_silent_work_is_stopped_too() -> None:
    shelf, started = Shelf(), threading.Event()

    def work(say: Callable[[str], None]) -> None:
        started.set()
        end = time.monotonic() + 60
        while time.monotonic() < end:
            sum(range(1000))

    job = shelf.join("question", "Work", work, session="A")
    assert started.wait(10)
    job.leave("A")
    assert job.done.wait(10)
    assert isinstance(job.error, Cancelled)


def test_what_the_work_raises_is_kept_for_who_waits_and_nobody_else() -> None:
    shelf = Shelf()

    def work(say: Callable[[str], None]) -> None:
        raise ZeroDivisionError("no")

    job = shelf.join("question", "Work", work, session="A")
    assert job.done.wait(10)
    assert isinstance(job.error, ZeroDivisionError)
    assert not shelf.has("question")
    assert not shelf.running("question")


def test_the_shelf_keeps_the_newest_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    from app import jobs

    monkeypatch.setattr(jobs, "_MOST_ANSWERS", 3)
    shelf: Any = Shelf()
    for question in range(5):
        shelf.keep(question, str(question))
    assert [q for q in range(5) if shelf.has(q)] == [2, 3, 4]


def test_work_cancelled_in_the_queue_takes_nobodys_place(monkeypatch: pytest.MonkeyPatch) -> None:
    from app import jobs

    monkeypatch.setattr(jobs, "_AT_ONCE", 1)
    shelf, started, go, ran = Shelf(), threading.Event(), threading.Event(), []

    def long(say: Callable[[str], None]) -> int:
        started.set()
        go.wait(20)
        return 1

    first = shelf.join("first", "Work", long, session="A")
    assert started.wait(10)
    queued = [shelf.join(n, "Work", lambda say: ran.append(1), session="A") for n in range(3)]
    last = shelf.join("last", "Work", lambda say: 3, session="B")
    for job in queued:
        job.leave("A")
    for job in queued:  # they end while the first still has the only place
        assert job.done.wait(10)
        assert isinstance(job.error, Cancelled)
    go.set()
    assert first.done.wait(10)
    assert last.done.wait(10)
    assert (first.answer, last.answer, ran) == (1, 3, [])


def test_cancelling_at_the_very_end_hits_nothing_after_the_work() -> None:
    shelf = Shelf()
    for n in range(60):  # each is cancelled somewhere around its end
        job = shelf.join(n, "Work", lambda say: time.sleep(0.001), session="A")
        job.leave("A")
        assert job.done.wait(10)
    again = [shelf.join(("again", n), "Work", lambda say: 7, session="A") for n in range(2)]
    assert all(job.done.wait(10) and job.answer == 7 for job in again)  # no place was lost


def test_an_answer_of_one_session_never_lies_on_the_shelf() -> None:
    shelf = Shelf()
    job = shelf.join("upload", "Work", lambda say: 7, session="A", keep=False)
    assert job.done.wait(10)
    assert job.answer == 7
    assert not shelf.has("upload")
