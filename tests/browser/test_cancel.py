"""Cancel, pressed in a real browser: the work stops, the page goes on, and nothing is left running."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from flexict_core.store import EmbeddingStore
from tests.serving.server import Server, served

pytestmark = pytest.mark.browser

N = 1500  # patients: their gradient with an adjuster takes far longer than this test looks


@pytest.fixture(scope="module")
def server(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("long")
    rng = np.random.default_rng(0)
    ids = [f"P{i:04d}" for i in range(N)]
    stage = rng.integers(0, 4, N)
    X = rng.standard_normal((N, 24)).astype(np.float32)
    X[:, 0] += 0.3 * stage
    with EmbeddingStore.create(home / "store").writer({"encoder": "long"}, dim=24, name="long") as writer:
        writer.add({"patient_id": p, "embedding": x} for p, x in zip(ids, X, strict=True))
    told = {"patient_id": ids, "stage": np.array(["I", "II", "III", "IV"])[stage], "size": rng.random(N)}
    pd.DataFrame(told).to_csv(home / "clinical.csv", index=False)
    with served(home / "store", home / "clinical.csv", stage="stage", order="I,II,III,IV") as running:
        yield running


def processor_seconds(pid: int) -> float:
    """What a process has used of the processor, all threads together (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def until(true: Callable[[], bool], *, seconds: float) -> bool:
    """Whether it becomes true in time."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def is_idle(pid: int) -> bool:
    """Whether a process uses next to no processor time for a second."""
    before = processor_seconds(pid)
    time.sleep(1.0)
    return processor_seconds(pid) - before < 0.05


def test_cancel_stops_a_long_gradient_and_the_page_goes_on(browser: Any, server: Server) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(30_000)
    page.goto(f"{server.url}/stage_gradient?adjust=size")
    run, cancel = (page.get_by_role("button", name=name, exact=True) for name in ("Run", "Cancel"))
    for _ in range(2):  # what was cancelled may be asked again
        run.click()
        cancel.wait_for()
        page.get_by_text("Testing the stage gradient").first.wait_for()
        assert until(lambda: not is_idle(server.pid), seconds=10)
        cancel.click()
        page.get_by_text("Press Run").first.wait_for()
        cancel.wait_for(state="detached")
        assert "run=" not in page.url
        assert until(lambda: is_idle(server.pid), seconds=30)
    assert run.is_enabled()
    assert page.get_by_test_id("stException").count() == 0
    page.get_by_test_id("stSidebarNav").get_by_role("link", name="Cohort", exact=True).click()
    page.get_by_role("heading", name="Cohort", exact=True).wait_for()
    assert page.get_by_text(f"{N} patients").count()
    page.close()
