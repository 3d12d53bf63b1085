"""Journeys on the Case page in a real browser: which cases look like mine, and where does the encoder look."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flexict_core.encoders.registry import load_encoder
from flexict_core.io import load_volume
from flexict_core.preprocess import Recipe
from flexict_core.store import EmbeddingStore

pytestmark = pytest.mark.browser

ARTIFACTS = Path(__file__).parents[2] / "test-artifacts"
DONE = "[data-testid=stApp][data-test-script-state=notRunning]"
SMALL = Recipe("small", "whole", spacing_mm=2.0, size=64)


@pytest.fixture(scope="module")
def store(planted_store: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two embeddings of 16 planted patients: named numbers, and a small network of random weights with patches."""
    held = EmbeddingStore(planted_store.store).read("planted")
    encoder: Any = load_encoder("random-3d", recipe=SMALL, device="cpu")
    path = tmp_path_factory.mktemp("case") / "store"
    few = range(0, 48, 3)
    told = ("patient_id", "root", "image", "mask", "mask_label")
    rows = [{c: getattr(r, c) for c in told} for r in held.rows.iloc[list(few)].itertuples(index=False)]
    volumes = [load_volume(Path(row["root"]) / row["image"]) for row in rows]
    vectors = [encoder.encode([encoder.prepare(v, None)])[0] for v in volumes]
    made = EmbeddingStore.create(path)
    with made.writer({**encoder.spec(), "synthetic": True}, dim=encoder.dim, name="random-3d") as writer:
        writer.add({**row, "embedding": x} for row, x in zip(rows, vectors, strict=True))
    named = {"encoder": "planted", "synthetic": True, "feature_names": held.spec["feature_names"]}
    with made.writer(named, dim=6, name="planted") as writer:
        writer.add({**row, "embedding": held.X[i]} for row, i in zip(rows, few, strict=True))
    return path


@pytest.fixture(scope="module")
def dashboard(store: Path, planted_store: Any, serve: Any) -> str:
    address: str = serve(store, planted_store.clinical, stage="stage", order=planted_store.order)
    return address


@pytest.fixture(scope="module")
def page(browser: Any, dashboard: str) -> Iterator[Any]:
    """A page of 1280 × 900 px that notes what it asks of other machines (`strangers`) and its own errors."""
    ARTIFACTS.mkdir(exist_ok=True)
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.strangers, page.faults = [], []
    own = (dashboard, dashboard.replace("http", "ws"), "data:", "blob:")
    page.on("request", lambda r: r.url.startswith(own) or page.strangers.append(r.url))
    page.on("pageerror", lambda e: page.faults.append(str(e)))
    page.set_default_timeout(60_000)
    yield page
    page.close()


def settled(page: Any) -> Any:
    """Wait until the page's script has run and what it drew has arrived."""
    page.wait_for_timeout(150)
    page.locator(DONE).wait_for()
    page.wait_for_timeout(250)
    return page


def opened(page: Any, address: str) -> Any:
    page.goto(address)
    page.get_by_role("heading", name="Case", exact=True).wait_for()
    return settled(page)


def keep_screenshot(page: Any, name: str, *, dark: bool = False) -> None:
    """A picture of the page, 1280 px wide in the light or 1920 px in the dark: the processor draws it, slowly."""
    width, scheme = (1920, "dark") if dark else (1280, "light")
    page.set_viewport_size({"width": width, "height": 1400})
    page.emulate_media(color_scheme=scheme)
    page.wait_for_timeout(250)
    page.screenshot(path=ARTIFACTS / f"{name}-{width}-{scheme}.png")
    if dark:
        page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 1280, "height": 900})


def plane(page: Any, name: str) -> Any:
    return page.get_by_role("slider", name=f"{name} plane")


def press(page: Any, name: str) -> None:
    page.get_by_role("radio", name=name, exact=True).or_(
        page.get_by_role("button", name=name, exact=True)
    ).first.click()
    settled(page)


def cards(page: Any) -> list[str]:
    """The patients of the cards, in rank order."""
    found = page.locator("[class*=st-key-open-]").evaluate_all("e => e.map(x => x.className)")
    return [re.search(r"st-key-open-(\S+)", c).group(1) for c in found]  # type: ignore[union-attr]


def identity(store: Path, name: str) -> str:
    return next(i for i in EmbeddingStore(store).ids() if i.startswith(name))


def lit(page: Any) -> float:
    """Share of the 3D canvas that is not black."""
    import io

    from PIL import Image

    shot = page.frame_locator("iframe").locator("canvas").screenshot()
    return float((np.asarray(Image.open(io.BytesIO(shot)).convert("L")) > 20).mean())


def look_at_the_planes(page: Any) -> None:
    """Wheel and arrow keys go through the slices; a click moves the other two planes; the link follows."""
    axial = plane(page, "axial")
    first = axial.locator("img").get_attribute("src")
    assert axial.get_attribute("aria-valuetext") == "z 24.0 mm (9/16)"
    axial.focus()
    axial.press("ArrowUp")
    page.locator(".plane[aria-valuetext='z 27.0 mm (10/16)']").wait_for()
    assert axial.locator("img").get_attribute("src") != first
    axial.hover()
    page.mouse.wheel(0, 100)
    page.locator(".plane[aria-valuetext='z 24.0 mm (9/16)']").wait_for()
    box = axial.locator("img").bounding_box()
    axial.locator("img").click(position={"x": 0.25 * box["width"], "y": 0.5 * box["height"]})
    page.locator(".plane[aria-label='sagittal plane']:not([aria-valuetext^='x 32.0'])").wait_for()
    settled(page)
    at = re.search(r"at=([-\d.]+)%2C([-\d.]+)%2C([-\d.]+)", page.url)
    assert at is not None
    x, y, z = (float(v) for v in at.groups())
    # the axial slice is 48 × 40 mm on a canvas 48 mm wide and high: a quarter of the way is 12 mm from its edge
    assert (abs(x - 11.0) <= 2.0, abs(y - 19.0) <= 2.5, z) == (True, True, 24.0)


