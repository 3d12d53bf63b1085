"""What a scan finds: CT volumes, masks, and what it leaves out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from flexict_core.volume import Volume

Quality = Mapping[str, object]


@dataclass(frozen=True)
class LeftOut:
    """A file, or the series at `path`, that gets no row in the manifest, and why.

    refused: whether it should have been a CT volume or a mask and cannot be used (damaged, gaps, a mask
    without its CT …); the rest was never meant to be one (scouts, reports, tables …).
    """

    path: Path
    reason: str
    refused: bool = False
    patient_id: str = field(default="", repr=False)
    series_uid: str = ""
    modality: str = ""
    files: int = 1


@dataclass(frozen=True, eq=False)
class CtVolume:
    """A CT volume that was read.

    image: the file or DICOM folder of the manifest. folder: where it lies. keys: the words of its own and its
    patient's name, by which label maps find it. grid: its geometry and DICOM origin; voxels are not kept.
    resampled: to an even spacing, because the user said so.
    """

    image: Path
    folder: Path
    patient_id: str = field(repr=False)
    series_uid: str
    keys: tuple[tuple[str, ...], ...]
    grid: Volume
    quality: Quality
    resampled: bool = False


@dataclass(frozen=True)
class LostCt:
    """A CT volume that was refused: its masks must not go to another one."""

    path: Path
    folder: Path
    keys: tuple[tuple[str, ...], ...]
    series_uid: str = ""


@dataclass(frozen=True, eq=False)
class LabelMap:
    """A label map (NIfTI, NRRD, MetaImage). labels: its values above 0; names: of those that the file names."""

    path: Path
    key: tuple[str, ...]
    grid: Volume
    labels: tuple[int, ...]
    names: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Roi:
    """A region of a CT volume: one row of the manifest."""

    volume: CtVolume
    mask: Path
    label: int | None
    roi_id: str
