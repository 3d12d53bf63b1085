"""`flexict audit`: its files, the same numbers as Python, its verdict on later results, and bad input."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import audit, load_cohort
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
def study(tmp_path: Path, call: Call) -> Path:
    """60 patients whose scanner is written all over the embedding; the split cuts through a copied patient."""
    rng = np.random.default_rng(3)
    stage = np.repeat([0, 1, 2], N // 3)
    scanner = rng.random(N) < 0.2 + 0.3 * stage
    X = rng.normal(size=(N, 5))
    X[:, 0] += 3 * scanner
    X[50] = X[4]
    ids = [f"{i:03d}" for i in range(N)]
    vectors = pd.DataFrame(X, columns=[f"f{i}" for i in range(5)]).assign(pid=ids)
    vectors.to_csv(tmp_path / "v.csv", index=False)
    pd.DataFrame(
        {
            "pid": ids,
            "stage": np.array(["I", "II", "III"])[stage],
            "scanner": np.where(scanner, "S2", "S1"),
            "age": rng.normal(60, 8, N).round(1),
            "split": np.where(np.arange(N) < 45, "train", "test"),
        }
    ).to_csv(tmp_path / "clinical.csv", index=False)
    options = ("--id", "pid", "--name", "net", "--store", tmp_path / "store")
    assert call("import", "--vectors", tmp_path / "v.csv", *options)[0] == 0
    return tmp_path


def _options(study: Path, out: str, *more: object) -> list[object]:
    where = [
        "--store",
        study / "store",
        "--clinical",
        study / "clinical.csv",
        "--id",
        "pid",
        "--out",
        study / out,
    ]
    return [*where, "--no-figures", *more]


ASKED = (
    "--label",
    "stage",
    "--order",
    "I,II,III",
    "--group",
    "scanner",
    "--split",
    "split",
    "--permutations",
    99,
)


def test_audit_writes_what_python_gives(study: Path, call: Call) -> None:
    status, out, _ = call("audit", *_options(study, "a", *ASKED))
    assert status == 0
    cohort = load_cohort(study / "store", "net", study / "clinical.csv", id_column="pid")
    expected = audit(cohort, label="stage", order="I,II,III", group="scanner", split="split", permutations=99)
    written = json.loads((study / "a/audit.json").read_text())
    assert written == json.loads(json.dumps(expected.to_dict()))
    assert written["fields"][0]["name"] == "scanner"
    assert {f["name"] for f in written["fields"]} == {"scanner", "age"}  # label and split are no fields
    assert [(d["first"], d["second"], d["crosses_split"]) for d in written["duplicates"]] == [
        ("004", "050", True)
    ]
    assert expected.summary() in out
    assert (study / "a/methods.md").read_text().strip() == expected.methods_text().strip()
    assert pd.read_csv(study / "a/audit.csv")["field"].tolist() == ["scanner", "age", "stage"]


def test_the_verdict_stands_on_later_results_of_the_same_cohort_only(study: Path, call: Call) -> None:
    assert call("project", *_options(study, "before", "--method", "pca"))[0] == 0
    assert call("audit", *_options(study, "a", *ASKED, "--quiet"))[0] == 0
    verdict = json.loads((study / "a/audit.json").read_text())["verdict"]
    assert call("project", *_options(study, "after", "--method", "pca"))[0] == 0
    assert call("project", *_options(study, "part", "--method", "pca", "--where", "split=train"))[0] == 0
    warnings = {
        name: json.loads((study / name / "project.json").read_text())["warnings"]
        for name in ("before", "after", "part")
    }
    assert warnings["after"][-1] == f"audit of this cohort: {verdict}"
    assert not any("audit" in w for w in (*warnings["before"], *warnings["part"]))
    assert call("list", "--store", study / "store")[0] == 0  # the note is no embedding


def test_fields_are_chosen_by_name(study: Path, call: Call) -> None:
    assert call("audit", *_options(study, "a", "--fields", "age", "--permutations", 99))[0] == 0
    written = json.loads((study / "a/audit.json").read_text())
    assert [f["name"] for f in written["fields"]] == ["age"]
    assert written["leave_one_group_out"] == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--label", "stge"), ("'stge'", "did you mean 'stage'")),
        (("--group", "scanner"), ("no label",)),
        (("--label", "stage", "--order", "I,II"), ("'III' (20)",)),
        (("--label", "stage", "--fields", "stage"), ("'stage'", "label")),
        (("--fields", "ge"), ("'ge'", "did you mean 'age'")),
        (("--split", "nope"), ("'nope'",)),
        (("--index", "absent.csv"), ("absent.csv",)),
        (("--permutations", "5"), ("--permutations", "99")),
    ],
)
def test_bad_calls(study: Path, call: Call, options: tuple[str, ...], says: tuple[str, ...]) -> None:
    status, out, err = call("audit", *_options(study, "a", *options, "--quiet"))
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert all(word in err for word in says), err
    assert not (study / "a/audit.json").exists()
