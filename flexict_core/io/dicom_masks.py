"""DICOM masks: which kind a file is, and the one mask of a folder."""

from __future__ import annotations

import os
from pathlib import Path

from flexict_core.errors import MaskError, UnsupportedFormatError
from flexict_core.io.dicom_file import read_header
from flexict_core.io.dicom_header import Header
from flexict_core.io.dicom_seg import read_seg
from flexict_core.io.dicom_series import RTSTRUCT, SEGMENTATIONS, find_files
from flexict_core.io.rtstruct import read_rtstruct
from flexict_core.volume import Volume


def read_dicom_mask(
    path: str | os.PathLike[str], *, label: int | str | None, reference: Volume | None
) -> Volume:
    """An RTSTRUCT or SEG file, or the only one in a folder. Raises MaskError, see `flexict_core.io`."""
    return mask_of(mask_header(Path(path)), label=label, reference=reference)


def mask_of(header: Header, *, label: int | str | None, reference: Volume | None) -> Volume:
    """The same for a file whose header was read already."""
    if header.sop_class in SEGMENTATIONS:
        return read_seg(header.path, reference=reference, segment=label)
    if reference is None:
        raise MaskError(
            f"{header.path}: contours have no voxels of their own; give the CT they were drawn on"
        )
    return read_rtstruct(header.path, reference=reference, region=label)


def mask_header(path: Path) -> Header:
    """The header of a DICOM mask, or of the only one in a folder. Raises MaskError, see `read_dicom_mask`."""
    files = find_files(path) if path.is_dir() else [path]
    headers = [header for file in files if (header := read_header(file)) is not None]
    if not headers:
        if path.is_dir():
            raise UnsupportedFormatError(
                f"{path}: no DICOM file here; give an RTSTRUCT, a SEG or a label map"
            )
        raise MaskError(f"{path}: not a DICOM file (its first bytes are not a DICOM header)")
    masks = [header for header in headers if header.sop_class in (RTSTRUCT, *SEGMENTATIONS)]
    if not masks:
        kind = headers[0].modality or "unknown"
        raise MaskError(f"{path}: DICOM of modality {kind}, no mask; give an RTSTRUCT or a SEG")
    if len(masks) > 1:
        names = ", ".join(header.path.name for header in masks[:5])
        raise MaskError(f"{path}: {len(masks)} masks in this folder; name one of {names}")
    return masks[0]
