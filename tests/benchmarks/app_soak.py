"""A reader who does not stop: 200 interactions with the dashboard, and the memory of its process.

    python -m tests.benchmarks.app_soak --store DIR --clinical FILE --id COLUMN [--interactions 200]

Interactions go round: another page, another colour, a selection by the link, another case. The first quarter fills the
caches, whose sizes are bounded; growth is what comes after it. Browser: headless Chromium.
"""

from __future__ import annotations

import argparse
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

CHROMIUM = (
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
)
DONE = "[data-testid=stApp][data-test-script-state=notRunning]"
ROUND = ("Map", "Case", "Cohort", "Stage gradient", "Retrieval", "Survival", "Export")


def memory_mb(pid: int) -> float:
    """Resident memory of a process (Linux)."""
    for line in Path(f"/proc/{pid}/status").read_text("utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {pid} tells no memory")


def interact(page: Any, number: int) -> None:
    """The next interaction."""
    if number % 3 == 0:
        name = ROUND[(number // 3) % len(ROUND)]
        page.get_by_test_id("stSidebarNav").get_by_role("link", name=name, exact=True).click()
        page.get_by_role("heading", name=name, exact=True).wait_for()
    elif page.get_by_role("combobox", name="Colour").count():
        page.get_by_role("combobox", name="Colour").click()
        options = page.get_by_role("option")
        options.first.wait_for()
        options.nth(number % min(options.count(), 5)).click()
    elif page.get_by_role("button", name="Next", exact=True).count():
        page.get_by_role("button", name="Next", exact=True).click()
    else:
        page.get_by_role("combobox", name="Filter").press("Escape")
    page.wait_for_timeout(150)
    page.locator(DONE).wait_for()


def soak(store: Path, clinical: Path, *, id_column: str, interactions: int) -> list[float]:
    """Resident memory (MB) of the server after each interaction."""
    from playwright.sync_api import sync_playwright

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
        "--id",
        id_column,
    ]
    command += ["--port", port]
    found = []
    with subprocess.Popen(
        [str(c) for c in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        try:
            _wait_for(f"http://127.0.0.1:{port}", server)
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(
                    executable_path=shutil.which("chromium"), args=list(CHROMIUM)
                )
                page = browser.new_page(viewport={"width": 1280, "height": 900})
                page.goto(f"http://127.0.0.1:{port}")
                page.locator(DONE).wait_for()
                for number in range(interactions):
                    interact(page, number)
                    found.append(memory_mb(server.pid))
                browser.close()
        finally:
            server.terminate()
    return found


def _wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    while True:
        try:
            urllib.request.urlopen(f"{url}/_stcore/health", timeout=1).close()
            return
        except OSError:
            if server.poll() is not None:
                raise RuntimeError("the server ended before it answered") from None
            time.sleep(0.2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--clinical", type=Path, required=True)
    parser.add_argument("--id", required=True)
    parser.add_argument("--interactions", type=int, default=200)
    asked = parser.parse_args()
    found = soak(asked.store, asked.clinical, id_column=asked.id, interactions=asked.interactions)
    quarter = len(found) // 4
    parts = [statistics.median(found[i * quarter : (i + 1) * quarter]) for i in range(4)]
    print(
        f"{len(found)} interactions; memory of the server by quarter (median, MB): {', '.join(f'{p:.0f}' for p in parts)}"
    )
    print(
        f"growth after the first quarter: {parts[3] - parts[1]:+.0f} MB, {1000 * (parts[3] - parts[1]) / (2 * quarter):+.0f} kB an interaction"
    )


if __name__ == "__main__":
    main()
