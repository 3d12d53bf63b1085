"""NRRD (.nrrd, .nhdr) and MetaImage (.mha, .mhd) → Volume, through SimpleITK. Their world is LPS here."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from flexict_core.errors import ImageError
from flexict_core.io.claims import Check, Claim, check_size, claim_of
from flexict_core.volume import Volume

ITK_SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")
_HEADER_BYTES = 1 << 16
_DEFLATE_LIMIT = 1040  # deflate cannot shrink more than 1032-fold: larger claims are a broken header
# Where each format says which way its axes run; without, left and right would be a guess.
_ORIENTED = {
    "nrrd": re.compile(rb"^space\s*:", re.I | re.M),
    "meta": re.compile(rb"^(TransformMatrix|Orientation|Rotation)\s*=", re.I | re.M),
}
_DATA_FILE = {
    "nrrd": re.compile(rb"^data ?file\s*:\s*(.*?)\s*$", re.I | re.M),
    "meta": re.compile(rb"^ElementDataFile\s*=\s*(.*?)\s*$", re.I | re.M),
}
_PACKED = {
    "nrrd": re.compile(rb"^encoding\s*:\s*(gz|gzip|bz2|bzip2)\b", re.I | re.M),
    "meta": re.compile(rb"^CompressedData\s*=\s*(True|1)\b", re.I | re.M),
}
_DEFLATED = {
    "nrrd": re.compile(rb"^encoding\s*:\s*(gz|gzip)\b", re.I | re.M),
    "meta": _PACKED["meta"],
}
_SKIPPED = re.compile(rb"^((line|byte) ?skip\s*:|HeaderSize\s*=)", re.I | re.M)
_SPACING = re.compile(rb"^(?:ElementSpacing\s*=|ElementSize\s*=|spacings\s*:)\s*(.*?)\s*$", re.I | re.M)
_ZLIB_OR_GZIP = 47
_CHUNK = 1 << 18
_DIMENSIONS = re.compile(rb"^(?:NDims\s*=|dimension\s*:)\s*(\d+)", re.I | re.M)
_MOST_DIMENSIONS = 5
_NEEDED = (b"NDims", b"DimSize", b"ElementType", b"ElementDataFile")
_BY_DIMENSION = frozenset((
    b"DimSize", b"TransformMatrix", b"Orientation", b"Rotation", b"Offset", b"Position", b"Origin",
    b"CenterOfRotation", b"ElementSpacing", b"ElementSize",
))  # fmt: skip
_PACKED_SIZE = re.compile(rb"^CompressedDataSize\s*=\s*(\d+)", re.I | re.M)


def read_itk(path: str | os.PathLike[str], *, check: Check = check_size) -> Volume:
    """Read one three-dimensional NRRD or MetaImage file, with its data file where that is another.

    Voxels keep the file's pixel type, float64 becomes float32.
    check: looks at what the header claims before any voxel is read, and may refuse it.
    Raises ImageError, in one line with the path, for a missing, empty, truncated or damaged file, other than
    three dimensions, colour or vector pixels, a header without orientation, and a data file that lies outside
    the header's folder.
    """
    import SimpleITK as sitk  # noqa: N813

    path = Path(path)
    header = _header(path)
    data = _data_file(path, header)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)  # they go to stderr, past Python
    try:
        reader.ReadImageInformation()
        _check_shape(path, reader)
        _check_oriented(path, header)
        _check_spacing(path, header)
        claim = _claim(path, reader, data, header=header)
        check(claim)
        _check_packed(path, data, header, needed=claim.needed)
        image = reader.Execute()
    except RuntimeError as error:
        raise ImageError(
            f"{path}: damaged or not a {path.suffix} file ({_reason(error)}); copy it again"
        ) from None
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)
    array = sitk.GetArrayFromImage(image)
    if array.dtype == np.float64:
        with np.errstate(over="ignore"):  # becomes infinite, which the caller reports
            array = array.astype(np.float32)
    return Volume(array, claim.grid.affine, path)


def _family(path: Path) -> str:
    return "nrrd" if path.suffix.lower() in (".nrrd", ".nhdr") else "meta"


def _header(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            block = stream.read(_HEADER_BYTES)
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file; check the path") from None
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror or error}); check the file") from None
    if not block:
        raise ImageError(f"{path}: the file is empty (0 bytes); copy it again from its source")
    family = _family(path)
    if not (block.startswith(b"NRRD") if family == "nrrd" else b"ElementDataFile" in block):
        kind = "an NRRD" if family == "nrrd" else "a MetaImage"
        raise ImageError(f"{path}: not {kind} file (its first bytes are not such a header)")
    # Up to the voxels: an NRRD header ends with an empty line, a MetaImage header with the data file's name.
    end = r"\r?\n\r?\n" if family == "nrrd" else r"ElementDataFile[^\n]*\n?"
    found = re.search(end.encode(), block)
    header = block[: found.end()] if found else block
    _check_text(path, header)
    return header


def _check_text(path: Path, header: bytes) -> None:
    """ITK ends the whole process at some headers that no tool writes."""
    try:
        plain = all(c >= " " or c in "\t\r\n" for c in header.decode())
    except UnicodeDecodeError:
        plain = False
    if not plain:
        raise ImageError(f"{path}: damaged header, it holds bytes that are no text; copy it again")
    if _family(path) == "meta":
        _check_complete(path, header)
    found = _DIMENSIONS.search(header)
    if not found or int(found.group(1)) > _MOST_DIMENSIONS:
        claim = f"claims {found.group(1).decode()[:9]}" if found else "does not say how many"
        raise ImageError(f"{path}: damaged header, it {claim} dimensions; copy it again")


def _check_complete(path: Path, header: bytes) -> None:
    """A MetaImage header without one of its fields, or with them in another order: ITK writes of it to stderr."""
    fields = re.findall(rb"^(\w+)\s*=", header, re.M)
    absent = [name.decode() for name in _NEEDED if name not in fields]
    if absent:
        raise ImageError(f"{path}: damaged header, no {absent[0]} in it; copy it again")
    early = [name.decode() for name in fields[: fields.index(b"NDims")] if name in _BY_DIMENSION]
    if early:
        raise ImageError(f"{path}: damaged header, {early[0]} comes before NDims; copy it again")


def _check_oriented(path: Path, header: bytes) -> None:
    family = _family(path)
    if not _ORIENTED[family].search(header):
        field = "space" if family == "nrrd" else "TransformMatrix"
        raise ImageError(f"{path}: no orientation (no {field} in its header); convert it again")


def _data_file(path: Path, header: bytes) -> Path:
    """The file with the voxels: the header's own, or one beside or below it."""
    found = _DATA_FILE[_family(path)].search(header)
    name = found.group(1).decode("utf-8", "replace") if found else "LOCAL"
    if name.upper() == "LOCAL":
        return path
    if name.upper().startswith("LIST") or "%" in name:
        raise ImageError(f"{path}: voxels in a list of files are not read; convert it to one file")
    data = path.parent / name
    if not data.resolve().is_relative_to(path.parent.resolve()):
        raise ImageError(f"{path}: its data file {name!r} lies outside its folder; put them together")
    if not data.is_file():
        raise ImageError(f"{path}: its data file {name!r} is not there; put it beside its header")
    return data


