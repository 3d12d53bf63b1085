"""Files that appear whole or not at all, whoever is killed meanwhile; and the lock of a folder."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from flexict_core.errors import StoreError

_TEMPORARY = ".tmp-"
_STRAY_AFTER_S = 3600.0


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
        why = (
            os.strerror(error.errno) if error.errno else error
        )  # Arrow's own message names the temporary file
        raise StoreError(
            f"{str(path)!r} cannot be written ({why}): free space or check permissions"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    text = json.dumps(value, indent=1, ensure_ascii=False)

    def write(temporary: Path) -> None:
        temporary.write_text(text, "utf-8")

    write_whole(path, write)


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
    try:
        handle = (folder / ".lock").open("a")
    except OSError as error:  # a read-only disk, a folder of someone else's
        if wait:
            raise StoreError(
                f"{str(folder)!r} cannot be written ({error.strerror}): check permissions, or use another store"
            ) from None
        yield False
        return
    with handle:
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
