"""The calibration's own bookkeeping: it goes on where it stopped, counts what it ran, and marks what is outside."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.benchmarks.calibration import advance
from tests.benchmarks.calibration_settings import Setting, settings
from tests.benchmarks.calibration_table import KINDS, markdown, rows_of_setting, summary
from tests.benchmarks.populations import Population

SMALL = Setting("independent", Population("independent", 4, 2), 30)


def test_runs_are_added_where_they_stopped_and_are_the_same(tmp_path: Path) -> None:
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    for folder in (whole, halves):
        folder.mkdir()
    assert advance(SMALL, "tests", target=6, most=10, draws=99, folder=whole) == 6
    assert [advance(SMALL, "tests", target=6, most=4, draws=99, folder=halves) for _ in range(3)] == [4, 2, 0]
    a, b = (pd.read_csv(f / f"{SMALL.key}-tests.csv") for f in (whole, halves))
    pd.testing.assert_frame_equal(a, b)
    assert a["seed"].tolist() == list(range(6))


def test_a_size_outside_its_band_is_bold_and_counts_are_said() -> None:
    p = pd.DataFrame({"seed": range(1000), "trend": np.arange(1000) / 1000, "step": np.arange(1000) / 2000})
    rows = rows_of_setting(SMALL, truth=pd.DataFrame(), tests=p, intervals=pd.DataFrame())
    assert [(r["what"], r["value"], r["inside"], r["runs"]) for r in rows] == [
        ("trend", 0.051, "yes", 1000),
        ("step", 0.101, "above", 1000),
    ]
    assert "| independent | 30/2 | 5.1 | **10.1** |  |  | 1000 |" in markdown(pd.DataFrame(rows))


def test_the_summary_pools_the_settings_of_a_kind_by_their_runs() -> None:
    rows = []
    for name, rejected, runs in (
        ("independent", 10, 100),
        ("independent, d = 2", 120, 300),
        ("planted 1", 9, 10),
    ):
        p = pd.DataFrame({"seed": range(runs), "trend": np.where(np.arange(runs) < rejected, 0.01, 0.5)})
        setting = Setting(name, SMALL.population, 30)
        rows += rows_of_setting(
            setting, truth=pd.DataFrame(), tests=p.assign(step=1.0), intervals=pd.DataFrame()
        )
    text = summary(pd.DataFrame(rows))
    nothing = KINDS["independent"]
    assert f"| {nothing} | 2 | 32.5 (10.0–40.0) | 0.0 (0.0–0.0) |  |  | 100–300 |" in text
    assert f"| {KINDS['planted']} | 1 | 90.0 | 0.0 |  |  | 10 |" in text


def test_the_settings_are_those_asked_for_and_each_has_a_file_of_its_own() -> None:
    alone = {(s.n, s.population.n_stages) for s in settings() if s.name == "independent"}
    assert {(n, K) for n in (30, 60, 150, 400) for K in (2, 3, 4, 7)} <= alone
    for kind in ("size", "scanner", "nonlinear"):
        assert {s.n for s in settings() if s.name == f"{kind}-driven"} == {30, 60, 150, 400}
    assert len({s.key for s in settings()}) == len(settings())


def test_stages_of_a_driven_population_are_cut_at_fixed_thresholds() -> None:
    population = Population("size", 4, 3)
    shares = [
        np.bincount(population.draw(100, np.random.default_rng(r)).codes, minlength=3) for r in range(200)
    ]
    # independent patients: counts vary as the multinomial's, 100 · 1/3 · 2/3
    assert 12 < np.var([s[0] for s in shares]) < 36
    assert np.mean(shares, axis=0) / 100 == pytest.approx(np.full(3, 1 / 3), abs=0.02)
