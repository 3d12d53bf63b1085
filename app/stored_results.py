"""Results that the command line left in a folder (`flexict app --results DIR`), read back for the pages."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from analysis.cohort import Cohort
    from analysis.projection import Method, ProjectionResult

_MOST_FILES = 500


def result_files(results: Path | None) -> list[Path]:
    """Every file of a result or figure in the folder, by path; hidden files and saved selections are left out."""
    if results is None or not results.is_dir():
        return []
    found = [p for p in results.rglob("*") if p.is_file() and not p.name.startswith(".")]
    return sorted(p for p in found if "selections" not in p.relative_to(results).parts)[:_MOST_FILES]


def stored_projection(results: Path | None, cohort: Cohort, method: Method) -> ProjectionResult | None:
    """A picture of exactly this cohort (the same data and patients); its options stand in its methods text."""
    for path in [p for p in result_files(results) if p.name == "project.json"]:
        try:
            held = json.loads(path.read_text("utf-8"))
            same = held["method"] == method and held["provenance"]["data_sha256"] == dict(cohort.data_sha256)
            if same and held["provenance"]["embedding_id"] == cohort.embedding_id and held["n"] == cohort.n:
                found = _projection(held)
                if found.patient_id.tolist() == cohort.patient_id.tolist():
                    return found
        except (OSError, ValueError, KeyError, TypeError):
            continue  # another version's file, or no result at all: the picture is drawn anew
    return None


def _projection(held: dict[str, Any]) -> ProjectionResult:
    from analysis.projection import ProjectionResult
    from analysis.results import Provenance

    told = held["provenance"]
    rows = held["coordinates"]
    return ProjectionResult(
        n=held["n"],
        verdict=held["verdict"],
        warnings=tuple(held["warnings"]),
        provenance=Provenance(**{f.name: told[f.name] for f in fields(Provenance) if f.name in told}),
        method=held["method"],
        coordinates=np.array([(r["x"], r["y"]) for r in rows], dtype=float),
        patient_id=np.array([r["patient_id"] for r in rows], dtype=object),
        trustworthiness=held["trustworthiness"],
        continuity=held["continuity"],
        k=held["k"],
        judged=held["judged"],
        stability=held["stability"],
        other_seeds=held["other_seeds"],
        explained_variance=tuple(held["explained_variance"]) if held["explained_variance"] else None,
        parameters=told["parameters"],
        space=held["space"],
    )
