"""Which rows of an embedding's parts count, and in what order: by whole columns, without a Python object a row."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from flexict_core.store.format import KEY, damaged_part, open_part, read_parts

if TYPE_CHECKING:
    import pyarrow as pa


_MOST_CODES = 2**62  # that fit into an int64


@dataclass(frozen=True)
class Index:
    """The parts of one moment and their rows that count.

    paths: P parts. tables: of each part the columns asked for, all its rows. live: of each part the positions
    that count, ascending. place: for each of these, in the same order, where its row comes among all rows sorted
    by key.
    """

    paths: tuple[Path, ...]
    tables: tuple[pa.Table, ...]
    live: tuple[np.ndarray, ...]
    place: tuple[np.ndarray, ...]

    @property
    def count(self) -> int:
        """Rows that count."""
        return sum(map(len, self.live))

    def sorted_table(self) -> pa.Table:
        """The columns asked for, of the rows that count, sorted by key."""
        import pyarrow as pa

        parts = list(zip(self.tables, self.live, self.place, strict=True))
        parts.sort(key=lambda part: part[2][0] if len(part[2]) else -1)
        held = pa.concat_tables(t if len(live) == t.num_rows else t.take(live) for t, live, _ in parts)
        place = np.concatenate([place for _, _, place in parts])
        sorted_already = bool((np.diff(place) > 0).all())
        return held if sorted_already else held.take(np.argsort(place))

    def of_patients(self, patients: Collection[str]) -> Index:
        """This index with the rows of some patients only."""
        import pyarrow as pa
        import pyarrow.compute as pc

        wanted = pa.array(sorted(patients), pa.string())
        chosen = [
            np.asarray(pc.is_in(t["patient_id"].take(pa.array(live)), value_set=wanted), dtype=bool)
            for t, live in zip(self.tables, self.live, strict=True)
        ]
        live = tuple(rows[keep] for rows, keep in zip(self.live, chosen, strict=True))
        place = [p[keep] for p, keep in zip(self.place, chosen, strict=True)]
        everything = np.concatenate([np.empty(0, np.int64), *place])
        rank = np.searchsorted(np.sort(everything), everything)
        ends = np.cumsum([len(p) for p in place])[:-1]
        return Index(self.paths, self.tables, live, tuple(np.split(rank, ends)))


def read_index(folder: Path, columns: Sequence[str] = ()) -> Index:
    """The index of an embedding, with some columns beside key and generation."""
    parts = read_parts(folder, list(dict.fromkeys([*KEY, "generation", *columns])))
    paths, tables = tuple(path for path, _ in parts), tuple(table for _, table in parts)
    order = _order_of_parts(tables)
    live, place = _by_code(tables) if order is None else _one_after_the_other(tables, order)
    return Index(paths, tables, live, place)


Positions: TypeAlias = tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]  # live and place of an Index


def _order_of_parts(tables: Sequence[pa.Table]) -> list[int] | None:
    """The order in which the parts follow on one another, no key in two of them and each part sorted; else None.

    So a closed store lies: all that is to be done is to compare each row with the next.
    """
    order = [number for number, table in enumerate(tables) if table.num_rows]
    if not all(_sorted_without_twins(tables[number]) for number in order):
        return None
    ends = {number: [_key_at(tables[number], row) for row in (0, -1)] for number in order}
    order.sort(key=lambda number: ends[number][0])
    apart = all(ends[one][1] < ends[other][0] for one, other in pairwise(order))
    return order if apart else None


def _sorted_without_twins(table: pa.Table) -> bool:
    """Whether each key is greater than the one before it."""
    import pyarrow.compute as pc

    greater = None
    for name in reversed(KEY):
        earlier, later = table[name].slice(0, table.num_rows - 1), table[name].slice(1)
        here = pc.greater(later, earlier)
        greater = here if greater is None else pc.or_(here, pc.and_(pc.equal(later, earlier), greater))
    return pc.all(greater, skip_nulls=False, min_count=0).as_py() is True


def _key_at(table: pa.Table, row: int) -> tuple[str, ...]:
    return tuple(table[name][row].as_py() for name in KEY)  # str is ordered as its UTF-8 bytes are


def _one_after_the_other(tables: Sequence[pa.Table], order: Sequence[int]) -> Positions:
    live = tuple(np.arange(t.num_rows) for t in tables)
    place, start = list(live), 0
    for number in order:
        place[number] = live[number] + start
        start += len(live[number])
    return live, tuple(place)


def _by_code(tables: Sequence[pa.Table]) -> Positions:
    starts = np.cumsum([0, *(t.num_rows for t in tables)])
    code = _codes(tables)  # [n], equal for equal keys and in their order
    kept = _newest(code, tables)
    rank = np.empty(len(kept), np.int64)
    rank[np.argsort(code[kept], kind="stable")] = np.arange(len(kept))
    bounds = np.searchsorted(kept, starts)
    live = tuple(kept[a:b] - start for a, b, start in zip(bounds[:-1], bounds[1:], starts[:-1], strict=True))
    return live, tuple(rank[a:b] for a, b in pairwise(bounds))


def read_vectors(index: Index, dim: int, *, features: Sequence[int] | None = None) -> np.ndarray:
    """[rows, dim or chosen features] float32 of an index' rows in their order; one row group beside it in memory.

    Raises FileNotFoundError where a merge has taken a part away since the index was read.
    """
    chosen = None if features is None else np.asarray(features, np.int64)
    X = np.empty((index.count, dim if chosen is None else len(chosen)), np.float32)
    for path, live, place in zip(index.paths, index.live, index.place, strict=True):
        if not len(live):
            continue
        with open_part(path) as file:
            start = 0
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                first, last = np.searchsorted(live, [start, start + rows])
                if first < last:
                    table = file.read_row_group(group, columns=["embedding"])
                    if "embedding" not in table.schema.names:
                        raise damaged_part(path, "no embeddings in it")
                    column = table["embedding"]
                    values = np.concatenate([c.flatten().to_numpy() for c in column.chunks])
                    if values.size != rows * dim:
                        raise damaged_part(path, f"{values.size} numbers for {rows} rows of {dim}")
                    block = values.reshape(rows, dim)
                    if chosen is not None:
                        block = block[:, chosen]
                    whole = last - first == rows
                    X[place[first:last]] = block if whole else block[live[first:last] - start]
                start += rows
    return X


def _newest(code: np.ndarray, tables: Sequence[pa.Table]) -> np.ndarray:
    """Ascending positions, over all parts, of the row that counts for each key."""
    everything = np.arange(len(code))
    if (np.diff(code) > 0).all() or len(np.unique(code)) == len(code):
        return everything
    generation = np.concatenate([t["generation"].to_numpy() for t in tables])
    order = np.lexsort((everything, generation, code))  # by key, then generation, then part and position
    last = np.append(code[order][1:] != code[order][:-1], True)
    return np.sort(order[last])


def _codes(tables: Sequence[pa.Table]) -> np.ndarray:
    """int64 [n]: one number a row, equal for equal keys, in the order of the keys."""
    import pyarrow as pa
    import pyarrow.compute as pc

    total = sum(t.num_rows for t in tables)
    code = np.zeros(total, np.int64)
    if not total:
        return code
    for name in KEY:
        column = pa.chunked_array([c for t in tables for c in t[name].chunks], pa.string())
        encoded = column.combine_chunks().dictionary_encode()
        rank = np.empty(len(encoded.dictionary), np.int64)
        rank[pc.sort_indices(encoded.dictionary).to_numpy()] = np.arange(len(rank))
        if len(rank) > 1:
            if int(code.max()) >= _MOST_CODES // len(rank):
                code = np.unique(code, return_inverse=True)[1]
            code = code * len(rank) + rank[encoded.indices.to_numpy()]
    return code
