"""DICOM files → series: which files belong together, and which of them are CT planes of one patient."""

from __future__ import annotations

import math
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from flexict_core.errors import ImageError
from flexict_core.io.dicom_geometry import Stack, stack_planes
from flexict_core.io.dicom_header import Header

RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")  # bitmaps, label map
CT = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT = ("1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")  # original, converted
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_HU_TYPES = ("", "HU", "HU_MOD", "US")  # US is "unspecified", which scanners write for HU
_LARGEST = 8192  # pixels a side; scanners reach 2048
_NOT_IMAGES = {
    RTSTRUCT: "a structure set (RTSTRUCT), no image",
    **dict.fromkeys(SEGMENTATIONS, "a segmentation (SEG), no CT"),
    "1.2.840.10008.5.1.4.1.1.481.2": "a dose distribution (RTDOSE), no CT",
    "1.2.840.10008.5.1.4.1.1.481.5": "a treatment plan (RTPLAN), no image",
    "1.2.840.10008.5.1.4.1.1.104.1": "an encapsulated PDF, no image",
    "1.2.840.10008.5.1.4.1.1.66.1": "a spatial registration, no image",
}
_NOT_IMAGES_BY_ROOT = {
    "1.2.840.10008.5.1.4.1.1.88.": "a structured report (such as a dose report), no image",
    "1.2.840.10008.5.1.4.1.1.11.": "a presentation state, no image",
    _SECONDARY_CAPTURE: "a secondary capture, no CT",
}
_DERIVED = "derived"  # the one reason that naming the series overrules


@dataclass(frozen=True)
class Series:
    """The files of one SeriesInstanceUID.

    headers: its CT images, in the order of their names. set_aside: its other files, each with its reason.
    refusal: why it is no CT volume as far as the headers tell, or None. derived: its images were computed
    from others; that alone is a refusal which asking for the series by its UID overrules.
    """

    series_uid: str
    headers: tuple[Header, ...]
    set_aside: tuple[tuple[Header, str], ...]
    refusal: str | None
    derived: bool = False

    @property
    def modality(self) -> str:
        return self._any.modality

    @property
    def frame_uid(self) -> str:
        return self._any.frame_uid

    @property
    def study_uid(self) -> str:
        return self._any.study_uid

    @property
    def images(self) -> int:
        """Number of frames."""
        return sum(h.frames for h in self.headers) or len(self.set_aside)

    @property
    def _any(self) -> Header:
        return self.headers[0] if self.headers else self.set_aside[0][0]

    def stack(self) -> Stack:
        """Its planes in order. Raises ImageError, without a name in front, where they are no stack."""
        planes = [plane for h in self.headers for plane in h.planes]
        sizes = [(h.rows, h.columns) for h in self.headers for _ in h.planes]
        # The frames of a multi-frame file have no instance number of their own.
        instances = [h.instance_number for h in self.headers] if len(planes) == len(self.headers) else []
        return stack_planes(planes, sizes=sizes, instances=instances)


def find_files(folder: str | os.PathLike[str]) -> list[Path]:
    """All files in a folder and below, sorted. Links to folders are not followed, so no loop is entered; a
    link to nothing counts as a file, which will not open. Pipes and devices are passed over."""
    found: list[Path] = []
    below: list[str] = []
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda e: e.name):
            if entry.is_dir(follow_symlinks=False):
                below.append(entry.path)
            elif entry.is_symlink():
                if os.path.isfile(entry.path) or not os.path.exists(entry.path):
                    found.append(Path(entry.path))
            elif entry.is_file():
                found.append(Path(entry.path))
    return found + [file for path in below for file in find_files(path)]


def group_series(headers: Iterable[Header]) -> list[Series]:
    """One entry a SeriesInstanceUID, in the order of their first file."""
    groups: dict[str, list[Header]] = defaultdict(list)
    for header in headers:
        groups[header.series_uid].append(header)
    return [_series(uid, group) for uid, group in groups.items()]


def pick_series(headers: Sequence[Header], series_uid: str | None, *, where: str) -> Series:
    """The one CT series among the files, or the one asked for.

    Raises ImageError where it is not there, is no CT volume, or is not the only one (it lists them), and
    where the files belong to several patients.
    """
    found = group_series(headers)
    if series_uid is None:
        patients = count_patients(headers)
        if patients > 1:
            raise ImageError(
                f"{where}: files of {patients} patients; give each patient a folder, or series_uid"
            )
        good = [s for s in found if s.refusal is None]
        if len(good) > 1:
            raise ImageError(f"{where}: {len(good)} CT series; choose one by series_uid: {_listing(good)}")
        if not good and len(found) > 1:
            reasons = Counter(s.refusal for s in found)
            raise ImageError(f"{where}: no CT volume in {len(found)} series: {_reasons(reasons)}")
        chosen = good[0] if good else found[0]
    else:
        match = [s for s in found if s.series_uid == series_uid]
        if not match:
            raise ImageError(f"{where}: no series {series_uid}; it holds {_listing(found)}")
        chosen = match[0]
    if chosen.refusal is not None and not (series_uid and chosen.derived):
        raise ImageError(f"{where}: {chosen.refusal}")
    return chosen


def count_patients(headers: Iterable[Header]) -> int:
    """How many patients the files belong to: other IDs, or one ID with two birth dates."""
    births: dict[str, set[str]] = defaultdict(set)
    for header in headers:
        births[header.patient_id].add(header.birth_date)
    return sum(max(1, len(dates - {""})) for dates in births.values())


