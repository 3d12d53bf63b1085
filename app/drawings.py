"""Which figures belong to which result, and what their files are called."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

    from analysis.projection import ProjectionResult
    from analysis.retrieval import RetrievalResult
    from analysis.stage_gradient import StageGradientResult


@dataclass(frozen=True)
class Drawing:
    """One figure: the stem of its files, what draws it, and the numbers it draws."""

    stem: str
    draw: Callable[[], Figure]
    source: Callable[[], pd.DataFrame]


def gradient_drawings(result: StageGradientResult) -> list[Drawing]:
    """Scores by stage, steps, the adjusters where there are some, and the permutation distribution."""
    from analysis.plots import stage_gradient as plots

    drawings = [
        Drawing(
            "gradient_scores",
            lambda: plots.scores_by_stage(result),
            lambda: plots.scores_by_stage_source(result),
        ),
        Drawing(
            "gradient_steps", lambda: plots.steps_forest(result), lambda: plots.steps_forest_source(result)
        ),
        Drawing(
            "gradient_null",
            lambda: plots.permutation_null(result),
            lambda: plots.permutation_null_source(result),
        ),
    ]
    if result.adjusters is not None:
        drawings.append(
            Drawing(
                "gradient_adjusters",
                lambda: plots.adjusters_panel(result),
                lambda: plots.adjusters_panel_source(result),
            )
        )
    return drawings


def project_drawings(
    result: ProjectionResult, values: Sequence[Any] | None, *, label: str, order: Sequence[str] | None
) -> list[Drawing]:
    """The map, coloured by one value a patient where given."""
    from analysis.plots import projection as plots

    return [
        Drawing(
            "project_map",
            lambda: plots.projection_map(result, values, label=label, order=order),
            lambda: plots.projection_map_source(result, values, label=label, order=order),
        )
    ]


def retrieve_drawings(result: RetrievalResult) -> list[Drawing]:
    """Each metric against a random ranking."""
    from analysis.plots import retrieval as plots

    return [
        Drawing(
            "retrieve_metrics",
            lambda: plots.metrics_against_random(result),
            lambda: plots.metrics_against_random_source(result),
        )
    ]
