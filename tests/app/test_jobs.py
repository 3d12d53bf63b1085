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
