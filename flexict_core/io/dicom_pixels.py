"""Stored pixel values of DICOM frames → HU.

Padding becomes air, -1000 HU: what the file names as padding (PixelPaddingValue and its range limit), the
values that scanners write outside their field of view (-2000, -2048, -3024 HU), and any other value at or below
-1500 HU, which no matter has, that fills a thousandth of its slice or more. -1024, the lowest value of a 12-bit
scanner, is air already and stays as it is; so do the few voxels of a streak.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flexict_core.errors import ImageError, UnsupportedFormatError
from flexict_core.io.dicom_file import quiet_pydicom
from flexict_core.io.dicom_header import Header, Plane
from flexict_core.resample import AIR_HU

_NO_MATTER_HU = -1500
_PADDING_HU = (-2000, -2048, -3024)
_PADDING_SHARE = 0.001  # of a slice
_PADDING_PIXELS = 8
_FIRST_PLANES = 2048  # room at first; it doubles when it is full
_AIR_HU = (-1100, -900)
_TISSUE_HU = (-900, 4000)  # padding in here must reach the image's edge to count as padding
_PLUGINS = {  # the decoder that is right for signed and unsigned pixels of any precision
    "1.2.840.10008.1.2.4.80": "pyjpegls",
    "1.2.840.10008.1.2.4.81": "pyjpegls",
    "1.2.840.10008.1.2.4.90": "pylibjpeg",
    "1.2.840.10008.1.2.4.91": "pylibjpeg",
}
_LOSSY_JPEG_12 = "1.2.840.10008.1.2.4.51"  # the free decoders read only its 8-bit kind, which holds no CT
_ITEM, _END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"


class HuPlanes:
    """HU planes, collected as their files arrive; put in order at the end.

    int16 where all values fit, else int32; float32 where a slope or an intercept is not whole.
    """

    def __init__(self, expected: int) -> None:
        self._capacity = max(1, min(expected, _FIRST_PLANES))
        self._array = np.empty((0, 0, 0), np.int16)
        self._slots: dict[tuple[Path, int], int] = {}

    def add(self, header: Header, element: memoryview) -> None:
        """Decode and rescale all frames of a file. Frames of another size than the first are left out: no
        stack holds them, as `stack_planes` will say."""
        size = (header.rows, header.columns)
        if self._slots and self._array.shape[1:] != size:
            return
        for frame, plane in enumerate(header.planes):
            stored = decode_frame(header, element, frame)  # before room is made: a header may claim any size
            if not self._slots:
                self._array = np.empty((max(self._capacity, header.frames), *size), np.int16)
            elif frame == 0:
                self._grow(len(self._slots) + header.frames)
            self._put(header, plane, stored, len(self._slots))
            self._slots[header.path, frame] = len(self._slots)

    def in_order(self, keys: Sequence[tuple[Path, int]]) -> np.ndarray:
        """(z, y, x), one plane for each (file, frame); the collection is spent."""
        array, self._array = self._array, np.empty((0, 0, 0), np.int16)
        order = [self._slots[key] for key in keys]
        if len(order) < len(self._slots):
            return array[order]
        _reorder(array, order)
        return array[: len(order)]

    def _put(self, header: Header, plane: Plane, stored: np.ndarray, slot: int) -> None:
        padded = _padding(header, plane, stored)
        stored = _used_bits(header, stored)
        dtype = np.promote_types(self._array.dtype, _hu_type(header, plane, stored))
        if dtype != self._array.dtype:
            self._replace(len(self._array), dtype)
        out = self._array[slot]
        _rescale(stored, plane, out)
        if padded is not None:
            out[padded] = AIR_HU
        _unnamed_padding_to_air(out)

    def _grow(self, needed: int) -> None:
        if needed > len(self._array):
            self._replace(max(needed, 2 * len(self._array)), self._array.dtype)

    def _replace(self, length: int, dtype: np.dtype) -> None:
        # Memory that no plane is written to is never taken from the system.
        array = np.empty((length, *self._array.shape[1:]), dtype)
        array[: len(self._slots)] = self._array[: len(self._slots)]
        self._array = array


def _reorder(array: np.ndarray, order: Sequence[int]) -> None:
    """array[k] becomes array[order[k]], in place, with room for one plane."""
    todo = {k for k, source in enumerate(order) if source != k}
    while todo:
        start = k = todo.pop()
        kept = array[start].copy()
        while order[k] != start:
            array[k] = array[order[k]]
            k = order[k]
            todo.discard(k)
        array[k] = kept


def _hu_type(header: Header, plane: Plane, stored: np.ndarray) -> np.dtype:
    if not (float(plane.slope).is_integer() and float(plane.intercept).is_integer()):
        return np.dtype(np.float32)
    bits = header.bits_stored - header.signed
    ends: Sequence[int] = (-(1 << bits) if header.signed else 0, (1 << bits) - 1)
    if not _fits(ends, plane):
        ends = int(stored.min()), int(stored.max())  # the header allows more than the pixels use
    if _fits(ends, plane):
        return np.dtype(np.int16)
    # float32 is exact to 2^24; beyond lies no HU, and the caller's check of values says so.
    return np.dtype(np.int32) if header.bits_allocated == 16 else np.dtype(np.float32)


def _fits(ends: Sequence[int], plane: Plane) -> bool:
    return all(-32768 <= end * plane.slope + plane.intercept <= 32767 for end in ends)


def _rescale(stored: np.ndarray, plane: Plane, out: np.ndarray) -> None:
    if out.dtype.kind == "f":
        out[:] = stored * np.float64(plane.slope) + np.float64(plane.intercept)
        return
    # Whole numbers that fit, as `_hu_type` found: arithmetic modulo 2^16 gives them, whatever their sign.
    if stored.dtype.itemsize == out.dtype.itemsize and stored.dtype.isnative:
        stored = stored.view(out.dtype)
    if plane.slope != 1:
        stored = stored.astype(out.dtype, copy=False) * out.dtype.type(int(plane.slope))
    np.add(stored, out.dtype.type(int(plane.intercept)), out=out, dtype=out.dtype, casting="unsafe")


def _used_bits(header: Header, stored: np.ndarray) -> np.ndarray:
    """Without what other data (overlays) the bits above BitsStored may hold."""
    spare = 8 * stored.dtype.itemsize - header.bits_stored
    if spare <= 0:
        return stored
    if header.signed:
        return (stored << spare) >> spare
    return stored & ((1 << header.bits_stored) - 1)


def _padding(header: Header, plane: Plane, stored: np.ndarray) -> np.ndarray | None:
    """Where the header's padding values are, or None."""
    if header.padding is None:
        return None
    low, high = header.padding
    ends = sorted(end * plane.slope + plane.intercept for end in (low, high))
    if _AIR_HU[0] <= ends[0] and ends[1] <= _AIR_HU[1]:
        return None  # air already
    if stored.min() > high:
        return None
    there = stored == low if low == high else (stored >= low) & (stored <= high)
    if not there.any():
        return None
    return _from_edge(there) if ends[0] < _TISSUE_HU[1] and ends[1] > _TISSUE_HU[0] else there


