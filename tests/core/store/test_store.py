"""The store: what it holds, how it is named, and that no kill and no second writer loses or doubles a row."""

from __future__ import annotations

import builtins
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flexict_core.errors import InputError, StoreError
from flexict_core.store import EmbeddingStore
from flexict_core.store.format import new_part, part_paths

SPEC = {"encoder": "fake", "checkpoint_sha256": "ab", "recipe": "default", "pooling": "cls", "patch_size": 8}


def row(patient: str, value: float = 0.0, **more: Any) -> dict[str, Any]:
    return {"patient_id": patient, "embedding": np.full(3, value), **more}


def filled(path: Path, patients: str = "ABC", **spec: Any) -> EmbeddingStore:
    store = EmbeddingStore.create(path)
    with store.writer({**SPEC, **spec}, dim=3, name="fake") as writer:
        writer.add(row(p, i) for i, p in enumerate(patients))
    return store


def folder_of(store: EmbeddingStore) -> Path:
    return store.path / store.resolve("fake")


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    store = EmbeddingStore.create(tmp_path / "deep" / "store")
    vectors = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    with store.writer({**SPEC, "feature_names": list("wxyz"), "licence": "CC"}, dim=4, name="fake") as writer:
        writer.add(
            [
                {
                    "patient_id": "B",
                    "series_uid": "1",
                    "embedding": vectors[0],
                    "root": "/r",
                    "image": "b.nii",
                },
                {
                    "patient_id": "A",
                    "embedding": vectors[1],
                    "mask": "m.nii",
                    "mask_label": 2,
                    "source_sha256": "ff",
                },
                {"patient_id": "B", "roi_id": "2", "embedding": vectors[2]},
            ]
        )
    table = EmbeddingStore(tmp_path / "deep" / "store").read("fake")
    assert table.rows["patient_id"].tolist() == ["A", "B", "B"]
    assert table.rows["roi_id"].tolist() == ["", "2", ""]
    assert table.X.dtype == np.float32
    np.testing.assert_array_equal(table.X, vectors[[1, 2, 0]])
    assert list(table.rows.columns) == [
        "patient_id", "series_uid", "roi_id", "root", "image", "mask", "mask_label", "source_sha256",
        "image_sha256", "mask_sha256",
    ]  # fmt: skip
    assert table.rows["mask_label"].isna().tolist() == [False, True, True]
    assert table.rows.loc[0, ["mask", "mask_label", "source_sha256"]].tolist() == ["m.nii", 2, "ff"]
    assert table.spec["feature_names"] == ["w", "x", "y", "z"]


def test_the_files_are_as_the_data_contract_says(tmp_path: Path) -> None:
    store = filled(tmp_path)
    folder = folder_of(store)
    (part,) = part_paths(folder)
    schema = pq.read_schema(part)
    assert schema.field("embedding").type == pa.list_(pa.float32(), 3)
    assert {
        "patient_id",
        "series_uid",
        "roi_id",
        "root",
        "image",
        "mask",
        "mask_label",
        "source_sha256",
    } <= set(schema.names)
    spec = json.loads((folder / "spec.json").read_text())
    assert spec["embedding_id"] == folder.name
    assert (spec["encoder"], spec["dim"], spec["synthetic"]) == ("fake", 3, False)
    assert not list(folder.glob(".tmp-*"))


def test_the_id_depends_on_what_decides_the_numbers_and_on_nothing_else(tmp_path: Path) -> None:
    store = EmbeddingStore.create(tmp_path)

    def identity(spec: dict[str, Any], name: str = "fake", dim: int = 3) -> str:
        with store.writer(spec, dim=dim, name=name) as writer:
            return writer.embedding_id

    base = identity(SPEC)
    assert base.startswith("fake-")
    assert identity(dict(reversed(SPEC.items()))) == base
    assert identity({**SPEC, "licence": "CC BY", "feature_names": None}) == base
    changed = [{**SPEC, key: "other"} for key in SPEC] + [
        {**SPEC, "synthetic": True},
        {**SPEC, "precision": "bf16"},
    ]
    ids = {identity(spec) for spec in changed} | {identity(SPEC, dim=4)}
    assert len(ids) == len(changed) + 1
    assert base not in ids


def test_a_name_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    store = EmbeddingStore.create(tmp_path)
    for name in ("../up", "a/b", "", ".hidden", "a b"):
        with pytest.raises(InputError, match="cannot name a folder"):
            store.writer(SPEC, dim=3, name=name)


