"""What a manifest row's vector is made from, as a hash, and as sizes and times that can stand for it.

Of a DICOM folder only the files of the row's series count: a table, a store or another series that is put beside
them changes nothing. Nor do the files' names.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from flexict_core.errors import ImageError
from flexict_core.intake.pseudonyms import is_pseudonym
from flexict_core.manifest import ManifestRow

_RACY_S = 2.0  # a file written this recently may change again within the clock's tick
_NEVER_SLICES = frozenset(
    {".csv", ".tsv", ".xlsx", ".json", ".parquet", ".txt", ".md", ".log", ".html", ".pdf", ".png", ".svg"}
)


def wanted_series(row: ManifestRow) -> str | None:
    """The series to read from the row's DICOM folder; None where the folder alone says it.

    A pseudonym is in no DICOM file; the scan that wrote it made sure that the folder holds one series.
    """
    return series_in(row.series_uid)


def series_in(series_uid: object, image: Path | None = None) -> str | None:
    """The same for a row of a store, whose series may be None or NaN; None for an image that is no folder."""
    uid = series_uid if isinstance(series_uid, str) else ""
    return None if not uid or is_pseudonym(uid) or (image is not None and not image.is_dir()) else uid


def source_sha256(paths: Sequence[Path], row: ManifestRow, *, digests: Sequence[str] | None = None) -> str:
    """Hash of what the row's vector is made from. paths: of its image, and of its mask where it has one.

    The image alone gives the hash of its bytes; a mask, label, seed point or resampling is hashed with
    it. OSError for a file
    that cannot be read. digests: what `file_sha256s` gave, where it was asked already.
    """
    digests = file_sha256s(paths, row) if digests is None else list(digests)
    if len(digests) == 1 and row.seed_lps_mm is None and row.on_gaps == "refuse":
        return digests[0]
    parts = (digests, row.mask_label, row.seed_lps_mm, *((row.on_gaps,) if row.on_gaps != "refuse" else ()))
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def file_sha256s(paths: Sequence[Path], row: ManifestRow) -> list[str]:
    """Hash of the bytes of each file; a folder's is that of the sorted hashes of its files that count."""
    series = wanted_series(row)
    return [_cached(path, series if i == 0 else None, i > 0) for i, path in enumerate(paths)]


def file_state(path: Path) -> list[tuple[int, ...]]:
    """Size, time and inode of a file, or of a folder's files: another one as soon as something is written."""
    stats = [file.stat() for file in _files(path)]
    return [(s.st_size, s.st_mtime_ns, s.st_ino) for s in stats]


def source_stat(paths: Sequence[Path], row: ManifestRow) -> str:
    """Sizes and times of the files, as text; "" where they cannot stand for the content."""
    texts = [_stat(path) for path in paths]
    told = [str(row.mask_label), str(row.seed_lps_mm), *([row.on_gaps] if row.on_gaps != "refuse" else [])]
    return "|".join([*texts, *told]) if all(texts) else ""


def _cached(path: Path, series: str | None, is_mask: bool) -> str:
    """The digest, once for the regions of one image."""
    stat = _stat(path)
    return _digest_at(path, series, is_mask, stat) if stat else _digest(path, series, is_mask)


@lru_cache(maxsize=8)
def _digest_at(path: Path, series: str | None, is_mask: bool, stat: str) -> str:
    return _digest(path, series, is_mask)


def _digest(path: Path, series: str | None, is_mask: bool) -> str:
    if not path.is_dir():
        return _file_digest(path)
    members = _members(path, series, is_mask)
    return hashlib.sha256("\n".join(sorted(map(_file_digest, members))).encode()).hexdigest()


def _file_digest(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _members(folder: Path, series: str | None, is_mask: bool) -> list[Path]:
    """The files below a folder that its CT series, or the mask in it, consists of.

    A damaged DICOM file counts, because nobody knows whose it is.
    """
    from flexict_core.io.dicom_file import quiet_pydicom, read_header
    from flexict_core.io.dicom_series import RTSTRUCT, SEGMENTATIONS, may_be_ct

    found = []
    with quiet_pydicom():
        for file in _slices(folder):
            try:
                header = read_header(file)
            except ImageError:
                found.append(file)
                continue
            if header is None:
                continue
            if is_mask:
                mine = header.sop_class in (RTSTRUCT, *SEGMENTATIONS)
            else:
                mine = header.series_uid == series if series else may_be_ct(header, named=False)
            if mine:
                found.append(file)
    return found


def _slices(folder: Path) -> list[Path]:
    """The files below that may be DICOM, by their names."""
    from flexict_core.io.dicom_series import find_files

    return [file for file in find_files(folder) if file.suffix.lower() not in _NEVER_SLICES]


def _files(path: Path) -> list[Path]:
    # Hidden files are locks and the like: a series that is hidden is hashed, but its changes are not looked for.
    return [f for f in _slices(path) if not f.name.startswith(".")] if path.is_dir() else [path]


def _stat(path: Path) -> str:
    texts = []
    for file in _files(path):
        stat = file.stat()
        if time.time() - stat.st_mtime < _RACY_S:
            return ""
        texts.append(f"{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ino}")
    if not path.is_dir():
        return texts[0]
    return f"{len(texts)}:{hashlib.sha256(' '.join(texts).encode()).hexdigest()}"
