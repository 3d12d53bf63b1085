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


def _tool(name: str) -> Any:
    """A program of `.ci`, which is no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / f".ci/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_lock_holds_what_is_pinned_with_hashes() -> None:
    named = (pin.split("==") for pin in _tool("audit").pins())
    pinned = {f"{re.sub('[-_.]+', '-', name).lower()}=={version}" for name, version in named}
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8").replace("\\\n", "")
    lines = [line.split() for line in lock.splitlines() if line and not line.startswith("#")]
    assert {line[0] for line in lines} == {p for p in pinned if not p.startswith("torch==")}
    for name, *hashes in lines:
        assert hashes, name
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", h) for h in hashes), name


def test_an_audit_without_answers_is_none() -> None:
    verdict = _tool("audit").verdict
    clean = {"name": "a", "version": "1", "vulns": []}
    weak = {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}]}
    unknown = {"name": "c", "skip_reason": "not found"}
    assert verdict([unknown]) == (
        0,
        ["not audited: the list of known weaknesses answers for none of the 1 pinned libraries"],
    )
    assert verdict([clean, unknown]) == (
        0,
        ["audited: no known weakness in 1 pinned libraries; 1 are not in the list"],
    )
    assert verdict([clean, weak]) == (
        1, ["b 2: PYSEC-1, mended in 3", "audited: 1 known weaknesses in 2 pinned libraries"],
    )  # fmt: skip


def test_the_reference_is_built_from_the_docstrings(tmp_path: Path) -> None:
    """A part of `make api`: the package's front page and one module."""
    api = _tool("api")
    everything = api.modules()
    assert {"analysis", "analysis.plots.survival", "analysis.paper.assembly", "flexict_core.io"} <= set(
        everything
    )
    page = api.write(tmp_path / "api", ["analysis.export"])
    assert page.is_file()
    text = (tmp_path / "api/analysis/export.html").read_text(encoding="utf-8")
    assert "export_figure" in text
    assert "Write a figure for a paper" in text
