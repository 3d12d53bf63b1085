"""New patients on a map that exists: put where their nearest patients in the embedding lie.

UMAP's own `transform` depends on who else is sent with a patient, and moves nobody for a reason that could be told.
Here a place is the mean of the k nearest patients' places, weighted by inverse distance, so that one patient's place
does not depend on another's; a patient whose vector is already on the map lands on it exactly. Two numbers say how
far a place is to be believed: `spread`, how far apart those k lie on the map, and `strangeness`, the share of the map's
patients whose own neighbours are nearer than this one's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.cohort import Cohort
from analysis.vectors import as_vectors, comparable, nearest_rows
from flexict_core.errors import AnalysisError, CohortError

if TYPE_CHECKING:
    import pandas as pd

    from analysis.projection import ProjectionResult

OUTSIDE = 0.95


@dataclass(frozen=True)
class Placed:
    """coordinates [m, 2] on the map; nearest [m]: the nearest patient there.

    spread [m]: root mean square distance of the k neighbours' places from the place, over that of all patients from
    their mean (0 together, about 1 all over the map). strangeness [m]: 0…1; above 0.95 a case is unlike the map.
    """

    patient_id: np.ndarray
    coordinates: np.ndarray
    nearest: np.ndarray
    spread: np.ndarray
    strangeness: np.ndarray
    k: int

    def table(self) -> pd.DataFrame:
        """One row a new patient."""
        import pandas as pd

        x, y = self.coordinates.T
        return pd.DataFrame(
            {
                "patient_id": self.patient_id, "x": x, "y": y, "nearest": self.nearest, "spread": self.spread,
                "strangeness": self.strangeness,
            }
        )  # fmt: skip


def place_new(
    result: ProjectionResult,
    data: Cohort | np.ndarray,
    new: Cohort | np.ndarray,
    *,
    k: int = 5,
    patient_id: Sequence[Any] | None = None,
) -> Placed:
    """Places of `new` patients [m, d] on the map `result` of `data` [n, d]; patient_id: of a `new` array.

    Raises AnalysisError when the map is not of these data, the dimensions differ, or k is no number of its patients.
    """
    known, fresh = as_vectors(data), as_vectors(new, patient_id=patient_id)
    if known.n != result.n:
        raise AnalysisError(
            f"the map shows {result.n} patients, the data hold {known.n}: give those it was made of"
        )
    if fresh.X.shape[1] != known.X.shape[1]:
        raise AnalysisError(
            f"new patients have {fresh.X.shape[1]} dimensions, the map's have {known.X.shape[1]}: embed them alike"
        )
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k < known.n:
        raise AnalysisError(f"k = {k!r}: give a whole number from 1 to {known.n - 1}")
    space = comparable(known, metric=result.parameters["metric"])
    points = np.stack([space.place(x) for x in fresh.X]) if fresh.n else np.empty((0, known.X.shape[1]))
    rows, distance = _near(space.points, points, k, result.parameters["metric"])
    _, reach = _near(space.points, space.points, k + 1, result.parameters["metric"])
    usual = np.sort(reach[:, 1:].mean(axis=1))  # the first is the patient itself, or its equal
    weights = 1.0 / np.maximum(distance, 1e-9 * max(float(usual.max(initial=0.0)), 1e-12))
    weights /= weights.sum(axis=1, keepdims=True)
    places = result.coordinates[rows]
    at = np.einsum("mk,mkc->mc", weights, places)
    whole = np.sqrt(((result.coordinates - result.coordinates.mean(axis=0)) ** 2).sum(axis=1).mean())
    spread = np.sqrt((weights * ((places - at[:, None]) ** 2).sum(axis=2)).sum(axis=1)) / whole
    return Placed(
        patient_id=fresh.patient_id,
        coordinates=at,
        nearest=result.patient_id[rows[:, 0]],
        spread=spread,
        strangeness=np.searchsorted(usual, distance.mean(axis=1), side="left") / len(usual),
        k=k,
    )


def _near(points: np.ndarray, queries: np.ndarray, k: int, metric: Any) -> tuple[np.ndarray, np.ndarray]:
    """Rows and distances [m, k]; of cosines, 1 − cosine."""
    index, value = nearest_rows(points, queries, k, metric=metric)
    return index, np.maximum(1.0 - value, 0.0) if metric == "cosine" else value


def set_apart(cohort: Cohort, condition: str) -> tuple[Cohort, Cohort]:
    """The patients who do not meet "COLUMN=VALUE", and those who do.

    Raises CohortError for another form, an unknown column and a value that nobody, or everybody, has.
    """
    from analysis.clinical import canonical

    column, equals, value = (part.strip() for part in condition.partition("="))
    if not equals or not column:
        raise CohortError(f"--place {condition!r} is not COLUMN=VALUE: write for example --place cohort=B")
    meets = np.array([canonical(v) == canonical(value) for v in cohort.column(column)])
    if meets.all() or not meets.any():
        who = "every patient has" if meets.all() else "no patient has"
        raise CohortError(f"--place {condition!r}: {who} {column} {value!r}: choose another value")
    apart = {int(i): f"placed on the map of the others ({condition})" for i in np.flatnonzero(meets)}
    there = {int(i): "on the map itself" for i in np.flatnonzero(~meets)}
    return cohort.keep(~meets, apart), cohort.keep(meets, there)
