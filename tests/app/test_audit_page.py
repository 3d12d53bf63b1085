"""The audit page: its run, its verdict in the banner of every page, and a question that cannot be asked."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

ROUTER = Path(__file__).parents[2] / "app" / "streamlit_app.py"


@pytest.fixture
def page(planted_store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    """The audit page of a copy of the planted store, which the audit writes its verdict beside."""
    shutil.copytree(planted_store.store, tmp_path / "store")
    for name, value in (
        ("STORE", tmp_path / "store"),
        ("CLINICAL", planted_store.clinical),
        ("ID", "patient_id"),
        ("STAGE", "stage"),
        ("ORDER", planted_store.order),
    ):
        monkeypatch.setenv(f"FLEXICT_APP_{name}", str(value))
    at = AppTest.from_file(str(ROUTER), default_timeout=60)
    at.run()
    at.switch_page("app_pages/audit.py")
    return at.run()


def _text(at: AppTest) -> str:
    assert not at.exception, [e.value for e in at.exception]
    return "\n".join(
        str(e.value) for kind in ("markdown", "caption", "code", "info", "error") for e in at.get(kind)
    ).replace("\\", "")


def test_the_verdict_of_a_run_stands_on_every_page(page: AppTest) -> None:
    assert "Audit: not audited" in _text(page)
    assert "Press Run" in _text(page)
    page.button(key="run-audit").click().run()
    said = _text(page)
    assert not page.error
    assert "recorded fields was shown to be readable" in said  # the planted store has a stage and noise
    assert "Confounder ledger" in said
    page.switch_page("app_pages/cohort.py")
    (line,) = [t for t in _text(page.run()).splitlines() if t.startswith("Audit: ")]
    assert "recorded fields was shown to be readable" in line


def test_an_audit_that_cannot_be_made_says_why(page: AppTest) -> None:
    page.selectbox(key="view-label").set_value("none").run()
    assert page.selectbox(key="view-leave").disabled
    page.multiselect(key="view-fields").set_value(["stage"]).run()
    page.selectbox(key="view-label").set_value("stage").run()
    page.button(key="run-audit").click().run()
    assert "'stage' is the label" in _text(page)
