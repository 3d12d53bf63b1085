"""What a row's vector is made from: only the files of its series, whatever their names; and embed's use of it."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from flexict_core import EmbeddingStore, embed_manifest, load_encoder
from flexict_core import source_files as files
from flexict_core.manifest import ManifestRow
from flexict_core.source_files import series_in, source_sha256, source_stat, wanted_series
from tests.small_dicom import CtSeries

ROW = ManifestRow(2, "P-1", "ct")


@pytest.fixture
def planes() -> list[Dataset]:
    hu = np.random.default_rng(5).normal(0, 20, (12, 16, 16))
    hu[:, :3] = -1000
    return CtSeries().planes(hu.round().astype(np.int16))


def _age(folder: Path) -> None:
    """Nothing in it was written just now."""
    for file in folder.rglob("*"):
        os.utime(file, (time.time() - 60,) * 2)


def test_a_file_is_known_by_the_hash_of_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "ct.nii"
    path.write_bytes(b"abc")
    assert source_sha256([path], ROW) == hashlib.sha256(b"abc").hexdigest()
    labelled = ManifestRow(2, "P-1", "ct", mask="m", mask_label=1)
    other = ManifestRow(2, "P-1", "ct", mask="m", mask_label=2)
    assert source_sha256([path, path], labelled) != source_sha256([path, path], other)


def test_what_lies_beside_a_series_does_not_count(tmp_path: Path, planes: list[Dataset]) -> None:
    folder = CtSeries().save(tmp_path / "ct", planes)
    before = source_sha256([folder], ROW)
    named = ManifestRow(2, "P-1", "ct", series_uid=planes[0].SeriesInstanceUID)
    assert source_sha256([folder], named) == before
    (folder / "manifest.csv").write_text("patient_id,image\n")
    (folder / "notes").write_text("no DICOM")
    (folder / "store").mkdir()
    (folder / "store/part-1.parquet").write_bytes(b"PAR1")
    mr = CtSeries().planes(np.zeros((3, 16, 16), np.int16), tags={"Modality": "MR"})
    CtSeries().save(folder / "mr", mr)
    assert source_sha256([folder], ROW) == source_sha256([folder], named) == before
    first = next(file for file in sorted(folder.iterdir()) if file.is_file() and file.name != "manifest.csv")
    first.rename(folder / "renamed")
    assert source_sha256([folder], named) == before
    (folder / "renamed").unlink()
    assert source_sha256([folder], named) != before


def test_another_ct_series_counts_where_none_is_named(tmp_path: Path, planes: list[Dataset]) -> None:
    folder = CtSeries().save(tmp_path / "ct", planes)
    named = ManifestRow(2, "P-1", "ct", series_uid=planes[0].SeriesInstanceUID)
    before = source_sha256([folder], ROW)
    other = CtSeries().planes(np.zeros((3, 16, 16), np.int16), tags={"SeriesInstanceUID": "1.2.3.4"})
    CtSeries().save(folder / "second", other)
    assert source_sha256([folder], named) == before
    assert source_sha256([folder], ROW) != before  # it may no longer be told which is meant


def test_sizes_and_times_stand_for_a_folder_once_it_is_at_rest(tmp_path: Path, planes: list[Dataset]) -> None:
    folder = CtSeries().save(tmp_path / "ct", planes)
    assert source_stat([folder], ROW) == ""  # written just now
    _age(folder)
    before = source_stat([folder], ROW)
    assert before
    (folder / "manifest.csv").write_text("new")
    assert source_stat([folder], ROW) == before
    os.utime(next(file for file in folder.iterdir() if file.suffix != ".csv"), (1, 1))
    assert source_stat([folder], ROW) != before


def test_a_pseudonym_names_no_series() -> None:
    assert wanted_series(ManifestRow(2, "P", "ct", series_uid="psn-" + "0" * 20)) is None
    assert wanted_series(ManifestRow(2, "P", "ct", series_uid="1.2.3")) == "1.2.3"
    assert wanted_series(ManifestRow(2, "P", "ct")) is None
    assert [series_in(uid) for uid in (None, float("nan"), "", "1.2.3")] == [None, None, None, "1.2.3"]


def test_a_series_of_several_regions_is_hashed_once_and_then_not_at_all(
    tmp_path: Path, planes: list[Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = CtSeries().save(tmp_path / "ct", planes)
    _age(folder)
    x, y, z = (float(v) for v in planes[6].ImagePositionPatient)
    rows = [f"P-1,.,r{i},{x + 3 + i},{y + 3},{z}" for i in range(3)]
    manifest = folder / "manifest.csv"
    manifest.write_text("\n".join(["patient_id,image,roi_id,x_mm,y_mm,z_mm", *rows]))
    hashed: list[Path] = []
    real = files._file_digest
    monkeypatch.setattr(files, "_file_digest", lambda path: (hashed.append(path), real(path))[1])
    store = EmbeddingStore.create(folder / "store")  # beside the slices, as a hurried user does

    def run() -> tuple[int, int, int]:
        hashed.clear()
        encoder = load_encoder("random-3d", recipe="roi_fixed_32")
        report = embed_manifest(manifest, store, encoder=encoder, workers=0, progress=False)
        return report.done, report.skipped, report.quarantined

    assert run() == (3, 0, 0)
    assert len(hashed) == len(planes)
    (folder / "left_out.csv").write_text("file,reason\n")
    assert run() == (0, 3, 0)
    assert hashed == []
