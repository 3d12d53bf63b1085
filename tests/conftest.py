"""Fixtures that every test may use."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


def _required(variable: str) -> bool:
    return os.environ.get(variable, "") not in ("", "0")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The optional folder of real cohorts and reference values; skips, visibly, where it is absent."""
    if not (SHARED / "data").is_dir():
        if _required("FLEXICT_REQUIRE_SHARED"):
            pytest.fail(f"{SHARED} is absent, and FLEXICT_REQUIRE_SHARED forbids skipping")
        pytest.skip(f"no shared test data at {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a Chrome or Chromium; skips, visibly, where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    found = os.environ.get("BROWSER_PATH") or next((p for n in names if (p := shutil.which(n))), None)
    if found is None:
        if _required("FLEXICT_REQUIRE_BROWSER"):
            pytest.fail("no Chrome or Chromium found, and FLEXICT_REQUIRE_BROWSER forbids skipping")
        pytest.skip("no Chrome or Chromium found: browser and figure-export tests need one")
    return found


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers that are the same in every run."""
    return np.random.default_rng(20240611)


@pytest.fixture(scope="session")
def small_demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished `flexict demo` of 24 patients a cohort, the fewest it allows, made once: leave it as it is."""
    from app.console import Console
    from app.demo import run_demo

    out = tmp_path_factory.mktemp("demo")
    run_demo(out, console=Console(quiet=True, figures=False), patients_per_cohort=24, permutations=199)
    return out


@dataclass(frozen=True)
class PlantedStore:
    """A small store whose truth is known: 48 patients, 12 a stage; one dimension rises with the stage alone."""

    store: Path
    clinical: Path
    images: Path
    order: str = "I,II,III,IV"


@pytest.fixture(scope="session")
def planted_store(tmp_path_factory: pytest.TempPathFactory) -> PlantedStore:
    """Embeddings, a clinical table with unfriendly text, and a tiny CT with a round tumour for each patient."""
    import pandas as pd

    from flexict_core.store import EmbeddingStore

    home = tmp_path_factory.mktemp("planted")
    (home / "ct").mkdir()
    rng = np.random.default_rng(7)
    stage = np.repeat(np.arange(4), 12)
    ids = [f"P-{i:03d}" for i in range(len(stage))]
    X = rng.standard_normal((len(stage), 6)).astype(np.float32)
    X[:, 0] += 1.6 * stage
    table = pd.DataFrame(
        {
            "patient_id": ids,
            "stage": np.array(["I", "II", "III", "IV"])[stage],
            "diameter_mm": np.round(rng.uniform(8, 20, len(stage)), 1),
            "scanner": np.where(rng.random(len(stage)) < 0.5, "S1", "S2"),
            "remark": np.where(np.arange(len(stage)) % 2, "<script>alert(1)</script>", "=1+1"),
        }
    )
    table.to_csv(home / "clinical.csv", index=False)
    rows = []
    for patient, vector, diameter in zip(ids, X, table["diameter_mm"], strict=True):
        image, mask = _write_round_tumour(home / "ct", patient, float(diameter))
        rows.append(
            {
                "patient_id": patient,
                "root": str(home),
                "image": image,
                "mask": mask,
                "mask_label": 1,
                "embedding": vector,
            }
        )
    spec = {
        "encoder": "planted",
        "licence": "Apache-2.0",
        "synthetic": True,
        "feature_names": ["signal", *(f"noise_{i}" for i in range(5))],
    }
    with EmbeddingStore.create(home / "store").writer(spec, dim=6, name="planted") as writer:
        writer.add(rows)
    return PlantedStore(home / "store", home / "clinical.csv", home / "ct")


def _write_round_tumour(folder: Path, patient: str, diameter_mm: float) -> tuple[str, str]:
    """CT of 24 × 20 × 16 voxels of 2 × 2 × 3 mm (x, y, z towards L, P, S): water, air, and a tumour of 60 HU to the
    left. Paths are relative to the folder above."""
    import nibabel as nib

    x, y, z = np.meshgrid(np.arange(24) * 2.0, np.arange(20) * 2.0, np.arange(16) * 3.0, indexing="ij")
    inside = (x - 32) ** 2 + (y - 16) ** 2 + (z - 24) ** 2 <= (diameter_mm / 2) ** 2
    ct = np.where(y < 4, -1000, 0).astype(np.int16)
    ct[inside] = 60
    affine = np.diag([-2.0, -2.0, 3.0, 1.0])
    names = f"{folder.name}/{patient}.nii.gz", f"{folder.name}/{patient}_mask.nii.gz"
    for name, values in zip(names, (ct, inside.astype(np.uint8)), strict=True):
        nib.save(nib.Nifti1Image(values, affine), folder.parent / name)
    return names