def test_listing_tells_what_is_there(tmp_path: Path) -> None:
    store = filled(tmp_path, synthetic=True, licence="CC", recipe={"name": "default", "size": 160})
    (tmp_path / "not an embedding").mkdir()
    (info,) = store.list()
    assert (info.name, info.encoder, info.recipe, info.pooling) == ("fake", "fake", "default", "cls")
    assert (info.dim, info.rows, info.synthetic, info.licence) == (3, 3, True, "CC")


def test_names_are_resolved_or_the_choice_is_named(tmp_path: Path) -> None:
    store = EmbeddingStore.create(tmp_path)
    with pytest.raises(StoreError, match="holds no embedding"):
        store.resolve("x")
    ids = {}
    for name, spec in {
        "one": {"encoder": "net"},
        "one-two": {"encoder": "net"},
        "three": {"encoder": "other"},
    }.items():
        with store.writer(spec, dim=2, name=name) as writer:
            ids[name] = writer.embedding_id
    assert store.resolve("one") == ids["one"]  # a whole name comes before a beginning
    assert store.resolve("one-t") == ids["one-two"]
    assert store.resolve("other") == ids["three"]
    assert store.resolve(ids["three"]) == ids["three"]
    with pytest.raises(StoreError, match="ambiguous") as caught:
        store.resolve("net")
    assert ids["one"] in str(caught.value)
    assert ids["one-two"] in str(caught.value)
    with pytest.raises(StoreError, match="did you mean 'three'"):
        store.resolve("thre_e")


def test_a_store_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"'.*none' does not exist"):
        EmbeddingStore(tmp_path / "none")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="is a file"):
        EmbeddingStore(tmp_path / "file")
    with pytest.raises(StoreError, match="cannot be made"):
        EmbeddingStore.create(tmp_path / "file" / "below")


def test_bad_rows_do_not_enter(tmp_path: Path) -> None:
    with EmbeddingStore.create(tmp_path).writer(SPEC, dim=3, name="fake") as writer:
        for bad, says in (
            ({"patient_id": "A", "embedding": [1, 2]}, "shape"),
            ({"patient_id": "A", "embedding": [1, 2, np.nan]}, "1 of 3 values"),
            ({"patient_id": "A", "embedding": [1, 2, 1e39]}, "not finite"),
            ({"patient_id": "A"}, "needed"),
            ({"patient_id": "A", "embedding": [1, 2, 3], "stage": "II"}, "'stage'"),
        ):
            with np.errstate(over="ignore"), pytest.raises(StoreError, match=says):
                writer.add([bad])
    assert EmbeddingStore(tmp_path).read("fake").X.shape == (0, 3)


def test_a_row_added_again_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    store = filled(tmp_path)
    with store.writer(SPEC, dim=3, name="fake") as writer:
        assert writer.known[("B", "", "")].generation == 0
        writer.add([row("B", 7), row("D", 8)])
        writer.flush()
        assert store.read("fake").X[:, 0].tolist() == [0, 7, 2, 8]  # at once for readers
        writer.add([row("B", 9)])
    assert store.read("fake").X[:, 0].tolist() == [0, 9, 2, 8]
    on_disk = pa.concat_tables([pq.read_table(p) for p in part_paths(folder_of(store))])
    assert sorted(on_disk["patient_id"].to_pylist()) == ["A", "B", "C", "D"]


def test_parts_are_merged_when_the_work_is_done(tmp_path: Path) -> None:
    store = EmbeddingStore.create(tmp_path)
    with store.writer(SPEC, dim=3, name="fake") as writer:
        for i in range(7):
            writer.add([row(f"P{i}", i)])
            writer.flush()
        assert len(part_paths(folder_of(store))) == 7
        other = store.writer(SPEC, dim=3, name="fake")
        other.add([row("late", 9)])
        other.flush()
    assert len(part_paths(folder_of(store))) == 1
    assert store.read("fake").X[:, 0].tolist() == [0, 1, 2, 3, 4, 5, 6, 9]


def test_two_writers_keep_both_works_and_count_a_shared_row_once(tmp_path: Path) -> None:
    store = EmbeddingStore.create(tmp_path)
    one, two = (store.writer(SPEC, dim=3, name="fake") for _ in range(2))
    one.add([row("A", 1), row("B", 1)])
    two.add([row("B", 2), row("C", 2)])
    one.flush()
    two.flush()
    assert store.read("fake").rows["patient_id"].tolist() == ["A", "B", "C"]
    one.close()
    two.close()
    table = store.read("fake")
    assert table.rows["patient_id"].tolist() == ["A", "B", "C"]
    assert table.X[[0, 2], 0].tolist() == [1, 2]


