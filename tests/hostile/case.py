"""What a case of the hostile corpus is, and the small CT that all cases are made from.

A case writes its files into a folder of its own and says what must become of them: the words of the reason with
which they are left out, or no words where they are merely odd and must be read, to the planted numbers.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np

from tests.small_dicom import CtSeries

SHAPE = (12, 20, 24)  # z, y, x
SPACING_XYZ_MM = (0.7, 0.8, 2.5)

Row = Mapping[str, object] | str  # columns of the manifest, paths from the case's folder; or the bare line
Make = Callable[[Path], Row]


def chest() -> np.ndarray:
    """HU (z, y, x): a noisy water box in air with a lesion of about 60 HU."""
    hu = np.random.default_rng(0).normal(0, 12, SHAPE)
    hu[:, :4] = -1000
    hu[LESION.astype(bool)] += 60
    return np.rint(hu).astype(np.int16)


def _lesion() -> np.ndarray:
    mask = np.zeros(SHAPE, np.uint8)
    mask[4:9, 8:14, 8:15] = 1
    return mask


LESION = _lesion()
HU = chest()
LESION_ML = float(LESION.sum() * np.prod(SPACING_XYZ_MM) / 1000)
LESION_MEAN_HU = float(HU[LESION == 1].mean())
AFFINE_RAS = np.diag([-SPACING_XYZ_MM[0], -SPACING_XYZ_MM[1], SPACING_XYZ_MM[2], 1.0])  # axes towards L, P, S


@dataclass(frozen=True)
class Case:
    """says: words of its reason in the quarantine table; none where it must be embedded. scan: words of the
    reason that a scan gives for it; none where it must be in the manifest; None where there is nothing to scan
    (a fault of the manifest alone). kin: cases of one fault, which may share their reason."""

    name: str
    make: Make
    says: tuple[str, ...]
    scan: tuple[str, ...] | None
    kin: str


@dataclass
class Cases:
    """A list of cases, filled by decorating the functions that make them."""

    all: list[Case] = field(default_factory=list)

    def refused(
        self, *says: str, scan: tuple[str, ...] | None = ("",), kin: str = ""
    ) -> Callable[[Make], Make]:
        """A case that must not be embedded. scan: as in `Case`; the same words where it is not given."""

        def register(make: Make) -> Make:
            self.add(make.__name__, make, *says, scan=scan, kin=kin)
            return make

        return register

    def read(self, *, scan: tuple[str, ...] | None = ()) -> Callable[[Make], Make]:
        """A case that is merely odd: it must be embedded, with the lesion's planted numbers."""

        def register(make: Make) -> Make:
            self.all.append(Case(make.__name__, make, (), scan, make.__name__))
            return make

        return register

    def add(
        self, name: str, make: Make, *says: str, scan: tuple[str, ...] | None = ("",), kin: str = ""
    ) -> None:
        assert says
        self.all.append(Case(name, make, says, says if scan == ("",) else scan, kin or name))


# ── files ───────────────────────────────────────────────────────────────────────────────────────────────


def nifti_bytes(
    array: np.ndarray = HU, *, affine_ras: np.ndarray = AFFINE_RAS, kind: str = "<", **fields: object
) -> bytes:
    """A NIfTI-1 file of an array (z, y, x); header fields are written as given, unchecked."""
    header = nib.Nifti1Header(endianness=kind)
    header.set_data_dtype(array.dtype)
    header.set_data_shape(array.shape[::-1])
    header.set_sform(affine_ras, code="scanner")
    sides = np.linalg.norm(affine_ras[:3, :3], axis=0)
    header["pixdim"][1:4] = sides
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    for name, value in fields.items():
        header[name] = value
    return header.binaryblock + b"\0\0\0\0" + array.astype(array.dtype.newbyteorder(kind)).tobytes()


def nifti(path: Path, array: np.ndarray = HU, **options: object) -> Row:
    """A NIfTI file, packed where its name says so; returns the row that names it."""
    raw = nifti_bytes(array, **options)  # type: ignore[arg-type]
    path.write_bytes(gzip.compress(raw, 1, mtime=0) if path.suffix == ".gz" else raw)
    return {"image": path.name}


def with_mask(at: Path, row: Row, array: np.ndarray = LESION, **options: object) -> Row:
    """The row with the lesion as its mask, written beside the image."""
    nifti(at / "mask.nii.gz", array, **options)
    assert not isinstance(row, str)
    return {**row, "mask": "mask.nii.gz"}


def series(at: Path, hu: np.ndarray = HU, *, folder: str = "ct", **changes: object) -> Row:
    """A DICOM series of its own patient in a folder; `changes` are those of `CtSeries.planes`."""
    ct = DicomCt()
    tags = {"PatientID": at.name, **changes.pop("tags", {})}  # type: ignore[dict-item]
    ct.write(at / folder, hu, tags=tags, **changes)
    return {"image": folder}


class DicomCt(CtSeries):
    """The series of small DICOM files, with the chest in it."""

    hu = HU
    origin = (0.0, 0.0, 0.0)  # as in the NIfTI files, whose masks then fit
