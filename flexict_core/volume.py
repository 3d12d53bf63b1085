"""A CT volume or mask with its geometry. Arrays are (z, y, x); points and affines are (x, y, z) in LPS mm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple
from weakref import WeakKeyDictionary

import numpy as np

from flexict_core.errors import ImageError, InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_Made = TypeVar("_Made")
_Settings = TypeVarTuple("_Settings")

# World axes of LPS: 0 runs to the patient's left, 1 to posterior, 2 to superior.
_LETTERS = {"L": (0, 1), "R": (0, -1), "P": (1, 1), "A": (1, -1), "S": (2, 1), "I": (2, -1)}
_CODE = {axis_and_sign: letter for letter, axis_and_sign in _LETTERS.items()}
# Rounding in float32 headers reaches about 1e-6 of a direction; a gantry tilt of 0.1 degree is 2e-3.
_OBLIQUE = 1e-4


@dataclass(frozen=True)
class DicomOrigin:
    """Which DICOM series a volume comes from, and the frame of reference that its positions are in ("" where
    the files name none). Masks are matched by these."""

    series_uid: str
    frame_uid: str


@dataclass(frozen=True, eq=False)
class Volume:
    """Voxels on a grid in the patient.

    array: (z, y, x); HU in the file's own pixel type or float32, or bool for a mask.
    affine: [4, 4] float64, index (x, y, z) of a voxel centre → world position in LPS mm.
    source: the file or folder it was read from, if any.
    dicom: its DICOM series, where it was read from one.

    Raises ImageError where the array is not three-dimensional or the affine is no grid in space.
    """

    array: np.ndarray
    affine: np.ndarray
    source: Path | None = None
    dicom: DicomOrigin | None = None

    def __post_init__(self) -> None:
        if self.array.ndim != 3 or 0 in self.array.shape:
            raise ImageError(f"{self._name}array of shape {self.array.shape} is no volume; give (z, y, x)")
        affine = np.array(self.affine, dtype=np.float64)
        affine.setflags(write=False)
        object.__setattr__(self, "affine", affine)
        # A patient fits in metres: positions beyond a kilometre are a damaged header.
        if affine.shape != (4, 4) or not (np.abs(affine) < 1e6).all():
            raise ImageError(f"{self._name}affine is not a 4x4 matrix of positions in mm; repair the header")
        sides = np.linalg.norm(affine[:3, :3], axis=0)
        # The volume of the cell over that of a box with the same sides: 1 at right angles, 0 when flat.
        if not sides.all() or abs(np.linalg.det(affine[:3, :3] / sides)) < 1e-3:
            raise ImageError(
                f"{self._name}affine is singular, voxel sides {_numbers(sides)} mm; repair the header"
            )

    @property
    def _name(self) -> str:
        return f"{self.source}: " if self.source else ""

    @property
    def shape_zyx(self) -> tuple[int, int, int]:
        z, y, x = self.array.shape
        return z, y, x

    @property
    def spacing_zyx_mm(self) -> tuple[float, float, float]:
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(z), float(y), float(x)

    @property
    def nbytes(self) -> int:
        return self.array.nbytes

    @property
    def orientation(self) -> str:
        """Direction that each index axis increases towards, first letter = x; closest when oblique."""
        return "".join(_CODE[axis_and_sign] for axis_and_sign in self._world_axes())

    @property
    def is_oblique(self) -> bool:
        """Whether an index axis leaves its patient axis, as with a tilted gantry."""
        return bool(np.sort(np.abs(self._directions()), axis=0)[:2].max() > _OBLIQUE)

    def _world_axes(self) -> list[tuple[int, int]]:
        """For each index axis x, y, z: the closest world axis (all three differ) and the sign along it."""
        along = self._directions()
        best = max(permutations(range(3)), key=lambda worlds: float(np.abs(along[worlds, (0, 1, 2)]).sum()))
        return [(w, 1 if along[w, i] > 0 else -1) for i, w in enumerate(best)]

    def _directions(self) -> NDArray[np.float64]:
        """[3, 3]: column i is the unit vector of index axis i."""
        return self.affine[:3, :3] / np.linalg.norm(self.affine[:3, :3], axis=0)

    def to_orientation(self, codes: str) -> Volume:
        """The same voxels with index axes towards `codes`: "LPS" is x to the left, y to the back, z up.

        Only flips and permutes, so values and world positions stay exact; the array is a view. An oblique
        volume keeps its obliquity. Raises InputError for codes that do not name three patient axes.
        """
        if len(codes) != 3 or {_LETTERS[c][0] for c in codes if c in _LETTERS} != {0, 1, 2}:
            raise InputError(
                f"orientation {codes!r} is none; give a letter each of L/R, P/A, S/I, such as 'LPS'"
            )
        if codes == self.orientation:
            return self
        have = self._world_axes()
        world = [axis for axis, _ in have]
        source = [world.index(_LETTERS[code][0]) for code in codes]  # new axis x, y, z ← old axis
        flip = [have[old][1] != _LETTERS[code][1] for old, code in zip(source, codes, strict=True)]

        array = self.array.transpose([2 - source[2 - k] for k in range(3)])
        array = array[tuple(slice(None, None, -1 if flip[2 - k] else 1) for k in range(3))]
        size_xyz = self.array.shape[::-1]
        step = np.zeros((4, 4))
        step[3, 3] = 1
        for new, (old, flipped) in enumerate(zip(source, flip, strict=True)):
            step[old, new] = -1 if flipped else 1
            step[old, 3] = size_xyz[old] - 1 if flipped else 0
        return Volume(array, self.affine @ step, self.source, self.dicom)

    def same_grid(self, other: Volume, tol_mm: float = 1e-3) -> bool:
        """Whether both have one shape and their outermost voxel centres agree within `tol_mm`."""
        if self.array.shape != other.array.shape:
            return False
        corners = np.indices((2, 2, 2)).reshape(3, -1).T * (np.array(self.array.shape[::-1]) - 1)
        apart = np.linalg.norm(self.index_to_world(corners) - other.index_to_world(corners), axis=1)
        return bool(apart.max() <= tol_mm)

    def index_to_world(self, index_xyz: ArrayLike) -> NDArray[np.float64]:
        """Indices (n, 3) or (3,), x y z → positions in LPS mm, of the same shape."""
        points = np.asarray(index_xyz, dtype=np.float64)
        return points @ self.affine[:3, :3].T + self.affine[:3, 3]

    def world_to_index(self, world_lps_mm: ArrayLike) -> NDArray[np.float64]:
        """Positions (n, 3) or (3,) in LPS mm → fractional indices x y z, of the same shape."""
        points = np.asarray(world_lps_mm, dtype=np.float64) - self.affine[:3, 3]
        return points @ np.linalg.inv(self.affine[:3, :3]).T

    def with_array(self, array: np.ndarray) -> Volume:
        """Other values on the same grid. Raises InputError when the shape differs."""
        if array.shape != self.array.shape:
            raise InputError(f"array of shape {array.shape} does not fit a grid of {self.array.shape}")
        return Volume(array, self.affine, self.source, self.dicom)


def once_a_volume(
    work: Callable[[Volume, *_Settings], _Made],
) -> Callable[[Volume, *_Settings], _Made]:
    """The last result is kept as long as the volume it is made from: several recipes of one case share it."""
    made: WeakKeyDictionary[Volume, tuple[Any, _Made]] = WeakKeyDictionary()

    @wraps(work)
    def shared(volume: Volume, *settings: *_Settings) -> _Made:
        kept = made.get(volume)
        if kept is None or kept[0] != settings:
            kept = made[volume] = (settings, work(volume, *settings))
        return kept[1]

    return shared


def _numbers(values: np.ndarray) -> str:
    return " x ".join(f"{v:g}" for v in values)
