"""One result of every kind, and every plot function there is with a result that it can draw."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import analysis.plots
from analysis.export import export_figure
from analysis.figure_browser import FigureBrowser

ORDER = ["I", "II", "III"]
N = 66


@dataclass(frozen=True)
class Exhibit:
    """A plot function, its table of numbers, and a result."""

    draw: Callable[..., Any]
    source: Callable[..., pd.DataFrame]
    result: Any


def plot_functions() -> dict[str, tuple[Callable[..., Any], Callable[..., pd.DataFrame], str]]:
    """Every public plot function of `analysis.plots` (those with a `…_source`), and the kind of result it takes."""
    found = {}
    for info in pkgutil.iter_modules(analysis.plots.__path__):
        module = importlib.import_module(f"analysis.plots.{info.name}")
        for name, draw in vars(module).items():
            source = getattr(module, f"{name}_source", None)
            if source is None or name.startswith("_") or draw.__module__ != module.__name__:
                continue
            kind = str(next(iter(inspect.signature(draw).parameters.values())).annotation)
            kind = kind.split(" | ")[0]
            if kind.endswith("Result"):
                found[f"{info.name}.{name}"] = (draw, source, kind)
    return found


PLOTS = plot_functions()
MAPS = ("map by stage", "map by number", "map by category")
NAMES = [*PLOTS, *MAPS]


@pytest.fixture(scope="package")
def results() -> dict[str, Any]:
    """A synthetic cohort's result of every kind, with every section that a plot may draw."""
    from analysis import audit, probe, project, retrieval_metrics, stage_gradient, survival

    rng = np.random.default_rng(1)
    code = rng.permutation(np.arange(N) % 3)
    X = rng.standard_normal((N, 8))
    X[:, 0] += 1.2 * code
    stage = np.array(ORDER)[code]
    site = np.array(["north", "south"])[rng.integers(0, 2, N)]
    table = pd.DataFrame({"tumour_diameter_mm": 20 + 8 * code + 6 * rng.standard_normal(N), "site": site})
    duration = 900 * rng.exponential(np.exp(-0.5 * X[:, 0])) + 1
    event = rng.integers(0, 2, N)
    other = rng.permutation(N)
    home = stage_gradient(X[other] + 0.1, stage[other], order=ORDER, permutations=99)
    made = {
        "StageGradientResult": stage_gradient(
            X, stage, order=ORDER, permutations=99, adjust=table, axis=home.axis, duration=duration, event=event,
            groups=site, against={"noise": rng.standard_normal((N, 5))},
        ),
        "ProbeResult": probe(X, stage, protocol="published", repeats=2, permutations=99),
        "SurvivalResult": survival(X, duration, event, clinical=table[["tumour_diameter_mm"]], unit="days",
                                   permutations=99),
        "RetrievalResult": retrieval_metrics(X, stage, match=table[["tumour_diameter_mm"]]),
        "ProjectionResult": project(X, method="pca"),
        "AuditResult": audit(X, label=stage, order=ORDER, fields=table, group=site, permutations=99),
    }  # fmt: skip
    return {
        kind: replace(result, provenance=replace(result.provenance, synthetic=True))
        for kind, result in made.items()
    }


@pytest.fixture(scope="package")
def exhibits(results: dict[str, Any]) -> dict[str, Exhibit]:
    from analysis.plots.projection import projection_map, projection_map_source

    shown = {name: Exhibit(draw, source, results[kind]) for name, (draw, source, kind) in PLOTS.items()}
    picture = results["ProjectionResult"]
    number = np.where(np.arange(N) % 9, np.round(picture.coordinates[:, 0] * 10 + 50, 1), np.nan)
    columns: dict[str, dict[str, Any]] = {
        "map by stage": {"values": np.array(ORDER)[np.arange(N) % 3], "label": "stage", "order": ORDER},
        "map by number": {"values": number, "label": "tumour diameter (mm)"},
        "map by category": {"values": [f"site {i % 9}" for i in range(N)], "label": "site"},
    }
    for name, how in columns.items():
        draw, source = partial(projection_map, **how), partial(projection_map_source, **how)
        shown[name] = Exhibit(draw, source, picture)
    return shown


@pytest.fixture(scope="package")
def browser(chromium: str) -> Iterator[FigureBrowser]:
    with FigureBrowser() as opened:
        yield opened


@pytest.fixture(scope="package")
def printed(
    exhibits: dict[str, Exhibit], browser: FigureBrowser, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Folder in which every plot lies at both widths: <name>.<width>.pdf, .svg, and what lies beside."""
    home = tmp_path_factory.mktemp("printed")
    for name, e in exhibits.items():
        for width in ("single", "double"):
            export_figure(
                e.draw(e.result, width=width), home / f"{name}.{width}", width=width, formats=("pdf", "svg"),
                source=e.source(e.result), result=e.result,
            )  # fmt: skip
    return home
