"""The audit against planted truths: a site effect, a leak, a duplicate, a known collection, and nothing at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.stats.contingency import association as scipy_association
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from analysis import audit
from analysis.audits.association import association
from analysis.audits.duplicates import find_duplicates, near_pairs
from analysis.audits.pretraining import FLEXICT, pretraining_overlap
from analysis.audits.result import AuditResult
from analysis.audits.stamp import audit_verdict, write_stamp
from analysis.cohort import Cohort
from analysis.gradient.axis import effective_df, ridge_penalty
from analysis.gradient.readability import readability
from analysis.plots.audit import ledger_forest, ledger_forest_source, left_out_forest, left_out_forest_source
from analysis.splits import repeated_folds
from flexict_core.errors import AnalysisError, InputError

N, DIMENSIONS = 120, 10


def planted(seed: int = 0, *, effect: float = 3.0) -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
    """Embeddings that hold the site alone, a label that goes with the site, and fields that are noise."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 3, N)
    site = np.where(rng.random(N) < 0.05 + 0.45 * label, "north", "south")
    X = rng.standard_normal((N, DIMENSIONS))
    X[:, 0] += effect * (site == "north")
    fields = pd.DataFrame(
        {
            "age": rng.normal(60, 9, N),
            "sex": rng.choice(["F", "M"], N),
            "site": site,
            "kernel": rng.choice(["a", "b", "c"], N),
        }
    )
    return X, np.array(["I", "II", "III"])[label], fields


@pytest.fixture(scope="module")
def found() -> AuditResult:
    X, label, fields = planted()
    X[7] = X[100]
    X[8] = X[101] + 0.02 * np.random.default_rng(1).standard_normal(DIMENSIONS)
    split = np.where(np.arange(N) < 60, "train", "test")
    return audit(
        X, label=label, order="I,II,III", fields=fields, group=fields["site"], split=split, encoder="flexict-3d",
        patient_id=[f"P{i:03d}" for i in range(N)], permutations=199,
    )  # fmt: skip


def test_a_planted_site_tops_the_ledger_and_is_called_a_confounder(found: AuditResult) -> None:
    first = found.fields[0]
    assert (first.name, first.verdict, first.kind) == ("site", "confounds", "category")
    assert first.readability > 0.9
    assert first.ci is not None
    assert 0.5 < first.ci[0] < first.readability < first.ci[1] <= 1
    assert [f.name for f in found.confounders] == ["site"]
    assert "site can be read from the embedding and goes with label" in found.verdict


def test_leaving_the_site_out_takes_the_gradient_away(found: AuditResult) -> None:
    groups = found.left_out_groups
    assert groups is not None
    assert groups.pooled > 0.6  # the label through the site
    assert abs(groups.left_out - 0.5) < 0.12  # nothing else is there
    assert groups.p_value < 0.05
    assert groups.drop == pytest.approx(groups.pooled - groups.left_out)
    assert {r.group for r in groups.rows} == {"north", "south"}


def test_planted_leaks_are_found_and_nothing_else(found: AuditResult) -> None:
    assert {(d.kind, d.first, d.second) for d in found.leaks} == {
        ("same embedding", "P007", "P100"),
        ("near embedding", "P008", "P101"),
    }
    assert found.duplicates == found.leaks
    assert "2 duplicates across split" in found.verdict


def test_the_left_out_concordance_is_that_of_a_ridge_on_the_other_site() -> None:
    X, _, fields = planted(3)
    binary = fields["sex"].to_numpy()
    result = audit(X, label=binary, fields=fields, group=fields["site"], permutations=99)
    groups = result.left_out_groups
    assert groups is not None
    own = (fields["site"] == "north").to_numpy()
    scaler = StandardScaler().fit(X[~own])
    train = scaler.transform(X[~own])
    penalty = ridge_penalty(np.linalg.eigvalsh(train.T @ train), effective_df(len(train)))
    model = Ridge(alpha=penalty).fit(train, (binary[~own] == "M").astype(float))
    expected = roc_auc_score(binary[own] == "M", model.predict(scaler.transform(X[own])))
    (row,) = [r for r in groups.rows if r.group == "north"]
    assert row.left_out == pytest.approx(expected, abs=1e-8)


