"""Embeddings and a clinical table become result objects.

`from analysis import stage_gradient` gives the function, not the module of the same name: such functions are
bound here at once (their modules import little), all other names load on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from analysis.audit import audit
from analysis.probe import probe
from analysis.stage_axis_map import stage_axis_map
from analysis.stage_gradient import stage_gradient
from analysis.survival import survival

_HOME = {
    "load_cohort": "analysis.cohort",
    "retrieval_metrics": "analysis.retrieval",
    "search": "analysis.retrieval",
    "project": "analysis.projection",
    "report_retrieval": "analysis.paired_reports",
    "search_by_text": "analysis.zero_shot",
    "search_matched": "analysis.matched_neighbours",
    "zero_shot_classes": "analysis.zero_shot",
    "zero_shot_pairs": "analysis.zero_shot",
}
__all__ = [
    "audit",
    "load_cohort",
    "probe",
    "project",
    "report_retrieval",
    "retrieval_metrics",
    "search",
    "search_by_text",
    "search_matched",
    "stage_axis_map",
    "stage_gradient",
    "survival",
    "zero_shot_classes",
    "zero_shot_pairs",
]

if TYPE_CHECKING:
    from analysis.cohort import load_cohort
    from analysis.matched_neighbours import search_matched
    from analysis.paired_reports import report_retrieval
    from analysis.projection import project
    from analysis.retrieval import retrieval_metrics, search
    from analysis.zero_shot import search_by_text, zero_shot_classes, zero_shot_pairs


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
