"""One journey in a real browser: colour by stage, select, open a case, read the verdict, download the figure."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pandas as pd
import pytest

from app.state import unpack_selection

pytestmark = pytest.mark.browser

ARTIFACTS = Path(__file__).parents[2] / "test-artifacts"
DONE = "[data-testid=stApp][data-test-script-state=notRunning]"


@pytest.fixture(scope="module")
def dashboard(planted_store: Any, serve: Callable[..., str]) -> str:
    """`flexict app` on a free port; its address."""
    return serve(planted_store.store, planted_store.clinical, stage="stage", order=planted_store.order)


@pytest.fixture(scope="module")
def page(dashboard: str, browser: Any) -> Iterator[Any]:
    """A page of 1280 × 900 px; it notes what it asks of other machines (`strangers`) and dialogs."""
    ARTIFACTS.mkdir(exist_ok=True)
    page = browser.new_page(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    page.strangers, page.dialogs = [], []
    own = (dashboard, dashboard.replace("http", "ws"), "data:", "blob:")
    page.on("request", lambda r: r.url.startswith(own) or page.strangers.append(r.url))
    page.on("dialog", lambda d: (page.dialogs.append(d.message), d.dismiss()))
    page.set_default_timeout(20_000)
    page.goto(dashboard)
    yield page
    page.context.close()


def settled(page: Any) -> Any:
    """Wait until the page's script has run and what it drew has arrived."""
    page.wait_for_timeout(150)
    page.locator(DONE).wait_for()
    page.wait_for_timeout(250)
    return page


def go_to(page: Any, name: str) -> None:
    page.get_by_test_id("stSidebarNav").get_by_role("link", name=name).click()
    page.get_by_role("heading", name=name, exact=True).wait_for()
    settled(page)


def choose(page: Any, label: str, option: str) -> None:
    page.get_by_role("combobox", name=label).click()
    page.get_by_role("option", name=option, exact=True).click()
    settled(page)


def keep_screenshot(page: Any, name: str) -> None:
    for width, height in ((1280, 900), (1920, 1080)):
        page.set_viewport_size({"width": width, "height": height})
        page.wait_for_timeout(400)
        page.screenshot(path=ARTIFACTS / f"{name}-{width}.png")
    page.set_viewport_size({"width": 1280, "height": 900})
    page.wait_for_timeout(300)


def lasso(page: Any, left: float, right: float) -> None:
    """Draw with the mouse around everything between two shares of the panel's width."""
    box = page.locator(".js-plotly-plot .nsewdrag").first.bounding_box()
    corners = [(left, 0.02), (right, 0.02), (right, 0.98), (left, 0.98), (left, 0.05)]
    points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in corners]
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*point, steps=6)
    page.mouse.up()


def saved(page: Any, key: str) -> tuple[str, bytes]:
    """Name and bytes of the file that the download button of this key gives."""
    with page.expect_download(timeout=60_000) as download:
        page.locator(f".st-key-{key} button").click()
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


def selected_in(url: str, clinical: pd.DataFrame) -> tuple[str, ...]:
    """The patients whom a link selects."""
    return unpack_selection(clinical["patient_id"].to_numpy(), parse_qs(urlsplit(url).query)["selected"][0])


def colour_and_select(page: Any, clinical: pd.DataFrame) -> tuple[str, ...]:
    """Colour the map by stage, draw a lasso, read the counts; the patients that were selected."""
    go_to(page, "Map")
    choose(page, "Colour", "scanner")
    choose(page, "Colour", "stage")
    page.wait_for_url(re.compile("colour=stage"))
    page.get_by_text("I (n = 12)", exact=True).wait_for()
    lasso(page, 0.5, 0.99)
    heading = page.get_by_role("heading", name=re.compile(r"^\d+ of 48 patients selected$"))
    heading.wait_for()
    settled(page)
    chosen = selected_in(page.url, clinical)
    assert 0 < len(chosen) < 48
    assert heading.inner_text() == f"{len(chosen)} of 48 patients selected"
    keep_screenshot(page, "2-map")

    name, counts = saved(page, "csv-selection-counts")
    assert name == "selection-counts.csv"
    inside = clinical["patient_id"].isin(chosen)
    table = pd.read_csv(io.BytesIO(counts)).set_index("stage")
    assert (
        table["selected"].to_dict()
        == clinical["stage"][inside].value_counts().reindex(table.index, fill_value=0).to_dict()
    )
    assert (
        table["rest"].to_dict()
        == clinical["stage"][~inside].value_counts().reindex(table.index, fill_value=0).to_dict()
    )
    page.get_by_role("radio", name="Patients").click()
    settled(page)
    _, rows = saved(page, "csv-selected-patients")
    assert set(pd.read_csv(io.BytesIO(rows))["patient_id"]) == set(chosen)
    assert b"'=1+1" in rows  # what a spreadsheet would run is text
    return chosen


