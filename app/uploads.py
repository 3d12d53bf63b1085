"""A CT that somebody uploads: checked, unpacked without trust, read, and gone from the disk again.

The file lies in a private temporary folder only while it is read; what stays is the volume in the memory of the
session, and that ends with it. Nothing of an archive's own names is ever used as a path.
"""

from __future__ import annotations

import hashlib
import math
import tempfile
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from app.components.ct_planes import CtCase, open_case
from flexict_core.errors import ImageError, InputError, MaskError

IMAGE_TYPES = (".nii", ".nii.gz", ".nrrd", ".mha")
CT_TYPES = (*IMAGE_TYPES, ".zip")
MOST_MB = 256  # of an uploaded file
MOST_VOXELS = 400_000_000  # 512 × 512 × 1500
MOST_FILES = 4000  # in an archive
_MOST_UNPACKED = 4 * MOST_VOXELS + (64 << 20)  # bytes: four a voxel, and headers
_CHUNK = 1 << 20
_LINK = 0o120000


class Sent(Protocol):
    """What Streamlit's uploader gives."""

    name: str

    def getvalue(self) -> bytes: ...


@dataclass(frozen=True, eq=False)
class UploadedCt:
    """One uploaded CT with its mask. sha256: of all bytes sent."""

    name: str
    sha256: str
    case: CtCase


def digest(ct: Sent, mask: Sent | None) -> str:
    """Hash of what was sent, by which a rerun of the page knows it again."""
    told = hashlib.sha256(ct.name.encode() + b"\0" + ct.getvalue())
    if mask is not None:
        told.update(b"\0" + mask.name.encode() + b"\0" + mask.getvalue())
    return told.hexdigest()


def read_upload(ct: Sent, mask: Sent | None = None) -> UploadedCt:
    """Read an uploaded CT and its mask. Raises InputError, in one line with the file's own name, for a wrong type, a
    file or content that is too large, a damaged archive, and all that `load_volume` and `load_mask` refuse."""
    with tempfile.TemporaryDirectory(prefix="flexict-upload-") as private:
        folder = Path(private)
        (folder / "ct").mkdir()
        image = _written(ct, folder / "ct", CT_TYPES)
        drawn = None
        if mask is not None:
            (folder / "mask").mkdir()
            drawn = _written(mask, folder / "mask", IMAGE_TYPES)
        try:
            case = open_case(image, drawn)
        except (ImageError, MaskError) as error:
            own = {image: ct.name} if mask is None or drawn is None else {image: ct.name, drawn: mask.name}
            raise type(error)(_with_own_names(str(error), own)) from None
    return UploadedCt(Path(ct.name).name, digest(ct, mask), case)


def _with_own_names(message: str, names: dict[Path, str]) -> str:
    """The message without the temporary folder, which means nothing to the reader."""
    for path, name in names.items():
        message = message.replace(str(path), Path(name).name)
    return message


def _written(sent: Sent, folder: Path, types: Iterable[str]) -> Path:
    """The file, or the folder of files, that was sent, under names of ours."""
    name, content = Path(sent.name).name, sent.getvalue()
    ending = next((t for t in sorted(types, key=len, reverse=True) if name.lower().endswith(t)), None)
    if ending is None:
        raise InputError(f"{name!r} is not of a type that is read: give {', '.join(types)}")
    if len(content) > MOST_MB << 20:
        raise InputError(f"{name!r} has {len(content) >> 20} MB, at most {MOST_MB} are taken: crop the CT")
    if ending == ".zip":
        return _unpacked(name, content, folder)
    path = folder / f"upload{ending}"
    path.write_bytes(content)
    _check_claim(name, path, ending)
    return path


def _check_claim(name: str, path: Path, ending: str) -> None:
    """InputError where the header claims, or the packed data hold, more voxels than are read; nothing is decoded."""
    if ending == ".nii.gz":
        _check_gzip(name, path)
    claimed = _nifti_voxels(path) if ending.startswith(".nii") else _itk_voxels(path)
    if claimed > MOST_VOXELS:
        raise InputError(
            f"{name!r} unpacks to {claimed / 1e6:,.0f} million voxels, at most {MOST_VOXELS / 1e6:,.0f} are read: "
            "crop or resample the CT"
        )


