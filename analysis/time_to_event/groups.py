"""Kaplan–Meier curves of given groups and their log-rank test, without any risk score learnt from the embedding."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from analysis.results import Result

if TYPE_CHECKING:
    import pandas as pd

    from analysis.cohort import Cohort
    from analysis.time_to_event.curves import GroupCurve


@dataclass(frozen=True, kw_only=True, eq=False)
class GroupSurvival(Result):
    """Curves of groups; the fields have the names and meanings of `SurvivalResult`."""

    command: ClassVar[str] = "survival"

    duration: str
    event_name: str
    unit: str | None
    events: int
    by: str
    groups: tuple[GroupCurve, ...]
    ticks: tuple[float, ...]
    logrank_statistic: float
    logrank_p: float
    logrank_test: str
    time: np.ndarray
    event: np.ndarray

    def table(self) -> pd.DataFrame:
        """One row a group: n, events, median time and its interval."""
        import pandas as pd

        rows = [(g.label, g.n, g.events, g.median, *(g.median_ci or (None, None))) for g in self.groups]
        return pd.DataFrame(rows, columns=["group", "n", "events", "median", "ci_low", "ci_high"])

    def summary(self) -> str:
        return self.verdict

    def methods_text(self) -> str:
        return (
            f"Time to {self.event_name} ({self.duration}) of {self.n} patients ({self.events} events) was compared "
            f"between groups of {self.by} by the log-rank test; curves are Kaplan–Meier estimates with pointwise 95 % "
            "limits (log–log)."
        )

    def details(self) -> dict[str, Any]:
        return {
            "km_groups": [
                {k: getattr(g, k) for k in ("label", "n", "events", "median", "median_ci")}
                for g in self.groups
            ],
            "logrank_p": self.logrank_p,
            "logrank_statistic": self.logrank_statistic,
        }


def compare_groups(
    cohort: Cohort,
    groups: Sequence[str] | np.ndarray,
    duration: str,
    *,
    event: str,
    by: str,
    event_value: str | None = None,
    unit: str | None = None,
    notes: Sequence[str] = (),
) -> GroupSurvival:
    """Curves and log-rank test of `groups` [n], one label a patient, called `by`.

    duration, event: clinical columns, as of `analysis.survival`. Raises AnalysisError or CohortError for what cannot
    be compared: fewer than 20 patients or 5 events, not 2 to 8 groups, times not above 0.
    """
    from scipy.stats import chi2

    from analysis.time_to_event.curves import curves, group_labels, ticks
    from analysis.time_to_event.data import gather
    from analysis.time_to_event.measures import log_rank
    from analysis.time_to_event.words import number_p

    named = dataclasses.replace(cohort, table=cohort.table.assign(**{by: list(groups)}))
    d = gather(
        named, duration=duration, event=event, by=by, clinical=None, patients=None, event_value=event_value,
        competing="refuse",
    )  # fmt: skip
    labels = group_labels(d.groups if d.groups is not None else np.array([]))
    codes = np.array([labels.index(str(g)) for g in d.groups])  # type: ignore[union-attr]
    statistic = float(log_rank(codes[:, None], d.time, d.event, n_groups=len(labels))[0])
    p = float(chi2.sf(statistic, len(labels) - 1))
    at = ticks(d.time)
    return GroupSurvival(
        n=d.n,
        verdict=f"Survival of {' against '.join(labels)}: log-rank {number_p(p)} ({d.n} patients, {d.events} events)",
        warnings=(*d.warnings, *notes),
        provenance=d.provenance(
            {"duration": duration, "event": event, "event_value": event_value, "by": by}, 0
        ),
        duration=duration,
        event_name=event,
        unit=unit,
        events=d.events,
        by=by,
        groups=curves(codes, labels, time=d.time, event=d.event, at=at),
        ticks=at,
        logrank_statistic=statistic,
        logrank_p=p,
        logrank_test="log-rank",
        time=d.time,
        event=d.event,
    )
