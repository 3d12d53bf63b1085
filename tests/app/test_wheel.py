"""The wheel holds the whole program and nothing else, and runs from where it is unpacked."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("flexict_core", "analysis", "app")


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the unpacked wheel, built from a copy so that nothing is left in the checkout."""
    import shutil

    source, home = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
    ]
    subprocess.run([*command, "--wheel-dir", home, source], check=True, capture_output=True, text=True)
    (wheel,) = home.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(home / "site")
    return home / "site"


def files(folder: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix()
        for name in PACKAGES
        for path in (folder / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_every_file_of_the_packages_is_in_it(unpacked: Path) -> None:
    assert files(unpacked) == files(ROOT)
    others = {p.name for p in unpacked.iterdir()} - set(PACKAGES)
    assert {name.rsplit(".", 1)[-1] for name in others} == {"dist-info"}


def test_it_runs_where_the_checkout_is_not(unpacked: Path, tmp_path: Path) -> None:
    code = (
        "import sys, runpy, analysis, flexict_core; print(analysis.__file__)\n"
        "sys.argv = ['flexict', 'encoders']; from app.cli import main; main()"
    )
    # -S -E would lose the libraries: the checkout is an editable install, so its finders are taken away instead
    lead = (
        "import sys; sys.meta_path = [f for f in sys.meta_path if '__editable__' not in str(f)]; "
        f"sys.path = [{str(unpacked)!r}] + [p for p in sys.path if p and p != {str(ROOT)!r}]\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", lead + code], cwd=tmp_path, capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": ""},
    )  # fmt: skip
    assert str(unpacked) in done.stdout
    assert "flexict-3d-vlm" in done.stdout
