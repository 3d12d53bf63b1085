"""Files that look suspicious and are good: each must be read, to the planted numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.uid import JPEGLSLossless, RLELossless

from flexict_core import load_volume
from tests.hostile.case import AFFINE_RAS, HU, LESION, Cases, DicomCt, Row, nifti, series, with_mask
from tests.hostile.itk_files import write as write_itk
from tests.hostile.masks import _segmented, lesion_of
from tests.small_dicom import save, structure_set

cases = Cases()


def dicom(at: Path, **changes: object) -> Row:
    return with_mask(at, series(at, **changes))


@cases.read()
def plain(at: Path) -> Row:
    return with_mask(at, nifti(at / "ct.nii.gz"))


@cases.read()
def letters_beyond_ascii(at: Path) -> Row:
    folder = at / "Größe 大 é ö"
    folder.mkdir()
    return {
        key: f"{folder.name}/{value}"
        for key, value in dict(with_mask(folder, nifti(folder / "CT ß, “quoted”.nii.gz"))).items()
    }


@cases.read()
def a_very_long_path(at: Path) -> Row:
    folder = at.joinpath(*["n" * 200] * 8)
    folder.mkdir(parents=True)
    row = dict(with_mask(folder, nifti(folder / "ct.nii.gz")))
    return {key: str(folder.relative_to(at) / str(value)) for key, value in row.items()}


@cases.read()
def axes_stored_the_other_way(at: Path) -> Row:
    affine = AFFINE_RAS @ np.array([[-1, 0, 0, 23], [0, 1, 0, 0], [0, 0, -1, 11], [0, 0, 0, 1.0]])
    row = nifti(at / "ct.nii.gz", HU[::-1, :, ::-1], affine_ras=affine)
    return with_mask(at, row)  # and the mask as it was


@cases.read()
def big_endian(at: Path) -> Row:
    return with_mask(at, nifti(at / "ct.nii", kind=">"))


@cases.read()
def one_more_dimension_of_one(at: Path) -> Row:
    return with_mask(at, nifti(at / "ct.nii.gz", HU[None], dim=[4, 24, 20, 12, 1, 1, 1, 1]))


@cases.read()
def scaled_in_its_header(at: Path) -> Row:
    stored = (HU + 1024).astype(np.uint16)
    return with_mask(at, nifti(at / "ct.nii.gz", stored, scl_slope=1, scl_inter=-1024))


@cases.read()
def floats_of_64_bits(at: Path) -> Row:
    return with_mask(at, nifti(at / "ct.nii.gz", HU.astype(np.float64)))


@cases.read()
def an_nrrd(at: Path) -> Row:
    return with_mask(at, write_itk(at / "ct.nrrd", packed=True))


@cases.read()
def a_metaimage_with_its_data_beside_it(at: Path) -> Row:
    return with_mask(at, write_itk(at / "ct.mhd"))


@cases.read()
def slices_in_no_order(at: Path) -> Row:
    return dicom(at)


@cases.read()
def a_loop_of_folders(at: Path) -> Row:
    row = dicom(at)
    (at / "ct/below").mkdir()
    (at / "ct/below/loop").symlink_to(at / "ct")
    return row


@cases.read()
def hidden_files_beside_the_slices(at: Path) -> Row:
    row = dicom(at)
    (at / "ct/.DS_Store").write_bytes(bytes(20))
    (at / "ct/Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0" * 20)
    return row


@cases.read()
def another_rescaling_in_every_slice(at: Path) -> Row:
    return dicom(at, intercept=[-1024 - 3 * k for k in range(len(HU))], slope=[1, *[0.5] * 11])


@cases.read()
def signed_pixels(at: Path) -> Row:
    return dicom(at, intercept=0, dtype=np.int16)


@cases.read()
def padding_below_all_matter(at: Path) -> Row:
    hu = HU.copy()
    hu[:, :2] = -3024
    return dicom(at, hu=hu, intercept=0, dtype=np.int16)


@cases.read()
def run_length_pixels(at: Path) -> Row:
    return _compressed(at, RLELossless)


@cases.read()
def jpeg_ls_pixels(at: Path) -> Row:
    return _compressed(at, JPEGLSLossless)


def _compressed(at: Path, syntax: str) -> Row:
    planes = DicomCt().planes(HU, tags={"PatientID": at.name})
    for ds in planes:
        ds.compress(syntax, generate_instance_uid=False)
    DicomCt().save(at / "ct", planes)
    return with_mask(at, {"image": "ct"})


@cases.read()
def drawn_as_contours(at: Path) -> Row:
    row = series(at)
    ct = load_volume(at / "ct")
    ds = structure_set(ct, {"GTV": lesion_of(ct)})
    ds.PatientID = at.name
    save(at / "rs.dcm", ds)
    return {**dict(row), "mask": "rs.dcm"}  # type: ignore[arg-type]


@cases.read()
def drawn_as_a_segmentation(at: Path) -> Row:
    return _segmented(at, LESION)
