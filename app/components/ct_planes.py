"""A CT with its mask as pictures: three planes in radiological orientation, true to scale.

Everything is drawn from a Volume in LPS order (x towards the patient's left, y posterior, z superior), so the
patient's right is at the left of an axial or coronal picture, and anterior at the left of a sagittal one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from app.components.plane_marks import (
    draw_crosshair,
    draw_letters,
    draw_outline,
    draw_scale_bar,
    draw_sign,
)
from flexict_core.io import load_mask, load_volume
from flexict_core.source_files import series_in

if TYPE_CHECKING:
    from PIL.Image import Image

    from app.components.plane_overlay import Overlay
    from flexict_core.volume import Volume

PLANES = ("axial", "coronal", "sagittal")
WINDOWS = {
    "Lung": (-600.0, 1500.0),
    "Soft tissue": (40.0, 400.0),
    "Bone": (400.0, 1800.0),
}  # level, width in HU
TUMOUR_WINDOW = "Tumour (auto)"

_SLICED = {"axial": 0, "coronal": 1, "sagittal": 2}  # which of (z, y, x) is held fixed
_LETTERS = {"axial": "RLAP", "coronal": "RLSI", "sagittal": "APSI"}  # left, right, top, bottom


@dataclass(frozen=True)
class CtCase:
    """One CT in LPS order, its mask (or None) and the voxel where a reader wants to start."""

    volume: Volume
    mask: Volume | None
    centre_zyx: tuple[int, int, int]
    native: tuple[Volume, Volume | None] | None = None  # both as the files have them, for encoders

    @property
    def tumour_extent_zyx_mm(self) -> tuple[float, ...]:
        """Sides of the box around the mask, mm; of the volume where there is no mask."""
        inside = np.ones(self.volume.shape_zyx, dtype=bool) if self.mask is None else self.mask.array
        lengths = []
        for axis, step in enumerate(self.volume.spacing_zyx_mm):
            used = np.flatnonzero(inside.any(axis=tuple(a for a in range(3) if a != axis)))
            lengths.append(float(used[-1] - used[0] + 1) * step)
        return tuple(lengths)


def open_case(
    image: Path, mask: Path | None, *, mask_label: int | None = None, series_uid: str | None = None
) -> CtCase:
    """Read a CT (HU) and its mask; without a mask the middle of the volume is the centre.

    series_uid: that of a store's row, which may be a pseudonym; it says which of a DICOM folder's series is meant.
    """
    # A series with gaps is in a store only where its user had it resampled.
    native = load_volume(image, series_uid=series_in(series_uid, image), on_gaps="resample")
    volume = native.to_orientation("LPS")
    if mask is None:
        middle = tuple(n // 2 for n in volume.shape_zyx)
        return CtCase(volume, None, middle, (native, None))  # type: ignore[arg-type]
    roi = load_mask(mask, label=mask_label, reference=native)
    lps = roi.to_orientation("LPS")
    return CtCase(volume, lps, _inner_centre(lps.array), (native, roi))


def _inner_centre(mask: np.ndarray) -> tuple[int, int, int]:
    """The slice with most of the mask, and the centre of the mask there: always inside what is outlined."""
    z = int(np.argmax(mask.sum(axis=(1, 2))))
    y, x = (np.median(axis) for axis in np.nonzero(mask[z]))
    return z, round(float(y)), round(float(x))


def positions_mm(case: CtCase, plane: str) -> np.ndarray:
    """World position of every slice of a plane, shape (n,), mm in LPS (x left, y posterior, z superior)."""
    axis = _SLICED[plane]
    index = np.array([[n / 2 for n in case.volume.shape_zyx[::-1]]])
    origin = float(case.volume.index_to_world(index)[0, 2 - axis])
    n, step = case.volume.shape_zyx[axis], case.volume.spacing_zyx_mm[axis]
    return origin + (np.arange(n) - n / 2) * step


def window_of(case: CtCase, name: str) -> tuple[float, float]:
    """Level and width in HU; the automatic one spans the tumour's own values with room on both sides."""
    if name in WINDOWS or case.mask is None:
        return WINDOWS.get(name, WINDOWS["Soft tissue"])
    low, high = np.percentile(case.volume.array[case.mask.array], [2, 98])
    return round(float(low + high) / 2), max(150.0, round(2.0 * float(high - low)))


