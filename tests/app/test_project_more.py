"""`flexict project` with t-SNE, clusters and placed patients: files, Python's numbers, bad input."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import load_cohort, project
from analysis.clusters import find_clusters
from analysis.placement import place_new
from app.cli import main

N = 60
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        return main([str(a) for a in arguments]), *capsys.readouterr()

    return run


@pytest.fixture
def options(tmp_path: Path, call: Call) -> list[object]:
    """A call of `project` on two tight groups; the last five patients are of cohort B."""
    rng = np.random.default_rng(3)
    group = np.arange(N) % 2
    X = rng.normal(size=(N, 4)) + 9 * np.eye(4)[group]
    ids = [f"{i:03d}" for i in range(N)]
    pd.DataFrame(X, columns=[f"net{i}" for i in range(4)]).assign(pid=ids).to_csv(
        tmp_path / "v.csv", index=False
    )
    table = {"pid": ids, "site": np.array(["n", "s"])[group], "cohort": ["A"] * 55 + ["B"] * 5}
    pd.DataFrame(table).to_csv(tmp_path / "clinical.csv", index=False)
    store = ("--store", tmp_path / "store")
    assert call("import", "--vectors", tmp_path / "v.csv", "--id", "pid", "--name", "net", *store)[0] == 0
    return [
        *store,
        "--clinical",
        tmp_path / "clinical.csv",
        "--id",
        "pid",
        "--out",
        tmp_path / "p",
        "--no-figures",
    ]


def test_clusters_and_placed_patients_are_written(options: list[object], call: Call, tmp_path: Path) -> None:
    status, out, _ = call("project", *options, "--method", "pca", "--clusters", "--place", "cohort=B")
    assert status == 0
    written = json.loads((tmp_path / "p/project.json").read_text())
    where = (tmp_path / "store", "net", tmp_path / "clinical.csv")
    rest, apart = (load_cohort(*where, id_column="pid", where=[f"cohort={c}"]) for c in "AB")
    expected = project(rest, method="pca")
    placed = place_new(expected, rest, apart)
    assert written["n"] == 55
    assert [p["patient_id"] for p in written["placed"]] == [f"{i:03d}" for i in range(55, 60)]
    np.testing.assert_allclose([[p["x"], p["y"]] for p in written["placed"]], placed.coordinates)
    clusters = find_clusters(rest)
    assert [c["n"] for c in written["clusters"]["clusters"]] == [c.n for c in clusters.clusters]
    assert (written["clusters"]["enrichment"][0]["column"]) == "site"
    assert clusters.verdict in out
    assert pd.read_csv(tmp_path / "p/left_out.csv")["reason"].str.contains("placed on the map").all()


def test_tsne_says_how_stable_it_is(options: list[object], call: Call, tmp_path: Path) -> None:
    assert call("project", *options, "--method", "tsne")[0] == 0
    written = json.loads((tmp_path / "p/project.json").read_text())
    assert (written["method"], written["other_seeds"]) == ("tsne", 2)
    assert 0 < written["stability"] <= 1


@pytest.mark.parametrize(
    ("place", "says"),
    [("cohort", "COLUMN=VALUE"), ("cohrt=B", "did you mean 'cohort'"), ("cohort=C", "no patient has")],
)
def test_bad_places(options: list[object], call: Call, place: str, says: str) -> None:
    status, _, err = call("project", *options, "--quiet", "--method", "pca", "--place", place)
    assert (status, err.count("\n")) == (2, 1)
    assert says in err
