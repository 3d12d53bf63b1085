"""What sessions share: bounded in number and weight, made once however many ask."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from app.held import Held, weight_of


def test_the_last_used_stay_within_both_bounds() -> None:
    held: Held[bytes] = Held(most=3, most_mb=4)
    for name in "abc":
        held.put(name, bytes(1 << 20))
    assert held["a"]  # used: now the newest
    held.put("d", bytes(1 << 20))
    assert [n for n in "abcd" if n in held] == ["a", "c", "d"]
    held.put("e", bytes(3 << 20))  # 3 of at most 4 MB
    assert [n for n in "acde" if n in held] == ["d", "e"]
    assert held.mb == pytest.approx(4)
    held.put("f", bytes(9 << 20))  # heavier than all may be: alone
    assert len(held) == 1
    assert "f" in held
    held.pop("f")
    assert held.mb == 0


def test_what_many_ask_for_is_made_once_and_a_failure_is_not_held() -> None:
    held: Held[int] = Held(most=4, most_mb=1)
    together, made, answers = threading.Barrier(8), [], []

    def make() -> int:
        made.append(1)
        threading.Event().wait(0.05)
        return 7

    def ask() -> None:
        together.wait(10)
        answers.append(held.get("question", make))

    readers = [threading.Thread(target=ask) for _ in range(8)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(10)
    assert (made, answers) == ([1], [7] * 8)
    with pytest.raises(ZeroDivisionError):
        held.get("other", lambda: 1 // 0)
    assert "other" not in held
    assert held.get("other", lambda: 3) == 3


def test_a_weight_is_that_of_the_arrays_and_tables_inside() -> None:
    @dataclass(frozen=True)
    class Inner:
        vectors: np.ndarray

    @dataclass(frozen=True)
    class Outer:
        parts: tuple[Inner, ...]
        table: pd.DataFrame
        same: Inner

    inner = Inner(np.zeros((100, 50), np.float32))
    outer = Outer((inner,), pd.DataFrame({"a": range(10), "b": range(10)}), inner)
    assert weight_of(outer) == 100 * 50 * 4 + 2 * 10 * 64  # what is shared counts once
