"""The only way into a store: rows are gathered, written as whole parts, and merged when the work is done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from flexict_core.durable import locked, sweep_temporary, write_json
from flexict_core.errors import StoreError
from flexict_core.store.format import (
    FILE_HASHES,
    KEY,
    LAYOUT,
    QUARANTINE,
    QUARANTINE_COLUMNS,
    SPEC,
    Key,
    new_part,
    part_schema,
    quarantine_schema,
    read_part,
    read_spec,
    write_table,
)
from flexict_core.store.index import read_index
from flexict_core.store.known import KnownRow, KnownRows, keys_of

if TYPE_CHECKING:
    import pyarrow as pa

PART_BYTES = 64 * 2**20  # of embeddings in a merged part
_TEXT = ("series_uid", "roi_id", "root", "image", "mask", "source_sha256", *FILE_HASHES, "source_stat")
_FIELDS = frozenset({*KEY, *_TEXT, "mask_label", "embedding"})


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
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"{str(folder)!r} cannot be made ({error.strerror}): check permissions, or use another store"
            ) from None
        sweep_temporary(folder)
        if not (folder / SPEC).is_file():
            write_json(folder / SPEC, spec)
        self._layout: int = read_spec(folder)["layout"]
        self._known = KnownRows.read(folder)
        self._rows: list[dict[str, Any]] = []
        self._quarantine: dict[tuple[Any, ...], dict[str, Any]] = {}
        self._unwritten = False  # quarantine entries that are not on disk yet
        self._closed = False

    @property
    def known(self) -> Mapping[Key, KnownRow]:
        return self._known

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
            self._known.put(key, KnownRow(**{name: record[name] for name in KnownRow.__dataclass_fields__}))
            self._rows.append(record)

    def add_table(self, rows: Mapping[str, Any], X: np.ndarray) -> None:
        """Take many rows at once, whole columns of them; durable when it returns.

        rows: a data frame, or columns by name, of n values each: `patient_id` and any of those `add` takes. X:
        [n, D], finite; converted to float32 part by part. Raises StoreError as `add` does, before a row is
        written.
        """
        table = self._table_of(rows, X)
        self.flush()
        most = max(1, PART_BYTES // (4 * self.dim))
        order = _by_key(table)
        for start in range(0, len(order), most):
            part = order[start : start + most]
            self._write_part(table.take(part), X[part])

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
            order = _by_key(table)
            self._write_part(table.take(order), matrix[order])
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

    def _write_part(self, table: pa.Table, matrix: np.ndarray) -> None:
        write_table(new_part(self.folder), _with_vectors(table, matrix, self.dim))
        self._known.extend(table)

    def _table_of(self, rows: Mapping[str, Any], X: np.ndarray) -> pa.Table:
        """Columns as a part holds them, without the vectors; StoreError for what no part may hold."""
        import pyarrow as pa

        unknown = sorted({str(name) for name in rows} - (_FIELDS - {"embedding"}))
        if unknown or "patient_id" not in rows:
            raise StoreError(f"rows hold {sorted(rows)}: patient_id is needed, {unknown} are not known")
        n = len(rows["patient_id"])
        if X.shape != (n, self.dim):
            raise StoreError(f"X has shape {X.shape}: {n} rows of {self.embedding_id} are ({n}, {self.dim})")
        for start in range(0, n, 4096):
            bad = int(np.count_nonzero(~np.isfinite(X[start : start + 4096].astype(np.float32, copy=False))))
            if bad:
                raise StoreError(
                    f"{bad} values of X from row {start} on are not finite: leave those rows out"
                )
        columns: dict[str, Any] = {
            name: pa.array(rows[name], pa.string(), from_pandas=True).fill_null("")
            if name in rows
            else pa.repeat(pa.scalar(""), n)
            for name in ("patient_id", *_TEXT)
        }
        label = rows["mask_label"] if "mask_label" in rows else [None] * n
        columns["mask_label"] = pa.array(label, pa.int64(), from_pandas=True)
        schema = _without_vectors(self.dim)
        columns["generation"] = pa.repeat(pa.scalar(0, pa.int32()), n)
        table = pa.table(columns).select(schema.names).cast(schema)
        taken: dict[Key, int] = {}
        generation = np.zeros(n, np.int32)
        for i, key in enumerate(keys_of(table)):
            if key in taken:
                raise StoreError(f"rows {taken[key]} and {i} have the same key {key}: give each row once")
            taken[key] = i
            if key in self._known:
                generation[i] = self._known[key].generation + 1
        return table.set_column(
            schema.get_field_index("generation"), schema.field("generation"), pa.array(generation)
        )

    def _merge(self) -> None:
        """Fewer, larger parts in the present layout. Parts that are large, whole and of this layout stay."""
        with locked(self.folder, wait=False) as alone:
            if not alone:
                return
            most = max(1, PART_BYTES // (4 * self.dim))
            waiting: list[tuple[Path, np.ndarray]] = []
            count, stale = 0, False
            index = read_index(self.folder)
            for path, table, live in zip(index.paths, index.tables, index.live, strict=True):
                whole = len(live) == table.num_rows and self._layout == LAYOUT
                if whole and 2 * table.num_rows > most:
                    continue
                waiting.append((path, live))
                count, stale = count + len(live), stale or not whole
                if count >= most:
                    self._replace(waiting)
                    waiting, count, stale = [], 0, False
            if len(waiting) > 1 or stale:
                self._replace(waiting)
            if self._layout < LAYOUT:
                write_json(self.folder / SPEC, {**read_spec(self.folder), "layout": LAYOUT})
                self._layout = LAYOUT

    def _replace(self, parts: Sequence[tuple[Path, np.ndarray]]) -> None:
        # The merged part is durable before the old ones go; in between, rows lie twice and count once.
        import pyarrow as pa

        schema = part_schema(self.dim)
        try:
            merged = pa.concat_tables(
                [read_part(path).take(live).select(schema.names) for path, live in parts]
            )
        except FileNotFoundError:
            return  # a writer on a machine that shares no locks with this one has just merged them
        if merged.num_rows:
            merged = merged.take(_by_key(merged))
            write_table(new_part(self.folder), merged.cast(schema))
        for path, _ in parts:
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


def _by_key(table: pa.Table) -> np.ndarray:
    """Positions in the order of the keys, so that equal rows make equal bytes."""
    import pyarrow.compute as pc

    return pc.sort_indices(table, sort_keys=[(n, "ascending") for n in KEY]).to_numpy()


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
