"""A selection against the rest: counts by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.cohort import Cohort
from analysis.selection import compare_selection
from flexict_core.errors import AnalysisError

STAGES = ["II", "I", "I", None, "III", "II"]


@pytest.fixture
def cohort() -> Cohort:
    ids = np.array([f"P{i}" for i in range(6)], dtype=object)
    table = pd.DataFrame({"patient_id": ids, "stage": STAGES})
    return Cohort(
        X=np.zeros((6, 2)),
        patient_id=ids,
        table=table,
        rows=pd.DataFrame({"patient_id": ids}),
        feature_names=None,
        lost=pd.DataFrame(columns=["patient_id", "reason"]),
        name="six",
    )


def test_counts_and_shares_are_those_of_the_table(cohort: Cohort, tmp_path: Path) -> None:
    result = compare_selection(cohort, ["P0", "P1", "P3"], column="stage")
    assert [(r.label, r.n_selected, r.n_rest) for r in result.levels] == [
        ("I", 1, 1),
        ("II", 1, 1),
        ("III", 0, 1),
        ("missing", 1, 0),
    ]
    crossed = pd.crosstab(
        pd.Series(STAGES).fillna("missing"), cohort.table["patient_id"].isin(["P0", "P1", "P3"])
    )
    assert result.table()["selected"].tolist() == crossed[True].tolist()
    assert result.table()["rest"].tolist() == crossed[False].tolist()
    assert sum(r.share_selected for r in result.levels) == pytest.approx(1)
    assert sum(r.share_rest for r in result.levels) == pytest.approx(1)
    assert result.to_dict()["provenance"]["parameters"]["selected"] == ["P0", "P1", "P3"]


def test_a_given_order_is_kept_and_the_rest_follows(cohort: Cohort) -> None:
    result = compare_selection(cohort, ["P0"], column="stage", order=["III", "II"])
    assert [r.label for r in result.levels] == ["III", "II", "I", "missing"]


def test_everybody_selected_leaves_no_share_of_the_rest(cohort: Cohort) -> None:
    result = compare_selection(cohort, list(cohort.patient_id), column="stage")
    assert result.n_rest == 0
    assert all(level["share_rest"] is None for level in result.to_dict()["levels"])


def test_nobody_and_strangers_are_refused(cohort: Cohort) -> None:
    with pytest.raises(AnalysisError, match="no patient is selected"):
        compare_selection(cohort, [], column="stage")
    with pytest.raises(AnalysisError, match="'P9' are not in six"):
        compare_selection(cohort, ["P9"], column="stage")
