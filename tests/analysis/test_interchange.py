"""Cohorts for other tools: read back by those tools' own readers, equal to what went in."""

from __future__ import annotations

import builtins
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from analysis import load_cohort, project
from analysis.cohort import Cohort
from analysis.interchange import atlas_command, atlas_table, to_anndata, write_anndata, write_parquet
from app.cli import main
from flexict_core.errors import AnalysisError, CohortError, InputError
from flexict_core.store import EmbeddingStore

N = 20


@pytest.fixture
def home(tmp_path: Path) -> Path:
    rng = np.random.default_rng(3)
    ids = [f"{i:03d}" for i in range(N)]
    table = pd.DataFrame(
        {
            "id": ids,
            "stage": ["I", "II"] * (N // 2),
            "age": rng.integers(40, 80, N),
            "a/b": ["x", ""] * (N // 2),
        }
    )
    table.loc[3, "age"] = np.nan
    table.to_csv(tmp_path / "clinical.csv", index=False)
    store = EmbeddingStore.create(tmp_path / "store")
    for name, dim in (("deep", 6), ("other", 3)):
        with store.writer(
            {"encoder": name, "licence": "CC0", "synthetic": True}, dim=dim, name=name
        ) as writer:
            X = rng.normal(size=(N, dim)).astype(np.float32)
            writer.add([{"patient_id": p, "embedding": x} for p, x in zip(ids, X, strict=True)])
    return tmp_path


def _cohort(home: Path, name: str = "deep") -> Cohort:
    return load_cohort(home / "store", name, home / "clinical.csv", id_column="id")


def test_an_anndata_file_holds_vectors_table_maps_and_provenance(home: Path) -> None:
    anndata = pytest.importorskip("anndata")
    cohort, other = _cohort(home), _cohort(home, "other")
    picture = project(cohort, method="pca")
    made = to_anndata(cohort, projections={"pca": picture}, others={"other": other})
    read = anndata.read_h5ad(write_anndata(made, home / "cohort.h5ad"))
    assert read.X.dtype == np.float32
    np.testing.assert_array_equal(read.X, cohort.X.astype(np.float32))
    assert read.obs_names.tolist() == [f"{i:03d}" for i in range(N)]
    assert read.obs["stage"].tolist() == ["I", "II"] * (N // 2)
    assert np.isnan(read.obs["age"].iloc[3])
    assert read.obs["a_b"].isna().sum() == N // 2
    np.testing.assert_array_equal(read.obsm["X_pca"], picture.coordinates)
    np.testing.assert_array_equal(read.obsm["X_other"], other.X.astype(np.float32))
    about = read.uns["flexict"]
    assert json.loads(about["provenance"])["data_sha256"] == dict(cohort.data_sha256)
    assert about["notice"] == "Synthetic data. Research use only."
    assert about["licence"] == "CC0"
    assert about["methods_pca"] == picture.methods_text()


def test_a_parquet_file_is_what_embedding_atlas_asks_for(home: Path) -> None:
    cohort = _cohort(home)
    picture = project(cohort, method="pca")
    file = write_parquet(atlas_table(cohort, picture), home / "cohort.parquet")
    table = pq.read_table(file)
    assert str(table.schema.field("embedding").type) == "list<element: float>"
    np.testing.assert_array_equal(np.stack(table["embedding"].to_pylist()), cohort.X.astype(np.float32))
    frame = table.to_pandas()
    np.testing.assert_array_equal(frame[["projection_x", "projection_y"]].to_numpy(), picture.coordinates)
    assert frame["id"].tolist() == [f"{i:03d}" for i in range(N)]
    assert frame["a/b"].isna().sum() == N // 2
    unit = cohort.X / np.linalg.norm(cohort.X, axis=1, keepdims=True)
    cosine = unit @ unit.T
    for i, near in enumerate(table["neighbours"].to_pylist()):
        assert near["ids"] == np.argsort(-cosine[i], kind="stable")[: len(near["ids"])].tolist()
        assert near["distances"] == pytest.approx(1 - cosine[i][near["ids"]], abs=1e-9)
        assert near["ids"][0] == i
    about = {k.decode(): v.decode() for k, v in (table.schema.metadata or {}).items()}
    assert json.loads(about["flexict.provenance"])["embedding_id"] == cohort.embedding_id
    assert about["flexict.notice"].startswith("Synthetic data.")
    options = atlas_command(file, mapped=True).split()[2:]
    assert options == ["--x", "projection_x", "--y", "projection_y", "--neighbors", "neighbours"]
    assert {options[1], options[3], options[5]} <= set(table.column_names)


def test_without_a_map_the_vectors_are_named(home: Path) -> None:
    table = atlas_table(_cohort(home))
    assert "projection_x" not in table.column_names
    assert atlas_command(home / "x.parquet", mapped=False).endswith("--vector embedding")


def test_a_map_of_other_patients_is_refused(home: Path) -> None:
    cohort = _cohort(home)
    fewer = load_cohort(home / "store", "deep", home / "clinical.csv", id_column="id", where=["stage=I"])
    picture = project(fewer, method="pca")
    with pytest.raises(CohortError, match="other patients"):
        atlas_table(cohort, picture)
    with pytest.raises(CohortError, match="other patients"):
        to_anndata(cohort, projections={"pca": picture})


def test_names_that_are_written_here_are_not_the_tables(home: Path) -> None:
    table = pd.read_csv(home / "clinical.csv", dtype=str).rename(columns={"age": "embedding"})
    table.to_csv(home / "clinical.csv", index=False)
    with pytest.raises(CohortError, match="'embedding'"):
        atlas_table(_cohort(home))


def test_without_anndata_the_remedy_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def absent(name: str, *rest: Any, **more: Any) -> Any:
        if name == "anndata":
            raise ImportError(name)
        return real(name, *rest, **more)

    cohort = _cohort(home)
    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(AnalysisError, match=r"pip install 'flexict-atlas\[anndata\]'"):
        to_anndata(cohort)


def test_a_file_of_another_ending_is_refused(home: Path) -> None:
    with pytest.raises(InputError, match=r"does not end in \.parquet: write .*cohort\.parquet"):
        write_parquet(atlas_table(_cohort(home)), home / "cohort.csv")


def _export(home: Path, *more: object) -> int:
    common = ("--store", home / "store", "--clinical", home / "clinical.csv", "--id", "id")
    return main(["export", *map(str, (*common, *more))])


def test_the_command_writes_both_and_names_the_call_that_opens_them(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    anndata = pytest.importorskip("anndata")
    out = home / "c.h5ad"
    embeddings = ("--embedding", "deep", "--embedding", "other")
    assert _export(home, *embeddings, "--to", "anndata", "--map", "pca", "--out", out) == 0
    assert "open it: python -c" in capsys.readouterr().out
    assert set(anndata.read_h5ad(out).obsm) == {"X_pca", "X_other"}
    out = home / "c.parquet"
    assert (
        _export(home, "--embedding", "deep", "--to", "parquet", "--map", "none", "--out", out, "--json") == 0
    )
    told = json.loads(capsys.readouterr().out)
    assert told["open"] == f"embedding-atlas {out} --vector embedding"
    assert (told["patients"], told["synthetic"]) == (N, True)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (
            ("--embedding", "deep", "--to", "parquet", "--out", "clinical.csv"),
            "already there: pass --overwrite",
        ),
        (("--embedding", "deep", "--to", "parquet", "--out", "c.csv"), "does not end in .parquet"),
        (("--embedding", "dep", "--to", "parquet", "--out", "c.parquet"), "did you mean 'deep'?"),
        (
            ("--embedding", "deep", "--embedding", "other", "--to", "parquet", "--out", "c.parquet"),
            "one embedding",
        ),
        (("--to", "parquet", "--out", "c.parquet"), "choose by --embedding"),
    ],
)
def test_a_wrong_call_is_one_line(
    home: Path, more: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    at = [str(home / m) if m.startswith("c") and "." in m else m for m in more]
    assert _export(home, "--quiet", "--map", "none", *at) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert words in error
