"""Pages in states that hurt: odd IDs, one patient, two readers, a reload, real sarcomas, results of earlier runs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from app.jobs import Shelf
from app.state import pack_selection
from flexict_core.store import EmbeddingStore

ROUTER = Path(__file__).parents[2] / "app" / "streamlit_app.py"
PAGES = (
    "cohort", "map", "case", "retrieval", "stage_gradient", "trajectory", "probes", "survival", "audit", "export",
)  # fmt: skip
Open = Callable[..., AppTest]


@pytest.fixture
def visit(monkeypatch: pytest.MonkeyPatch) -> Open:
    """`visit(page, variables, **query)` opens a page of a dashboard that was started with FLEXICT_APP_* variables."""

    def opener(page: str, variables: dict[str, Any], **query: Any) -> AppTest:
        for name in ("STORE", "CLINICAL", "ID", "STAGE", "ORDER", "RESULTS", "ID_REPLACE"):
            if name in variables:
                monkeypatch.setenv(f"FLEXICT_APP_{name}", str(variables[name]))
            else:
                monkeypatch.delenv(f"FLEXICT_APP_{name}", raising=False)
        at = AppTest.from_file(str(ROUTER), default_timeout=90)
        at.query_params.update(query)
        at.run()
        if page != "cohort":
            at.switch_page(f"app_pages/{page}.py")
            at.query_params.update(query)
            at.run()
        assert not at.exception, [e.value for e in at.exception]
        return at

    return opener


@pytest.fixture
def planted(planted_store: Any) -> dict[str, Any]:
    return {
        "STORE": planted_store.store,
        "CLINICAL": planted_store.clinical,
        "ID": "patient_id",
        "STAGE": "stage",
        "ORDER": planted_store.order,
    }


def words(at: AppTest) -> str:
    kinds = ("subheader", "markdown", "caption", "info", "warning", "error", "success", "code", "metric")
    return "\n".join(str(e.value) for kind in kinds for e in at.get(kind)).replace("\\", "")


def _store(home: Path, ids: list[str], **columns: Any) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    store = EmbeddingStore.create(home / "store")
    with store.writer({"encoder": "odd", "licence": "CC0"}, dim=4, name="odd") as writer:
        writer.add({"patient_id": p, "embedding": rng.standard_normal(4).astype(np.float32)} for p in ids)
    pd.DataFrame({"pid": ids, **columns}).to_csv(home / "clinical.csv", index=False)
    return {"STORE": store.path, "CLINICAL": home / "clinical.csv", "ID": "pid"}


@pytest.mark.parametrize("page", PAGES)
def test_a_patient_id_with_a_script_tag_stays_text(page: str, visit: Open, tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    ids = [evil, *(f"P{i}" for i in range(9))]
    at = visit(
        page, _store(tmp_path, ids, grade=["a", "b"] * 5), selected=pack_selection(ids, [evil, "P1", "P2"])
    )
    assert "3 selected" in words(at)
    for kind in ("markdown", "caption", "info", "warning"):
        for element in at.get(kind):
            assert not re.search(r"(?<!\\)<script", element.value), (kind, element.value)
    assert not any(m.allow_html for m in at.markdown)


@pytest.mark.parametrize("page", PAGES)
def test_one_patient_is_no_fault(page: str, visit: Open, tmp_path: Path) -> None:
    at = visit(page, _store(tmp_path, ["only"], grade=["a"]))
    assert "error of its own" not in words(at)


@pytest.mark.parametrize(
    ("values", "said"), [(["Low", "High"], True), (["II", "III"], False), (["pT2", "pT3"], False)]
)
def test_an_order_that_is_only_the_alphabet_s_is_called_so(
    values: list[str], said: bool, visit: Open, tmp_path: Path
) -> None:
    ids = [f"P{i}" for i in range(12)]
    at = visit("stage_gradient", _store(tmp_path, ids, grade=values * 6))
    assert at.text_input(key="view-order").value == ",".join(sorted(values))
    assert ("By letter so far" in words(at)) is said
    at.text_input(key="view-order").set_value(",".join(sorted(values, reverse=True))).run()
    assert "By letter so far" not in words(at)


def test_two_sessions_do_not_share_their_view(visit: Open, planted: dict[str, Any]) -> None:
    first = visit("map", planted, where=["scanner=S1"])
    second = visit("map", planted)
    first.multiselect(key="view-where").set_value(["stage=IV"]).run()
    second.run()
    assert "12 of 48 patients" in words(first)
    assert "48 patients" in words(second)
    assert second.multiselect(key="view-where").value == []
    assert "where" not in second.query_params


def test_a_reload_finds_the_question_and_its_answer(visit: Open, planted: dict[str, Any]) -> None:
    at = visit("retrieval", planted)
    at.multiselect(key="view-match").set_value(["scanner"])
    at.selectbox(key="view-alike").set_value("stage").run()
    assert "Press Run" in words(at)
    at.button(key="run-retrieval").click().run()
    said = next(m.value for m in at.markdown if m.value.startswith("#### "))
    query = {k: v if len(v) > 1 else v[0] for k, v in dict(at.query_params).items()}
    again = visit("retrieval", planted, **query)
    assert said in [m.value for m in again.markdown]
    assert again.multiselect(key="view-match").value == ["scanner"]
    again.selectbox(key="view-alike").set_value("scanner").run()
    assert "Press Run" in words(again)  # a changed question has no answer yet


def test_a_cancelled_question_is_taken_back(
    visit: Open, planted: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from app import jobs

    def stopped(_: Any) -> None:
        raise jobs.Cancelled

    monkeypatch.setattr("analysis.retrieval_metrics", lambda *_, **__: stopped(0))
    at = visit("retrieval", planted, alike="scanner", run="retrieval")
    assert "Cancelled" in words(at)
    assert "run" not in at.query_params or "retrieval" not in at.query_params["run"]


def test_patients_are_selected_by_value_without_a_mouse(visit: Open, planted: dict[str, Any]) -> None:
    at = visit("map", planted)
    at.selectbox(key="pick-column").set_value("stage").run()
    at.multiselect(key="pick-stage").set_value(["III", "IV"]).run()
    at.button(key="pick").click().run()
    text = words(at)
    assert "24 of 48 patients selected" in text
    assert "Chosen by looking (post hoc)" in text


def test_a_saved_selection_filters_every_page_and_labels_its_results(
    visit: Open, planted: dict[str, Any], tmp_path: Path
) -> None:
    variables = {**planted, "RESULTS": tmp_path / "results"}
    ids = [f"P-{i:03d}" for i in range(48)]
    at = visit("map", variables, selected=pack_selection(ids, ids[::2]))
    at.text_input(key="save-name").set_value("every <b>other</b>").run()
    at.button(key="save").click().run()
    (file,) = (tmp_path / "results" / "selections").glob("*.json")
    assert json.loads(file.read_text("utf-8"))["patients"] == ids[::2]
    at.selectbox(key="view-within").set_value("every <b>other</b>").run()
    assert at.query_params["within"] in ("every <b>other</b>", ["every <b>other</b>"])
    gradient = visit("stage_gradient", variables, within="every <b>other</b>", run="1")
    text = words(gradient)
    assert "24 of 48 patients" in text
    assert text.count("chosen by looking") >= 2  # banner and warnings
    assert "post hoc" in text
    gone = visit("map", variables, within="never saved")
    assert "no saved selection named never saved" in words(gone)
    assert "48 patients" in words(gone)


def test_ids_are_rewritten_as_on_the_command_line(
    visit: Open, planted: dict[str, Any], planted_store: Any, tmp_path: Path
) -> None:
    table = pd.read_csv(planted_store.clinical)
    table["patient_id"] = table["patient_id"].str.replace("P-", "case_")
    table.to_csv(tmp_path / "renamed.csv", index=False)
    at = visit("cohort", {**planted, "CLINICAL": tmp_path / "renamed.csv", "ID_REPLACE": "case_=P-"})
    assert {m.label: m.value for m in at.metric}["Patients"] == "48"


def test_the_map_of_an_earlier_run_is_shown_and_its_files_are_offered(
    visit: Open, planted: dict[str, Any], planted_store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    import analysis
    from analysis.export import export_result

    cohort = analysis.load_cohort(planted_store.store, None, planted_store.clinical, id_column="patient_id")
    drawn = analysis.project(cohort, method="pca")
    moved = replace(drawn, coordinates=drawn.coordinates + 1000.0)
    export_result(moved, tmp_path / "results" / "project", command="project")
    monkeypatch.setattr("analysis.project", lambda *_, **__: pytest.fail("the map was drawn anew"))
    fresh = Shelf()
    monkeypatch.setattr("app.jobs.shelf", lambda: fresh)
    at = visit("map", {**planted, "RESULTS": tmp_path / "results"})
    points = json.loads(at.get("plotly_chart")[0].proto.spec)["data"]
    assert len(points) == 4
    assert not at.error
    export = visit("export", {**planted, "RESULTS": tmp_path / "results"})
    assert "project/project.json" in export.selectbox(key="export-file").options


@pytest.fixture(scope="module")
def sarcomas(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The soft-tissue sarcoma cohort as the weightless baseline sees it."""
    from flexict_core.embed import embed_manifest
    from flexict_core.encoders.registry import load_encoder
    from flexict_core.manifest import read_manifest

    store = EmbeddingStore.create(tmp_path_factory.mktemp("sarcomas") / "store")
    home = shared / "data" / "sts"
    embed_manifest(
        read_manifest(home / "manifest.csv"), store, encoder=load_encoder("baseline"), progress=False
    )
    return {"STORE": store.path, "CLINICAL": home / "clinical.csv", "ID": "patient_id", "STAGE": "grade"}


@pytest.mark.shared_data
@pytest.mark.parametrize("page", PAGES)
def test_every_page_shows_the_sarcomas(page: str, visit: Open, sarcomas: dict[str, Any]) -> None:
    at = visit(page, sarcomas)
    text = words(at)
    assert not at.error, [e.value for e in at.error]
    assert "25 patients" in text
    assert "SYNTHETIC" not in text
