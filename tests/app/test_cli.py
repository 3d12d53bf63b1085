"""The command line on vectors with a planted gradient: files, exit status, JSON, and the same numbers as Python."""

from __future__ import annotations

import json
import os
import re
import resource
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis import load_cohort, project, retrieval_metrics, search, stage_gradient
from app import serving
from app.cli import main
from app.runs import by_stem
from flexict_core.store import EmbeddingStore

N = 60
Call = Callable[..., tuple[int, str, str]]
TOP_KEYS = {"schema_version", "command", "verdict", "n", "warnings", "provenance"}


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Run a command in this process: exit status, stdout, stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        return main([str(a) for a in arguments]), *capsys.readouterr()

    return run


@pytest.fixture
def study(tmp_path: Path, call: Call) -> Path:
    """Two embeddings of 60 patients: `deep` follows the stage beyond size, `shape` is size alone."""
    rng = np.random.default_rng(11)
    stage = np.repeat([0, 1, 2, 3], N // 4)
    size = 20 + 4 * stage + rng.normal(0, 6, N)
    deep = rng.normal(size=(N, 6))
    deep[:, 0] += 2.5 * stage
    ids = [f"{i:03d}" for i in range(N)]
    pd.DataFrame(deep, columns=[f"d{i}" for i in range(6)]).assign(pid=ids).to_csv(
        tmp_path / "deep.csv", index=False
    )
    pd.DataFrame({"pid": ids, "size_mm": size, "noise": rng.normal(size=N)}).to_csv(
        tmp_path / "shape.csv", index=False
    )
    labels = np.array(["I", "II", "III", "IV"])[stage]
    scanner = np.where(rng.random(N) < 0.5, "S1", "S2")
    table = pd.DataFrame({"pid": ids, "stage": labels, "diameter": size.round(2), "scanner": scanner})
    table.to_csv(tmp_path / "clinical.csv", index=False)
    for name in ("deep", "shape"):
        file = tmp_path / f"{name}.csv"
        status, _, _ = call(
            "import", "--vectors", file, "--id", "pid", "--name", name, "--store", tmp_path / "store"
        )
        assert status == 0
    return tmp_path


def _options(study: Path, out: str, *more: object, embedding: str | None = "deep") -> list[object]:
    common = [
        "--store",
        study / "store",
        "--clinical",
        study / "clinical.csv",
        "--id",
        "pid",
        "--out",
        study / out,
    ]
    chosen = [] if embedding is None else ["--embedding", embedding]
    return [*common, *chosen, "--no-figures", *more]


STAGED = ("--stage", "stage", "--order", "I,II,III,IV", "--permutations", "199")


def test_gradient_writes_what_python_gives(study: Path, call: Call) -> None:
    options = _options(study, "g", *STAGED, "--adjust", "diameter,scanner", "--seed", 3)
    status, out, _ = call("gradient", *options)
    assert status == 0
    cohort = load_cohort(study / "store", "deep", study / "clinical.csv", id_column="pid")
    expected = stage_gradient(
        cohort, "stage", order="I,II,III,IV", adjust=["diameter", "scanner"], permutations=199, seed=3
    )
    written = json.loads((study / "g/gradient.json").read_text())
    assert written == json.loads(json.dumps(expected.to_dict()))
    assert set(written) >= TOP_KEYS | {
        "stages",
        "trend",
        "steps",
        "strict",
        "adjusters",
        "controls",
        "transport",
    }
    assert written["provenance"]["embedding_id"] == cohort.embedding_id
    assert written["adjusters"]["verdict"] == "beyond adjusters"
    assert expected.summary() in out
    assert (study / "g/methods.md").read_text().strip() == expected.methods_text().strip()
    assert len(pd.read_csv(study / "g/gradient.csv")) == len(expected.table())
    assert f"wrote {study}/g/gradient.{{json,csv}}" in out


def test_merged_stages_and_named_dimensions(study: Path, call: Call) -> None:
    order = ("--stage", "stage", "--order", "I+II,III,IV", "--permutations", "99")
    status, _, _ = call("gradient", *_options(study, "g", *order, "--adjust", "shape:size_mm"))
    assert status == 0
    written = json.loads((study / "g/gradient.json").read_text())
    assert [(s["label"], s["n"]) for s in written["stages"]] == [("I+II", 30), ("III", 15), ("IV", 15)]
    assert written["adjusters"]["columns"] == ["shape:size_mm"]
    status, _, _ = call(
        "gradient", *_options(study, "h", *STAGED, "--adjust", "feature:size_mm", embedding="shape")
    )
    assert status == 0
    explained = json.loads((study / "h/gradient.json").read_text())["adjusters"]
    assert explained["columns"] == ["feature:size_mm"]
    assert explained["verdict"] != "beyond adjusters"  # size cannot carry stage beyond itself


def test_json_is_the_file_and_quiet_is_silent(study: Path, call: Call) -> None:
    status, out, _ = call("gradient", *_options(study, "g", *STAGED, "--json"))
    assert status == 0
    assert json.loads(out) == json.loads((study / "g/gradient.json").read_text())
    status, out, err = call("gradient", *_options(study, "q", *STAGED, "--quiet"))
    assert (status, out, err) == (0, "", "")
    assert (study / "q/gradient.json").is_file()


def test_overwrite_replaces_an_earlier_run(study: Path, call: Call) -> None:
    options = _options(study, "g", *STAGED)
    assert call("gradient", *options)[0] == 0
    status, _, err = call("gradient", *options)
    assert (status, err.count("\n")) == (2, 1)
    before = (study / "g/gradient.json").read_bytes()
    assert call("gradient", *options, "--overwrite", "--seed", "9")[0] == 0
    after = (study / "g/gradient.json").read_bytes()
    assert json.loads(before)["provenance"]["seed"] == 0
    assert json.loads(after)["provenance"]["seed"] == 9


def test_the_only_embedding_need_not_be_named(study: Path, call: Call) -> None:
    status, _, err = call("gradient", *_options(study, "g", *STAGED, embedding=None))
    assert status == 2
    assert "'deep', 'shape'" in err
    assert "--embedding" in err
    alone = study / "alone"
    call("import", "--vectors", study / "deep.csv", "--id", "pid", "--name", "one", "--store", alone)
    options = ["--store", alone, *_options(study, "g", *STAGED, embedding=None)[2:]]
    assert call("gradient", *options)[0] == 0


def test_project_writes_the_picture_of_python(study: Path, call: Call) -> None:
    more = ("--method", "pca", "--colour", "stage", "--order", "I+II,III+IV")
    assert call("project", *_options(study, "p", *more))[0] == 0
    cohort = load_cohort(study / "store", "deep", study / "clinical.csv", id_column="pid")
    expected = project(cohort, method="pca")
    table = pd.read_csv(study / "p/project.csv", dtype={"patient_id": str})
    np.testing.assert_allclose(table[["x", "y"]].to_numpy(), expected.coordinates)
    assert table["patient_id"].tolist() == [f"{i:03d}" for i in range(N)]
    written = json.loads((study / "p/project.json").read_text())
    assert written["trustworthiness"] == pytest.approx(expected.trustworthiness)
    assert call("project", *_options(study, "p2", "--order", "I,II"))[0] == 2


def test_retrieve_measures_lists_and_fuses(study: Path, call: Call) -> None:
    cohorts = [
        load_cohort(study / "store", e, study / "clinical.csv", id_column="pid") for e in ("deep", "shape")
    ]
    more = ("--label", "stage", "--query", "007", "--k", 4, "--protocol", "published", "--seed", 42)
    assert call("retrieve", *_options(study, "r", *more))[0] == 0
    written = json.loads((study / "r/retrieve.json").read_text())
    expected = retrieval_metrics(cohorts[0], "stage", protocol="published", seed=42)
    assert written["metrics"]["mAP"]["mean"] == pytest.approx(expected.metrics["mAP"].mean)
    assert set(written["metrics"]) >= {"recall@1", "recall@3", "recall@5", "recall@10", "precision@1", "mAP"}
    nearest = search(cohorts[0], "007", k=4).neighbours["patient_id"].tolist()
    assert [n["patient_id"] for n in written["neighbours"]] == nearest
    both = _options(study, "f", "--embedding", "shape", "--query", "007", "--rrf-k", 60)
    assert call("retrieve", *both)[0] == 0
    fused = json.loads((study / "f/retrieve.json").read_text())
    expected_fused = search(cohorts, "007", rrf_k=60).neighbours["patient_id"].tolist()
    assert [n["patient_id"] for n in fused["neighbours"]] == expected_fused


def test_list_and_encoders_as_json(study: Path, call: Call) -> None:
    status, out, err = call("list", "--store", study / "store", "--json")
    assert (status, err) == (0, "")
    entries = json.loads(out)
    keys = ["embedding_id", "name", "encoder", "recipe", "pooling", "dim", "rows", "synthetic"]
    assert [list(e) for e in entries] == [keys, keys]
    assert [(e["name"], e["dim"], e["rows"], e["synthetic"]) for e in entries] == [
        ("deep", 6, N, False),
        ("shape", 2, N, False),
    ]
    status, out, _ = call("list", "--store", study / "store")
    assert out.splitlines()[0].split() == keys
    status, out, _ = call("encoders", "--json")
    assert {"baseline", "flexict-3d", "random-3d"} <= {e["name"] for e in json.loads(out)}
    assert all(e["licence"] and e["weights"] for e in json.loads(out))


def test_import_again_adds_nothing(study: Path, call: Call) -> None:
    options = ("--id", "pid", "--name", "deep", "--store", study / "store", "--json")
    status, out, _ = call("import", "--vectors", study / "deep.csv", *options)
    report = json.loads(out)
    assert (status, report["rows"], report["skipped"]) == (0, 0, N)
    assert EmbeddingStore(study / "store").read("deep").X.shape == (N, 6)


def test_import_rewrites_ids(study: Path, call: Call) -> None:
    (study / "v.csv").write_text("case,f1,f2\ncase_01,1,2\ncase_02,3,5\n")
    options = ("--id", "case", "--name", "k", "--store", study / "k", "--id-replace", "case_=KiTS-")
    assert call("import", "--vectors", study / "v.csv", *options)[0] == 0
    assert EmbeddingStore(study / "k").read("k").rows["patient_id"].tolist() == ["KiTS-01", "KiTS-02"]


def test_without_a_browser_all_else_is_written(
    study: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    import analysis.figure_browser
    from flexict_core.errors import FigureExportError

    def no_browser(_: object) -> None:
        raise FigureExportError("no Chrome or Chromium could draw the figure: install Chromium")

    monkeypatch.setattr(analysis.figure_browser.FigureBrowser, "__enter__", no_browser)
    options = [o for o in _options(study, "g", *STAGED) if o != "--no-figures"]
    status, _, err = call("gradient", *options)
    assert status == 0
    assert err.count("install Chromium") == 1
    names = {p.name for p in (study / "g").iterdir()}
    assert names >= {
        "gradient.json",
        "gradient.csv",
        "methods.md",
        "gradient_scores.csv",
        "gradient_scores.md",
    }
    assert not any(n.endswith((".pdf", ".svg", ".png")) for n in names)


@pytest.mark.browser
def test_figures_are_written(study: Path, call: Call, chromium: str) -> None:
    options = [o for o in _options(study, "g", *STAGED) if o != "--no-figures"]
    (study / "g").mkdir()
    (study / "g/gradient_scores.tiff").write_text("of an earlier run")
    status, out, _ = call("gradient", *options)
    assert status == 0
    assert f"wrote {study}/g/gradient_scores.{{csv,json,md,pdf,png,svg}}" in out
    assert (study / "g/gradient_scores.pdf").read_bytes().startswith(b"%PDF")
    assert not (study / "g/gradient_scores.tiff").exists()


def test_interrupted_before_a_command_is_at_work(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    import typer.main

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(typer.main, "get_group", interrupt)
    status, out, err = call("list", "--store", "x")
    assert (status, out, err) == (130, "", "flexict list: error: interrupted\n")


def test_interrupted(study: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    import app.commands.analyse

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(app.commands.analyse, "run_gradient", interrupt)
    status, out, err = call("gradient", *_options(study, "g", *STAGED))
    assert (status, out) == (130, "")
    assert err == "flexict gradient: error: interrupted\n"


def test_a_fault_of_the_program_is_status_one(
    study: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    import app.commands.analyse

    def break_down(*_: object, **__: object) -> None:
        raise KeyError("surprise")

    monkeypatch.setattr(app.commands.analyse, "run_gradient", break_down)
    monkeypatch.delenv("FLEXICT_DEBUG", raising=False)
    status, _, err = call("gradient", *_options(study, "g", *STAGED))
    assert status == 1
    assert err.count("\n") == 1
    assert "KeyError" in err
    assert "FLEXICT_DEBUG=1" in err


def test_by_stem_groups_the_formats_of_a_figure() -> None:
    paths = [Path("o/a.json"), Path("o/a.csv"), Path("o/methods.md")]
    assert by_stem(paths) == ["o/a.{json,csv}", "o/methods.md"]


def _spent() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_help_takes_less_than_half_a_second_and_imports_nothing_heavy() -> None:
    program = Path(sys.executable).with_name("flexict")
    before = _spent()
    shown = subprocess.run([program, "--help"], capture_output=True, text=True, check=True).stdout
    assert _spent() - before < 0.5  # seconds of CPU, so that a busy machine does not matter
    assert re.findall(r"^  (\w+) ", shown.split("Commands:")[1], re.M) == [
        *("scan", "pseudonymise", "fetch", "embed", "import", "list", "encoders"),
        *("gradient", "project", "retrieve", "audit", "probe", "survival", "report", "export", "app", "demo"),
    ]
    heavy = (
        "import sys, app.cli; print([m for m in ('numpy', 'pandas', 'torch', 'plotly') if m in sys.modules])"
    )
    assert (
        subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True).stdout
        == "[]\n"
    )


def _served(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Catch what `flexict app` would become."""
    caught: dict[str, Any] = {}

    def instead(path: str, command: list[str], environment: dict[str, str]) -> None:
        caught.update(path=path, command=command, environment=environment)
        raise SystemExit(0)

    monkeypatch.setattr(serving.os, "execve", instead)
    return caught


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_app_hands_over_and_stays_on_this_machine(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    caught, port = _served(monkeypatch), _free_port()
    monkeypatch.chdir(study)
    given = ["--store", "store", "--clinical", "clinical.csv", "--id", "pid", "--port", str(port)]
    with pytest.raises(SystemExit):
        main(["app", *given, "--stage", "stage", "--order", "I,II", "--results", "."])
    passed = {k: v for k, v in caught["environment"].items() if k.startswith("FLEXICT_APP_")}
    assert passed == {
        "FLEXICT_APP_STORE": str(study / "store"),
        "FLEXICT_APP_CLINICAL": str(study / "clinical.csv"),
        "FLEXICT_APP_ID": "pid",
        "FLEXICT_APP_STAGE": "stage",
        "FLEXICT_APP_ORDER": "I,II",
        "FLEXICT_APP_RESULTS": str(study),
    }
    command = caught["command"]
    assert command[command.index("--server.address") + 1] == "127.0.0.1"
    assert command[command.index("--server.port") + 1] == str(port)


def test_app_warns_before_it_listens_to_others(
    study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    caught = _served(monkeypatch)
    given = ["--store", str(study / "store"), "--clinical", str(study / "clinical.csv"), "--id", "pid"]
    with pytest.raises(SystemExit):
        main(["app", *given, "--address", "0.0.0.0", "--port", str(_free_port())])
    assert caught["command"][caught["command"].index("--server.address") + 1] == "0.0.0.0"
    assert "without a password" in capsys.readouterr().err


def test_app_refuses_what_it_cannot_serve(study: Path, call: Call) -> None:
    given = ["app", "--store", study / "store", "--clinical", study / "clinical.csv"]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        status, _, err = call(*given, "--id", "pid", "--port", port)
        assert status == 2
        assert f"port {port} on 127.0.0.1 is taken" in err
        assert "--port" in err
    for options, says in (
        (("--id", "pidd"), "did you mean 'pid'"),
        (("--id", "pid", "--stage", "stge"), "did you mean 'stage'"),
        (("--id", "pid", "--order", "I"), "two or more"),
    ):
        status, _, err = call(*given, *options, "--port", _free_port())
        assert (status, err.count("\n")) == (2, 1)
        assert says in err


def test_embedding_stopped_by_ctrl_c_says_so_and_goes_on(
    tmp_path: Path, call: Call, monkeypatch: Any
) -> None:
    import flexict_core.embed

    (tmp_path / "manifest.csv").write_text("patient_id,image\nA,a.nii.gz\n")

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(flexict_core.embed, "embed_together", interrupt)
    status, _, err = call("embed", "--manifest", tmp_path / "manifest.csv", "--store", tmp_path / "s")
    assert status == 130
    assert err == "flexict embed: error: interrupted; the same command goes on where it stopped\n"
    assert os.path.isdir(tmp_path / "s")


def test_recipes_given_together_make_one_embedding_each(tmp_path: Path, call: Call) -> None:
    import nibabel as nib

    values = np.full((12, 12, 12), -1000, np.int16)
    values[3:9, 3:9, 3:9] = 40
    nib.save(nib.Nifti1Image(values, np.diag([-2.0, -2.0, 2.0, 1.0])), tmp_path / "a.nii.gz")
    nib.save(
        nib.Nifti1Image((values == 40).astype(np.uint8), np.diag([-2.0, -2.0, 2.0, 1.0])),
        tmp_path / "m.nii.gz",
    )
    (tmp_path / "manifest.csv").write_text("patient_id,image,mask\nA,a.nii.gz,m.nii.gz\n")
    given = (
        "embed",
        "--manifest",
        tmp_path / "manifest.csv",
        "--store",
        tmp_path / "s",
        "--encoder",
        "random-3d",
    )
    options = (
        "--recipe",
        "default",
        "--recipe",
        "roi_adaptive",
        "--workers",
        "0",
        "--device",
        "cpu",
        "--json",
    )
    status, out, _ = call(*given, *options)
    assert status == 0
    reports = json.loads(out)
    assert [r["embedding_id"].rsplit("-", 1)[0] for r in reports] == [
        "random-3d-default-cls_mean",
        "random-3d-roi_adaptive-cls_mean",
    ]
    assert [(r["done"], r["quarantined"]) for r in reports] == [(1, 0), (1, 0)]
    status, _, err = call(*given, "--recipe", "default", "--recipe", "default")
    assert status == 2
    assert "give each recipe once" in err
