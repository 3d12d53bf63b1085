"""`flexict retrieve --match`: the control in the files, the same numbers as Python, and bad input."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import load_cohort, retrieval_metrics
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
    """A call of `retrieve` on 60 patients whose embedding holds the scanner."""
    rng = np.random.default_rng(3)
    stage = np.repeat([0, 1], N // 2)
    scanner = rng.random(N) < 0.2 + 0.6 * stage
    X = rng.normal(size=(N, 4))
    X[:, 0] += 4 * scanner - 2
    ids = [f"{i:03d}" for i in range(N)]
    pd.DataFrame(X, columns=list("abcd")).assign(pid=ids).to_csv(tmp_path / "v.csv", index=False)
    pd.DataFrame(
        {
            "pid": ids,
            "stage": np.array(["I", "II"])[stage],
            "scanner": np.where(scanner, "S2", "S1"),
            "mm": rng.normal(size=N),
        }
    ).to_csv(tmp_path / "clinical.csv", index=False)
    store = ("--store", tmp_path / "store")
    assert call("import", "--vectors", tmp_path / "v.csv", "--id", "pid", "--name", "net", *store)[0] == 0
    return [
        *store,
        "--clinical",
        tmp_path / "clinical.csv",
        "--id",
        "pid",
        "--out",
        tmp_path / "r",
        "--no-figures",
    ]


def test_the_control_is_written_as_python_gives_it(options: list[object], call: Call, tmp_path: Path) -> None:
    more = ("--label", "stage", "--match", "scanner,mm", "--caliper", 2)
    status, out, _ = call("retrieve", *options, *more)
    assert status == 0
    cohort = load_cohort(tmp_path / "store", "net", tmp_path / "clinical.csv", id_column="pid")
    expected = retrieval_metrics(cohort, "stage", match=["scanner", "mm"], caliper=2)
    written = json.loads((tmp_path / "r/retrieve.json").read_text())
    assert written == json.loads(json.dumps(expected.to_dict()))
    assert expected.matched is not None
    assert expected.matched.verdict in out


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--match", "scanner", "--query", "001"), ("'scanner'", "--label")),
        (("--label", "stage", "--match", "scaner"), ("'scaner'", "did you mean 'scanner'")),
        (("--label", "stage", "--match", "mm", "--caliper", "0"), ("caliper = 0",)),
        (("--label", "stage", "--match", "mm", "--caliper", "0.001"), ("widen the caliper",)),
    ],
)
def test_bad_matches(options: list[object], call: Call, more: tuple[str, ...], says: tuple[str, ...]) -> None:
    status, _, err = call("retrieve", *options, "--quiet", *more)
    assert (status, err.count("\n")) == (2, 1)
    assert all(word in err for word in says), err
