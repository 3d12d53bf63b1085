"""Volume → NIfTI-1 file, the same bytes every time."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np

from flexict_core.errors import UnsupportedFormatError
from flexict_core.volume import Volume

# NIfTI's world axes are RAS, a Volume's are LPS.
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def write_nifti(volume: Volume, path: str | Path, *, compression: int = 1) -> str:
    """Write a volume to `path` (.nii.gz) and return the SHA-256 of the file.

    Voxels keep their type, a bool mask becomes uint8. The gzip header carries no time and no name, so equal
    volumes give equal files on one machine (the packer may choose other bytes on another processor). The file
    appears whole or not at all.

    Raises UnsupportedFormatError for another extension.
    """
    path = Path(path)
    if not path.name.endswith(".nii.gz"):
        raise UnsupportedFormatError(f"{path}: only .nii.gz can be written; change the name's ending")
    packed = nifti_bytes(volume, compression=compression)
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(packed)
    os.replace(part, path)
    return hashlib.sha256(packed).hexdigest()


def nifti_bytes(volume: Volume, *, compression: int = 1) -> bytes:
    """What `write_nifti` writes: a whole .nii.gz file."""
    from isal import igzip

    array = volume.array.astype(np.uint8) if volume.array.dtype == bool else volume.array
    # NIfTI stores x fastest, as a C-ordered (z, y, x) array does.
    payload = _header(volume, array.dtype) + np.ascontiguousarray(array).tobytes()
    return igzip.compress(payload, compression, mtime=0)


def _header(volume: Volume, dtype: np.dtype) -> bytes:
    """348 bytes of NIfTI-1 header and 4 that say that no extension follows."""
    import nibabel

    header = nibabel.Nifti1Header()
    header.set_data_dtype(dtype)
    z, y, x = volume.shape_zyx
    header.set_data_shape((x, y, z))
    affine = _LPS_TO_RAS @ volume.affine
    header.set_sform(affine, code="scanner")
    header.set_qform(affine, code="scanner")
    header.set_xyzt_units("mm")
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    header["scl_slope"], header["scl_inter"] = 1, 0
    return header.binaryblock + b"\0\0\0\0"
