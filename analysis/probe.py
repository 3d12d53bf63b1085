"""Probes: what can be read from the embedding — a class, an ordered class, a number, a survival time?

Nested, repeated cross-validation by patient (`probes.nested`): hyperparameters are chosen inside the training
patients and never see a test fold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import numpy as np

from analysis.probes.learners import Learner, Task
from analysis.results import Result
from flexict_core.errors import AnalysisError

if TYPE_CHECKING:
    import pandas as pd

    from analysis.cohort import Cohort
    from analysis.probes.estimates import Difference, EfficiencyRow, MetricRow, Published, Refits
    from analysis.probes.nested import Crossed, Question

__all__ = ["ClassRow", "ProbeResult", "probe"]

Protocol = Literal["nested", "published"]
REPEATS = {"linear": 10, "knn": 10, "mlp": 2}
DRAWS = {"linear": 60, "knn": 100, "mlp": 0}  # 61 and 101: 5 % of the ranks are whole ranks
SPLITS = {"linear": 20, "knn": 20, "mlp": 0}  # mlp: too slow to have been simulated enough
FEWEST_SPLITS = 10
EFFICIENCY_DRAWS = 3


@dataclass(frozen=True)
class ClassRow:
    """One class: patients, share recognised, share of those named it that are, F1, AUC and PR-AUC (mean of repeats)."""

    label: str
    n: int
    recall: float
    precision: float
    f1: float
    auc: float
    pr_auc: float


@dataclass(frozen=True, kw_only=True, eq=False)
class ProbeResult(Result):
    """What a probe reads from an embedding.

    `metrics`: of the embedding `embedding` (the first given); `truth` as in `probes.data`; `predicted` [n, K]
    probabilities, [n] values or risks, out of fold and averaged over repeats; `confusion` [K, K] counts averaged
    over repeats (true class first), `calibration` rows (predicted, observed, n); `differences` between embeddings.
    All of it is nested; `published` stands beside it.
    """

    command: ClassVar[str] = "probe"

    target: str
    task: Task
    learner: Learner
    protocol: Protocol
    embedding: str
    labels: tuple[str, ...]
    metrics: dict[str, MetricRow]
    per_class: tuple[ClassRow, ...]
    confusion: np.ndarray | None
    calibration: tuple[tuple[float, float, int], ...]
    efficiency: tuple[EfficiencyRow, ...]
    published: Published | None
    others: dict[str, dict[str, MetricRow]]
    differences: tuple[Difference, ...]
    hyperparameter: str
    chosen: np.ndarray
    truth: np.ndarray
    predicted: np.ndarray
    patient_id: np.ndarray

    def details(self) -> dict[str, Any]:
        from analysis.probes.words import details

        return details(self)

    def table(self) -> pd.DataFrame:
        """One row an estimate: section, estimate, value, interval, chance, p, n."""
        from analysis.probes.words import estimates_table

        return estimates_table(self)

    def summary(self) -> str:
        from analysis.probes.words import summary

        return summary(self)

    def methods_text(self) -> str:
        from analysis.probes.words import methods_text

        return methods_text(self)


def probe(
    data: np.ndarray | Cohort | Sequence[np.ndarray | Cohort],
    target: Sequence[Any] | np.ndarray | str,
    *,
    task: Task = "classify",
    learner: Learner = "linear",
    protocol: Protocol = "nested",
    order: str | Sequence[str] | None = None,
    event: Sequence[Any] | np.ndarray | str | None = None,
    event_value: str | None = None,
    patients: Sequence[Any] | None = None,
    repeats: int | None = None,
    permutations: int | None = None,
    splits: int | None = None,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> ProbeResult:
    """Read a target from an embedding, nested and cross-fitted by patient.

    Args:
        data: embeddings [n, d], one row a patient, a `Cohort`, or several of either to be compared on the same
            folds.
        target: class, number or survival time of each row, or the cohort's column.
        task: "classify", "ordinal" (with `order`), "regress" or "survival" (with `event`).
        learner: "linear", "knn" or "mlp".
        protocol: "nested", or "published": scaling and balanced multinomial logistic regression whose best C is
            chosen on the out-of-fold predictions that are reported; how much that flatters is given beside it.
        patients: patient of each row of an array; rows of one patient are averaged, so that no patient is in
            training and test at once.
        repeats: of the outer folds (10; 2 for mlp).
        permutations: refits to permuted outcomes behind the test, the chance of metrics that have no exact one, and
            the intervals near chance (60; 100 for knn; 0 for mlp).
        splits: of the patients into two halves, behind intervals and the comparison of embeddings (20; 0, no interval,
            for mlp, for which none has been shown to cover).

    Raises:
        CohortError: a column that is not there.
        AnalysisError: one class, classes smaller than the folds, a constant target or embedding, times not above 0.
    """
    from analysis.probes.data import gather
    from analysis.probes.estimates import (
        Refits,
        differences,
        label_efficiency,
        metric_rows,
        null_metrics,
        published,
    )
    from analysis.probes.halves import metrics_in_halves
    from analysis.probes.learners import parameter_name
    from analysis.probes.nested import FOLDS, Question, nested
    from analysis.probes.words import headline

    say = progress or (lambda _: None)
    _check_options(task, learner, protocol)
    parts = SPLITS[learner] if splits is None else splits
    if parts and parts < FEWEST_SPLITS:
        raise AnalysisError(
            f"splits = {parts} are too few for an interval: use at least {FEWEST_SPLITS}, or 0 for none"
        )
    d = gather(data, target, task=task, order=order, event=event, event_value=event_value, patients=patients)
    count = repeats or REPEATS[learner]
    draws = DRAWS[learner] if permutations is None else permutations
    q = Question(task, learner, d.truth, len(d.labels), seed)
    crossed: dict[str, Crossed] = {}
    fitted: dict[str, Refits] = {}
    for name, X in d.embeddings.items():
        say(f"nested cross-validation of {name}")
        crossed[name] = nested(X, q, repeats=count)
        null = halves = None
        if draws:
            say(f"refitting {name} to permuted outcomes")
            null = null_metrics(X, q, crossed[name], draws=draws)
        if parts:
            say(f"refitting {name} to halves of the patients")
            halves = metrics_in_halves(X, q, crossed[name], splits=parts)
        fitted[name] = Refits.of(q, crossed[name], halves, null)
    rows = {name: metric_rows(q, again) for name, again in fitted.items()}
    first = next(iter(crossed))
    own = crossed[first]
    flattered = None
    if protocol == "published":
        say("the published protocol")
        flattered = published(d.embeddings[first], q, own)
    say("label efficiency")
    efficiency = label_efficiency(d.embeddings[first], q, own, draws=min(count, EFFICIENCY_DRAWS))
    notes = list(d.warnings)
    if not parts:
        notes.append(
            "no intervals: the probes were not refitted to halves of the patients"
            + (", and those of an mlp have not been shown to cover" if learner == "mlp" else "")
        )
    if parts and task == "ordinal":
        notes.append(
            "intervals of ordinal probes are somewhat narrow: nominal 95 %, they held about 91 % when simulated"
        )
    if d.n < 100:
        notes.append(f"only {d.n} patients: a hyperparameter chosen from so few is uncertain")
    parameters = {
        "target": d.target, "task": task, "learner": learner, "protocol": protocol, "order": list(d.labels),
        "folds": FOLDS, "inner_folds": FOLDS, "repeats": count, "permutations": draws, "splits": parts,
        "embeddings": list(d.embeddings), "dimensions": d.embeddings[first].shape[1],
    }  # fmt: skip
    return ProbeResult(
        n=d.n,
        verdict=headline(d.target, task, rows[first], flattered),
        warnings=tuple(notes),
        provenance=d.provenance(parameters, seed),
        target=d.target,
        task=task,
        learner=learner,
        protocol=protocol,
        embedding=first,
        labels=d.labels,
        metrics=rows[first],
        **_by_class(q, own, d.labels),
        calibration=_calibration(q, own),
        efficiency=efficiency,
        published=flattered,
        others={name: r for name, r in rows.items() if name != first},
        differences=differences(q, fitted),
        hyperparameter=parameter_name(task, learner),
        chosen=own.chosen,
        truth=d.truth,
        predicted=own.predicted.mean(axis=0),
        patient_id=d.patient_id,
    )


def _check_options(task: str, learner: str, protocol: str) -> None:
    for name, value, known in (
        ("task", task, get_args(Task)),
        ("learner", learner, get_args(Learner)),
        ("protocol", protocol, get_args(Protocol)),
    ):
        if value not in known:
            raise AnalysisError(f"{name} {value!r} is not known: choose one of {', '.join(known)}")
    if protocol == "published" and (task, learner) != ("classify", "linear"):
        raise AnalysisError(
            f"the published protocol is a linear probe of classes, not {learner} of task {task!r}: "
            "use --task classify --learner linear, or --protocol nested"
        )


def _by_class(q: Question, crossed: Crossed, labels: Sequence[str]) -> dict[str, Any]:
    from analysis.probes.metrics import average_precision, confusion, roc_auc

    if not q.classes:
        return {"per_class": (), "confusion": None}
    ones = np.ones((1, q.n))
    table = np.mean(
        [confusion(q.truth, p.argmax(axis=1), ones, classes=q.classes)[0] for p in crossed.predicted], axis=0
    )
    rows = []
    for k, label in enumerate(labels):
        right, there, named = table[k, k], table[k].sum(), table[:, k].sum()
        auc = np.mean([roc_auc(p[:, k], q.truth == k, ones)[0] for p in crossed.predicted])
        pr = np.mean([average_precision(p[:, k], q.truth == k, ones)[0] for p in crossed.predicted])
        rows.append(
            ClassRow(
                label=label,
                n=int(there),
                recall=float(right / there),
                precision=float(right / named) if named else float("nan"),
                f1=float(2 * right / (there + named)),
                auc=float(auc),
                pr_auc=float(pr),
            )
        )
    return {"per_class": tuple(rows), "confusion": table}


def _calibration(q: Question, crossed: Crossed, bins: int = 10) -> tuple[tuple[float, float, int], ...]:
    """Mean predicted and observed share in tenths of the predictions of all classes, or predicted against observed
    values; nothing for risks, which have no scale."""
    if q.task == "survival":
        return ()
    mean = crossed.predicted.mean(axis=0)
    predicted = mean.ravel() if q.classes else mean
    observed = np.eye(q.classes)[q.truth].ravel() if q.classes else q.truth
    groups = np.array_split(np.argsort(predicted, kind="stable"), min(bins, predicted.size))
    return tuple((float(predicted[g].mean()), float(observed[g].mean()), int(g.size)) for g in groups)
