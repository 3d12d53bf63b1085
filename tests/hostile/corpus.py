"""The hostile corpus: every case of the modules beside this one, written below one folder."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tests.hostile import dicom_files, itk_files, masks, merely_odd, nifti_files, paths
from tests.hostile.case import Case

COLUMNS = ("patient_id", "image", "series_uid", "mask", "mask_label", "x_mm", "y_mm", "z_mm")
_PATHS = ("image", "mask")


def all_cases() -> list[Case]:
    """Every case, the good ones spread among the bad."""
    bad = [c for m in (nifti_files, itk_files, dicom_files, masks, paths) for c in m.cases.all]
    good = merely_odd.cases.all
    step = -(-len(bad) // len(good))
    return [c for k, odd in enumerate(good) for c in (*bad[k * step : (k + 1) * step], odd)]


@dataclass(frozen=True)
class Corpus:
    """manifest: one row a case; the case's name is its patient and its folder below `home`."""

    home: Path
    manifest: Path
    cases: Sequence[Case]


def write_corpus(home: Path, cases: Sequence[Case]) -> Corpus:
    lines: list[Sequence[object]] = [COLUMNS]
    for case in cases:
        at = home / case.name
        at.mkdir()
        row = case.make(at)
        if isinstance(row, str):
            lines.append(row.split(","))
            continue
        named = {key: PurePosixPath(case.name, str(row[key])) for key in _PATHS if row.get(key)}
        cells = {**row, **named, "patient_id": case.name}
        lines.append([cells.get(column, "") for column in COLUMNS])
    manifest = home / "manifest.csv"
    with manifest.open("w", encoding="utf-8", newline="") as handle:
        csv.writer(handle).writerows(lines)
    return Corpus(home, manifest, cases)
