"""How each CT was made and what is odd about it: a row of the quality table.

Its acquisition columns are what an audit tests as confounders.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from flexict_core.errors import ImageError
from flexict_core.io.dicom_header import Header
from flexict_core.io.dicom_series import Series
from flexict_core.volume import Volume

if TYPE_CHECKING:
    from flexict_core.io.dicom_geometry import Stack

COLUMNS = (
    *("patient_id", "series_uid", "in_manifest", "image", "format", "series_number", "series_description"),
    *("manufacturer", "model", "kernel", "kvp"),
    *("contrast_agent", "body_region", "slices", "rows", "columns", "spacing_x_mm", "spacing_y_mm"),
    *("spacing_z_mm", "slice_thickness_mm", "gaps", "gantry_tilt_deg", "orientation", "hu_min", "hu_max"),
    "warnings",
)
_LETTERS = ("sagittal", "coronal", "axial")
_FEW_SLICES = 10
_UNIMAGED = 1.05  # spacing over thickness beyond which there is tissue between slices that was not imaged


@dataclass(frozen=True)
class SeriesFacts:
    """What the headers of a series say. gaps: missing slices."""

    columns: dict[str, object]
    warnings: tuple[str, ...]


def plane_name(header: Header) -> str:
    """axial, coronal or sagittal: the plane that is nearest; "" for a file without a place in the patient."""
    if not header.planes:
        return ""
    along = np.array(header.planes[0].orientation)
    normal = np.abs(np.cross(along[:3], along[3:]))
    return _LETTERS[int(np.argmax(normal))]


def series_facts(series: Series) -> SeriesFacts:
    """The columns that need no pixels."""
    planes = [plane for header in series.headers for plane in header.planes]
    thickness = _distinct(plane.thickness_mm for plane in planes)
    first = series.headers[0]
    columns: dict[str, object] = {
        "format": "DICOM",
        **_acquisition(series.headers),
        "slices": len(planes),
        "rows": first.rows,
        "columns": first.columns,
        "spacing_x_mm": planes[0].spacing_mm[1],
        "spacing_y_mm": planes[0].spacing_mm[0],
        "slice_thickness_mm": thickness[0] if thickness else None,
    }
    notes = []
    if len(thickness) > 1:
        notes.append(f"slices of {len(thickness)} thicknesses ({min(thickness):g} to {max(thickness):g} mm)")
    for name, words in (("kernel", "kernels"), ("kvp", "tube voltages"), ("model", "scanners")):
        values = _distinct(getattr(header.acquisition, name) for header in series.headers)
        if len(values) > 1:
            notes.append(f"{len(values)} {words} in one series ({', '.join(map(str, values[:3]))})")
    if len(_distinct(header.acquisition_number for header in series.headers)) > 1:
        notes.append("several acquisitions in one series")
    try:
        stack = series.stack()
    except ImageError:
        pass  # the reason why it is left out
    else:
        columns.update(spacing_z_mm=stack.spacing_mm, gaps=stack.missing)
        tilted = stack.is_sheared
        columns["gantry_tilt_deg"] = stack.tilt_deg if tilted else 0.0
        notes += _stack_notes(stack, thickness)
    return SeriesFacts(columns, tuple(notes))


def file_facts(kind: str) -> SeriesFacts:
    """The same for a format that says nothing of the scanner."""
    return SeriesFacts({"format": kind}, ())


def with_voxels(facts: SeriesFacts, volume: Volume, said: Sequence[str] = ()) -> dict[str, object]:
    """The full row, but for its identifiers. said: warnings that reading it gave."""
    z, y, x = volume.spacing_zyx_mm
    slices, rows, columns = volume.shape_zyx
    grid = {"slices": slices, "rows": rows, "columns": columns}
    spacing = {"spacing_x_mm": x, "spacing_y_mm": y, "spacing_z_mm": z}
    notes = [*facts.warnings, *said]
    # Which of a file's axes runs through the slices is known for DICOM alone; elsewhere it is head to foot.
    if min(volume.shape_zyx) < _FEW_SLICES:
        notes.append(f"only {min(volume.shape_zyx)} slices")
    if facts.columns["format"] != "DICOM" and volume.is_oblique:
        notes.append("axes oblique to the patient")
    return {
        **grid,
        **spacing,
        **facts.columns,
        "orientation": volume.orientation,
        "hu_min": float(volume.array.min()),
        "hu_max": float(volume.array.max()),
        "warnings": "; ".join(notes),
    }


def without_voxels(facts: SeriesFacts, reason: str) -> dict[str, object]:
    """The row of a CT that could not be used."""
    return {**facts.columns, "warnings": "; ".join([*facts.warnings, f"left out: {reason}"])}


def _stack_notes(stack: Stack, thickness: Sequence[float]) -> list[str]:
    notes = []
    if stack.missing:
        notes.append(f"{stack.missing} slices missing")
    if stack.uneven:
        steps = np.diff(stack.offset_mm)
        notes.append(f"uneven slice spacing ({steps.min():.4g} to {steps.max():.4g} mm)")
    if stack.is_sheared:
        notes.append(f"gantry tilted by {stack.tilt_deg:.1f} degrees, undone when read")
    if thickness and not stack.missing and stack.spacing_mm > _UNIMAGED * thickness[0]:
        notes.append(f"slices of {thickness[0]:g} mm every {stack.spacing_mm:.4g} mm: not imaged in between")
    return notes


def _acquisition(headers: Sequence[Header]) -> dict[str, object]:
    names: dict[str, Callable[[Header], object]] = {
        "manufacturer": lambda h: h.acquisition.manufacturer,
        "model": lambda h: h.acquisition.model,
        "kernel": lambda h: h.acquisition.kernel,
        "kvp": lambda h: h.acquisition.kvp,
        "contrast_agent": lambda h: h.acquisition.contrast_agent,
        "body_region": lambda h: h.acquisition.body_part,
        "series_number": lambda h: h.acquisition.series_number,
        "series_description": lambda h: h.acquisition.series_description,
    }
    return {name: Counter(map(value, headers)).most_common(1)[0][0] for name, value in names.items()}


def _distinct(values: Iterable) -> list:
    """The values that are there, the most frequent first."""
    return [value for value, _ in Counter(v for v in values if v not in (None, "")).most_common()]
