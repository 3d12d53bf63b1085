"""Every page of the dashboard, run by Streamlit's AppTest: a full store, vectors without images, an empty store."""

from __future__ import annotations

import io
import json
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from app.state import pack_selection
from flexict_core.errors import FigureExportError
from flexict_core.store import EmbeddingStore, import_vectors

ROUTER = Path(__file__).parents[2] / "app" / "streamlit_app.py"
PAGES = (
    "cohort", "map", "case", "retrieval", "stage_gradient", "trajectory", "probes", "survival", "audit", "export",
)  # fmt: skip
Opener = Callable[..., AppTest]


@pytest.fixture
def open_page(planted_store: Any, monkeypatch: pytest.MonkeyPatch) -> Opener:
    """A function that opens a page of a store (the planted one unless told) with query parameters."""

    def opener(page: str, *, store: Path = planted_store.store, **query: Any) -> AppTest:
        for name, value in (
            ("STORE", store),
            ("CLINICAL", planted_store.clinical),
            ("ID", "patient_id"),
            ("STAGE", "stage"),
            ("ORDER", planted_store.order),
        ):
            monkeypatch.setenv(f"FLEXICT_APP_{name}", str(value))
        at = AppTest.from_file(str(ROUTER), default_timeout=60)
        at.query_params.update(query)
        at.run()
        if page != "cohort":
            at.switch_page(f"app_pages/{page}.py")
            at.query_params.update(query)
            at.run()
        return at

    return opener


@pytest.fixture
def vectors_only(planted_store: Any, tmp_path: Path) -> Path:
    """A store of imported vectors: no images, not synthetic."""
    held = EmbeddingStore(planted_store.store).read("planted")
    table = pd.DataFrame(held.X, columns=[f"f{i}" for i in range(6)]).astype(str)
    table.insert(0, "patient_id", held.rows["patient_id"])
    store = EmbeddingStore.create(tmp_path / "vectors")
    import_vectors(
        store, table, id_column="patient_id", name="elsewhere", source_sha256="0" * 64, licence="CC0"
    )
    return store.path


def words(at: AppTest) -> str:
    """All text of a page, as its elements hold it (Markdown unescaped)."""
    kinds = (
        "title",
        "header",
        "subheader",
        "markdown",
        "caption",
        "info",
        "warning",
        "error",
        "code",
        "metric",
    )
    parts = [f"{getattr(e, 'label', '')} {e.value}" for kind in kinds for e in at.get(kind)]
    return "\n".join(parts).replace("\\", "")


def no_trouble(at: AppTest) -> AppTest:
    assert not at.exception, [e.value for e in at.exception]
    assert not at.error, [e.value for e in at.error]
    return at


@pytest.mark.parametrize("page", PAGES)
def test_every_page_opens_and_says_what_it_shows(page: str, open_page: Opener) -> None:
    text = words(no_trouble(open_page(page)))
    assert "planted" in text  # the encoder
    assert "Apache-2.0" in text
    assert "SYNTHETIC" in text
    assert "Research use only" in text


@pytest.mark.parametrize("page", PAGES)
def test_every_page_lives_without_images(page: str, open_page: Opener, vectors_only: Path) -> None:
    text = words(no_trouble(open_page(page, store=vectors_only)))
    assert "SYNTHETIC" not in text
    assert "CC0" in text
    if page == "case":
        assert "these vectors were imported" in text
        assert "cosine" in text  # neighbours are found without images


@pytest.mark.parametrize("page", PAGES)
def test_every_page_of_an_empty_store_says_what_to_do(page: str, open_page: Opener, tmp_path: Path) -> None:
    at = open_page(page, store=EmbeddingStore.create(tmp_path / "empty").path)
    assert not at.exception
    text = words(at)
    assert "Research use only" in text
    if page == "export":
        assert "Nothing to export yet" in text
    else:
        assert "flexict embed" in text
    if page == "cohort":
        assert len(at.dataframe[0].value) == 48  # the clinical table is there all the same


def test_a_missing_store_is_one_designed_message(open_page: Opener, tmp_path: Path) -> None:
    at = open_page("cohort", store=tmp_path / "nowhere")
    assert not at.exception
    assert len(at.error) == 1
    assert "does not exist" in at.error[0].value


def test_the_cohort_page_counts_as_the_tables_do(open_page: Opener) -> None:
    at = open_page("cohort")
    shown = {m.label: m.value for m in at.metric}
    assert shown == {
        "Patients": "48",
        "Series or regions": "48",
        "Dimensions": "6",
        "Patients left out": "0",
        "Rows in quarantine": "0",
    }


