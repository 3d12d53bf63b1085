"""How an embedding lies on disk.

`<store>/<embedding_id>/spec.json`, `part-*.parquet` and `quarantine.parquet`. Parts are immutable and have
unique names; a file comes into being under a temporary name, is synced, then renamed. So a process may be
killed at any moment and several may write at once. Where a row occurs twice (a changed image embedded again,
two writers on the same rows, a merge cut short), the one with the higher (generation, part name, position) is
the row (`store.index`).

Two numbers say how old a store is. `format_version` is part of the embedding_id: it changes when the same spec
would mean other numbers. `layout` is how rows lie in parts: older layouts are read as they are and brought up to
date when a writer closes, the vectors untouched.

- layout 1: no `layout` in spec.json, no hashes of single files.
- layout 2: `image_sha256` and `mask_sha256`, as `sha256sum` gives them ("" for a folder, and where the row was
  written in layout 1); rows sorted by key within a part, small row groups.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flexict_core.durable import write_whole
from flexict_core.errors import InputError, StoreError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

FORMAT_VERSION = 1
LAYOUT = 2
SPEC, QUARANTINE = "spec.json", "quarantine.parquet"
KEY = ("patient_id", "series_uid", "roi_id")
FILE_HASHES = ("image_sha256", "mask_sha256")
ROW_COLUMNS = (*KEY, "root", "image", "mask", "mask_label", "source_sha256", *FILE_HASHES)
QUARANTINE_COLUMNS = ("row", *KEY, "file", "reason", "image", "mask", "root", "manifest")
# Told by the encoder for people to read; they do not change a number, so they do not change the embedding_id.
DESCRIPTIVE = frozenset({"licence", "description", "name", "embedding_id", "layout"})
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
_ROW_GROUP_BYTES = 4 * 2**20  # of vectors: what reading one patient costs
_READERS = 8  # files opened at once

Key = tuple[str, str, str]


def part_schema(dim: int) -> pa.Schema:
    import pyarrow as pa

    text = pa.string()
    return pa.schema(
        [
            *(pa.field(name, text, nullable=False) for name in (*KEY, "root", "image", "mask")),
            pa.field("mask_label", pa.int64()),
            *(pa.field(name, text, nullable=False) for name in ("source_sha256", *FILE_HASHES)),
            pa.field("source_stat", text, nullable=False),
            pa.field("generation", pa.int32(), nullable=False),
            pa.field("embedding", pa.list_(pa.float32(), dim), nullable=False),
        ]
    )


def quarantine_schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema([(name, pa.int64() if name == "row" else pa.string()) for name in QUARANTINE_COLUMNS])


def embedding_id(spec: Mapping[str, Any]) -> str:
    """`<name>-<hash>`: equal for equal encoder, checkpoint, recipe, pooling, patch size, precision, data
    kind, format.

    Raises InputError for a name that cannot be a folder's.
    """
    name = spec["name"]
    if not _NAME.fullmatch(name):
        raise InputError(
            f"embedding name {name!r} cannot name a folder: use letters, digits, '.', '_', '+' and '-'"
        )
    told = {key: value for key, value in spec.items() if key not in DESCRIPTIVE}
    text = json.dumps(told, sort_keys=True, separators=(",", ":"))
    return f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"


def read_spec(folder: Path) -> dict[str, Any]:
    try:
        spec = json.loads((folder / SPEC).read_text("utf-8"))
    except FileNotFoundError:
        raise StoreError(
            f"{str(folder)!r} has no {SPEC}: it is not an embedding, or was copied in part"
        ) from None
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{str(folder / SPEC)!r} cannot be read ({error}): restore it or embed again"
        ) from None
    if not isinstance(spec, dict) or spec.get("format_version") != FORMAT_VERSION:
        found = spec.get("format_version") if isinstance(spec, dict) else None
        raise StoreError(
            f"{str(folder)!r} has format version {found!r}, this program reads {FORMAT_VERSION}: update it"
        )
    layout = spec.setdefault("layout", 1)
    if not isinstance(layout, int) or not 1 <= layout <= LAYOUT:
        raise StoreError(
            f"{str(folder)!r} has layout {layout!r}, this program reads 1 to {LAYOUT}: update it"
        )
    if wrong := _wrong_value(spec):
        raise StoreError(f"{str(folder / SPEC)!r} is damaged ({wrong}): restore it or embed again")
    return spec


def _wrong_value(spec: Mapping[str, Any]) -> str:
    """What is wrong with the values that every reader relies on; nothing where all is well."""
    for key, kind in (("name", str), ("encoder", str), ("synthetic", bool), ("dim", int)):
        if not isinstance(spec.get(key), kind):
            return f"{key} is {spec.get(key)!r}"
    if isinstance(spec["dim"], bool) or spec["dim"] < 1:
        return f"dim is {spec['dim']!r}"
    names = spec.get("feature_names")
    if names is not None and not (isinstance(names, list) and len(names) == spec["dim"]):
        return f"feature_names are not {spec['dim']} names"
    return ""


def write_table(path: Path, table: pa.Table) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    vectors = [f.name for f in table.schema if pa.types.is_fixed_size_list(f.type)]
    text = [name for name in table.schema.names if name not in vectors]
    width = max((table.schema.field(name).type.list_size for name in vectors), default=1)

    def write(temporary: Path) -> None:
        pq.write_table(
            table,
            temporary,
            compression="zstd",
            row_group_size=max(1, _ROW_GROUP_BYTES // (4 * width)),
            use_dictionary=text,
            use_byte_stream_split=[f"{name}.list.element" for name in vectors],
        )

    write_whole(path, write)


def new_part(folder: Path) -> Path:
    """A name that no other writer, on any machine, can choose."""
    return folder / f"part-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{uuid.uuid4().hex[:12]}.parquet"


def part_paths(folder: Path) -> list[Path]:
    return sorted(folder.glob("part-*.parquet"))


def read_part(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """One part in the present layout, or some of its columns; FileNotFoundError where a merge has just taken it
    away, StoreError where it is damaged."""
    with open_part(path) as file:
        try:
            table = file.read(columns=None if columns is None else list(columns))
            table.validate(full=True)  # text that is not UTF-8 would come out as an error of its own later on
            return _present(table, columns)
        except (KeyError, ValueError) as error:  # ArrowInvalid is a ValueError
            raise damaged_part(path, error) from None


@contextmanager
def open_part(path: Path) -> Iterator[pq.ParquetFile]:
    """A part to read from; whatever is wrong with it is one StoreError that names it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            yield file
    except FileNotFoundError:
        raise
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise damaged_part(path, error) from None


