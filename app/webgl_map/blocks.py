"""Blocks of numbers that a picture is made of: each is sent once and known by its content afterwards.

A block goes to the browser by Streamlit's store of media files, as pictures do, and not with the messages of every run.
That store tells large files apart by samples of their bytes, hence the SHA-256 at the head of each.
"""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass

_FASTEST = 1  # of gzip's levels: the packing is waited for


@dataclass(frozen=True)
class Block:
    """key: SHA-256 of the bytes in short; packed: gzip of the whole SHA-256 and the bytes."""

    key: str
    packed: bytes


def block(data: bytes) -> Block:
    """These bytes, ready to be sent."""
    digest = hashlib.sha256(data)
    return Block(digest.hexdigest()[:16], gzip.compress(digest.digest() + data, _FASTEST, mtime=0))


def told(made: Block, *, place: str) -> dict[str, str]:
    """Where the browser finds a block during this run of the page; a later block of the same place replaces it."""
    return {"key": made.key, "url": address(made.packed, "application/gzip", place=place)}


def address(data: bytes, kind: str, *, place: str) -> str:
    """A path, relative to the page, at which the server gives these bytes as long as a session shows them."""
    from streamlit import runtime

    path = runtime.get_instance().media_file_mgr.add(data, kind, f"flexict-{place}")
    return path.lstrip("/")
