"""Which patients of an embedding and of a clinical table belong together, and what to say of the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from analysis.clinical import ClinicalTable
from flexict_core.tables import listing

if TYPE_CHECKING:
    import pandas as pd


def mean_by_patient(X: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean of the rows of each patient; patients in sorted order."""
    patients, inverse, counts = np.unique(ids.astype(str), return_inverse=True, return_counts=True)
    total = np.zeros((len(patients), X.shape[1]), dtype=np.float64)
    np.add.at(total, inverse, X)
    return total / counts[:, None], patients.astype(object)


def unmatched(patients: np.ndarray, table: ClinicalTable) -> list[tuple[str, str]]:
    clinical, embedded = set(table.patient_id), set(patients)
    return [
        *((str(p), f"in the embedding, not in {table.source.name}") for p in patients if p not in clinical),
        *(
            (str(p), f"in {table.source.name}, not in the embedding")
            for p in table.patient_id
            if p not in embedded
        ),
    ]


def nothing_in_common(patients: np.ndarray, table: ClinicalTable) -> str:
    ours, theirs = [str(p) for p in patients], [str(p) for p in table.patient_id]
    message = (
        f"no patient is in both tables: the embedding has IDs like {listing(ours[:2])}, "
        f"column {table.id_column!r} of {table.source.name} has {listing(theirs[:2])}: "
        "choose another --id column"
    )
    same_number = {_trailing_number(p): p for p in ours}
    for t in theirs:
        number = _trailing_number(t)
        if number and number in same_number:
            old, new = t[: -len(number)], same_number[number][: -len(number)]
            return f"{message}, or make them equal with --id-replace '{old}={new}'" if old else message
    return message


def _trailing_number(text: str) -> str:
    return text[len(text.rstrip("0123456789")) :]


def sentences(lost: Sequence[tuple[str, str]]) -> list[str]:
    """One sentence a reason: how many patients, and who."""
    by_reason: dict[str, list[str]] = {}
    for patient, reason in lost:
        by_reason.setdefault(reason, []).append(patient)
    return [
        f"{len(who)} patient{'s' if len(who) > 1 else ''} left out ({reason}): {listing(who)}"
        for reason, who in by_reason.items()
    ]


def lost_frame(lost: Sequence[tuple[str, str]]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(list(lost), columns=["patient_id", "reason"], dtype=object)
