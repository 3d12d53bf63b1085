"""NIfTI-1 and -2 single files (.nii, .nii.gz) → Volume. RAS becomes LPS here and nowhere else."""

from __future__ import annotations

import gzip
import io
import os
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from flexict_core.errors import ImageError
from flexict_core.io.claims import Check, Claim, check_size, claim_of
from flexict_core.volume import Volume

_CHUNK = 1 << 22
_MOST_AFTER = 1 << 20  # some programs fill up the last block
_HEADER_BYTES = 540  # of the longer kind
_SIZES = (b"\x5c\x01\0\0", b"\0\0\x01\x5c")  # of a NIfTI-1 header: how a file begins
_DEFLATE_LIMIT = 1040  # deflate cannot shrink more than 1032-fold: larger claims are a broken header
_MM_PER_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # xyzt_units: unknown (taken as mm), m, mm, µm


def read_nifti(path: str | os.PathLike[str], *, check: Check = check_size) -> Volume:
    """Read one three-dimensional NIfTI file.

    Voxels keep the file's pixel type (native byte order; float64 becomes float32) unless the header scales
    them (scl_slope, scl_inter), which gives float32. Trailing dimensions of size 1 are dropped. The sform
    is used where it is set, else the qform.
    check: looks at what the header claims before any voxel is read, and may refuse it.

    Raises ImageError, in one line with the path, for a missing, empty, truncated or damaged file, another
    format, other than three dimensions, colour or complex pixels, a spacing that is not positive, a header
    without orientation, and more data than the header tells of.
    """
    from isal import igzip, igzip_lib

    path = Path(path)
    try:
        size = path.stat().st_size
        if size == 0:
            raise ImageError(f"{path}: the file is empty (0 bytes); copy it again from its source")
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            stream = cast("IO[bytes]", igzip.IGzipFile(fileobj=raw, mode="rb")) if packed else raw
            header = _read_header(path, stream)
            claim = _claim(path, header, stored=size, packed=packed)
            check(claim)
            array = _read_voxels(path, stream, header, claim=claim)
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file; check the path") from None
    except EOFError:
        raise ImageError(f"{path}: {_cut_off(path)}; copy it again") from None
    except (gzip.BadGzipFile, igzip_lib.IsalError) as error:  # type: ignore[misc]
        damage = "the checksum at its end does not fit" if "CRC" in str(error) else "damaged gzip data"
        raise ImageError(f"{path}: {damage} ({error}); copy it again") from None
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror or error}); check the file") from None
    return Volume(array, claim.grid.affine, path)


def _cut_off(path: Path) -> str:
    """How far the data of a packed file go that end too early."""
    from isal import isal_zlib

    unpack, head, got = isal_zlib.decompressobj(wbits=31), b"", 0
    with path.open("rb") as stream, suppress(isal_zlib.error):  # type: ignore[arg-type]
        while block := unpack.unconsumed_tail or stream.read(_CHUNK):
            part = unpack.decompress(block, _CHUNK)
            head += part[: _HEADER_BYTES - len(head)]
            got += len(part)
    if not got:
        return "truncated within the first bytes of its gzip data"
    header = _read_header(path, io.BytesIO(head))
    claim = _claim(path, header, stored=path.stat().st_size, packed=True)
    if (voxels := got - claim.first) < claim.needed:
        return f"truncated, {max(voxels, 0)} of {claim.needed} bytes of voxels are there"
    return "truncated, the checksum at its end is cut off"


def _claim(path: Path, header: Any, *, stored: int, packed: bool) -> Claim:
    """ImageError where the file cannot hold as many voxels."""
    shape = _shape_xyz(path, header)
    affine = _affine_lps(path, header)
    dtype = _pixel_type(path, header)
    most = stored * (_DEFLATE_LIMIT if packed else 1)
    first = _first_byte(path, header, most=most)
    claim = claim_of(path, shape[::-1], affine, dtype=dtype, stored=stored, first=first)
    if claim.needed > most:
        raise ImageError(
            f"{path}: truncated, its header claims {claim.needed} bytes of voxels; copy it again"
        )
    return claim


def _read_header(path: Path, stream: IO[bytes]) -> Any:
    import nibabel as nib

    kind: Any
    block = stream.read(348)
    if len(block) < 348 and block[:4] in _SIZES:
        raise ImageError(f"{path}: truncated within its header; copy it again")
    sizeof = {int.from_bytes(block[:4], "little"), int.from_bytes(block[:4], "big")}
    if 540 in sizeof and block[4:7] == b"n+2":
        block += stream.read(540 - 348)
        kind, length = nib.Nifti2Header, 540
    elif 348 in sizeof and block[344:347] == b"n+1":
        kind, length = nib.Nifti1Header, 348
    elif 348 in sizeof and block[344:347] == b"ni1":
        raise ImageError(f"{path}: half of a .hdr/.img pair; convert it to one .nii.gz file")
    else:
        raise ImageError(f"{path}: not a NIfTI file (its first bytes are not a NIfTI header)")
    if len(block) != length:
        raise ImageError(f"{path}: truncated within its header; copy it again")
    return kind(block, check=False)


