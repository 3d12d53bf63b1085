"""Why two cases were found alike: their rank and distance at every scale, and the named features that they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from analysis.gallery import open_gallery, tied

if TYPE_CHECKING:
    import pandas as pd

    from analysis.cohort import Cohort


def ranks_across(scales: Mapping[str, Cohort], query: str, patients: Sequence[str]) -> pd.DataFrame:
    """Where `patients` stand among the neighbours of `query` in each of several embeddings of a cohort.

    scales: embedding by its name, e.g. one a field of view. Columns: patient_id, scale, rank (from 1), of (how many
    patients it is among), similarity (cosine) and distance (1 − cosine). An embedding without the query, and a patient
    whom an embedding lacks, have no line.
    """
    import pandas as pd

    lines = []
    for name, cohort in scales.items():
        gallery = open_gallery(cohort, patient_id=None)
        own = np.flatnonzero(gallery.patient_id == query)
        if not len(own):
            continue
        space = gallery.spaces[0]
        cosine = tied(space.points @ space.place(gallery.sources[0].X[own].mean(axis=0)))
        others = gallery.patient_id != query
        at = {p: i for i, p in enumerate(gallery.patient_id)}
        for patient in patients:
            if (i := at.get(patient)) is None:
                continue
            before = (cosine > cosine[i]) | ((cosine == cosine[i]) & (np.arange(gallery.n) < i))
            rank = 1 + int(np.count_nonzero(before & others))
            lines.append((patient, name, rank, int(others.sum()), float(cosine[i]), float(1 - cosine[i])))
    columns = ["patient_id", "scale", "rank", "of", "similarity", "distance"]
    return pd.DataFrame(lines, columns=columns)


@dataclass(frozen=True)
class SharedTrait:
    """A named feature that makes two cases alike. query, other: in SDs from the cohort's mean; share: of the cosine."""

    name: str
    query: float
    other: float
    share: float


def shared_traits(cohort: Cohort, query: str | np.ndarray, other: str, *, most: int = 3) -> list[SharedTrait]:
    """The named features that add most to the cosine of a patient, or a vector [D] from elsewhere, and a patient of the
    cohort, largest first; [] where dimensions have no name.

    The cosine of standardised features is a sum over them, so each has its exact share; only features on the same side
    of the mean in both can add.
    """
    if cohort.feature_names is None:
        return []
    gallery = open_gallery(cohort, patient_id=None)
    space = gallery.spaces[0]

    def vector_of(patient: str) -> np.ndarray:
        found: np.ndarray = cohort.X[int(np.flatnonzero(gallery.patient_id == patient)[0])]
        return found

    x = vector_of(query) if isinstance(query, str) else np.asarray(query, dtype=np.float64)
    both = np.stack([x, vector_of(other)])
    a, b = (space.place(row) for row in both)
    z = (both - space.centre) / space.scale
    terms = a * b
    order = [int(i) for i in np.argsort(-terms, kind="stable")[:most] if terms[i] > 0]
    return [
        SharedTrait(cohort.feature_names[i], float(z[0, i]), float(z[1, i]), float(terms[i])) for i in order
    ]
