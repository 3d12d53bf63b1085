"""Points on paper are vectors, whatever the screen shows; too many of them are a bitmap that says so."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.export import export_figure
from analysis.figure_browser import FigureBrowser
from analysis.paper import points
from analysis.plots.projection import projection_map

from .pdf import images, only_page

pytestmark = pytest.mark.browser


def test_a_map_drawn_by_webgl_is_printed_as_vectors(
    results: dict[str, Any], browser: FigureBrowser, tmp_path: Path
) -> None:
    picture = results["ProjectionResult"]
    figure = projection_map(picture, webgl=True)
    assert figure.data[0].type == "scattergl"
    export_figure(figure, tmp_path / "map", formats=("pdf", "svg"), result=picture)
    assert figure.data[0].type == "scattergl"  # the figure on the page is left as it is
    assert images(only_page(tmp_path / "map.pdf")) == []
    svg = (tmp_path / "map.svg").read_text(encoding="utf-8")
    assert "<image" not in svg
    assert len(re.findall('class="point[ "]', svg)) == picture.n
    assert json.loads((tmp_path / "map.json").read_text())["points_dpi"] is None


def test_too_many_points_are_a_bitmap_of_600_dpi_that_says_so(
    results: dict[str, Any], browser: FigureBrowser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    picture = results["ProjectionResult"]
    monkeypatch.setattr(points, "MOST_VECTOR_POINTS", 40)
    number = np.linspace(0, 1, picture.n)
    figure = projection_map(picture, number, label="share")
    export_figure(figure, tmp_path / "map", formats=("pdf", "svg", "png"), result=picture)
    (bitmap,) = images(only_page(tmp_path / "map.pdf"))
    about = json.loads((tmp_path / "map.json").read_text())
    assert about["points_dpi"] == 600
    assert bitmap["/Width"] / 89 * 25.4 >= 600 - 1
    svg = (tmp_path / "map.svg").read_text(encoding="utf-8")
    assert (
        "Points: bitmap of 600 dpi, for there are more than 40."
        in " ".join(svg.replace("</tspan>", " ").split()).replace('"', " ")
        or "Points: bitmap of 600 dpi" in svg
    )
    assert svg.count('class="point"') <= 4

    monkey = points.MOST_VECTOR_POINTS
    points.MOST_VECTOR_POINTS = 10**6
    try:
        export_figure(figure, tmp_path / "vector", formats=("png",), result=picture)
    finally:
        points.MOST_VECTOR_POINTS = monkey
    with Image.open(tmp_path / "map.png") as a, Image.open(tmp_path / "vector.png") as b:
        height = min(a.height, b.height) * 3 // 4  # above the notes, which differ by a line
        one, two = (np.asarray(i.convert("RGB"), dtype=float)[:height] for i in (a, b))
    differing = (np.abs(one - two).max(axis=2) > 90).mean()
    assert differing < 0.004  # every point at its place, in its colour: outlines alone differ
    assert ((two < 200).any(axis=2)).mean() > 0.02
