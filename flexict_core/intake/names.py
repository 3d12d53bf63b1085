"""What file and folder names say: which patient, and which CT a mask belongs to.

Names are taken as words: `P-001_CT_image.nii.gz` is `P-001` once the words that only say "image" or "mask" are
gone, and `STS_001/CT_image.nii.gz`, which then says nothing, is named by its folder.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

IMAGE_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
_IMAGE_WORD = re.compile(
    r"cts?|im(g|age)(s|str|sts)?|imaging|vol(ume)?s?|scans?|crop(ped)?|nii|nifti|nrrd|mha|mhd|dicom|dcm|data|"
    r"orig(inal)?|resampled|raw"
)
_MASK_WORD = re.compile(
    r"(masks?|seg(mentation)?s?|label(map)?s?|labelst[rs]|rois?|gtv[pn]?|ctv|ptv|tumou?rs?|lesions?|nodules?|"
    r"contours?|annotations?|groundtruth|gt|rtstruct|rtss)\d*"
)
_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class NamedPatient:
    """The patient that an image file's place and name stand for. series: what tells its images apart."""

    patient_id: str
    series: str


def stem(path: Path) -> str:
    """The file's name without the suffix of its format."""
    name = path.name
    found = next((s for s in IMAGE_SUFFIXES if name.lower().endswith(s)), "")
    return name[: len(name) - len(found)].removesuffix(".seg")


def words(text: str) -> tuple[str, ...]:
    """Its words, lower case."""
    return tuple(_WORD.findall(text.casefold()))


def says_nothing(name: str) -> bool:
    """Whether a name holds only words such as "images" or "mask"."""
    return not identity(name)


def identity(name: str) -> str:
    """The part of a name that says whose it is; "" where only words such as "image" and "mask" are left."""
    found = list(_WORD.finditer(name))
    kept = []
    for i, match in enumerate(found):
        word = match.group().casefold()
        numbered = word.isdigit() and i > 0 and _is_mask_word(found[i - 1].group())  # lesion_2
        # nnU-Net numbers the channels of an image: case_012_0000.
        channel = word == "0000" and i == len(found) - 1 and any(_has_digit(m.group()) for m in found[:i])
        if not (_IMAGE_WORD.fullmatch(word) or _is_mask_word(word) or numbered or channel):
            kept.append(match)
    if not kept:
        return ""
    between = found[found.index(kept[0]) : found.index(kept[-1]) + 1]
    if len(between) == len(kept):
        return name[kept[0].start() : kept[-1].end()]
    return "_".join(match.group() for match in kept)


def _is_mask_word(word: str) -> bool:
    return _MASK_WORD.fullmatch(word.casefold()) is not None


def _has_digit(text: str) -> bool:
    return any(c.isdigit() for c in text)


def name_patients(images: Sequence[Path], root: Path) -> tuple[dict[Path, NamedPatient], list[str]]:
    """The patient of each image file below `root`, and the IDs that two folders claim.

    A file is named by its own name, or where that says nothing (`CT_image`), or is no number and recurs in
    other folders (`thin`), by the nearest folder whose name says something. Where one ID is then claimed from
    two folders (`siteA/001`, `siteB/001`), each is written with its folder: one person in two is seen when
    the clinical table is joined, two persons in one never.
    """
    own = {path: identity(stem(path)) for path in images}
    homes = defaultdict(set)
    for path, name in own.items():
        homes[name].add(path.parent)
    chosen: dict[Path, tuple[str, Path]] = {}  # ID, and the folder that its series are told apart below
    for path, name in own.items():
        folder = _telling_folder(path, root)
        repeated = len(homes[name]) > 1 and not _has_digit(name)
        if name and not (repeated and folder):
            chosen[path] = (name, path.parent)
        elif folder:
            chosen[path] = (folder.name, folder)
        else:
            chosen[path] = (stem(path), path.parent)
    claims = defaultdict(set)
    for name, home in chosen.values():
        claims[name].add(home)
    result = {}
    for path, (name, home) in chosen.items():
        series = path.relative_to(home).with_name(stem(path)).as_posix()
        if len(claims[name]) > 1:
            full = (home if home.name == name else home / name).relative_to(root)
            result[path] = NamedPatient(full.as_posix(), series)
        else:
            result[path] = NamedPatient(name, series)
    return result, sorted(name for name, found in claims.items() if len(found) > 1)


def _telling_folder(path: Path, root: Path) -> Path | None:
    for folder in path.parents:
        if not says_nothing(folder.name) and folder.name:
            return folder
        if folder == root:
            return None
    return None
