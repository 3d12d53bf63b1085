"""What stands beside the code is true: named files exist, the citation is valid, the reference is built."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "GLOSSARY.md")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_files_that_a_document_names_exist(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    linked = re.findall(r"\]\((?!http|#)([^)#]+)", text)
    quoted = re.findall(r"`((?:app|analysis|flexict_core|tests|notebooks)/[\w/.-]*)`", text)
    assert linked or quoted or name == "GLOSSARY.md"
    for path in (*linked, *quoted):
        assert (ROOT / path).exists(), path


def test_the_citation_is_valid_and_of_this_version() -> None:
    """Required keys and types of the Citation File Format 1.2.0."""
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(cited)
    assert all({"name"} <= set(a) or {"family-names"} <= set(a) for a in cited["authors"])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (str(cited["version"]), cited["license"]) == (project["version"], project["license"])
    (paper,) = cited["references"]
    assert {"authors", "title", "type"} <= set(paper)
    assert "2605.21906" in paper["url"]
    assert "doi" not in paper


def test_the_reference_is_built_from_the_docstrings(tmp_path: Path) -> None:
    """A part of `make api`: the package's front page and one module."""
    spec = importlib.util.spec_from_file_location("api", ROOT / ".ci/api.py")
    assert spec is not None
    assert spec.loader is not None
    api: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(api)
    everything = api.modules()
    assert {"analysis", "analysis.plots.survival", "analysis.paper.assembly", "flexict_core.io"} <= set(
        everything
    )
    page = api.write(tmp_path / "api", ["analysis.export"])
    assert page.is_file()
    text = (tmp_path / "api/analysis/export.html").read_text(encoding="utf-8")
    assert "export_figure" in text
    assert "Write a figure for a paper" in text