def open_a_case(page: Any, chosen: tuple[str, ...]) -> None:
    page.get_by_role("button", name="Open case").click()
    page.get_by_text("Axial slice", exact=True).wait_for()
    settled(page)
    assert f"case={chosen[0]}" in page.url
    planes = page.locator(".plane img")
    pictures = [*planes.all(), *page.get_by_test_id("stImage").locator("img").all()]
    assert len(pictures) == 3 + 6  # three planes; this case and five neighbours
    assert all(picture.evaluate("i => i.complete && i.naturalWidth > 0") for picture in pictures)
    first = planes.first.get_attribute("src")
    page.get_by_role("slider", name="Axial slice").first.press("ArrowRight")
    settled(page)
    assert planes.first.get_attribute("src") != first  # another slice
    keep_screenshot(page, "3-case")


def read_the_verdict(page: Any) -> None:
    go_to(page, "Stage gradient")
    page.get_by_role("combobox", name="Adjusters").click()
    page.get_by_role("option", name="diameter_mm", exact=True).click()
    page.keyboard.press("Escape")
    settled(page)
    page.get_by_role("button", name="Run").click()
    verdict = page.locator(".st-key-verdict")
    verdict.get_by_role("heading").first.wait_for()
    settled(page)
    words = verdict.inner_text()
    assert "beyond adjusters (diameter_mm)" in words  # what was planted
    assert "Concordance of the adjusters alone" in words
    page.locator(".js-plotly-plot").first.wait_for()
    keep_screenshot(page, "4-stage-gradient")


def download_the_figure(page: Any) -> None:
    from pypdf import PdfReader

    name, pdf = saved(page, "gradient-pdf")
    assert name.endswith("scores_by_stage.pdf")
    sheet = PdfReader(io.BytesIO(pdf)).pages[0]
    assert float(sheet.mediabox.width) * 25.4 / 72 == pytest.approx(89.0, abs=0.1)
    text = sheet.extract_text()
    assert "Synthetic data" in text
    assert "Concordance" in text
    go_to(page, "Export")
    keep_screenshot(page, "5-export")
    _, packed = saved(page, "export-all")
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        names = {Path(n).name for n in archive.namelist()}
    assert {
        "gradient.json",
        "gradient.csv",
        "methods.md",
        "map.pdf",
        "adjusters.svg",
        "steps.png",
        "steps.csv",
    } <= names
    assert "figures-missing.txt" not in names


def test_the_main_journey(page: Any, dashboard: str, planted_store: Any) -> None:
    """Open, colour by stage, select, open a case, read the verdict, download the figure, and reload."""
    clinical = pd.read_csv(planted_store.clinical)
    page.get_by_text("SYNTHETIC DATA").wait_for()
    settled(page)
    keep_screenshot(page, "1-cohort")
    chosen = colour_and_select(page, clinical)
    open_a_case(page, chosen)
    read_the_verdict(page)
    download_the_figure(page)
    page.reload()
    settled(page)
    assert selected_in(page.url, clinical) == chosen  # a reload loses nothing
    page.get_by_text(f"{len(chosen)} selected").wait_for()
    assert page.strangers == []  # nothing was asked of another machine
    assert page.dialogs == []  # no script of the table ran


def test_a_sent_link_shows_the_same_verdict(page: Any, dashboard: str) -> None:
    page.goto(f"{dashboard}/stage_gradient?where=scanner%3DS1&adjust=diameter_mm&run=1")
    verdict = page.locator(".st-key-verdict")
    verdict.get_by_role("heading").first.wait_for()
    settled(page)
    assert re.search(r"\(scanner=S1\) · \d+ of 48 patients", page.locator(".st-key-banner").inner_text())
    assert "diameter_mm" in verdict.inner_text()


def test_pages_read_well_in_the_dark(page: Any, dashboard: str) -> None:
    page.emulate_media(color_scheme="dark")
    page.goto(f"{dashboard}/case?case=P-030")
    page.get_by_text("Axial slice", exact=True).wait_for()
    settled(page)
    background = page.get_by_test_id("stApp").evaluate("e => getComputedStyle(e).backgroundColor")
    assert max(int(v) for v in re.findall(r"\d+", background)[:3]) < 60
    keep_screenshot(page, "6-case-dark")
    page.emulate_media(color_scheme="light")
