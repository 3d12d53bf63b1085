"""A stage-axis map as NIfTI: its voxels sum to the patches' part of the score, and lie where the patches lie."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from analysis import load_cohort
from analysis.stage_axis_map import axis_of_others
from app.cli import main
from flexict_core.encoders.registry import load_encoder
from flexict_core.io import load_volume
from flexict_core.preprocess import Recipe
from flexict_core.store import EmbeddingStore
from tests.conftest import PlantedStore

SMALL = Recipe("small", "whole", spacing_mm=4.0, size=32)
ORDER = "I,II,III,IV"


@pytest.fixture(scope="module")
def patches(planted_store: PlantedStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of 16 planted CTs embedded by a small network with random weights."""
    encoder: Any = load_encoder("random-3d", recipe=SMALL, patch_size=8, device="cpu")
    store = EmbeddingStore.create(tmp_path_factory.mktemp("overlay") / "store")
    told = ("patient_id", "root", "image", "mask", "mask_label")
    rows = []
    for row in EmbeddingStore(planted_store.store).read("planted").rows.iloc[::3].itertuples(index=False):
        vector = encoder.encode([encoder.prepare(load_volume(Path(row.root) / row.image), None)])[0]
        rows.append({**{c: getattr(row, c) for c in told}, "embedding": vector})
    with store.writer({**encoder.spec(), "synthetic": True}, dim=encoder.dim, name="random-3d") as writer:
        writer.add(rows)
    return store.path


def _export(planted: PlantedStore, store: Path, *more: object) -> int:
    common = ("--store", store, "--clinical", planted.clinical, "--id", "patient_id", "--to", "nifti")
    return main(["export", *map(str, (*common, *more))])


def test_the_voxels_are_the_patches_of_the_score_in_place(
    planted_store: PlantedStore, patches: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "P-030.nii.gz"
    asked = ("--patient", "P-030", "--stage", "stage", "--order", ORDER, "--out", out)
    assert _export(planted_store, patches, *asked) == 0
    said = capsys.readouterr()
    assert "negative control" in said.err
    assert "P-030: score" in said.out
    cohort = load_cohort(patches, None, planted_store.clinical, id_column="patient_id")
    own = cohort.X[list(cohort.patient_id).index("P-030")]
    axis = axis_of_others(cohort, "P-030", stage="stage", order=ORDER)
    score = float(axis.scores(own[None])[0])
    about = json.loads((tmp_path / "P-030.nii.gz.json").read_text(encoding="utf-8"))
    image = nibabel.load(out)
    voxels = np.asarray(image.dataobj)
    assert voxels.shape == (4, 4, 4)  # 32 voxels in patches of 8
    assert about["score"] == pytest.approx(score, abs=1e-3)
    assert voxels.sum() == pytest.approx(score - about["cls_part"], abs=1e-3)
    assert np.abs(np.linalg.norm(image.affine[:3, :3], axis=0)) == pytest.approx([32.0] * 3)  # 8 × 4 mm
    (row,) = cohort.rows[cohort.rows["patient_id"] == "P-030"].itertuples()
    ct = nibabel.load(Path(row.root) / row.image)
    middle = ct.affine @ [*((np.array(ct.shape) - 1) / 2), 1]
    centre = image.affine @ [*((np.array(voxels.shape) - 1) / 2), 1]
    np.testing.assert_allclose(centre[:3], middle[:3], atol=4.0)  # within a voxel of the recipe
    assert about["provenance"]["synthetic"] is True


def test_no_other_result_is_overwritten(
    planted_store: PlantedStore, patches: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gradient.json").write_text("a result")
    out = tmp_path / "gradient.nii.gz"
    asked = ("--patient", "P-030", "--stage", "stage", "--order", ORDER, "--out", out)
    beside = tmp_path / "gradient.nii.gz.json"
    beside.write_text("mine")
    assert _export(planted_store, patches, *asked) == 2
    assert "gradient.nii.gz.json' is already there" in capsys.readouterr().err
    assert not out.exists()
    assert beside.read_text() == "mine"
    assert _export(planted_store, patches, *asked, "--group", "scanner", "--overwrite") == 0
    assert (tmp_path / "gradient.json").read_text() == "a result"
    about = json.loads(beside.read_text(encoding="utf-8"))
    cohort = load_cohort(patches, None, planted_store.clinical, id_column="patient_id")
    axis = axis_of_others(cohort, "P-030", stage="stage", order=ORDER, group="scanner")
    assert (about["group"], about["axis_sha256"]) == ("scanner", axis.sha256)
    assert axis.sha256 != axis_of_others(cohort, "P-030", stage="stage", order=ORDER).sha256


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--stage", "stage", "--order", ORDER), "--patient ID"),
        (("--patient", "P-03O", "--stage", "stage", "--order", ORDER), "did you mean 'P-0"),
        (("--patient", "P-030"), "give --stage and --order, or --axis FILE"),
    ],
)
def test_a_wrong_call_is_one_line(
    planted_store: PlantedStore,
    patches: Path,
    tmp_path: Path,
    more: tuple[str, ...],
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert _export(planted_store, patches, *more, "--out", tmp_path / "m.nii.gz", "--quiet") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert words in error


def test_an_embedding_without_patches_says_so(
    planted_store: PlantedStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ("--patient", "P-030", "--stage", "stage", "--order", ORDER, "--out", tmp_path / "m.nii.gz")
    assert _export(planted_store, planted_store.store, *more) == 2
    assert "there are no patches" in capsys.readouterr().err
