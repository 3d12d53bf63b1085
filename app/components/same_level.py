"""The same level in another patient: its tumour's centre, as far from the centre, or as far through the scan."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.components.ct_planes import CtCase

LEVELS = {
    "centre": "Each one's centre",
    "offset": "Same distance from the centre",
    "relative": "Same relative position",
}
LEVELS_SAID = {
    "centre": "the axial slice through each tumour's centre",
    "offset": "as many mm from each tumour's centre as the planes above are from this one's",
    "relative": "at the same share of each scan's extent as the planes above",
}
Voxel = tuple[int, int, int]


def level_in(other: CtCase, level: str, *, case: CtCase, at_zyx: Voxel) -> Voxel:
    """The voxel of `other` at the level of `at_zyx` in `case`; both in LPS order. Clipped to the volume.

    level "offset" counts mm along the axes from the centre (the mask's, or the volume's middle without one); "relative"
    goes as far through the volume.
    """
    if level == "centre":
        return other.centre_zyx
    found = []
    for axis in range(3):
        n = other.volume.shape_zyx[axis]
        if level == "offset":
            away = (at_zyx[axis] - case.centre_zyx[axis]) * case.volume.spacing_zyx_mm[axis]
            place = other.centre_zyx[axis] + away / other.volume.spacing_zyx_mm[axis]
        else:
            place = (at_zyx[axis] + 0.5) / case.volume.shape_zyx[axis] * n - 0.5
        found.append(min(max(round(place), 0), n - 1))
    return found[0], found[1], found[2]
