"""Search in a gallery that is kept open, against plain numpy."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.gallery import open_gallery
from analysis.retrieval import search


def test_a_gallery_kept_open_gives_what_one_search_gives(rng: np.random.Generator) -> None:
    X = rng.standard_normal((21_000, 8))
    X[500] = X[40]  # a tie
    kept = open_gallery(X, patient_id=[f"P{i}" for i in range(len(X))])
    for query in ("P40", "P7", "P20999"):
        at = int(query[1:])
        own = search(kept, query, k=5).neighbours
        points = kept.spaces[0].points
        cosine = np.round(points @ points[at], 12)
        cosine[at] = -2
        expected = np.lexsort((np.arange(len(X)), -cosine))[:5]
        assert own["patient_id"].tolist() == [f"P{i}" for i in expected]
        assert own["similarity"].to_numpy() == pytest.approx(cosine[expected], abs=1e-11)
