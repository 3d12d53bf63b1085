"""The table of patients against pandas; the checklist against what a study has and has not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import load_cohort
from analysis.report.build import Report
from analysis.report.characteristics import characteristics
from analysis.report.checklist import ANSWERED, MISSING, STATED, STATEMENTS, clinical_predictors
from analysis.report.reading import read_study
from tests.analysis.report.conftest import MINIMAL, config_of, run


def test_characteristics_are_those_of_pandas(home: Path) -> None:
    cohort = load_cohort(home / "store", "deep", home / "clinical.csv", id_column="pid")
    found = characteristics(cohort, stage="stage", order="I,II,III,IV")
    table = cohort.table
    assert found.groups == ("all", "I", "II", "III", "IV")
    assert found.counts == (58, *(int((table["stage"] == s).sum()) for s in ("I", "II", "III", "IV")))
    long = found.table().set_index(["column", "level", "group"])
    for group, part in (("all", table), ("II", table[table["stage"] == "II"])):
        low, middle, high = np.percentile(part["size_mm"], [25, 50, 75])
        row = long.loc[("size_mm", "", group)]
        assert (row["low"], row["median"], row["high"]) == pytest.approx((low, middle, high))
        for sex in ("F", "M"):
            row = long.loc[("sex", sex, group)]
            assert row["count"] == (part["sex"] == sex).sum()
            assert row["share"] == pytest.approx((part["sex"] == sex).mean())
    assert long.loc[("dead", "1", "all"), "count"] == table["dead"].sum()  # 0 and 1 are counted, not averaged
    assert "stage" not in set(found.table()["column"])


def test_whole_numbers_of_few_kinds_are_counted_and_others_have_quartiles(home: Path) -> None:
    table = pd.read_csv(home / "clinical.csv", dtype=str, keep_default_na=False)
    table["t"] = [str(1 + i % 4) for i in range(len(table))]
    table["halves"] = [str(i % 3 / 2) for i in range(len(table))]
    table.to_csv(home / "codes.csv", index=False)
    cohort = load_cohort(home / "store", "deep", home / "codes.csv", id_column="pid")
    levels = {r.column: [] for r in characteristics(cohort, columns=["t", "halves"]).rows}
    for r in characteristics(cohort, columns=["t", "halves"]).rows:
        levels[r.column].append(r.level)
    assert levels == {"t": ["1", "2", "3", "4"], "halves": [""]}


def test_missing_values_are_counted_and_texts_without_end_are_named(home: Path) -> None:
    table = pd.read_csv(home / "clinical.csv")
    table.loc[:4, "size_mm"] = np.nan
    table["note"] = [f"note {i}" for i in range(len(table))]
    table.to_csv(home / "missing.csv", index=False)
    cohort = load_cohort(home / "store", "deep", home / "missing.csv", id_column="pid")
    found = characteristics(cohort)
    assert {r.missing for r in found.rows if r.column == "size_mm"} == {5}
    assert found.left_out == ("note",)
    assert "note" in found.methods_text()


def test_columns_beyond_the_first_are_named_and_an_empty_one_has_its_row(home: Path) -> None:
    table = pd.read_csv(home / "clinical.csv")
    for i in range(12):
        table[f"x{i:02d}"] = np.arange(len(table)) + 0.5
    table["empty"] = ""
    table.to_csv(home / "wide.csv", index=False)
    cohort = load_cohort(home / "store", "deep", home / "wide.csv", id_column="pid")
    found = characteristics(cohort, stage="stage", order="I,II,III,IV")
    shown = list(dict.fromkeys(r.column for r in found.rows))
    assert shown == ["size_mm", "sex", "site", "remark", "days", "dead", *(f"x{i:02d}" for i in range(8))]
    assert found.beyond == ("x08", "x09", "x10", "x11", "empty")
    assert "beyond the first 14: x08, x09, x10, x11, empty" in found.methods_text()
    (row,) = characteristics(cohort, columns=["empty"]).rows
    assert (row.column, row.level, row.missing, row.cells[0].n) == ("empty", "", cohort.n, 0)


def test_the_checklist_answers_from_results_and_says_what_it_cannot_know(whole: Report) -> None:
    rows = pd.read_csv(whole.out / "checklist.csv", dtype=str, keep_default_na=False).set_index("topic")
    assert rows.loc["Ethics", "status"] == MISSING
    assert "not provided by this tool" in rows.loc["Ethics", "answer"]
    assert rows.loc["Flow of patients", "status"] == ANSWERED
    assert "48 of 61 patients were studied" in rows.loc["Flow of patients", "answer"]
    audit = next(r for r in whole.sections if r.kind == "audit")
    assert audit.verdict in rows.loc["Handling of confounders", "answer"]
    assert rows.loc["Class imbalance", "status"] == ANSWERED
    duplicates = rows.loc["Duplicates and leaks", "answer"]
    assert "vectors and file hashes" in duplicates
    assert "Images were not compared" in duplicates
    assert rows.loc["Sharing of code and settings", "status"] == MISSING
    assert "whether the code is shared the authors say" in rows.loc["Sharing of code and settings", "answer"]
    assert rows.loc["Statistical comparison of models", "status"] == MISSING  # one embedding
    assert rows.loc["Testing", "answer"].endswith("No external test.")
    assert set(rows["status"]) <= {ANSWERED, STATED, MISSING}
    assert (rows["answer"] != "").all()


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("gradient: {}", "Adjusters: size_mm of the clinical table."),
        (
            "gradient: {adjust: ['baseline:size_volume_ml']}\nsurvival: {duration: days, event: dead, adjust: [sex]}",
            "Adjusters: sex of the clinical table; size_volume_ml of the embedding baseline.",
        ),
        ("gradient: {adjust: []}", ""),
        ("project: {}", ""),
    ],
)
def test_adjusters_are_those_that_are_used_and_said_where_they_come_from(
    home: Path, text: str, answer: str
) -> None:
    study, _ = read_study(config_of(home, f"{MINIMAL}{text}\n", "adjusters.yaml"))
    assert clinical_predictors(study)[0] == answer


def test_authors_answer_in_their_own_words_and_every_statement_has_its_item(
    home: Path, tmp_path: Path
) -> None:
    said = "".join(f"  {key}: own words on {key}\n" for key in STATEMENTS)
    text = f"{MINIMAL}project: {{method: pca}}\nstatements:\n{said}"
    out = run(config_of(home, text, "stated.yaml"), tmp_path / "out").out
    rows = pd.read_csv(out / "checklist.csv", dtype=str, keep_default_na=False)
    stated = rows[rows["status"] == STATED]
    assert len(stated) == len(STATEMENTS)
    for key in STATEMENTS:
        assert stated["answer"].str.contains(f"own words on {key}", regex=False).sum() == 1
    performance = rows.set_index("topic").loc["Uncertainty", "answer"]
    assert performance == "None in: Map of the cohort."
