"""Zero-shot scores and reports against planted geometry, closed forms and exact chance."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import permutations
from math import comb

import numpy as np
import pytest

from analysis import report_retrieval, search_by_text, zero_shot_classes, zero_shot_pairs
from analysis.zero_shot import filled
from flexict_core.errors import AnalysisError

# A space of words whose geometry is known: each text is a direction in the plane, in degrees.
DIRECTIONS = {
    "a cyst": 0.0,
    "a solid mass": 90.0,
    "fluid": 20.0,
    "There is oedema.": 0.0,
    "There is no oedema.": 90.0,
    "CT with oedema": 10.0,
    "CT without oedema": 100.0,
}


def at(*degrees: float) -> np.ndarray:
    angle = np.radians(degrees)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def encode_text(texts: Sequence[str]) -> np.ndarray:
    return at(*(DIRECTIONS[t] for t in texts)).astype(np.float32)


def test_descriptions_compete_by_scaled_cosines() -> None:
    images = 3.0 * at(0.0, 90.0, 30.0)  # lengths do not matter
    result = zero_shot_classes(images, ["a cyst", "a solid mass"], encode_text=encode_text, logit_scale=5.0)
    angle = np.radians([0.0, 90.0, 30.0])
    expected = 1 / (1 + np.exp(-5.0 * (np.cos(angle) - np.sin(angle))))
    np.testing.assert_allclose(result.scores[:, 0], expected, atol=1e-6)
    np.testing.assert_allclose(result.scores.sum(axis=1), 1)
    assert result.names == ("a cyst", "a solid mass")
    assert "a cyst 2, a solid mass 1" in result.verdict
    assert result.table()["patient_id"].tolist() == ["0", "1", "2"]
    assert json.loads(json.dumps(result.to_dict()))["prompts"]["a cyst"] == ["a cyst"]
    assert "times 5" in result.methods_text()


def test_synonyms_and_templates_are_averaged_as_directions() -> None:
    prompts = {"fluid": ["a cyst", "fluid"], "solid": "a solid mass"}
    result = zero_shot_classes(at(10.0), prompts, encode_text=encode_text, logit_scale=2.0)
    angle = np.radians(80.0)  # the mean of 0 and 20 degrees is 10: cosine 1; the other is 80 degrees away
    assert result.scores[0, 0] == pytest.approx(1 / (1 + np.exp(-2 * (1 - np.cos(angle)))), abs=1e-6)
    assert result.prompts == {"fluid": ("a cyst", "fluid"), "solid": ("a solid mass",)}
    assert filled(["x", "y"], ["{}", "CT: {}."]) == ("x", "y", "CT: x.", "CT: y.")


def test_each_finding_stands_against_its_denial() -> None:
    by_template = zero_shot_pairs(at(0.0, 45.0, 90.0), ["oedema"], encode_text=encode_text, logit_scale=4.0)
    given = {"oedema": ("There is oedema.", "There is no oedema.")}
    by_text = zero_shot_pairs(at(0.0, 45.0, 90.0), given, encode_text=encode_text, logit_scale=4.0)
    expected = [1 / (1 + np.exp(-4)), 0.5, 1 / (1 + np.exp(4))]
    np.testing.assert_allclose(by_template.scores[:, 0], expected, atol=1e-6)
    np.testing.assert_allclose(by_text.scores, by_template.scores)
    assert by_template.prompts["not oedema"] == ("There is no oedema.",)
    own = zero_shot_pairs(
        at(10.0),
        ["oedema"],
        encode_text=encode_text,
        logit_scale=4.0,
        positive=["CT with {}"],
        negative=["CT without {}"],
    )
    assert own.scores[0, 0] == pytest.approx(1 / (1 + np.exp(-4)), abs=1e-6)
    assert "Of 1 patients" in own.verdict


def test_words_find_cts() -> None:
    images = at(95.0, 5.0, 60.0, 1.0)
    found = search_by_text(images, "a cyst", encode_text=encode_text, k=3, patient_id=["A", "B", "C", "D"])
    assert found.neighbours["patient_id"].tolist() == ["D", "B", "C"]
    np.testing.assert_allclose(found.neighbours["similarity"], np.cos(np.radians([1, 5, 60])), atol=1e-6)
    assert found.query == "a cyst"
    assert "'a cyst'" in found.verdict
    assert found.provenance.parameters["query"] == "a cyst"
    assert search_by_text(images, "a cyst", encode_text=encode_text).k == 4  # as many as there are


@pytest.mark.parametrize(
    ("prompts", "options", "told"),
    [
        (["a cyst"], {}, "1 description to choose from"),
        ("a cyst", {}, "description to choose from"),
        (["a cyst", " "], {}, "is empty"),
        ({"a": [], "b": "a cyst"}, {}, "is empty"),
        (["a cyst", "fluid"], {"templates": ["CT"]}, "that hold"),
        (["a cyst", "fluid"], {"templates": ["{} {}"]}, "that hold"),
        (["a cyst", "fluid"], {"templates": "{}"}, "that hold"),
    ],
)
def test_prompts_that_cannot_be_scored_are_refused(prompts: object, options: dict, told: str) -> None:
    with pytest.raises(AnalysisError, match=told) as caught:
        zero_shot_classes(at(0.0), prompts, encode_text=encode_text, logit_scale=1.0, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_words_of_another_space_are_refused() -> None:
    with pytest.raises(AnalysisError, match=r"shape \(1, 2\), images have 3 dimensions: .* pooling 'vlm'"):
        search_by_text(np.ones((4, 3)), "a cyst", encode_text=encode_text)
    with pytest.raises(AnalysisError, match="zero or not finite"):
        search_by_text(np.ones((4, 2)), "a cyst", encode_text=lambda texts: np.zeros((len(texts), 2)))
    with pytest.raises(AnalysisError, match="give a list of at least one"):
        zero_shot_pairs(at(0.0), [], encode_text=encode_text, logit_scale=1.0)


# ── reports ─────────────────────────────────────────────────────────────────────────────────────────────


def planted(
    noise: float, n: int = 40, width: int = 16
) -> tuple[np.ndarray, list[str], dict[str, np.ndarray]]:
    """n CTs and their reports: the report's direction is the CT's plus noise."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(n, width))
    texts = [f"report {i}" for i in range(n)]
    words = images + noise * rng.normal(size=(n, width))
    return images, texts, dict(zip(texts, words, strict=True))


