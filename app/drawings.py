"""Which figures belong to which result, and what their files are called."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

    from analysis.audit import AuditResult
    from analysis.probe import ProbeResult
    from analysis.projection import ProjectionResult
    from analysis.retrieval import RetrievalResult
    from analysis.stage_gradient import StageGradientResult
    from analysis.survival import SurvivalResult


@dataclass(frozen=True)
class Drawing:
    """One figure: the stem of its files, what draws it (at `width=`, as the plots take it), the numbers it draws."""

    stem: str
    draw: Callable[..., Figure]
    source: Callable[[], pd.DataFrame]


def gradient_drawings(result: StageGradientResult) -> list[Drawing]:
    """Scores by stage, steps, the adjusters where there are some, and the permutation distribution."""
    from analysis.plots import stage_gradient as plots

    drawings = [
        Drawing(
            "gradient_scores",
            lambda **page: plots.scores_by_stage(result, **page),
            lambda: plots.scores_by_stage_source(result),
        ),
        Drawing(
            "gradient_steps",
            lambda **page: plots.steps_forest(result, **page),
            lambda: plots.steps_forest_source(result),
        ),
        Drawing(
            "gradient_null",
            lambda **page: plots.permutation_null(result, **page),
            lambda: plots.permutation_null_source(result),
        ),
    ]
    if result.adjusters is not None:
        drawings.append(
            Drawing(
                "gradient_adjusters",
                lambda **page: plots.adjusters_panel(result, **page),
                lambda: plots.adjusters_panel_source(result),
            )
        )
    return [*drawings, *further_drawings(result)]


def further_drawings(result: StageGradientResult) -> list[Drawing]:
    """Controls, path, power; transport, outcome and comparison where the result holds them."""
    from analysis.plots import (
        gradient_comparison,
        gradient_controls,
        gradient_outcome,
        gradient_power,
        gradient_trajectory,
        gradient_transport,
    )

    asked: list[tuple[str, bool, Callable[..., Figure], Callable[..., pd.DataFrame]]] = [
        ("controls", True, gradient_controls.controls_forest, gradient_controls.controls_forest_source),
        ("readability", gradient_controls.has_readability(result), gradient_controls.readability_forest,
         gradient_controls.readability_forest_source),
        ("trajectory", result.trajectory is not None, gradient_trajectory.trajectory_plane,
         gradient_trajectory.trajectory_plane_source),
        ("power", result.power is not None, gradient_power.power_plot, gradient_power.power_plot_source),
        ("transport", result.transport is not None, gradient_transport.transport_forest,
         gradient_transport.transport_forest_source),
        ("transport_stages", result.transport is not None, gradient_transport.transport_stages,
         gradient_transport.transport_stages_source),
        ("outcome", result.outcome is not None, gradient_outcome.outcome_forest,
         gradient_outcome.outcome_forest_source),
        ("comparison", result.comparison is not None, gradient_comparison.comparison_forest,
         gradient_comparison.comparison_forest_source),
        ("differences", result.comparison is not None, gradient_comparison.differences_forest,
         gradient_comparison.differences_forest_source),
    ]  # fmt: skip
    return [
        Drawing(f"gradient_{name}", partial(draw, result), partial(source, result))
        for name, present, draw, source in asked
        if present
    ]


def probe_drawings(result: ProbeResult) -> list[Drawing]:
    """Metrics, label efficiency; the confusion matrix of classes and the calibration curve where there is one."""
    from analysis.plots import probe as plots

    asked: list[tuple[str, bool, Callable[..., Figure], Callable[..., pd.DataFrame]]] = [
        ("metrics", True, plots.metrics_forest, plots.metrics_forest_source),
        ("confusion", result.confusion is not None, plots.confusion_matrix, plots.confusion_matrix_source),
        ("calibration", bool(result.calibration), plots.calibration_curve, plots.calibration_curve_source),
        ("label_efficiency", True, plots.label_efficiency, plots.label_efficiency_source),
    ]
    return [
        Drawing(f"probe_{name}", partial(draw, result), partial(source, result))
        for name, present, draw, source in asked
        if present
    ]


def survival_drawings(result: SurvivalResult) -> list[Drawing]:
    """Kaplan–Meier curves and hazard ratios."""
    from analysis.plots import survival as plots

    return [
        Drawing(
            "survival_curves",
            lambda **page: plots.kaplan_meier(result, **page),
            lambda: plots.kaplan_meier_source(result),
        ),
        Drawing(
            "survival_hazard_ratios",
            lambda **page: plots.hazard_ratios(result, **page),
            lambda: plots.hazard_ratios_source(result),
        ),
    ]


def audit_drawings(result: AuditResult) -> list[Drawing]:
    """The ledger of recorded fields, and the groups left out, where there are any."""
    from analysis.plots import audit as plots

    drawings = []
    if result.fields:
        drawings.append(
            Drawing(
                "audit_ledger",
                lambda **page: plots.ledger_forest(result, **page),
                lambda: plots.ledger_forest_source(result),
            )
        )
    if result.left_out_groups is not None:
        drawings.append(
            Drawing(
                "audit_groups",
                lambda **page: plots.left_out_forest(result, **page),
                lambda: plots.left_out_forest_source(result),
            )
        )
    return drawings


def project_drawings(
    result: ProjectionResult, values: Sequence[Any] | None, *, label: str, order: Sequence[str] | None
) -> list[Drawing]:
    """The map, coloured by one value a patient where given, and by cluster where there are any."""
    from analysis.plots import projection as plots

    drawings = []
    if (found := result.clusters) is not None:
        names = ["none" if c < 0 else f"cluster {c}" for c in found.cluster]
        drawings.append(
            Drawing(
                "project_clusters",
                lambda **page: plots.projection_map(result, names, label="density cluster", **page),
                lambda: plots.projection_map_source(result, names, label="density cluster"),
            )
        )
    return [
        *drawings,
        Drawing(
            "project_map",
            lambda **page: plots.projection_map(result, values, label=label, order=order, **page),
            lambda: plots.projection_map_source(result, values, label=label, order=order),
        ),
    ]


def retrieve_drawings(result: RetrievalResult) -> list[Drawing]:
    """Each metric against a random ranking, and mAP by label and among matched patients."""
    from analysis.plots import retrieval as plots

    return [
        Drawing(
            "retrieve_parts",
            lambda **page: plots.parts_against_random(result, **page),
            lambda: plots.parts_against_random_source(result),
        ),
        Drawing(
            "retrieve_metrics",
            lambda **page: plots.metrics_against_random(result, **page),
            lambda: plots.metrics_against_random_source(result),
        ),
    ]
