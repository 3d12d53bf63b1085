"""Fixtures that every test may use."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


def _required(variable: str) -> bool:
    return os.environ.get(variable, "") not in ("", "0")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The optional folder of real cohorts and reference values; skips, visibly, where it is absent."""
    if not (SHARED / "data").is_dir():
        if _required("FLEXICT_REQUIRE_SHARED"):
            pytest.fail(f"{SHARED} is absent, and FLEXICT_REQUIRE_SHARED forbids skipping")
        pytest.skip(f"no shared test data at {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a Chrome or Chromium; skips, visibly, where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    found = os.environ.get("BROWSER_PATH") or next((p for n in names if (p := shutil.which(n))), None)
    if found is None:
        if _required("FLEXICT_REQUIRE_BROWSER"):
            pytest.fail("no Chrome or Chromium found, and FLEXICT_REQUIRE_BROWSER forbids skipping")
        pytest.skip("no Chrome or Chromium found: browser and figure-export tests need one")
    return found


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers that are the same in every run."""
    return np.random.default_rng(20240611)
