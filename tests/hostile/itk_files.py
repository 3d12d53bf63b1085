"""NRRD and MetaImage files that are damaged, lie, or point elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813

from tests.hostile.case import HU, SPACING_XYZ_MM, Cases, Row

cases = Cases()


def write(path: Path, array: np.ndarray = HU, *, packed: bool = False, vector: bool = False) -> Row:
    image = sitk.GetImageFromArray(array, isVector=vector)
    image.SetSpacing(SPACING_XYZ_MM)
    sitk.WriteImage(image, str(path), packed)
    return {"image": path.name}


def edited(path: Path, *changes: tuple[bytes, bytes]) -> Row:
    raw = path.read_bytes()
    for old, new in changes:
        assert old in raw, (old, raw[:600])
        raw = raw.replace(old, new)
    path.write_bytes(raw)
    return {"image": path.name}


@cases.refused("its first bytes are not such a header", "an NRRD", kin="foreign")
def a_letter_named_nrrd(at: Path) -> Row:
    (at / "ct.nrrd").write_bytes(b"Dear colleague, " * 40)
    return {"image": "ct.nrrd"}


@cases.refused("the file is empty (0 bytes)", kin="nifti_of_no_bytes")
def metaimage_of_no_bytes(at: Path) -> Row:
    (at / "ct.mha").touch()
    return {"image": "ct.mha"}


@cases.refused("truncated, its header claims", kin="claims of more voxels than the file has")
def nrrd_cut_in_its_voxels(at: Path) -> Row:
    write(at / "ct.nrrd")
    (at / "ct.nrrd").write_bytes((at / "ct.nrrd").read_bytes()[:-3000])
    return {"image": "ct.nrrd"}


@cases.refused("truncated, its header claims", kin="claims of more voxels than the file has")
def packed_metaimage_cut(at: Path) -> Row:
    write(at / "ct.mha", packed=True)
    (at / "ct.mha").write_bytes((at / "ct.mha").read_bytes()[:-300])
    return {"image": "ct.mha"}


@cases.refused("its packed voxels are damaged")
def packed_metaimage_damaged(at: Path) -> Row:
    write(at / "ct.mha", packed=True)
    raw = bytearray((at / "ct.mha").read_bytes())
    raw[-2] ^= 255
    (at / "ct.mha").write_bytes(raw)
    return {"image": "ct.mha"}


@cases.refused(
    "truncated, its header claims 54000000000000 bytes", kin="claims of more voxels than the file has"
)
def an_nrrd_header_that_claims_the_moon(at: Path) -> Row:
    write(at / "ct.nrrd", packed=True)
    return edited(at / "ct.nrrd", (b"sizes: 24 20 12", b"sizes: 30000 30000 30000"))


@cases.refused(
    "truncated, its header claims 54000000000000 bytes", kin="claims of more voxels than the file has"
)
def a_metaimage_header_that_claims_the_moon(at: Path) -> Row:
    write(at / "ct.mha", packed=True)
    return edited(at / "ct.mha", (b"DimSize = 24 20 12", b"DimSize = 30000 30000 30000"))


@cases.refused("more than a CT has", "voxels", kin="a_gzip_bomb_of_voxels")
def a_sparse_file_of_many_voxels(at: Path) -> Row:
    """20 GB on paper, of which the disk holds nothing."""
    write(at / "ct.mhd")
    os.truncate(at / "ct.raw", 2200**3 * 2)
    return edited(at / "ct.mhd", (b"DimSize = 24 20 12", b"DimSize = 2200 2200 2200"))


@cases.refused("lies outside its folder", kin="data file outside")
def a_data_file_in_the_folder_above(at: Path) -> Row:
    write(at / "ct.mhd")
    (at.parent / "outside.raw").write_bytes((at / "ct.raw").read_bytes())
    return edited(at / "ct.mhd", (b"= ct.raw", b"= ../outside.raw"))


@cases.refused("lies outside its folder", kin="data file outside")
def a_data_file_by_an_absolute_path(at: Path) -> Row:
    write(at / "ct.nhdr")
    return edited(at / "ct.nhdr", (b"data file: ct.raw", b"data file: /etc/passwd"))


@cases.refused("lies outside its folder", kin="data file outside")
def a_data_file_behind_a_link(at: Path) -> Row:
    write(at / "ct.mhd")
    (at / "ct.raw").unlink()
    (at / "ct.raw").symlink_to("/etc/passwd")
    return {"image": "ct.mhd"}


@cases.refused("is not there; put it beside its header")
def a_data_file_that_is_missing(at: Path) -> Row:
    write(at / "ct.nhdr")
    (at / "ct.raw").unlink()
    return {"image": "ct.nhdr"}


@cases.refused("voxels in a list of files are not read")
def a_list_of_data_files(at: Path) -> Row:
    write(at / "ct.nhdr")
    return edited(at / "ct.nhdr", (b"data file: ct.raw", b"data file: LIST\n/etc/passwd"))


@cases.refused("voxels in a list of files are not read", kin="a_list_of_data_files")
def a_pattern_of_data_files(at: Path) -> Row:
    write(at / "ct.mhd")
    return edited(at / "ct.mhd", (b"= ct.raw", b"= %03d.raw 1 12 1"))


@cases.refused("already set field data file")
def a_second_data_file_named_outside(at: Path) -> Row:
    """Which of two lines counts is the reader's choice; the check must not look at the other one."""
    write(at / "ct.nhdr")
    return edited(at / "ct.nhdr", (b"data file: ct.raw", b"data file: ct.raw\ndatafile: /etc/passwd"))


@cases.refused("no space in its header")
def an_nrrd_without_a_patient(at: Path) -> Row:
    write(at / "ct.nrrd")
    raw = (at / "ct.nrrd").read_bytes()
    header, voxels = raw.split(b"\n\n", 1)
    kept = [line for line in header.split(b"\n") if not line.startswith(b"space")]
    (at / "ct.nrrd").write_bytes(b"\n".join([*kept, b"spacings: 1 1 1"]) + b"\n\n" + voxels)
    return {"image": "ct.nrrd"}


@cases.refused("3 values a voxel (colour")
def colour_in_a_metaimage(at: Path) -> Row:
    return write(at / "ct.mha", np.zeros((*HU.shape, 3), np.uint8), vector=True)


@cases.refused("it holds bytes that are no text")
def bytes_in_a_text_header(at: Path) -> Row:
    write(at / "ct.mha")
    return edited(at / "ct.mha", (b"NDims = 3", b"NDims = 3\nComment = \xff\x00\xfe"))


@cases.refused("it claims 999 dimensions", kin="dimensions")
def a_thousand_dimensions(at: Path) -> Row:
    write(at / "ct.nrrd")
    return edited(at / "ct.nrrd", (b"dimension: 3", b"dimension: 999"))


@cases.refused("voxel spacing 0 x 0.8 x 2.5 mm is not positive", kin="spacing")
def a_metaimage_without_spacing(at: Path) -> Row:
    write(at / "ct.mha")
    return edited(at / "ct.mha", (b"ElementSpacing = 0.69999999999999996 ", b"ElementSpacing = 0 "))


@cases.refused("voxel spacing 0.7 x 0.8 x -2.5 mm is not positive", kin="spacing")
def a_metaimage_with_negative_spacing(at: Path) -> Row:
    write(at / "ct.mha")
    return edited(at / "ct.mha", (b"80000000000000004 2.5", b"80000000000000004 -2.5"))
