"""Colours of patches laid over the planes of a CT: every pixel gets the colour of the patch that it lies in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from flexict_core.volume import Volume

_SLICED = {"axial": 0, "coronal": 1, "sagittal": 2}  # which of (z, y, x) is held fixed
Voxel = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Overlay:
    """colours: [d, h, w, 4] uint8 (red, green, blue, opacity) of the patches; affine: [4, 4], patch index (x, y, z) →
    its centre in LPS mm. marks: a sign on single patches, by their index (z, y, x)."""

    colours: np.ndarray
    affine: np.ndarray
    marks: dict[Voxel, str] = field(default_factory=dict)

    @property
    def side_mm(self) -> float:
        """The shortest side of a patch."""
        return float(np.linalg.norm(self.affine[:3, :3], axis=0).min())

    def cut(self, volume: Volume, plane: str, at_zyx: Voxel, *, rows: slice, cols: slice) -> np.ndarray:
        """[rows, cols, 4] colours of one slice of an LPS volume; transparent where no patch lies."""
        held = _SLICED[plane]
        axes = [np.array([at_zyx[held]], float)] * 3
        row_axis, col_axis = (a for a in range(3) if a != held)
        axes[row_axis], axes[col_axis] = np.arange(rows.start, rows.stop), np.arange(cols.start, cols.stop)
        zyx = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
        index = np.floor(self._patch_of(volume, zyx) + 0.5).astype(np.intp)  # [n, 3] z, y, x
        inside = ((index >= 0) & (index < self.colours.shape[:3])).all(axis=1)
        out = np.zeros((len(zyx), 4), np.uint8)
        out[inside] = self.colours[tuple(index[inside].T)]
        return out.reshape(rows.stop - rows.start, cols.stop - cols.start, 4)

    def marks_in(self, volume: Volume, plane: str, at_zyx: Voxel) -> list[tuple[str, Voxel]]:
        """Signs whose patch the slice cuts, with the voxel at the patch's centre."""
        held, found = _SLICED[plane], []
        for (z, y, x), sign in self.marks.items():
            world = (self.affine @ [x, y, z, 1.0])[:3]
            centre = np.rint(volume.world_to_index(world)).astype(int)[::-1]
            here = centre.copy()
            here[held] = at_zyx[held]
            patch = np.floor(self._patch_of(volume, here[None].astype(float)) + 0.5)[0]
            if patch.tolist() == [z, y, x]:
                found.append((sign, (int(here[0]), int(here[1]), int(here[2]))))
        return found

    def _patch_of(self, volume: Volume, zyx: np.ndarray) -> np.ndarray:
        """Fractional patch indices [n, 3] (z, y, x) of voxels [n, 3] (z, y, x)."""
        world = volume.index_to_world(zyx[:, ::-1])
        xyz = (world - self.affine[:3, 3]) @ np.linalg.inv(self.affine[:3, :3]).T
        return xyz[:, ::-1]
