"""The Python reference from the docstrings, as HTML that needs no server: python .ci/api.py [FOLDER]."""

from __future__ import annotations

import importlib
import pkgutil
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

PACKAGES = ("flexict_core", "analysis")


def modules() -> list[str]:
    """Every public module: pdoc by itself would stop at the names of `__all__`."""
    found = []
    for package in map(importlib.import_module, PACKAGES):
        found += [package.__name__]
        found += [m.name for m in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
        for name in package.__all__:  # they load on first use, which pdoc does not do
            setattr(package, name, getattr(package, name))
    return [name for name in found if not any(part.startswith("_") for part in name.split("."))]


def write(folder: Path, names: Sequence[str] | None = None) -> Path:
    """Write the reference of the modules (without names: of all) into a folder; returns its first page."""
    import pdoc

    # names that are imported for type checkers alone are printed as they stand, without a link
    warnings.filterwarnings("ignore", message="Error parsing type annotation")
    warnings.filterwarnings(
        "ignore", message="The module specification"
    )  # a package brings its modules along
    pdoc.render.configure(docformat="markdown", footer_text="FlexiCT Atlas. Research use only.")
    pdoc.pdoc(*(modules() if names is None else names), output_directory=folder)
    return next(p for p in (folder / "index.html", *folder.rglob("*.html")) if p.exists())


if __name__ == "__main__":
    print(write(Path(sys.argv[1] if len(sys.argv) > 1 else "build/api")))
