"""The study file: what a report is to answer, as frozen dataclasses. `reading` turns YAML into them.

Field names are the keys of the file. A section that is None is not asked; a section's own column wins over the
study's (`stage`, `order`, `adjust`, `group`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal


def at_least(least: float, default: object) -> Any:
    """A field with a smallest value, which `reading` holds a file to."""
    return field(default=default, metadata={"least": least})


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What could make the other results wrong."""

    label: str | None = None
    fields: tuple[str, ...] = ()
    group: str | None = None
    split: str | None = None
    person: str | None = None
    index: Path | None = None
    near_images: bool = False
    permutations: int = at_least(99, 999)


@dataclass(frozen=True, kw_only=True)
class Project:
    """The cohort as a picture."""

    method: Literal["umap", "pca", "tsne"] = "umap"
    colour: str | None = None
    neighbours: int = at_least(2, 15)
    min_dist: float = at_least(0, 0.1)
    clusters: bool = False


@dataclass(frozen=True, kw_only=True)
class Gradient:
    """Do embeddings follow the stage?"""

    stage: str | None = None
    order: str | None = None
    adjust: tuple[str, ...] | None = None
    group: str | None = None
    axis: Path | None = None
    duration: str | None = None
    event: str | None = None
    event_value: str | None = None
    unit: str | None = None
    compare: bool = True
    permutations: int = at_least(99, 9999)


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What can be read from the embedding?"""

    target: str
    task: Literal["classify", "ordinal", "regress", "survival"] = "classify"
    learner: Literal["linear", "knn", "mlp"] = "linear"
    protocol: Literal["nested", "published"] = "nested"
    order: str | None = None
    event: str | None = None
    event_value: str | None = None
    repeats: int | None = at_least(1, None)
    permutations: int | None = at_least(0, None)


@dataclass(frozen=True, kw_only=True)
class Retrieve:
    """Do near patients share a label?"""

    label: str | None = None
    protocol: Literal["loo", "split", "published"] = "loo"
    stratify: str | None = None
    match: tuple[str, ...] = ()
    caliper: float = at_least(0, 0.5)
    seed: int | None = at_least(0, None)


@dataclass(frozen=True, kw_only=True)
class Survival:
    """Does the embedding tell how long patients live?"""

    duration: str
    event: str
    event_value: str | None = None
    competing: Literal["refuse", "censor"] = "refuse"
    by: str | None = None
    adjust: tuple[str, ...] | None = None
    horizons: tuple[float, ...] = ()
    penalty: float = at_least(0, 0.0)
    unit: str | None = None
    permutations: int = at_least(99, 999)


@dataclass(frozen=True, kw_only=True)
class Study:
    """One study. `statements` are the authors' own answers to items of the checklist, by item.

    `store`, `clinical` and the files of sections are absolute once read; `absolute` names the keys whose paths were
    absolute in the file.
    """

    store: Path
    clinical: Path
    id: str
    title: str = "Study of CT embeddings"
    question: str = ""
    authors: str = ""
    id_replace: tuple[str, ...] = ()
    where: tuple[str, ...] = ()
    embeddings: tuple[str, ...] = ()
    stage: str | None = None
    order: str | None = None
    adjust: tuple[str, ...] = ()
    group: str | None = None
    describe: tuple[str, ...] = ()
    seed: int = at_least(0, 0)
    audit: Audit | None = None
    project: Project | None = None
    gradient: Gradient | None = None
    probe: tuple[Probe, ...] = ()
    retrieve: Retrieve | None = None
    survival: Survival | None = None
    statements: Mapping[str, str] = field(default_factory=dict)
    absolute: tuple[str, ...] = field(default=(), metadata={"hidden": True})
