"""`flexict survival` and `flexict probe`: files, exit status, JSON as Python gives it, every mistake by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import load_cohort, probe, survival
from app.cli import main

N = 60
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        return main([str(a) for a in arguments]), *capsys.readouterr()

    return call


@pytest.fixture
def study(tmp_path: Path, run: Run) -> Path:
    """60 patients whose first dimension drives the hazard, the grade and the volume."""
    rng = np.random.default_rng(2)
    X = rng.standard_normal((N, 4))
    death, end = rng.exponential(np.exp(-X[:, 0])) * 500, rng.exponential(1500, N)
    ids = [f"P{i:02d}" for i in range(N)]
    pd.DataFrame(X, columns=list("abcd")).assign(pid=ids).to_csv(tmp_path / "v.csv", index=False)
    happened = (death <= end).astype(int)
    pd.DataFrame(
        {
            "pid": ids,
            "days": np.ceil(np.minimum(death, end)),
            "dead": happened,
            "status": np.where(happened, np.where(np.arange(N) % 4, "tumour", "other"), "alive"),
            "age": rng.normal(60, 8, N).round(),
            "grade": np.where(X[:, 0] + rng.normal(0, 0.5, N) > 0, "high", "low"),
            "level": np.digitize(X[:, 0] + rng.normal(0, 0.5, N), [-0.5, 0.5]) + 1,
            "volume": (30 + 10 * X[:, 0] + rng.normal(0, 5, N)).round(2),
            "flat": "same",
            "rare": np.where(np.arange(N) < 2, "r", "s"),
        }
    ).to_csv(tmp_path / "clinical.csv", index=False)
    call = ("import", "--vectors", tmp_path / "v.csv", "--id", "pid", "--name", "net")
    assert run(*call, "--store", tmp_path / "store", "--quiet")[0] == 0
    return tmp_path


def _options(study: Path, *more: object) -> list[object]:
    given = ("--store", study / "store", "--clinical", study / "clinical.csv", "--id", "pid")
    return [*given, "--out", study / "out", "--no-figures", *more]


def _edit(study: Path, column: str, row: int, value: object) -> None:
    table = pd.read_csv(study / "clinical.csv", dtype=str)
    table.loc[row, column] = str(value)
    table.to_csv(study / "clinical.csv", index=False)


TIMED = ("--duration", "days", "--event", "dead", "--permutations", 99)


def test_survival_writes_what_python_gives(study: Path, run: Run) -> None:
    status, out, _ = run(
        "survival", *_options(study, *TIMED, "--adjust", "age", "--unit", "days", "--seed", 3)
    )
    assert status == 0
    cohort = load_cohort(study / "store", None, study / "clinical.csv", id_column="pid")
    expected = survival(cohort, "days", "dead", clinical=["age"], unit="days", permutations=99, seed=3)
    written = json.loads((study / "out/survival.json").read_text())
    assert written == json.loads(json.dumps(expected.to_dict()))
    assert {"c_index", "cox", "km_groups", "logrank_p", "proportional_hazards", "provenance"} <= set(written)
    assert {"term", "hazard_ratio", "ci", "p_value"} <= set(written["cox"][0])
    assert expected.summary() in out
    assert (study / "out/methods.md").read_text().strip() == expected.methods_text().strip()
    assert len(pd.read_csv(study / "out/survival.csv")) == len(expected.table())
    status, _, err = run("survival", *_options(study, *TIMED))
    assert (status, "--overwrite" in err) == (2, True)


def test_survival_by_a_label_as_json(study: Path, run: Run) -> None:
    status, out, _ = run(
        "survival", *_options(study, *TIMED, "--by", "grade", "--horizons", "200,400", "--json")
    )
    assert status == 0
    result = json.loads(out)
    assert [g["label"] for g in result["km_groups"]] == ["high", "low"]
    assert [a["horizon"] for a in result["auc"]] == [200.0, 400.0]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--duration", "day", "--event", "dead"), ("'day'", "did you mean 'days'")),
        (("--duration", "days", "--event", "status"), ("'status'", "--event-value")),
        (
            ("--duration", "days", "--event", "status", "--event-value", "tumour"),
            ("'other'", "--competing censor"),
        ),
        (("--duration", "days", "--event", "status", "--event-value", "cancer"), ("'cancer'", "'tumour'")),
        (("--duration", "grade", "--event", "dead"), ("'grade'", "not a number")),
        (("--duration", "days", "--event", "dead", "--by", "age"), ("'age'", "2 to 8 groups")),
        (("--duration", "days", "--event", "dead", "--adjust", "days"), ("'days'", "outcome itself")),
        (("--duration", "days", "--event", "dead", "--adjust", "flat"), ("'flat'", "single value")),
        (("--duration", "days", "--event", "dead", "--horizons", "soon"), ("'soon'", "365,730")),
        (("--duration", "days", "--event", "dead", "--horizons", "99999"), ("99999", "follow-up")),
        (("--duration", "days", "--event", "dead", "--penalty", "-1"), ("--penalty", "-1")),
    ],
)
def test_options_of_survival(study: Path, run: Run, options: tuple[str, ...], says: tuple[str, ...]) -> None:
    status, out, err = run("survival", *_options(study, *options, "--quiet"))
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("flexict survival: error: ")
    for word in says:
        assert word in err
    assert not (study / "out").exists()


@pytest.mark.parametrize(
    ("column", "value", "says"), [("days", 0, ("'days'", "above 0")), ("dead", 2, ("'2'", "0 and 1"))]
)
def test_times_and_events_that_cannot_be(
    study: Path, run: Run, column: str, value: int, says: tuple[str, ...]
) -> None:
    _edit(study, column, 7, value)
    status, _, err = run("survival", *_options(study, *TIMED, "--quiet"))
    assert (status, err.count("\n")) == (2, 1)
    assert all(word in err for word in says)


def test_competing_events_censored_on_purpose(study: Path, run: Run) -> None:
    more = ("--duration", "days", "--event", "status", "--event-value", "tumour", "--competing", "censor")
    assert run("survival", *_options(study, *more, "--permutations", 99, "--quiet"))[0] == 0
    written = json.loads((study / "out/survival.json").read_text())
    assert any("cause-specific" in w for w in written["warnings"])


def test_probe_writes_what_python_gives(study: Path, run: Run) -> None:
    more = ("--target", "grade", "--protocol", "published", "--repeats", 2, "--permutations", 0, "--seed", 4)
    status, out, _ = run("probe", *_options(study, *more))
    assert status == 0
    cohort = load_cohort(study / "store", None, study / "clinical.csv", id_column="pid")
    expected = probe(cohort, "grade", protocol="published", repeats=2, permutations=0, seed=4)
    written = json.loads((study / "out/probe.json").read_text())
    assert written == json.loads(json.dumps(expected.to_dict()))
    assert {"task", "protocol", "metrics", "per_class", "folds", "chosen_hyperparameters"} <= set(written)
    assert set(written["metrics"]["macro_auc"]) >= {"mean", "ci"}
    assert expected.summary() in out
    assert "flatters" in out
    assert len(pd.read_csv(study / "out/probe.csv")) == len(expected.table())
    status, _, err = run("probe", *_options(study, "--target", "grade"))
    assert (status, "--overwrite" in err) == (2, True)


@pytest.mark.parametrize(
    ("options", "metric"),
    [
        (("--target", "level", "--task", "ordinal", "--order", "1,2,3"), "quadratic_kappa"),
        (("--target", "volume", "--task", "regress"), "r2"),
        (("--target", "days", "--task", "survival", "--event", "dead"), "c_index"),
        (("--target", "grade", "--learner", "knn"), "macro_pr_auc"),
    ],
)
def test_probe_of_every_task(study: Path, run: Run, options: tuple[str, ...], metric: str) -> None:
    more = (*options, "--repeats", 1, "--permutations", 0, "--json")
    status, out, _ = run("probe", *_options(study, *more))
    assert status == 0
    assert metric in json.loads(out)["metrics"]


def test_probe_compares_embeddings(study: Path, run: Run) -> None:
    call = ("import", "--vectors", study / "v.csv", "--id", "pid", "--columns", "b,c", "--name", "less")
    assert run(*call, "--store", study / "store", "--quiet")[0] == 0
    more = (
        "--embedding",
        "net",
        "--embedding",
        "less",
        "--target",
        "volume",
        "--task",
        "regress",
        "--repeats",
        2,
    )
    status, out, _ = run("probe", *_options(study, *more, "--json"))
    assert status == 0
    (gap,) = json.loads(out)["differences"]
    assert gap["difference"] > 0.3
    assert gap["p_holm"] < 0.05


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--target", "grad"), ("'grad'", "did you mean 'grade'")),
        (("--target", "flat"), ("one class only", "same: 60")),
        (("--target", "rare"), ("'rare'", "smaller than the 5 folds", "r: 2")),
        (("--target", "volume"), ("'volume'", "--task regress")),
        (("--target", "grade", "--task", "regress"), ("'grade'", "not a number")),
        (("--target", "level", "--task", "ordinal"), ("--order",)),
        (("--target", "level", "--task", "ordinal", "--order", "1,2"), ("'3'", "--order")),
        (("--target", "days", "--task", "survival"), ("--event",)),
        (("--target", "days", "--task", "survival", "--event", "status"), ("'status'", "--event-value")),
        (
            ("--target", "level", "--task", "ordinal", "--order", "1,2,3", "--protocol", "published"),
            ("published",),
        ),
        (("--target", "grade", "--learner", "tree"), ("'tree'", "linear")),
        (("--target", "grade", "--embedding", "net", "--embedding", "net"), ("twice",)),
    ],
)
def test_options_of_probe(study: Path, run: Run, options: tuple[str, ...], says: tuple[str, ...]) -> None:
    status, out, err = run("probe", *_options(study, *options, "--quiet"))
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("flexict probe: error: ")
    for word in says:
        assert word in err
    assert not (study / "out").exists()
