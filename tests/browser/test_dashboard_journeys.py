"""Journeys in a real browser: what is this cluster, does it matter, can it be trusted, how did the stages move."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pandas as pd
import pytest

from app.state import unpack_selection
from flexict_core.store import EmbeddingStore

pytestmark = pytest.mark.browser

ARTIFACTS = Path(__file__).parents[2] / "test-artifacts"
AXE = Path(__file__).with_name("axe") / "axe.min.js"
DONE = "[data-testid=stApp][data-test-script-state=notRunning]"
PAGES = (
    "cohort", "map", "case", "retrieval", "stage_gradient", "trajectory", "probes", "survival", "audit", "export",
)  # fmt: skip


@pytest.fixture(scope="module")
def study(planted_store: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The planted patients in three embeddings, with images, a score, and survival that the first dimension drives."""
    home, rng = tmp_path_factory.mktemp("study"), np.random.default_rng(3)
    held = EmbeddingStore(planted_store.store).read("planted")
    table = pd.read_csv(planted_store.clinical)
    death = rng.exponential(np.exp(-0.4 * held.X[:, 0])) * 900
    end = rng.exponential(1500, len(table))
    table["survival_days"], table["dead"] = np.ceil(np.minimum(death, end)), (death <= end) * 1
    table["score"] = held.X[:, 0].round(3)
    table.to_csv(home / "clinical.csv", index=False)
    told = ("patient_id", "root", "image", "mask", "mask_label")
    rows = [{c: getattr(r, c) for c in told} for r in held.rows.itertuples(index=False)]
    store = EmbeddingStore.create(home / "store")
    second, third = (held.X + rng.standard_normal(held.X.shape).astype(np.float32) for _ in range(2))
    for name, X in (("planted", held.X), ("second", second), ("third", third)):
        spec = {"encoder": name, "licence": "Apache-2.0", "synthetic": True}
        with store.writer(spec, dim=6, name=name) as writer:
            writer.add({**row, "embedding": x} for row, x in zip(rows, X, strict=True))
    return home


@pytest.fixture(scope="module")
def address(study: Path, serve: Callable[..., str]) -> str:
    """The dashboard of the study, its results and saved selections in a folder of their own."""
    options = {"stage": "stage", "order": "I,II,III,IV", "results": study / "results"}
    return serve(study / "store", study / "clinical.csv", **options)


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """A new reader's page."""
    page = opened(browser, address, "map")
    yield page
    page.context.close()


def opened(browser: Any, address: str, path: str, **options: Any) -> Any:
    """A page of 1280 × 900 px in a context of its own."""
    ARTIFACTS.mkdir(exist_ok=True)
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True, **options)
    page = context.new_page()
    page.set_default_timeout(20_000)
    page.goto(f"{address}/{path}")
    return settled(page)


def settled(page: Any) -> Any:
    """Wait until the page's script has run and what it drew has arrived."""
    page.wait_for_timeout(150)
    page.locator(DONE).wait_for()
    page.wait_for_timeout(200)
    return page


def go_to(page: Any, name: str) -> None:
    page.get_by_test_id("stSidebarNav").get_by_role("link", name=name, exact=True).click()
    page.get_by_role("heading", name=name, exact=True).wait_for()
    settled(page)


def choose(page: Any, label: str, option: str | re.Pattern[str]) -> None:
    page.get_by_role("combobox", name=label, exact=True).click()
    page.get_by_role("option", name=option).first.click()
    settled(page)


def lasso(page: Any, area: Any, left: float, right: float) -> None:
    """Draw with the mouse around everything between two shares of an area's width."""
    box = area.bounding_box()
    corners = [(left, 0.02), (right, 0.02), (right, 0.98), (left, 0.98), (left, 0.05)]
    points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in corners]
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*point, steps=6)
    page.wait_for_timeout(60)
    page.mouse.up()
    page.wait_for_timeout(400)  # until the picture has told the server
    settled(page)


def files_of(page: Any, key: str) -> dict[str, bytes]:
    """The files in the archive that a download button gives, by name."""
    with page.expect_download(timeout=60_000) as download:
        page.locator(f".st-key-{key} button:visible").first.click()
    with zipfile.ZipFile(io.BytesIO(Path(download.value.path()).read_bytes())) as packed:
        return {Path(name).name: packed.read(name) for name in packed.namelist()}


