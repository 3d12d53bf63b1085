"""A reader who goes on and on: what the process holds does not grow with what was looked at."""

from __future__ import annotations

import gc
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from app.loaders import images

ROUTER = Path(__file__).parents[2] / "app" / "streamlit_app.py"
HEAVY = ("CtCase", "Cohort", "Gallery", "ProjectionResult", "Figure", "DataFrame")
AT_ONCE = 3  # CTs that are held


def living() -> Counter[str]:
    """Objects alive in this process, by kind, of those that weigh."""
    gc.collect()
    kinds = Counter(type(o).__name__ for o in gc.get_objects())
    return Counter({kind: kinds[kind] for kind in HEAVY})


def go_round(at: AppTest, times: int) -> None:
    """Eight interactions a time: the map in two colours, three cases one after another, other pages."""
    for _ in range(times):
        at.switch_page("app_pages/map.py").run()
        for colour in ("scanner", "stage"):
            at.selectbox(key="view-colour").set_value(colour).run()
        at.switch_page("app_pages/case.py").run()
        for _ in range(2):
            at.button(key="case-Next").click().run()
        at.switch_page("app_pages/cohort.py").run()
        at.switch_page("app_pages/stage_gradient.py").run()
        assert not at.exception
        assert not at.error


def case_of(at: AppTest) -> str:
    """The case in the link."""
    told: str | list[str] = at.query_params["case"]
    return told if isinstance(told, str) else told[0]


def test_forty_interactions_leave_no_more_than_eight(
    planted_store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"STORE": planted_store.store, "CLINICAL": planted_store.clinical, "ID": "patient_id"}
    for name in ("RESULTS", "ID_REPLACE"):
        monkeypatch.delenv(f"FLEXICT_APP_{name}", raising=False)
    for name, value in {**given, "STAGE": "stage", "ORDER": planted_store.order}.items():
        monkeypatch.setenv(f"FLEXICT_APP_{name}", str(value))
    at = AppTest.from_file(str(ROUTER), default_timeout=90).run()
    go_round(at, 2)  # caches of a few entries are full
    before = living()
    assert case_of(at) == "P-004"
    go_round(at, 3)
    after = living()
    assert case_of(at) == "P-010"  # it did go on to other cases
    assert len(images._CTS) == AT_ONCE
    grown = after - before
    # Exhibits and neighbours are kept for each case seen, the last 40 and 64: small tables. Nothing else is.
    assert grown["DataFrame"] <= 6 * 8
    assert {kind: n for kind, n in grown.items() if kind != "DataFrame"} == {}
