"""A reader who does not stop: 1000 interactions with the dashboard, and the memory of its process.

    python -m tests.benchmarks.app_soak --store DIR --clinical FILE --id COLUMN [--interactions 1000]

Interactions go round the pages: another page, another colour of the map, another case, as a browser sends them, but
over the websocket (`--browser` clicks in headless Chromium instead). The first half fills the caches, whose bounds are
numbers and megabytes. Flat is a slope of the second half, by least squares, of less than 0.02 MB an interaction; its
standard error is that of the means of 10 blocks, for neighbouring measurements are alike.
"""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Iterator
from typing import Any

import numpy as np

from tests.benchmarks.measurements import Measurement, record
from tests.serving.chromium import FLAGS
from tests.serving.server import Server, cohort_parser, served
from tests.serving.session import Session

BAR = 0.02  # MB an interaction
DONE = "[data-testid=stApp][data-test-script-state=notRunning]"
ROUND = {
    "map": "Map",
    "case": "Case",
    "": "Cohort",
    "stage_gradient": "Stage gradient",
    "retrieval": "Retrieval",
    "survival": "Survival",
    "export": "Export",
}
_BLOCKS = 10


def walk(session: Session, number: int) -> None:
    """The next interaction of a reader on the websocket. RuntimeError where the page shows an error."""
    page = list(ROUND)[(number // 3) % len(ROUND)]
    if number % 3 == 0:
        session.go(page)
    elif page == "map":
        options = session.widget("view-colour").options
        session.choose("view-colour", options[number % min(5, len(options))])
    elif page == "case":
        session.press("case-Next")
    else:
        session.rerun()
    if errors := session.errors():
        raise RuntimeError(f"page {page or 'cohort'!r} says: {errors[0]}")


def click(page: Any, number: int) -> None:
    """The next interaction of a reader in a browser."""
    name = list(ROUND.values())[(number // 3) % len(ROUND)]
    if number % 3 == 0:
        page.get_by_test_id("stSidebarNav").get_by_role("link", name=name, exact=True).click()
        page.get_by_role("heading", name=name, exact=True).wait_for()
    elif name == "Map":
        page.get_by_role("combobox", name="Colour").click()
        options = page.get_by_role("option")
        options.first.wait_for()
        options.nth(number % min(options.count(), 5)).click()
    elif name == "Case":
        page.get_by_role("button", name="Next", exact=True).click()
    else:
        page.get_by_role("combobox", name="Filter").press("Escape")
    page.wait_for_timeout(150)
    page.locator(DONE).wait_for()


def soak(server: Server, interactions: int, *, browser: bool) -> Iterator[float]:
    """Resident memory (MB) of the server after each interaction."""
    if not browser:
        with Session(server.url) as session:
            for number in range(interactions):
                walk(session, number)
                yield server.memory_mb()
        return
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(FLAGS))
        page = chromium.new_page(viewport={"width": 1280, "height": 900})
        page.goto(server.url)
        page.locator(DONE).wait_for()
        for number in range(interactions):
            click(page, number)
            yield server.memory_mb()
        chromium.close()


def slope(memory: list[float]) -> tuple[float, float]:
    """Growth (MB an interaction) by least squares, and its standard error from the residuals of block means."""
    size = len(memory) // _BLOCKS
    means = np.array([np.mean(memory[i * size : (i + 1) * size]) for i in range(_BLOCKS)])
    at = (np.arange(_BLOCKS) + 0.5) * size
    away = at - at.mean()
    rise = float(away @ means / (away @ away))
    rest = means - means.mean() - rise * away
    return rise, float(np.sqrt(rest @ rest / (_BLOCKS - 2) / (away @ away)))


def main() -> None:
    parser = cohort_parser(__doc__, stage=False)
    parser.add_argument("--interactions", type=int, default=1000)
    parser.add_argument("--browser", action="store_true", help="click in headless Chromium")
    asked = parser.parse_args()
    with served(asked.store, asked.clinical, id=asked.id) as server:
        found = list(soak(server, asked.interactions, browser=asked.browser))
    quarter = len(found) // 4
    parts = [statistics.median(found[i * quarter : (i + 1) * quarter]) for i in range(4)]
    print(
        f"{len(found)} interactions; memory of the server by quarter (median, MB): {', '.join(f'{p:.0f}' for p in parts)}"
    )
    rise, error = slope(found[len(found) // 2 :])
    print(
        f"second half: {rise:+.4f} ± {error:.4f} MB an interaction (slope and its standard error); "
        f"{'flat' if rise + 2 * error < BAR else 'flat within the error' if rise < BAR else 'NOT flat'}: bar {BAR} MB"
    )
    record(Measurement("server's memory in the second half", rise, "MB an interaction", BAR))


if __name__ == "__main__":
    main()
