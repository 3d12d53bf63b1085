"""Every plot function, at both widths, as the files that a journal gets."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pandas as pd
import pytest

from analysis.export import export_figure
from analysis.plots.theme import TALLEST_MM

from .conftest import NAMES, PLOTS, Exhibit
from .pdf import assert_editable, only_page, texts

pytestmark = [pytest.mark.browser, pytest.mark.slow]
WIDTHS = {"single": 89.0, "double": 183.0}
SVG = "{http://www.w3.org/2000/svg}"
every_file = pytest.mark.parametrize("stem", [f"{name}.{width}" for name in NAMES for width in WIDTHS])


def test_there_is_a_result_for_every_plot(exhibits: dict[str, Exhibit]) -> None:
    assert set(exhibits) == set(NAMES)
    assert len(PLOTS) >= 23


@every_file
def test_a_pdf_is_a_page_of_vectors_and_findable_text(printed: Path, stem: str) -> None:
    page = only_page(printed / f"{stem}.pdf")
    assert float(page.mediabox.width) / 72 * 25.4 == pytest.approx(WIDTHS[stem.split(".")[-1]], abs=0.1)
    assert float(page.mediabox.height) / 72 * 25.4 <= TALLEST_MM
    assert_editable(page)
    sizes = [size for _, size, _, _ in texts(page)]
    assert 5 - 0.02 <= min(sizes)
    assert max(sizes) <= 7 + 0.02
    text = " ".join(page.extract_text().split())
    assert "Synthetic data · Research use only" in text
    assert re.search(r"n = \d|patients|queries|permutations", text)


@every_file
def test_an_svg_is_the_same_page_with_its_text(printed: Path, stem: str) -> None:
    root = ET.fromstring((printed / f"{stem}.svg").read_text(encoding="utf-8"))
    about = json.loads((printed / f"{stem}.json").read_text(encoding="utf-8"))
    assert float(root.attrib["width"].removesuffix("mm")) == pytest.approx(
        WIDTHS[stem.split(".")[-1]], abs=0.1
    )
    assert float(root.attrib["height"].removesuffix("mm")) == pytest.approx(about["height_mm"], abs=0.1)
    assert list(root.iter(f"{SVG}image")) == []
    lines = ["".join(t.itertext()) for t in root.iter(f"{SVG}text")]
    assert "Synthetic data · Research use only" in lines


@every_file
def test_the_numbers_beside_a_figure_are_those_of_the_result(
    printed: Path, exhibits: dict[str, Exhibit], stem: str
) -> None:
    e = exhibits[stem.rsplit(".", 1)[0]]
    wanted = e.source(e.result)
    table = pd.read_csv(printed / f"{stem}.csv", float_precision="round_trip", keep_default_na=True)
    assert list(table.columns) == list(wanted.columns)
    assert len(table) == len(wanted) > 0
    for column in wanted.select_dtypes("number"):
        np.testing.assert_array_equal(table[column].to_numpy(float), wanted[column].to_numpy(float))
    about = json.loads((printed / f"{stem}.json").read_text(encoding="utf-8"))
    assert (about["n"], about["verdict"]) == (e.result.n, e.result.verdict)
    assert about["provenance"]["synthetic"] is True
    caption = (printed / f"{stem}.md").read_text(encoding="utf-8")
    assert caption.startswith("**Figure.** ")
    assert e.result.methods_text().strip() in caption


@pytest.fixture(scope="module")
def boxes(printed: Path, chromium: str) -> Iterator[Any]:
    """A function: the box of every line of text of an SVG, in CSS pixels, as a browser lays it out."""
    from playwright.sync_api import sync_playwright

    script = """() => {
      const leaf = [...document.querySelectorAll('svg text')].flatMap(
        t => t.querySelector('tspan.line') ? [...t.querySelectorAll('tspan.line')] : [t]);
      return leaf.filter(t => t.textContent.trim()).map(t => {
        const r = document.createRange(); r.selectNodeContents(t);
        const b = r.getBoundingClientRect();
        return [t.textContent, b.left, b.top, b.right, b.bottom]; }); }"""
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = opened.new_page(viewport={"width": 800, "height": 800})

        def measure(stem: str) -> list[Any]:
            svg = (printed / f"{stem}.svg").read_text(encoding="utf-8")
            page.set_content(f"<body style='margin:0'>{svg}</body>")
            return page.evaluate(script)

        yield measure
        opened.close()


@every_file
def test_no_text_lies_on_another_or_leaves_the_page(boxes: Any, printed: Path, stem: str) -> None:
    about = json.loads((printed / f"{stem}.json").read_text(encoding="utf-8"))
    px = 96 / 25.4
    found = boxes(stem)
    assert found
    for text, left, top, right, bottom in found:
        assert left >= 0, text
        assert right <= about["width_mm"] * px, text
        assert top >= -1, text  # the box of a line is taller than its letters
        assert bottom <= about["height_mm"] * px + 1, text
    for i, (a, left, top, right, bottom) in enumerate(found):
        for b, left2, top2, right2, bottom2 in found[i + 1 :]:
            across = min(right, right2) - max(left, left2)
            up = min(bottom, bottom2) - max(top, top2)
            # letters fill about the middle 70 % of their line's box
            assert across <= 1 or up <= 0.3 * min(bottom - top, bottom2 - top2), (a, b)


@pytest.mark.parametrize("name", ["stage_gradient.scores_by_stage", "probe.confusion_matrix"])
def test_a_tiff_is_lzw_of_600_dpi_unless_another_is_asked_for(
    exhibits: dict[str, Exhibit], browser: Any, tmp_path: Path, name: str
) -> None:
    from PIL import Image

    e = exhibits[name]
    for dpi, wanted in ((None, 600), (150, 150)):
        export_figure(e.draw(e.result), tmp_path / "f", formats=("tiff",), result=e.result, dpi=dpi)
        with Image.open(tmp_path / "f.tiff") as image:
            assert image.info["compression"] == "tiff_lzw"
            assert [float(d) for d in image.info["dpi"]] == [wanted, wanted]
            assert image.width / wanted * 25.4 == pytest.approx(89, abs=25.4 / wanted)
        assert json.loads((tmp_path / "f.json").read_text())["dpi"] == {"tiff": wanted}