def test_a_filter_in_the_url_holds_on_every_page(open_page: Opener, planted_store: Any) -> None:
    scanner = pd.read_csv(planted_store.clinical)["scanner"]
    kept = int((scanner == "S1").sum())
    assert 0 < kept < 48
    for page in ("cohort", "map", "case", "stage_gradient"):
        assert f"{kept} of 48 patients" in words(no_trouble(open_page(page, where=["scanner=S1"])))


def test_the_case_of_the_url_is_shown_with_its_clinical_row(open_page: Opener, planted_store: Any) -> None:
    row = pd.read_csv(planted_store.clinical).set_index("patient_id").loc["P-030"]
    at = no_trouble(open_page("case", case="P-030"))
    assert at.selectbox(key="view-case").value == "P-030"
    assert f"**{row['diameter_mm']:g}**" in words(at)
    assert at.select_slider(key="ct-axial").value == 8  # z = 24 mm at 3 mm a slice


def test_neighbours_are_those_of_a_naive_search_and_open(open_page: Opener, planted_store: Any) -> None:
    held = EmbeddingStore(planted_store.store).read("planted")
    Z = (held.X - held.X.mean(axis=0)) / held.X.std(axis=0)
    Z /= np.linalg.norm(Z, axis=1, keepdims=True)
    ids = held.rows["patient_id"].to_numpy()
    cosine = Z @ Z[ids == "P-030"][0]
    naive = [str(i) for i in ids[np.argsort(-cosine)] if i != "P-030"][:5]
    at = open_page("case", case="P-030")
    assert [b.key.removeprefix("open-") for b in at.button if b.key.startswith("open-")] == naive
    at.button(key=f"open-{naive[0]}").click().run()
    assert at.selectbox(key="view-case").value == naive[0]


def test_the_window_changes_the_planes_and_the_neighbours_pictures(open_page: Opener) -> None:
    def pictures(at: AppTest) -> list[str]:
        (canvas,) = at.get("bidi_component")
        return [p["src"] for p in json.loads(canvas.proto.json)["planes"]] + [
            image.value[0] for image in at.image
        ]

    at = open_page("case", case="P-030")
    before = pictures(at)
    assert len(before) == 3 + 6  # three planes; this case and five neighbours
    at.segmented_control(key="view-window").set_value("Lung").run()
    assert all(old != new for old, new in zip(before, pictures(at), strict=True))
    assert "Window level -600 HU, width 1500 HU" in words(at)


def test_text_from_data_stays_text(open_page: Opener) -> None:
    at = open_page("case", case="P-001")
    texts = [m.value for m in at.markdown if "script" in m.value]
    assert texts
    assert not any(re.search(r"(?<!\\)<script", t) for t in texts)  # each bracket is escaped
    assert not any(m.allow_html for m in at.markdown)


def test_an_image_outside_the_manifests_folder_is_not_shown(
    open_page: Opener, planted_store: Any, tmp_path: Path
) -> None:
    secret = tmp_path / "secret.nii.gz"
    shutil.copy(planted_store.images / "P-000.nii.gz", secret)
    store = EmbeddingStore.create(tmp_path / "store")
    (tmp_path / "root").mkdir()
    with store.writer({"encoder": "planted"}, dim=2, name="paths") as writer:
        writer.add(
            {
                "patient_id": f"P-{i:03d}",
                "root": str(tmp_path / "root"),
                "image": image,
                "embedding": [i, 1.0],
            }
            for i, image in enumerate(("../secret.nii.gz", str(secret), "gone.nii.gz"))
        )
    for patient, reason in (("P-000", "outside"), ("P-001", "outside"), ("P-002", "not there")):
        at = open_page("case", store=store.path, case=patient)
        assert not at.exception
        assert any(reason in i.value for i in at.info)
        assert not at.image


def test_the_gradient_page_says_what_the_analysis_says(open_page: Opener, planted_store: Any) -> None:
    from analysis import load_cohort, stage_gradient

    at = no_trouble(open_page("stage_gradient", adjust=["diameter_mm"]))
    assert "Press Run" in words(at)
    at.button(key="run").click().run()
    text = words(no_trouble(at))
    cohort = load_cohort(planted_store.store, None, planted_store.clinical, id_column="patient_id")
    expected = stage_gradient(cohort, "stage", order="I,II,III,IV", adjust=["diameter_mm"])
    assert expected.verdict[1:] in text
    assert f"{expected.trend.concordance:.3f}" in text
    assert expected.adjusters is not None
    assert f"{expected.adjusters.baseline_concordance:.3f}" in text
    assert expected.methods_text().strip() in [c.value for c in at.code]
    at.switch_page("app_pages/export.py").run()
    assert "Stage gradient of stage" in words(at)


