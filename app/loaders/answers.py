"""Answers of the analyses, made as jobs: each with its progress, its Cancel, and its place on the shelf."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from app import jobs, state
from app.loaders.cohorts import cohort_key
from flexict_core.errors import StoreError

if TYPE_CHECKING:
    from analysis.audit import AuditResult
    from analysis.clusters import ClusterResult
    from analysis.cohort import Cohort
    from analysis.probe import ProbeResult
    from analysis.projection import Method, ProjectionResult
    from analysis.retrieval import RetrievalResult
    from analysis.stage_gradient import StageGradientResult
    from analysis.survival import SurvivalResult
    from app.components.gradient_settings import GradientSettings

Question = tuple[Any, ...]


def question(kind: str, cohort: Cohort, settings: Any = None) -> Question:
    """What is asked of which cohort: the key of the answer among the jobs."""
    return (kind, cohort_key(cohort), settings)


def projection(cohort: Cohort, method: Method, config: state.AppConfig) -> ProjectionResult:
    """The picture of a cohort: from the folder of results where it lies there, else drawn anew."""
    asked, title, work = _projection(cohort, method, config)
    return jobs.answer(asked, title, work, cancelled=partial(state.set_field, "method", "pca"))


def begin_projection(cohort: Cohort, method: Method, config: state.AppConfig) -> None:
    """The same work, begun by the server before anybody asks."""
    asked, title, work = _projection(cohort, method, config)
    if not jobs.has(asked):
        jobs.shelf().join(asked, title, work, session="the server itself")


def _projection(
    cohort: Cohort, method: Method, config: state.AppConfig
) -> tuple[Question, str, jobs.Work[ProjectionResult]]:
    from analysis import project
    from app.stored_results import stored_projection

    asked = question("project", cohort, method)
    if not jobs.has(asked) and (held := stored_projection(config.results, cohort, method)) is not None:
        jobs.shelf().keep(asked, held)
    title = f"Drawing the {method.upper()} of {cohort.n:,} patients"
    return asked, title, lambda say: project(cohort, method=method)


def clusters(cohort: Cohort) -> ClusterResult:
    """Density clusters of the embedding with what they are rich in."""
    from analysis.clusters import find_clusters

    return jobs.answer(
        question("clusters", cohort),
        "Looking for clusters",
        lambda say: find_clusters(cohort),
        cancelled=partial(state.set_run, "clusters", False),
    )


def placed(cohort: Cohort, condition: str, method: Method) -> tuple[ProjectionResult, Cohort]:
    """The map of those who do not meet "COLUMN=VALUE" with the others placed on it, and whom it was drawn of."""
    from dataclasses import replace

    from analysis import project
    from analysis.placement import place_new, set_apart

    known, new = set_apart(cohort, condition)

    def work(say: Callable[[str], None]) -> ProjectionResult:
        picture = project(known, method=method)
        say("placing the new cases")
        return replace(picture, placed=place_new(picture, known, new))

    asked = question("place", cohort, (condition, method))
    return jobs.answer(
        asked, "Drawing the map of the others", work, cancelled=partial(state.set_run, "place", False)
    ), known


def retrieval(cohort: Cohort, label: str, match: tuple[str, ...]) -> RetrievalResult:
    """How often near patients share a label, and among patients alike in the columns of `match`."""
    from analysis import retrieval_metrics

    return jobs.answer(
        question("retrieve", cohort, (label, match)),
        "Ranking every patient against all others",
        lambda say: retrieval_metrics(cohort, label, match=list(match) or None),
        cancelled=partial(state.set_run, "retrieval", False),
    )


def gradient(
    cohort: Cohort, settings: GradientSettings, *, page: str = state.GRADIENT_RUN
) -> StageGradientResult:
    """The stage gradient of these settings."""
    from analysis import stage_gradient

    return jobs.answer(
        question("gradient", cohort, settings),
        "Testing the stage gradient",
        lambda say: stage_gradient(
            cohort,
            settings.stage,
            order=settings.order,
            adjust=list(settings.adjust) or None,
            groups=settings.group,
            progress=say,
        ),
        cancelled=partial(state.set_run, page, False),
    )


@dataclass(frozen=True)
class AuditSettings:
    """What the audit page asks; order: the label's values from early to late, None where it is no stage."""

    label: str | None
    order: tuple[str, ...] | None
    group: str | None
    split: str | None
    fields: tuple[str, ...]


def audit(cohort: Cohort, settings: AuditSettings) -> AuditResult:
    """The audit of these settings; its verdict goes beside the store."""
    from analysis import audit as make
    from analysis.audits.stamp import write_stamp

    def work(say: Callable[[str], None]) -> AuditResult:
        result = make(
            cohort,
            label=settings.label,
            order=settings.order,
            fields=settings.fields or None,
            group=settings.group,
            split=settings.split,
            progress=say,
        )
        with suppress(StoreError):  # a store that may only be read keeps no verdict
            write_stamp(cohort, result)
        return result

    return jobs.answer(
        question("audit", cohort, settings),
        "Auditing",
        work,
        cancelled=partial(state.set_run, "audit", False),
    )


@dataclass(frozen=True)
class ProbeSettings:
    """One question to `analysis.probe`."""

    target: str
    task: str
    learner: str
    order: str | None
    protocol: str


def probe(cohort: Cohort, settings: ProbeSettings) -> ProbeResult:
    """The probe of these settings."""
    from analysis import probe as make

    asked: dict[str, Any] = vars(settings)
    options = {name: value for name, value in asked.items() if name != "target"}
    return jobs.answer(
        question("probe", cohort, settings),
        "Cross-validating the probe",
        lambda say: make(cohort, settings.target, progress=say, **options),
        cancelled=partial(state.set_run, "probes", False),
    )


@dataclass(frozen=True)
class SurvivalSettings:
    """One question to `analysis.survival`; by: None for thirds of the risk score."""

    duration: str
    event: str
    event_value: str
    by: str | None
    clinical: tuple[str, ...]


def survival(cohort: Cohort, settings: SurvivalSettings) -> SurvivalResult:
    """The survival analysis of these settings."""
    from analysis import survival as make

    return jobs.answer(
        question("survival", cohort, settings),
        "Learning the risk score",
        lambda say: make(
            cohort,
            settings.duration,
            settings.event,
            event_value=settings.event_value,
            by=settings.by,
            clinical=list(settings.clinical) or None,
            progress=say,
        ),
        cancelled=partial(state.set_run, "survival", False),
    )