def _check_shape(path: Path, reader: Any) -> None:
    size = reader.GetSize()
    shown = " x ".join(map(str, size))
    if reader.GetNumberOfComponents() != 1:
        raise ImageError(
            f"{path}: {reader.GetNumberOfComponents()} values a voxel (colour, vectors, complex numbers or "
            f"overlapping segments), not grey values; export one label map or CT"
        )
    if len(size) > 3 and any(n > 1 for n in size[3:]):
        raise ImageError(f"{path}: {len(size)}-dimensional ({shown}), not one volume; extract the one meant")
    if len(size) != 3 or min(size) < 2:
        raise ImageError(f"{path}: a {len(size)}D image ({shown}), not a volume; give the whole series")


def _check_spacing(path: Path, header: bytes) -> None:
    """ITK takes a negative spacing for a turned axis."""
    found = _SPACING.search(header)
    if found:
        try:
            sides = [float(side) for side in found.group(1).split()]
        except ValueError:
            sides = [math.nan]
        if not all(side > 0 for side in sides):
            shown = " x ".join(f"{side:g}" for side in sides)
            raise ImageError(f"{path}: voxel spacing {shown} mm is not positive; repair the header")


def _claim(path: Path, reader: Any, data: Path, *, header: bytes) -> Claim:
    """What the header claims. ImageError where the file is too short for it: readers would fill up the rest."""
    import SimpleITK as sitk  # noqa: N813

    x, y, z = reader.GetSize()[:3]
    affine = np.eye(4)
    affine[:3, :3] = (
        np.reshape(reader.GetDirection(), (len(reader.GetSize()), -1))[:3, :3] * reader.GetSpacing()[:3]
    )
    affine[:3, 3] = reader.GetOrigin()[:3]
    dtype = sitk.GetArrayFromImage(sitk.Image([1, 1, 1], reader.GetPixelID())).dtype
    there = data.stat().st_size - (len(header) if data == path else 0)
    claim = claim_of(path, (z, y, x), affine, dtype=dtype, stored=there)
    packed = bool(_PACKED[_family(path)].search(header))
    claimed = _PACKED_SIZE.search(header)
    short = there < int(claimed.group(1)) if claimed and packed else False
    if short or claim.needed > there * (_DEFLATE_LIMIT if packed else 1):
        raise ImageError(
            f"{path}: truncated, its header claims {claim.needed} bytes of voxels; copy it again"
        )
    return claim


def _check_packed(path: Path, data: Path, header: bytes, *, needed: int) -> None:
    """ImageError where deflated voxels are damaged or not as many as claimed: ITK takes what it can unpack and
    leaves the rest as it is."""
    if not _DEFLATED[_family(path)].search(header) or _SKIPPED.search(header):
        return
    from isal import isal_zlib

    unpack, got = isal_zlib.decompressobj(wbits=_ZLIB_OR_GZIP), 0
    try:
        with data.open("rb") as stream:
            stream.seek(len(header) if data == path else 0)
            while got <= needed and not unpack.eof and (block := stream.read(_CHUNK)):
                got += len(unpack.decompress(block, needed + 1 - got))
                while unpack.unconsumed_tail and got <= needed:
                    got += len(unpack.decompress(unpack.unconsumed_tail, needed + 1 - got))
    except isal_zlib.error:  # type: ignore[misc]
        raise ImageError(f"{path}: its packed voxels are damaged; copy it again") from None
    if got > needed:
        raise ImageError(f"{path}: more voxels are packed than its header tells of; check its source")
    if got < needed or not unpack.eof:
        raise ImageError(f"{path}: truncated, {got} of {needed} bytes of voxels are there; copy it again")


def _reason(error: RuntimeError) -> str:
    """The last line of ITK's report, which says what was wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    last = lines[-1] if lines else type(error).__name__
    return last.rsplit("): ", 1)[-1][:120]
