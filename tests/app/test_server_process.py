"""What the server makes ready before the first reader comes."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from app import jobs, loaders, server_process
from app.state import AppConfig
from flexict_core.store import EmbeddingStore


def test_the_cohort_and_its_map_are_there_before_anybody_asks(
    planted_store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = jobs.Shelf()
    monkeypatch.setattr("app.jobs.shelf", lambda: fresh)
    config = AppConfig(planted_store.store, planted_store.clinical, "patient_id")
    server_process.warm_up(config)
    monkeypatch.setattr("analysis.cohort.load_cohort", lambda *_, **__: pytest.fail("read again"))
    cohort = loaders.cohorts.held_cohort(config, EmbeddingStore(config.store).list()[0].embedding_id)
    assert cohort.n == 48
    drawn = fresh.answer(loaders.question("project", cohort, "pca"))
    assert drawn.coordinates.shape == (48, 2)
    assert not [t for t in threading.enumerate() if t.name.startswith("flexict Drawing")]


def test_an_empty_store_is_left_to_the_pages(planted_store: Any, tmp_path: Any) -> None:
    EmbeddingStore.create(tmp_path / "store")
    server_process.warm_up(AppConfig(tmp_path / "store", planted_store.clinical, "patient_id"))