def keep_screenshot(page: Any, name: str) -> None:
    for width, height in ((1280, 900), (1920, 1080)):
        page.set_viewport_size({"width": width, "height": height})
        page.wait_for_timeout(300)
        page.screenshot(path=ARTIFACTS / f"{name}-{width}.png")
    page.set_viewport_size({"width": 1280, "height": 900})
    page.wait_for_timeout(200)


def selected_in(url: str, study: Path) -> tuple[str, ...]:
    """The patients whom a link selects."""
    everyone = pd.read_csv(study / "clinical.csv")["patient_id"].to_numpy()
    return unpack_selection(everyone, parse_qs(urlsplit(url).query)["selected"][0])


def banners(page: Any, address: str, query: str) -> dict[str, str]:
    """What the banner says on every page, opened by a link."""
    said = {}
    for name in PAGES:
        page.goto(f"{address}/{name.replace('cohort', '')}?{query}")
        page.locator("h3, h2, h1").first.wait_for()
        settled(page)
        said[name] = page.locator(".st-key-banner").inner_text()
    return said


def test_what_is_this_cluster(page: Any, study: Path, address: str) -> None:
    """Three colours, lasso, composition, survival, pictures, save, filter every page by it, and find it again after a
    reload; the numbers are those of scipy and lifelines."""
    from lifelines.statistics import logrank_test
    from scipy.stats import chi2_contingency, mannwhitneyu

    for colour, sign in (("scanner", "S1 (n = "), ("score", "score"), ("stage", "III (n = 12)")):
        choose(page, "Colour", re.compile(f"^{colour}$"))
        page.locator(".js-plotly-plot").get_by_text(sign).first.wait_for()
    lasso(page, page.locator(".js-plotly-plot .nsewdrag").first, 0.5, 0.99)
    heading = page.get_by_role("heading", name=re.compile(r"^\d+ of 48 patients selected$"))
    count = int(heading.inner_text().split()[0])
    assert 5 < count < 43
    page.get_by_text("Chosen by looking (post hoc).").wait_for()
    table = pd.read_csv(study / "clinical.csv")
    inside = table["patient_id"].isin(selected_in(page.url, study)).to_numpy()
    assert inside.sum() == count
    contrast = json.loads(files_of(page, "contrast-zip")["select.json"])
    found = {row["column"]: row for row in contrast["contrasts"]}
    assert found["stage"]["p_holm"] < 0.01 < found["scanner"]["p_holm"]  # what was planted
    u, p = mannwhitneyu(table["score"][inside], table["score"][~inside])
    assert found["score"]["value"] == pytest.approx(u / (count * (48 - count)))
    assert found["score"]["p_value"] == pytest.approx(p, rel=1e-6)
    chi2 = chi2_contingency(pd.crosstab(table["scanner"], inside), correction=False)[0]
    assert found["scanner"]["value"] == pytest.approx((chi2 / 48) ** 0.5)
    assert any("post hoc" in warning for warning in contrast["warnings"])
    keep_screenshot(page, "7-selection-composition")
    page.get_by_role("radio", name="Survival").click()
    page.get_by_text(re.compile("Survival of rest against selected: log-rank")).wait_for()
    settled(page)
    survival = json.loads(files_of(page, "selection-survival-zip")["survival.json"])
    of = [table[["survival_days", "dead"]][part].to_numpy().T for part in (inside, ~inside)]
    reference = logrank_test(of[0][0], of[1][0], of[0][1], of[1][1])
    assert survival["logrank_p"] == pytest.approx(reference.p_value, rel=1e-6)
    keep_screenshot(page, "8-selection-survival")
    page.get_by_role("radio", name="Pictures").click()
    settled(page)
    pictures = page.get_by_test_id("stImage").locator("img")
    assert pictures.count() == min(count, 9)

    page.get_by_role("button", name="Save", exact=False).first.click()
    page.get_by_role("textbox", name="Name of the selection").fill("right side")
    page.keyboard.press("Enter")
    settled(page)
    page.get_by_role("button", name="Save selection").click()
    settled(page)
    (file,) = (study / "results" / "selections").glob("*.json")
    assert set(json.loads(file.read_text("utf-8"))["patients"]) == set(table["patient_id"][inside])
    page.keyboard.press("Escape")
    choose(page, "Saved selection", re.compile("right side"))
    assert "within=right" in page.url
    page.reload()
    settled(page)
    assert f"{count} of 48 patients" in page.locator(".st-key-banner").inner_text()  # a reload loses nothing
    for name, banner in banners(page, address, "within=right+side").items():
        assert "chosen by looking" in banner, name
        assert f"{count} of 48 patients" in banner, name


