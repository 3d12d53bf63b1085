"""Another encoder in one file: the documented example, run as a user would run it; and plug-ins that fail."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from flexict_core.embed import embed_manifest
from flexict_core.encoders import registry
from flexict_core.encoders.base import Encoder
from flexict_core.errors import EncoderError, FlexictWarning
from flexict_core.store import EmbeddingStore


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_ENCODERS", dict(registry._ENCODERS))
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """The worked example of the documentation, as the file that it says it is."""
    code = re.search(r"```python\n(.*?)```", registry.__doc__ or "", flags=re.DOTALL)
    assert code is not None
    path = tmp_path / "lung_density.py"
    path.write_text(code[1])
    return path


def cohort(folder: Path) -> Path:
    values = np.full((6, 6, 6), 40, np.int16)
    values[:3] = -850
    values[0, 0, :] = -1000  # air, not lung
    nib.save(nib.Nifti1Image(values, np.diag([-1.0, -1.0, 1.0, 1.0])), folder / "a.nii.gz")
    (folder / "m.csv").write_text("patient_id,image\nA,a.nii.gz\n")
    return folder / "m.csv"


def test_the_documented_example_embeds_in_worker_processes(
    example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EncoderError, match="'lung-density' is not known"):
        registry.load_encoder("lung-density")
    monkeypatch.setenv("FLEXICT_ENCODERS", str(example))
    encoder = registry.load_encoder("lung-density")
    assert isinstance(encoder, Encoder)
    (info,) = (i for i in registry.available() if i.name == "lung-density")
    assert (info.dim, info.recipe) == (encoder.dim, encoder.recipe.name)
    with pytest.raises(EncoderError, match=r"'lung-density' takes no pooling \(got 'cls'\)"):
        registry.load_encoder("lung-density", pooling="cls")
    embed_manifest(cohort(tmp_path), tmp_path / "s", encoder=encoder, workers=1, progress=False)
    table = EmbeddingStore(tmp_path / "s").read("lung-density")
    assert table.X.tolist() == [[-850, -850]]
    assert table.spec["feature_names"] == ["mean_hu", "p15_hu"]


def test_an_installed_package_brings_its_encoder(
    example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meta = tmp_path / "lung_density-1.0.dist-info"
    meta.mkdir()
    (meta / "METADATA").write_text("Metadata-Version: 2.1\nName: lung-density\nVersion: 1.0\n")
    toml = re.search(
        r"```toml\n\[project.entry-points.\"(.*?)\"\]\n(.*?)```", registry.__doc__ or "", re.DOTALL
    )
    assert toml is not None
    (meta / "entry_points.txt").write_text(f"[{toml[1]}]\n{toml[2].replace(chr(34), '')}")
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("lung_density", None)
    registry._entry_points.cache_clear()
    try:
        assert registry.load_encoder("lung-density").dim == 2
    finally:
        registry._entry_points.cache_clear()


def test_a_plug_in_that_fails_is_named_and_the_others_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_plug_in.py").write_text("raise RuntimeError('no licence\\nfile')\n")
    monkeypatch.setenv("FLEXICT_ENCODERS", str(tmp_path / "broken_plug_in.py"))
    with pytest.warns(
        FlexictWarning, match=r"broken_plug_in.py' cannot be loaded \(RuntimeError: no licence file"
    ):
        names = [info.name for info in registry.available()]
    assert "baseline" in names


def test_a_name_belongs_to_one_encoder() -> None:
    with pytest.raises(EncoderError, match="'baseline' is taken"):
        registry.register_encoder("baseline", lambda name, options: None, info=registry._baseline_info)  # type: ignore[arg-type,return-value]