def damaged_part(path: Path, why: object) -> StoreError:
    """The one line for a part that is not what the store wrote."""
    reason = " ".join(str(why).split())[:200]
    return StoreError(
        f"part {str(path)!r} is damaged ({reason}): delete it and embed again, only its rows are redone"
    )


def _present(table: pa.Table, columns: Sequence[str] | None) -> pa.Table:
    """A part's table with the columns that its layout did not have yet."""
    import pyarrow as pa

    wanted = FILE_HASHES if columns is None else [name for name in FILE_HASHES if name in columns]
    for name in wanted:
        if name not in table.schema.names and "patient_id" in table.schema.names:
            field = pa.field(name, pa.string(), nullable=False)
            table = table.append_column(field, pa.array([""] * table.num_rows, pa.string()))
    return table if columns is None else table.select(list(columns))


def read_parts(folder: Path, columns: Sequence[str]) -> list[tuple[Path, pa.Table]]:
    """Every part with some of its columns, all of one moment, in the order of their names."""
    from concurrent.futures import ThreadPoolExecutor

    def read(path: Path) -> tuple[Path, pa.Table]:
        return path, read_part(path, columns)

    for _ in range(20):
        try:
            with ThreadPoolExecutor(_READERS) as readers:
                return list(readers.map(read, part_paths(folder)))
        except FileNotFoundError:  # another process merged parts between the listing and the reading
            time.sleep(0.05)
    raise StoreError(f"{str(folder)!r} keeps changing while it is read: try again when its writers are done")
