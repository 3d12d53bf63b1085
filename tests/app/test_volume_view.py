"""The 3D view's files: small enough, on one grid, where the originals are; NiiVue is the one whose licence is kept."""

from __future__ import annotations

import hashlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import app.volume_view
from app.components.ct_planes import CtCase
from app.volume_view import component
from app.volume_view.component import scene_of
from flexict_core.volume import Volume

SERVED = Path(app.volume_view.__file__).parent / "served"


def a_case(*, thick: bool = True) -> CtCase:
    """A ball of 60 HU in water in air; the mask is the ball, or a single voxel of it."""
    affine = np.diag([0.8, 0.8, 2.5, 1.0])
    affine[:3, 3] = (-30.0, 12.0, 100.0)
    volume = Volume(np.zeros((30, 90, 100), np.int16), affine)
    z, y, x = np.indices(volume.shape_zyx)
    world = volume.index_to_world(np.stack([x, y, z], -1).reshape(-1, 3)).reshape(*volume.shape_zyx, 3)
    inside = np.linalg.norm(world - (15.0, 50.0, 140.0), axis=-1) < 14
    array = np.where(inside, 60, -1000).astype(np.int16)
    array[0, 0, 0], array[0, 0, 1] = 3071, -3024
    mask = inside if thick else np.zeros_like(inside)
    if not thick:
        mask[16, 47, 56] = True
    return CtCase(volume.with_array(array), volume.with_array(mask), (16, 47, 56))


def opened(content: bytes) -> nib.Nifti1Image:
    import gzip

    return nib.Nifti1Image.from_bytes(gzip.decompress(content))


def test_a_scene_is_small_and_lies_where_the_patient_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(component, "_MOST_VOXELS", 30_000)
    scene = scene_of(a_case())
    assert scene.mask is not None
    ct, mask = opened(scene.ct), opened(scene.mask)
    assert ct.shape == mask.shape
    assert 20_000 < np.prod(ct.shape) < 32_000
    np.testing.assert_allclose(ct.affine, mask.affine)
    np.testing.assert_allclose(np.abs(np.diag(ct.affine))[:3], scene.spacing_mm, rtol=1e-6)
    values = ct.get_fdata()
    assert values.min() >= -1000
    assert values.max() <= 1500
    for inside in (mask.get_fdata() > 0, values > -470):
        ras = (ct.affine @ [*np.argwhere(inside).mean(0), 1])[:3]
        np.testing.assert_allclose(ras, [-15.0, -50.0, 140.0], atol=1.0)
        volume = inside.sum() * scene.spacing_mm**3
        assert volume == pytest.approx(4 / 3 * np.pi * 14**3, rel=0.12)


def test_a_mask_of_one_voxel_is_still_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(component, "_MOST_VOXELS", 5_000)
    scene = scene_of(a_case(thick=False))
    assert scene.mask is not None
    assert opened(scene.mask).get_fdata().sum() >= 1


def test_niivue_is_the_released_file_with_its_licence_and_asks_nobody() -> None:
    script = (SERVED / "niivue.js").read_bytes()
    told = (SERVED / "LICENSE-niivue.txt").read_text()
    # the npm registry's @niivue/niivue 0.69.0, dist/niivue.umd.js
    assert (
        hashlib.sha256(script).hexdigest()
        == "47b896b77ec4a5be3ef1949c33ad393b6f45629921f326c279000bcf51bdb4af"
    )
    assert "0.69.0" in told
    assert "BSD 2-Clause" in told
    for name in ("index.html", "view.js"):
        text = (SERVED / name).read_text()
        assert "http://" not in text
        assert "https://" not in text
