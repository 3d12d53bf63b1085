"""Vectors made elsewhere: which columns enter, which rows do not, and that data never mix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from flexict_core.errors import DataWarning, InputError, StoreError
from flexict_core.store import EmbeddingStore, ImportReport, import_vectors
from flexict_core.tables import file_sha256, read_table


@pytest.fixture
def store(tmp_path: Path) -> EmbeddingStore:
    return EmbeddingStore.create(tmp_path / "store")


def table(**more: Any) -> pd.DataFrame:
    return pd.DataFrame({"id": ["007", "8", "9"], "f_a": [1.0, 2.0, 3.0], "f_b": [5, 4, 9], **more})


def enter(store: EmbeddingStore, frame: pd.DataFrame, **more: Any) -> ImportReport:
    options: dict[str, Any] = {"id_column": "id", "name": "radiomics", "source_sha256": "aa", **more}
    return import_vectors(store, frame, **options)


def test_numeric_columns_become_named_dimensions(store: EmbeddingStore) -> None:
    report = enter(store, table(), licence="CC BY", synthetic=True)
    assert (report.rows, report.skipped, report.quarantined) == (3, 0, 0)
    found = store.read("radiomics")
    assert found.rows["patient_id"].tolist() == ["007", "8", "9"]
    assert found.spec["feature_names"] == ["f_a", "f_b"]
    assert found.X.tolist() == [[1, 5], [2, 4], [3, 9]]
    assert (found.spec["synthetic"], found.spec["licence"], found.spec["encoder"]) == (
        True,
        "CC BY",
        "imported",
    )
    assert found.rows["source_sha256"].tolist() == ["aa"] * 3


def test_text_cells_are_numbers_and_gaps(store: EmbeddingStore) -> None:
    text = pd.DataFrame(
        {"id": ["A", "B", "C", "D"], "f": ["1.5", " 2e3 ", "NA", "-4"], "g": ["1", "2", "3", ""]}
    )
    with pytest.warns(
        DataWarning, match="2 of 4 rows are left out, the first because 'C' has no value for 'f'"
    ):
        report = enter(store, text)
    assert (report.rows, report.quarantined) == (2, 2)
    assert store.read("radiomics").X.tolist() == [[1.5, 1], [2000, 2]]
    quarantine = store.quarantine("radiomics")
    assert quarantine["patient_id"].tolist() == ["C", "D"]
    assert quarantine["row"].tolist() == [4, 5]
    assert "'g'" in quarantine["reason"][1]


def test_columns_and_prefixes_choose(store: EmbeddingStore) -> None:
    frame = table(g_c=[1, 2, 4])
    assert enter(store, frame, columns=["g_c", "f_a"], name="c").feature_names == ("g_c", "f_a")
    assert enter(store, frame, prefix="f_", name="p").feature_names == ("f_a", "f_b")
    assert enter(store, frame, prefix=["g_", "f_b"], name="q").feature_names == ("f_b", "g_c")


def test_labels_do_not_slip_in_unasked(store: EmbeddingStore) -> None:
    frame = table(
        **{
            "clinical.T.Stage": [1, 2, 3],
            "Age_years": [50, 60, 70],
            "SurvivalTime": [3, 2, 1],
            "image_area": [1, 2, 3],
        }
    )
    with pytest.warns(DataWarning, match="look like clinical labels"):
        report = enter(store, frame)
    assert report.feature_names == ("f_a", "f_b", "image_area")
    assert enter(store, frame, columns=["Age_years"], name="told").feature_names == ("Age_years",)


@pytest.mark.filterwarnings("ignore::flexict_core.errors.DataWarning")
@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"columns": ["f_a", "f_bb"]}, "column 'f_bb' is not in the table: did you mean 'f_b'?"),
        ({"columns": ["note"]}, "column 'note' is not numeric (it holds 'large')"),
        ({"columns": []}, "name at least one"),
        ({"columns": ["id"]}, "is the ID"),
        ({"columns": ["f_a"], "prefix": "f"}, "both given"),
        ({"prefix": "F_"}, "no column begins with 'F_'"),
        ({"id_column": "ID"}, "column 'ID' is not in the table: did you mean 'id'?"),
        ({"columns": ["flat"]}, "none of the 1 columns varies"),
        ({"name": "a/b"}, "cannot name a folder"),
    ],
)
def test_what_cannot_be_imported_is_one_line(
    store: EmbeddingStore, options: dict[str, Any], says: str
) -> None:
    frame = table(note=["1", "large", "3"], flat=[1, 1, 1])
    with pytest.raises(InputError) as caught:
        enter(store, frame, **options)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert store.list() == []


def test_constant_and_empty_columns_are_left_out_and_said(store: EmbeddingStore) -> None:
    frame = table(flat=[2, 2, 2], empty=[np.nan] * 3)
    with pytest.warns(DataWarning) as caught:
        report = enter(store, frame, columns=["f_a", "flat", "f_b", "empty"])
    texts = [str(w.message) for w in caught]
    assert texts == [
        "columns 'empty' hold no number and are left out of the vector",
        "columns 'flat' hold a single value and are left out of the vector",
    ]
    assert report.feature_names == ("f_a", "f_b")
    assert report.dropped_columns == ("flat", "empty")
    assert report.rows == 3


def test_rows_that_cannot_be_used_are_quarantined(store: EmbeddingStore) -> None:
    frame = pd.DataFrame(
        {
            "id": ["A", "A", "B", "B", "", "C", "D"],
            "f": [1, 2, 3, 3, 5, np.inf, 1e39],
            "g": [1, 2, 3, 3, 5, 6, 7],
        }
    )
    with pytest.warns(DataWarning, match="6 of 7 rows"):
        report = enter(store, frame)
    assert (report.rows, report.quarantined) == (1, 6)
    reasons = dict(
        zip(store.quarantine("radiomics")["row"], store.quarantine("radiomics")["reason"], strict=True)
    )
    assert "'A' has 2 different rows" in reasons[2] == reasons[3]
    assert "'B' repeats line 4" in reasons[5]
    assert "line 6 has no id" in reasons[6]
    assert "no value for 'f'" in reasons[7]
    assert "no value for 'f'" in reasons[8]


def test_no_usable_row_is_an_error(store: EmbeddingStore) -> None:
    with pytest.warns(DataWarning), pytest.raises(InputError, match="no row can be imported"):
        enter(store, pd.DataFrame({"id": ["", ""], "f": [1.0, 2.0]}))
    assert store.list() == []


def test_several_rows_of_a_patient_are_told_apart(store: EmbeddingStore) -> None:
    enter(
        store,
        pd.DataFrame({"id": ["A", "A"], "roi_id": ["1", "2"], "series_uid": ["9", "9"], "f": [1.0, 2.0]}),
    )
    found = store.read("radiomics")
    assert found.rows[["series_uid", "roi_id"]].to_numpy().tolist() == [["9", "1"], ["9", "2"]]
    assert found.spec["feature_names"] == ["f"]


def test_whole_ids_stay_whole(store: EmbeddingStore) -> None:
    enter(store, pd.DataFrame({"id": [1.0, 20.0, 300.0], "f": [1.0, 2.0, 3.0]}))
    assert store.read("radiomics").rows["patient_id"].tolist() == ["1", "20", "300"]


def test_a_column_of_vectors_spreads(store: EmbeddingStore) -> None:
    frame = pd.DataFrame({"id": ["A", "B", "C"], "embedding": [np.array([1, 2]), None, np.array([3, 5])]})
    with pytest.warns(DataWarning, match="'B' has no value"):
        report = enter(store, frame, columns=["embedding"])
    assert report.feature_names == ("embedding_0", "embedding_1")
    assert store.read("radiomics").X.tolist() == [[1, 2], [3, 5]]
    with pytest.raises(InputError, match="equally long"):
        enter(store, pd.DataFrame({"id": ["A", "B"], "v": [[1, 2], [1]]}), columns=["v"])


def test_the_same_again_adds_nothing_and_changed_data_stay_apart(store: EmbeddingStore) -> None:
    first = enter(store, table())
    again = enter(store, table())
    assert (again.embedding_id, again.rows, again.skipped) == (first.embedding_id, 0, 3)
    assert store.list()[0].rows == 3
    changed = enter(store, table(f_b=[5, 4, 8]), source_sha256="bb")
    assert changed.embedding_id != first.embedding_id
    with pytest.raises(StoreError, match="ambiguous"):
        store.resolve("radiomics")
    assert store.read(first.embedding_id).X[2].tolist() == [3, 9]


@pytest.mark.shared_data
def test_lung1_radiomics_enter_without_their_labels(store: EmbeddingStore, shared: Path) -> None:
    path = shared / "data" / "lung1" / "radiomics_and_clinical.csv"
    with pytest.warns(DataWarning, match="look like clinical labels"):
        report = enter(store, read_table(path), id_column="PatientID", source_sha256=file_sha256(path))
    raw = pd.read_csv(path)
    expected = [c for c in raw.columns if c.startswith(("original_", "wavelet"))]
    assert list(report.feature_names) == expected
    assert report.rows == len(raw) == 421
    found = store.read("radiomics")
    line = raw[raw["PatientID"] == found.rows["patient_id"][7]]
    np.testing.assert_allclose(found.X[7], line[expected].to_numpy()[0], rtol=1e-6)
