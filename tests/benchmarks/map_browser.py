"""The Map in a real browser with as many points as LUNA-like collections have: first view, recolouring, lasso.

    python -m tests.benchmarks.map_browser [--points 266227] [--runs 3]

Headless Chromium draws WebGL by SwiftShader, that is, on the processor: a machine with a graphics card is faster. Each
number is wall-clock time until the picture or the page's answer is there. What a reader feels as freezing: the longest
time between two animation frames, and the longest task that kept the page from answering (PerformanceObserver, which
counts those of 50 ms and more). Moving and zooming: the time of each frame while the mouse drags and the wheel turns.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.measurements import Measurement, record
from tests.serving.chromium import FLAGS
from tests.serving.server import served

LIMITS = {"first view": 6.0, "colour change": 1.5, "lasso": 1.5}
# Resolves with the first frame in which the map is drawn and its stamp is not `before`: waiting for a locator would look
# again only every half second.
DRAWN = """(before) => new Promise((done, fail) => {
  setTimeout(() => fail(new Error('the map is not drawn after four minutes')), 240000);
  const maps = () => [...document.querySelectorAll('*')].flatMap((e) => [...(e.shadowRoot?.querySelectorAll('.map') ?? [])]);
  const look = () => maps().some((m) => m.dataset.ready === 'yes' && m.dataset.stamp !== before)
    ? done() : requestAnimationFrame(look);
  look();
})"""
WATCH = """() => {
  if (!window.watched) {
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) window.watched.task = Math.max(window.watched.task, entry.duration);
    }).observe({ type: 'longtask' });
    let last = performance.now();
    const tick = (now) => { window.watched.frames.push(now - last); last = now; requestAnimationFrame(tick); };
    requestAnimationFrame(tick);
  }
  window.watched = { task: 0, frames: [] };
}"""


@dataclass(frozen=True)
class Timing:
    """Seconds of an action; the frames of the page meanwhile, and its longest task (s; 0: none above 50 ms)."""

    seconds: float
    frames: tuple[float, ...] = ()
    task: float = 0.0


def write_cohort(home: Path, n: int, dim: int = 16) -> None:
    """A store of `n` imported vectors in eight clouds, and a clinical table with stage, scanner and score."""
    import pandas as pd

    from flexict_core.store import EmbeddingStore

    rng = np.random.default_rng(0)
    cloud = rng.integers(0, 8, n)
    X = (rng.standard_normal((n, dim)) + rng.standard_normal((8, dim))[cloud] * 3).astype(np.float32)
    ids = np.array([f"P{i:07d}" for i in range(n)])
    spec = {"encoder": "benchmark", "licence": "CC0", "synthetic": True}
    with EmbeddingStore.create(home / "store").writer(spec, dim=dim, name="vectors") as writer:
        for start in range(0, n, 20_000):
            part = slice(start, start + 20_000)
            writer.add({"patient_id": p, "embedding": v} for p, v in zip(ids[part], X[part], strict=True))
    stage = np.array(["I", "II", "III", "IV"])[np.clip(cloud // 2 + rng.integers(-1, 2, n), 0, 3)]
    table = pd.DataFrame(
        {"patient_id": ids, "stage": stage, "scanner": np.array(["S1", "S2", "S3"])[rng.integers(0, 3, n)]}
    )
    table["score"] = np.round(X[:, 0] + rng.standard_normal(n), 3)
    table.to_csv(home / "clinical.csv", index=False)


def timed(page: Any, act: Callable[[], Any], done: Callable[[], Any]) -> Timing:
    """The time until `done` returns."""
    page.evaluate(WATCH)
    start = time.perf_counter()
    act()
    done()
    seconds = time.perf_counter() - start
    page.wait_for_timeout(100)  # a task is told when it has ended
    seen = page.evaluate("window.watched")
    return Timing(seconds, tuple(f / 1000 for f in seen["frames"]), seen["task"] / 1000)


def first_view(browser: Any, url: str) -> tuple[Any, float]:
    """A new reader opens the Map; the page, and the seconds until the points are drawn."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(240_000)
    start = time.perf_counter()
    page.goto(f"{url}/map?colour=stage")
    page.evaluate(DRAWN, None)
    return page, time.perf_counter() - start


def recolour(page: Any, column: str) -> Timing:
    """Choose another colour; done when the picture of other colours is drawn."""
    before = page.locator(".map").get_attribute("data-stamp")
    page.get_by_role("combobox", name="Colour").click()
    option = page.get_by_role("option", name=column, exact=True)
    option.wait_for()
    return timed(page, option.click, lambda: page.evaluate(DRAWN, before))