def turn_it_in_3d(page: Any) -> None:
    press(page, "3D")
    frame = page.frame_locator("iframe")
    frame.locator("body[data-state=ready]").wait_for(timeout=30_000)
    page.wait_for_timeout(300)
    assert lit(page) > 0.02
    canvas = frame.locator("canvas")
    before = canvas.screenshot()
    canvas.focus()
    canvas.press("ArrowRight")
    canvas.press("ArrowRight")
    page.wait_for_timeout(400)
    assert canvas.screenshot() != before  # it turned
    assert (
        "niivue" in page.locator("iframe").get_attribute("title").lower()
        or frame.locator("#hint").is_visible()
    )


def test_which_cases_look_like_mine(
    page: Any, dashboard: str, store: Path, planted_store: Any, tmp_path: Path
) -> None:
    """Planes, 3D, the nearest cases and why, matched controls, an upload, and a sentence that cannot be asked."""
    opened(page, f"{dashboard}/case?case=P-030&embedding={identity(store, 'planted')}")
    look_at_the_planes(page)
    nearest = cards(page)
    assert len(nearest) == 5
    page.get_by_role("button", name="Why").first.click()
    page.get_by_text("planted (shown here): rank 1 of 15").wait_for()
    page.get_by_text(re.compile(r"random-3d: rank \d+ of 15")).first.wait_for()
    keep_screenshot(page, "case-1-planes")
    page.keyboard.press("Escape")
    turn_it_in_3d(page)
    page.screenshot(path=ARTIFACTS / "case-2-3d-1280-light.png")
    opened(
        page, f"{dashboard}/case?case=P-030&embedding={identity(store, 'planted')}&matched=1&match=scanner"
    )
    page.get_by_text(re.compile("Only the .* patients alike in")).wait_for()
    assert cards(page) != nearest
    press(page, "Same relative position")
    assert "level=relative" in page.url
    keep_screenshot(page, "case-3-matched", dark=True)

    opened(page, f"{dashboard}/case?ask=upload&embedding={identity(store, 'random-3d')}")
    page.locator("input[type=file]").first.set_input_files(planted_store.images / "P-030.nii.gz")
    page.get_by_text("in no store").wait_for()
    page.get_by_text("Most similar cases").wait_for()
    settled(page)
    assert len(cards(page)) == 5
    page.get_by_text("cosine 1.000").first.wait_for()
    keep_screenshot(page, "case-4-upload")
    broken = tmp_path / "broken.zip"
    broken.write_bytes(b"no zip")
    page.get_by_role("button", name="Remove this CT").click()
    settled(page)
    page.locator("input[type=file]").first.set_input_files(broken)
    page.get_by_text("cannot be unpacked").wait_for()
    press(page, "Sentence")
    page.get_by_text("No sentence can be asked of this embedding").wait_for()
    assert page.strangers == []
    assert page.faults == []


def test_where_does_it_look(page: Any, dashboard: str, store: Path) -> None:
    """PCA colours, similarity to a clicked point, and the stage-axis map with its parts."""
    opened(page, f"{dashboard}/case?case=P-030&embedding={identity(store, 'random-3d')}&shows=patches")
    page.get_by_text("principal components").wait_for()
    page.get_by_text("a negative control").wait_for()
    picture = plane(page, "coronal").locator("img")
    plain = picture.get_attribute("src")
    keep_screenshot(page, "case-5-pca")
    press(page, "Similarity to a point")
    page.get_by_text("Point: x").wait_for()
    assert picture.get_attribute("src") != plain
    point = page.get_by_text("Point: x").inner_text()
    box = picture.bounding_box()
    picture.click(position={"x": 0.3 * box["width"], "y": 0.4 * box["height"]})
    page.wait_for_function("t => !document.body.innerText.includes(t)", arg=point.split(".")[0] + ".")
    settled(page)
    assert page.get_by_text("Point: x").inner_text() != point
    keep_screenshot(page, "case-6-similarity", dark=True)
    press(page, "Stage axis")
    page.get_by_text("Share of the spread").wait_for()
    score, patches, cls = (
        float(page.get_by_test_id("stMetricValue").nth(i).inner_text().replace("−", "-")) for i in range(3)
    )
    assert score == pytest.approx(patches + cls, abs=0.0016)
    keep_screenshot(page, "case-7-stage-axis")
    page.reload()
    page.get_by_text("Share of the spread").wait_for()  # the link holds the view
    assert page.strangers == []
    assert page.faults == []


def test_without_webgl_the_3d_view_says_so(browser: Any, dashboard: str, store: Path) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(60_000)
    page.add_init_script("HTMLCanvasElement.prototype.getContext = () => null")
    opened(page, f"{dashboard}/case?case=P-030&embedding={identity(store, 'planted')}&shows=3d")
    page.frame_locator("iframe").get_by_text("This browser has no WebGL 2").wait_for()
    page.screenshot(path=ARTIFACTS / "case-8-no-webgl.png")
    page.close()
