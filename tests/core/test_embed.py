"""From a manifest to a store: resume, change, quarantine, shards, workers, kills."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from flexict_core.embed import EmbedReport, embed_manifest, embed_together
from flexict_core.encoders.base import Encoder
from flexict_core.encoders.baseline import BaselineEncoder
from flexict_core.errors import CheckpointError, DataWarning, EncoderError, InputError
from flexict_core.preprocess import RECIPES
from flexict_core.store import EmbeddingStore
from flexict_core.volume import Volume


class MeanEncoder:
    """Mean HU and number of voxels of the ROI (of everything without one)."""

    name, dim, pooling, licence = "mean", 2, "avg", "none"
    feature_names = None

    def __init__(self, recipe: str = "default") -> None:
        self.recipe = RECIPES[recipe]
        self.batches: list[int] = []
        self.prepared = 0

    def prepare(self, volume: Volume, roi: Volume | None) -> np.ndarray:
        self.prepared += 1
        values = volume.array if roi is None else volume.array[roi.array]
        return np.array([values.mean(), values.size])

    def encode(self, batch: Sequence[np.ndarray]) -> np.ndarray:
        self.batches.append(len(batch))
        return np.stack(list(batch)).astype(np.float32)

    def spec(self) -> dict[str, Any]:
        return {"encoder": self.name, "checkpoint_sha256": None}


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array.T, np.diag([-1.0, -1.0, 2.0, 1.0])), path)
    os.utime(path, (time.time() - 60,) * 2)  # not racy: a file older than its hash


def ct(value: int) -> np.ndarray:
    array = np.full((6, 8, 8), -1000, np.int16)
    array[1:5, 2:6, 2:6] = value
    return array


def cohort(folder: Path, values: Sequence[int] = (10, 20, 30, 40, 50), *, masks: bool = True) -> Path:
    lines = ["patient_id,image" + (",mask,mask_label" if masks else "")]
    for i, value in enumerate(values):
        save(folder / f"ct/p{i}.nii.gz", ct(value))
        if masks:
            save(folder / f"ct/p{i}_mask.nii.gz", (ct(value) == value).astype(np.uint8) * 3)
        lines.append(f"P{i},ct/p{i}.nii.gz" + (f",ct/p{i}_mask.nii.gz,3" if masks else ""))
    path = folder / "manifest.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def embed(manifest: Path, store: Path, encoder: Any = None, **more: Any) -> EmbedReport:
    options: dict[str, Any] = {"workers": 0, "progress": False, **more}
    return embed_manifest(manifest, store, encoder=encoder or MeanEncoder(), **options)


def means(store: Path, name: str = "mean") -> dict[str, float]:
    table = EmbeddingStore(store).read(name)
    return dict(zip(table.rows["patient_id"], table.X[:, 0].tolist(), strict=True))


def counts(report: EmbedReport) -> tuple[int, int, int]:
    return report.done, report.skipped, report.quarantined


def test_every_row_is_embedded_with_where_it_came_from(tmp_path: Path) -> None:
    manifest = cohort(tmp_path / "cohort")
    encoder = MeanEncoder()
    report = embed(manifest, tmp_path / "s", encoder, batch_size=2)
    assert counts(report) == (5, 0, 0)
    assert report.quarantine_path is None
    assert encoder.batches == [2, 2, 1]
    table = EmbeddingStore(tmp_path / "s").read(report.embedding_id)
    np.testing.assert_allclose(table.X, [[10 * (i + 1), 64] for i in range(5)])
    assert set(table.rows["root"]) == {str((tmp_path / "cohort").resolve())}
    assert table.rows["image"].tolist() == [f"ct/p{i}.nii.gz" for i in range(5)]
    assert table.rows["mask_label"].tolist() == [3] * 5
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in table.rows["source_sha256"])
    assert (table.spec["encoder"], table.spec["recipe"], table.spec["pooling"]) == ("mean", "default", "avg")
    assert table.spec["name"] == "mean-default-avg"
    assert not table.spec["synthetic"]


def test_an_image_alone_is_known_by_the_hash_of_its_bytes(tmp_path: Path) -> None:
    import hashlib

    manifest = cohort(tmp_path / "cohort", masks=False)
    embed(manifest, tmp_path / "s")
    table = EmbeddingStore(tmp_path / "s").read("mean")
    expected = hashlib.sha256((tmp_path / "cohort/ct/p0.nii.gz").read_bytes()).hexdigest()
    assert table.rows["source_sha256"][0] == expected


def test_a_second_run_skips_and_reads_no_image(tmp_path: Path) -> None:
    manifest = cohort(tmp_path / "cohort")
    embed(manifest, tmp_path / "s")
    encoder = MeanEncoder()
    assert counts(embed(manifest, tmp_path / "s", encoder)) == (0, 5, 0)
    assert encoder.prepared == 0
    for path in (tmp_path / "cohort/ct").iterdir():
        path.touch()  # a new time with the same bytes is no change either
    assert counts(embed(manifest, tmp_path / "s", encoder)) == (0, 5, 0)
    assert encoder.prepared == 0


@pytest.mark.parametrize("what", ["image", "mask", "label"])
def test_a_changed_source_is_embedded_again_in_its_place(tmp_path: Path, what: str) -> None:
    manifest = cohort(tmp_path / "cohort")
    labels = (ct(30) == 30).astype(np.uint8) * 3
    labels[1] = np.where(labels[1] > 0, 4, 0)
    save(tmp_path / "cohort/ct/p2_mask.nii.gz", labels)
    embed(manifest, tmp_path / "s")
    if what == "image":
        save(tmp_path / "cohort/ct/p2.nii.gz", ct(77))
    elif what == "mask":
        save(tmp_path / "cohort/ct/p2_mask.nii.gz", (ct(30) == 30).astype(np.uint8) * 3)
    else:
        manifest.write_text(manifest.read_text().replace("p2_mask.nii.gz,3", "p2_mask.nii.gz,4"))
    report = embed(manifest, tmp_path / "s")
    assert counts(report) == (1, 4, 0)
    (change,) = report.changed
    assert re.fullmatch(r"P2 \(ct/p2.nii.gz, sha256 [0-9a-f]{12} is now [0-9a-f]{12}\)", change)
    assert change in report.summary()
    table = EmbeddingStore(tmp_path / "s").read("mean")
    assert table.rows["patient_id"].tolist() == [f"P{i}" for i in range(5)]
    assert table.X[2].tolist() == {"image": [77, 48], "mask": [30, 64], "label": [30, 16]}[what]


def test_a_change_within_the_clock_s_tick_is_not_missed(tmp_path: Path) -> None:
    manifest = cohort(tmp_path / "cohort", masks=False)
    image = tmp_path / "cohort/ct/p0.nii.gz"
    os.utime(image)
    embed(manifest, tmp_path / "s")
    stat = image.stat()
    damaged = bytearray(image.read_bytes())
    damaged[-5] ^= 0xFF
    image.write_bytes(damaged)  # same size, and the same time put back
    os.utime(image, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert counts(embed(manifest, tmp_path / "s")) == (0, 4, 1)


def test_a_cohort_that_moved_is_found_at_its_new_place(tmp_path: Path) -> None:
    manifest = cohort(tmp_path / "old")
    embed(manifest, tmp_path / "s")
    shutil.move(tmp_path / "old", tmp_path / "new")
    encoder = MeanEncoder()
    report = embed(tmp_path / "new/manifest.csv", tmp_path / "s", encoder)
    assert counts(report) == (0, 5, 0)
    assert encoder.prepared == 0
    table = EmbeddingStore(tmp_path / "s").read("mean")
    assert set(table.rows["root"]) == {str((tmp_path / "new").resolve())}
    assert table.X[:, 0].tolist() == [10, 20, 30, 40, 50]


def test_two_cohorts_with_one_id_do_not_overwrite_each_other(tmp_path: Path) -> None:
    embed(cohort(tmp_path / "a", (10, 20)), tmp_path / "s")
    report = embed(cohort(tmp_path / "b", (70,)), tmp_path / "s")
    assert counts(report) == (0, 0, 1)
    assert (
        "holds this patient, series and ROI with another image"
        in EmbeddingStore(tmp_path / "s").quarantine("mean")["reason"][0]
    )
    assert means(tmp_path / "s") == {"P0": 10, "P1": 20}


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:60])


BAD: dict[str, tuple[Callable[[Path], Any], str, str]] = {
    "missing": (lambda p: p.unlink(), "ct/p1.nii.gz", "ct/p1.nii.gz does not exist"),
    "truncated": (truncate, "ct/p1.nii.gz", "p1.nii.gz"),
    "two_dimensional": (lambda p: save(p, ct(1)[0]), "ct/p1.nii.gz", "p1.nii.gz"),
    "nan": (lambda p: save(p, np.where(ct(1) > 0, np.nan, -1000).astype(np.float32)), "ct/p1.nii.gz", "NaN"),
    "not_hu": (lambda p: save(p, np.clip(ct(1), 0, 1)), "ct/p1.nii.gz", "HU"),
    "missing_mask": (lambda p: p.unlink(), "ct/p1_mask.nii.gz", "ct/p1_mask.nii.gz does not exist"),
    "empty_mask": (lambda p: save(p, np.zeros((6, 8, 8), np.uint8)), "ct/p1_mask.nii.gz", "p1_mask.nii.gz"),
    "other_grid": (lambda p: save(p, np.ones((5, 8, 8), np.uint8) * 3), "ct/p1_mask.nii.gz", "grid"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_quarantined_and_tried_again_once_mended(tmp_path: Path, kind: str) -> None:
    spoil, name, says = BAD[kind]
    manifest = cohort(tmp_path / "cohort", (10, 20, 30))
    spoil(tmp_path / "cohort" / name)
    report = embed(manifest, tmp_path / "s")
    assert counts(report) == (2, 0, 1)
    store = EmbeddingStore(tmp_path / "s")
    (entry,) = store.quarantine("mean").to_dict("records")
    assert says in entry["reason"]
    assert "\n" not in entry["reason"]
    assert str(tmp_path) not in entry["reason"]
    assert (entry["row"], entry["patient_id"], entry["file"]) == (3, "P1", name)
    assert report.quarantine_path is not None
    assert report.quarantine_path.is_file()
    assert counts(embed(manifest, tmp_path / "s")) == (0, 2, 1)
    assert len(store.quarantine("mean")) == 1
    cohort(tmp_path / "cohort", (10, 20, 30))
    report = embed(manifest, tmp_path / "s")
    assert (report.done, report.quarantined, report.quarantine_path) == (1, 0, None)
    assert store.quarantine("mean").empty
    assert means(tmp_path / "s") == {"P0": 10, "P1": 20, "P2": 30}


def test_rows_the_manifest_rejects_are_in_quarantine_too(tmp_path: Path) -> None:
    manifest = cohort(tmp_path / "cohort", (10, 20))
    with manifest.open("a") as handle:
        handle.write("P1,ct/p0.nii.gz,,\nP9,../x.nii.gz,,\n")
    report = embed(manifest, tmp_path / "s")
    assert counts(report) == (1, 0, 3)
    frame = EmbeddingStore(tmp_path / "s").quarantine("mean")
    assert frame["row"].tolist() == [3, 4, 5]
    assert "share" in frame["reason"][0]
    assert "leads outside" in frame["reason"][2]


def test_a_row_that_the_encoder_cannot_take_fails_alone(tmp_path: Path) -> None:
    class Picky(MeanEncoder):
        def encode(self, batch: Sequence[np.ndarray]) -> np.ndarray:
            if any(p[0] == 30 for p in batch):
                raise RuntimeError("out of memory\nat layer 3")
            vectors = super().encode(batch)
            vectors[vectors[:, 0] == 40] = np.nan
            return vectors

    report = embed(cohort(tmp_path / "cohort"), tmp_path / "s", Picky())
    assert counts(report) == (3, 0, 2)
    reasons = EmbeddingStore(tmp_path / "s").quarantine("mean")["reason"].tolist()
    assert reasons[0] == "RuntimeError while encoding: out of memory at layer 3"
    assert reasons[1] == "2 of 2 values of the embedding are not finite: check the volume"
    assert means(tmp_path / "s") == {"P0": 10, "P1": 20, "P4": 50}


def test_an_encoder_without_its_weights_stops_the_run_and_loses_nothing(tmp_path: Path) -> None:
    class Broken(MeanEncoder):
        def encode(self, batch: Sequence[np.ndarray]) -> np.ndarray:
            if self.batches:
                raise CheckpointError("weights are damaged")
            return super().encode(batch)

    class Wide(MeanEncoder):
        dim = 3

    manifest = cohort(tmp_path / "cohort")
    with pytest.raises(CheckpointError):
        embed(manifest, tmp_path / "s", Broken(), batch_size=2)
    assert means(tmp_path / "s") == {"P0": 10, "P1": 20}
    assert counts(embed(manifest, tmp_path / "s")) == (3, 2, 0)
    with pytest.raises(EncoderError, match="dim is wrong"):
        embed(manifest, tmp_path / "wide", Wide())


def test_shards_share_the_work_and_the_quarantine(tmp_path: Path) -> None:
    manifest = cohort(tmp_path / "cohort")
    (tmp_path / "cohort/ct/p1.nii.gz").unlink()
    (tmp_path / "cohort/ct/p2.nii.gz").unlink()
    reports = [embed(manifest, tmp_path / "s", shard=(i, 2)) for i in (1, 2)]
    assert [counts(r) for r in reports] == [(2, 0, 1), (1, 0, 1)]
    assert set(means(tmp_path / "s")) == {"P0", "P3", "P4"}
    assert EmbeddingStore(tmp_path / "s").quarantine("mean")["patient_id"].tolist() == ["P1", "P2"]
    for bad in ((0, 2), (3, 2), (1, 0)):
        with pytest.raises(InputError, match="shard"):
            embed(manifest, tmp_path / "s", shard=bad)


def test_synthetic_and_real_rows_never_mix(tmp_path: Path) -> None:
    manifest = cohort(tmp_path / "cohort")
    real = embed(manifest, tmp_path / "s")
    (tmp_path / "cohort/synthetic.json").write_text("{}")
    planted = embed(manifest, tmp_path / "s")
    assert planted.embedding_id != real.embedding_id
    assert [i.synthetic for i in EmbeddingStore(tmp_path / "s").list()].count(True) == 1


def test_rows_without_a_mask_among_rows_with_one_are_pointed_out(tmp_path: Path) -> None:
    manifest = cohort(tmp_path / "cohort", (10, 20))
    manifest.write_text(manifest.read_text().replace("ct/p1_mask.nii.gz,3", ","))
    with pytest.warns(DataWarning, match="1 of 2 rows have no mask"):
        embed(manifest, tmp_path / "s", MeanEncoder("native"))
    embed(manifest, tmp_path / "s", MeanEncoder("default"))  # looks at no mask, so nothing is mixed


@pytest.mark.parametrize(
    ("recipe", "voxels", "says"),
    [
        ("roi_fixed_32", 1, ""),
        ("default", 384, ""),
        ("native", 0, "no extent"),
        ("roi_adaptive", 0, "no extent"),
    ],
)
def test_a_seed_point_centres_a_cube_and_nothing_else(
    tmp_path: Path, recipe: str, voxels: int, says: str
) -> None:
    save(tmp_path / "c/a.nii.gz", ct(40))
    (tmp_path / "c/m.csv").write_text(
        "patient_id,image,x_mm,y_mm,z_mm\nA,a.nii.gz,3,3,4\nB,a.nii.gz,3,3,400\n"
    )
    report = embed(tmp_path / "c/m.csv", tmp_path / "s", MeanEncoder(recipe))
    reasons = EmbeddingStore(tmp_path / "s").quarantine("mean")["reason"].tolist()
    if says:
        assert all(says in reason for reason in reasons)
        assert report.done == 0
        return
    # the affine of `save` is RAS -x, -y: LPS (3, 3, 4) mm is voxel 3, 3, 2
    table = EmbeddingStore(tmp_path / "s").read("mean")
    assert table.X[0, 1] == voxels
    assert (recipe == "default") or ("outside the volume" in reasons[0] and table.X[0, 0] == 40)


def test_impossible_arguments_are_refused(tmp_path: Path) -> None:
    manifest = cohort(tmp_path / "cohort", (10,))
    for bad in ({"workers": -1}, {"batch_size": 0}):
        with pytest.raises(InputError):
            embed(manifest, tmp_path / "s", **bad)
    assert isinstance(MeanEncoder(), Encoder)


def test_the_bar_shows_rate_and_time_left_on_stderr_and_no_patient(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = cohort(tmp_path / "cohort")
    embed(manifest, tmp_path / "s", progress=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "5/5" in captured.err
    assert "case" in captured.err
    assert "P1" not in captured.err
    embed(manifest, tmp_path / "t", progress=False)
    assert capsys.readouterr().err == ""


def test_ctrl_c_keeps_what_was_done(tmp_path: Path) -> None:
    class Interrupted(MeanEncoder):
        def encode(self, batch: Sequence[np.ndarray]) -> np.ndarray:
            if self.batches:
                raise KeyboardInterrupt
            return super().encode(batch)

    manifest = cohort(tmp_path / "cohort")
    with pytest.raises(KeyboardInterrupt):
        embed(manifest, tmp_path / "s", Interrupted(), batch_size=2)
    assert means(tmp_path / "s") == {"P0": 10, "P1": 20}
    assert counts(embed(manifest, tmp_path / "s")) == (3, 2, 0)


# ── several recipes in one pass ─────────────────────────────────────────────────────────────────────────

RECIPES_TOGETHER = ("default", "roi_fixed_32", "roi_adaptive")


def parts_of(store: Path) -> dict[str, Any]:
    """Everything that is stored, but for the random names of the parts."""
    import pyarrow.parquet as pq

    found = {}
    for folder in sorted(p for p in store.iterdir() if p.is_dir()):
        files = sorted(folder.glob("*.parquet"), key=lambda p: p.name.startswith("quarantine"))
        found[folder.name] = [
            (folder / "spec.json").read_bytes(),
            *(pq.read_table(f).to_pydict() for f in files),
        ]
    return found


@pytest.mark.parametrize("workers", [0, 2])
def test_one_pass_stores_byte_for_byte_what_single_runs_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    import flexict_core.io
    from flexict_core.encoders.registry import load_encoder

    manifest = cohort(tmp_path / "cohort", (10, 20, 30))
    reads: list[str] = []
    load = flexict_core.io.load_volume
    monkeypatch.setattr(flexict_core.io, "load_volume", lambda p, **k: reads.append(p.name) or load(p, **k))
    recipes = RECIPES_TOGETHER if workers == 0 else RECIPES_TOGETHER[:2]
    for name in recipes:
        embed(manifest, tmp_path / "single", load_encoder("random-3d", recipe=name, device="cpu"))
    assert len(reads) == 3 * len(recipes)
    reads.clear()
    encoders = [load_encoder("random-3d", recipe=name, device="cpu") for name in recipes]
    reports = embed_together(
        manifest, tmp_path / "together", encoders=encoders, workers=workers, progress=False
    )
    assert [counts(r) for r in reports] == [(3, 0, 0)] * len(recipes)
    assert reads == ["p0.nii.gz", "p1.nii.gz", "p2.nii.gz"][: 3 if workers == 0 else 0]
    assert parts_of(tmp_path / "together") == parts_of(tmp_path / "single")
    assert [r.embedding_id.rsplit("-", 1)[0] for r in reports] == [f"random-3d-{n}-cls_mean" for n in recipes]


def test_each_recipe_goes_on_where_it_stopped_and_fails_alone(tmp_path: Path) -> None:
    manifest = cohort(tmp_path / "cohort", (10, 20, 30))
    embed(manifest, tmp_path / "s", MeanEncoder("default"))
    save(tmp_path / "cohort/ct/p3.nii.gz", ct(40))
    manifest.write_text(manifest.read_text() + "P3,ct/p3.nii.gz,,\n")  # no mask: nothing for a ROI recipe

    class Needs(MeanEncoder):
        def prepare(self, volume: Volume, roi: Volume | None) -> np.ndarray:
            if roi is None:
                raise InputError("needs a mask")
            return super().prepare(volume, roi)

    whole, region = MeanEncoder("default"), Needs("roi_adaptive")
    reports = embed_together(
        manifest, tmp_path / "s", encoders=[whole, region], workers=0, batch_size=2, progress=False
    )
    assert [counts(r) for r in reports] == [(1, 3, 0), (3, 0, 1)]
    assert (whole.prepared, region.prepared) == (1, 3)
    assert region.batches == [2, 1]
    assert means(tmp_path / "s", "mean-default-avg")["P3"] != 40  # the whole image
    assert means(tmp_path / "s", "mean-roi_adaptive-avg") == {"P0": 10, "P1": 20, "P2": 30}
    (entry,) = EmbeddingStore(tmp_path / "s").quarantine("mean-roi_adaptive-avg").to_dict("records")
    assert entry["reason"] == "needs a mask"


def test_a_dead_worker_costs_its_row_in_every_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = cohort(tmp_path / "cohort", (10, 30, 20))
    (tmp_path / "deadly_pair.py").write_text(DEADLY.replace("Deadly", "DeadlyPair"))
    monkeypatch.syspath_prepend(str(tmp_path))
    from deadly_pair import DeadlyPair  # type: ignore[import-not-found]

    encoders = [DeadlyPair(), BaselineEncoder()]
    reports = embed_together(manifest, tmp_path / "s", encoders=encoders, workers=1, progress=False)
    assert [counts(r) for r in reports] == [(2, 0, 1)] * 2


def test_the_same_recipe_twice_is_refused(tmp_path: Path) -> None:
    manifest = cohort(tmp_path / "cohort", (10,))
    with pytest.raises(InputError, match="is asked for twice: give each recipe once"):
        embed_together(
            manifest, tmp_path / "s", encoders=[MeanEncoder(), MeanEncoder()], workers=0, progress=False
        )


# ── processes ───────────────────────────────────────────────────────────────────────────────────────────

DEADLY = """
import os, signal
from flexict_core.encoders.baseline import BaselineEncoder