def run(page: Any) -> None:
    """Press Run and wait for the verdict."""
    page.get_by_role("button", name="Run").click()
    page.locator(".st-key-verdict").get_by_role("heading").wait_for(timeout=60_000)
    settled(page)


def test_does_it_matter_for_outcome(page: Any, study: Path) -> None:
    """Survival by stage: curves with numbers at risk, Cox table, files."""
    from lifelines.statistics import multivariate_logrank_test

    table = pd.read_csv(study / "clinical.csv")
    go_to(page, "Survival")
    for by in ("stage",):
        choose(page, "Curves by", re.compile(by, re.IGNORECASE))
        run(page)
        files = files_of(page, "survival-zip")
        assert {"survival.json", "survival.csv", "methods.md", "curves.pdf", "hazard_ratios.pdf"} <= set(
            files
        )
        answer = json.loads(files["survival.json"])
        assert answer["cox"]
        drawn = pd.read_csv(io.BytesIO(files["curves.csv"]))
        first = drawn[(drawn["element"] == "at risk") & (drawn["time"] == 0)].set_index("group")["value"]
        assert len(first) > 1
        assert first.sum() <= 48
        if by == "stage":
            keep_screenshot(page, "9-survival")
            assert first.to_dict() == {"I": 12, "II": 12, "III": 12, "IV": 12}
            of = multivariate_logrank_test(table["survival_days"], table["stage"], table["dead"])
            assert answer["logrank_p"] == pytest.approx(of.p_value, rel=1e-6)


def test_can_it_be_trusted(page: Any, address: str) -> None:
    """An audit, whose verdict then stands on every page and in every file."""
    go_to(page, "Survival")
    choose(page, "Curves by", "stage")
    run(page)
    assert "not audited" in page.locator(".st-key-banner").inner_text()
    go_to(page, "Audit")
    run(page)
    for part in ("Estimates", "Duplicates", "Pretraining"):  # the ledger, leakage, overlap
        page.get_by_role("tab", name=re.compile(part)).wait_for()
    page.get_by_role("tab", name=re.compile("Duplicates")).click()
    page.get_by_text("No duplicates found; image content").wait_for()
    keep_screenshot(page, "10-audit")
    go_to(page, "Survival")
    page.locator(".st-key-verdict").get_by_role("heading").wait_for()
    settled(page)
    files = files_of(page, "survival-zip")
    warnings = json.loads(files["survival.json"])["warnings"]
    assert any(warning.startswith("audit of this cohort: ") for warning in warnings)
    page.reload()
    page.locator(".st-key-verdict").get_by_role("heading").wait_for()  # the answer is found again
    for name, banner in banners(page, address, "").items():
        assert "not audited" not in banner, name


def test_how_did_the_stages_move(page: Any, study: Path) -> None:
    """Stage planes of three embeddings side by side: a lasso in the first fades the others in the rest."""
    go_to(page, "Trajectory")
    page.get_by_role("combobox", name="Embeddings beside it").click()
    for _ in range(2):
        page.get_by_role("option").first.click()
    page.keyboard.press("Escape")
    settled(page)
    page.get_by_role("button", name="Run").click()
    pictures = page.locator(".js-plotly-plot")
    page.wait_for_function("document.querySelectorAll('.js-plotly-plot').length === 3", timeout=120_000)
    settled(page)
    lasso(page, pictures.nth(0).locator(".nsewdrag").first, 0.5, 0.99)
    page.get_by_text(re.compile(r"^\d+ selected$")).wait_for()
    chosen = selected_in(page.url, study)
    assert 0 < len(chosen) < 48
    marked = "t.customdata && t.selectedpoints ? [...t.selectedpoints].map(i => t.customdata[i]) : []"
    shown = f"p => p.data.flatMap(t => {marked})"
    for beside in (1, 2):
        assert sorted(pictures.nth(beside).evaluate(shown)) == sorted(chosen)
    keep_screenshot(page, "11-trajectory")


