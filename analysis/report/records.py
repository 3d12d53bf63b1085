"""A section's answer on disk, so that an interrupted report goes on, and the same question is not computed twice.

`section.json` lies beside the result's own files and holds what the report prints. It is taken again only where its
key is the same: the hash of the question, the data, the seed, the libraries' versions and this project's own code.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.export import json_text, write_text
from analysis.report.cohorts import Cohorts
from analysis.report.key_figures import KeyFigure, key_figures
from analysis.report.sections import Section
from analysis.report.study import Study
from analysis.results import Result, array_sha256, library_versions, plain
from flexict_core.errors import FlexictError
from flexict_core.tables import file_sha256

if TYPE_CHECKING:
    from analysis.cohort import Cohort

RECORD = "section.json"
FORMAT = 2


@dataclass(frozen=True)
class FigureRecord:
    """A figure of a section: the stem of its files in the section's folder, its caption, and whether it was drawn."""

    stem: str
    caption: str
    drawn: bool


@dataclass(frozen=True, kw_only=True)
class Record:
    """What a report prints of one section. failed: why the data could not carry it, in words ("" otherwise).
    fault: it was this program that failed."""

    format: int = FORMAT
    key: str
    slug: str
    kind: str
    title: str
    question: str
    embeddings: tuple[str, ...]
    failed: str = ""
    fault: bool = False
    n: int | None = None
    verdict: str = ""
    summary: str = ""
    methods: str = ""
    warnings: tuple[str, ...] = ()
    figures_now: tuple[KeyFigure, ...] = ()
    table: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    figures_asked: bool = False
    figures: tuple[FigureRecord, ...] = ()
    losses: Mapping[str, int] = dataclasses.field(default_factory=dict)
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def section_key(section: Section, study: Study, cohorts: Cohorts) -> str:
    """Everything that the section's answer depends on: the hash of question and data, a point, that of the program."""
    used = {
        name: {
            "embedding_id": cohorts.by_name[name].embedding_id,
            "data": dict(cohorts.by_name[name].data_sha256),
            "patients": array_sha256(cohorts.by_name[name].patient_id),
        }
        for name in section.embeddings
    }
    asked = {
        "format": FORMAT, "kind": section.kind, "question": section.question, "title": section.title,
        "options": plain(section.options), "files": _option_files(section),
        "columns": _other_columns(section, cohorts.main),
        "data": used, "where": study.where, "id_replace": study.id_replace, "seed": study.seed,
        "beside": _beside(study) if section.kind == "gradient" else None,
    }  # fmt: skip
    return f"{_hash(asked)}.{_hash([library_versions(), code_sha256()])}"


def same_question(key: str, other: str | None) -> bool:
    """True where two keys ask the same of the same data, whatever program answers."""
    return key.partition(".")[0] == (other or "").partition(".")[0]


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(plain(value), sort_keys=True).encode()).hexdigest()


def _other_columns(section: Section, cohort: Cohort) -> dict[str, str]:
    """Hashes of columns that are dimensions of an embedding ("EMBEDDING:NAME"), which may be any of the store."""
    options = section.options[0] if isinstance(section.options, tuple) else section.options
    values = [v for v in dataclasses.asdict(options).values() if v is not None]
    found = {}
    for name in sorted({str(x) for v in values for x in (v if isinstance(v, tuple) else (v,))}):
        if ":" in name:
            with suppress(FlexictError):  # a text with a colon that is no column
                found[name] = array_sha256(cohort.column(name))
    return found


def _beside(study: Study) -> list[tuple[str, int]]:
    """The files of the store: a gradient's controls are other embeddings (random weights, size) where it holds some."""
    files = sorted(Path(study.store).glob("*/part-*.parquet"))
    return [(f"{f.parent.name}/{f.name}", f.stat().st_size) for f in files]


def _option_files(section: Section) -> dict[str, str]:
    options = section.options[0] if isinstance(section.options, tuple) else section.options
    return {
        f.name: file_sha256(value)
        for f in dataclasses.fields(options)
        if isinstance(value := getattr(options, f.name), Path)
    }


@cache
def code_sha256() -> str:
    """Hash of the code that computes and draws (what prints it is `FORMAT`'s to tell)."""
    import analysis
    import flexict_core

    digest = hashlib.sha256()
    for package in (analysis, flexict_core):
        root = Path(str(package.__file__)).parent
        for file in sorted(f for f in root.rglob("*.py") if "report" not in f.relative_to(root).parts):
            digest.update(file.relative_to(root).as_posix().encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()


def record_of(
    section: Section,
    result: Result,
    *,
    key: str,
    losses: Mapping[str, int],
    figures: tuple[FigureRecord, ...] | None,
) -> Record:
    """What the report prints of a result; every number is the result's own. figures: None where none were asked."""
    table = result.table()
    cells = table.astype(object).where(table.notna(), None)
    rows = [list(row) for row in cells.itertuples(index=False, name=None)]
    shown = {} if section.kind == "project" else {"columns": list(table.columns), "rows": plain(rows)}
    about = result.to_dict()
    return Record(
        key=key,
        slug=section.slug,
        kind=section.kind,
        title=section.title,
        question=section.question,
        embeddings=section.embeddings,
        n=result.n,
        verdict=result.verdict,
        summary=result.summary(),
        methods=result.methods_text().strip(),
        warnings=result.warnings,
        figures_now=key_figures(result),
        table=shown,
        figures_asked=figures is not None,
        figures=figures or (),
        losses=dict(losses),
        provenance=about["provenance"],
        facts={k: about[k] for k in _FACTS.get(section.kind, ()) if k in about},
    )


# what the checklist asks of a result beyond its words
_FACTS = {
    "gradient": ("minimum_detectable_concordance", "adjusters", "transport", "comparison", "outcome"),
    "audit": ("overlap", "duplicates", "images_compared", "split", "leave_one_group_out"),
    "probe": ("calibration", "protocol", "learner", "task", "target"),
    "retrieve": ("protocol",),
    "survival": ("events", "median_follow_up", "proportional_hazards"),
}


def failed_record(section: Section, reason: str, *, key: str) -> Record:
    """A section that its data could not carry."""
    return Record(
        key=key,
        slug=section.slug,
        kind=section.kind,
        title=section.title,
        question=section.question,
        embeddings=section.embeddings,
        failed=reason,
    )


def write_record(folder: Path, record: Record) -> None:
    """Write the record last, when all else of the section is there: its presence means that the section is whole."""
    write_text(folder / RECORD, json_text(record))


def read_record(folder: Path) -> Record | None:
    """The record of an earlier run, or None where there is none that can be read."""
    try:
        held = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        if held.get("format") != FORMAT:
            return None
        held["figures_now"] = tuple(KeyFigure(**f) for f in held["figures_now"])
        held["figures"] = tuple(FigureRecord(**f) for f in held["figures"])
        for name in ("embeddings", "warnings"):
            held[name] = tuple(held[name])
        return Record(**held)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # never finished, or damaged: made anew


def still_holds(folder: Path, record: Record | None, *, key: str, figures: bool) -> bool:
    """True where the record answers the same question and every file of it is there; figures: they are wanted."""
    if record is None or record.key != key or record.failed:
        return False
    files = [folder / f"{record.kind}.json", folder / f"{record.kind}.csv"]
    if figures:
        if not record.figures_asked or not all(f.drawn for f in record.figures):
            return False
        files += [folder / f"{f.stem}.svg" for f in record.figures]
    return all(file.is_file() for file in files)
