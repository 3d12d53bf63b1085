"""What a report was made from, by hash; and what has changed since an earlier report in the same folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.report.records import code_sha256
from analysis.results import library_versions
from flexict_core.tables import file_sha256

if TYPE_CHECKING:
    from analysis.report.cohorts import Cohorts
    from analysis.report.sections import Section
    from analysis.report.study import Study

REPORT = "report.json"


@dataclass(frozen=True)
class Input:
    """One input: what it is, its name, and the SHA-256 of its bytes or values."""

    what: str
    name: str
    sha256: str


def inputs_of(
    study: Study, cohorts: Cohorts, sections: Sequence[Section], *, config: Path, config_sha256: str
) -> tuple[Input, ...]:
    """Every input of a study: its file, the clinical table, each embedding (vectors, specification, images), files
    that sections name."""
    found = [
        Input("study file", config.name, config_sha256),
        Input("clinical table", study.clinical.name, cohorts.main.data_sha256["clinical"]),
    ]
    for name, cohort in cohorts.by_name.items():
        spec = Path(study.store) / cohort.embedding_id / "spec.json"
        found.append(Input("embedding, vectors", name, cohort.data_sha256["embedding"]))
        found.append(Input("embedding, specification", cohort.embedding_id, file_sha256(spec)))
        if "images" in cohort.data_sha256:
            found.append(Input("images and masks", name, cohort.data_sha256["images"]))
    for section in sections:
        options = section.options[0] if isinstance(section.options, tuple) else section.options
        for key in ("axis", "index"):
            if (path := getattr(options, key, None)) is not None:
                found.append(Input(f"{section.kind}.{key}", path.name, file_sha256(path)))
    found.append(Input("code of the analyses", "flexict-atlas", code_sha256()))
    return tuple(dict.fromkeys(found))


def earlier_report(out: Path) -> Mapping[str, Any] | None:
    """report.json of an earlier run in this folder; None where there is none that can be read."""
    try:
        held = json.loads((out / REPORT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return held if isinstance(held, dict) else None


def changes(before: Mapping[str, Any], inputs: Sequence[Input]) -> list[str]:
    """One line for each input that is new, gone or not the same as in an earlier report."""
    old = {(i.get("what"), i.get("name")): i.get("sha256", "") for i in before.get("inputs", [])}
    new = {(i.what, i.name): i.sha256 for i in inputs}
    lines = [
        f"{what} {name!r} has changed (sha256 {str(old[what, name])[:12]} → {sha[:12]})"
        for (what, name), sha in new.items()
        if (what, name) in old and old[what, name] != sha
    ]
    versions = before.get("provenance", {}).get("versions", {})
    lines += [
        f"{name} was {versions[name]} and is now {version}"
        for name, version in library_versions().items()
        if versions.get(name, version) != version
    ]
    lines += [f"{what} {name!r} is new" for what, name in new if (what, name) not in old]
    lines += [f"{what} {name!r} is no longer used" for what, name in old if (what, name) not in new]
    return lines


def changed_verdicts(before: Mapping[str, Any], verdicts: Mapping[str, str]) -> list[str]:
    """One line for each section whose verdict is not the earlier one. verdicts: by the section's title."""
    old = {s.get("title"): s.get("verdict") for s in before.get("sections", [])}
    return [
        f"{title}: the verdict was {old[title]!r} and is now {verdict!r}"
        for title, verdict in verdicts.items()
        if title in old and old[title] != verdict
    ]