def why_not_ct(header: Header) -> str | None:
    """Why this file cannot be a plane of a CT volume; None where nothing in its header says so."""
    if (reason := _kind(header)) is not None:
        return reason
    if header.modality != "CT":
        return f"modality {header.modality or 'unknown'}, not CT"
    if (reason := _other_pixels(header)) is not None:
        return reason
    types = set(header.image_type).union(*(plane.image_type for plane in header.planes))
    if "LOCALIZER" in types:
        return "a localizer (scout), no volume"
    if (reason := _fault(header)) is not None:
        return reason
    if (header.image_type or ("",))[0] == "DERIVED":
        return _DERIVED
    return None


def _other_pixels(header: Header) -> str | None:
    """Pixels as of a screen capture."""
    if header.samples != 1 or not header.photometric.startswith("MONOCHROME"):
        return f"colour pixels ({header.photometric or 'unknown'}), a screen capture"
    if 0 < header.bits_stored <= 8:
        return f"{header.bits_stored} bits a pixel are grey values, not HU"
    return None


def _fault(header: Header) -> str | None:
    """What keeps a CT slice from being read."""
    if not header.rows or not header.columns or header.frames < 1:
        return "no pixels in the file"
    if max(header.rows, header.columns) > _LARGEST:
        return f"an image of {header.rows} x {header.columns} pixels, no CT scanner's; check the header"
    if not all(math.isfinite(v) for plane in header.planes for v in (plane.slope, plane.intercept)):
        return "RescaleSlope or RescaleIntercept is no number; repair the header"
    if header.rescale_type not in _HU_TYPES:
        return f"values in {header.rescale_type}, not HU"
    if header.bits_allocated not in (16, 32):
        return f"{header.bits_allocated} bits allocated a pixel are not read; give 16"
    if not header.series_uid:
        return "no SeriesInstanceUID; give the file as its scanner wrote it"
    if len(header.planes) != header.frames:
        return "no place in the patient (ImagePositionPatient, ImageOrientationPatient, PixelSpacing)"
    return None


def may_be_ct(header: Header, *, named: bool) -> bool:
    """Whether the file's pixels can become part of a volume; `named`: its series was asked for by UID."""
    reason = why_not_ct(header)
    return reason is None or (named and reason == _DERIVED)


def _kind(header: Header) -> str | None:
    if header.sop_class in _NOT_IMAGES:
        return _NOT_IMAGES[header.sop_class]
    for root, reason in _NOT_IMAGES_BY_ROOT.items():
        if header.sop_class.startswith(root):
            return reason
    return None


def _series(uid: str, group: Sequence[Header]) -> Series:
    reasons = [why_not_ct(header) for header in group]
    good = tuple(h for h, reason in zip(group, reasons, strict=True) if reason is None)
    derived = not good and _DERIVED in reasons
    if derived:
        good = tuple(h for h, reason in zip(group, reasons, strict=True) if reason == _DERIVED)
    kept = {id(header) for header in good}
    aside = tuple((h, _said(h, r)) for h, r in zip(group, reasons, strict=True) if id(h) not in kept and r)
    return Series(uid, good, aside, _refusal(good, aside, derived), derived)


def _refusal(good: Sequence[Header], aside: Sequence[tuple[Header, str]], derived: bool) -> str | None:
    if not good:
        return _reasons(Counter(reason for _, reason in aside))
    if (patients := count_patients(good)) > 1:
        return f"one series with images of {patients} patients; split them"
    if len({header.frame_uid for header in good}) > 1:
        return "one series with several frames of reference; split it"
    if len({header.study_uid for header in good}) > 1:
        return "one series in several studies; split it"
    # A slice that is set aside for a fault leaves a shorter volume or a gap, and nobody would know why.
    spoilt = [reason for header, reason in aside if _is_slice(header) and reason == _fault(header)]
    if spoilt:
        return (
            f"{len(spoilt)} of {len(good) + len(spoilt)} images cannot be used: {_reasons(Counter(spoilt))}"
        )
    if (reason := _unequally_rescaled(good)) is not None:
        return reason
    # Last, because asking for the series by name overrules it, and nothing else.
    return _said(good[0], _DERIVED) if derived else None


def _is_slice(header: Header) -> bool:
    return header.sop_class in (CT, *ENHANCED_CT) and header.image_type[:1] != ("DERIVED",)


def _unequally_rescaled(good: Sequence[Header]) -> str | None:
    """Some slices without what others have: theirs would be read hundreds of HU off."""
    planes = [plane for header in good for plane in header.planes]
    for name in ("RescaleSlope", "RescaleIntercept"):
        without = sum(name in plane.lacking for plane in planes)
        if 0 < without < len(planes):
            return (
                f"{name} is missing in {without} of {len(planes)} images; copy them again from their source"
            )
    return None


def _said(header: Header, reason: str) -> str:
    if reason != _DERIVED:
        return reason
    kind = "\\".join(header.image_type)
    return f"derived images ({kind}), not what the scanner reconstructed; name the series_uid to take them"


def _reasons(reasons: Counter[str | None]) -> str:
    """The most frequent ones, counted where there are several."""
    shown = [
        f"{reason} ({n})" if n > 1 < len(reasons) else str(reason) for reason, n in reasons.most_common(3)
    ]
    return "; ".join(shown) + (f"; and {len(reasons) - 3} more reasons" if len(reasons) > 3 else "")


def _listing(series: Sequence[Series]) -> str:
    shown = [f"{s.series_uid} ({s.modality or '?'}, {s.images} images)" for s in series[:10]]
    return ", ".join(shown) + (f" and {len(series) - 10} more" if len(series) > 10 else "")
