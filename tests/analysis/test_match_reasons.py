"""Matched neighbours of one case, and why cases match: ranks at every scale, shared named features."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from analysis import load_cohort
from analysis.match_reasons import ranks_across, shared_traits
from analysis.matched_neighbours import search_matched
from flexict_core.errors import AnalysisError, CohortError


@pytest.fixture
def cohort(planted_store: Any) -> Any:
    return load_cohort(planted_store.store, None, planted_store.clinical, id_column="patient_id")


def naive(cohort: Any, patient: str) -> tuple[np.ndarray, np.ndarray]:
    """IDs and cosines of the others, nearest first; features standardised."""
    Z = (cohort.X - cohort.X.mean(0)) / cohort.X.std(0)
    Z /= np.linalg.norm(Z, axis=1, keepdims=True)
    cosine = Z @ Z[cohort.patient_id == patient][0]
    order = [i for i in np.argsort(-cosine) if cohort.patient_id[i] != patient]
    return cohort.patient_id[order], cosine[order]


def test_only_patients_alike_are_met_and_keep_their_rank_among_all(cohort: Any) -> None:
    got = search_matched(cohort, "P-030", match=["scanner", "diameter_mm"], caliper=0.5, k=4)
    table = cohort.table.set_index("patient_id")
    me, sd = table.loc["P-030"], table["diameter_mm"].std(ddof=0)
    ids, cosine = naive(cohort, "P-030")
    alike = [
        i
        for i, p in enumerate(ids)
        if table.loc[p, "scanner"] == me["scanner"]
        and abs(table.loc[p, "diameter_mm"] - me["diameter_mm"]) <= 0.5 * sd
    ]
    assert got.candidates == len(alike) > 4
    assert got.neighbours["patient_id"].tolist() == [ids[i] for i in alike[:4]]
    assert got.neighbours["rank_among_all"].tolist() == [i + 1 for i in alike[:4]]
    np.testing.assert_allclose(got.neighbours["similarity"], cosine[alike[:4]], atol=1e-9)
    assert got.neighbours["rank"].tolist() == [1, 2, 3, 4]
    assert "scanner (equal), diameter_mm (within 0.5 SD)" in got.methods_text()
    assert got.to_dict()["candidates"] == len(alike)


def test_fewer_than_asked_nobody_and_wrong_columns(cohort: Any) -> None:
    few = search_matched(cohort, "P-030", match=["diameter_mm"], caliper=0.05, k=40)
    assert few.k == few.candidates == len(few.neighbours) < 40
    with pytest.raises(AnalysisError, match="no other patient matches 'P-030'"):
        search_matched(cohort, "P-030", match=["diameter_mm", "scanner", "stage"], caliper=1e-9)
    with pytest.raises(AnalysisError, match="no column to match on"):
        search_matched(cohort, "P-030", match=[])
    with pytest.raises(CohortError, match="scaner"):
        search_matched(cohort, "P-030", match=["scaner"])
    table = cohort.table.copy()
    table.loc[30, "scanner"] = None
    with pytest.raises(AnalysisError, match="'P-030' has no scanner"):
        search_matched(dataclasses.replace(cohort, table=table), "P-030", match=["scanner"])


def test_ranks_at_every_scale_are_those_of_a_naive_search(cohort: Any, rng: np.random.Generator) -> None:
    other = dataclasses.replace(
        cohort, X=rng.standard_normal(cohort.X.shape)[:-1], patient_id=cohort.patient_id[:-1]
    )
    got = ranks_across({"a": cohort, "b": other}, "P-030", ["P-002", "P-047"])
    assert got[["patient_id", "scale"]].to_numpy().tolist() == [
        ["P-002", "a"],
        ["P-047", "a"],
        ["P-002", "b"],
    ]
    for line in got.itertuples():
        ids, cosine = naive(cohort if line.scale == "a" else other, "P-030")
        at = ids.tolist().index(line.patient_id)
        assert line.rank == at + 1
        assert line.of == len(ids)
        assert line.similarity == pytest.approx(cosine[at])
        assert line.distance == pytest.approx(1 - cosine[at])


def test_shared_traits_are_exact_parts_of_the_cosine(cohort: Any) -> None:
    names = cohort.feature_names
    traits = shared_traits(cohort, "P-030", "P-040", most=len(names))
    Z = (cohort.X - cohort.X.mean(0)) / cohort.X.std(0)
    a, b = Z[30], Z[40]
    terms = a * b / np.linalg.norm(a) / np.linalg.norm(b)
    for trait in traits:
        i = names.index(trait.name)
        assert trait.share == pytest.approx(terms[i])
        assert trait.query == pytest.approx(a[i])
        assert trait.other == pytest.approx(b[i])
    assert sum(t.share for t in traits) == pytest.approx(terms[terms > 0].sum())
    assert [t.share for t in traits] == sorted((t.share for t in traits), reverse=True)
    assert shared_traits(dataclasses.replace(cohort, feature_names=None), "P-030", "P-040") == []