def test_a_merge_cut_short_doubles_nothing(tmp_path: Path) -> None:
    store = filled(tmp_path)
    (part,) = part_paths(folder_of(store))
    new_part(part.parent).write_bytes(part.read_bytes())  # merged part written, old one not yet gone
    assert store.read("fake").rows["patient_id"].tolist() == ["A", "B", "C"]
    assert store.list()[0].rows == 3
    with store.writer(SPEC, dim=3, name="fake"):
        pass
    assert sum(pq.read_metadata(p).num_rows for p in part_paths(folder_of(store))) == 3


def test_an_exception_keeps_what_was_added(tmp_path: Path) -> None:
    store = EmbeddingStore.create(tmp_path)

    def interrupted() -> None:
        with store.writer(SPEC, dim=3, name="fake") as writer:
            writer.add([row("A")])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert store.read("fake").rows["patient_id"].tolist() == ["A"]


def test_strays_of_dead_processes_are_swept_and_those_of_living_ones_kept(tmp_path: Path) -> None:
    from flexict_core.durable import _host

    folder = folder_of(filled(tmp_path))
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    dead, alive = (folder / f".tmp-{_host()}-{pid}-x" for pid in (process.pid, os.getpid()))
    old, young = folder / ".tmp-elsewhere-1-x", folder / ".tmp-elsewhere-2-x"
    for stray in (dead, alive, old, young):
        stray.write_bytes(b"half a part")
    os.utime(old, (time.time() - 7200,) * 2)
    with EmbeddingStore(tmp_path).writer(SPEC, dim=3, name="fake"):
        pass
    assert [p.exists() for p in (dead, alive, old, young)] == [False, True, False, True]


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    store = filled(tmp_path)
    (part,) = part_paths(folder_of(store))
    part.write_bytes(part.read_bytes()[:-20])
    with pytest.raises(StoreError, match=rf"{part.name}.* is damaged .*delete it and embed again"):
        store.read("fake")


def test_a_store_of_a_later_version_is_not_misread(tmp_path: Path) -> None:
    store = filled(tmp_path)
    spec = folder_of(store) / "spec.json"
    spec.write_text(spec.read_text().replace('"format_version": 1', '"format_version": 2'))
    with pytest.raises(StoreError, match="format version 2"):
        store.read("fake")


def test_quarantine_replaces_and_settles(tmp_path: Path) -> None:
    store = EmbeddingStore.create(tmp_path)

    def failed(number: int, reason: str, manifest: str = "m.csv") -> dict[str, Any]:
        return {"row": number, "patient_id": f"P{number}", "image": f"{number}.nii", "file": f"{number}.nii",
                "reason": reason, "root": "/r", "manifest": manifest}  # fmt: skip

    with store.writer(SPEC, dim=3, name="fake") as writer:
        writer.quarantine(
            [failed(2, "first"), failed(3, "first"), failed(4, "first"), failed(2, "other", "n.csv")]
        )
    with store.writer(SPEC, dim=3, name="fake") as writer:
        writer.quarantine([failed(3, "again")])
        writer.settle(root="/r", manifest="m.csv", keep=[(4, "4.nii")])
    frame = store.quarantine("fake")
    assert list(zip(frame["row"], frame["reason"], frame["manifest"], strict=True)) == [
        (3, "again", "m.csv"),
        (4, "first", "m.csv"),
        (2, "other", "n.csv"),
    ]
    assert {"row", "file", "reason", "patient_id", "image"} <= set(frame.columns)
    assert pq.read_table(store.quarantine_path("fake")).num_rows == 3


def test_a_full_disk_is_one_clear_line_and_leaves_no_stray(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = EmbeddingStore.create(tmp_path).writer(SPEC, dim=3, name="fake")
    writer.add([row("A")])

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match="No space left on device"):
            writer.flush()
    assert not [p for p in writer.folder.iterdir() if p.name.startswith((".tmp-", "part-"))]
    writer.flush()  # the rows were not forgotten
    assert EmbeddingStore(tmp_path).read("fake").rows["patient_id"].tolist() == ["A"]


