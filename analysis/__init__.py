"""Embeddings and a clinical table become result objects. Names load on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOME = {
    "load_cohort": "analysis.cohort",
    "stage_gradient": "analysis.stage_gradient",
    "retrieval_metrics": "analysis.retrieval",
    "search": "analysis.retrieval",
    "project": "analysis.projection",
}
__all__ = ["load_cohort", "project", "retrieval_metrics", "search", "stage_gradient"]

if TYPE_CHECKING:
    from analysis.cohort import load_cohort
    from analysis.projection import project
    from analysis.retrieval import retrieval_metrics, search
    from analysis.stage_gradient import stage_gradient


def __getattr__(name: str) -> Any:
    if name in _HOME:
        # the function shadows its module of the same name once that module is imported
        value = getattr(import_module(_HOME[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
