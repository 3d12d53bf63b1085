"""What pages ask for, kept by what it was made from (files with their stamps, embedding id, filter).

Shared between the sessions of a server: what these return is read, never changed. What only the Case page asks for is
in `app.loaders.cases`.
"""

from app.loaders.alike import neighbours
from app.loaders.answers import (
    AuditSettings,
    ProbeSettings,
    SurvivalSettings,
    audit,
    clusters,
    gradient,
    placed,
    probe,
    projection,
    question,
    retrieval,
    survival,
)
from app.loaders.cohorts import (
    Stamp,
    chosen_embedding,
    cohort_key,
    cohort_of,
    current_cohort,
    embeddings,
    quarantine,
    stamp,
    store_stamp,
    whole_cohort,
)
from app.loaders.columns import Columns, category_levels, colouring, columns, plottable_columns, stage_order
from app.loaders.images import ct_case, image_paths, read_case
from app.loaders.selected import composition, contrast, drawn_mask, selected_mask, selection_survival

__all__ = [
    "AuditSettings",
    "Columns",
    "ProbeSettings",
    "Stamp",
    "SurvivalSettings",
    "audit",
    "category_levels",
    "chosen_embedding",
    "clusters",
    "cohort_key",
    "cohort_of",
    "colouring",
    "columns",
    "composition",
    "contrast",
    "ct_case",
    "current_cohort",
    "drawn_mask",
    "embeddings",
    "gradient",
    "image_paths",
    "neighbours",
    "placed",
    "plottable_columns",
    "probe",
    "projection",
    "quarantine",
    "question",
    "read_case",
    "retrieval",
    "selected_mask",
    "selection_survival",
    "stage_order",
    "stamp",
    "store_stamp",
    "survival",
    "whole_cohort",
]
