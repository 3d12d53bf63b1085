"""How an embedding lies on disk, and the few operations on files that keep it whole.

`<store>/<embedding_id>/spec.json`, `part-*.parquet` and `quarantine.parquet`. Parts are immutable and have
unique names; a file comes into being under a temporary name, is synced, then renamed. So a process may be
killed at any moment and several may write at once. Where a row occurs twice (a changed image embedded again,
two writers on the same rows, a merge cut short), the one with the higher (generation, part name, position) is
the row.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flexict_core.errors import InputError, StoreError

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT_VERSION = 1
SPEC, QUARANTINE = "spec.json", "quarantine.parquet"
KEY = ("patient_id", "series_uid", "roi_id")
ROW_COLUMNS = (*KEY, "root", "image", "mask", "mask_label", "source_sha256")
QUARANTINE_COLUMNS = ("row", *KEY, "file", "reason", "image", "mask", "root", "manifest")
# Told by the encoder for people to read; they do not change a number, so they do not change the embedding_id.
DESCRIPTIVE = frozenset({"licence", "description", "name", "embedding_id"})
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
_TEMPORARY = ".tmp-"
_STRAY_AFTER_S = 3600.0

Key = tuple[str, str, str]


def part_schema(dim: int) -> pa.Schema:
    import pyarrow as pa

    text = pa.string()
    return pa.schema(
        [
            *(pa.field(name, text, nullable=False) for name in (*KEY, "root", "image", "mask")),
            pa.field("mask_label", pa.int64()),
            pa.field("source_sha256", text, nullable=False),
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
    return spec


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Make `path` appear at once and whole: temporary name, fsync, rename, fsync of the folder."""
    temporary = path.parent / f"{_TEMPORARY}{_host()}-{os.getpid()}-{uuid.uuid4().hex}"
    try:
        write(temporary)
        with temporary.open("rb+") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StoreError(
            f"{str(path)!r} cannot be written ({error.strerror or error}): free space or check permissions"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    text = json.dumps(value, indent=1, ensure_ascii=False)

    def write(temporary: Path) -> None:
        temporary.write_text(text, "utf-8")

    write_whole(path, write)


def write_table(path: Path, table: pa.Table) -> None:
    import pyarrow.parquet as pq

    write_whole(path, lambda temporary: pq.write_table(table, temporary, compression="zstd"))


def new_part(folder: Path) -> Path:
    """A name that no other writer, on any machine, can choose."""
    return folder / f"part-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{uuid.uuid4().hex[:12]}.parquet"


def part_paths(folder: Path) -> list[Path]:
    return sorted(folder.glob("part-*.parquet"))


def read_part(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """One part; FileNotFoundError where a merge has just taken it away, StoreError where it is damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            return file.read(columns=None if columns is None else list(columns))
    except FileNotFoundError:
        raise
    except (OSError, pa.ArrowException) as error:
        raise StoreError(
            f"part {str(path)!r} is damaged ({error}): delete it and embed again, only its rows are redone"
        ) from None


def live_parts(folder: Path, columns: Sequence[str]) -> list[tuple[Path, pa.Table, np.ndarray]]:
    """Every part with the wanted columns (key and generation always) and the positions of the rows that
    count."""
    wanted = list(dict.fromkeys([*KEY, "generation", *columns]))
    for _ in range(20):
        try:
            tables = [(path, read_part(path, wanted)) for path in part_paths(folder)]
            break
        except FileNotFoundError:  # another process merged parts between the listing and the reading
            time.sleep(0.05)
    else:
        raise StoreError(
            f"{str(folder)!r} keeps changing while it is read: try again when its writers are done"
        )
    best: dict[Key, tuple[int, int, int]] = {}
    for index, (_, table) in enumerate(tables):
        keys = zip(*(table[name].to_pylist() for name in KEY), strict=True)
        for position, (key, generation) in enumerate(zip(keys, table["generation"].to_pylist(), strict=True)):
            rank = (generation, index, position)
            if key not in best or rank > best[key]:
                best[key] = rank
    live: list[list[int]] = [[] for _ in tables]
    for _, index, position in best.values():
        live[index].append(position)
    positions = [np.array(sorted(rows), dtype=np.int64) for rows in live]
    return [(path, table, rows) for (path, table), rows in zip(tables, positions, strict=True)]


@contextmanager
def locked(folder: Path, *, wait: bool) -> Iterator[bool]:
    """Hold the folder's lock; yields False where another process holds it (and `wait` is off) or locks do not
    exist.

    The lock only spares work or spoilt quarantine entries: rows are safe without it.
    """
    try:
        import fcntl
    except ImportError:  # not a POSIX system
        yield wait
        return
    with (folder / ".lock").open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True


def sweep_temporary(folder: Path) -> None:
    """Remove what killed processes left under temporary names; never what a living one is writing."""
    for stray in folder.glob(f"{_TEMPORARY}*"):
        host, pid = ([*stray.name.removeprefix(_TEMPORARY).split("-"), "", ""])[:2]
        with suppress(OSError):
            dead = host == _host() and pid.isdigit() and not _alive(int(pid))
            if dead or time.time() - stray.stat().st_mtime > _STRAY_AFTER_S:
                stray.unlink()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
