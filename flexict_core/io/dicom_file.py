"""One DICOM file → its header and the bytes of its pixels.

No message of the DICOM modules quotes a value that identifies a patient, and pydicom is kept from doing so.
"""

from __future__ import annotations

import io
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from flexict_core.errors import ImageError
from flexict_core.io.dicom_header import KEYWORDS, Header, header_of
from flexict_core.io.dicom_values import tag_of, text

MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"  # DICOMDIR
DEFLATED = b"1.2.840.10008.1.2.1.99"
_LARGE_READ = 1 << 20
_DEFLATE_LIMIT = 100  # CT shrinks two- to threefold; a hundredfold is a bomb


class SizedReader(io.BufferedReader):
    """A file that is never asked for more than it holds: a damaged length would have gigabytes set aside."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(io.FileIO(path))

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _LARGE_READ:
            size = min(size, max(os.fstat(self.fileno()).st_size - self.tell(), 0))
        return super().read(size)


def read_header(path: str | os.PathLike[str]) -> Header | None:
    """The header of a DICOM file, pixels unread; None for a file that is not DICOM (or a DICOMDIR).

    Raises ImageError for one that is damaged or cannot be read.
    """
    path = Path(path)
    try:
        with SizedReader(path) as stream:
            head = stream.read(1024)
            if not is_dicom(head):
                return None
            if DEFLATED in head:
                read = read_with_pixels(path, head + stream.read())
                return read[0] if read else None
            stream.seek(0)
            return _parsed(path, stream)[0]
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror or error}); check the file") from None


def read_with_pixels(path: Path, content: bytes) -> tuple[Header, memoryview] | None:
    """The header and the pixel data element (as stored, without its tag and length) of a file's bytes."""
    if not is_dicom(content[:132]):
        return None
    if DEFLATED in content[:1024]:
        content = _inflated(path, content)
    stream = io.BytesIO(content)
    header, encoding = _parsed(path, stream)
    return (header, _pixel_element(path, memoryview(content)[stream.tell() :], encoding)) if header else None


def is_dicom(head: bytes) -> bool:
    """Whether a file that starts with `head` (132 bytes or more) is DICOM; old files lack the preamble."""
    if head[128:132] == b"DICM":
        return True
    group, element = head[0:2], int.from_bytes(head[2:4], "little")
    if group not in (b"\x08\x00", b"\x02\x00") or element > 0x18:
        return False
    return head[4:6] in (b"UL", b"UI", b"CS", b"OB") or int.from_bytes(head[4:8], "little") <= 128


def _parsed(path: Path, stream: Any) -> tuple[Header | None, tuple[bool, bool]]:
    """Header, and (implicit VR, little-endian); leaves the stream at the pixel data element."""
    from pydicom import dcmread

    try:
        with quiet_pydicom():
            ds = dcmread(stream, stop_before_pixels=True, force=True, specific_tags=_wanted())
            directory = text(ds.file_meta, "MediaStorageSOPClassUID") == MEDIA_DIRECTORY
            header = None if directory else header_of(path, ds)
            implicit, little = ds.original_encoding
            return header, (bool(implicit), bool(little))
    except (OSError, ImageError):
        raise
    except Exception as error:  # pydicom lets many kinds through; their texts may quote what they read
        name = type(error).__name__
        raise ImageError(f"{path}: damaged DICOM header ({name}); copy it again") from None


@lru_cache
def _wanted() -> list[Any]:
    return [tag_of(keyword) for keyword in KEYWORDS.split()]


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """No value checks, warnings or log lines of pydicom: they quote values.

    Around a loop over files it costs once what each file would cost.
    """
    import logging
    import warnings

    from pydicom.config import disable_value_validation

    logger = logging.getLogger("pydicom")
    level = logger.level
    if level > logging.CRITICAL:  # quiet already
        yield
        return
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings(), disable_value_validation():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _inflated(path: Path, content: bytes) -> bytes:
    """The same file in Explicit VR Little Endian; pydicom would inflate a bomb whole."""
    # The group of file meta information begins with its own length.
    start = 144 + int.from_bytes(content[140:144], "little")
    unpack = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = unpack.decompress(content[start:], _DEFLATE_LIMIT * len(content))
    except zlib.error:
        raise ImageError(f"{path}: damaged deflated DICOM; copy it again") from None
    if unpack.unconsumed_tail:
        raise ImageError(f"{path}: deflated more than {_DEFLATE_LIMIT}-fold, no CT does; check its source")
    # Same length, so that the group length holds; DICOM pads UIDs with a zero byte.
    plain = b"1.2.840.10008.1.2.1".ljust(len(DEFLATED), b"\0")
    return content[:start].replace(DEFLATED, plain) + data


def _pixel_element(path: Path, rest: memoryview, encoding: tuple[bool, bool]) -> memoryview:
    implicit, little = encoding
    order: Literal["little", "big"] = "little" if little else "big"
    tag = bytes(rest[:4])
    if tag not in (b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10"):
        return memoryview(b"")
    at = 8 if implicit else 12
    length = int.from_bytes(rest[at - 4 : at], order)
    if length == 0xFFFFFFFF:  # encapsulated: it ends with its own delimiter
        return rest[at:]
    if at + length > len(rest):
        raise ImageError(f"{path}: truncated, {len(rest) - at} of {length} bytes of pixels; copy it again")
    return rest[at : at + length]
