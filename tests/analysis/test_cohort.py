"""The join of store and clinical table: IDs as text, declared types, ordered stages, nobody lost in silence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.clinical import canonical, parse_order, read_clinical, rewrite_id, stage_codes, typed
from analysis.cohort import Cohort, load_cohort
from analysis.plots.stage_gradient import scores_by_stage
from analysis.stage_gradient import stage_gradient
from flexict_core.errors import CohortError
from flexict_core.store import EmbeddingStore


def _store(
    folder: Path, rows: list[tuple[str, list[float]]], *, name: str = "net", **spec: object
) -> EmbeddingStore:
    store = EmbeddingStore.create(folder / "store")
    dim = len(rows[0][1])
    with store.writer({"encoder": name, **spec}, dim=dim, name=name) as writer:
        writer.add(
            {"patient_id": p, "series_uid": str(i), "embedding": np.array(v, dtype=np.float32)}
            for i, (p, v) in enumerate(rows)
        )
    return store


def _table(folder: Path, text: str) -> Path:
    path = folder / "clinical.csv"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def four(tmp_path: Path) -> EmbeddingStore:
    rows = [("001", [1.0, 10.0]), ("002", [2.0, 20.0]), ("010", [3.0, 30.0]), ("1", [4.0, 40.0])]
    return _store(tmp_path, rows, feature_names=["volume_ml", "mean_hu"], synthetic=True, licence="CC0")


def test_ids_stay_text_and_rows_line_up(tmp_path: Path, four: EmbeddingStore) -> None:
    clinical = _table(tmp_path, "pid,stage,size\n010,II,30\n1,I,5\n001,I,7.5\n002,II,\n")
    cohort = load_cohort(four, "net", clinical, id_column="pid")
    assert list(cohort.patient_id) == ["010", "1", "001", "002"]
    assert cohort.X.tolist() == [[3, 30], [4, 40], [1, 10], [2, 20]]
    assert cohort.X.dtype == np.float64
    assert list(cohort.table["pid"]) == list(cohort.patient_id)
    assert cohort.table["size"].tolist()[:3] == [30.0, 5.0, 7.5]
    assert np.isnan(cohort.table["size"].iloc[3])
    assert list(cohort.rows["patient_id"]) == ["001", "002", "010", "1"]
    assert (cohort.warnings, len(cohort.lost)) == ((), 0)
    assert (cohort.synthetic, cohort.licence, cohort.encoder) == (True, "CC0", "net")


def test_several_rows_of_a_patient_are_averaged(tmp_path: Path) -> None:
    store = _store(tmp_path, [("A", [0.0, 2.0]), ("B", [5.0, 5.0]), ("A", [4.0, 4.0])])
    cohort = load_cohort(store, None, _table(tmp_path, "id,s\nB,1\nA,2\n"), id_column="id")
    assert cohort.X.tolist() == [[5, 5], [2, 3]]
    assert len(cohort.rows) == 3


def test_an_id_in_only_one_table_is_kept_out_and_named(tmp_path: Path, four: EmbeddingStore) -> None:
    clinical = _table(tmp_path, "pid,stage\n001,I\n002,II\n1,I\nP9,III\n,II\n")
    cohort = load_cohort(four, "net", clinical, id_column="pid")
    lost = dict(zip(cohort.lost["patient_id"], cohort.lost["reason"], strict=True))
    assert lost == {
        "010": "in the embedding, not in clinical.csv",
        "P9": "in clinical.csv, not in the embedding",
    }
    assert len(cohort.warnings) == 3
    assert "'010'" in cohort.warnings[0]
    assert "'P9'" in cohort.warnings[1]
    assert "1 rows of clinical.csv have no ID" in cohort.warnings[2]


def test_no_common_id_shows_both_and_the_way_out(tmp_path: Path) -> None:
    store = _store(tmp_path, [("case_00000", [1.0]), ("case_00001", [2.0])])
    clinical = _table(tmp_path, "patient_id,stage\nKiTS-00000,1\nKiTS-00001,2\n")
    with pytest.raises(CohortError) as caught:
        load_cohort(store, None, clinical, id_column="patient_id")
    message = str(caught.value)
    for text in ("'case_00000', 'case_00001'", "'KiTS-00000', 'KiTS-00001'", "--id-replace 'KiTS-=case_'"):
        assert text in message
    cohort = load_cohort(store, None, clinical, id_column="patient_id", id_replace=["KiTS-=case_"])
    assert list(cohort.patient_id) == ["case_00000", "case_00001"]
    assert cohort.X.ravel().tolist() == [1, 2]


def test_duplicate_ids_are_listed(tmp_path: Path, four: EmbeddingStore) -> None:
    clinical = _table(tmp_path, "pid,stage\n001,I\n 001,II\n002,I\n1,I\n1,I\n1,II\n")
    with pytest.raises(CohortError, match=r"'001 \(2 rows\)', '1 \(3 rows\)' more than once"):
        load_cohort(four, "net", clinical, id_column="pid")


def test_misspelt_columns_name_the_nearest(tmp_path: Path, four: EmbeddingStore) -> None:
    clinical = _table(tmp_path, "patient_id,grade\n001,1\n002,2\n")
    with pytest.raises(CohortError, match=r"'patientid' is not in clinical\.csv .*did you mean 'patient_id'"):
        load_cohort(four, "net", clinical, id_column="patientid")
    cohort = load_cohort(four, "net", clinical, id_column="patient_id")
    with pytest.raises(CohortError, match=r"'Grade' is not in .* did you mean 'grade'"):
        cohort.column("Grade")
    with pytest.raises(CohortError, match="no dimension 'volume': did you mean 'volume_ml'"):
        cohort.column("feature:volume")


def test_named_dimensions_serve_as_columns(tmp_path: Path, four: EmbeddingStore) -> None:
    _store(tmp_path, [("001", [7.0]), ("1", [9.0]), ("1", [11.0])], name="other", feature_names=["hu"])
    clinical = _table(tmp_path, "pid,stage\n1,I\n001,I\n002,II\n")
    cohort = load_cohort(four, "net", clinical, id_column="pid")
    assert cohort.column("feature:mean_hu").tolist() == [40, 10, 20]
    assert cohort.column("other:hu").tolist()[:2] == [10, 7]
    assert np.isnan(cohort.column("other:hu")[2])
    complete = cohort.complete(["stage", "other:hu"])
    assert list(complete.patient_id) == ["1", "001"]
    assert ("002", "other:hu is missing") in set(complete.lost.itertuples(index=False, name=None))
    assert any("other:hu is missing" in w for w in complete.warnings)


def test_where_keeps_what_it_names(tmp_path: Path, four: EmbeddingStore) -> None:
    clinical = _table(tmp_path, "pid,cohort,pT\n001,A,0\n002,B,1.0\n010,A,1\n1,A,2\n")

    def kept(*where: str) -> list[str]:
        return list(load_cohort(four, "net", clinical, id_column="pid", where=where).patient_id)

    assert kept("cohort=A") == ["001", "010", "1"]
    assert kept("cohort=A", "pT!=0") == ["010", "1"]
    assert kept("pT=1", "pT=2") == ["002", "010", "1"]
    cohort = load_cohort(four, "net", clinical, id_column="pid", where=["cohort=B"])
    assert set(cohort.lost["patient_id"]) == {"001", "010", "1"}
    assert cohort.warnings == ()  # asked for, so nothing to warn of
    with pytest.raises(CohortError, match=r"never is 'C'; it holds 'A', 'B'"):
        kept("cohort=C")
    with pytest.raises(CohortError, match="is not COLUMN=VALUE"):
        kept("cohort")


def test_with_stage_orders_merges_and_lists_who_has_none(tmp_path: Path, four: EmbeddingStore) -> None:
    clinical = _table(tmp_path, "pid,pT\n001,1a\n002,NA\n010,2a\n1,1b\n")
    cohort = load_cohort(four, "net", clinical, id_column="pid")
    staged, codes, order = cohort.with_stage("pT", "1a+1b, 2a + 2b")
    assert order.labels == ("1a+1b", "2a+2b")
    assert codes.tolist() == [0, 1, 0]
    assert list(staged.table["pT"]) == ["1a+1b", "2a+2b", "1a+1b"]
    assert list(staged.lost.itertuples(index=False, name=None)) == [("002", "pT is missing")]


def test_stages_match_as_numbers_whatever_their_spelling() -> None:
    codes, reasons = stage_codes(["1", 1.0, "2.0", 2, "01", None, float("nan")], parse_order("1,2"))
    assert codes.tolist() == [0, 0, 1, 1, 0, -1, -1]
    assert reasons == {5: "stage is missing", 6: "stage is missing"}
    assert [canonical(v) for v in ("1.50", "IIIa", " NA ", 3.0, None)] == ["1.5", "IIIa", "", "3", ""]


def test_a_stage_outside_the_order_is_refused_with_its_count() -> None:
    values = ["Low"] * 3 + ["Intermediate"] * 8 + ["High"] * 5
    with pytest.raises(CohortError, match=r"'grade' holds .* 'Low,High' does not name: 'Intermediate' \(8\)"):
        stage_codes(values, parse_order("Low,High"), column="grade")


def test_a_stray_stage_of_two_patients_is_left_out_by_name() -> None:
    codes, reasons = stage_codes(["1", "2", "5", "2", "5"], parse_order("1,2"), column="T")
    assert codes.tolist() == [0, 1, -1, 1, -1]
    assert reasons == {2: "T is '5', not in the order", 4: "T is '5', not in the order"}
    with pytest.raises(CohortError, match=r"'5' \(3\)"):
        stage_codes(["1", "2", "5", "5", "5"], parse_order("1,2"))


@pytest.mark.parametrize(
    ("order", "says"),
    [
        ("I", "names 1 stage"),
        ("I,,II", "an empty stage"),
        ("1,2,1.0", "'1' twice"),
        ("I+II,II", "'II' twice"),
    ],
)
def test_a_wrong_order_is_refused(order: str, says: str) -> None:
    with pytest.raises(CohortError, match=says):
        parse_order(order)


def test_columns_get_their_declared_type() -> None:
    assert typed(pd.Series(["1", " 2.5", "--", "NA"])).tolist()[:2] == [1.0, 2.5]
    assert typed(pd.Series(["1", ">=90", ""])).tolist() == ["1", ">=90", None]
    assert typed(pd.Series(["none", "X", "unknown"])).tolist() == ["none", "X", None]
    assert typed(pd.Series(["1", "inf"])).tolist() == ["1", "inf"]
    assert typed(pd.Series(["1_000", "2"])).dtype == object
    assert rewrite_id(" case_7 ", ["case_=KiTS-"]) == "KiTS-7"


def test_text_that_is_no_category_is_refused(tmp_path: Path) -> None:
    ids = [f"P{i}" for i in range(40)]
    store = _store(tmp_path, [(p, [1.0]) for p in ids])
    rows = "".join(f"{p},{'>=90' if i == 3 else i}\n" for i, p in enumerate(ids))
    cohort = load_cohort(store, None, _table(tmp_path, "id,egfr\n" + rows), id_column="id")
    with pytest.raises(CohortError, match=r"'egfr' is text with 40 different values \('>=90'\)"):
        cohort.columns(["egfr"])


@pytest.mark.parametrize("kind", ["csv", "semicolon", "parquet", "xlsx"])
def test_every_kind_of_table_gives_the_same(tmp_path: Path, kind: str) -> None:
    frame = pd.DataFrame({"id": ["007", "008"], "stage": [1, 2], "size": [1.5, None], "sex": ["m", None]})
    path = tmp_path / f"t.{'csv' if kind == 'semicolon' else kind}"
    if kind == "parquet":
        frame.to_parquet(path)
    elif kind == "xlsx":
        frame.to_excel(path, index=False)
    else:
        frame.to_csv(path, index=False, sep=";" if kind == "semicolon" else ",", encoding="utf-8-sig")
    table = read_clinical(path, id_column="id")
    assert list(table.patient_id) == ["007", "008"]
    assert table.frame["stage"].tolist() == [1.0, 2.0]
    assert table.frame["size"].iloc[0] == 1.5
    assert np.isnan(table.frame["size"].iloc[1])
    assert table.frame["sex"].tolist() == ["m", None]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"id,stage\n", "no rows"),
        (b"id,id\n1,2\n", "'id' twice"),
        (b"id,n\n1,\xfc\n", "not UTF-8"),
        (b"id,stage\n1,2\n3,4,5,6\n", "Expected 2 fields in line 3, saw 4"),
        (b"id,stage\n,1\n,2\n", "empty in every row"),
    ],
)
def test_unreadable_tables_say_why(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "clinical.csv"
    path.write_bytes(content)
    with pytest.raises(CohortError, match=says) as caught:
        read_clinical(path, id_column="id")
    assert "\n" not in str(caught.value)


def test_editing_a_label_changes_only_the_table_hash(tmp_path: Path, four: EmbeddingStore) -> None:
    before = load_cohort(four, "net", _table(tmp_path, "pid,s\n001,1\n002,2\n"), id_column="pid")
    after = load_cohort(four, "net", _table(tmp_path, "pid,s\n001,1\n002,3\n"), id_column="pid")
    assert before.data_sha256["embedding"] == after.data_sha256["embedding"]
    assert before.data_sha256["clinical"] != after.data_sha256["clinical"]
    provenance = after.provenance(parameters={"a": 1}, seed=3)
    assert (provenance.embedding_id, provenance.synthetic, provenance.seed) == (after.embedding_id, True, 3)


def test_two_embeddings_need_a_choice(tmp_path: Path, four: EmbeddingStore) -> None:
    _store(tmp_path, [("001", [7.0])], name="other")
    clinical = _table(tmp_path, "pid,s\n001,1\n")
    with pytest.raises(CohortError, match=r"holds 2 embeddings .*'net', 'other'.* choose by --embedding"):
        load_cohort(four, None, clinical, id_column="pid")
    assert isinstance(load_cohort(four, "other", clinical, id_column="pid"), Cohort)


@pytest.mark.shared_data
def test_lung1_matches_its_published_counts(shared: Path, tmp_path: Path) -> None:
    """T1 93, T2 156, T3 53, T4 117, T5 2, one missing: the source's own counts (data/INDEX.md)."""
    clinical = shared / "data/lung1/clinical.csv"
    ids = pd.read_csv(clinical, dtype=str)["PatientID"]
    store = _store(tmp_path, [(p, [float(i)]) for i, p in enumerate(ids)])
    cohort = load_cohort(store, None, clinical, id_column="PatientID")
    staged, codes, _ = cohort.with_stage("clinical.T.Stage", "1,2,3,4")
    assert cohort.n == 422
    assert np.bincount(codes).tolist() == [93, 156, 53, 117]
    assert sorted(staged.lost["reason"]) == [
        "clinical.T.Stage is '5', not in the order",
        "clinical.T.Stage is '5', not in the order",
        "clinical.T.Stage is missing",
    ]
    assert cohort.table["age"].dtype == np.float64


