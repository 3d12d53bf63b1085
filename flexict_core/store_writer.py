"""The only way into a store: rows are gathered, written as whole parts, and merged when the work is done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from flexict_core.errors import StoreError
from flexict_core.store_format import (
    KEY,
    QUARANTINE,
    QUARANTINE_COLUMNS,
    SPEC,
    Key,
    live_parts,
    locked,
    new_part,
    part_schema,
    quarantine_schema,
    read_part,
    sweep_temporary,
    write_json,
    write_table,
)

if TYPE_CHECKING:
    import pyarrow as pa

_PART_BYTES = 64 * 2**20  # of embeddings in a merged part
_TEXT = ("series_uid", "roi_id", "root", "image", "mask", "source_sha256", "source_stat")
_FIELDS = frozenset({*KEY, *_TEXT, "mask_label", "embedding"})


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


class EmbeddingWriter:
    """Adds rows to one embedding; made by `EmbeddingStore.writer`. Leaving its `with` block flushes what it
    has.

    `known` maps (patient_id, series_uid, roi_id) to what is already stored. A row added under a known key
    takes the place of the old one, at once for readers and on disk when the writer is closed.
    """

    def __init__(self, folder: Path, spec: Mapping[str, Any]) -> None:
        self.folder = folder
        self.embedding_id: str = spec["embedding_id"]
        self.dim: int = spec["dim"]
        folder.mkdir(parents=True, exist_ok=True)
        sweep_temporary(folder)
        if not (folder / SPEC).is_file():
            write_json(folder / SPEC, spec)
        self.known: dict[Key, KnownRow] = _known_rows(folder)
        self._rows: list[dict[str, Any]] = []
        self._quarantine: dict[tuple[Any, ...], dict[str, Any]] = {}
        self._unwritten = False  # quarantine entries that are not on disk yet
        self._closed = False

    @property
    def pending(self) -> int:
        """Rows that a kill at this moment would cost."""
        return len(self._rows)

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Take rows: `patient_id` and `embedding` ([D], finite), and any of series_uid, roi_id, root, image,
        mask, mask_label, source_sha256, source_stat. Raises StoreError for a vector of another length or with
        NaN."""
        for row in rows:
            record = self._record(row)
            key: Key = (record["patient_id"], record["series_uid"], record["roi_id"])
            old = self.known.get(key)
            record["generation"] = 0 if old is None else old.generation + 1
            self.known[key] = KnownRow(**{name: record[name] for name in KnownRow.__dataclass_fields__})
            self._rows.append(record)

    def quarantine(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Take rows that failed: `reason`, and any of row, patient_id, series_uid, roi_id, file, image, mask,
        root, manifest. A row that failed before is replaced."""
        for row in rows:
            record = {name: row.get(name) for name in QUARANTINE_COLUMNS}
            record = {n: (v if n == "row" else "" if v is None else str(v)) for n, v in record.items()}
            self._quarantine[_identity(record)] = record
            self._unwritten = True

    def flush(self) -> None:
        """Make everything taken so far durable."""
        if self._rows:
            import pyarrow as pa

            table = pa.Table.from_pylist(
                [{**r, "embedding": None} for r in self._rows], _without_vectors(self.dim)
            )
            matrix = np.stack([r["embedding"] for r in self._rows])
            write_table(new_part(self.folder), _with_vectors(table, matrix, self.dim))
            self._rows = []
        if self._unwritten:
            self._write_quarantine(list(self._quarantine.values()), drop=set())
            self._unwritten = False

    def settle(self, *, root: str, manifest: str, keep: Iterable[tuple[int, str]] = ()) -> None:
        """Forget earlier quarantine entries of this manifest that this writer did not repeat.

        keep: (row, image) of entries that another shard of the same manifest answers for.
        """
        self.flush()
        kept = set(keep)
        drop = {
            _identity(entry)
            for entry in read_quarantine(self.folder)
            if (entry["root"], entry["manifest"]) == (root, manifest)
            and _identity(entry) not in self._quarantine
            and (entry["row"], entry["image"]) not in kept
        }
        if drop:
            self._write_quarantine([], drop=drop)

    def close(self) -> None:
        """Flush, drop replaced rows from disk and merge small parts."""
        if self._closed:
            return
        self.flush()
        self._merge()
        self._closed = True

    def __enter__(self) -> EmbeddingWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.flush()

    def _record(self, row: Mapping[str, Any]) -> dict[str, Any]:
        unknown = sorted(set(row) - _FIELDS)
        if unknown or "patient_id" not in row or "embedding" not in row:
            raise StoreError(
                f"a row holds {sorted(row)}: patient_id and embedding are needed, {unknown} are not known"
            )
        vector = np.asarray(row["embedding"], dtype=np.float32)
        if vector.shape != (self.dim,):
            raise StoreError(
                f"an embedding has shape {vector.shape}, {self.embedding_id} holds ({self.dim},)"
            )
        bad = int(np.count_nonzero(~np.isfinite(vector)))
        if bad:
            raise StoreError(
                f"an embedding has {bad} of {self.dim} values that are not finite: leave the row out"
            )
        text = {name: str(row.get(name) or "") for name in _TEXT}
        label = row.get("mask_label")
        return {
            "patient_id": str(row["patient_id"]),
            **text,
            "mask_label": None if label is None else int(label),
            "embedding": vector,
        }

    def _write_quarantine(self, entries: Sequence[Mapping[str, Any]], *, drop: set[tuple[Any, ...]]) -> None:
        import pyarrow as pa

        with locked(self.folder, wait=True):
            merged = {_identity(e): e for e in [*read_quarantine(self.folder), *entries]}
            rows = [dict(entry) for identity, entry in merged.items() if identity not in drop]
            rows.sort(key=lambda e: (e["root"], e["manifest"], e["row"] or 0))
            write_table(self.folder / QUARANTINE, pa.Table.from_pylist(rows, quarantine_schema()))

    def _merge(self) -> None:
        with locked(self.folder, wait=False) as alone:
            if not alone:
                return
            most = max(1, _PART_BYTES // (4 * self.dim))
            waiting: list[Path] = []
            count = 0
            parts = live_parts(self.folder, ())
            for path, table, live in parts:
                if len(live) == table.num_rows and 2 * table.num_rows > most:
                    continue
                waiting.append(path)
                count += len(live)
                if count >= most:
                    self._replace(waiting, parts)
                    waiting, count = [], 0
            left = set(waiting)
            dropped = any(len(live) < table.num_rows for path, table, live in parts if path in left)
            if len(waiting) > 1 or dropped:
                self._replace(waiting, parts)

    def _replace(self, paths: Sequence[Path], parts: Sequence[tuple[Path, pa.Table, np.ndarray]]) -> None:
        # The merged part is durable before the old ones go; in between, rows lie twice and count once.
        import pyarrow as pa

        live = {path: rows for path, _, rows in parts}
        merged = pa.concat_tables([read_part(path).take(live[path]) for path in paths])
        if merged.num_rows:
            write_table(new_part(self.folder), merged.cast(part_schema(self.dim)))
        for path in paths:
            path.unlink(missing_ok=True)


def read_quarantine(folder: Path) -> list[dict[str, Any]]:
    """The rows that failed, as `QUARANTINE_COLUMNS`; empty where there is no such file."""
    path = folder / QUARANTINE
    if not path.is_file():
        return []
    rows: list[dict[str, Any]] = read_part(path).to_pylist()
    return rows


def _identity(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(entry[name] for name in ("root", "manifest", "row", *KEY, "image", "mask"))


def _known_rows(folder: Path) -> dict[Key, KnownRow]:
    columns = tuple(KnownRow.__dataclass_fields__)
    known: dict[Key, KnownRow] = {}
    for _, table, live in live_parts(folder, columns):
        for row in table.take(live).to_pylist():
            known[(row["patient_id"], row["series_uid"], row["roi_id"])] = KnownRow(
                **{c: row[c] for c in columns}
            )
    return known


def _without_vectors(dim: int) -> pa.Schema:
    schema = part_schema(dim)
    return schema.remove(schema.get_field_index("embedding"))


def _with_vectors(table: pa.Table, matrix: np.ndarray, dim: int) -> pa.Table:
    import pyarrow as pa

    values = pa.array(np.ascontiguousarray(matrix, dtype=np.float32).ravel())
    schema = part_schema(dim)
    return table.append_column(
        schema.field("embedding"), pa.FixedSizeListArray.from_arrays(values, dim)
    ).cast(schema)
