"""One row prepared: the regions of one CT share what was read of it."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from flexict_core import EmbeddingStore, embed_manifest, io, load_encoder
from flexict_core import prepare_row as rows


def save(path: Path, array: np.ndarray) -> None:
    nib.save(nib.Nifti1Image(array, np.diag([-1.0, -1.0, 2.0, 1.0])), path)


def test_the_regions_of_a_ct_read_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(8)
    labels = np.zeros((24, 20, 12), np.uint8)
    labels[3:9, 4:12, 3:9], labels[12:18, 4:12, 3:9] = 1, 2
    lines = ["patient_id,image,roi_id,mask,mask_label"]
    save(tmp_path / "m.nii", labels)
    for name in "ab":
        hu = rng.normal(0, 20, labels.shape).astype(np.int16)
        hu[:, :2] = -1000
        save(tmp_path / f"{name}.nii", hu)
        lines += [f"{name},{name}.nii,{k},m.nii,{k}" for k in (1, 2)]
    (tmp_path / "manifest.csv").write_text("\n".join(lines))
    read: list[str] = []
    real = io.load_volume

    def counted(path: Path, **options: object) -> object:
        read.append(path.name)
        return real(path, **options)

    monkeypatch.setattr(io, "load_volume", counted)
    rows._last_read.clear()

    def run(store: str) -> np.ndarray:
        encoder = load_encoder("baseline")
        embed_manifest(
            tmp_path / "manifest.csv", tmp_path / store, encoder=encoder, workers=0, progress=False
        )
        found = EmbeddingStore(tmp_path / store).read("baseline")
        return found.X[np.lexsort((found.rows["roi_id"], found.rows["patient_id"]))]

    together = run("together")
    assert read == ["a.nii", "b.nii"]
    with monkeypatch.context() as patch:
        patch.setattr(rows, "_last_read", _Forgetful())
        np.testing.assert_array_equal(run("apart"), together)
    assert len(read) == 2 + 4
    assert [key[0].name for key in rows._last_read] == ["b.nii"]
    save(tmp_path / "b.nii", np.where(labels > 0, 70, -1000).astype(np.int16))  # the one that is held
    changed = run("changed")
    np.testing.assert_array_equal(changed[:2], together[:2])
    assert not np.allclose(changed[2:], together[2:])


class _Forgetful(dict):
    """Holds nothing when asked whether it holds something."""

    def __contains__(self, key: object) -> bool:
        return False