def test_reports_and_cts_that_agree_find_each_other() -> None:
    images, texts, words = planted(noise=0.05)
    result = report_retrieval(images, texts, encode_text=lambda t: np.stack([words[x] for x in t]))
    for direction in ("report_to_ct", "ct_to_report"):
        assert {k: r.mean for k, r in result.recall[direction].items()} == {1: 1.0, 5: 1.0, 10: 1.0}
        assert [r.random for r in result.recall[direction].values()] == pytest.approx(
            [1 / 40, 5 / 40, 10 / 40]
        )
        assert result.median_rank[direction] == 1
    assert "more often than at random" in result.verdict
    assert set(result.table()["metric"]) == {"recall@1", "recall@5", "recall@10"}
    told = json.loads(json.dumps(result.to_dict()))
    assert told["metrics"]["report_to_ct_recall@5"]["random"] == pytest.approx(0.125)
    assert len(told["per_query"]) == 40


def test_both_directions_equal_a_plain_count() -> None:
    images, texts, words = planted(noise=2.0)
    result = report_retrieval(images, texts, encode_text=lambda t: np.stack([words[x] for x in t]), k=(1, 7))
    a = images / np.linalg.norm(images, axis=1, keepdims=True)
    b = np.stack([words[t] for t in texts])
    b /= np.linalg.norm(b, axis=1, keepdims=True)
    for direction, cosine in (("report_to_ct", b @ a.T), ("ct_to_report", a @ b.T)):
        rank = [(row > row[i]).sum() + 1 for i, row in enumerate(cosine)]
        assert result.per_query[f"{direction}_rank"].tolist() == rank
        assert result.recall[direction][7].mean == pytest.approx(np.mean(np.array(rank) <= 7))
        assert result.median_rank[direction] == np.median(rank)
    unlike = report_retrieval(images, texts, encode_text=lambda t: np.stack([words[x] for x in t]), k=(1,))
    assert 0 < unlike.recall["report_to_ct"][1].mean < 1  # the planted noise leaves both kinds


def test_equal_reports_share_their_hits_and_chance_counts_them() -> None:
    images = np.eye(5)
    texts = ["normal", "normal", "mass", "normal", "cyst"]
    directions = {"normal": np.eye(5)[3], "mass": np.eye(5)[2], "cyst": np.eye(5)[0]}
    result = report_retrieval(
        images, texts, encode_text=lambda t: np.stack([directions[x] for x in t]), k=(1, 2)
    )
    # report 0 finds CT 3, whose report says the same; the cyst's report finds CT 0, which is not its own
    assert result.per_query["report_to_ct_rank"].tolist() == [1, 1, 1, 1, 5]
    assert any("repeat the text" in w for w in result.warnings)
    for k in (1, 2):  # every order of the gallery, counted
        share = [
            np.mean([any(texts[j] == text for j in order[:k]) for order in permutations(range(5))])
            for text in texts
        ]
        assert result.recall["report_to_ct"][k].random == pytest.approx(np.mean(share))
    assert result.recall["ct_to_report"][2].random == pytest.approx(
        (3 * (1 - comb(2, 2) / comb(5, 2)) + 2 * (1 - comb(4, 2) / comb(5, 2))) / 5
    )


def test_patients_without_a_report_are_left_out_and_counted() -> None:
    images, texts, words = planted(noise=0.05, n=12)
    gaps = [None, "", *texts[2:]]
    result = report_retrieval(
        images, gaps, encode_text=lambda t: np.stack([words[x] for x in t]), k=(1, 5, 99)
    )
    assert result.n == 10
    assert "2 rows have no report: left out" in result.warnings
    assert any("k above the gallery of 10" in w for w in result.warnings)
    assert result.recall["report_to_ct"][5].random == pytest.approx(0.5)
    for reports, told in (
        ([None] * 12, "0 patients have a report"),
        (texts[:3], "3 reports for 12 embeddings"),
        ([1.5] * 12, "hold numbers"),
        ("report", "an array has none"),
    ):
        with pytest.raises(AnalysisError, match=told):
            report_retrieval(images, reports, encode_text=encode_text)  # type: ignore[arg-type]
