"""Patients from names and places."""

from __future__ import annotations

from pathlib import Path

import pytest

from flexict_core.intake.names import identity, name_patients


@pytest.mark.parametrize(
    ("name", "whose"),
    [
        ("P-001", "P-001"),
        ("P-001_CT_image", "P-001"),
        ("CT_P-001", "P-001"),
        ("P-001_mask", "P-001"),
        ("P-001-GTV2", "P-001"),
        ("P-001_lesion_2", "P-001"),
        ("case_00110_0000", "case_00110"),
        ("LUNG1-001", "LUNG1-001"),
        ("sub-001_ct", "sub-001"),
        ("image_7", "7"),
        ("CT_image", ""),
        ("segmentation", ""),
        ("contrast", "contrast"),
    ],
)
def test_identity(name: str, whose: str) -> None:
    assert identity(name) == whose


@pytest.mark.parametrize(
    ("files", "named"),
    [
        # a file that says nothing is named by its folder
        (["STS_1/CT.nii.gz", "STS_2/CT.nii.gz"], [("STS_1", "CT"), ("STS_2", "CT")]),
        (["P1/nifti/ct.nii.gz", "P1/nifti/ct2.nrrd"], [("P1", "nifti/ct"), ("ct2", "ct2")]),
        # one that says something, by itself
        (["ct/P1.nii.gz", "ct/P2.mha"], [("P1", "P1"), ("P2", "P2")]),
        # a word that recurs names no patient
        (
            ["P1/thin.nii", "P1/thick.nii", "P2/thin.nii", "P2/thick.nii"],
            [("P1", "thin"), ("P1", "thick"), ("P2", "thin"), ("P2", "thick")],
        ),
        # nowhere a name: the file's own
        (["ct.nii.gz"], [("home", "ct")]),
    ],
)
def test_patients(files: list[str], named: list[tuple[str, str]]) -> None:
    root = Path("/home")
    found, doubled = name_patients([root / file for file in files], root)
    assert [(v.patient_id, v.series) for v in found.values()] == named
    assert not doubled
