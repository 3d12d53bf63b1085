"""The Survival and Probes pages: settings, run, verdict, figures, exports, and tables without an outcome."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from flexict_core.store import EmbeddingStore, import_vectors

ROUTER = Path(__file__).parents[2] / "app" / "streamlit_app.py"
N = 60


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 patients whose first dimension drives the hazard and the grade."""
    home, rng = tmp_path_factory.mktemp("outcome"), np.random.default_rng(2)
    X = rng.standard_normal((N, 4))
    death, end = rng.exponential(np.exp(-1.5 * X[:, 0])) * 500, rng.exponential(1500, N)
    ids = [f"P{i:02d}" for i in range(N)]
    vectors = pd.DataFrame(X, columns=list("abcd")).astype(str)
    vectors.insert(0, "pid", ids)
    store = EmbeddingStore.create(home / "store")
    import_vectors(store, vectors, id_column="pid", name="net", source_sha256="0" * 64, licence="CC0")
    table = pd.DataFrame(
        {"pid": ids, "survival_days": np.ceil(np.minimum(death, end)), "dead": (death <= end) * 1}
    )
    table["grade"] = np.where(X[:, 0] + rng.normal(0, 0.5, N) > 0, "high", "low")
    table["age"] = rng.normal(60, 8, N).round()
    table.to_csv(home / "clinical.csv", index=False)
    table[["pid", "grade"]].to_csv(home / "no_times.csv", index=False)
    return home


def _open(study: Path, monkeypatch: pytest.MonkeyPatch, page: str, clinical: str = "clinical.csv") -> AppTest:
    for name, value in (("STORE", study / "store"), ("CLINICAL", study / clinical), ("ID", "pid")):
        monkeypatch.setenv(f"FLEXICT_APP_{name}", str(value))
    at = AppTest.from_file(str(ROUTER), default_timeout=60)
    at.run()
    at.switch_page(f"app_pages/{page}.py")
    at.run()
    assert not at.exception
    assert not at.error
    return at


def _text(at: AppTest) -> str:
    parts: list[Any] = [e.value for kind in ("markdown", "caption", "info", "code") for e in at.get(kind)]
    return "\n".join(map(str, parts)).replace("\\", "")


def test_survival_runs_at_the_click(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at = _open(study, monkeypatch, "survival")
    assert at.selectbox(key="view-time").value == "survival_days"
    assert at.selectbox(key="view-event").value == "dead"
    assert "Press Run" in _text(at)
    at.multiselect(key="view-clinical").set_value(["age"])
    at.button(key="run-survival").click().run()
    assert not at.exception
    assert not at.error
    text = _text(at)
    assert "The embedding tells survival" in text
    assert "beside age" in text
    assert len(at.get("plotly_chart")) == 2
    at.selectbox(key="view-curves").set_value("grade").run()
    assert "Press Run" in _text(at)  # a changed question has no answer yet


def test_survival_without_times_says_so(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at = _open(study, monkeypatch, "survival", "no_times.csv")
    assert "no column of times" in _text(at)


def test_a_probe_runs_at_the_click(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at = _open(study, monkeypatch, "probes")
    assert "Press Run" in _text(at)
    at.selectbox(key="view-learner").set_value("knn")
    at.button(key="run-probes").click().run()
    assert not at.exception
    assert not at.error
    assert "balanced accuracy" in _text(at)
    assert len(at.get("plotly_chart")) == 4
    at.selectbox(key="view-task").set_value("regress").run()
    assert not at.exception
    assert "Press Run" in _text(at)
