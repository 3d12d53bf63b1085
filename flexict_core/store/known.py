"""What a store holds of each row, without the vectors: enough to decide whether a row is current."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from flexict_core.store.format import KEY, Key
from flexict_core.store.index import read_index

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class KnownRow:
    """What the store holds of a row, without its vector."""

    source_sha256: str
    source_stat: str
    generation: int
    root: str
    image: str
    mask: str
    mask_label: int | None


COLUMNS = tuple(f.name for f in fields(KnownRow))


class KnownRows(Mapping[Key, KnownRow]):
    """(patient_id, series_uid, roi_id) → KnownRow, made when asked for; held as Arrow columns."""

    def __init__(self) -> None:
        self._tables: list[pa.Table] = []
        self._starts: list[int] = []
        self._where: dict[Key, int] = {}
        self._count = 0
        self._fresh: dict[Key, KnownRow] = {}

    @classmethod
    def read(cls, folder: Path) -> KnownRows:
        """Of an embedding's folder."""
        known = cls()
        index = read_index(folder, COLUMNS)
        for table, live in zip(index.tables, index.live, strict=True):
            known.extend(table.take(live))
        return known

    def put(self, key: Key, row: KnownRow) -> None:
        """One row that is not in a table yet."""
        self._fresh[key] = row

    def extend(self, table: pa.Table) -> None:
        """Rows of a part that is on disk now; they take the place of those `put` before."""
        for key in keys_of(table):
            self._where[key] = self._count
            self._fresh.pop(key, None)
            self._count += 1
        self._starts.append(self._count - table.num_rows)
        self._tables.append(table.select(list(COLUMNS)))

    def __getitem__(self, key: Key) -> KnownRow:
        if key in self._fresh:
            return self._fresh[key]
        position = self._where[key]
        which = bisect_right(self._starts, position) - 1
        table, row = self._tables[which], position - self._starts[which]
        return KnownRow(**{name: table[name][row].as_py() for name in COLUMNS})

    def __contains__(self, key: object) -> bool:
        return key in self._where or key in self._fresh

    def __iter__(self) -> Iterator[Key]:
        yield from self._where
        yield from (key for key in self._fresh if key not in self._where)

    def __len__(self) -> int:
        return len(self._where) + sum(key not in self._where for key in self._fresh)


def keys_of(table: pa.Table) -> Iterable[Key]:
    """The keys of a table's rows."""
    return zip(*(table[name].to_pylist() for name in KEY), strict=True)