def test_readability_is_the_auc_of_a_cross_fitted_ridge() -> None:
    X, _, fields = planted(4)
    folds = repeated_folds(N)
    y = (fields["sex"] == "M").to_numpy(float)
    scores = np.zeros(N)
    for train, test in folds:
        scaler = StandardScaler().fit(X[train])
        Z = scaler.transform(X[train])
        model = Ridge(alpha=ridge_penalty(np.linalg.eigvalsh(Z.T @ Z), effective_df(len(train)))).fit(
            Z, y[train]
        )
        scores[test] += model.predict(scaler.transform(X[test])) - y[train].mean()
    result = audit(X, fields=fields[["sex"]], permutations=99)
    assert result.fields[0].readability == pytest.approx(roc_auc_score(y, scores), abs=1e-8)


def test_associations_agree_with_scipy() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=80), rng.normal(size=80)
    kind = rng.choice(["x", "y", "z"], 80).astype(object)
    other = rng.choice(["u", "v"], 80).astype(object)
    spearman = stats.spearmanr(a, b)
    kruskal = stats.kruskal(*(a[kind == k] for k in "xyz"))
    table = pd.crosstab(kind, other).to_numpy()
    for found, value, p in (
        (association(a, b), spearman.statistic, spearman.pvalue),
        (association(a, kind), kruskal.statistic / 79, kruskal.pvalue),
        (association(kind, a), kruskal.statistic / 79, kruskal.pvalue),
        (
            association(kind, other),
            scipy_association(table),
            stats.chi2_contingency(table, correction=False).pvalue,
        ),
    ):
        assert found is not None
        assert found[1] == pytest.approx(value, abs=1e-8)
        assert found[2] == pytest.approx(p, abs=1e-8)
    assert association(a, np.array(["x"] * 80, dtype=object)) is None


def test_few_patients_a_cell_are_compared_by_permutation() -> None:
    rng = np.random.default_rng(0)
    one = np.array(["a"] * 20 + ["b"] * 4, dtype=object)
    two = rng.permutation(one)
    found = association(one, two)
    assert found is not None
    assert "permutations" in found[3]
    both = np.arange(
        5
    )  # patients who are "b" twice, of 4 and 4 among 24: chi-squared grows with |both − 16 / 24|
    reach = np.abs(both - 16 / 24)
    seen = reach >= reach[np.count_nonzero((one == "b") & (two == "b"))]
    assert found[2] == pytest.approx(stats.hypergeom(24, 4, 4).pmf(both)[seen].sum(), abs=0.02)


def test_nothing_is_found_in_nothing() -> None:
    """Cohorts of pure noise: any field called readable, any near pair, any fall in a left-out site."""
    readable, near, fell, runs, grouped = 0, 0, 0, 40, 8
    for seed in range(runs):
        rng = np.random.default_rng(1000 + seed)
        X = rng.standard_normal((60, 8)) if seed % 2 else rng.standard_t(4, size=(60, 8))
        fields = pd.DataFrame(
            {
                "age": rng.normal(60, 9, 60),
                "site": rng.choice(["n", "s"], 60),
                "sex": rng.choice(["F", "M"], 60),
            }
        )
        group = fields["site"] if seed < grouped else None
        label = rng.choice(["I", "II"], 60)
        result = audit(X, label=label, fields=fields, group=group, permutations=99, seed=seed)
        readable += any(f.verdict != "not shown" for f in result.fields)
        near += bool(result.duplicates)
        fell += result.left_out_groups is not None and result.left_out_groups.p_value < 0.05
    limit = stats.binom.ppf(0.999, runs, 0.05)
    assert readable <= limit
    assert near <= limit
    assert fell <= stats.binom.ppf(0.999, grouped, 0.05)


def test_intervals_of_readability_cover() -> None:
    """The truth is the AUC, on 4,000 new patients, of what cohorts of this size teach (mean of 30)."""
    rng = np.random.default_rng(5)

    def draw(n: int) -> tuple[np.ndarray, np.ndarray]:
        own = rng.integers(0, 2, n)
        X = rng.standard_normal((n, 10))
        X[:, 0] += 0.8 * own
        return X, own

    from analysis.gradient.axis import ridge_gain

    truths = []
    for _ in range(30):
        (X, own), (X_new, new) = draw(80), draw(4000)
        chosen = [rng.permutation(80)[:64] for _ in range(10)]
        score = sum(ridge_gain(X[c], X_new) @ own[c].astype(float) for c in chosen)
        truths.append(roc_auc_score(new, score))
    truth, covered, runs = np.mean(truths), 0, 120
    for seed in range(runs):
        X, own = draw(80)
        (row,), _ = readability(X, pd.DataFrame({"f": np.array(["a", "b"])[own]}), seed=seed)
        assert row.ci is not None
        covered += row.ci[0] <= truth <= row.ci[1]
    assert stats.binom.ppf(0.001, runs, 0.95) <= covered <= stats.binom.ppf(0.999, runs, 0.97)


