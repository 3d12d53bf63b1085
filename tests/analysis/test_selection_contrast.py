"""A selection against the rest: effects and p-values by scipy and lifelines, planted truth, refusals."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from lifelines.statistics import logrank_test
from scipy.stats import chi2_contingency, mannwhitneyu

from analysis.cohort import Cohort
from analysis.selection_contrast import CHOSEN_BY_LOOKING, contrast_selection
from analysis.time_to_event.groups import compare_groups
from flexict_core.errors import AnalysisError

N = 120


@pytest.fixture
def cohort(rng: np.random.Generator) -> Cohort:
    """Age differs with the first dimension, scanner and noise do not; the hazard follows it."""
    X = rng.standard_normal((N, 3))
    death = rng.exponential(np.exp(-1.2 * X[:, 0])) * 500
    end = rng.exponential(900, N)
    table = pd.DataFrame(
        {
            "pid": [f"P{i}" for i in range(N)],
            "age": 60 + 6 * X[:, 0] + rng.normal(0, 2, N),
            "scanner": np.where(rng.random(N) < 0.5, "S1", "S2"),
            "noise": rng.standard_normal(N),
            "days": np.ceil(np.minimum(death, end)),
            "dead": (death <= end).astype(float),
        }
    )
    return Cohort(
        X=X, patient_id=table["pid"].to_numpy(dtype=object), table=table,
        rows=pd.DataFrame({"patient_id": table["pid"]}), lost=pd.DataFrame(), id_column="pid", name="planted",
        feature_names=None,
    )  # fmt: skip


def test_contrasts_are_those_of_scipy_with_holms_correction(cohort: Cohort) -> None:
    inside = cohort.X[:, 0] > 0.3
    found = {
        c.column: c for c in contrast_selection(cohort, inside, columns=["age", "scanner", "noise"]).contrasts
    }
    age, other = cohort.table["age"][inside], cohort.table["age"][~inside]
    u = mannwhitneyu(age, other)
    assert found["age"].value == pytest.approx(u.statistic / (len(age) * len(other)))
    assert found["age"].p_value == pytest.approx(u.pvalue)
    counts = pd.crosstab(inside, cohort.table["scanner"])
    assert found["scanner"].p_value == pytest.approx(chi2_contingency(counts, correction=False).pvalue)
    p = sorted(c.p_value for c in found.values())
    assert found["age"].p_holm == pytest.approx(3 * p[0])
    assert found["age"].p_holm < 0.001
    assert min(found["scanner"].p_holm, found["noise"].p_holm) > 0.05


def test_every_result_says_that_it_was_chosen_by_looking(cohort: Cohort) -> None:
    result = contrast_selection(cohort, cohort.X[:, 0] > 0.3)
    assert CHOSEN_BY_LOOKING in result.warnings
    assert "chosen by looking" in result.verdict
    assert "exploratory" in result.methods_text()
    assert result.to_dict()["provenance"]["parameters"]["chosen"] == "by looking"


def test_survival_of_the_selection_is_the_log_rank_of_lifelines(cohort: Cohort) -> None:
    inside = cohort.X[:, 0] > 0.3
    result = compare_groups(
        cohort, np.where(inside, "selected", "rest"), "days", event="dead", by="selection", notes=["note"]
    )
    table = cohort.table
    reference = logrank_test(
        table["days"][inside], table["days"][~inside], table["dead"][inside], table["dead"][~inside]
    )
    assert result.logrank_p == pytest.approx(reference.p_value, rel=1e-6)
    assert result.logrank_statistic == pytest.approx(reference.test_statistic, rel=1e-6)
    assert {g.label: g.n for g in result.groups} == {
        "rest": int((~inside).sum()),
        "selected": int(inside.sum()),
    }
    assert result.warnings[-1] == "note"


def test_the_curves_of_the_selection_can_be_drawn(cohort: Cohort) -> None:
    from analysis.plots.survival import kaplan_meier, kaplan_meier_source

    result = compare_groups(
        cohort, np.where(cohort.X[:, 0] > 0.3, "selected", "rest"), "days", event="dead", by="selection"
    )
    drawn = {trace.name.split(":")[0]: trace for trace in kaplan_meier(result).data if ":" in str(trace.name)}
    source = kaplan_meier_source(result)
    for group in ("selected", "rest"):
        curve = source[(source["element"] == "curve") & (source["group"] == group)]
        assert np.array_equal(drawn[group].y, curve["value"])


@pytest.mark.parametrize("count", [0, 2, N - 2, N])
def test_too_few_on_a_side_are_refused(cohort: Cohort, count: int) -> None:
    with pytest.raises(AnalysisError, match=f"{count} of {N}"):
        contrast_selection(cohort, np.arange(N) < count)
