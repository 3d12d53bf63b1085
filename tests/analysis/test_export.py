from __future__ import annotations

import asyncio
import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis import export, project, stage_gradient
from analysis.export import csv_text, drawn_numbers, export_figure, export_result, json_text, write_text
from analysis.figure_browser import FigureBrowser, current_browser
from analysis.plots import theme
from analysis.plots.projection import projection_map
from analysis.plots.stage_gradient import permutation_null, scores_by_stage, scores_by_stage_source
from flexict_core.errors import FigureExportError, InputError

ORDER = ["I", "II", "III", "IV"]


@pytest.fixture(scope="module")
def gradient() -> Any:
    rng = np.random.default_rng(0)
    code = np.arange(60) % 4
    X = rng.normal(size=(60, 8)) + code[:, None] * 0.5
    result = stage_gradient(X, np.array(ORDER)[code], order=ORDER, permutations=99)
    return replace(
        result, provenance=replace(result.provenance, synthetic=True, licence="CC0", cohort="demo")
    )


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[FigureBrowser]:
    with FigureBrowser() as opened:
        yield opened


# --- tables and JSON -----------------------------------------------------------------------------------------


def test_result_files_hold_the_result(gradient: Any, tmp_path: Path) -> None:
    written = export_result(gradient, tmp_path / "new" / "folder", command="gradient")
    assert [p.name for p in written] == ["gradient.json", "gradient.csv", "methods.md"]
    told = json.loads(written[0].read_text(encoding="utf-8"))
    assert list(told)[:4] == ["schema_version", "command", "verdict", "n"]
    assert told["provenance"]["synthetic"] is True
    assert told["trend"]["concordance"] == gradient.trend.concordance
    table = pd.read_csv(written[1], float_precision="round_trip")
    wanted = gradient.table()
    np.testing.assert_array_equal(table["value"].to_numpy(float), wanted["value"].to_numpy(float))
    assert written[2].read_text(encoding="utf-8") == gradient.methods_text().strip() + "\n"
    assert sorted(p.name for p in written[0].parent.iterdir()) == [
        "gradient.csv",
        "gradient.json",
        "methods.md",
    ]


def test_the_same_result_gives_the_same_bytes(gradient: Any, tmp_path: Path) -> None:
    one = [p.read_bytes() for p in export_result(gradient, tmp_path / "a", command="gradient")]
    two = [p.read_bytes() for p in export_result(gradient, tmp_path / "b", command="gradient")]
    assert one == two


def test_json_keeps_order_precision_and_letters_and_has_no_nan() -> None:
    text = json_text({"z": 0.1 + 0.2, "a": float("nan"), "ä": np.float64(1 / 3)})
    assert json.loads(text) == {"z": 0.1 + 0.2, "a": None, "ä": 1 / 3}
    assert text.index('"z"') < text.index('"a"')
    assert "ä" in text


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_texts_that_a_spreadsheet_would_run_are_disarmed(start: str) -> None:
    table = pd.DataFrame(
        {"id": [f"{start}cmd", "P-1", None], "value": [-1.5, 1 / 3, np.nan], f"{start}x": [-1, 2, 3]}
    )
    back = pd.read_csv(io.StringIO(csv_text(table), newline=""), float_precision="round_trip")
    shown = start.replace("\r", "\n")
    assert back.iloc[0, 0] == f"'{shown}cmd"
    assert back["id"][1] == "P-1"
    assert back["value"][:2].tolist() == [-1.5, 1 / 3]
    assert back.columns[2] == f"'{shown}x"
    assert back.iloc[:, 2].tolist() == [-1, 2, 3]
    assert table.iloc[0, 0] == f"{start}cmd"


def test_a_categorical_column_is_disarmed_too() -> None:
    table = pd.DataFrame({"stage": pd.Categorical(["=1", "II"])})
    assert csv_text(table).splitlines() == ["stage", "'=1", "II"]