@dataclass(frozen=True)
class Frame:
    """The rectangle of a plane that is shown: rows and columns of voxels, and their spacing in mm."""

    rows: slice
    cols: slice
    spacing_mm: tuple[float, float]

    @property
    def size_mm(self) -> tuple[float, float]:
        return (
            (self.rows.stop - self.rows.start) * self.spacing_mm[0],
            (self.cols.stop - self.cols.start) * self.spacing_mm[1],
        )


def frame_of(case: CtCase, plane: str, *, around_zyx: tuple[int, int, int], field_mm: float | None) -> Frame:
    """The whole slice, or a square field of `field_mm` around a voxel, shifted to stay inside the volume."""
    held = _SLICED[plane]
    row_axis, col_axis = (a for a in range(3) if a != held)

    def extent(axis: int) -> slice:
        n, step = case.volume.shape_zyx[axis], case.volume.spacing_zyx_mm[axis]
        if field_mm is None:
            return slice(0, n)
        wanted = min(n, max(1, math.ceil(field_mm / step)))
        start = min(max(0, around_zyx[axis] - wanted // 2), n - wanted)
        return slice(start, start + wanted)

    spacing = (case.volume.spacing_zyx_mm[row_axis], case.volume.spacing_zyx_mm[col_axis])
    return Frame(extent(row_axis), extent(col_axis), spacing)


@dataclass(frozen=True)
class Style:
    """How a plane is drawn: window (level, width) in HU, field shown (None: the whole slice), what is laid over."""

    window: tuple[float, float]
    field_mm: float | None = None
    longest_px: int = 720
    outline: bool = True
    crosshair: bool = True
    letters: bool = True
    overlay: Overlay | None = None


def draw_planes(case: CtCase, at_zyx: tuple[int, int, int], style: Style) -> dict[str, Image]:
    """The three planes through a voxel on canvases of one size and at one scale."""
    canvas_mm = _common_canvas(case, at_zyx, style)
    return {plane: draw_plane(case, plane, at_zyx, style=style, canvas_mm=canvas_mm) for plane in PLANES}


def _common_canvas(case: CtCase, at_zyx: tuple[int, int, int], style: Style) -> tuple[float, float]:
    frames = [frame_of(case, plane, around_zyx=at_zyx, field_mm=style.field_mm) for plane in PLANES]
    return max(f.size_mm[0] for f in frames), max(f.size_mm[1] for f in frames)


def voxel_at(
    case: CtCase, plane: str, at_zyx: tuple[int, int, int], *, style: Style, share_xy: tuple[float, float]
) -> tuple[int, int, int]:
    """The voxel under a point of a picture of `draw_planes`: shares of its width and height from the upper left.

    A point on the black beside the slice gives the nearest voxel of it.
    """
    height_mm, width_mm = _common_canvas(case, at_zyx, style)
    frame = frame_of(case, plane, around_zyx=at_zyx, field_mm=style.field_mm)
    across = share_xy[0] * width_mm - (width_mm - frame.size_mm[1]) / 2
    down = share_xy[1] * height_mm - (height_mm - frame.size_mm[0]) / 2
    if plane != "axial":  # superior is at the top
        down = frame.size_mm[0] - down
    row_axis, col_axis = (a for a in range(3) if a != _SLICED[plane])
    found = list(at_zyx)
    for axis, part, place, step in (
        (row_axis, frame.rows, down, frame.spacing_mm[0]),
        (col_axis, frame.cols, across, frame.spacing_mm[1]),
    ):
        found[axis] = min(max(part.start + math.floor(place / step), part.start), part.stop - 1)
    return found[0], found[1], found[2]


def draw_plane(
    case: CtCase,
    plane: str,
    at_zyx: tuple[int, int, int],
    *,
    style: Style,
    canvas_mm: tuple[float, float] | None = None,
) -> Image:
    """One plane through a voxel as an RGB picture, true to scale, centred on a black canvas (height, width)."""
    from PIL import Image, ImageDraw

    frame = frame_of(case, plane, around_zyx=at_zyx, field_mm=style.field_mm)
    page_mm = canvas_mm or frame.size_mm
    px_per_mm = style.longest_px / max(page_mm)
    size = (max(1, round(frame.size_mm[1] * px_per_mm)), max(1, round(frame.size_mm[0] * px_per_mm)))
    hu = _cut(case.volume.array, plane, at_zyx, frame)
    picture = Image.fromarray(_shaded(hu, size, style.window)).convert("RGB")
    if style.overlay is not None:
        colours = style.overlay.cut(case.volume, plane, at_zyx, rows=frame.rows, cols=frame.cols)
        laid = Image.fromarray(colours if plane == "axial" else colours[::-1].copy())
        laid = laid.resize(size, Image.Resampling.NEAREST)
        picture = Image.alpha_composite(picture.convert("RGBA"), laid).convert("RGB")
    pen = ImageDraw.Draw(picture)
    if style.outline and case.mask is not None:
        inside = Image.fromarray(_cut(case.mask.array, plane, at_zyx, frame))
        draw_outline(pen, np.asarray(inside.resize(size, Image.Resampling.BILINEAR)))
    if style.crosshair:
        draw_crosshair(pen, size, _pixel_of(plane, at_zyx, frame, px_per_mm, size[1]))
    if style.overlay is not None:
        for mark, spot in style.overlay.marks_in(case.volume, plane, at_zyx):
            x, y = _pixel_of(plane, spot, frame, px_per_mm, size[1])
            draw_sign(pen, (x, y), mark, radius=style.overlay.side_mm * px_per_mm / 3)
    page_px = (round(page_mm[1] * px_per_mm), round(page_mm[0] * px_per_mm))
    page = Image.new("RGB", (max(size[0], page_px[0]), max(size[1], page_px[1])))
    page.paste(picture, ((page.width - size[0]) // 2, (page.height - size[1]) // 2))
    pen = ImageDraw.Draw(page)
    if style.letters:
        draw_letters(pen, page.size, _LETTERS[plane])
    draw_scale_bar(pen, page.size, px_per_mm)
    return page


def _cut(array: np.ndarray, plane: str, at_zyx: tuple[int, int, int], frame: Frame) -> np.ndarray:
    """The framed part of one slice as float32, upright: anterior at the top of axial planes, superior of others."""
    held = _SLICED[plane]
    picture = np.take(array, at_zyx[held], axis=held)[frame.rows, frame.cols]
    return (picture if plane == "axial" else picture[::-1]).astype(np.float32)


def _shaded(hu: np.ndarray, size: tuple[int, int], window: tuple[float, float]) -> np.ndarray:
    from PIL import Image

    level, width = window
    grey = np.asarray(Image.fromarray(hu).resize(size, Image.Resampling.BILINEAR))
    return (np.clip((grey - (level - width / 2)) / width, 0.0, 1.0) * 255).astype(np.uint8)


def _pixel_of(
    plane: str, at_zyx: tuple[int, int, int], frame: Frame, px_per_mm: float, height_px: int
) -> tuple[float, float]:
    row_axis, col_axis = (a for a in range(3) if a != _SLICED[plane])
    x = (at_zyx[col_axis] - frame.cols.start + 0.5) * frame.spacing_mm[1] * px_per_mm
    y = (at_zyx[row_axis] - frame.rows.start + 0.5) * frame.spacing_mm[0] * px_per_mm
    return x, y if plane == "axial" else height_px - y
