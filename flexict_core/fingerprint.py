"""A CT as a few hundred coarse densities, which a scan keeps when it is saved, resampled or compressed again."""

from __future__ import annotations

import numpy as np

from flexict_core.volume import Volume

CELLS = 8  # along each axis
SIZE = CELLS**3


def image_fingerprint(volume: Volume) -> np.ndarray:
    """Mean density [512] float32 of 8 × 8 × 8 equal cells of a CT turned to LPS, −1000 to 1000 HU → −1 to 1.

    It knows neither voxel size nor pixel type; a crop of the scan has another one.
    """
    array = volume.to_orientation("LPS").array
    cells: np.ndarray = np.clip(array, -1000, 1000).astype(np.float32)
    for axis in range(3):
        edges = np.linspace(0, cells.shape[axis], CELLS + 1)
        whole = np.floor(edges[:-1]).astype(int)
        # fewer slices than cells: a cell then is the slice it starts in
        width = np.maximum(np.diff(np.append(whole, cells.shape[axis])), 1)
        shape = [-1 if a == axis else 1 for a in range(3)]
        cells = np.add.reduceat(cells, whole, axis=axis) / width.reshape(shape)
    return (cells / 1000).ravel().astype(np.float32)