def test_copies_of_one_patient_are_all_found() -> None:
    rng = np.random.default_rng(2)
    X = rng.standard_normal((100, 12))
    for copy in (60, 70, 80):
        X[copy] = X[5] + 0.01 * rng.standard_normal(12)
    pairs = {(a, b) for a, b, _, _ in near_pairs(X, alpha=0.05).pairs}
    assert pairs == {(5, 60), (5, 70), (5, 80), (60, 70), (60, 80), (70, 80)}


def test_the_intrinsic_dimension_is_that_of_the_cloud() -> None:
    rng = np.random.default_rng(0)
    flat = rng.random((2000, 3)) @ np.linalg.qr(rng.standard_normal((3, 3)))[0]
    assert near_pairs(flat, alpha=0.05).intrinsic_dimension == pytest.approx(3, abs=0.35)


def test_people_under_two_names_and_images_under_two_patients() -> None:
    rng = np.random.default_rng(0)
    ids = ["P-01", "p_01", "P-02", "P-03", "P-11"]
    near = near_pairs(rng.standard_normal((5, 4)), alpha=0.05)
    images = [("P-02", "abc"), ("P-03", "abc"), ("P-11", "")]
    found = find_duplicates(near, ids, images=images, splits=["train", "test", "train", "train", ""])
    assert [(d.kind, d.first, d.second, d.crosses_split) for d in found] == [
        ("same person", "P-01", "p_01", True),
        ("same image file", "P-02", "P-03", False),
    ]
    rows = find_duplicates(near, ["s1", "s2", "s3", "s4", "s5"], persons=list("aabbc"), splits=list("xyxxy"))
    assert [(d.first, d.second) for d in rows] == [("s1", "s2")]  # b lies on one side: no leak


def test_rows_of_one_patient_leak_only_across_the_split() -> None:
    X = np.random.default_rng(0).standard_normal((40, 5))
    ids = ["twice", "twice", *(f"p{i}" for i in range(38))]
    split = np.array(["train", "test"] * 20)
    assert [d.kind for d in audit(X, patient_id=ids, split=split, permutations=99).leaks] == ["same person"]
    same_side = np.array(["train"] * 20 + ["test"] * 20)
    assert audit(X, patient_id=ids, split=same_side, permutations=99).leaks == ()


@pytest.fixture
def collections(tmp_path: Path) -> Path:
    rows = ["collection_id,PatientID,SeriesInstanceUID", "hcc_tace_seg,HCC_001,1.2.3", "hcc_tace_seg,HCC_002,1.2.4",
            "lidc_idri,LIDC-IDRI-0001,1.3", "c4kc_kits,KiTS-00000,1.4"]  # fmt: skip
    (tmp_path / "index.csv").write_text("\n".join(rows))
    return tmp_path / "index.csv"


