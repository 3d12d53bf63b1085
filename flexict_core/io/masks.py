"""Label maps → bool masks on the grid of their CT."""

from __future__ import annotations

import warnings

import numpy as np

from flexict_core.errors import DataWarning, MaskError
from flexict_core.volume import Volume

# Headers keep positions in float32 and tools round them; a twentieth of a voxel moves no tumour.
_TOLERANCE_VOXELS = 0.05


def to_mask(labels: Volume, *, label: int | None = None, reference: Volume | None = None) -> Volume:
    """Select a label of a label map.

    labels: a volume of whole numbers, 0 = background.
    label: the value to select; None takes every value above 0, with a DataWarning where there are several.
    reference: the CT that the mask belongs to. The mask may be stored in another orientation; it comes back
    on the reference's own grid.

    Returns a bool Volume. Raises MaskError for an empty mask, a label that is not there, values that are not
    labels (fractions, negative, not finite), and voxels that are not the reference's voxels.
    """
    name = str(labels.source or "mask")
    if label is not None and label < 1:
        raise MaskError(f"{name}: mask label {label} is background; give a label of 1 or more")
    if reference is not None:
        labels = _on_grid_of(labels, reference, name)
    values = labels.array
    if values.dtype != bool:
        _check_labels(values, name)

    if label is None:
        chosen = values != 0
        if not chosen.any():
            raise MaskError(f"{name}: the mask is empty (all {values.size} voxels are 0); give another mask")
        if np.count_nonzero(values == values.max()) != np.count_nonzero(chosen):
            warnings.warn(
                f"{name}: the mask holds labels {_present(values)} and no label was chosen: taken together",
                DataWarning,
                stacklevel=2,
            )
    else:
        chosen = values == label
        if not chosen.any():
            raise MaskError(f"{name}: label {label} is not in the mask; it holds {_present(values)}")
    return labels.with_array(chosen)


def check_grid(labels: Volume, reference: Volume) -> None:
    """MaskError where a label map, of which only the grid counts, does not lie on the reference's voxels."""
    _on_grid_of(labels, reference, str(labels.source or "mask"))


def _on_grid_of(labels: Volume, reference: Volume, name: str) -> Volume:
    turned = labels.to_orientation(reference.orientation)
    if not turned.same_grid(reference, tol_mm=_TOLERANCE_VOXELS * min(reference.spacing_zyx_mm)):
        raise MaskError(
            f"{name}: the mask lies on another grid ({_grid(labels)}) than its CT ({_grid(reference)}); "
            f"resample it to the CT, or give the CT it was drawn on"
        )
    return Volume(turned.array, reference.affine, labels.source)


def _grid(volume: Volume) -> str:
    size = " x ".join(map(str, volume.shape_zyx[::-1]))
    spacing = " x ".join(f"{s:.4g}" for s in volume.spacing_zyx_mm[::-1])
    origin = ", ".join(f"{o:.1f}" for o in volume.affine[:3, 3])
    return f"{size} voxels of {spacing} mm from ({origin})"


def _check_labels(values: np.ndarray, name: str) -> None:
    low, high = values.min(), values.max()  # not finite as soon as one voxel is not
    if not (np.isfinite(low) and np.isfinite(high)):
        raise MaskError(f"{name}: the mask holds NaN or infinite values; give a label map")
    if low < 0:
        raise MaskError(f"{name}: the mask holds negative values (down to {low:g}); give a label map")
    if values.dtype.kind == "f":
        for plane in values:
            fraction = plane != np.rint(plane)
            if fraction.any():
                raise MaskError(
                    f"{name}: the mask holds fractions such as {plane[fraction][0]:g}; "
                    f"give whole-number labels, not probabilities"
                )


def _present(values: np.ndarray) -> str:
    found = np.unique(values[values != 0])
    shown = ", ".join(f"{v:g}" for v in found[:10]) or "only 0"
    return f"{shown}, … ({len(found)} labels)" if len(found) > 10 else shown