def _unnamed_padding_to_air(plane: np.ndarray) -> None:
    if plane.min() > _NO_MATTER_HU:
        return
    for value in _PADDING_HU:
        np.putmask(plane, plane == value, AIR_HU)
    while (lowest := plane.min()) <= _NO_MATTER_HU:
        there = plane == lowest
        if np.count_nonzero(there) < max(_PADDING_PIXELS, _PADDING_SHARE * plane.size):
            return
        np.putmask(plane, there, AIR_HU)


def _from_edge(there: np.ndarray) -> np.ndarray:
    """Those that hang together with the image's edge: a header's padding value of 0 may also be water."""
    from scipy.ndimage import binary_propagation

    edge = np.ones_like(there)
    edge[1:-1, 1:-1] = False
    return binary_propagation(edge & there, mask=there)


# ── stored values ───────────────────────────────────────────────────────────────────────────────────────


def decode_frame(header: Header, element: memoryview, index: int) -> np.ndarray:
    """Stored values (rows, columns) of one frame; a read-only view where the file holds them as they are.

    element: the value of the pixel data element. Raises ImageError for pixels that are truncated or damaged,
    UnsupportedFormatError for a transfer syntax without decoder.
    """
    decoder = _decoder(header)
    if decoder.is_encapsulated:
        _check_whole(header, element)
    else:
        needed = header.rows * header.columns * header.frames * (header.bits_allocated // 8)
        if len(element) < needed:
            raise ImageError(
                f"{header.path}: truncated, {len(element)} of {needed} bytes of pixels; copy it again"
            )
    options: dict[str, Any] = {
        "rows": header.rows,
        "columns": header.columns,
        "number_of_frames": header.frames,
        "samples_per_pixel": 1,
        "photometric_interpretation": header.photometric,
        "bits_allocated": header.bits_allocated,
        "bits_stored": header.bits_stored,
        "pixel_representation": int(header.signed),
        "pixel_keyword": "PixelData",
        "correct_unused_bits": False,
        "view_only": True,
    }
    plugin = _PLUGINS.get(header.transfer_syntax, "")
    # Decoders want bytes; a view of an uncompressed file needs no copy.
    source = bytes(element) if decoder.is_encapsulated else element
    try:
        with quiet_pydicom():
            return decoder.as_array(source, index=index, raw=True, decoding_plugin=plugin, **options)[0]
    except NotImplementedError:
        raise _no_decoder(header) from None
    except Exception as error:  # each decoder has its own kinds
        name = type(error).__name__
        raise ImageError(
            f"{header.path}: pixels cannot be decoded ({_syntax(header)}, {name}), damaged; copy it again"
        ) from None


def _decoder(header: Header) -> Any:
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID

    try:
        decoder = get_decoder(UID(header.transfer_syntax))
    except NotImplementedError:
        raise _no_decoder(header) from None
    if not decoder.is_available or header.transfer_syntax == _LOSSY_JPEG_12:
        raise _no_decoder(header)
    return decoder


def _no_decoder(header: Header) -> UnsupportedFormatError:
    return UnsupportedFormatError(
        f"{header.path}: pixels in {_syntax(header)} are not read; decompress the series (such as by gdcmconv -w)"
    )


def _syntax(header: Header) -> str:
    from pydicom.uid import UID

    return UID(header.transfer_syntax).name


def _check_whole(header: Header, element: memoryview) -> None:
    """Every item of the encapsulated pixels must be there: decoders fill up what is cut off."""
    at = 0
    while at + 8 <= len(element) and bytes(element[at : at + 4]) == _ITEM:
        at += 8 + int.from_bytes(element[at + 4 : at + 8], "little")
    if at == 0 or at > len(element) or (at < len(element) and bytes(element[at : at + 4]) != _END):
        raise ImageError(f"{header.path}: truncated or damaged compressed pixels; copy it again")
