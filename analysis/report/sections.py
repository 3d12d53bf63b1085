"""The sections of a study: which analyses it asks for, in reading order, and the call that answers each."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analysis.report.cohorts import Cohorts, complete
from analysis.report.study import Audit
from flexict_core.errors import CohortError, FlexictError, InputError

if TYPE_CHECKING:
    from analysis.cohort import Cohort
    from analysis.report.study import Gradient, Probe, Project, Retrieve, Study, Survival
    from analysis.results import Result

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Section:
    """One analysis of a study. slug: its folder; embeddings: those it looks at, its own first; options: all of them
    in full, which decide whether an earlier answer still holds."""

    slug: str
    kind: str
    title: str
    question: str
    embeddings: tuple[str, ...]
    options: Any
    columns: tuple[str, ...] = ()
    stage: str | None = None
    order: str | None = None

    @property
    def own(self) -> str:
        return self.embeddings[0]

    def answer(self, cohorts: Cohorts, *, seed: int, say: Say) -> Result:
        """The result. Raises FlexictError where the data cannot carry the question."""
        return _ANSWERS[self.kind](self, cohorts, seed, say)

    def losses(self, cohort: Cohort) -> dict[str, int]:
        """Patients of the cohort who lack what this analysis needs, by reason."""
        try:
            kept = complete(cohort, self.columns, stage=self.stage, order=self.order)
        except FlexictError:
            return {}
        before = len(cohort.lost)
        return dict(Counter(str(r) for r in kept.lost["reason"].iloc[before:]))


def plan(study: Study, cohorts: Cohorts, *, file: str) -> list[Section]:
    """Every section that the study asks for. Those of one embedding stand once for each embedding.

    Raises InputError for a section without a column it needs (a gradient without a stage).
    """
    names, sections = cohorts.names, []
    for name in names:
        if study.audit is not None:
            sections.append(_audit(study, cohorts.main, name, names))
        if study.project is not None:
            sections.append(_project(study, study.project, name, names))
    for i, name in enumerate(names):
        if study.gradient is not None:
            against = names[1:] if i == 0 and study.gradient.compare else ()
            sections.append(_gradient(study, study.gradient, (name, *against), names, file=file))
    sections += [_probe(p, names) for p in study.probe]
    for name in names:
        if study.retrieve is not None:
            sections.append(_retrieve(study, study.retrieve, name, names, file=file))
    for name in names:
        if study.survival is not None:
            sections.append(_survival(study, study.survival, name, names))
    if not sections:
        raise InputError(
            f"{file} asks for nothing: add audit, project, gradient, probe, retrieve or survival"
        )
    return _numbered(sections)


def _numbered(sections: list[Section]) -> list[Section]:
    """Slugs that sort in reading order and name one section each."""
    return [dataclasses.replace(s, slug=f"{i + 1:02d}-{s.slug}") for i, s in enumerate(sections)]


def _slug(*parts: str) -> str:
    return "-".join("".join(c if c.isalnum() else "_" for c in p)[:40] for p in parts if p)


def _of(name: str, names: tuple[str, ...]) -> str:
    return f" · {name}" if len(names) > 1 else ""


def _audit(study: Study, cohort: Cohort, name: str, names: tuple[str, ...]) -> Section:
    given = study.audit or Audit()
    label = given.label or study.stage
    apart = {cohort.id_column, label, given.split, given.person, *_outcomes(study)}
    fields = given.fields or tuple(c for c in cohort.table.columns if c not in apart)
    o = dataclasses.replace(given, label=label, group=given.group or study.group, fields=fields)
    order = study.order if o.label == study.stage else None
    return Section(
        slug=_slug("audit", name), kind="audit", title=f"Audit{_of(name, names)}",
        question="What could make the other results wrong: confounders, duplicates, data seen in pretraining?",
        embeddings=(name,), options=(o, order),
    )  # fmt: skip


def _outcomes(study: Study) -> set[str]:
    """Columns of the outcome: read from the embedding they are an answer, nothing to adjust for."""
    asked = [(s.duration, s.event) for s in (study.survival, study.gradient) if s is not None]
    asked += [(p.target, p.event) for p in study.probe if p.task == "survival"]
    return {str(c) for pair in asked for c in pair if c is not None}


def _project(study: Study, given: Project, name: str, names: tuple[str, ...]) -> Section:
    o = dataclasses.replace(given, colour=given.colour or study.stage)
    order = study.order if o.colour == study.stage else None
    return Section(
        slug=_slug("map", name), kind="project", title=f"Map of the cohort{_of(name, names)}",
        question="What does the cohort look like, and how far can the picture be believed?",
        embeddings=(name,), options=(o, order),
    )  # fmt: skip


def _gradient(
    study: Study, given: Gradient, own: tuple[str, ...], names: tuple[str, ...], *, file: str
) -> Section:
    o = dataclasses.replace(
        given,
        stage=given.stage or study.stage,
        order=given.order or (study.order if given.stage in (None, study.stage) else None),
        adjust=study.adjust if given.adjust is None else given.adjust,
        group=given.group or study.group,
    )
    if o.stage is None or o.order is None:
        raise InputError(
            f"{file}: gradient needs stage and order: add them, as stage: grade, order: I,II,III"
        )
    if (o.duration is None) != (o.event is None):
        raise InputError(f"{file}: gradient.duration and gradient.event belong together: add the other one")
    beyond = f", beyond {', '.join(o.adjust)}" if o.adjust else ""
    return Section(
        slug=_slug("gradient", own[0]), kind="gradient", title=f"Stage gradient{_of(own[0], names)}",
        question=f"Do the embeddings follow {o.stage}: at all, at every step{beyond}?",
        embeddings=own, options=o, columns=(*(o.adjust or ()), *([o.group] if o.group else ())),
        stage=o.stage, order=o.order,
    )  # fmt: skip


def _probe(o: Probe, names: tuple[str, ...]) -> Section:
    needed = (o.target, *([o.event] if o.event else ()))
    ordinal = o.task == "ordinal"
    return Section(
        slug=_slug("probe", o.target, o.learner if o.learner != "linear" else ""), kind="probe",
        title=f"Probe of {o.target}", question=f"Can {o.target} be read from the embedding?",
        embeddings=names, options=o, columns=() if ordinal else needed,
        stage=o.target if ordinal else None, order=o.order if ordinal else None,
    )  # fmt: skip


def _retrieve(study: Study, given: Retrieve, name: str, names: tuple[str, ...], *, file: str) -> Section:
    o = dataclasses.replace(given, label=given.label or study.stage)
    if o.label is None:
        raise InputError(f"{file}: retrieve needs a label (or the study a stage): add label")
    return Section(
        slug=_slug("retrieve", name), kind="retrieve", title=f"Retrieval{_of(name, names)}",
        question=f"Do near patients share {o.label}?", embeddings=(name,), options=o,
        columns=(o.label, *o.match),
    )  # fmt: skip


def _survival(study: Study, given: Survival, name: str, names: tuple[str, ...]) -> Section:
    o = dataclasses.replace(given, adjust=study.adjust if given.adjust is None else given.adjust)
    beside = f", alone and beside {', '.join(o.adjust)}" if o.adjust else ""
    return Section(
        slug=_slug("survival", name), kind="survival", title=f"Survival{_of(name, names)}",
        question=f"Does the embedding tell {o.duration} to {o.event}{beside}?", embeddings=(name,), options=o,
        columns=(o.duration, o.event, *([o.by] if o.by else ()), *(o.adjust or ())),
    )  # fmt: skip


def _answer_audit(s: Section, cohorts: Cohorts, seed: int, say: Say) -> Result:
    from analysis import audit

    o, order = s.options
    return audit(
        cohorts.by_name[s.own], label=o.label, order=order, fields=o.fields, group=o.group, split=o.split,
        person=o.person, index=o.index, near_images=o.near_images, permutations=o.permutations, seed=seed,
        progress=say,
    )  # fmt: skip


def _answer_project(s: Section, cohorts: Cohorts, seed: int, say: Say) -> Result:
    from analysis import project
    from analysis.clusters import find_clusters

    o, _ = s.options
    cohort = cohorts.by_name[s.own]
    say("drawing the map")
    result = project(
        cohort, method=o.method, n_neighbors=o.neighbours, min_dist=o.min_dist, seed=seed, progress=False
    )
    if o.clusters:
        say("looking for clusters")
        result = dataclasses.replace(result, clusters=find_clusters(cohort, seed=seed))
    return result


def _answer_gradient(s: Section, cohorts: Cohorts, seed: int, say: Say) -> Result:
    from analysis import stage_gradient
    from analysis.gradient.transport import StageAxis

    o = s.options
    whole = complete(cohorts.by_name[s.own], s.columns)
    return stage_gradient(
        whole, o.stage, order=o.order, adjust=list(o.adjust) or None, groups=o.group,
        against={n: cohorts.by_name[n] for n in s.embeddings[1:]}, axis=o.axis and StageAxis.load(o.axis),
        duration=o.duration, event=o.event, event_value=o.event_value, duration_unit=o.unit,
        permutations=o.permutations, seed=seed, progress=say,
    )  # fmt: skip


def _answer_probe(s: Section, cohorts: Cohorts, seed: int, say: Say) -> Result:
    from analysis import probe

    o = s.options
    return probe(
        [cohorts.by_name[n] for n in s.embeddings], o.target, task=o.task, learner=o.learner, protocol=o.protocol,
        order=o.order, event=o.event, event_value=o.event_value, repeats=o.repeats, permutations=o.permutations,
        seed=seed, progress=say,
    )  # fmt: skip


def _answer_retrieve(s: Section, cohorts: Cohorts, seed: int, say: Say) -> Result:
    from analysis import retrieval_metrics

    o = s.options
    say("ranking")
    return retrieval_metrics(
        cohorts.by_name[s.own], o.label, protocol=o.protocol, stratify=o.stratify, match=o.match or None,
        caliper=o.caliper, seed=seed if o.seed is None else o.seed,
    )  # fmt: skip


def _answer_survival(s: Section, cohorts: Cohorts, seed: int, say: Say) -> Result:
    from analysis import survival

    o = s.options
    return survival(
        cohorts.by_name[s.own], o.duration, o.event, event_value=o.event_value, competing=o.competing, by=o.by,
        clinical=list(o.adjust) or None, horizons=o.horizons or None, penalty=o.penalty, unit=o.unit,
        permutations=o.permutations, seed=seed, progress=say,
    )  # fmt: skip


_ANSWERS: Mapping[str, Callable[[Section, Cohorts, int, Say], Result]] = {
    "audit": _answer_audit,
    "project": _answer_project,
    "gradient": _answer_gradient,
    "probe": _answer_probe,
    "retrieve": _answer_retrieve,
    "survival": _answer_survival,
}


def colours(section: Section, cohort: Cohort) -> tuple[list[Any], tuple[str, ...] | None]:
    """The values that colour a map, one a patient, and their order where they are stages."""
    from analysis.clinical import parse_order, stage_codes

    o, order = section.options
    if o.colour is None:
        return [], None
    values = list(cohort.column(o.colour))
    if order is None:
        return values, None
    parsed = parse_order(order)
    try:
        codes, _ = stage_codes(values, parsed, column=o.colour)
    except CohortError:
        return values, None
    return [parsed.labels[c] if c >= 0 else None for c in codes], parsed.labels
