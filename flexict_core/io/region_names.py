"""Regions of a mask by name: RTSTRUCT, DICOM SEG, and segmentations of 3D Slicer (.seg.nrrd)."""

from __future__ import annotations

import os
import re
from pathlib import Path

from flexict_core.errors import MaskError
from flexict_core.io.dicom_masks import mask_header
from flexict_core.io.dicom_seg import read_segmentation
from flexict_core.io.dicom_series import RTSTRUCT
from flexict_core.io.rtstruct import read_structure_set

_NRRD = (".nrrd", ".nhdr")
_LABEL_MAPS = (*_NRRD, ".nii", ".nii.gz", ".mha", ".mhd")
_HEADER_LINES = 100_000
_SEGMENT = re.compile(r"Segment(\d+)_(Name|LabelValue):=(.*)")


def region_number(path: str | os.PathLike[str], name: str) -> int:
    """The number or label of the region with a name, in any case.

    Raises MaskError where there is none or several of that name (the text lists those that are there), and for a
    format without names.
    """
    file = Path(path)
    regions = _named_regions(file)
    if not regions:
        raise MaskError(f"{file}: label {name!r} is a name, and the regions here have numbers only; give one")
    wanted = name.strip().casefold()
    found = [number for number, own in regions if own.strip().casefold() == wanted]
    if len(found) != 1:
        shown = ", ".join(f"{number} {own!r}" for number, own in regions[:20])
        more = f" and {len(regions) - 20} more" if len(regions) > 20 else ""
        count = f"{len(found)} regions" if found else "no region"
        raise MaskError(f"{file}: {count} {name!r}; it holds {shown}{more}")
    return found[0]


def segment_names(path: Path) -> dict[int, str]:
    """Label → name of the segments that a header of 3D Slicer names; empty for every other label map."""
    if path.suffix.lower() not in _NRRD:
        return {}
    fields: dict[str, dict[str, str]] = {}
    try:
        with path.open("rb") as stream:
            for _ in range(_HEADER_LINES):
                line = stream.readline(1 << 16).decode("utf-8", "replace").strip()
                if not line:
                    break
                if match := _SEGMENT.fullmatch(line):
                    fields.setdefault(match[1], {})[match[2]] = match[3].strip()
    except OSError as error:
        raise MaskError(f"{path}: cannot be read ({error.strerror or error}); check the file") from None
    return {
        int(field["LabelValue"]): field["Name"]
        for field in fields.values()
        if field.get("Name") and field.get("LabelValue", "").isdigit()
    }


def _named_regions(path: Path) -> list[tuple[int, str]]:
    if path.name.lower().endswith(_LABEL_MAPS):
        return list(segment_names(path).items())
    header = mask_header(path)
    if header.sop_class == RTSTRUCT:
        return [(region.number, region.name) for region in read_structure_set(header.path).regions]
    return [(segment.number, segment.label) for segment in read_segmentation(header.path).segments]
