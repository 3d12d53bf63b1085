"""DICOM segmentation (SEG) → mask, through highdicom."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import get_ident
from typing import Any

import numpy as np

from flexict_core.errors import MaskError
from flexict_core.io.dicom_file import quiet_pydicom
from flexict_core.io.dicom_values import integer, items, text
from flexict_core.io.mask_grid import coincide, onto_grid
from flexict_core.volume import DicomOrigin, Volume

_INSIDE = 0.5  # of a fractional segmentation


@dataclass(frozen=True)
class Segment:
    """One segment of a SEG."""

    number: int
    label: str


@dataclass(frozen=True)
class Segmentation:
    """What a SEG holds, and the series and frame of reference that it was drawn on."""

    segments: tuple[Segment, ...]
    series_uids: tuple[str, ...]
    frame_uid: str


def read_segmentation(path: str | os.PathLike[str]) -> Segmentation:
    """Segments of a SEG and the series it refers to, pixels unread. Raises MaskError for a damaged file."""
    from pydicom import dcmread

    path = Path(path)
    try:
        with quiet_pydicom():
            return _segmentation(dcmread(path, stop_before_pixels=True))
    except OSError as error:
        raise MaskError(f"{path}: cannot be read ({error.strerror or error}); check the file") from None
    except Exception as error:
        raise MaskError(f"{path}: damaged SEG ({type(error).__name__}); copy it again") from None


def read_seg(
    path: str | os.PathLike[str], *, reference: Volume | None = None, segment: int | str | None = None
) -> Volume:
    """One segment as a bool mask; of a fractional segmentation what is at least half inside.

    segment: its number or label; None where there is only one.
    reference: the CT. The mask comes back on its grid, by the nearest voxel where the SEG has another grid in
    the same frame of reference; without a reference it keeps its own grid.

    Raises MaskError for a segment that is not there or not the only one (the text lists them), an empty or
    damaged SEG, one that reaches outside the CT, and another frame of reference than the CT's. A CT that was
    converted names no frame: its voxels must coincide with those of the SEG.
    """
    path = Path(path)
    content = read_segmentation(path)
    chosen = _choose(path, content, segment)
    frames = (content.frame_uid, reference.dicom.frame_uid if reference and reference.dicom else "")
    if all(frames) and frames[0] != frames[1]:
        raise MaskError(
            f"{path}: drawn in another frame of reference than its CT's; give the CT it was drawn on"
        )
    mask = _read(path, chosen, content)
    if reference is None:
        if not mask.array.any():
            raise MaskError(f"{path}: segment {chosen.label!r} is empty; choose another")
        return mask
    if not all(frames) and not coincide(mask, reference):
        raise MaskError(
            f"{path}: the mask lies on another grid than its CT and one of them names no frame of reference; "
            f"give the CT as DICOM"
        )
    return onto_grid(mask, reference)


def _segmentation(ds: Any) -> Segmentation:
    found = [
        Segment(number, text(item, "SegmentLabel"))
        for item in items(ds, "SegmentSequence")
        if (number := integer(item, "SegmentNumber")) is not None and number > 0  # 0 is background
    ]
    series = [text(item, "SeriesInstanceUID") for item in items(ds, "ReferencedSeriesSequence")]
    uids = tuple(dict.fromkeys(uid for uid in series if uid))
    return Segmentation(tuple(found), uids, text(ds, "FrameOfReferenceUID"))


def _choose(path: Path, content: Segmentation, segment: int | str | None) -> Segment:
    segments = content.segments
    listing = ", ".join(f"{s.number} {s.label!r}" for s in segments[:20]) or "none"
    listing += f" and {len(segments) - 20} more" if len(segments) > 20 else ""
    if segment is None:
        found = list(segments)
        if len(found) > 1:
            raise MaskError(f"{path}: {len(found)} segments and none was chosen; name one of {listing}")
    elif isinstance(segment, int):
        found = [s for s in segments if s.number == segment]
    else:
        found = [s for s in segments if s.label.casefold() == segment.strip().casefold()]
    if len(found) != 1:
        count = "no segment" if not found else f"{len(found)} segments"
        asked = "" if segment is None else f" {segment!r}"
        raise MaskError(f"{path}: {count}{asked}; it holds {listing}")
    return found[0]


@lru_cache(maxsize=1)
def _parsed(path: Path, stamp: tuple[int, int], thread: int) -> Any:
    """The SEG that was read last: parsing takes as long as its frames are many, and each segment needs it.

    stamp: tells a rewritten file. thread: highdicom's tables may only be used in the thread that made them.
    """
    import highdicom

    return highdicom.seg.segread(path)


def _read(path: Path, chosen: Segment, content: Segmentation) -> Volume:
    try:
        stat = path.stat()
        with quiet_pydicom():
            whole = _parsed(path, (stat.st_size, stat.st_mtime_ns), get_ident())
            volume = whole.get_volume(segment_numbers=[chosen.number])
    except Exception as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise MaskError(f"{path}: the SEG cannot be read as a volume ({reason}); export it again") from None
    array = volume.array.reshape(volume.array.shape[:3])  # one segment: (slice, row, column)
    affine = np.array(volume.affine, dtype=np.float64)[:, [2, 1, 0, 3]]  # columns x, y, z
    return Volume(array >= _INSIDE, affine, path, DicomOrigin("", content.frame_uid))
