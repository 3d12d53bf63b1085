"""--figure-width and --figure-formats: what they write, and one line before any computing where they are wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.cli import main


def call(planted_store: Any, out: Path, *more: str) -> int:
    return main(
        ["project", "--method", "pca", "--store", str(planted_store.store), "--clinical", str(planted_store.clinical),
         "--id", "patient_id", "--out", str(out), "--quiet", *more]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("option", "wanted"),
    [
        (("--figure-width", "triple"), "--figure-width 'triple' is not known: choose single, double, slide"),
        (
            ("--figure-formats", "pdf,docx"),
            "--figure-formats 'docx' is not known: choose from pdf, svg, png, tiff",
        ),
        (("--figure-formats", ""), "--figure-formats '' is not known"),
    ],
)
def test_an_unknown_size_or_format_is_refused_first(
    planted_store: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    option: tuple[str, str],
    wanted: str,
) -> None:
    assert call(planted_store, tmp_path / "out", *option) == 2
    said = capsys.readouterr().err.strip()
    assert wanted in said
    assert "\n" not in said
    assert not (tmp_path / "out").exists()


@pytest.mark.browser
def test_figures_have_the_size_and_formats_asked_for(
    planted_store: Any, tmp_path: Path, chromium: str
) -> None:
    from PIL import Image

    out = tmp_path / "out"
    assert call(planted_store, out, "--figure-width", "double", "--figure-formats", "tiff") == 0
    assert {p.suffix for p in out.glob("project_map.*")} == {".csv", ".json", ".md", ".tiff"}
    with Image.open(out / "project_map.tiff") as image:
        assert image.width / 600 * 25.4 == pytest.approx(183, abs=0.1)
