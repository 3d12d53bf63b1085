"""Image files → Volume. The only place where axes are converted: everything behind it is LPS, (z, y, x)."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from flexict_core.errors import ImageError, MaskError, UnsupportedFormatError
from flexict_core.io.masks import to_mask
from flexict_core.io.nifti import read_nifti
from flexict_core.volume import Volume

__all__ = ["load_mask", "load_volume"]

_NEGATIVE_HU = (-1100, -1)  # air to just below water
_LEAST_RANGE_HU = 20


def load_volume(path: str | os.PathLike[str], *, check_hu: bool = True) -> Volume:
    """Read a CT volume: array (z, y, x) in HU, in the file's own pixel type, affine to LPS mm.

    check_hu: refuse a volume whose values cannot be HU. Two signs are taken: no voxel between -1100 and -1
    (no air, lung, fat, nor noise below water: 8-bit grey values, stored values without their rescale
    intercept, MR, PET), or a range under 20 HU (normalised or z-scored values). A crop shows neither unless
    it holds nothing but dense tissue.

    Raises UnsupportedFormatError for a format that is not read, and ImageError for a file that is damaged,
    not three-dimensional, without usable geometry, holds NaN or infinite voxels, or is not in HU.
    """
    volume = _read(path)
    if volume.array.dtype.kind == "f":
        _check_finite(volume)
    if check_hu:
        _check_hu(volume)
    return volume


def load_mask(
    path: str | os.PathLike[str], *, label: int | None = None, reference: Volume | None = None
) -> Volume:
    """Read a mask: bool array (z, y, x), on the grid of `reference`, the CT it belongs to, where given.

    label: the value to select from a label map; None takes all values above 0.

    Raises UnsupportedFormatError for a format that is not read, and MaskError for a mask that cannot be read,
    is empty, lacks the label, holds no whole-number labels or lies on another grid than the reference.
    """
    try:
        labels = _read(path)
    except UnsupportedFormatError:
        raise
    except ImageError as error:
        raise MaskError(str(error)) from None
    return to_mask(labels, label=label, reference=reference)


def _check_finite(volume: Volume) -> None:
    # The extremes are NaN or infinite as soon as one voxel is: no second array for the common case.
    if not np.isfinite([volume.array.min(), volume.array.max()]).all():
        bad = volume.array.size - np.count_nonzero(np.isfinite(volume.array))
        raise ImageError(
            f"{volume.source}: {bad} voxels are NaN or infinite; replace them, outside the body by -1000 HU"
        )


def _check_hu(volume: Volume) -> None:
    low, high = float(volume.array.min()), float(volume.array.max())
    if high - low < _LEAST_RANGE_HU:
        raise ImageError(
            f"{volume.source}: not HU, values run from {low:g} to {high:g}, a range under {_LEAST_RANGE_HU}; "
            f"give the CT before it was normalised"
        )
    least, most = _NEGATIVE_HU
    if not any(((plane >= least) & (plane <= most)).any() for plane in volume.array):
        raise ImageError(
            f"{volume.source}: not HU, values run from {low:g} to {high:g} and none lies between {least} and "
            f"{most}, where a CT has air, fat and noise; apply its rescale slope and intercept"
        )


def _read(path: str | os.PathLike[str]) -> Volume:
    path = Path(path)
    if path.is_dir():
        raise UnsupportedFormatError(f"{path}: a folder, and DICOM is not read yet; convert it to .nii.gz")
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        if not path.exists():
            raise ImageError(f"{path}: no such file; check the path")
        raise UnsupportedFormatError(
            f"{path}: {path.suffix or 'a file without extension'} is not read; convert it to .nii.gz"
        )
    return read_nifti(path)