def test_a_file_is_whole_or_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    write_text(path, "old")

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export.os, "fsync", fail)
    with pytest.raises(InputError, match=r"a\.json.*No space left"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_folder_that_is_a_file_is_refused(gradient: Any, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("x")
    with pytest.raises(InputError, match="cannot be written"):
        export_result(gradient, tmp_path / "out", command="gradient")


# --- figures without a browser -------------------------------------------------------------------------------


def test_without_a_browser_everything_else_is_written(
    gradient: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "no-such-chromium"))
    monkeypatch.setattr("choreographer.browsers.chromium.Chromium.find_browser", lambda **_: None)
    with pytest.raises(FigureExportError, match=r"install Chromium.*BROWSER_PATH") as raised:
        export_figure(scores_by_stage(gradient), tmp_path / "scores", result=gradient)
    assert "\n" not in str(raised.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["scores.csv", "scores.json", "scores.md"]
    assert current_browser() is None


def test_a_browser_that_cannot_start_is_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "chromium"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("BROWSER_PATH", str(broken))
    monkeypatch.setattr("choreographer.browsers.chromium.Chromium.find_browser", lambda **_: str(broken))
    with pytest.raises(FigureExportError, match="install Chromium"), FigureBrowser():
        pass


def test_what_no_page_takes_is_refused_before_anything_is_written(gradient: Any, tmp_path: Path) -> None:
    tall = theme.stamp(theme.blank(panel_mm=171), gradient.provenance)
    with pytest.raises(FigureExportError, match="mm tall, a page takes 170 mm"):
        export_figure(tall, tmp_path / "tall", result=gradient)
    with pytest.raises(FigureExportError, match="'docx' is not known: choose from pdf, svg, png, tiff"):
        export_figure(tall, tmp_path / "tall", result=gradient, formats=("pdf", "docx"))
    assert list(tmp_path.iterdir()) == []


def test_numbers_are_read_off_the_figure_where_no_source_is_given(gradient: Any) -> None:
    drawn = drawn_numbers(scores_by_stage(gradient))
    source = scores_by_stage_source(gradient)
    np.testing.assert_allclose(np.sort(drawn["y"]), np.sort(source["value"]))
    means = drawn[drawn["trace"] == "mean"]
    np.testing.assert_allclose(means["ci_low"], source.loc[source["element"] == "mean", "ci_low"])
    assert set(drawn["patient_id"].dropna()) == set(gradient.patient_id)


# --- figures on paper ----------------------------------------------------------------------------------------


def fonts(page: Any) -> list[Any]:
    return [f.get_object() for f in page["/Resources"]["/Font"].values()]


def images(page: Any) -> list[str]:
    objects = page["/Resources"].get("/XObject", {})
    return [name for name, item in objects.items() if item.get_object()["/Subtype"] == "/Image"]


def words(page: Any) -> str:
    return " ".join(page.extract_text().split())


@pytest.mark.browser
@pytest.mark.parametrize(("width", "mm"), [("single", 89.0), ("double", 183.0)])
def test_a_pdf_has_its_exact_size_and_editable_truetype_text(
    gradient: Any, tmp_path: Path, browser: FigureBrowser, width: theme.Width, mm: float
) -> None:
    from pypdf import PdfReader

    fig = scores_by_stage(gradient, width=width)
    export_figure(fig, tmp_path / "scores", width=width, formats=("pdf",), result=gradient)
    reader = PdfReader(tmp_path / "scores.pdf")
    assert len(reader.pages) == 1
    page = reader.pages[0]
    height = fig.layout.height / theme.MM
    assert float(page.mediabox.width) / 72 * 25.4 == pytest.approx(mm, abs=0.01)
    assert float(page.mediabox.height) / 72 * 25.4 == pytest.approx(height, abs=0.01)
    assert float(page.cropbox.width) == float(page.mediabox.width)
    assert fonts(page)
    for font in fonts(page):
        descendant = font["/DescendantFonts"][0].get_object()
        assert font["/Subtype"] == "/Type0"
        assert descendant["/Subtype"] == "/CIDFontType2"  # TrueType outlines, never Type 3
        assert "/FontFile2" in descendant["/FontDescriptor"].get_object()
        assert "/ToUnicode" in font
    assert images(page) == []
    text = words(page)
    for expected in (
        "Synthetic data · Research use only",
        "Stage score, out of fold (within-stage SD)",
        "n = 15",
        f"Concordance {gradient.trend.concordance:.3f}",
        "permutation test",
    ):
        assert expected in text
    assert reader.metadata is not None
    assert reader.metadata["/Subject"] == "Synthetic data. Research use only."
    assert "/CreationDate" not in reader.metadata


@pytest.mark.browser
def test_text_is_as_large_on_paper_as_the_theme_says(
    gradient: Any, tmp_path: Path, browser: FigureBrowser
) -> None:
    """Chrome's print margins would shrink the drawing; sizes are read from the page's own matrices."""
    from pypdf import PdfReader

    export_figure(permutation_null(gradient), tmp_path / "null", formats=("pdf",), result=gradient)
    sizes: dict[str, float] = {}

    def visit(text: str, matrix: list[float], text_matrix: list[float], font: Any, size: float) -> None:
        if text.strip():
            across = np.hypot(matrix[0], matrix[1]) * np.hypot(text_matrix[0], text_matrix[1])
            sizes[text.strip()] = size * across

    page = PdfReader(tmp_path / "null.pdf").pages[0]
    page.extract_text(visitor_text=visit)
    at = {name: size for part in ("Concordance with stage", "Synthetic", "observed") for name, size in sizes.items()
          if part in name for name in [part]}  # fmt: skip
    assert at["Concordance with stage"] == pytest.approx(7, abs=0.02)
    assert at["observed"] == pytest.approx(6, abs=0.02)
    assert at["Synthetic"] == pytest.approx(5, abs=0.02)


@pytest.mark.browser
def test_nothing_is_cut_off_at_the_edge_of_the_page(
    gradient: Any, tmp_path: Path, browser: FigureBrowser
) -> None:
    from PIL import Image

    export_figure(scores_by_stage(gradient), tmp_path / "scores", formats=("png",), result=gradient)
    with Image.open(tmp_path / "scores.png") as image:
        pixels = np.asarray(image.convert("L"))
    edge = np.concatenate(
        [pixels[:3].ravel(), pixels[-3:].ravel(), pixels[:, :3].ravel(), pixels[:, -3:].ravel()]
    )
    assert (edge == 255).all()
    assert (pixels < 128).any()


@pytest.mark.browser
def test_an_svg_keeps_text_and_millimetres(gradient: Any, tmp_path: Path, browser: FigureBrowser) -> None:
    from xml.etree import ElementTree as ET

    fig = scores_by_stage(gradient)
    export_figure(fig, tmp_path / "scores", formats=("svg",), result=gradient)
    root = ET.fromstring((tmp_path / "scores.svg").read_text(encoding="utf-8"))
    width, height = root.attrib["width"], root.attrib["height"]
    assert width == "89.0000mm"
    assert float(height.removesuffix("mm")) == pytest.approx(fig.layout.height / theme.MM, abs=1e-3)
    box = [float(v) for v in root.attrib["viewBox"].split()]
    assert box[2] / box[3] == pytest.approx(89 / float(height.removesuffix("mm")), rel=1e-4)
    space = "{http://www.w3.org/2000/svg}"
    texts = " ".join("".join(t.itertext()) for t in root.iter(f"{space}text"))
    assert "Research use only" in texts
    assert "Stage score, out of fold (within-stage SD)" in texts
    assert list(root.iter(f"{space}image")) == []
    points = [p for p in root.iter(f"{space}path") if "point" in p.attrib.get("class", "").split()]
    assert len(points) == 60 + 4


@pytest.mark.browser
@pytest.mark.parametrize(("kind", "dpi"), [("png", 300), ("png", 600), ("tiff", 600)])
def test_bitmaps_have_their_resolution(
    gradient: Any, tmp_path: Path, browser: FigureBrowser, kind: str, dpi: int
) -> None:
    from PIL import Image

    export_figure(permutation_null(gradient), tmp_path / "null", formats=(kind,), result=gradient, dpi=dpi)
    with Image.open(tmp_path / f"null.{kind}") as image:
        assert image.width == pytest.approx(89 / 25.4 * dpi, abs=1)
        assert float(image.info["dpi"][0]) == pytest.approx(dpi, abs=0.1)
        assert image.mode == "RGB"


@pytest.mark.browser
def test_beside_a_figure_lie_its_numbers_provenance_and_caption(
    gradient: Any, tmp_path: Path, browser: FigureBrowser
) -> None:
    source = scores_by_stage_source(gradient)
    stem = tmp_path / "deep" / "fig.1"
    written = export_figure(scores_by_stage(gradient), stem, source=source, result=gradient)
    assert [p.name for p in written] == [f"fig.1.{e}" for e in ("csv", "json", "md", "pdf", "svg", "png")]
    assert all(p.stat().st_size > 200 for p in written)
    back = pd.read_csv(written[0], float_precision="round_trip")
    np.testing.assert_array_equal(back["value"], source["value"])
    np.testing.assert_array_equal(back["ci_low"], source["ci_low"].astype(float))
    assert set(back["value"]) >= set(gradient.scores)
    about = json.loads(written[1].read_text(encoding="utf-8"))
    assert about["provenance"]["synthetic"] is True
    assert about["provenance"]["licence"] == "CC0"
    assert about["width_mm"] == 89.0
    assert about["verdict"] == gradient.verdict
    caption = written[2].read_text(encoding="utf-8")
    assert caption.startswith("**Figure.** Stage score of 60 patients")
    assert f"{gradient.trend.concordance:.3f}" in caption
    assert "Synthetic data · Research use only" in caption
    assert gradient.methods_text().strip() in caption


@pytest.mark.browser
def test_a_coloured_map_has_no_bitmap_in_it(tmp_path: Path, browser: FigureBrowser) -> None:
    from pypdf import PdfReader

    rng = np.random.default_rng(1)
    result = project(rng.normal(size=(50, 6)), method="pca")
    fig = projection_map(result, rng.normal(size=50), label="tumour diameter (mm)")
    export_figure(fig, tmp_path / "map", formats=("pdf",), result=result)
    page = PdfReader(tmp_path / "map.pdf").pages[0]
    assert images(page) == []
    text = words(page)
    assert "tumour diameter (mm)" in text
    assert f"Trustworthiness {result.trustworthiness:.3f}" in text
    assert "Synthetic" not in text
    assert "Research use only" in text


@pytest.mark.browser
def test_one_browser_serves_several_figures_also_inside_a_running_loop(
    gradient: Any, tmp_path: Path, browser: FigureBrowser
) -> None:
    assert current_browser() is browser

    async def inside() -> list[Path]:
        return export_figure(permutation_null(gradient), tmp_path / "null", formats=("svg",), result=gradient)

    written = asyncio.run(inside())
    assert re.match(r"<svg[^>]*width=\"89\.0000mm\"", written[-1].read_text(encoding="utf-8"))


@pytest.mark.browser
def test_a_figure_without_its_stamp_gets_one(gradient: Any, tmp_path: Path, browser: FigureBrowser) -> None:
    import plotly.graph_objects as go

    fig = go.Figure(go.Scatter(x=[1, 2], y=[3, 4]), {"width": 400, "height": 300})
    written = export_figure(fig, tmp_path / "own", formats=("svg",), result=gradient)
    assert "Synthetic data · Research use only" in written[-1].read_text(encoding="utf-8")
    assert pd.read_csv(tmp_path / "own.csv")["y"].tolist() == [3, 4]
