"""Find the CT volumes and masks below some folders, and write what `embed` and `audit` need to know of them."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from warnings import warn

from flexict_core.errors import DataWarning, InputError
from flexict_core.intake.entries import CtVolume, LeftOut, Roi
from flexict_core.intake.files import list_files, sort_files
from flexict_core.intake.hiding import Hiding, patient_names
from flexict_core.intake.pairing import matches, pair_dicom_mask, pair_label_map
from flexict_core.intake.pseudonyms import Pseudonyms
from flexict_core.intake.quality import COLUMNS as QUALITY_COLUMNS
from flexict_core.intake.tables import (
    LEFT_OUT_COLUMNS,
    MANIFEST_COLUMNS,
    left_out_row,
    manifest_rows,
    quality_row,
    write_table,
)
from flexict_core.intake.volumes import Volumes, read_images, read_series
from flexict_core.io.dicom_geometry import OnGaps
from flexict_core.io.dicom_header import Header
from flexict_core.io.dicom_series import RTSTRUCT, SEGMENTATIONS, count_patients, why_not_ct

QUALITY, LEFT_OUT = "quality.csv", "left_out.csv"


@dataclass(frozen=True)
class ScanReport:
    """What a scan found and wrote. rows: of the manifest. skipped: files and series never meant to be CT
    volumes or masks; refused: those that were and cannot be used. reasons: how often each was given."""

    manifest: Path
    quality: Path
    left_out: Path
    patients: int
    series: int
    rows: int
    skipped: int
    refused: int
    reasons: dict[str, int]

    def summary(self) -> str:
        """The scan in a few lines."""
        several = f" in {self.rows} rows" if self.rows != self.series else ""
        return (
            f"{self.series} CT volumes of {self.patients} patients{several}: {self.manifest}\n"
            f"how they were made: {self.quality}\n"
            f"{self.skipped} files and series skipped, {self.refused} refused: {self.left_out}"
        )


def scan(
    paths: Sequence[str | os.PathLike[str]],
    *,
    manifest: str | os.PathLike[str],
    quality: str | os.PathLike[str] | None = None,
    roi: Sequence[str] = (),
    key_file: str | os.PathLike[str] | None = None,
    on_gaps: OnGaps = "refuse",
    overwrite: bool = False,
    progress: bool = True,
) -> ScanReport:
    """Find CT volumes and masks below `paths` and write manifest, quality table and what was left out.

    DICOM files need no extension and may lie in any order; they are grouped by SeriesInstanceUID, and each
    series in the manifest was read once as `embed` will read it. RTSTRUCT and SEG go to the series they refer
    to; label maps to the CT on their grid that their name or place tells. One row a region; a CT without a
    mask has a row of its own, unless `roi` is given.

    manifest: the file to write; all paths in it are relative to its folder and lie there.
    quality: one row a CT series, also of those refused; beside the manifest unless told otherwise.
    `left_out.csv` beside the manifest holds everything else, with its reason.
    roi: take only regions that match one of these patterns (`GTV*`).
    on_gaps: "refuse" a DICOM series with missing or unevenly spaced slices, or "resample" it to an even spacing;
    the manifest then says so to `embed`, and the quality table to the reader.
    key_file: write pseudonyms of patient IDs and series UIDs instead, by the key in this file (made where it
    does not exist). A manifest then names a DICOM series by its folder alone, so that a folder of several
    series cannot be used. Paths are as they are; reasons, warnings and region names show no ID, UID or name.
    `intake.clinical` gives a clinical table the same pseudonyms.

    From DICOM, patient IDs are written, for the clinical table to join; names and birth dates never are.
    Raises InputError for a path that is not there or lies outside the manifest's folder, files that exist
    already, and where no CT volume is found (left_out.csv is written all the same).
    """
    target = Path(manifest)
    root = target.absolute().parent.resolve()
    table = Path(quality) if quality is not None else target.with_name(QUALITY)
    rest = target.with_name(LEFT_OUT)
    _check_targets((target, table, rest), overwrite=overwrite)
    places = [_place(Path(path), root, target) for path in paths]
    pseudonyms = Pseudonyms.from_file(key_file) if key_file is not None else None
    besides = [file.absolute().parent.resolve() / file.name for file in (target, table, rest)]
    if key_file is not None:
        besides.append(Path(key_file).resolve())

    volumes, headers = _read(places, root, besides=besides, on_gaps=on_gaps, progress=progress)
    rois = _pair(volumes, headers, wanted=roi, root=root)
    if pseudonyms is not None:
        _drop_mixed(volumes, headers, root=root)
    if roi:
        _drop_without(volumes, {id(r.volume) for r in rois}, roi, root=root)
    kept = {id(volume) for volume in volumes.found}
    rois = [r for r in rois if id(r.volume) in kept]

    rows = manifest_rows(volumes.found, rois, root)
    facts = [quality_row(v, root) for v in volumes.found] + [
        {**row, "in_manifest": "no"} for row in volumes.lost_quality
    ]
    lost = [left_out_row(entry, root) for entry in sorted(volumes.left_out, key=lambda e: str(e.path))]
    if pseudonyms is not None:
        ids = {str(row["patient_id"]) for row in (*rows, *facts, *lost)} - {""}
        hiding = Hiding.of(pseudonyms, ids=ids, names=patient_names(headers))
        hiding.warn_of_paths([*rows, *lost])
        rows, facts, lost = ([hiding.row(row) for row in part] for part in (rows, facts, lost))
    write_table(rest, LEFT_OUT_COLUMNS, lost)
    reasons = dict(Counter(str(row["reason"]) for row in lost).most_common())
    if not rows:
        raise InputError(_nothing(paths, reasons, rest))
    further = tuple(name for name in ("on_gaps", "synthetic") if any(name in row for row in rows))
    write_table(table, QUALITY_COLUMNS, facts)
    write_table(target, MANIFEST_COLUMNS + further, rows)
    return ScanReport(
        manifest=target,
        quality=table,
        left_out=rest,
        patients=len({row["patient_id"] for row in rows}),
        series=len(volumes.found),
        rows=len(rows),
        skipped=sum(not entry.refused for entry in volumes.left_out),
        refused=sum(entry.refused for entry in volumes.left_out),
        reasons=reasons,
    )


def _check_targets(files: Sequence[Path], *, overwrite: bool) -> None:
    if len({file.resolve() for file in files}) < len(files):
        names = ", ".join(str(file) for file in files)
        raise InputError(f"manifest, quality table and {LEFT_OUT} need three names, not {names}: rename one")
    for file in files:
        if file.is_dir() or (file.exists() and not overwrite):
            what = "is a folder: name a file" if file.is_dir() else "exists already: give --overwrite"
            raise InputError(f"{str(file)!r} {what} or another name")
        if not file.absolute().parent.is_dir():
            raise InputError(f"folder {str(file.parent)!r} of {file.name!r} does not exist: make it first")


def _place(path: Path, root: Path, manifest: Path) -> Path:
    """A path to scan, links resolved."""
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError):
        raise InputError(f"path {str(path)!r} does not exist: give a folder or an image file") from None
    if not real.is_relative_to(root):
        common = os.path.commonpath([real if real.is_dir() else real.parent, root])
        raise InputError(
            f"path {str(path)!r} lies outside the manifest's folder {str(root)!r}, and a manifest never leaves its "
            f"folder: write it to {str(Path(common) / manifest.name)!r}"
        )
    return real


def _read(
    places: Sequence[Path], root: Path, *, besides: Iterable[Path], on_gaps: OnGaps, progress: bool
) -> tuple[Volumes, list[Header]]:
    files, lost = list_files(places, root=root, besides=besides)
    with _bar(len(files), "headers", "file", shown=progress) as bar:
        found = sort_files(files, bar=bar)
    volumes = Volumes(left_out=[*lost, *found.left_out])
    images = [h for h in found.headers if h.sop_class not in (RTSTRUCT, *SEGMENTATIONS)]
    count = len({h.series_uid for h in images}) + len(found.images)
    with _bar(count, "volumes", "series", shown=progress) as bar:
        read_series(images, root=root, into=volumes, bar=bar, on_gaps=on_gaps)
        doubled = read_images(found.images, root=root, into=volumes, bar=bar)
    if doubled:
        shown = ", ".join(map(repr, doubled[:3])) + (
            f" and {len(doubled) - 3} more" if len(doubled) > 3 else ""
        )
        warn(
            f"several folders hold a patient {shown}: their IDs were written with the folder; correct patient_id "
            f"in the manifest where they are one person",
            DataWarning,
            stacklevel=3,
        )
    return volumes, found.headers


def _pair(volumes: Volumes, headers: Sequence[Header], *, wanted: Sequence[str], root: Path) -> list[Roi]:
    rois: list[Roi] = []
    for mask in volumes.label_maps:
        paired = pair_label_map(mask, volumes)
        if isinstance(paired, LeftOut):
            volumes.left_out.append(paired)
            continue
        rois += [r for r in paired if matches(r.roi_id, wanted)]
        if not any(matches(r.roi_id, wanted) for r in paired):
            volumes.left_out.append(LeftOut(mask.path, "a mask that is not asked for"))
    for header in headers:
        if header.sop_class in (RTSTRUCT, *SEGMENTATIONS):
            found, lost = pair_dicom_mask(header, volumes, wanted=wanted, root=root)
            rois += found
            volumes.left_out += lost
    return rois


def _drop_mixed(volumes: Volumes, headers: Sequence[Header], *, root: Path) -> None:
    """With pseudonyms, only the folder says which series is meant."""
    for volume in list(volumes.found):
        if volume.grid.dicom is None or not volume.image.is_dir():
            continue
        inside = [h for h in headers if h.path.is_relative_to(volume.image)]
        series = {h.series_uid for h in inside if why_not_ct(h) is None}
        if len(series) > 1 or count_patients(inside) > 1:
            reason = (
                f"{len(series)} CT series in one folder, which pseudonyms cannot tell apart; give each a folder"
                if len(series) > 1
                else "files of several patients in one folder; give each patient a folder"
            )
            _drop(volumes, volume, reason, root=root, refused=True)


def _drop_without(volumes: Volumes, with_roi: set[int], wanted: Sequence[str], *, root: Path) -> None:
    """With regions asked for, a CT that has none: its vector would not be comparable."""
    for volume in list(volumes.found):
        if id(volume) not in with_roi:
            reason = f"no region {' or '.join(wanted)} in its masks"
            _drop(volumes, volume, reason, root=root, refused=False)


def _drop(volumes: Volumes, volume: CtVolume, reason: str, *, root: Path, refused: bool) -> None:
    volumes.found.remove(volume)
    row = quality_row(volume, root)
    said = "; ".join(filter(None, [str(row["warnings"]), f"left out: {reason}"]))
    volumes.lost_quality.append({**row, "warnings": said})
    volumes.left_out.append(
        LeftOut(volume.image, reason, refused, volume.patient_id, volume.series_uid, "CT")
    )


def _nothing(paths: Sequence[str | os.PathLike[str]], reasons: Mapping[str, int], rest: Path) -> str:
    where = ", ".join(str(path) for path in list(paths)[:3])
    why = "; ".join(f"{reason} ({n})" for reason, n in list(reasons.items())[:2]) or "there is no file"
    return f"no CT volume found in {where}: {why}; see {rest}"


def _bar(total: int, name: str, unit: str, *, shown: bool) -> Any:
    from tqdm import tqdm

    return tqdm(total=total, desc=name, unit=unit, file=sys.stderr, disable=not shown, dynamic_ncols=True)
