"""A tree of files → DICOM headers, image files, and what is neither."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flexict_core.archive import UNFINISHED
from flexict_core.errors import ImageError
from flexict_core.intake.entries import LeftOut
from flexict_core.intake.names import IMAGE_SUFFIXES
from flexict_core.io.dicom import NAMED_DICOM
from flexict_core.io.dicom_file import quiet_pydicom, read_header
from flexict_core.io.dicom_header import Header

_VOXELS_OF_A_HEADER = (".raw", ".zraw", ".raw.gz", ".img", ".img.gz", ".bin")


@dataclass
class Sorted:
    """headers: of all DICOM files. images: NIfTI, NRRD and MetaImage files."""

    headers: list[Header] = field(default_factory=list)
    images: list[Path] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)


def list_files(
    places: Sequence[Path], *, root: Path, besides: Iterable[Path]
) -> tuple[list[Path], list[LeftOut]]:
    """All files of some files and folders, each once, sorted; and those that a manifest in `root` cannot name.

    Links to folders are not followed, so no loop is entered. besides: files to pass over in silence.
    """
    files: dict[Path, None] = {}
    lost: list[LeftOut] = []
    folders = [place for place in places if place.is_dir()]
    files.update(dict.fromkeys(place for place in places if not place.is_dir()))
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as listed:
                entries = sorted(listed, key=lambda entry: entry.name)
        except OSError as error:
            lost.append(LeftOut(folder, f"folder cannot be read ({error.strerror}); check its rights", True))
            continue
        for entry in entries:
            path = Path(entry.path)
            if entry.name == UNFINISHED:
                lost.append(LeftOut(path, "a download that was not finished; give the same fetch again"))
            elif entry.is_dir(follow_symlinks=False):
                folders.append(path)
            elif entry.is_symlink() and path.is_dir():
                lost.append(LeftOut(path, "a link to a folder, not followed; scan that folder itself"))
            elif entry.is_symlink() or entry.is_file():  # in this order: a loop of links has no kind
                files[path] = None
            else:
                lost.append(LeftOut(path, "a pipe, socket or device, no file"))
    good = []
    for path in sorted(files.keys() - set(besides)):
        reason = _why_unnameable(path, root, files)
        if reason is None:
            good.append(path)
        else:
            lost.append(LeftOut(path, reason, True))
    return good, lost


def _why_unnameable(path: Path, root: Path, files: dict[Path, None]) -> str | None:
    """Why a manifest cannot hold this path."""
    if path.is_symlink():
        try:
            real = path.resolve(strict=True)
        except (OSError, RuntimeError):
            return "a link to nothing; remove it or restore its file"
        if not real.is_relative_to(root):
            return "a link to a file outside the manifest's folder; copy the file here"
        if real in files:
            return "a link to a file that is scanned itself; remove the link"
    text = path.relative_to(root).as_posix()
    try:
        text.encode()
    except UnicodeEncodeError:
        return "its name is not UTF-8 text; rename it"
    if text != text.strip() or any(ord(c) < 32 for c in text):
        return "its name begins or ends with a space or holds a control character; rename it"
    return None


def sort_files(files: Sequence[Path], *, bar: Any) -> Sorted:
    """Read the header of every file that may be DICOM. `bar` (tqdm) is advanced by one a file."""
    found = Sorted()
    names = set(files)
    with quiet_pydicom():
        for path in files:
            bar.update(1)
            if path.name.lower().endswith(IMAGE_SUFFIXES):
                found.images.append(path)
                continue
            try:
                header = read_header(path)
            except ImageError as error:
                found.left_out.append(LeftOut(path, str(error).removeprefix(f"{path}: "), refused=True))
                continue
            if header is not None:
                found.headers.append(header)
            elif not _is_voxels(path, names):
                found.left_out.append(_foreign(path))
    return found


def _is_voxels(path: Path, names: set[Path]) -> bool:
    """Whether a file holds the voxels of a .mhd or .nhdr header beside it."""
    suffix = next((s for s in _VOXELS_OF_A_HEADER if path.name.lower().endswith(s)), None)
    if suffix is None:
        return False
    name = path.name[: -len(suffix)]
    return any(path.with_name(name + header) in names for header in (".mhd", ".nhdr"))


def _foreign(path: Path) -> LeftOut:
    if path.name.upper() == "DICOMDIR":
        return LeftOut(path, "a DICOM directory (DICOMDIR), no image")
    named = path.suffix.lower() in NAMED_DICOM
    if path.stat().st_size == 0:
        return LeftOut(path, "the file is empty (0 bytes); copy it again from its source", refused=named)
    if named:
        return LeftOut(path, "not a DICOM file (its first bytes are not a DICOM header)", refused=True)
    kind = f"a {path.suffix} file" if path.suffix else "a file without extension"
    return LeftOut(path, f"{kind}, not DICOM, NIfTI, NRRD or MetaImage")