KILLED = """
import sys
import numpy as np
from flexict_core.store import EmbeddingStore
with EmbeddingStore.create(sys.argv[1]).writer({"encoder": "fake"}, dim=3, name="fake") as writer:
    for i in range(40):
        if (f"P{i:02}", "", "") in writer.known:
            continue
        writer.add([{"patient_id": f"P{i:02}", "embedding": np.full(3, i)}])
        writer.flush()
        print(i, flush=True)
"""


def test_killed_at_any_time_no_row_is_lost_or_doubled(tmp_path: Path) -> None:
    pick = random.Random(0)
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        durable = {int(process.stdout.readline()) for _ in range(pick.randint(2, 8))}
        time.sleep(pick.random() * 0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        names = EmbeddingStore(tmp_path).read("fake").rows["patient_id"].tolist()
        assert len(names) == len(set(names))
        assert {f"P{i:02}" for i in durable} <= set(names)
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=True, stdout=subprocess.DEVNULL)
    table = EmbeddingStore(tmp_path).read("fake")
    assert table.X[:, 0].tolist() == list(range(40))
    folder = folder_of(EmbeddingStore(tmp_path))
    assert sum(pq.read_metadata(p).num_rows for p in part_paths(folder)) == 40
    assert not list(folder.glob(".tmp-*"))


def test_anndata_holds_rows_names_and_spec(tmp_path: Path) -> None:
    pytest.importorskip("anndata")
    store = filled(tmp_path, feature_names=["a", "b", "c"])
    data = store.to_anndata("fake")
    assert data.shape == (3, 3)
    assert data.obs_names.tolist() == ["A", "B", "C"]
    assert data.var_names.tolist() == ["a", "b", "c"]
    assert data.X[:, 0].tolist() == [0, 1, 2]
    assert json.loads(data.uns["spec"])["encoder"] == "fake"
    data.write_h5ad(tmp_path / "out.h5ad")


def test_without_anndata_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = filled(tmp_path)
    real = builtins.__import__

    def absent(name: str, *rest: Any, **more: Any) -> Any:
        if name == "anndata":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(StoreError, match=r"pip install 'flexict-atlas\[anndata\]'"):
        store.to_anndata("fake")


# ── larger stores, older stores, disks that refuse ──────────────────────────────────────────────────────


def columns(n: int) -> dict[str, list[Any]]:
    return {
        "patient_id": [f"P{i // 2:03}" for i in range(n)],
        "roi_id": [str(i % 2) for i in range(n)],
        "image": [f"{i}.nii" for i in range(n)],
        "mask_label": [None if i % 3 else i for i in range(n)],
    }


def test_a_whole_table_is_the_same_as_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import flexict_core.store.writer as store_writer

    monkeypatch.setattr(store_writer, "PART_BYTES", 4 * 3 * 8)  # 8 rows a part
    X = np.random.default_rng(0).normal(size=(30, 3))
    given = columns(30)
    order = np.random.default_rng(1).permutation(30)
    for name in ("rows", "table"):
        with EmbeddingStore.create(tmp_path / name).writer(SPEC, dim=3, name="fake") as writer:
            if name == "rows":
                writer.add({**{k: v[i] for k, v in given.items()}, "embedding": X[i]} for i in range(30))
            else:
                writer.add_table({k: [v[i] for i in order] for k, v in given.items()}, X[order])
                assert writer.known[("P003", "", "1")].image == "7.nii"
    one, other = (EmbeddingStore(tmp_path / name).read("fake") for name in ("rows", "table"))
    assert one.rows.equals(other.rows)
    np.testing.assert_array_equal(one.X, other.X)
    np.testing.assert_array_equal(one.X, X.astype(np.float32))  # given in the order of the keys
    assert one.rows["mask_label"].tolist()[:4] == [0, pd.NA, pd.NA, 3]


def test_a_table_replaces_what_is_there_and_bad_ones_change_nothing(tmp_path: Path) -> None:
    store = filled(tmp_path)
    with store.writer(SPEC, dim=3, name="fake") as writer:
        for rows, X, says in (
            ({"patient_id": ["A"]}, np.zeros((1, 2)), r"X has shape \(1, 2\)"),
            ({"patient_id": ["A"]}, np.full((1, 3), np.inf), "3 values of X from row 0 on are not finite"),
            ({"patient_id": ["A", "A"]}, np.zeros((2, 3)), "rows 0 and 1 have the same key"),
            ({"patient_id": ["A"], "stage": ["I"]}, np.zeros((1, 3)), "'stage'"),
        ):
            with pytest.raises(StoreError, match=says):
                writer.add_table(rows, X)
        writer.add_table({"patient_id": ["B", "D"]}, np.array([[5, 5, 5], [6, 6, 6]]))
    assert store.read("fake").X[:, 0].tolist() == [0, 5, 2, 6]


