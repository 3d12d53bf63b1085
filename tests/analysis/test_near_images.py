"""Near duplicates among images: a scan saved twice under two names is found, others are not, no file is trusted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import audit
from analysis.audits.duplicates import find_duplicates
from analysis.audits.images import near_images
from analysis.cohort import Cohort
from flexict_core.errors import AnalysisError
from flexict_core.io.write import write_nifti
from flexict_core.volume import Volume

N = 40


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """Images of unlike densities; P07 is P03 resampled to half the slices, with noise; P09's file is broken."""
    root, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(4)
    for i in range(N):
        coarse = rng.normal(-200, 300, (4, 4, 4))
        array = np.kron(coarse, np.ones((6, 6, 6)))
        step = 1
        if i == 3:
            kept = array
        if i == 7:
            array, step = kept[::2] + rng.normal(0, 8, kept[::2].shape), 2
        ct = Volume(array.astype(np.int16), np.diag([1.0, 1.0, step, 1.0]))
        write_nifti(ct, root / f"P{i:02d}.nii.gz")
    (root / "P09.nii.gz").write_bytes(b"no image")
    ids = [f"P{i:02d}" for i in range(N)]
    rows = pd.DataFrame({
        "patient_id": ids, "root": str(root), "image": [f"{p}.nii.gz" for p in ids],
        "source_sha256": [str(i) for i in range(N)], "series_uid": "",
    })  # fmt: skip
    rows.loc[12, "image"] = "../outside.nii.gz"
    return Cohort(
        X=rng.standard_normal((N, 5)), patient_id=np.array(ids, dtype=object), rows=rows,
        table=pd.DataFrame({"patient_id": ids, "age": rng.normal(60, 9, N)}),
        feature_names=None, lost=pd.DataFrame({"patient_id": [], "reason": []}), encoder="baseline",
    )  # fmt: skip


def test_the_copy_is_found_and_nothing_else(cohort: Cohort) -> None:
    result = audit(cohort, near_images=True, permutations=99)
    assert [(d.kind, d.first, d.second) for d in result.duplicates] == [("near image", "P03", "P07")]
    assert result.images_compared
    assert "8 × 8 × 8" in result.methods_text()
    (note,) = [w for w in result.warnings if "could not be read" in w]
    assert note.startswith("2 images could not be read again")
    plain = audit(cohort, permutations=99)
    assert not plain.duplicates
    assert "Image content was not compared" in plain.methods_text()


def test_rows_of_one_person_are_no_finding(cohort: Cohort) -> None:
    near, _ = near_images(cohort.rows, cohort.patient_id, alpha=0.05, progress=lambda _: None)
    persons = np.array(["one" if p in ("P03", "P07") else p for p in cohort.patient_id])
    found = find_duplicates(near, cohort.patient_id, alike=near, persons=persons)
    assert not found


def test_vectors_without_images_are_refused(cohort: Cohort, tmp_path: Path) -> None:
    for rows in (None, cohort.rows.assign(image="")):
        with pytest.raises(AnalysisError, match="--near-images"):
            near_images(rows, cohort.patient_id, alpha=0.05, progress=lambda _: None)
    gone = cohort.rows.assign(root=str(tmp_path))
    with pytest.raises(AnalysisError, match="no two images could be read"):
        near_images(gone, cohort.patient_id, alpha=0.05, progress=lambda _: None)
