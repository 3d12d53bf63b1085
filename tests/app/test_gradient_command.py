"""`flexict gradient` with axis, outcome and several embeddings: files, and one line for each mistake."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from app.cli import main
from flexict_core.store import EmbeddingStore

ORDER = "I,II,III"


@pytest.fixture(scope="module")
def two_cohorts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with "good" and "noise" of 100 patients of two hospitals, and "other" of 90 of them."""
    home = tmp_path_factory.mktemp("two")
    rng = np.random.default_rng(5)
    code = rng.permutation(np.arange(100) % 3)
    good = rng.standard_normal((100, 6))
    good[:, 0] += 1.6 * code
    ids = [f"{i:03d}" for i in range(100)]
    store = EmbeddingStore.create(home / "store")
    for name, X in (("good", good), ("noise", rng.standard_normal((100, 6))), ("other", good[:90] + 0.1)):
        spec = {"encoder": name, "licence": "Apache-2.0", "synthetic": True}
        with store.writer(spec, dim=6, name=name) as writer:
            writer.add(
                [
                    {
                        "patient_id": p,
                        "root": str(home),
                        "image": f"{p}.nii.gz",
                        "embedding": x.astype(np.float32),
                    }
                    for p, x in zip(ids, X, strict=False)
                ]
            )
    time = rng.exponential(np.exp(-0.6 * code)) * 300 + 1
    pd.DataFrame(
        {
            "id": ids,
            "hospital": np.where(np.arange(100) < 50, "A", "B"),
            "stage": np.array(["I", "II", "III"])[code],
            "days": time.round(1),
            "status": np.where(rng.random(100) < 0.8, "dead", "alive"),
        }
    ).to_csv(home / "clinical.csv", index=False)
    return home


def call(home: Path, out: Path, *more: str, embedding: str = "good") -> int:
    return main(
        ["gradient", "--store", str(home / "store"), "--clinical", str(home / "clinical.csv"), "--id", "id",
         "--stage", "stage", "--order", ORDER, "--permutations", "199", "--no-figures", "--quiet",
         "--embedding", embedding, "--out", str(out), *more]
    )  # fmt: skip


def result_of(out: Path) -> dict:
    return json.loads((out / "gradient.json").read_text(encoding="utf-8"))


def test_an_axis_travels_from_one_hospital_to_the_other(two_cohorts: Path, tmp_path: Path) -> None:
    saved = tmp_path / "saved" / "axis.json"
    assert call(two_cohorts, tmp_path / "a", "--where", "hospital=A", "--save-axis", str(saved)) == 0
    assert (tmp_path / "a" / "axis.json").read_bytes() == saved.read_bytes()
    assert call(two_cohorts, tmp_path / "b", "--where", "hospital=B", "--axis", str(saved)) == 0
    home, away = result_of(tmp_path / "a"), result_of(tmp_path / "b")
    assert home["transport"] is None
    transport = away["transport"]
    assert transport["axis_sha256"] == home["axis_sha256"] == json.loads(saved.read_text())["sha256"]
    assert transport["axis_embedding_id"] == home["provenance"]["embedding_id"]
    assert transport["p_value"] == pytest.approx(1 / 200)
    assert transport["ci"][0] > 0.5
    assert transport["n"] == 50
    assert transport["shared_patients"] == 0
    assert "transport" in pd.read_csv(tmp_path / "b" / "gradient.csv")["section"].tolist()


def test_an_axis_of_another_embedding_is_refused(
    two_cohorts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(two_cohorts, tmp_path / "a") == 0
    axis = str(tmp_path / "a" / "axis.json")
    assert call(two_cohorts, tmp_path / "b", "--axis", axis, embedding="noise") == 2
    error = capsys.readouterr().err.strip()
    assert "\n" not in error
    assert "the axis was learnt on embedding 'good-" in error
    assert not (tmp_path / "b" / "gradient.json").exists()


def test_outcome_with_an_event_in_words(two_cohorts: Path, tmp_path: Path) -> None:
    more = ("--duration", "days", "--event", "status", "--event-value", "dead", "--duration-unit", "days")
    assert call(two_cohorts, tmp_path / "o", *more) == 0
    outcome = result_of(tmp_path / "o")["outcome"]
    status = pd.read_csv(two_cohorts / "clinical.csv")["status"]
    assert outcome["events"] == (status == "dead").sum()
    assert outcome["models"][0]["hazard_ratio"] > 1
    assert [m["name"] for m in outcome["models"]] == ["score alone", "with stage"]
    assert "days in days to status = dead" in (tmp_path / "o" / "methods.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--duration", "days"), "--event is missing"),
        (("--duration", "days", "--event", "status"), "--event-value"),
        (("--duration", "day", "--event", "status"), "column 'day' is not in"),
        (("--axis", "nowhere.json"), "axis 'nowhere.json' cannot be read"),
        (("--embedding", "good"), "--embedding 'good' is given twice"),
    ],
)
def test_mistakes_are_one_line(
    two_cohorts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], message: str
) -> None:
    assert call(two_cohorts, tmp_path / "x", *more) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert "\n" not in error


def test_several_embeddings_are_compared_on_the_patients_of_all(two_cohorts: Path, tmp_path: Path) -> None:
    assert call(two_cohorts, tmp_path / "c", "--embedding", "noise", "--embedding", "other") == 0
    result = result_of(tmp_path / "c")
    comparison = result["comparison"]
    assert result["n"] == comparison["n"] == 90
    assert any("not in embedding other" in w for w in result["warnings"])
    names = [e["name"] for e in comparison["embeddings"]]
    assert names == [result["provenance"]["embedding_id"], "noise", "other"]
    pairs = {(p["first"], p["second"]): p for p in comparison["pairs"]}
    assert pairs[(names[0], "noise")]["ci"][0] > 0
    assert pairs[(names[0], "other")]["difference"] == pytest.approx(
        0.0, abs=1e-6
    )  # the same but for a constant
    assert (tmp_path / "c" / "left_out.csv").read_text(encoding="utf-8").count("not in embedding other") == 10
