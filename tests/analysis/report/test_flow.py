"""The flow of patients against counts that the study was planted with, and its drawing."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest

from analysis.report.build import Report
from analysis.report.cohorts import load_cohorts
from analysis.report.flow import Flow, Leaf, Step, patient_flow
from analysis.report.flow_drawing import PAGE_MM, flow_svg
from analysis.report.reading import read_study
from flexict_core.errors import AnalysisError
from flexict_core.store import EmbeddingStore
from flexict_core.store.format import read_spec
from tests.analysis.report.conftest import ALL, TAG, config_of, run


def test_the_counts_are_those_that_were_planted(whole: Report, home: Path) -> None:
    table = pd.read_csv(home / "clinical.csv", dtype=str, keep_default_na=False)
    embedded = table[~table["pid"].isin(["P030", "P031"])]
    ours = embedded[embedded["site"] == "ours"]
    first, joined, filtered = whole.flow.steps
    assert first.n == 61  # 60 of the table and one stranger
    assert joined.n == len(embedded) == 58
    assert dict(joined.lost) == {
        "in clinical.csv, not in the embedding": 2,
        "in the embedding, not in clinical.csv": 1,
    }
    assert filtered.n == len(ours)
    assert dict(filtered.lost) == {"not site=ours": len(embedded) - len(ours)}
    leaves = {leaf.label.split(maxsplit=1)[1]: leaf for leaf in whole.flow.leaves}
    staged = int((ours["stage"] != "").sum())
    assert (leaves["Stage gradient"].n, dict(leaves["Stage gradient"].lost)) == (
        staged,
        {"stage is missing": len(ours) - staged},
    )
    assert leaves["Audit"].n == leaves["Survival"].n == len(ours)


def test_the_table_adds_up_again(whole: Report) -> None:
    rows = pd.read_csv(whole.out / "flow.csv", keep_default_na=False)
    boxes = rows[(rows["part"] == "flow") & (rows["reason"] == "")]["patients"].tolist()
    lost = rows[(rows["part"] == "flow") & (rows["reason"] != "")]["patients"].sum()
    assert boxes[0] - lost == boxes[-1] == whole.flow.n
    everybody = pd.read_csv(whole.out / "left_out.csv", keep_default_na=False)
    assert len(everybody) == lost


def test_an_image_that_could_not_be_used_gives_its_own_reason(home: Path) -> None:
    study, _ = read_study(config_of(home, ALL, "quarantine.yaml"))
    cohorts = dataclasses.replace(load_cohorts(study, file="x"), quarantined={"P030": "the CT is cut off"})
    joined = patient_flow(cohorts, [], seed=0).steps[1]
    assert dict(joined.lost) == {
        "image could not be used: the CT is cut off": 1,
        "in clinical.csv, not in the embedding": 1,
        "in the embedding, not in clinical.csv": 1,
    }


def test_reasons_name_no_files_and_are_counted_together(home: Path, tmp_path: Path) -> None:
    shutil.copytree(home / "store", tmp_path / "store")
    store = EmbeddingStore(tmp_path / "store")
    cut = "only 10 of 99 bytes are there"
    entries = [
        {"row": i, "patient_id": p, "series_uid": "1", "roi_id": "1", "file": image, "image": image,
         "mask": f"{p}-seg.nii", "root": "/data", "manifest": "m.csv", "reason": f"{named}: {cut}"}
        for i, (p, image, named) in enumerate(
            [("P030", "DOE JANE/ct.nii", "DOE JANE/ct.nii"), ("P031", "ROE/ct.nii", "/data/ROE/ct.nii")]
        )
    ]  # fmt: skip
    with store.writer(read_spec(tmp_path / "store" / store.resolve("deep")), dim=5, name="deep") as writer:
        writer.quarantine(entries)
    shutil.copy(home / "clinical.csv", tmp_path / "clinical.csv")
    cohorts = load_cohorts(read_study(config_of(tmp_path, ALL))[0], file="x")
    assert dict(patient_flow(cohorts, [], seed=0).steps[1].lost) == {
        f"image could not be used: {cut}": 2,
        "in the embedding, not in clinical.csv": 1,
    }


def test_rows_without_an_id_are_told_and_not_counted(home: Path, tmp_path: Path) -> None:
    text = (home / "clinical.csv").read_text(encoding="utf-8")
    (home / "gaps.csv").write_text(text + ",I,20,F,ours,x,10,1\n", encoding="utf-8")
    config = config_of(
        home,
        "store: store\nclinical: gaps.csv\nid: pid\nembeddings: [deep]\nproject: {method: pca}\n",
        "gaps.yaml",
    )
    flow = run(config, tmp_path / "out").flow
    assert flow.steps[0].n == 61
    assert flow.notes == ("1 rows of the clinical table have no ID and are not counted.",)


@pytest.mark.parametrize(
    ("steps", "leaves"),
    [
        ((Step("all", 10), Step("left", 7, (("gone", 2),))), ()),
        ((Step("all", 10),), (Leaf("asked", 9),)),
        ((Step("all", 10), Step("left", 10, (("nobody", 0),))), ()),
    ],
)
def test_a_flow_that_does_not_add_up_is_not_made(steps: tuple[Step, ...], leaves: tuple[Leaf, ...]) -> None:
    with pytest.raises(AnalysisError, match="is not"):
        Flow(n=1, verdict="", steps=steps, leaves=leaves)


def test_the_drawing_shows_every_box_and_escapes_its_texts() -> None:
    lost = tuple((f"reason {i} {TAG}", i + 1) for i in range(10))
    total = 100 - sum(count for _, count in lost)
    leaves = (
        Leaf("1 Audit", total),
        Leaf("2 Map", None),
        Leaf("3 Gradient", total - 4, (("no stage", 4),)),
        Leaf("4", total),
    )
    flow = Flow(
        n=total, verdict=TAG, steps=(Step("Everybody", 100), Step("Studied", total, lost)), leaves=leaves
    )
    svg = flow_svg(flow)
    root = ElementTree.fromstring(svg)
    texts = " ".join(str(t.text) for t in root.iter("{http://www.w3.org/2000/svg}text"))
    for words in (
        "n = 100",
        "Left out (n = 55)",
        f"n = {total}",
        f"n = {total - 4}",
        "4 no stage",
        "not answered",
    ):
        assert " ".join(words.split()) in " ".join(texts.split())
    assert "3 for 2 further reasons" in " ".join(texts.split())  # the smallest two of ten: 1 + 2
    assert "<script" not in svg
    assert float(root.attrib["width"].removesuffix("mm")) == PAGE_MM
    boxes = [
        tuple(float(r.attrib[k]) for k in ("x", "y", "width", "height"))
        for r in root.iter("{http://www.w3.org/2000/svg}rect")
    ]
    assert len(boxes) == 7
    for i, (x, y, w, h) in enumerate(boxes):
        assert x >= 0
        assert x + w <= PAGE_MM
        for x2, y2, w2, h2 in boxes[i + 1 :]:
            assert x + w <= x2 or x2 + w2 <= x or y + h <= y2 or y2 + h2 <= y