def test_known_collections_are_named_and_others_stay_unknown(collections: Path) -> None:
    ids = ["HCC_001", "HCC_002", "LIDC-IDRI-0001", "KiTS-00000", "OWN-1"]
    found = pretraining_overlap(ids, ["1.2.3"], encoder="flexict-3d", index=collections)
    assert [(o.collection, o.status, o.patients, o.series) for o in found] == [
        ("hcc_tace_seg", "named as pretraining data", 2, 1),
        ("lidc_idri", "may be pretraining data", 1, None),
        ("c4kc_kits", "unknown", 1, None),
        ("in no indexed collection", "unknown", 1, None),
    ]
    other = pretraining_overlap(ids, encoder="someone's", index=collections)
    assert {o.status for o in other} == {"unknown"}
    (none,) = pretraining_overlap(ids, encoder="baseline", index=collections)
    assert none.status == "none"
    assert len({p.name for p in FLEXICT}) == 22
    (collections.parent / "bad.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="collection_id"):
        pretraining_overlap(ids, encoder="flexict-3d", index=collections.parent / "bad.csv")


@pytest.mark.shared_data
def test_a_real_index_of_public_collections(shared: Path) -> None:
    index = shared / "data/idc/ct_series.csv"
    table = pd.read_csv(index, dtype=str)
    mine = table[table["collection_id"].isin(["colorectal_liver_metastases", "nsclc_radiomics"])]
    found = pretraining_overlap(
        mine["PatientID"], mine["SeriesInstanceUID"], encoder="flexict-2d", index=index
    )
    assert [(o.collection, o.status, o.patients) for o in found] == [
        ("colorectal_liver_metastases", "named as pretraining data", 197),
        ("nsclc_radiomics", "unknown", 422),
    ]


def test_the_result_speaks_and_fits_json(found: AuditResult) -> None:
    written = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    keys = {
        "fields",
        "leave_one_group_out",
        "duplicates",
        "overlap",
        "verdict",
        "provenance",
        "schema_version",
    }
    assert set(written) >= keys
    assert set(written["fields"][0]) >= {"name", "kind", "readability", "ci", "p_value"}
    assert written["leave_one_group_out"][0]["group"] == "north"
    assert found.verdict in found.summary()
    assert f"{found.n} patients" in found.methods_text()
    assert list(found.table()["field"]) == [*(f.name for f in found.fields), "label"]


def test_figures_draw_the_numbers_of_the_result(found: AuditResult) -> None:
    source = ledger_forest_source(found)
    assert source["value"].tolist() == [f.strength for f in found.fields]
    drawn = [float(trace.x[0]) for trace in ledger_forest(found).data]
    assert drawn == source["value"].tolist()
    groups = found.left_out_groups
    assert groups is not None
    assert left_out_forest_source(found)["value"].iloc[0] == groups.left_out
    assert left_out_forest(found).layout.meta["name"] == "audit_groups"
    bare = audit(np.random.default_rng(0).standard_normal((30, 4)), permutations=99)
    for draw in (ledger_forest, left_out_forest):
        with pytest.raises(AnalysisError):
            draw(bare)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"group": ["a", "b"] * 20}, "no label"),
        ({"label": ["x"] * 40, "group": ["a", "b"] * 20}, "single value"),
        ({"label": ["x", "y"] * 20, "group": ["a"] * 40}, "always 'a'"),
        ({"label": "stage"}, "names a column"),
        ({"label": ["x", "y"]}, "one value a patient"),
        ({"split": ["train"] * 40}, "one side only"),
        ({"order": "I,II"}, "no label"),
        ({"permutations": 5}, "at least 99"),
        ({"alpha": 0.7}, "between 0 and 0.5"),
        ({"fields": ["age"]}, "table of 40 rows"),
    ],
)
def test_bad_questions_are_refused(options: dict[str, Any], says: str) -> None:
    X = np.random.default_rng(0).standard_normal((40, 4))
    with pytest.raises((AnalysisError, InputError), match=says):
        audit(X, **{"permutations": 99, **options})


@pytest.mark.parametrize(("X", "says"), [(np.ones((40, 3)), "constant"), (np.eye(5), "at least 20")])
def test_bad_embeddings_are_refused(X: np.ndarray, says: str) -> None:
    with pytest.raises(AnalysisError, match=says):
        audit(X)


def test_a_verdict_stands_on_the_same_patients_only(tmp_path: Path) -> None:
    def cohort(ids: list[str]) -> Cohort:
        return Cohort(
            X=np.zeros((len(ids), 2)), patient_id=np.array(ids), table=pd.DataFrame({"patient_id": ids}),
            rows=pd.DataFrame({"patient_id": ids}), feature_names=None, lost=pd.DataFrame(), name="chosen",
            embedding_id="e", store=tmp_path,
        )  # fmt: skip

    X, label, fields = planted()
    found = audit(X, label=label, order="I,II,III", fields=fields, permutations=99)
    write_stamp(cohort(["A", "B"]), found)
    assert audit_verdict(cohort(["B", "A"])) == found.verdict
    assert audit_verdict(cohort(["A", "C"])) is None


def test_a_field_that_is_a_dimension_of_the_embedding_is_not_read_from_it() -> None:
    rng = np.random.default_rng(5)
    X = rng.normal(size=(60, 6)).astype(np.float32)
    fields = pd.DataFrame({"own": X[:, 3].astype(float), "near": X[:, 3] + 0.1 * rng.normal(size=60)})
    rows, why = readability(X, fields)
    assert [r.name for r in rows] == ["near"]
    assert why == ("own: is a dimension of the embedding itself",)


def test_permutations_that_cannot_show_anything_are_told() -> None:
    X = np.random.default_rng(3).standard_normal((40, 3))
    clinical = pd.DataFrame({f"c{i}": X[:, i % 3] + (0.1 + 0.1 * i) * X[:, (i + 1) % 3] for i in range(5)})
    few, enough = (audit(X, fields=clinical, permutations=draws) for draws in (99, 119))
    assert "99 permutations cannot show that any of 5 fields is readable" in few.warnings[-1]
    assert not any("cannot show" in w for w in enough.warnings)
    assert all(f.p_holm >= 0.05 for f in few.fields)
    assert any(f.p_holm < 0.05 for f in enough.fields)
