"""Near duplicates among the images themselves: every CT read again and reduced to its coarse densities."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analysis.audits.duplicates import Near, near_pairs
from flexict_core.errors import AnalysisError, FlexictError

if TYPE_CHECKING:
    import pandas as pd

READERS = 2  # volumes in memory at a time
_TELLINGS = 20


class _Job(NamedTuple):
    place: int
    root: str
    image: str
    series_uid: str


def near_images(
    rows: pd.DataFrame | None,
    patient_id: np.ndarray,
    *,
    alpha: float,
    progress: Callable[[str], None],
) -> tuple[Near, tuple[str, ...]]:
    """Pairs of patients (places in `patient_id`) whose first images are alike beyond chance, and what was not read.

    rows: those of the store, with root and image. Raises AnalysisError where there are no images on disk.
    """
    jobs = _first_images(rows, patient_id)
    if len(jobs) < 2:
        raise AnalysisError(
            f"{len(jobs)} patients of this embedding have an image on disk: near images cannot be looked for; leave "
            "--near-images out"
        )
    found: list[tuple[int, np.ndarray]] = []
    lost: list[str] = []
    with ThreadPoolExecutor(READERS) as pool:
        for done, (place, read) in enumerate(
            zip([j.place for j in jobs], pool.map(_read, jobs), strict=True), 1
        ):
            if done % max(1, len(jobs) // _TELLINGS) == 0:
                progress(f"reading the images again: {done} of {len(jobs)}")
            if isinstance(read, str):
                lost.append(read)
            else:
                found.append((place, read))
    notes: tuple[str, ...] = ()
    if lost:
        notes = (f"{len(lost)} images could not be read again and were not compared (first: {lost[0]})",)
    if len(found) < 2:
        raise AnalysisError(f"no two images could be read again: {lost[0]}")
    places = [place for place, _ in found]
    near = near_pairs(np.stack([f for _, f in found]).astype(float), alpha=alpha)
    pairs = tuple((places[i], places[j], ratio, p) for i, j, ratio, p in near.pairs)
    return Near(pairs, near.intrinsic_dimension), notes


def _first_images(rows: pd.DataFrame | None, patient_id: np.ndarray) -> list[_Job]:
    """The first image of each patient who has one."""
    if rows is None or "image" not in rows:
        return []
    held = rows[(rows["image"].fillna("") != "") & (rows["root"].fillna("") != "")]
    first = held.drop_duplicates("patient_id").set_index("patient_id")
    return [
        _Job(place, str(row["root"]), str(row["image"]), str(row.get("series_uid") or ""))
        for place, patient in enumerate(patient_id)
        if patient in first.index and (row := first.loc[patient]) is not None
    ]


def _read(job: _Job) -> np.ndarray | str:
    from flexict_core.fingerprint import image_fingerprint
    from flexict_core.io import load_volume
    from flexict_core.manifest import resolve_inside
    from flexict_core.source_files import series_in

    try:
        path = resolve_inside(job.root, job.image)
        series = series_in(job.series_uid, path)
        # gaps that a user let pass are no reason here: the densities are coarse
        return image_fingerprint(load_volume(path, series_uid=series, on_gaps="resample"))
    except (FlexictError, OSError) as error:
        return " ".join(str(error).split())[:160]
