"""A DICOM series → Volume: each file is read once, in any order, under any name."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import BinaryIO
from warnings import warn

from flexict_core.errors import DataWarning, ImageError, InputError, UnsupportedFormatError
from flexict_core.io.dicom_file import is_dicom, quiet_pydicom, read_with_pixels
from flexict_core.io.dicom_geometry import OnGaps, check_gaps, resample_even, straighten
from flexict_core.io.dicom_header import Header
from flexict_core.io.dicom_pixels import HuPlanes
from flexict_core.io.dicom_series import CT, ENHANCED_CT, Series, find_files, may_be_ct, pick_series
from flexict_core.volume import DicomOrigin, Volume

_AHEAD = 8  # files
_FETCH_BYTES = 1 << 23
NAMED_DICOM = (".dcm", ".dicom", ".ima")


def read_dicom(
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    series_uid: str | None = None,
    on_gaps: OnGaps = "refuse",
) -> Volume:
    """Read one CT series.

    source: a folder (and what lies below it), a list of files, or one multi-frame file; other files in a
    folder are passed over. series_uid: which series, where there are several.
    on_gaps: "refuse" missing and unevenly spaced slices, or "resample" them linearly to an even spacing.

    Slices are ordered along their normal, rescaled each by its own slope and intercept; padding becomes air
    (-1000 HU, see `dicom_pixels`). A tilted gantry is undone: slices are shifted to where they lie, linear
    within the slice, and the volume grows by as much. The affine is at right angles.

    Raises ImageError, in one line without patient data, for everything that is no CT volume of one patient,
    and UnsupportedFormatError for pixels that no decoder reads or where there is no DICOM at all.
    """
    if on_gaps not in ("refuse", "resample"):
        raise InputError(f"on_gaps {on_gaps!r} is not known; choose 'refuse' or 'resample'")
    where, files, strict = _sources(source)
    headers, planes = _read(files, series_uid, strict=strict)
    if not headers:
        raise UnsupportedFormatError(f"{where}: no DICOM file here; give a CT series or another image file")
    series = pick_series(headers, series_uid, where=str(where))
    if series.derived:
        warn(f"{where}: images derived from others were asked for and taken", DataWarning, stacklevel=3)
    try:
        return _assemble(series, planes, where, on_gaps)
    except UnsupportedFormatError:
        raise
    except ImageError as error:
        text = str(error)  # of a file, or of the series as a whole
        named = any(text.startswith(f"{path}: ") for path in (where, *(h.path for h in series.headers)))
        raise ImageError(text if named else f"{where}: {text}") from None


def _assemble(series: Series, planes: HuPlanes, where: Path, on_gaps: OnGaps) -> Volume:
    stack = series.stack()
    if on_gaps == "refuse":
        check_gaps(stack)
    frames = [(header.path, frame) for header in series.headers for frame in range(header.frames)]
    array = planes.in_order([frames[i] for i in stack.order])
    affine = stack.affine
    if stack.is_sheared:
        array, affine = straighten(array, stack)
    if not stack.is_regular:
        array = resample_even(array, stack)
    return Volume(array, affine, where, DicomOrigin(series.series_uid, series.frame_uid))


# ── files ───────────────────────────────────────────────────────────────────────────────────────────────


def _sources(
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
) -> tuple[Path, list[Path], bool]:
    """What to call the source, its files, and whether each of them must be DICOM."""
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        return (path, find_files(path), False) if path.is_dir() else (path, [path], True)
    files = [Path(file) for file in source]
    if not files:
        raise InputError("no files given; give the files of one series")
    return Path(os.path.commonpath([file.parent for file in files])), files, True


def _read(files: Sequence[Path], series_uid: str | None, *, strict: bool) -> tuple[list[Header], HuPlanes]:
    """Headers of all files, and the planes of the series that can be meant."""
    headers: list[Header] = []
    planes = HuPlanes(len(files))
    wanted = series_uid
    with quiet_pydicom():
        for path, content in _contents(files):
            read = read_with_pixels(path, content)
            if read is None:
                _check_foreign(path, content, strict=strict)
                continue
            header, element = read
            _check_whole(header, element)
            headers.append(header)
            if not may_be_ct(header, named=series_uid is not None):
                continue
            wanted = wanted or header.series_uid
            if header.series_uid == wanted:
                planes.add(header, element)
            elif series_uid is None:
                wanted = "-"  # several series: an error, once all are known; no pixels are needed
                planes = HuPlanes(0)
    return headers, planes


def _check_whole(header: Header, element: memoryview) -> None:
    """A slice that was cut off before its pixels must not be lost as some other object."""
    # The class itself may be cut off, too: then it is the beginning of one of these.
    if not element and any(ct.startswith(header.sop_class) for ct in (CT, *ENHANCED_CT)):
        raise ImageError(f"{header.path}: truncated before its pixels; copy it again")


def _check_foreign(path: Path, content: bytes, *, strict: bool) -> None:
    """A file that is not DICOM is passed over in a folder, unless it seems to be a damaged slice."""
    if path.name.startswith(".") and not strict:  # .DS_Store, ._slice.dcm
        return
    if not content and (strict or path.suffix.lower() in (*NAMED_DICOM, "")):
        raise ImageError(f"{path}: the file is empty (0 bytes); copy it again from its source")
    if strict or path.suffix.lower() in NAMED_DICOM:
        raise ImageError(f"{path}: not a DICOM file (its first bytes are not a DICOM header)")


def _contents(files: Sequence[Path]) -> Iterator[tuple[Path, bytes]]:
    """The bytes of each DICOM file, and the first bytes of each other file.

    A few files are opened ahead, and the system told to fetch them: a disk or network then reads while this
    process decodes. (Threads would wait for the interpreter's lock more than for a warm disk.)
    """
    ahead: deque[tuple[Path, BinaryIO]] = deque()
    waiting = iter(files)
    try:
        while True:
            ahead.extend((path, _opened(path)) for path in islice(waiting, _AHEAD - len(ahead)))
            if not ahead:
                return
            path, stream = ahead.popleft()
            try:
                with stream:
                    head = stream.read(132)
                    if is_dicom(head):
                        stream.seek(0)
                        head = stream.read()
            except OSError as error:
                raise _unreadable(path, error) from None
            yield path, head
    finally:
        for _, stream in ahead:
            stream.close()


def _opened(path: Path) -> BinaryIO:
    try:
        stream = path.open("rb", buffering=0)
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(stream.fileno(), 0, _FETCH_BYTES, os.POSIX_FADV_WILLNEED)
    except OSError as error:
        raise _unreadable(path, error) from None
    return stream


def _unreadable(path: Path, error: OSError) -> ImageError:
    return ImageError(f"{path}: cannot be read ({error.strerror or error}); check the file")
