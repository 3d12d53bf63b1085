"""Several figures on one page: what stands where, what the files hold, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pandas as pd
import pytest

from analysis.figure_browser import FigureBrowser
from analysis.paper.assembly import AssembledFigure, assemble, panel
from analysis.paper.composition import Drawn, joined_svg
from analysis.paper.files import export_assembled
from analysis.plots import stage_gradient, survival
from analysis.plots.projection import projection_map
from analysis.plots.theme import MM, PT
from flexict_core.errors import FigureExportError, FlexictError

from .pdf import assert_editable, only_page, texts

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def page(results: dict[str, Any]) -> AssembledFigure:
    gradient, picture = results["StageGradientResult"], results["ProjectionResult"]
    panels = [
        panel(projection_map, picture, values=np.linspace(0, 9, picture.n), label="diameter (mm)"),
        panel(stage_gradient.scores_by_stage, gradient),
        panel(survival.kaplan_meier, results["SurvivalResult"]),
        panel(stage_gradient.permutation_null, gradient),
    ]
    return assemble(panels, "ab/ccd", "double", row_heights_mm=[70, 80])


def test_panels_stand_where_the_layout_puts_them(page: AssembledFigure) -> None:
    a, b, c, d = page.placed
    assert [p.letter for p in page.placed] == ["a", "b", "c", "d"]
    assert [(p.x_mm, p.y_mm) for p in (a, b)] == [(0, 0), (93, 0)]  # (183 − 3) / 2 + 3
    third = (183 - 2 * 3) / 3
    assert (c.x_mm, d.x_mm) == (0, pytest.approx(2 * (third + 3)))
    assert c.figure.layout.width / MM == pytest.approx(2 * third + 3)
    assert d.figure.layout.width / MM == pytest.approx(third)
    assert c.y_mm == d.y_mm == pytest.approx(a.figure.layout.height / MM + 3)
    assert a.figure.layout.height == b.figure.layout.height
    assert page.height_mm == pytest.approx(c.y_mm + c.figure.layout.height / MM + 4)
    letters = [next(n for n in p.figure.layout.annotations if n.name == "letter") for p in page.placed]
    assert [n.text for n in letters] == [f"<b>{x}</b>" for x in "abcd"]
    assert {n.font.size for n in letters} == {8 * PT}
    for p, n in zip(page.placed, letters, strict=True):  # from the axes' corner back to the panel's
        assert n.xshift == pytest.approx(-p.figure.layout.margin.l + 0.5 * MM)
        assert n.yshift == pytest.approx(p.figure.layout.margin.t - 0.5 * MM)


def test_axes_of_a_row_end_on_one_line_where_they_nearly_do(page: AssembledFigure) -> None:
    a, b = (p.figure.layout.margin for p in page.placed[:2])
    assert a.b == b.b
    assert a.t == b.t


def test_notes_and_stamps_are_said_once(page: AssembledFigure, results: dict[str, Any]) -> None:
    for p in page.placed:
        assert {n.name for n in p.figure.layout.annotations} & {"notes", "stamp"} == set()
    assert page.stamp == "Synthetic data · Research use only"
    assert page.caption.startswith("**a**, PCA of 66 patients coloured by diameter (mm).")
    assert page.caption.index("**b**, Stage score") < page.caption.index("**c**, Kaplan–Meier")
    assert f"{results['StageGradientResult'].trend.concordance:.3f}" in page.caption
    assert page.caption.count("Dotted: pointwise 95 % limits") == 1
    methods = page.methods
    assert methods.count(results["StageGradientResult"].methods_text().strip()) == 1
    assert methods.index("**a.** ") < methods.index("**b, d.** ") < methods.index("**c.** ")


def test_notes_can_stay_below_their_panels(results: dict[str, Any]) -> None:
    gradient = results["StageGradientResult"]
    one = assemble([panel(stage_gradient.steps_forest, gradient)], (1, 1), "single", notes=True)
    assert any(n.name == "notes" for n in one.placed[0].figure.layout.annotations)


def test_real_and_synthetic_panels_are_told_apart(results: dict[str, Any]) -> None:
    from dataclasses import replace

    gradient = results["StageGradientResult"]
    real = replace(gradient, provenance=replace(gradient.provenance, synthetic=False))
    draw = stage_gradient.permutation_null
    assert assemble([panel(draw, real)], (1, 1)).stamp == "Research use only"
    mixed = assemble([panel(draw, real), panel(draw, gradient)], (1, 2))
    assert mixed.stamp == "Synthetic data in b · Research use only"
    assert mixed.synthetic


def test_a_finished_figure_is_a_panel_too(results: dict[str, Any]) -> None:
    gradient = results["StageGradientResult"]
    figure = stage_gradient.permutation_null(gradient)
    one = panel(figure, gradient)
    drawn = assemble([one], (1, 1), "double").placed[0].figure
    assert drawn.layout.width / MM == pytest.approx(183)
    assert figure.layout.width / MM == pytest.approx(89)
    assert gradient.trend.concordance in one.source["x"].to_numpy()


@pytest.mark.parametrize(
    ("count", "layout", "width", "heights", "wanted"),
    [
        (2, "aa/cc", "double", None, r"layout 'aa/cc' does not fit 2 panels: name each of a, b in one row"),
        (3, "aba/c", "double", None, "side by side"),
        (2, "a/a/b", "double", None, "does not fit 2 panels"),
        (3, (1, 2), "double", None, r"layout \(1, 2\) has no room for 3 panels"),
        (9, (3, 3), "double", None, r"9 panels: a page takes 1 to 8 \(a to h\)"),
        (3, (1, 3), 100.0, None, "panel a leaves .* mm across for its plot: give it more columns"),
        (2, (2, 1), "single", [50], "1 row heights for 2 rows"),
        (1, (1, 1), "single", [20], r"panel a does not fit a row of 20 mm: give it \d\d mm or more"),
        (6, (6, 1), "single", None, r"the page would be [\d.]+ mm tall, a journal's takes 170 mm"),
        (1, (1, 1), "triple", None, "figure width 'triple' is not known: choose single, double"),
    ],
)
def test_what_is_no_page_is_refused_in_a_line(
    results: dict[str, Any], count: int, layout: Any, width: Any, heights: Any, wanted: str
) -> None:
    one = panel(stage_gradient.steps_forest, results["StageGradientResult"])
    with pytest.raises(FlexictError, match=wanted) as raised:
        assemble([one] * count, layout, width, row_heights_mm=heights)
    assert "\n" not in str(raised.value)


def test_ids_of_panels_are_kept_apart() -> None:
    one = b"""<svg width="9" height="9"><defs><clipPath id="c1"/></defs><path clip-path="url(#c1)" data-id="x"/>
    <g style="fill: url('#c1')"/><use xlink:href="#c1" href="#c1"/></svg>"""
    joined = joined_svg(
        b'<svg width="20" height="20"><g/></svg>', [Drawn(one, x, 1, 2) for x in "ab"]
    ).decode()
    ids = re.findall(r'\sid="([^"]*)"', joined)
    assert ids == ["a-c1", "b-c1"]
    assert set(re.findall(r"#([\w-]+)", joined)) == set(ids)
    assert 'data-id="x"' in joined
    assert joined.startswith('<svg width="20" height="20">')
    assert joined.endswith("</svg>")
    assert joined.count("<svg") == 1


@pytest.fixture(scope="module")
def written(page: AssembledFigure, browser: FigureBrowser, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("page")
    paths = export_assembled(page, home / "figure_1", formats=("pdf", "svg", "png", "tiff"), dpi=150)
    ends = ["_a.csv", "_b.csv", "_c.csv", "_d.csv", ".json", ".md", ".pdf", ".svg", ".png", ".tiff"]
    assert [p.name for p in paths] == [f"figure_1{e}" for e in ends]
    return home


@pytest.mark.browser
def test_the_pdf_is_one_page_of_vectors_with_editable_text(written: Path, page: AssembledFigure) -> None:
    from pypdf import PdfReader

    sheet = only_page(written / "figure_1.pdf")
    assert float(sheet.mediabox.width) / 72 * 25.4 == pytest.approx(183, abs=0.1)
    assert float(sheet.mediabox.height) / 72 * 25.4 == pytest.approx(page.height_mm, abs=0.1)
    assert_editable(sheet)
    text = " ".join(sheet.extract_text().split())
    assert text.count("Research use only") == 1
    for expected in ("diameter (mm)", "Stage score", "At risk", "Permutations (count)", "Synthetic data"):
        assert expected in text
    found = {name: where for name, *where in texts(sheet)}
    sizes = {size for name, (size, _, _) in found.items() if name not in "abcd"}
    assert 5 - 0.02 <= min(sizes)
    assert max(sizes) <= 7 + 0.02
    for p in page.placed:  # letters lie in the upper left corner of their panels
        size, x, y = found[p.letter]
        assert size == pytest.approx(8, abs=0.02)
        assert (x - float(sheet.mediabox.left)) / 72 * 25.4 == pytest.approx(p.x_mm + 0.5, abs=0.3)
        down = (float(sheet.mediabox.top) - y) / 72 * 25.4
        assert p.y_mm + 1 < down < p.y_mm + 5
    metadata = PdfReader(written / "figure_1.pdf").metadata
    assert metadata is not None
    assert metadata["/Subject"] == "Synthetic data. Research use only."


@pytest.mark.browser
def test_the_svg_holds_every_panel_once_without_clashing_ids(written: Path, page: AssembledFigure) -> None:
    text = (written / "figure_1.svg").read_text(encoding="utf-8")
    root = ET.fromstring(text)
    assert root.attrib["width"] == "183.0000mm"
    assert float(root.attrib["height"].removesuffix("mm")) == pytest.approx(page.height_mm, abs=0.1)
    assert list(root.iter(f"{SVG}image")) == []
    ids = [e.attrib["id"] for e in root.iter() if "id" in e.attrib]
    assert len(ids) == len(set(ids)) > 4
    references = set(re.findall(r"url\(['\"]?(?:&quot;)?#([^)'\"&]+)", text))
    assert references
    assert references <= set(ids)
    texts = ["".join(t.itertext()) for t in root.iter(f"{SVG}text")]
    assert [t for t in texts if t in ("a", "b", "c", "d")] == ["a", "b", "c", "d"]
    assert page._repr_svg_() is not None


@pytest.mark.browser
def test_bitmaps_show_the_same_page(written: Path, page: AssembledFigure) -> None:
    from PIL import Image

    for kind in ("png", "tiff"):
        with Image.open(written / f"figure_1.{kind}") as image:
            assert [float(d) for d in image.info["dpi"]] == pytest.approx([150, 150], abs=0.1)
            assert image.width / 150 * 25.4 == pytest.approx(183, abs=0.2)
            assert image.height / 150 * 25.4 == pytest.approx(page.height_mm, abs=0.2)
            dark = np.asarray(image.convert("L")) < 100
    for p in page.placed:
        x, y = (round(v / 25.4 * 150) for v in (p.x_mm, p.y_mm))
        assert dark[y : y + 30, x : x + 20].any()  # its letter


@pytest.mark.browser
def test_numbers_provenance_and_caption_lie_beside_the_page(written: Path, page: AssembledFigure) -> None:
    for p in page.placed:
        table = pd.read_csv(written / f"figure_1_{p.letter}.csv", float_precision="round_trip")
        assert list(table.columns) == list(p.panel.source.columns)
        for column in p.panel.source.select_dtypes("number"):
            np.testing.assert_array_equal(
                table[column].to_numpy(float), p.panel.source[column].to_numpy(float)
            )
    about = json.loads((written / "figure_1.json").read_text(encoding="utf-8"))
    assert about["synthetic"] is True
    assert about["dpi"] == {"png": 150, "tiff": 150}
    assert [about["panels"][x]["figure"] for x in "abcd"] == [
        "map", "scores_by_stage", "kaplan_meier", "permutation_null"
    ]  # fmt: skip
    assert about["panels"]["b"]["provenance"]["data_sha256"]
    assert about["panels"]["d"]["x_mm"] == pytest.approx(124, abs=0.01)
    caption = (written / "figure_1.md").read_text(encoding="utf-8")
    assert caption == f"**Figure.** {page.caption}\n\n{page.stamp}.\n\n## Methods\n\n{page.methods}\n"


def test_without_a_browser_all_but_the_pictures_is_written(
    page: AssembledFigure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: Any) -> Any:
        raise FigureExportError("no Chrome or Chromium could draw the figure: install Chromium")

    monkeypatch.setattr(FigureBrowser, "__enter__", none)
    monkeypatch.setattr("analysis.paper.files.current_browser", lambda: None)
    with pytest.raises(FigureExportError, match="install Chromium"):
        export_assembled(page, tmp_path / "f")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f.json", "f.md", *(f"f_{x}.csv" for x in "abcd")]
    assert page._repr_svg_() is None
    with pytest.raises(FigureExportError, match="figure format 'eps' is not known"):
        export_assembled(page, tmp_path / "g", formats=("eps",))
    assert not list(tmp_path.glob("g*"))
