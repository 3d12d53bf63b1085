"""DICOM series and image files → CT volumes, each read once the way `embed` will read it, and label maps."""

from __future__ import annotations

import os
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from flexict_core.errors import DataWarning, FlexictError, ImageError
from flexict_core.intake.entries import CtVolume, LabelMap, LeftOut, LostCt, Quality
from flexict_core.intake.names import NamedPatient, identity, name_patients, stem, words
from flexict_core.intake.quality import (
    SeriesFacts,
    file_facts,
    plane_name,
    series_facts,
    with_voxels,
    without_voxels,
)
from flexict_core.io import load_volume
from flexict_core.io.dicom_geometry import OnGaps
from flexict_core.io.dicom_header import Header
from flexict_core.io.dicom_series import CT, ENHANCED_CT, Series, group_series
from flexict_core.io.region_names import segment_names
from flexict_core.volume import Volume

_FORMATS = {".nii": "NIfTI", ".gz": "NIfTI", ".nrrd": "NRRD", ".nhdr": "NRRD", ".mha": "MetaImage"}
_MOST_LABELS = 1000
_PIECEWISE = 0.5  # share of neighbours with one value; noise has far less


@dataclass
class Volumes:
    """What could be read. lost_quality: rows of the quality table for CTs that were refused."""

    found: list[CtVolume] = field(default_factory=list)
    label_maps: list[LabelMap] = field(default_factory=list)
    lost: list[LostCt] = field(default_factory=list)
    lost_quality: list[Quality] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)


def reason_of(error: Exception, root: Path, *places: Path) -> str:
    """An error as a reason: one line, without the folders that the table's own path column says."""
    if isinstance(error, FlexictError):
        return shortened(str(error), root, *places)
    if isinstance(error, MemoryError):
        return "not enough memory to read it; use a machine with more"
    return f"{type(error).__name__} while reading; check the file"


def shortened(text: str, root: Path, *places: Path) -> str:
    """A message in one line, without the name of the place in front and the manifest's folder in paths."""
    text = " ".join(text.split())
    for place in places:
        text = text.removeprefix(f"{place}: ")
    return text.replace(f"{root}{os.sep}", "")


# ── DICOM ───────────────────────────────────────────────────────────────────────────────────────────────


def read_series(
    headers: Sequence[Header], *, root: Path, into: Volumes, bar: Any, on_gaps: OnGaps = "refuse"
) -> None:
    """Every CT series among the files; `bar` (tqdm) is advanced by one a series."""
    for series in group_series(headers):
        bar.update(1)
        _take_series(series, root, into, on_gaps=on_gaps)


def _take_series(series: Series, root: Path, into: Volumes, *, on_gaps: OnGaps) -> None:
    reason = _why_not_axial_ct(series)
    everything = [*series.headers, *(header for header, _ in series.set_aside)]
    if reason is not None:
        refused = _was_meant_as_ct(series)
        into.left_out += _series_left_out(series.series_uid, everything, reason, refused=refused)
        if refused and series.headers:
            _lose(series, reason, root, into)
        return
    into.left_out += [_file_left_out(header, reason) for header, reason in series.set_aside]
    series, copies = _without_copies(series)
    into.left_out += [
        _file_left_out(h, "a copy of an image that is taken from another folder") for h in copies
    ]
    first = series.headers[0]
    image = _image_of(series)
    facts = series_facts(series)
    try:
        if not first.patient_id:
            raise ImageError("no PatientID in its files; write one into them, or add its row by hand")
        with _heard() as said:
            volume = load_volume(image, series_uid=series.series_uid, on_gaps=on_gaps)
            resampled = not series.stack().is_regular
    except Exception as error:  # one odd series must not stop a thousand good ones
        reason = reason_of(error, root, image)
        into.left_out += _series_left_out(series.series_uid, series.headers, reason, refused=True)
        _lose(series, reason, root, into)
        return
    said += [f"resampled to slices every {volume.spacing_zyx_mm[0]:.4g} mm"] if resampled else []
    into.found.append(
        CtVolume(
            image=image,
            resampled=resampled,
            folder=image if image.is_dir() else image.parent,
            patient_id=first.patient_id,
            series_uid=series.series_uid,
            keys=(words(first.patient_id),),
            grid=_without_voxels(volume),
            quality=with_voxels(facts, volume, [shortened(text, root, image) for text in said]),
        )
    )


def _why_not_axial_ct(series: Series) -> str | None:
    if series.refusal is not None:
        return series.refusal
    planes = Counter(plane_name(header) for header in series.headers)
    name, _ = planes.most_common(1)[0]
    return None if name == "axial" else f"{name} slices, not axial; give the axial series"


def _was_meant_as_ct(series: Series) -> bool:
    """Whether a series that is no CT volume has CT images that only a fault keeps out."""
    if series.headers:
        return not series.derived and series.refusal is not None
    return any(
        header.sop_class in (CT, *ENHANCED_CT)
        and header.modality in ("CT", "")
        and "LOCALIZER" not in header.image_type
        and header.samples == 1
        for header, _ in series.set_aside
    )


def _without_copies(series: Series) -> tuple[Series, list[Header]]:
    """The series from one folder where that holds all of its images and others hold copies."""
    counts = Counter(header.sop_uid for header in series.headers)
    if max(counts.values()) == 1:
        return series, []
    by_folder: dict[Path, list[Header]] = defaultdict(list)
    for header in series.headers:
        by_folder[header.path.parent].append(header)
    for group in by_folder.values():
        if len(group) == len(counts) and {header.sop_uid for header in group} == set(counts):
            kept = {id(header) for header in group}
            rest = [header for header in series.headers if id(header) not in kept]
            whole = Series(series.series_uid, tuple(group), (), series.refusal, series.derived)
            return whole, rest
    return series, []