def test_some_patients_and_some_dimensions_are_read_alone(tmp_path: Path) -> None:
    X = np.random.default_rng(0).normal(size=(400, 3)).astype(np.float32)
    store = EmbeddingStore.create(tmp_path)
    with store.writer({**SPEC, "feature_names": ["a", "b", "c"]}, dim=3, name="fake") as writer:
        for start in (0, 100, 200, 300):
            part = {k: v[start : start + 100] for k, v in columns(400).items()}
            writer.add_table(part, X[start : start + 100])
    whole = store.read("fake")
    np.testing.assert_array_equal(whole.X, X)
    some = store.read("fake", patients={"P007", "P150", "nobody"})
    assert some.rows["patient_id"].tolist() == ["P007", "P007", "P150", "P150"]
    np.testing.assert_array_equal(some.X, X[[14, 15, 300, 301]])
    assert store.read("fake", patients=[]).X.shape == (0, 3)
    narrow = store.read("fake", features=["c", 0])
    np.testing.assert_array_equal(narrow.X, X[:, [2, 0]])
    assert (narrow.spec["dim"], narrow.spec["feature_names"]) == (2, ["c", "a"])
    with pytest.raises(StoreError, match="feature 'd' is not in 'fake': it has 3 dimensions"):
        store.read("fake", features=["d"])
    assert store.rows("fake").equals(whole.rows)
    assert store.rows("fake", columns=["image"])["image"].tolist() == whole.rows["image"].tolist()


LAYOUT_1 = ["patient_id", "series_uid", "roi_id", "root", "image", "mask", "mask_label", "source_sha256", "source_stat",
            "generation", "embedding"]  # fmt: skip


def older(path: Path) -> tuple[EmbeddingStore, np.ndarray]:
    """A store as layout 1 was: other columns, one row group, rows as they came, no `layout` in its spec."""
    store = EmbeddingStore.create(path)
    with store.writer(SPEC, dim=3, name="fake") as writer:
        folder = writer.folder
    spec = json.loads((folder / "spec.json").read_text())
    del spec["layout"]
    (folder / "spec.json").write_text(json.dumps(spec))
    X = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
    text = [
        ["B", "A"],
        ["", ""],
        ["", ""],
        ["/r", "/r"],
        ["b.nii", "a.nii"],
        ["", ""],
        [None, 3],
        ["bb", "aa"],
        ["", ""],
    ]
    arrays = [pa.array(v, pa.int64() if i == 6 else pa.string()) for i, v in enumerate(text)]
    arrays += [pa.array([0, 0], pa.int32()), pa.FixedSizeListArray.from_arrays(pa.array(X.ravel()), 3)]
    pq.write_table(pa.table(arrays, names=LAYOUT_1), new_part(folder), compression="zstd")
    return store, X


def test_an_older_store_is_read_and_brought_up_to_date(tmp_path: Path) -> None:
    store, X = older(tmp_path)
    folder = folder_of(store)

    def check() -> None:
        table = store.read("fake")
        assert table.rows["image"].tolist() == ["a.nii", "b.nii"]
        assert table.rows["image_sha256"].tolist() == ["", ""]
        np.testing.assert_array_equal(table.X, X[::-1])

    check()
    before = {p.name for p in folder.iterdir()}
    assert before == {p.name for p in folder.iterdir()}, "reading has written"
    with store.writer(SPEC, dim=3, name="fake") as writer:
        assert writer.known[("A", "", "")].source_sha256 == "aa"  # nothing has to be embedded again
    check()
    assert json.loads((folder / "spec.json").read_text())["layout"] == 2
    (part,) = part_paths(folder)
    assert "image_sha256" in pq.read_schema(part).names
    spec = folder / "spec.json"
    spec.write_text(spec.read_text().replace('"layout": 2', '"layout": 3'))
    with pytest.raises(StoreError, match="has layout 3, this program reads 1 to 2: update it"):
        store.read("fake")


