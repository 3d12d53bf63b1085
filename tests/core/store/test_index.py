"""Which rows count and in what order: the quick way, of parts that follow on one another, beside plain Python."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexict_core.store.format import KEY
from flexict_core.store.index import Index, _by_code, _one_after_the_other, _order_of_parts

WORDS = st.sampled_from(["", "P1", "P10", "P2", "é", "z", "\U0001f9e0", "\uffff"])
KEYS = st.tuples(WORDS, WORDS, WORDS)


def part(keys: list[tuple[str, ...]], generations: list[int] | None = None) -> pa.Table:
    columns: dict[str, Any] = {
        name: pa.array([k[i] for k in keys], pa.string()) for i, name in enumerate(KEY)
    }
    return pa.table({**columns, "generation": pa.array(generations or [0] * len(keys), pa.int32())})


def placed(tables: list[pa.Table], live: Any, place: Any) -> list[tuple[str, ...]]:
    index = Index(tuple(map(str, tables)), tuple(tables), live, place)  # type: ignore[arg-type]
    rows = index.sorted_table().select(list(KEY)).to_pydict()
    return list(zip(*rows.values(), strict=True))


@settings(deadline=None, max_examples=60)
@given(st.lists(KEYS, unique=True, max_size=30), st.lists(st.integers(0, 30), max_size=4), st.randoms())
def test_parts_that_follow_on_one_another_are_taken_as_they_lie(
    keys: list[tuple[str, ...]], cuts: list[int], pick: Any
) -> None:
    keys.sort(key=lambda k: tuple(word.encode() for word in k))
    bounds = [0, *sorted(min(c, len(keys)) for c in cuts), len(keys)]
    tables = [part(keys[a:b]) for a, b in pairwise(bounds)]
    pick.shuffle(tables)
    order = _order_of_parts(tables)
    assert order is not None
    quick, slow = _one_after_the_other(tables, order), _by_code(tables)
    for one, other in zip([*quick[0], *quick[1]], [*slow[0], *slow[1]], strict=True):
        np.testing.assert_array_equal(one, other)
    assert placed(tables, *quick) == keys


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(st.tuples(KEYS, st.integers(0, 2)), max_size=8), min_size=1, max_size=4))
def test_whatever_lies_there_the_newest_of_each_key_counts(
    parts: list[list[tuple[tuple[str, ...], int]]],
) -> None:
    tables = [part([k for k, _ in rows], [g for _, g in rows]) for rows in parts]
    newest: dict[tuple[str, ...], tuple[int, int, int]] = {}
    for number, rows in enumerate(parts):
        for position, (key, generation) in enumerate(rows):
            newest[key] = max(newest.get(key, (-1, 0, 0)), (generation, number, position))
    order = _order_of_parts(tables)
    live, place = _by_code(tables) if order is None else _one_after_the_other(tables, order)
    counted = [{p for _, n, p in newest.values() if n == number} for number in range(len(parts))]
    assert [set(positions.tolist()) for positions in live] == counted
    assert placed(tables, live, place) == sorted(newest, key=lambda k: tuple(w.encode() for w in k))


@pytest.mark.parametrize(
    "parts",
    [
        [[("A", "", ""), ("A", "", "")]],
        [[("B", "", ""), ("A", "", "")]],
        [[("A", "", ""), ("C", "", "")], [("B", "", "")]],
        [[("A", "", ""), ("B", "", "")], [("B", "", ""), ("C", "", "")]],
    ],
)
def test_a_key_given_twice_or_out_of_order_is_noticed(parts: list[list[tuple[str, ...]]]) -> None:
    assert _order_of_parts([part(keys) for keys in parts]) is None