def _check_gzip(name: str, path: Path) -> None:
    """InputError where the packed data are more than any volume that is read; a damaged file is left to the reader."""
    from isal import igzip

    done = 0
    try:
        with igzip.open(path) as packed:
            while done <= _MOST_UNPACKED and (block := packed.read(_CHUNK)):
                done += len(block)
    except Exception:  # whatever is wrong with the file, the reader says it in its own words
        return
    if done > _MOST_UNPACKED:
        raise InputError(f"{name!r} unpacks to more than {_MOST_UNPACKED >> 20} MB: crop or resample the CT")


def _nifti_voxels(path: Path) -> int:
    import nibabel as nib

    try:
        header: Any = nib.load(path)
        sides: list[int] = [int(n) for n in header.shape]
        return math.prod(sides)
    except Exception:  # whatever is wrong with the file, the reader says it in its own words
        return 0


def _itk_voxels(path: Path) -> int:
    import SimpleITK as sitk  # noqa: N813

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        reader.ReadImageInformation()
        return math.prod(int(n) for n in reader.GetSize())
    except RuntimeError:  # the reader says it in its own words
        return 0
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)


def _unpacked(name: str, content: bytes, folder: Path) -> Path:
    """The files of an archive side by side, numbered, with what they really unpack to counted as it comes."""
    import io

    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [m for m in archive.infolist() if _is_wanted(m)]
            if not members:
                raise InputError(f"{name!r} holds no file: give a zip of one DICOM series")
            if len(members) > MOST_FILES:
                raise InputError(
                    f"{name!r} holds {len(members)} files, at most {MOST_FILES} are read: give one series"
                )
            left = _MOST_UNPACKED
            for number, member in enumerate(members):
                with archive.open(member) as packed:
                    left -= _copied(packed, folder / f"{number:05d}.dcm", left, name)
    except (
        zipfile.BadZipFile,
        NotImplementedError,
        EOFError,
        OSError,
        RuntimeError,
        zlib.error,
    ) as error:
        reason = "it is encrypted" if "encrypted" in str(error) else "it is damaged or of an unknown packing"
        raise InputError(f"{name!r} cannot be unpacked ({reason}): zip the DICOM folder again") from None
    _check_dicom(name, folder)
    return folder


def _is_wanted(member: zipfile.ZipInfo) -> bool:
    """A plain file that is no note of an operating system."""
    parts = member.filename.replace("\\", "/").split("/")
    link = (member.external_attr >> 16) & 0o170000 == _LINK
    return not (member.is_dir() or link or "__MACOSX" in parts or parts[-1].startswith(".") or not parts[-1])


def _copied(packed: IO[bytes], path: Path, most: int, name: str) -> int:
    done = 0
    with path.open("wb") as out:
        while block := packed.read(_CHUNK):
            done += len(block)
            if done > most:
                raise InputError(
                    f"{name!r} unpacks to more than {_MOST_UNPACKED >> 20} MB: give one series, without other files"
                )
            out.write(block)
    return done


def _check_dicom(name: str, folder: Path) -> None:
    """InputError where the headers claim more pixels than are read: compressed frames can be bombs too."""
    import pydicom

    claimed = 0
    for path in folder.iterdir():
        try:
            header: Any = pydicom.dcmread(
                path, stop_before_pixels=True, specific_tags=["Rows", "Columns", "NumberOfFrames"]
            )
            claimed += int(header.Rows) * int(header.Columns) * int(header.get("NumberOfFrames", 1) or 1)
        except Exception:  # no image: the reader passes it over, or says why not
            continue
    if claimed > MOST_VOXELS:
        raise InputError(
            f"{name!r} holds {claimed / 1e6:,.0f} million pixels, at most {MOST_VOXELS / 1e6:,.0f} are read: give one "
            "series"
        )
