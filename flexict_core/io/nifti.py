"""NIfTI-1 and -2 single files (.nii, .nii.gz) → Volume. RAS becomes LPS here and nowhere else."""

from __future__ import annotations

import gzip
import math
import os
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from flexict_core.errors import ImageError
from flexict_core.volume import Volume

_CHUNK = 1 << 22
_DEFLATE_LIMIT = 1040  # deflate cannot shrink more than 1032-fold: larger claims are a broken header
_MM_PER_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # xyzt_units: unknown (taken as mm), m, mm, µm


def read_nifti(path: str | os.PathLike[str]) -> Volume:
    """Read one three-dimensional NIfTI file.

    Voxels keep the file's pixel type (native byte order; float64 becomes float32) unless the header scales
    them (scl_slope, scl_inter), which gives float32. Trailing dimensions of size 1 are dropped. The sform
    is used where it is set, else the qform.

    Raises ImageError, in one line with the path, for a missing, empty, truncated or damaged file, another
    format, other than three dimensions, colour or complex pixels, a spacing that is not positive, and a
    header without orientation.
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
            shape = _shape_xyz(path, header)
            affine = _affine_lps(path, header)
            array = _read_voxels(path, stream, header, shape, limit=size * (_DEFLATE_LIMIT if packed else 1))
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file; check the path") from None
    except (EOFError, gzip.BadGzipFile, igzip_lib.IsalError) as error:  # type: ignore[misc]
        raise ImageError(f"{path}: truncated or damaged gzip data ({error}); copy it again") from None
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror or error}); check the file") from None
    return Volume(array, affine, path)


def _read_header(path: Path, stream: IO[bytes]) -> Any:
    import nibabel as nib

    kind: Any
    block = stream.read(348)
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


def _read_voxels(
    path: Path, stream: IO[bytes], header: Any, shape_xyz: tuple[int, int, int], *, limit: int
) -> np.ndarray:
    from nibabel.spatialimages import HeaderDataError

    try:
        dtype = header.get_data_dtype()
        slope, inter = header.get_slope_inter()
        gap = int(header["vox_offset"]) - len(header.binaryblock)
    except (HeaderDataError, KeyError, ValueError, OverflowError) as error:
        raise ImageError(f"{path}: damaged header ({error}); copy it again") from None
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise ImageError(f"{path}: pixel type {dtype.name} is not grey values; convert it to int16 HU")

    needed = math.prod(shape_xyz) * dtype.itemsize
    if needed > limit:
        raise ImageError(f"{path}: truncated, its header claims {needed} bytes of voxels; copy it again")
    array = np.empty(shape_xyz[::-1], dtype)  # x runs fastest in the file: (z, y, x) in C order
    _skip(stream, gap)
    got = _read_into(stream, array.reshape(-1).view(np.uint8))
    if got < needed:
        raise ImageError(f"{path}: truncated, {got} of {needed} bytes of voxels are there; copy it again")
    while stream.read(_CHUNK):  # to the end, where gzip keeps its checksum
        pass

    if (slope, inter) not in ((None, None), (1.0, 0.0)):
        return _scaled(array, slope, inter)
    target = np.dtype(np.float32) if dtype.kind == "f" else dtype.newbyteorder("=")
    with np.errstate(over="ignore"):  # becomes infinite, which the caller reports
        return array.astype(target, copy=False)


def _skip(stream: IO[bytes], count: int) -> None:
    while count > 0 and (block := stream.read(min(count, _CHUNK))):
        count -= len(block)


def _read_into(stream: IO[bytes], target: np.ndarray) -> int:
    done = 0
    while done < len(target) and (block := stream.read(min(_CHUNK, len(target) - done))):
        target[done : done + len(block)] = np.frombuffer(block, np.uint8)
        done += len(block)
    return done


def _scaled(array: np.ndarray, slope: float, inter: float) -> np.ndarray:
    out = np.empty(array.shape, np.float32)
    with np.errstate(over="ignore"):
        for z in range(len(array)):
            out[z] = array[z].astype(np.float64) * slope + inter
    return out
