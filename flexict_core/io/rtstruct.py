"""RTSTRUCT (contours in mm) → mask on the grid of its CT."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flexict_core.errors import MaskError
from flexict_core.io.contours import fill_contours
from flexict_core.io.dicom_file import SizedReader, quiet_pydicom
from flexict_core.io.dicom_values import integer, items, tag_of, text
from flexict_core.volume import Volume

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR", "CLOSED_PLANAR_XOR")
_UNDEFINED = 0xFFFFFFFF
_FLAT = 0.2  # of a slice: how far a contour may leave its plane
_BEYOND = 1.0  # pixels that a contour may reach outside the CT: body outlines touch its border
_FEWEST_PLANES = 4  # that show a step of several slices to be how the contours were drawn


@dataclass(frozen=True)
class Region:
    """One region of a structure set. kinds: geometric types of its contours; frame_uid: where it is drawn."""

    number: int
    name: str
    frame_uid: str
    contours: int
    kinds: tuple[str, ...]

    @property
    def has_area(self) -> bool:
        return any(kind in _CLOSED for kind in self.kinds)


@dataclass(frozen=True)
class StructureSet:
    """What a structure set holds, and the series and frames of reference that it was drawn on."""

    regions: tuple[Region, ...]
    series_uids: tuple[str, ...]
    frame_uids: tuple[str, ...]


def read_structure_set(path: str | os.PathLike[str]) -> StructureSet:
    """Regions of an RTSTRUCT and the series it refers to. Raises MaskError for a file that is damaged."""
    with _damage_named(Path(path)):
        return _structure_set(_dataset(Path(path)))


def read_rtstruct(
    path: str | os.PathLike[str], *, reference: Volume, region: int | str | None = None
) -> Volume:
    """Rasterise one region: voxels whose centre lies inside its contours, even-odd within a plane.

    reference: the CT it was drawn on. region: its number or name (upper and lower case alike); None where the
    structure set holds only one.
    A plane fills the slice it lies on. Planes that are evenly several slices apart fill those in between, the
    nearest plane each.

    Raises MaskError for a region that is not there or not the only one (the text lists them), one without
    closed contours, contours outside the CT or not in its slices, and another frame of reference or series
    than the CT's.
    """
    path = Path(path)
    with _damage_named(path):
        ds = _dataset(path)
        structures = _structure_set(ds)
        chosen = _choose(path, structures, region)
        _check_origin(path, structures, chosen, reference=reference)
        contours = _contours(path, ds, chosen.number)
    if not contours:
        raise MaskError(f"{path}: region {chosen.name!r} has no closed contours, no area; choose another")
    axis, planes = _planes(path, contours, reference)
    mask = _rasterise(planes, axis, reference)
    if not mask.any():
        raise MaskError(f"{path}: region {chosen.name!r} encloses no voxel centre; it is too small")
    return Volume(mask, reference.affine, path, reference.dicom)


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """pydicom opens sequences when they are asked for, and lets many kinds of exceptions through; their texts may
    quote what they read."""
    try:
        yield
    except MaskError:
        raise
    except OSError as error:
        why = error.strerror or "its sequences end too soon"
        raise MaskError(f"{path}: cannot be read ({why}); check the file") from None
    except Exception as error:
        raise MaskError(f"{path}: damaged RTSTRUCT ({type(error).__name__}); copy it again") from None


def _dataset(path: Path) -> Dataset:
    from pydicom import dcmread

    with quiet_pydicom(), SizedReader(path) as stream:
        ds = dcmread(stream, force=True)
    _check_whole(path, ds)
    return ds


def _check_whole(path: Path, ds: Dataset) -> None:
    """pydicom takes what there is of an element that was cut off: contours would be lost in silence."""
    for element in ds.values():
        length, value = getattr(element, "length", None), element.value
        if length is not None and isinstance(value, bytes) and len(value) < length != _UNDEFINED:
            raise MaskError(f"{path}: truncated, its last element is cut off; copy it again")


def _structure_set(ds: Dataset) -> StructureSet:
    with quiet_pydicom():
        drawn = {integer(c, "ReferencedROINumber"): items(c, "ContourSequence") for c in _drawn(ds)}
        regions = []
        for roi in items(ds, "StructureSetROISequence"):
            number = integer(roi, "ROINumber")
            contours = drawn.get(number, [])
            kinds = {text(c, "ContourGeometricType").upper() for c in contours}
            if number is not None:
                frame = text(roi, "ReferencedFrameOfReferenceUID")
                name = text(roi, "ROIName")
                regions.append(Region(number, name, frame, len(contours), tuple(sorted(kinds))))
        frames = items(ds, "ReferencedFrameOfReferenceSequence")
        series = [
            text(s, "SeriesInstanceUID")
            for frame in frames
            for study in items(frame, "RTReferencedStudySequence")
            for s in items(study, "RTReferencedSeriesSequence")
        ]
    uids = [text(frame, "FrameOfReferenceUID") for frame in frames] + [r.frame_uid for r in regions]
    return StructureSet(tuple(regions), _distinct(series), _distinct(uids))


def _drawn(ds: Dataset) -> list[Dataset]:
    return items(ds, "ROIContourSequence")


def _distinct(uids: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(uid for uid in uids if uid))


def _choose(path: Path, structures: StructureSet, region: int | str | None) -> Region:
    regions = structures.regions
    listing = ", ".join(f"{r.number} {r.name!r}" for r in regions[:20]) or "none"
    listing += f" and {len(regions) - 20} more" if len(regions) > 20 else ""
    if region is None:
        with_area = [r for r in regions if r.has_area]
        if len(with_area) == 1:
            return with_area[0]
        if not with_area:
            raise MaskError(f"{path}: no region with closed contours; it holds {listing}")
        raise MaskError(f"{path}: {len(with_area)} regions and none was chosen; name one of {listing}")
    if isinstance(region, int):
        found = [r for r in regions if r.number == region]
    else:
        found = [r for r in regions if r.name == region]
        found = found or [r for r in regions if r.name.casefold() == region.strip().casefold()]
    if len(found) != 1:
        count = "no region" if not found else f"{len(found)} regions"
        raise MaskError(f"{path}: {count} {region!r}; it holds {listing}")
    return found[0]


def _check_origin(path: Path, structures: StructureSet, chosen: Region, *, reference: Volume) -> None:
    origin = reference.dicom
    if origin is None:  # a CT that was converted names no frame; its grid still has to hold the contours
        return
    frames = (chosen.frame_uid,) if chosen.frame_uid else structures.frame_uids
    if origin.frame_uid and frames and origin.frame_uid not in frames:
        raise MaskError(
            f"{path}: drawn in another frame of reference than its CT's; give the CT it was drawn on"
        )
    if structures.series_uids and origin.series_uid not in structures.series_uids:
        raise MaskError(
            f"{path}: drawn on another series ({', '.join(structures.series_uids[:3])}); give that series"
        )


def _contours(path: Path, ds: Dataset, number: int) -> list[np.ndarray]:
    """Closed contours of a region, (n, 3) each, LPS mm."""
    found: list[np.ndarray] = []
    with quiet_pydicom():
        for roi in _drawn(ds):
            if integer(roi, "ReferencedROINumber") != number:
                continue
            for contour in items(roi, "ContourSequence"):
                points = _points(path, contour)
                if text(contour, "ContourGeometricType").upper() in _CLOSED and len(points) >= 3:
                    found.append(points)
    return found


def _points(path: Path, contour: Dataset) -> np.ndarray:
    tag = tag_of("ContourData")
    value: Any = contour.get_item(tag).value if tag in contour else None
    if value is None:
        return np.empty((0, 3))
    try:
        if isinstance(value, bytes):  # many numbers: one conversion for all
            value = np.array(value.strip(b" \0").split(b"\\"))
        points = np.asarray(value, dtype=np.float64).reshape(-1, 3)
    except ValueError:
        points = np.full((1, 3), np.nan)
    if not np.isfinite(points).all():
        raise MaskError(f"{path}: a contour is no list of points in mm; export the structure set again")
    return points


def _planes(
    path: Path, contours: list[np.ndarray], reference: Volume
) -> tuple[int, dict[float, list[np.ndarray]]]:
    """The index axis (x 0, y 1, z 2) across the contours, and their index points (n, 2) by place along it."""
    indices = [reference.world_to_index(points) for points in contours]
    spread = np.max([np.ptp(points, axis=0) for points in indices], axis=0)
    axis = int(np.argmin(spread))
    if spread[axis] > _FLAT:
        raise MaskError(
            f"{path}: contours do not lie in the slices of this CT; give the CT they were drawn on"
        )
    size = np.array(reference.shape_zyx[::-1])
    low = np.min([points.min(axis=0) for points in indices], axis=0)
    high = np.max([points.max(axis=0) for points in indices], axis=0)
    margin = np.full(3, 0.5 + _BEYOND)
    margin[axis] = 0.5
    beyond = np.maximum(-margin - low, high - (size - 1 + margin))
    if beyond.max() > 0:
        mm = float((beyond * reference.spacing_zyx_mm[::-1]).max())
        raise MaskError(f"{path}: the region reaches {mm:.1f} mm outside its CT; give the CT it was drawn on")
    planes: dict[float, list[np.ndarray]] = defaultdict(list)
    for points in indices:
        place = float(np.round(np.median(points[:, axis]), 2))
        planes[place].append(np.delete(points, axis, axis=1))
    return axis, planes


def _rasterise(planes: dict[float, list[np.ndarray]], axis: int, reference: Volume) -> np.ndarray:
    out = np.zeros(reference.shape_zyx, bool)
    sliced = np.moveaxis(out, 2 - axis, 0)  # a view: (slice, row, column), columns along the lower axis
    shape = (sliced.shape[1], sliced.shape[2])
    places = np.array(sorted(planes))
    reach = _reach(places) + 0.02
    for k in range(len(sliced)):
        nearest = float(places[np.argmin(np.abs(places - k))])
        if abs(nearest - k) <= reach:
            sliced[k] = fill_contours(planes[nearest], shape)
    return out


def _reach(places: np.ndarray) -> float:
    """How many slices away a plane still fills: half a slice, or half the even step of the planes."""
    steps = np.diff(places)
    if len(places) < _FEWEST_PLANES or np.ptp(steps) > 0.1 or steps.min() < 1.5:
        return 0.5
    return float(steps.mean()) / 2
