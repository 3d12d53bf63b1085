"""A served dashboard and pages of a headless Chromium for the browser tests."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = [
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-angle=swiftshader",  # WebGL on the processor, where there is no graphics card
    "--enable-unsafe-swiftshader",
]
Serve = Callable[..., str]


@contextmanager
def _served(store: Path, clinical: Path, **options: Any) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "app.cli",
        "app",
        "--store",
        store,
        "--clinical",
        clinical,
        "--port",
        port,
    ]
    for name, value in {"id": "patient_id", **options}.items():
        command += [f"--{name}", value]
    with subprocess.Popen(
        [str(c) for c in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        url = f"http://127.0.0.1:{port}"
        for _ in range(200):
            try:
                urllib.request.urlopen(f"{url}/_stcore/health", timeout=1).close()
                break
            except OSError:
                assert server.poll() is None, "the server ended before it answered"
                time.sleep(0.2)
        yield url
        server.terminate()


@pytest.fixture(scope="module")
def serve(chromium: str) -> Iterator[Serve]:
    """`serve(store, clinical, stage=…, …)` runs `flexict app` with these options on a free port; its address."""
    with ExitStack() as servers:
        yield lambda store, clinical, **options: servers.enter_context(_served(store, clinical, **options))


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    """A headless Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM)
        yield browser
        browser.close()