READ_ONLY = """
import ctypes, sys
from pathlib import Path
from flexict_core.store import EmbeddingStore
from flexict_core.errors import StoreError
store = EmbeddingStore(sys.argv[1])
try:
    Path(sys.argv[1], "probe").touch()
    sys.exit("the folder can be written")
except OSError:
    pass
assert store.read("fake").X[:, 0].tolist() == [0, 1, 2]
assert store.list()[0].rows == 3 and len(store.quarantine("fake")) == 0
spec = {"encoder": "fake", "checkpoint_sha256": "ab", "recipe": "default", "pooling": "cls", "patch_size": 8}
with store.writer(spec, dim=3, name="fake") as writer:  # a run that finds everything there
    assert len(writer.known) == 3
try:
    with store.writer(spec, dim=3, name="fake") as writer:
        writer.add([{"patient_id": "Z", "embedding": [1, 2, 3]}])
except StoreError as error:
    print(error)
try:
    store.writer(spec, dim=4, name="new")
except StoreError as error:
    print(error)
"""


def without_privilege() -> None:
    """Root may write anywhere: take that right (CAP_DAC_OVERRIDE) from the program started next."""
    import ctypes

    if os.getuid() == 0:
        ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)  # PR_CAPBSET_DROP


@pytest.mark.skipif(sys.platform != "linux", reason="takes rights away as Linux does")
def test_a_read_only_store_is_read_and_says_so_when_written(tmp_path: Path) -> None:
    store = filled(tmp_path)
    folder = folder_of(store)
    (folder / ".lock").unlink(missing_ok=True)
    for path in (folder, tmp_path):
        path.chmod(0o555)
    try:
        command = [sys.executable, "-c", READ_ONLY, str(tmp_path)]
        run = subprocess.run(command, preexec_fn=without_privilege, capture_output=True, text=True)
    finally:
        for path in (tmp_path, folder):
            path.chmod(0o755)
    assert run.returncode == 0, run.stderr
    first, second = run.stdout.splitlines()
    assert "cannot be written (Permission denied): free space or check permissions" in first
    assert "cannot be made (Permission denied): check permissions, or use another store" in second


WRITER = """
import sys
import numpy as np
from flexict_core.store import EmbeddingStore
store, who = EmbeddingStore.create(sys.argv[1]), int(sys.argv[2])
for turn in range(4):
    with store.writer({"encoder": "fake"}, dim=3, name="fake") as writer:
        for i in range(turn * 10, turn * 10 + 10):
            name = f"P{i:02}" if i % 5 == 0 else f"W{who}-{i:02}"
            if (name, "", "") not in writer.known:
                writer.add([{"patient_id": name, "embedding": np.full(3, i)}])
                writer.flush()
        writer.quarantine([{"row": 100 * who + turn, "reason": "x", "patient_id": "Q"}])
"""


def test_two_processes_write_at_once_and_lose_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    processes = [subprocess.Popen([*command, str(who)], stderr=subprocess.PIPE, text=True) for who in (1, 2)]
    said = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    with EmbeddingStore(tmp_path).writer({"encoder": "fake"}, dim=3, name="fake"):
        pass
    store = EmbeddingStore(tmp_path)
    expected = {f"P{i:02}": i for i in range(0, 40, 5)}
    expected |= {f"W{who}-{i:02}": i for who in (1, 2) for i in range(40) if i % 5}
    table = store.read("fake")
    assert dict(zip(table.rows["patient_id"], table.X[:, 0].tolist(), strict=True)) == expected
    assert len(table.rows) == len(expected)
    assert len(store.quarantine("fake")) == 8
    assert sum(pq.read_metadata(p).num_rows for p in part_paths(folder_of(store))) == len(expected)


def test_a_thousand_parts_open_at_once_and_close_as_few(tmp_path: Path) -> None:
    store = EmbeddingStore.create(tmp_path)
    writer = store.writer(SPEC, dim=3, name="fake")
    writer.add([row("P0000")])
    writer.flush()
    (first,) = part_paths(folder_of(store))
    table = pq.read_table(first)
    for i in range(1, 1000):
        named = table.set_column(0, table.schema.field(0), pa.array([f"P{i:04}"]))
        pq.write_table(named, new_part(folder_of(store)))
    cpu = time.process_time()
    (info,) = store.list()
    cpu = time.process_time() - cpu
    assert info.rows == 1000
    assert cpu < 1.0, f"{cpu:.2f} s of processor time to open a store of 1,000 parts"
    with store.writer(SPEC, dim=3, name="fake"):
        pass
    assert len(part_paths(folder_of(store))) == 1
    assert len(store.rows("fake")) == 1000
