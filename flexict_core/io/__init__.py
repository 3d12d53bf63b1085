"""Image files → Volume. The only place where axes are converted: everything behind it is LPS, (z, y, x)."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from flexict_core.errors import ImageError, MaskError, UnsupportedFormatError
from flexict_core.io.claims import Check, check_ct, check_extent, check_size
from flexict_core.io.dicom import NAMED_DICOM, read_dicom
from flexict_core.io.dicom_file import is_dicom
from flexict_core.io.dicom_geometry import OnGaps
from flexict_core.io.dicom_masks import read_dicom_mask
from flexict_core.io.itk import ITK_SUFFIXES, read_itk
from flexict_core.io.masks import check_grid, to_mask
from flexict_core.io.nifti import read_nifti
from flexict_core.io.region_names import region_number
from flexict_core.volume import Volume

__all__ = ["load_mask", "load_volume", "region_number"]

_NEGATIVE_HU = (-1100, -1)  # air to just below water
_LEAST_RANGE_HU = 20
_ABSURD_HU = (-1500, 4000)  # below all matter; above all but metal
_ABSURD_SHARE = 0.1
_PADDING_VALUES = 8  # at most
_SAMPLE = 200_000
_NIFTI_SUFFIXES = (".nii", ".nii.gz")


def load_volume(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    check_hu: bool = True,
    series_uid: str | None = None,
    on_gaps: OnGaps = "refuse",
) -> Volume:
    """Read a CT volume: array (z, y, x) in HU, in the file's own pixel type, affine to LPS mm.

    path: a NIfTI (.nii, .nii.gz), NRRD (.nrrd, .nhdr) or MetaImage (.mha, .mhd) file, a DICOM folder, a
    multi-frame DICOM file, or a list of the DICOM files of one series.
    series_uid: the DICOM series to read where there are several; the other formats have none.
    on_gaps: "refuse" a DICOM series with missing or unevenly spaced slices, or "resample" it to an even
    spacing. See `flexict_core.io.dicom.read_dicom` for what becomes of padding and of a tilted gantry.
    check_hu: refuse a volume whose values cannot be HU. Signs: no voxel between -1100 and -1
    (no air, lung, fat, nor noise below water: 8-bit grey values, stored values without their rescale
    intercept, MR, PET), or a range under 20 HU (normalised or z-scored values). A crop shows neither unless
    it holds nothing but dense tissue. Nor can it be HU where a tenth of the voxels exceed 4000 (metal fills
    less), or a tenth take many values below -1500 (padding takes few). Nor is it CT where hundreds of megabytes
    are packed more than a hundredfold, which noise does not allow.

    Raises UnsupportedFormatError for a format that is not read, and ImageError for a file that is damaged,
    not three-dimensional, without usable geometry, holds NaN or infinite voxels, or is not in HU, and for
    DICOM that is not one CT series of one patient.
    """
    if isinstance(path, (str, os.PathLike)) and not _is_dicom(path):
        volume = _read(path, check_ct if check_hu else check_size)
    else:
        volume = read_dicom(path, series_uid=series_uid, on_gaps=on_gaps)
    check_extent(volume)
    if volume.array.dtype.kind == "f":
        _check_finite(volume)
    if check_hu:
        _check_hu(volume)
    return volume


def load_mask(
    path: str | os.PathLike[str], *, label: int | str | None = None, reference: Volume | None = None
) -> Volume:
    """Read a mask: bool array (z, y, x), on the grid of `reference`, the CT it belongs to, where given.

    path: a label map (NIfTI, NRRD, MetaImage), an RTSTRUCT or a DICOM SEG (or a folder that holds one such).
    label: the value to select from a label map (None takes all values above 0), or the number or name of a
    region of an RTSTRUCT, a SEG or a segmentation of 3D Slicer (None where there is only one).

    A label map must lie on the reference's voxels. An RTSTRUCT is rasterised onto them; a SEG on another grid
    of the same frame of reference is resampled (nearest voxel).
    Raises UnsupportedFormatError for a format that is not read, and MaskError for a mask that cannot be read,
    is empty, lacks the label, holds no whole-number labels, reaches outside the reference, lies on another
    grid or was drawn in another frame of reference.
    """
    try:
        if _is_dicom(path):
            return read_dicom_mask(path, label=label, reference=reference)
        # Nothing is read of a mask on another grid: its header may claim any size.
        labels = _read(path, check_size if reference is None else lambda c: check_grid(c.grid, reference))
    except UnsupportedFormatError:
        raise
    except ImageError as error:
        raise MaskError(str(error)) from None
    if isinstance(label, str):
        label = region_number(path, label)
    return to_mask(labels, label=label, reference=reference)


def _check_finite(volume: Volume) -> None:
    # The extremes are NaN or infinite as soon as one voxel is: no second array for the common case.
    if not np.isfinite([volume.array.min(), volume.array.max()]).all():
        bad = volume.array.size - np.count_nonzero(np.isfinite(volume.array))
        raise ImageError(
            f"{volume.source}: {bad} voxels are NaN or infinite; replace them, outside the body by -1000 HU"
        )


def _check_hu(volume: Volume) -> None:
    sample = _sample(volume.array)
    _check_absurd(volume, sample)
    if float(sample.max()) - float(sample.min()) < _LEAST_RANGE_HU:
        low, high = _ends(volume)
        if high - low < _LEAST_RANGE_HU:
            raise ImageError(
                f"{volume.source}: not HU, values run from {low:g} to {high:g}, a range under "
                f"{_LEAST_RANGE_HU}; give the CT before it was normalised"
            )
    least, most = _NEGATIVE_HU
    if not any(((plane >= least) & (plane <= most)).any() for plane in volume.array):
        low, high = _ends(volume)
        raise ImageError(
            f"{volume.source}: not HU, values run from {low:g} to {high:g} and none lies between {least} and "
            f"{most}, where a CT has air, fat and noise; apply its rescale slope and intercept"
        )


def _sample(array: np.ndarray) -> np.ndarray:
    """Every n-th voxel each way, some hundred thousand: enough for shares, and quick."""
    step = math.ceil((array.size / _SAMPLE) ** (1 / 3))
    return array[::step, ::step, ::step]


def _ends(volume: Volume) -> tuple[float, float]:
    return float(volume.array.min()), float(volume.array.max())


def _check_absurd(volume: Volume, sample: np.ndarray) -> None:
    least, most = _ABSURD_HU
    above = sample > most
    below = sample < least
    if len(np.unique(sample[below])) <= _PADDING_VALUES:
        below = np.zeros_like(below)
    for there, words in ((above, f"above {most}"), (below, f"below {least}")):
        if (share := float(there.mean())) > _ABSURD_SHARE:
            raise ImageError(
                f"{volume.source}: not HU, {share:.0%} of the values lie {words}; "
                f"check the rescale slope and intercept"
            )


def _is_dicom(path: str | os.PathLike[str]) -> bool:
    """A folder, or a file that begins as DICOM does or is named so."""
    path = Path(path)
    try:
        if path.is_dir():
            return True
        if path.name.lower().endswith((*_NIFTI_SUFFIXES, *ITK_SUFFIXES)) or not path.is_file():
            return False
        with path.open("rb") as stream:
            return is_dicom(stream.read(132)) or path.suffix.lower() in NAMED_DICOM
    except OSError as error:  # also a name that is too long
        raise ImageError(f"{path}: cannot be read ({error.strerror or error}); check the file") from None


def _read(path: str | os.PathLike[str], check: Check) -> Volume:
    path = Path(path)
    name = path.name.lower()
    if path.exists() and not path.is_file():  # to open a pipe is to wait for ever
        raise ImageError(f"{path}: a pipe, socket or device, no file; give an image file")
    if name.endswith(_NIFTI_SUFFIXES):
        return read_nifti(path, check=check)
    if not path.exists():
        raise ImageError(f"{path}: no such file; check the path")
    if name.endswith(ITK_SUFFIXES):
        return read_itk(path, check=check)
    raise UnsupportedFormatError(
        f"{path}: {path.suffix or 'a file without extension'} is not read; convert it to .nii.gz"
    )