class Deadly(BaselineEncoder):
    name = "deadly"
    def prepare(self, volume, roi=None):
        if volume.array.max() == 30:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().prepare(volume, roi)

    def spec(self):
        return {**super().spec(), "threads": os.environ.get("OMP_NUM_THREADS")}
"""


def test_workers_give_the_same_as_this_process_and_a_dead_one_costs_its_row_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = cohort(tmp_path / "cohort")
    embed(manifest, tmp_path / "one", BaselineEncoder())
    (tmp_path / "deadly_encoder.py").write_text(DEADLY)
    monkeypatch.syspath_prepend(str(tmp_path))
    from deadly_encoder import Deadly  # type: ignore[import-not-found]

    report = embed(manifest, tmp_path / "two", Deadly(), workers=2)
    assert counts(report) == (4, 0, 1)
    (entry,) = EmbeddingStore(tmp_path / "two").quarantine("deadly").to_dict("records")
    assert entry["patient_id"] == "P2"
    assert "worker process died" in entry["reason"]
    ours, theirs = (
        EmbeddingStore(tmp_path / "one").read("baseline"),
        EmbeddingStore(tmp_path / "two").read("deadly"),
    )
    np.testing.assert_array_equal(ours.X[[0, 1, 3, 4]], theirs.X)


def test_an_encoder_that_cannot_travel_is_named(tmp_path: Path) -> None:
    class Local(MeanEncoder):
        pass

    with pytest.raises(EncoderError, match="workers=0"):
        embed(cohort(tmp_path / "cohort"), tmp_path / "s", Local(), workers=1)


SCRIPT = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job would not hear it
import flexict_core.embed as embed
import flexict_core.embed_run as embed_run
from flexict_core.encoders.baseline import BaselineEncoder

class Slow(BaselineEncoder):
    def encode(self, batch):
        time.sleep(0.05)
        return super().encode(batch)

embed_run.FLUSH_S = 0.0
report = embed.embed_manifest(sys.argv[1], sys.argv[2], encoder=Slow(), workers=int(sys.argv[3]), batch_size=1)
print(report.summary())
"""