def _image_of(series: Series) -> Path:
    """The file of a multi-frame series, or the folder that holds all of its files."""
    paths = [header.path for header in series.headers]
    return paths[0] if len(paths) == 1 else Path(os.path.commonpath([path.parent for path in paths]))


def _lose(series: Series, reason: str, root: Path, into: Volumes) -> None:
    first, image = series.headers[0], _image_of(series)
    folder = image if image.is_dir() else image.parent
    into.lost.append(LostCt(image, folder, (words(first.patient_id),), series.series_uid))
    row = without_voxels(series_facts(series), reason)
    name = image.relative_to(root).as_posix()
    into.lost_quality.append(
        {**row, "patient_id": first.patient_id, "series_uid": series.series_uid, "image": name}
    )


def _series_left_out(uid: str, headers: Sequence[Header], reason: str, *, refused: bool) -> list[LeftOut]:
    """One entry a series; files that name no series have nothing in common, and get one each."""
    if not uid:
        return [_file_left_out(header, reason, refused=refused) for header in headers]
    first = headers[0]
    paths = [header.path for header in headers]
    place = paths[0] if len(paths) == 1 else Path(os.path.commonpath([path.parent for path in paths]))
    return [LeftOut(place, reason, refused, first.patient_id, uid, first.modality, len(headers))]


def _file_left_out(header: Header, reason: str, *, refused: bool = False) -> LeftOut:
    return LeftOut(header.path, reason, refused, header.patient_id, header.series_uid, header.modality)


# ── NIfTI, NRRD, MetaImage ──────────────────────────────────────────────────────────────────────────────


def read_images(images: Sequence[Path], *, root: Path, into: Volumes, bar: Any) -> list[str]:
    """Every CT and label map among the files; `bar` is advanced by one a file.

    Returns the IDs that were claimed from several folders and so written with their folder.
    """
    volumes: dict[Path, tuple[Volume, Quality]] = {}
    refused: dict[Path, tuple[str, SeriesFacts]] = {}
    for path in images:
        bar.update(1)
        facts = file_facts(_FORMATS.get(path.suffix.lower(), "MetaImage"))
        try:
            with _heard() as said:
                volume = load_volume(path)
        except Exception as error:
            label_map = _label_map(path)
            if isinstance(label_map, LabelMap):
                into.label_maps.append(label_map)
            elif label_map is not None:
                into.left_out.append(LeftOut(path, label_map, refused=True))
            else:
                refused[path] = (reason_of(error, root, path), facts)
        else:
            row = with_voxels(facts, volume, [shortened(text, root, path) for text in said])
            volumes[path] = (_without_voxels(volume), row)
    patients, doubled = name_patients([*volumes, *refused], root)
    for path, (grid, seen) in volumes.items():
        named = patients[path]
        keys = _keys(path, named)
        into.found.append(CtVolume(path, path.parent, named.patient_id, named.series, keys, grid, seen))
    for path, (reason, facts) in refused.items():
        _lose_image(path, reason, patients[path], root=root, facts=facts, into=into)
    return doubled


def _own_key(path: Path) -> tuple[str, ...]:
    return words(identity(stem(path)))


def _keys(path: Path, named: NamedPatient) -> tuple[tuple[str, ...], ...]:
    found = (_own_key(path), words(identity(named.patient_id) or named.patient_id))
    return tuple(dict.fromkeys(key for key in found if key))


def _lose_image(
    path: Path, reason: str, named: NamedPatient, *, root: Path, facts: SeriesFacts, into: Volumes
) -> None:
    into.left_out.append(LeftOut(path, reason, True, named.patient_id, named.series))
    into.lost.append(LostCt(path, path.parent, _keys(path, named)))
    row = without_voxels(facts, reason)
    ids = {"patient_id": named.patient_id, "series_uid": named.series}
    into.lost_quality.append({**row, **ids, "image": path.relative_to(root).as_posix()})


def _label_map(path: Path) -> LabelMap | str | None:
    """The file as a label map, or why its label map cannot be used; None where it is none."""
    try:
        with _heard():
            volume = load_volume(path, check_hu=False)
    except Exception:
        return None  # the same reason as before
    array = volume.array
    low, high = array.min(), array.max()
    if low < 0 or high > np.iinfo(np.int32).max:
        return None
    if array.dtype.kind == "f" and any((plane != np.rint(plane)).any() for plane in array):
        return None
    if high == 0:
        return f"the mask is empty (all {array.size} voxels are 0); give another mask"
    labels = np.unique(array)
    labels = labels[labels > 0]
    if len(labels) > _MOST_LABELS or (len(labels) > 1 and not _is_piecewise(array)):
        return None
    found = tuple(int(v) for v in labels)
    return LabelMap(path, _own_key(path), _without_voxels(volume), found, segment_names(path))


def _is_piecewise(array: np.ndarray) -> bool:
    """Whether neighbours mostly share a value, as in a label map; background does not count."""
    before, after = array[..., :-1], array[..., 1:]
    inside = (before != 0) | (after != 0)
    return bool(np.count_nonzero((before == after) & inside) >= _PIECEWISE * np.count_nonzero(inside))


def _without_voxels(volume: Volume) -> Volume:
    """Its geometry alone, in a few bytes."""
    return volume.with_array(np.broadcast_to(np.zeros((), bool), volume.shape_zyx))


@contextmanager
def _heard() -> Iterator[list[str]]:
    """Collects this project's data warnings as texts; other warnings are dropped."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", DataWarning)
        texts: list[str] = []
        yield texts
        texts += [str(warning.message) for warning in caught]
