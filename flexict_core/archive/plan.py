"""What is to be fetched from a collection: patients, series, size, licences and citations, before anything is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flexict_core.archive.index import CT, MASKS, MODALITIES, collection_named, series_of, sources_of
from flexict_core.errors import InputError
from flexict_core.tables import listing, nearest

if TYPE_CHECKING:
    import pandas as pd

_SPARE = 64 * 1024**2  # bytes that a disk must keep free besides


@dataclass(frozen=True)
class ArchivedSeries:
    """A series of the archive. folder: where it goes, relative to `--out`. size: bytes of its files together."""

    patient_id: str
    series_uid: str
    modality: str
    files: int
    size: int
    url: str
    folder: Path

    def is_complete(self, out: Path) -> bool:
        """Whether all of its files lie in its folder with all of their bytes."""
        try:
            with os.scandir(out / self.folder) as entries:
                sizes = [entry.stat().st_size for entry in entries if entry.name.endswith(".dcm")]
        except OSError:
            return False
        return len(sizes) >= self.files and sum(sizes) >= self.size


@dataclass(frozen=True)
class Source:
    """Where some of the series come from, and how to cite it."""

    licence: str
    doi: str
    citation: str
    series: int

    @property
    def is_non_commercial(self) -> bool:
        return "-NC" in self.licence

    def line(self) -> str:
        """Licence, number of series and citation."""
        limit = ", no commercial use" if self.is_non_commercial else ""
        return (
            f"{self.licence}{limit} ({self.series} series): {self.citation or f'https://doi.org/{self.doi}'}"
        )


@dataclass(frozen=True)
class FetchPlan:
    """The series to fetch into `out`. waiting: those that are not there yet. available: patients with CT."""

    collection: str
    out: Path
    patients: tuple[str, ...]
    available: int
    series: tuple[ArchivedSeries, ...]
    waiting: tuple[ArchivedSeries, ...]
    sources: tuple[Source, ...]

    @property
    def size(self) -> int:
        return sum(s.size for s in self.series)

    @property
    def waiting_size(self) -> int:
        return sum(s.size for s in self.waiting)

    def summary(self) -> str:
        """What would be fetched, under which licences, citing whom."""
        kinds = [(kind, sum(s.modality == kind for s in self.series)) for kind in MODALITIES]
        counts = ", ".join(f"{n} {kind}" for kind, n in kinds if n)
        lines = [
            f"{self.collection}: {len(self.patients)} of {self.available} patients with CT, "
            f"{len(self.series)} series ({counts}), {in_words(self.size)}"
        ]
        if len(self.waiting) < len(self.series):
            there = len(self.series) - len(self.waiting)
            lines.append(
                f"{there} series are there; {len(self.waiting)} to fetch, {in_words(self.waiting_size)}"
            )
        return "\n".join([*lines, *(f"licence {source.line()}" for source in self.sources)])


def plan_fetch(
    collection: str,
    *,
    out: str | os.PathLike[str],
    patients: int | None = None,
    ids: Sequence[str] = (),
    with_masks: bool = False,
) -> FetchPlan:
    """Choose the CT, SEG and RTSTRUCT series of patients with CT.

    patients: so many, the first by patient ID, so that a larger number later adds to them; all where None.
    ids: these patients. with_masks: only patients with a SEG or RTSTRUCT series.
    Raises InputError for an unknown collection, too few patients, or too little room on the disk of `out`.
    """
    name = collection_named(collection)
    table = series_of(name)
    available = table.loc[table["modality"] == CT, "patient_id"].nunique()
    chosen = choose_patients(table, name=name, patients=patients, ids=ids, with_masks=with_masks)
    table = table[table["patient_id"].isin(chosen)]
    series = tuple(_series(row, name) for row in table.itertuples())
    target = Path(out)
    plan = FetchPlan(
        collection=name,
        out=target,
        patients=tuple(chosen),
        available=int(available),
        series=series,
        waiting=tuple(s for s in series if not s.is_complete(target)),
        sources=sources_in(table, name),
    )
    _check_room(plan)
    return plan


def choose_patients(
    table: pd.DataFrame, *, name: str, patients: int | None, ids: Sequence[str], with_masks: bool
) -> list[str]:
    """IDs of patients with CT, sorted; see `plan_fetch`."""
    able = set(table.loc[table["modality"] == CT, "patient_id"])
    what = "CT"
    if with_masks:
        able &= set(table.loc[table["modality"].isin(MASKS), "patient_id"])
        what = "CT and SEG or RTSTRUCT"
    if absent := [i for i in ids if i not in able]:
        raise InputError(
            f"no patient {listing(absent)} with {what} in {name!r}: {nearest(absent[0], sorted(able))}"
        )
    found = sorted(set(ids) or able)
    if patients is not None and patients > len(found):
        raise InputError(
            f"--patients {patients}: {name!r} has {len(found)} patients with {what}; ask for at most {len(found)}, "
            f"or leave it out for all"
        )
    return found[:patients]


def list_patients(table: pd.DataFrame) -> pd.DataFrame:
    """One row a patient: patient_id, sex, age_years (at the first study), studies, ct, seg, rtstruct (series),
    size_mb."""
    by = table.sort_values(["patient_id", "study_date"]).groupby("patient_id")
    result = by.agg(
        sex=("sex", "first"),
        age_years=("age_years", "first"),
        studies=("study_uid", "nunique"),
        **{kind.lower(): ("modality", partial(_count, kind=kind)) for kind in MODALITIES},
        size_mb=("size_mb", "sum"),
    )
    return result.round({"size_mb": 1}).reset_index()


def _count(kinds: pd.Series, *, kind: str) -> int:
    return int((kinds == kind).sum())


def in_words(size: int) -> str:
    """Bytes as "9.3 GB" (10⁹ bytes)."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size / 1e3:.1f} kB"


def _series(row: Any, collection: str) -> ArchivedSeries:
    # The folders that the Imaging Data Commons' own tools make.
    parts = (collection, row.patient_id, row.study_uid, f"{row.modality}_{row.series_uid}")
    folder = Path(*(part.replace("/", "_").replace("\\", "_") for part in parts))
    if any(part in ("", ".", "..") for part in parts):
        raise InputError(f"series {row.series_uid!r} of the index names no folder: leave its patient out")
    size = round(row.size_mb * 1e6)
    return ArchivedSeries(row.patient_id, row.series_uid, row.modality, row.files, size, row.url, folder)


def sources_in(table: pd.DataFrame, collection: str) -> tuple[Source, ...]:
    """The sources of these series of a collection (columns licence and doi), those of most series first."""
    citations = sources_of(collection)
    counts = table.groupby(["licence", "doi"]).size()
    return tuple(
        Source(licence, doi, citations.get(doi.lower(), ""), int(n))
        for (licence, doi), n in counts.sort_values(ascending=False).items()
    )


def _check_room(plan: FetchPlan) -> None:
    place = plan.out.absolute()
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        raise InputError(f"--out {str(plan.out)!r} lies in {str(place)!r}, which is a file: name a folder")
    free = shutil.disk_usage(place).free
    if plan.waiting_size + _SPARE > free:
        raise InputError(
            f"{in_words(plan.waiting_size)} to fetch, but {str(place)!r} has {in_words(free)} free: "
            f"make room, take fewer --patients or another --out"
        )