def lasso(page: Any, left: float, right: float) -> Timing:
    """Draw around a part of the panel; done when the page has compared the selection by its heading."""
    box = page.locator(".map canvas").first.bounding_box()
    corners = [(left, 0.05), (right, 0.05), (right, 0.95), (left, 0.95), (left, 0.1)]
    points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in corners]
    heading = page.get_by_role("heading", name="patients selected")
    before = heading.inner_text() if heading.count() else ""
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*point, steps=12)
    page.wait_for_timeout(100)
    return timed(
        page,
        page.mouse.up,
        lambda: page.wait_for_function(
            "before => [...document.querySelectorAll('h5')].some(h => h.innerText.includes('selected') && "
            "h.innerText !== before)",
            arg=before,
        ),
    )


def isolate(page: Any) -> Timing:
    """Focus an entry of the legend, so that it is seen alone; done with the second frame after."""
    entry = page.locator(".map .legend button").nth(1)
    seen = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
    return timed(page, entry.focus, lambda: page.evaluate(seen))


def move(page: Any) -> Timing:
    """Drag the picture to and fro."""
    page.locator(".map .tools").get_by_role("button", name="Move").click()
    box = page.locator(".map canvas").first.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()

    def drag() -> None:
        for shift in (120, -120, 120, 0):
            page.mouse.move(x + shift, y + shift / 2, steps=12)

    told = timed(page, drag, page.mouse.up)
    page.locator(".map .tools").get_by_role("button", name="Lasso").click()
    return told


def zoom(page: Any) -> Timing:
    """Turn the wheel over the picture, in and out."""
    box = page.locator(".map canvas").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)

    def turn() -> None:
        for step in (-60,) * 12 + (60,) * 12:
            page.mouse.wheel(0, step)
            page.wait_for_timeout(30)

    return timed(page, turn, lambda: None)


def measure(n: int, runs: int, picture: Path | None) -> dict[str, list[Timing]]:
    """All timings of each action."""
    from playwright.sync_api import sync_playwright

    found: dict[str, list[Timing]] = {}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        home = Path(folder)
        write_cohort(home, n)
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(FLAGS))
        with served(home / "store", home / "clinical.csv", stage="stage", order="I,II,III,IV") as server:
            url = server.url
            page, cold = first_view(browser, url)
            found["very first view of the server (reads the store, computes the PCA)"] = [Timing(cold)]
            page.close()
            for run in range(runs):
                page, seconds = first_view(browser, url)
                found.setdefault("first view", []).append(Timing(seconds))
                for column in ("scanner", "score", "stage"):
                    found.setdefault("colour change", []).append(recolour(page, column))
                found.setdefault("legend entry alone", []).append(isolate(page))
                found.setdefault("moving", []).append(move(page))
                found.setdefault("zooming", []).append(zoom(page))
                found.setdefault("lasso", []).append(lasso(page, 0.05 + 0.02 * run, 0.5))
                if picture is not None:
                    page.wait_for_timeout(1500)
                    page.screenshot(path=picture)
                page.close()
        browser.close()
    return found


def described(name: str, timings: list[Timing]) -> str:
    """One line of the report."""
    frames = [f for t in timings for f in t.frames]
    if name in ("moving", "zooming"):
        text = f"frames: median {1000 * statistics.median(frames):.0f} ms, worst {1000 * max(frames):.0f} ms"
    else:
        seconds = [t.seconds for t in timings]
        text = f"median {statistics.median(seconds):.2f} s, worst {max(seconds):.2f} s of {len(seconds)}"
        if name in LIMITS:
            text += f", limit {LIMITS[name]:.1f} s"
        if frames:
            text += f"; longest frame {max(frames):.2f} s"
    task = max(t.task for t in timings)
    return f"{name}: {text}" + (f"; longest task {task:.2f} s" if frames else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=266_227)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--picture", type=Path, help="keep a screenshot")
    asked = parser.parse_args()
    print(f"{asked.points:,} points, headless Chromium with SwiftShader (no graphics card)")
    for name, timings in measure(asked.points, asked.runs, asked.picture).items():
        print(described(name, timings))
        if name in LIMITS:
            worst = max(t.seconds for t in timings)
            record(Measurement(f"{name}, worst", worst, "s", bar=LIMITS[name]))


if __name__ == "__main__":
    main()