def test_two_readers_do_not_see_each_other(browser: Any, address: str) -> None:
    first = opened(browser, address, "map?where=scanner%3DS1")
    second = opened(browser, address, "map?where=scanner%3DS2")
    lasso(first, first.locator(".js-plotly-plot .nsewdrag").first, 0.0, 0.99)
    second.reload()
    settled(second)
    banners = [page.locator(".st-key-banner").inner_text() for page in (first, second)]
    counts = [int(re.search(r"(\d+) of 48", banner).group(1)) for banner in banners]  # type: ignore[union-attr]
    assert sum(counts) == 48
    assert first.get_by_text(re.compile(r"^\d+ selected$")).count() == 1
    assert second.get_by_text(re.compile(r"^\d+ selected$")).count() == 0
    assert "selected=" not in second.url
    for page in (first, second):
        page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser: Any, address: str, scheme: str) -> None:
    """Every page, in the light with an answer shown where it has one."""
    page = opened(browser, address, "", color_scheme=scheme)
    faults = []
    shown = "run=1&run=trajectory&run=retrieval&run=clusters" if scheme == "light" else ""
    for name in PAGES:
        page.goto(f"{address}/{name.replace('cohort', '')}?{shown}")
        page.locator("h3, h2, h1").first.wait_for()
        settled(page)
        page.add_script_tag(path=AXE)
        found = page.evaluate("axe.run({ resultTypes: ['violations'] })")
        for fault in found["violations"]:
            if fault["impact"] in ("serious", "critical"):
                faults.append((name, fault["id"], fault["nodes"][0]["html"][:160], len(fault["nodes"])))
        if name in ("map", "stage_gradient"):
            page.screenshot(path=ARTIFACTS / f"12-{name}-{scheme}.png")
    page.context.close()
    assert faults == []


def test_a_large_map_is_drawn_in_webgl_and_selects(
    browser: Any, serve: Callable[..., str], tmp_path: Path
) -> None:
    """6,000 patients: an exact legend, a legend entry by the keyboard, a lasso, a recolouring, all from this server."""
    rng, n = np.random.default_rng(0), 6000
    ids = [f"P{i:05d}" for i in range(n)]
    X = rng.standard_normal((n, 3)).astype(np.float32)
    stage = np.where(X[:, 0] > 0.5, "II", "I")
    table = pd.DataFrame({"patient_id": ids, "stage": stage, "score": X[:, 0].round(3)})
    table.to_csv(tmp_path / "clinical.csv", index=False)
    store = EmbeddingStore.create(tmp_path / "store")
    with store.writer({"encoder": "many", "licence": "CC0"}, dim=3, name="many") as writer:
        writer.add({"patient_id": p, "embedding": x} for p, x in zip(ids, X, strict=True))
    address = serve(store.path, tmp_path / "clinical.csv", stage="stage", order="I,II")
    page, strangers = opened(browser, address, "map"), []
    page.on("request", lambda r: r.url.startswith((address, "data:", "blob:")) or strangers.append(r.url))
    drawn = page.locator(".map[data-ready=yes]")
    drawn.wait_for()
    second = int((stage == "II").sum())
    entry = page.get_by_role("button", name=f"II (n = {second:,})", exact=True)
    names = page.locator(".map .label")
    names.nth(1).wait_for()
    entry.focus()  # seen alone
    page.wait_for_function(  # in the component's shadow root
        "() => [...document.querySelectorAll('*')].flatMap(e => [...(e.shadowRoot?.querySelectorAll('.label') ?? [])])"
        ".filter(l => l.style.visibility !== 'hidden').map(l => l.textContent).join() === 'II'"
    )
    entry.focus()
    page.keyboard.press("Enter")
    page.get_by_role("heading", name=f"{second:,} of {n:,} patients selected").wait_for()
    lasso(page, page.locator(".map canvas").first, 0.02, 0.98)
    page.get_by_text(re.compile(rf"^[56],\d+ of {n:,} selected$")).wait_for()
    before = drawn.get_attribute("data-stamp")
    choose(page, "Colour", "score")
    page.locator(f".map[data-ready=yes]:not([data-stamp='{before}'])").wait_for()
    page.mouse.move(*_middle(page.locator(".map canvas").first))
    keep_screenshot(page, "13-webgl-map")
    assert strangers == []
    page.context.close()


def _middle(area: Any) -> tuple[float, float]:
    box = area.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
