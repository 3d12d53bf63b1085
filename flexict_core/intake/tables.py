"""The three tables of a scan: their rows, and the files."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from flexict_core.intake.entries import CtVolume, LeftOut, Roi
from flexict_core.intake.hiding import Row
from flexict_core.manifest import PLANTED_TRUTH

MANIFEST_COLUMNS = ("patient_id", "image", "series_uid", "roi_id", "mask", "mask_label")
LEFT_OUT_COLUMNS = ("file", "kind", "reason", "patient_id", "series_uid", "modality", "files")


def manifest_rows(found: Sequence[CtVolume], rois: Sequence[Roi], root: Path) -> list[Row]:
    """One row a region; a volume without one has a row of its own."""
    of_volume: dict[int, list[Roi]] = defaultdict(list)
    for roi in rois:
        of_volume[id(roi.volume)].append(roi)
    rows: list[Row] = []
    for volume in sorted(found, key=lambda v: (v.patient_id, v.series_uid)):
        row: dict[str, object] = {
            "patient_id": volume.patient_id,
            "image": volume.image.relative_to(root).as_posix(),
            "series_uid": volume.series_uid,
        }
        if volume.resampled:
            row["on_gaps"] = "resample"
        if _is_synthetic(volume.folder, root):
            row["synthetic"] = "true"
        regions = of_volume.get(id(volume), [])
        for roi in _distinct_names(regions, root):
            mask = roi.mask.relative_to(root).as_posix()
            rows.append({**row, "roi_id": roi.roi_id, "mask": mask, "mask_label": roi.label})
        if not regions:
            rows.append(row)
    return rows


def _distinct_names(rois: Sequence[Roi], root: Path) -> list[Roi]:
    """Regions of one CT under different names: two masks may use one, and are told apart by their files."""
    counts = Counter(roi.roi_id for roi in rois)
    return [
        replace(roi, roi_id=f"{roi.roi_id} ({roi.mask.relative_to(root).as_posix()})")
        if counts[roi.roi_id] > 1
        else roi
        for roi in rois
    ]


def _is_synthetic(folder: Path, root: Path) -> bool:
    """Whether planted truth lies in the folder or above, up to the manifest's."""
    above = [p for p in (folder, *folder.parents) if p.is_relative_to(root)]
    return any((p / PLANTED_TRUTH).is_file() for p in above)


def quality_row(volume: CtVolume, root: Path) -> Row:
    """The row of a volume in the manifest."""
    return {
        **volume.quality,
        "patient_id": volume.patient_id,
        "series_uid": volume.series_uid,
        "in_manifest": "yes",
        "image": volume.image.relative_to(root).as_posix(),
    }


def left_out_row(entry: LeftOut, root: Path) -> Row:
    """The row of what has none there."""
    return {
        "file": entry.path.relative_to(root).as_posix(),
        "kind": "refused" if entry.refused else "skipped",
        "reason": entry.reason,
        "patient_id": entry.patient_id,
        "series_uid": entry.series_uid,
        "modality": entry.modality,
        "files": entry.files,
    }


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Row]) -> None:
    """A CSV file, whole or not at all."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(row.get(name)) for name in columns] for row in rows)
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    # A name that is not UTF-8 is among what was left out; it is written with \x escapes.
    temporary.write_bytes(text.getvalue().encode("utf-8", "backslashreplace"))
    temporary.replace(path)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
