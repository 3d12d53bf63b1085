"""A served dashboard and pages of a headless Chromium for the browser tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.serving.chromium import FLAGS
from tests.serving.server import served

Serve = Callable[..., str]


@pytest.fixture(scope="module")
def serve(chromium: str) -> Iterator[Serve]:
    """`serve(store, clinical, stage=…, …)` runs `flexict app` with these options on a free port; its address."""
    with ExitStack() as servers:
        yield lambda store, clinical, **options: servers.enter_context(served(store, clinical, **options)).url


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    """A headless Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        yield browser
        browser.close()