def test_a_wrong_order_is_explained_beside_the_field(open_page: Opener) -> None:
    at = open_page("stage_gradient")
    at.text_input(key="view-order").set_value("I,II").run()
    assert not at.exception
    assert len(at.error) == 1
    assert "'III' (12)" in at.error[0].value.replace("\\", "")
    assert at.button(key="run").disabled


def test_another_stage_column_brings_its_own_order_and_takes_the_verdict_away(open_page: Opener) -> None:
    at = open_page("stage_gradient", run="1")
    assert "permutation test" in words(no_trouble(at))
    at.selectbox(key="view-stage").set_value("scanner").run()
    assert at.text_input(key="view-order").value == "S1,S2"
    assert "Press Run" in words(no_trouble(at))
    assert at.query_params["stage"] == "scanner"
    assert "run" not in at.query_params
    assert "group" not in at.query_params
    at.selectbox(key="view-stage").set_value("stage").run()
    assert at.text_input(key="view-order").value == "I,II,III,IV"


def test_a_selection_in_the_url_is_carried_to_every_page(open_page: Opener) -> None:
    everyone = [f"P-{i:03d}" for i in range(48)]
    selected = pack_selection(everyone, ["P-003", "P-007"])
    for page in PAGES:
        assert "2 selected" in words(no_trouble(open_page(page, selected=selected)))
    assert "2 of 48 patients selected" in words(open_page("map", selected=selected))
    case = open_page("case", selected=selected)
    case.toggle(key="case-only-selected").set_value(True).run()
    assert case.selectbox(key="view-case").options == ["P-003", "P-007"]
    cohort = open_page("cohort", selected=selected)
    cohort.toggle(key="cohort-only-selected").set_value(True).run()
    assert cohort.dataframe[0].value["patient_id"].tolist() == ["P-003", "P-007"]
    cohort.button(key="clear").click().run()
    assert "No patients selected" in words(cohort)


def test_an_error_of_our_own_is_a_message_and_not_a_stack_trace(
    open_page: Opener, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from app import loaders

    def broken(*_: Any) -> None:
        raise ZeroDivisionError("a secret of ours")

    monkeypatch.setattr(loaders, "projection", broken)
    at = open_page("map")
    assert not at.exception
    assert [e.value for e in at.error] == ["This page met an error of its own."]
    assert "secret" not in words(at)
    assert "a secret of ours" in caplog.text  # it is in the log


def test_without_a_browser_the_page_says_so_and_offers_the_rest(
    open_page: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.components import export_button

    monkeypatch.setattr(export_button, "why_no_figures", lambda: "No Chrome or Chromium here")
    at = no_trouble(open_page("map"))
    assert "No Chrome or Chromium here" in words(at)
    assert at.download_button(key="map-pdf").disabled
    assert not at.download_button(key="map-zip").disabled


def test_the_archive_holds_all_but_the_figures_without_a_browser(
    planted_store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from analysis import load_cohort, project
    from analysis.figure_browser import FigureBrowser
    from analysis.plots.projection import projection_map
    from app.components.export_button import archive
    from app.drawings import Drawing
    from app.exhibits import Exhibit

    def absent(_: FigureBrowser) -> None:
        raise FigureExportError("no browser: install one")

    monkeypatch.setattr(FigureBrowser, "__enter__", absent)
    cohort = load_cohort(planted_store.store, None, planted_store.clinical, id_column="patient_id")
    result = project(cohort, method="pca")
    packed = archive(
        [Exhibit("A map", result, {"map": Drawing("map", lambda: projection_map(result), result.table)})],
        width="single",
    )
    with zipfile.ZipFile(io.BytesIO(packed)) as files:
        names = set(files.namelist())
        reason = files.read("figures-missing.txt").decode()
    assert {"a-map/project.json", "a-map/project.csv", "a-map/methods.md", "a-map/map.csv"} <= names
    assert not any(name.endswith((".pdf", ".svg", ".png")) for name in names)
    assert "no browser: install one" in reason
