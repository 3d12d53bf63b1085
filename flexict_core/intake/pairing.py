"""Which CT a mask belongs to: by the series that a DICOM mask refers to, and by name and grid for a label map."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from flexict_core.errors import FlexictError, MaskError
from flexict_core.intake.entries import CtVolume, LabelMap, LeftOut, LostCt, Roi
from flexict_core.intake.names import says_nothing, stem
from flexict_core.intake.volumes import Volumes, reason_of
from flexict_core.io.dicom_header import Header
from flexict_core.io.dicom_masks import mask_of
from flexict_core.io.dicom_seg import read_segmentation
from flexict_core.io.dicom_series import RTSTRUCT
from flexict_core.io.rtstruct import read_structure_set
from flexict_core.volume import Volume

# The tolerance of label maps (flexict_core.io.masks).
_TOLERANCE_VOXELS = 0.05


def matches(roi_id: str, patterns: Sequence[str]) -> bool:
    """Whether a region is wanted: any is where no pattern is given; `GTV*` as a shell has it, any case."""
    return not patterns or any(fnmatchcase(roi_id.casefold(), p.casefold()) for p in patterns)


# ── label maps ──────────────────────────────────────────────────────────────────────────────────────────


def pair_label_map(mask: LabelMap, volumes: Volumes) -> list[Roi] | LeftOut:
    """The regions of a label map on its CT, or why it has none."""
    try:
        volume = _ct_of(mask, volumes)
    except MaskError as error:
        return LeftOut(mask.path, str(error), refused=True)
    name = stem(mask.path)
    several = len(mask.labels) > 1
    numbered = {label: f"{name}:{label}" if several else name for label in mask.labels}
    return [Roi(volume, mask.path, label, mask.names.get(label, numbered[label])) for label in mask.labels]


def _ct_of(mask: LabelMap, volumes: Volumes) -> CtVolume:
    named = [v for v in volumes.found if _likeness(mask.key, v.keys)]
    lost = [v for v in volumes.lost if _likeness(mask.key, v.keys)]
    there = [v for v in named if _on_grid(mask.grid, v.grid)]
    if there:
        return _nearest(mask, there, [])
    if lost:
        raise MaskError(f"its CT {lost[0].path.name} is left out itself; see its reason")
    if named:
        raise MaskError(f"on another grid than its CT {named[0].image.name}; resample it to the CT")
    near = [v for v in volumes.found if _belongs_by_place(mask, v) and _on_grid(mask.grid, v.grid)]
    if near:
        return _nearest(mask, near, volumes.lost)
    if any(_on_grid(mask.grid, v.grid) for v in volumes.found):
        raise MaskError("its name tells no CT; name it after its CT with _mask at the end, or beside it")
    raise MaskError("a mask without a CT: none that was found lies on its grid")


def _likeness(mask: tuple[str, ...], keys: Sequence[tuple[str, ...]]) -> int:
    """2 where a name is the same, 1 where one begins with the other (P-1_liver, P-1), 0 otherwise."""
    if not mask:
        return 0
    if mask in keys:
        return 2
    return int(any(k[: len(mask)] == mask or mask[: len(k)] == k for k in keys))


def _nearest(mask: LabelMap, candidates: Sequence[CtVolume], lost: Sequence[LostCt]) -> CtVolume:
    """The best by name, then by place; MaskError where two are equally good."""
    ranked = sorted((_rank(mask, v.keys, v.folder), i) for i, v in enumerate(candidates))
    best, index = ranked[0]
    if any(_rank(mask, v.keys, v.folder) <= best for v in lost):
        raise MaskError("the CT nearest to it is left out itself; see its reason")
    if len(ranked) > 1 and ranked[1][0] == best:
        names = " and ".join(candidates[i].image.name for _, i in ranked[:2])
        raise MaskError(f"belongs to {names} alike; name it after its CT with _mask at the end")
    return candidates[index]


def _rank(mask: LabelMap, keys: Sequence[tuple[str, ...]], folder: Path) -> tuple[int, int]:
    return -_likeness(mask.key, keys), _steps(mask.path.parent, folder)


def _steps(a: Path, b: Path) -> int:
    """Folders to pass from one to the other."""
    common = _shared(a, b)
    return len(a.parts) + len(b.parts) - 2 * common


def _shared(a: Path, b: Path) -> int:
    """Number of leading parts that both have."""
    pairs = zip(a.parts, b.parts, strict=False)
    return next((i for i, (x, y) in enumerate(pairs) if x != y), min(len(a.parts), len(b.parts)))


def _belongs_by_place(mask: LabelMap, volume: CtVolume) -> bool:
    """Whether a mask whose name matches no CT lies where one of this CT would.

    In its folder, above or below, or in folders side by side that only say what they hold (`ct`, `masks`). A
    name with a number in it (`P-7_mask`) is another patient's.
    """
    if any(c.isdigit() for word in mask.key for c in word):
        return False
    a, b = mask.path.parent, volume.folder
    common = _shared(a, b)
    apart = [folder.parts[common] for folder in (a, b) if len(folder.parts) > common]
    return len(apart) < 2 or all(says_nothing(name) for name in apart)


def _on_grid(mask: Volume, ct: Volume) -> bool:
    tolerance = _TOLERANCE_VOXELS * min(ct.spacing_zyx_mm)
    return mask.to_orientation(ct.orientation).same_grid(ct, tol_mm=tolerance)


# ── RTSTRUCT, SEG ───────────────────────────────────────────────────────────────────────────────────────


def pair_dicom_mask(
    header: Header, volumes: Volumes, *, wanted: Sequence[str], root: Path
) -> tuple[list[Roi], list[LeftOut]]:
    """The regions of a structure set or segmentation on the series it refers to, each read once."""

    def left_out(reason: str, *, refused: bool = True) -> LeftOut:
        uid, modality = header.series_uid, header.modality
        return LeftOut(header.path, reason, refused, header.patient_id, uid, modality)

    try:
        series_uids, frame_uids, regions = _contents(header)
        volume = _referenced(header, volumes, series_uids=series_uids, frame_uids=frame_uids)
    except FlexictError as error:
        return [], [left_out(reason_of(error, root, header.path))]
    rois, lost = [], []
    taken: set[str] = set()
    for number, name, empty in regions:
        if not matches(name, wanted):
            lost.append(left_out(f"region {name!r} is not asked for", refused=False))
        elif empty:
            lost.append(left_out(f"region {name!r} has no closed contours, no area", refused=False))
        elif number < 1:
            lost.append(left_out(f"region {name!r} has the number {number}; number it from 1"))
        else:
            try:
                mask_of(header, label=number, reference=volume.grid)
            except Exception as error:
                lost.append(left_out(f"region {name!r}: {reason_of(error, root, header.path)}"))
                continue
            roi_id = name if name and name not in taken else f"{name or 'region'} {number}"
            taken.add(roi_id)
            rois.append(Roi(volume, header.path, number, roi_id))
    if not regions:
        lost.append(left_out("holds no region"))
    return rois, lost


def _contents(header: Header) -> tuple[tuple[str, ...], tuple[str, ...], list[tuple[int, str, bool]]]:
    """Series and frames that the file refers to; number and name of each region, and whether it is empty."""
    if header.sop_class == RTSTRUCT:
        drawn = read_structure_set(header.path)
        regions = [(r.number, r.name, not r.has_area) for r in drawn.regions]
        return drawn.series_uids, drawn.frame_uids, regions
    seg = read_segmentation(header.path)
    frames = (seg.frame_uid,) if seg.frame_uid else ()
    return seg.series_uids, frames, [(s.number, s.label, False) for s in seg.segments]


def _referenced(
    header: Header, volumes: Volumes, *, series_uids: Sequence[str], frame_uids: Sequence[str]
) -> CtVolume:
    dicom = [v for v in volumes.found if v.grid.dicom is not None]
    found = [v for v in dicom if v.series_uid in series_uids]
    if not series_uids:
        found = [v for v in dicom if v.grid.dicom and v.grid.dicom.frame_uid in frame_uids]
    if not found:
        if any(v.series_uid in series_uids for v in volumes.lost):
            raise MaskError("the CT series it was drawn on is left out itself; see its reason")
        raise MaskError("the CT series it was drawn on is not here; scan its folder too")
    if len(found) > 1:
        raise MaskError(f"refers to {len(found)} CT series here; add its row by hand")
    if header.patient_id != found[0].patient_id:
        raise MaskError("names another patient than the CT it was drawn on; correct its PatientID")
    return found[0]
