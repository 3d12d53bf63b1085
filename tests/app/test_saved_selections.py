"""Selections kept under a name: on disk, as a filter, and honest about how they were chosen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from analysis import load_cohort, probe
from app.saved_selections import SavedSelection, delete, folder, load, only, save, saved
from app.state import AppConfig
from flexict_core.errors import CohortError, InputError


@pytest.fixture
def config(planted_store: Any, tmp_path: Path) -> AppConfig:
    return AppConfig(planted_store.store, planted_store.clinical, "patient_id", results=tmp_path / "results")


def _chosen(name: str, count: int = 30) -> SavedSelection:
    return SavedSelection(
        name, tuple(f"P-{i:03d}" for i in range(count)), "PCA coloured by stage", "planted-1"
    )


def test_a_selection_comes_back_as_it_was_saved(config: AppConfig) -> None:
    first, second = _chosen("odd ones"), _chosen("Änderung / ../../etc", 3)
    for selection in (first, second):
        path = save(config, selection)
        assert path.parent == folder(config)  # no name leads out of the folder
    assert list(saved(config).values()) == [first, second]
    assert load(config, "odd ones") == first
    delete(config, "odd ones")
    assert list(saved(config)) == [second.name]
    with pytest.raises(CohortError, match="'odd ones'"):
        load(config, "odd ones")


def test_saving_one_leaves_the_cohorts_that_are_in_memory(config: AppConfig) -> None:
    from app.loaders import store_stamp

    before = store_stamp(config.store)
    assert {Path(name).name.split("-")[0] for name, _, _ in before} >= {"spec.json", "part"}
    save(config, _chosen("a new one"))
    assert store_stamp(config.store) == before
    delete(config, "a new one")


@pytest.mark.parametrize("name", ["", "  ", "x" * 61, "two\nlines"])
def test_a_name_of_no_use_is_refused(config: AppConfig, name: str) -> None:
    with pytest.raises(InputError, match="1 to 60"):
        save(config, _chosen(name))


def test_a_name_that_is_taken_is_refused_and_a_damaged_file_is_left_out(config: AppConfig) -> None:
    save(config, _chosen("mine"))
    with pytest.raises(InputError, match="already"):
        save(config, _chosen("mine", 5))
    (folder(config) / "damaged.json").write_text("{", "utf-8")
    assert list(saved(config)) == ["mine"]


def test_what_is_made_of_a_selection_says_how_it_was_chosen(config: AppConfig, planted_store: Any) -> None:
    cohort = load_cohort(config.store, None, config.clinical, id_column="patient_id")
    kept = only(cohort, _chosen("left side"))
    assert kept.n == 30
    assert "selection “left side”, chosen by looking" in kept.name
    result = probe(kept, "scanner")
    assert any("'left side'" in w and "post hoc" in w for w in result.warnings)
    assert "chosen by looking" in str(result.to_dict()["provenance"]["cohort"])
    with pytest.raises(CohortError, match="no patient"):
        only(cohort, SavedSelection("nobody", ("X",), "", ""))