def start(tmp_path: Path, manifest: Path, workers: int) -> subprocess.Popen[str]:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(manifest), str(tmp_path / "s"), str(workers)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_parts(tmp_path: Path, number: int) -> None:
    end = time.monotonic() + 60
    while len(list((tmp_path / "s").glob("*/part-*.parquet"))) < number:
        assert time.monotonic() < end, "no part was written in time"
        time.sleep(0.005)


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_killed_goes_on_where_it_stopped(tmp_path: Path, blow: signal.Signals) -> None:
    manifest = cohort(tmp_path / "cohort", range(10, 26))
    process = start(tmp_path, manifest, 0)
    wait_for_parts(tmp_path, 3)
    process.send_signal(blow)
    process.communicate()
    assert process.returncode != 0
    before = EmbeddingStore(tmp_path / "s").read("baseline")
    assert 3 <= len(before.rows) < 16
    report = embed(manifest, tmp_path / "s", BaselineEncoder())
    assert counts(report) == (16 - len(before.rows), len(before.rows), 0)
    after = EmbeddingStore(tmp_path / "s").read("baseline")
    assert after.rows["patient_id"].tolist() == sorted(f"P{i}" for i in range(16))
    embed(manifest, tmp_path / "whole", BaselineEncoder())
    np.testing.assert_array_equal(after.X, EmbeddingStore(tmp_path / "whole").read("baseline").X)
    assert not list((tmp_path / "s").glob("*/.tmp-*"))


def test_a_script_without_main_guard_is_told_and_served(tmp_path: Path) -> None:
    process = start(tmp_path, cohort(tmp_path / "cohort", (10, 20)), 1)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "2 embedded" in out
    assert "if __name__ == '__main__':" in err


@pytest.mark.shared_data
def test_the_sarcoma_cohort_enters_from_its_voxels(shared: Path, tmp_path: Path) -> None:
    report = embed(shared / "data/sts/manifest.csv", tmp_path / "s", BaselineEncoder())
    assert counts(report) == (25, 0, 0)
    table = EmbeddingStore(tmp_path / "s").read("baseline")
    volume_ml = table.X[:, table.spec["feature_names"].index("size_volume_ml")]
    assert volume_ml.min() == pytest.approx(
        17.35, abs=0.01
    )  # STS_019 and STS_022, voxels counted with nibabel
    assert volume_ml.max() == pytest.approx(818.18, abs=0.01)
    assert np.isfinite(table.X).all()