def test_weights_in_which_nothing_was_learnt_are_named_on_every_result(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [(f"P{i:02d}", [float(i % 3) + rng.normal(), rng.normal()]) for i in range(45)]
    store = _store(tmp_path, rows, negative_control=True)
    text = "id,stage\n" + "\n".join(f"P{i:02d},{i % 3}" for i in range(45))
    cohort = load_cohort(store, None, _table(tmp_path, text), id_column="id")
    assert any("negative control in which nothing was learnt" in w for w in cohort.warnings)
    result = stage_gradient(cohort, "stage", order="0,1,2", permutations=99)
    assert "negative control" in str(result.provenance.weights_caution)
    assert any("negative control" in w for w in result.warnings)
    figure = scores_by_stage(result)
    (stamp,) = [a.text for a in figure.layout.annotations if a.name == "stamp"]
    assert stamp == "Random or test weights · Research use only"


def test_published_and_imported_weights_carry_no_caution(tmp_path: Path, four: EmbeddingStore) -> None:
    clinical = _table(tmp_path, "pid,stage\n001,I\n002,II\n1,I\n010,I\n")
    assert load_cohort(four, "net", clinical, id_column="pid").weights_caution is None
    rows = [("001", [1.0]), ("002", [2.0])]
    other = _store(tmp_path / "b", rows, network={"embed_dim": 864, "depth": 16}, negative_control=False)
    assert load_cohort(other, None, clinical, id_column="pid").weights_caution is None
