"""How soon each page is useful in a real browser: first view of a fresh browser tab, and coming back to it.

    python -m tests.benchmarks.app_views --store DIR --clinical FILE --id COLUMN --stage COLUMN --order A,B,C [--runs 3]

Cold: a new tab opens the page's address (a server that has run for ten seconds; of the first run nothing of the page
is cached). Warm: a new tab opens it again. Switch: from another page by the menu. Seconds until what the page is for
stands there: points on the map, the three planes, the question's form. Headless Chromium, no graphics card.
"""

from __future__ import annotations

import shutil
import statistics
import time
from typing import Any

from tests.benchmarks.measurements import Measurement, record
from tests.serving.chromium import FLAGS
from tests.serving.server import cohort_parser, served

BAR_S = 2.0
USEFUL = {  # what the page is for, as a selector
    "Cohort": "[data-testid=stMetric]",
    "Map": ".js-plotly-plot .scatterlayer .point, .js-plotly-plot .scatterlayer path, .map[data-ready=yes]",
    "Case": ".planes img",
    "Retrieval": ".st-key-run-retrieval button",
    "Stage gradient": ".st-key-run button",
    "Trajectory": ".st-key-run button",
    "Probes": ".st-key-run-probes button",
    "Survival": ".st-key-run-survival button",
    "Audit": ".st-key-run-audit button",
    "Export": "[data-testid=stMain] [data-testid=stAlert], .st-key-export-all button",
}


def opened(browser: Any, url: str, page: str) -> tuple[Any, float]:
    """A new tab on a page, and the seconds until it was useful."""
    tab = browser.new_page(viewport={"width": 1280, "height": 900})
    tab.set_default_timeout(60_000)
    address = "" if page == "Cohort" else page.lower().replace(" ", "_")
    begun = time.perf_counter()
    tab.goto(f"{url}/{address}")
    _wait(tab, page)
    return tab, time.perf_counter() - begun


def _wait(tab: Any, page: str) -> None:
    """Until the page's title and its own content are there; looked for in every frame."""
    tab.wait_for_function(
        """([title, selector]) => {
          const roots = [document, ...[...document.querySelectorAll('*')].map((e) => e.shadowRoot).filter(Boolean)];
          const titled = [...document.querySelectorAll('h3')].some((h) => h.innerText === title);
          return titled && roots.some((r) => r.querySelector(selector));
        }""",
        arg=[page, USEFUL[page]],
    )


def switched(tab: Any, page: str) -> float:
    """Seconds from a click in the menu until the page is useful."""
    begun = time.perf_counter()
    tab.get_by_test_id("stSidebarNav").get_by_role("link", name=page, exact=True).click()
    _wait(tab, page)
    return time.perf_counter() - begun


def main() -> None:
    parser = cohort_parser(__doc__)
    parser.add_argument("--runs", type=int, default=3)
    asked = parser.parse_args()
    from playwright.sync_api import sync_playwright

    options = {"id": asked.id, "stage": asked.stage, "order": asked.order}
    cold: dict[str, float] = {}
    warm: dict[str, list[float]] = {page: [] for page in USEFUL}
    by_menu: dict[str, list[float]] = {page: [] for page in USEFUL}
    with sync_playwright() as playwright, served(asked.store, asked.clinical, **options) as server:
        time.sleep(10)
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(FLAGS))
        browser.new_page().close()
        for run in range(asked.runs + 1):
            for page in USEFUL:
                tab, seconds = opened(browser, server.url, page)
                if run == 0:
                    cold[page] = seconds
                else:
                    warm[page].append(seconds)
                tab.close()
        tab, _ = opened(browser, server.url, "Export")
        for _ in range(asked.runs):
            for page in USEFUL:
                by_menu[page].append(switched(tab, page))
        browser.close()
    print("| page | cold s | warm s, median | warm s, worst | by the menu s, median |")
    print("|---|---|---|---|---|")
    for page in USEFUL:
        worst = max(cold[page], *warm[page])
        missed = " **miss**" if worst > BAR_S else ""
        print(
            f"| {page} | {cold[page]:.2f} | {statistics.median(warm[page]):.2f} | {max(warm[page]):.2f}{missed} | "
            f"{statistics.median(by_menu[page]):.2f} |"
        )
    record(
        Measurement("slowest first view", max(*cold.values(), *(max(v) for v in warm.values())), "s", BAR_S)
    )


if __name__ == "__main__":
    main()