def _shape_xyz(path: Path, header: Any) -> tuple[int, int, int]:
    number = int(header["dim"][0])
    if not 1 <= number <= 7:
        raise ImageError(f"{path}: damaged header, it claims {number} dimensions; copy it again")
    shape = tuple(int(n) for n in header["dim"][1 : number + 1])
    text = " x ".join(map(str, shape))
    if min(shape) < 1:
        raise ImageError(f"{path}: damaged header, it claims a size of {text}; copy it again")
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) > 3:
        raise ImageError(f"{path}: {len(shape)}-dimensional ({text}), not one volume; extract the one meant")
    if len(shape) < 3 or min(shape) < 2:
        raise ImageError(f"{path}: a 2D image ({text}), not a volume; give the whole series")
    return shape[0], shape[1], shape[2]


def _affine_lps(path: Path, header: Any) -> np.ndarray:
    from nibabel.spatialimages import HeaderDataError

    pixdim = np.asarray(header["pixdim"][1:4], dtype=float)
    if not (np.isfinite(pixdim).all() and (pixdim > 0).all()):
        shown = " x ".join(f"{side:g}" for side in pixdim)
        raise ImageError(f"{path}: voxel spacing {shown} mm is not positive; repair the header")
    # Without either code the standard gives no orientation, and left and right would be a guess.
    if header["sform_code"] <= 0 and header["qform_code"] <= 0:
        raise ImageError(f"{path}: no orientation (sform_code and qform_code are 0); convert it again")
    try:
        affine = np.array(header.get_best_affine(), dtype=np.float64)
    except (HeaderDataError, ValueError) as error:
        raise ImageError(f"{path}: unusable orientation ({error}); repair the header") from None
    affine[:3] *= _MM_PER_UNIT.get(int(header["xyzt_units"]) & 7, 1.0)
    affine[:2] *= -1  # RAS → LPS
    return affine


def _pixel_type(path: Path, header: Any) -> np.dtype:
    from nibabel.spatialimages import HeaderDataError

    try:
        dtype = header.get_data_dtype()
    except (HeaderDataError, KeyError):
        code = int(header["datatype"])
        raise ImageError(f"{path}: damaged header, pixel type {code} is unknown; copy it again") from None
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise ImageError(f"{path}: pixel type {dtype.name} is not grey values; convert it to int16 HU")
    return dtype


def _scaling(path: Path, header: Any) -> tuple[float, float] | None:
    """Slope and intercept, or None where the voxels are as they are."""
    slope, inter = (float(header[name]) for name in ("scl_slope", "scl_inter"))
    if slope == 0 or np.isnan(slope):  # as the standard has it, and as nibabel writes it
        return None
    if not (np.isfinite(slope) and np.isfinite(inter)):
        raise ImageError(
            f"{path}: scl_slope {slope:g} and scl_inter {inter:g} are not finite; repair the header"
        )
    return None if (slope, inter) == (1.0, 0.0) else (slope, inter)


def _first_byte(path: Path, header: Any, *, most: int) -> int:
    """Where the voxels start."""
    start, length = float(header["vox_offset"]), len(header.binaryblock)
    if start == 0:  # in files of old programs
        return length
    if not length <= start <= most:
        where = "within the header" if start < length else "beyond its end"
        raise ImageError(f"{path}: its voxels start at byte {start:g}, {where}; repair vox_offset")
    return int(start)


def _read_voxels(path: Path, stream: IO[bytes], header: Any, *, claim: Claim) -> np.ndarray:
    dtype, scaling = claim.grid.array.dtype, _scaling(path, header)
    _skip(stream, claim.first - len(header.binaryblock))
    array = np.empty(claim.grid.shape_zyx, dtype)  # x runs fastest in the file: (z, y, x) in C order
    target, got = array.reshape(-1).view(np.uint8), 0
    while got < claim.needed:
        block = stream.read(min(_CHUNK, claim.needed - got))
        if not block:
            raise ImageError(
                f"{path}: truncated, {got} of {claim.needed} bytes of voxels are there; copy it again"
            )
        target[got : got + len(block)] = np.frombuffer(block, np.uint8)
        got += len(block)
    # To the end, where gzip keeps its checksum.
    if len(stream.read(_MOST_AFTER + 1)) > _MOST_AFTER:
        raise ImageError(
            f"{path}: more than {_MOST_AFTER} bytes follow the last voxel that its header tells of; "
            f"check its source"
        )
    if scaling is not None:
        return _scaled(array, *scaling)
    kind = np.dtype(np.float32) if dtype.kind == "f" else dtype.newbyteorder("=")
    with np.errstate(over="ignore"):  # becomes infinite, which the caller reports
        return array.astype(kind, copy=False)


def _skip(stream: IO[bytes], count: int) -> None:
    while count > 0 and (block := stream.read(min(count, _CHUNK))):
        count -= len(block)


def _scaled(array: np.ndarray, slope: float, inter: float) -> np.ndarray:
    out = np.empty(array.shape, np.float32)
    with np.errstate(over="ignore"):
        for z in range(len(array)):
            out[z] = array[z].astype(np.float64) * slope + inter
    return out
