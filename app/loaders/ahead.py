"""What the first reader will ask, asked by the server itself when it starts: no session, no widgets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app import state
from app.loaders import answers, cohorts

if TYPE_CHECKING:
    from analysis.cohort import Cohort


def cohort_ahead(config: state.AppConfig) -> Cohort | None:
    """The first embedding of the store with all its patients; None where the store holds none."""
    from flexict_core.store import EmbeddingStore

    held = EmbeddingStore(config.store).list()
    return cohorts.held_cohort(config, held[0].embedding_id) if held else None


def projection_ahead(cohort: Cohort, config: state.AppConfig) -> None:
    """Begin the map that the Map page opens with, or take it from the folder of results."""
    answers.begin_projection(cohort, "pca", config)
