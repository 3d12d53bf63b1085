"""Rows of a manifest that lead nowhere, elsewhere, or to what is no file."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from tests.hostile.case import Cases, Row, nifti, with_mask

cases = Cases()


def named(name: str, image: str, *says: str, kin: str = "") -> None:
    cases.add(name, lambda at: {"image": image}, *says, scan=None, kin=kin)


named(
    "a_path_to_the_folder_above", "../../secret.nii.gz", "leads outside the manifest's folder", kin="outside"
)
named("an_absolute_path", "/etc/passwd", "leads outside the manifest's folder", kin="outside")
named("a_path_with_a_zero_byte", "ct\0.nii.gz", "null byte", "cannot be resolved")
named("a_path_that_is_missing", "gone.nii.gz", "does not exist", kin="missing file")
named("a_name_that_is_too_long", "x" * 300 + ".nii.gz", "File name too long")
named(
    "a_path_that_is_too_long", "y/" * 2500 + "ct.nii.gz", "File name too long", kin="a_name_that_is_too_long"
)
named("no_path_at_all", "", "image is empty: fill it in")


@cases.refused("leads outside the manifest's folder", scan=("a link to a file outside",), kin="outside")
def a_link_out_of_the_folder(at: Path) -> Row:
    (at / "ct.nii.gz").symlink_to("/etc/passwd")
    return {"image": "ct.nii.gz"}


@cases.refused("does not exist", scan=("a link to nothing",), kin="missing file")
def a_link_to_nothing(at: Path) -> Row:
    (at / "ct.nii.gz").symlink_to("gone.nii.gz")
    return {"image": "ct.nii.gz"}


@cases.refused("cannot be resolved", "loop", scan=("a link to nothing",))
def a_loop_of_links(at: Path) -> Row:
    (at / "ct.nii.gz").symlink_to("other.nii.gz")
    (at / "other.nii.gz").symlink_to("ct.nii.gz")
    return {"image": "ct.nii.gz"}


@cases.refused("no DICOM file here", scan=None, kin="a_folder_of_letters")
def a_folder_named_like_a_file(at: Path) -> Row:
    (at / "ct.nii.gz").mkdir()
    return {"image": "ct.nii.gz"}


@cases.refused("a pipe, socket or device", scan=("a pipe, socket or device",), kin="no file")
def a_pipe_named_like_a_file(at: Path) -> Row:
    """Whoever opens it waits for ever."""
    os.mkfifo(at / "ct.nrrd")
    return {"image": "ct.nrrd"}


@cases.refused("a pipe, socket or device", scan=None, kin="no file")
def a_pipe_in_place_of_a_mask(at: Path) -> Row:
    row = nifti(at / "ct.nii.gz")
    os.mkfifo(at / "mask.nii.gz")
    assert not isinstance(row, str)
    return {**row, "mask": "mask.nii.gz"}


@cases.refused("a pipe, socket or device", scan=("a pipe, socket or device",), kin="no file")
def a_socket_named_like_a_file(at: Path) -> Row:
    here = os.getcwd()
    os.chdir(at)  # the name of a socket must be short
    try:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind("ct.nii.gz")
    finally:
        os.chdir(here)
    return {"image": "ct.nii.gz"}


def _file_without_rights(at: Path) -> Row:
    row = nifti(at / "ct.nii.gz")
    (at / "ct.nii.gz").chmod(0)
    return row


if os.geteuid():  # root may read all; `a_slice_that_cannot_be_opened` holds for it, too
    cases.add("a_file_without_rights", _file_without_rights, "Permission denied")


@cases.refused(".png is not read", scan=("a .png file",))
def a_picture(at: Path) -> Row:
    (at / "ct.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    return {"image": "ct.png"}


@cases.refused("leads outside the manifest's folder", scan=None, kin="outside")
def a_mask_out_of_the_folder(at: Path) -> Row:
    row = nifti(at / "ct.nii.gz")
    assert not isinstance(row, str)
    return {**row, "mask": "../../../etc/passwd"}


@cases.refused("mask_label 1 is given but no mask", scan=None)
def a_label_without_a_mask(at: Path) -> Row:
    row = nifti(at / "ct.nii.gz")
    assert not isinstance(row, str)
    return {**row, "mask_label": 1}


@cases.refused("mask_label '0' is not a whole number", scan=None)
def a_label_of_zero(at: Path) -> Row:
    row = with_mask(at, nifti(at / "ct.nii.gz"))
    assert not isinstance(row, str)
    return {**row, "mask_label": 0}


@cases.refused("is not three numbers in mm", scan=None)
def a_seed_that_is_no_number(at: Path) -> Row:
    row = nifti(at / "ct.nii.gz")
    assert not isinstance(row, str)
    return {**row, "x_mm": "nan", "y_mm": 0, "z_mm": 0}


@cases.refused("line has 3 cells but the header names", scan=None)
def a_line_with_missing_cells(at: Path) -> Row:
    return f"{at.name},{at.name}/ct.nii.gz,"
