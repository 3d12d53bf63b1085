"""The stage gradient's result: its numbers, and the words that may be said of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from analysis.results import Interval, Result

if TYPE_CHECKING:
    import pandas as pd

    from analysis.gradient.comparison import Comparison
    from analysis.gradient.outcome import Outcome
    from analysis.gradient.power import PowerCurve
    from analysis.gradient.trajectory import Trajectory
    from analysis.gradient.transport import StageAxis, Transport


@dataclass(frozen=True)
class StageRow:
    """Mean score of a stage, in within-stage SDs about the unweighted mean of all stages."""

    label: str
    n: int
    mean_score: float
    ci: Interval | None


@dataclass(frozen=True)
class Trend:
    """Concordance of the cross-fitted score with the stage (0.5 none, 1 perfect) and its test."""

    concordance: float
    ci: Interval | None
    p_value: float
    kendall_tau: float
    permutations: int
    estimand: str


@dataclass(frozen=True)
class Step:
    """Two neighbouring stages: later minus earlier mean in within-stage SDs, its one-sided test, the AUC."""

    from_stage: str
    to_stage: str
    n_from: int
    n_to: int
    difference: float
    ci: Interval | None
    p_value: float
    auc: float


@dataclass(frozen=True)
class Strict:
    """All steps together: intersection–union p, steps that go down, isotonic fit, its largest violation."""

    p_value: float
    reversed_steps: tuple[str, ...]
    verdict: str
    isotonic: tuple[float, ...]
    largest_violation: float
    largest_violation_ci: Interval | None


@dataclass(frozen=True)
class Adjusters:
    """What the gradient is worth beyond the adjusters."""

    columns: tuple[str, ...]
    basis: tuple[str, ...]
    baseline_concordance: float
    baseline_ci: Interval | None
    adjusted_statistic: float
    p_conditional: float
    p_freedman_lane: float
    stratified_concordance: float | None
    strata: str
    combined_concordance: float
    added_value: float
    added_value_ci: Interval | None
    adjusted_upper_bound: float
    minimum_detectable_statistic: float
    relevant_gain: float
    verdict: str
    disagreement: str | None
    cautions: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class StageGradientResult(Result):
    """Do the embeddings follow the stage, at every step, beyond the adjusters?

    `scores` [n]: out-of-fold, in within-stage SDs, higher = later stage; `stage_codes` [n]: 0 … K − 1;
    `null_concordance` [B]: the refitted permutation distribution; `axis`: learnt from all patients, for transport
    to other cohorts.
    """

    command: ClassVar[str] = "gradient"

    order: tuple[str, ...]
    stages: tuple[StageRow, ...]
    trend: Trend
    steps: tuple[Step, ...]
    strict: Strict
    adjusters: Adjusters | None
    controls: dict[str, Any]
    minimum_detectable_concordance: float | None
    scores: np.ndarray
    stage_codes: np.ndarray
    patient_id: np.ndarray
    null_concordance: np.ndarray
    alpha: float
    parameters: dict[str, Any] = field(default_factory=dict)
    axis: StageAxis | None = None
    trajectory: Trajectory | None = None
    transport: Transport | None = None
    outcome: Outcome | None = None
    comparison: Comparison | None = None
    power: PowerCurve | None = None

    def details(self) -> dict[str, Any]:
        steps = [
            {
                "from": s.from_stage,
                "to": s.to_stage,
                "n_from": s.n_from,
                "n_to": s.n_to,
                "difference": s.difference,
                "ci": s.ci,
                "p_value": s.p_value,
                "auc": s.auc,
            }
            for s in self.steps
        ]
        return {
            "order": self.order,
            "alpha": self.alpha,
            "stages": self.stages,
            "trend": self.trend,
            "steps": steps,
            "strict": self.strict,
            "adjusters": self.adjusters,
            "controls": self.controls,
            "trajectory": None if self.trajectory is None else self.trajectory.details(),
            "axis_sha256": None if self.axis is None else self.axis.sha256,
            "transport": None if self.transport is None else self.transport.details(),
            "outcome": self.outcome,
            "comparison": self.comparison,
            "power": self.power,
            "minimum_detectable_concordance": self.minimum_detectable_concordance,
        }

    def table(self) -> pd.DataFrame:
        """One row an estimate: section, estimate, value, interval, p, test, n."""
        from analysis.gradient.words import estimates_table

        return estimates_table(self)

    def summary(self) -> str:
        from analysis.gradient.words import summary

        return summary(self)

    def methods_text(self) -> str:
        from analysis.gradient.words import methods_text

        return methods_text(self)
