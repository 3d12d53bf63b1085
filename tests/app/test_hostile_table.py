"""A clinical table made to do harm: it harms no page, and what it says stays text."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from flexict_core.store import EmbeddingStore
from tests.serving.server import Server, served
from tests.serving.session import Session

ROUTER = Path(__file__).parents[2] / "app" / "streamlit_app.py"
PEOPLE = [
    "=cmd|'/c calc'!A1",
    "<script>alert(1)</script>",
    "\u202egnp.exe",
    "P\u200b1",
    "@SUM(A1)",
    "+1",
    "-2",
]
PEOPLE += [f"P{i}" for i in range(9)]
COLUMNS = 10_000


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    made = EmbeddingStore.create(tmp_path_factory.mktemp("hostile") / "store")
    with made.writer({"encoder": "odd", "licence": "CC0"}, dim=4, name="odd") as writer:
        writer.add({"patient_id": p, "embedding": rng.standard_normal(4).astype(np.float32)} for p in PEOPLE)
    return made.path


@pytest.fixture(scope="module")
def clinical(store: Path) -> Path:
    """10,000 columns, the stage in the last; names and values that are formulas, markup, or a megabyte long."""
    n = len(PEOPLE)
    told = {
        "pid": PEOPLE,
        "=HYPERLINK(A1)": ["=1+1", "@x", "+2", "-3"] * (n // 4),
        "<img src=x onerror=alert(1)>": ["</script>", "<b>bold</b>"] * (n // 2),
        "\u202ereversed": ["\u202eabc", "\u200bx"] * (n // 2),
        "large": ["x" * 1_000_000] * 2 + ["y"] * (n - 2),
        "h" * 100_000: ["a", "b"] * (n // 2),
    }
    rng = np.random.default_rng(1)
    more = {
        f"c{i}": rng.choice(["a", "b"], n) if i % 2 else rng.random(n).round(3) for i in range(COLUMNS - 7)
    }
    path = store.parent / "clinical.csv"
    pd.DataFrame({**told, **more, "stage": ["I", "II"] * (n // 2)}).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def server(store: Path, clinical: Path) -> Iterator[Server]:
    with served(store, clinical, id="pid", stage="stage", order="I,II") as running:
        yield running


def test_every_page_is_small_and_without_error(server: Server) -> None:
    with Session(server.url) as reader:
        assert f"{len(PEOPLE)} patients" in reader.words()
        assert "9,999 clinical columns" in reader.words()
        assert len(reader.pages) == 10
        for page in reader.pages:
            reader.go(page)
            assert reader.errors() == [], page
            assert reader.bytes_received < 1_000_000, page
            assert "<script" not in reader.words().replace("\\<", ""), page
            assert "\u202e" not in reader.words(), page
        reader.go("stage_gradient")
        assert reader.widget("view-stage").options[0] == "stage"  # though 9,998 columns stand before it
        assert reader.widget("view-order").value == "I,II"


def test_the_ids_of_the_cohort_are_read_as_they_are_written(server: Server) -> None:
    with Session(server.url, "case", case="<script>alert(1)</script>") as reader:
        assert set(reader.widget("view-case").options) == set(PEOPLE)
        assert reader.errors() == []
        said = reader.words()
    assert "‹U\\+202E›" in said  # a neighbour whose ID would have turned the line round


def test_a_download_opens_in_a_spreadsheet_as_text(clinical: Path) -> None:
    from analysis.export import csv_text

    told = pd.read_csv(clinical, dtype=str, usecols=range(5), keep_default_na=False)
    written = pd.read_csv(io.StringIO(csv_text(told)), dtype=str, header=None, keep_default_na=False)
    cells = [str(cell) for cell in written.to_numpy().ravel()]
    assert "'=cmd|'/c calc'!A1" in cells
    assert not [cell for cell in cells if cell[:1] in tuple("=+-@\t\r")]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"pid,grade\nP0,\xe4\nP1,b\n", "UTF-8"),
        (b"pid,grade,grade\nP0,a,b\nP1,b,a\n", "grade"),
        ("\ufeffpid,grade\nP0,a\nP1,b\n".encode("utf-16"), ""),
    ],
    ids=["latin-1", "one name twice", "UTF-16"],
)
def test_a_file_that_is_no_table_is_told_in_a_line(
    content: bytes, says: str, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = _cohort_page(content, store, tmp_path, monkeypatch)
    assert not at.exception
    (error,) = (e.value for e in at.error)
    assert "clinical.csv" in error.replace("\\", "")
    assert says in error.replace("\\", "").replace("\u2060", "")
    assert "\n" not in error


def test_a_nul_byte_is_a_character_like_others(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = _cohort_page(b"pid,gr\x00ade\nP0,a\nP1,b\n", store, tmp_path, monkeypatch)
    assert not at.exception
    assert not at.error
    assert {m.label: m.value for m in at.metric}["Patients"] == "2"


def _cohort_page(content: bytes, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    (tmp_path / "clinical.csv").write_bytes(content)
    variables: dict[str, Any] = {"STORE": store, "CLINICAL": tmp_path / "clinical.csv", "ID": "pid"}
    for name in ("STORE", "CLINICAL", "ID", "STAGE", "ORDER", "RESULTS", "ID_REPLACE"):
        monkeypatch.setenv(f"FLEXICT_APP_{name}", str(variables.get(name, "")))
    return AppTest.from_file(str(ROUTER), default_timeout=60).run()
