"""Controls: random weights and size from the store, and how well fields can be read, against outside estimators."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from analysis import load_cohort, stage_gradient
from analysis.gradient.axis import cross_fit
from analysis.gradient.readability import readability
from analysis.splits import repeated_folds
from flexict_core.store import EmbeddingStore

ORDER = "I,II,III"


@pytest.fixture(scope="module")
def controlled_store(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """60 patients; "main" holds stage and scanner, "random" nothing, "baseline" a size that follows the stage."""
    home = tmp_path_factory.mktemp("controls")
    rng = np.random.default_rng(3)
    code = rng.permutation(np.arange(60) % 3)
    scanner = rng.integers(0, 2, 60)
    ids = [f"P{i:02d}" for i in range(60)]
    main = rng.standard_normal((60, 10))
    main[:, 0] += 1.5 * code
    main[:, 1] += 2.5 * scanner
    size = np.column_stack([code + 0.7 * rng.standard_normal(60), rng.standard_normal(60)])
    store = EmbeddingStore.create(home / "store")
    for name, X, spec in (
        ("main", main, {"encoder": "planted"}),
        ("random", rng.standard_normal((58, 8)), {"encoder": "random-3d", "negative_control": True}),
        ("baseline", size, {"encoder": "baseline", "feature_names": ["size_volume_ml", "shape_sphericity"]}),
    ):
        with store.writer(
            {"licence": "Apache-2.0", "synthetic": True, **spec}, dim=X.shape[1], name=name
        ) as writer:
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
    pd.DataFrame(
        {
            "id": ids,
            "stage": np.array(["I", "II", "III"])[code],
            "scanner": np.array(["S1", "S2"])[scanner],
            "age": rng.normal(60, 9, 60).round(1),
            "days": rng.integers(10, 900, 60),
            "dead": rng.integers(0, 2, 60),
        }
    ).to_csv(home / "clinical.csv", index=False)
    return home / "store", home / "clinical.csv"


def test_random_weights_and_size_are_found_in_the_store(controlled_store: tuple[Path, Path]) -> None:
    cohort = load_cohort(controlled_store[0], "main", controlled_store[1], id_column="id")
    result = stage_gradient(cohort, "stage", order=ORDER, permutations=199, duration="days", event="dead")
    random, size = result.controls["random_weights"], result.controls["size_only"]
    assert random["n"] == 58  # two patients lack the random embedding: both are judged without them
    assert random["ci"][0] < 0.5 < random["ci"][1]
    assert random["p_value"] > 0.05
    assert random["difference"] > 0.1
    assert size["n"] == 60
    assert size["dimensions"] == 1  # the shape dimension is no size
    assert size["concordance"] > 0.65
    assert size["p_value"] == pytest.approx(1 / 200)
    fields = {f["name"]: f for f in result.controls["readability"]}
    assert set(fields) == {"scanner", "age"}  # neither stage, nor identifier, nor outcome
    assert fields["scanner"]["p_holm"] < 0.05
    assert fields["scanner"]["value"] > 0.85
    assert fields["age"]["p_value"] > 0.05
    text = result.summary()
    assert "Control, random weights" in text
    assert f"scanner (AUC {fields['scanner']['value']:.2f})" in text


def test_a_store_without_controls_says_so(controlled_store: tuple[Path, Path]) -> None:
    cohort = load_cohort(controlled_store[0], "random", controlled_store[1], id_column="id")
    result = stage_gradient(cohort, "stage", order=ORDER, permutations=99)
    assert (
        "no other embedding" in result.controls["random_weights"]["skipped"]
    )  # its own weights are the random ones
    arrays = stage_gradient(cohort.X, cohort.table["stage"].to_numpy(), order=ORDER, permutations=99)
    assert "arrays" in arrays.controls["size_only"]["skipped"]


def test_readability_is_the_auc_and_the_correlation_of_held_out_predictions(rng: np.random.Generator) -> None:
    X = rng.standard_normal((80, 6))
    sex = np.where(X[:, 0] + 0.8 * rng.standard_normal(80) > 0, "f", "m")
    age = 60 + 5 * X[:, 1] + 6 * rng.standard_normal(80)
    folds = repeated_folds(80)
    axis = cross_fit(X, folds)
    rows, skipped = readability(X, pd.DataFrame({"sex": sex, "age": age, "same": 1.0}), axis=axis)
    by_name = {r.name: r for r in rows}
    scores = axis.scores((sex == "m").astype(float))
    assert by_name["sex"].value == pytest.approx(roc_auc_score(sex == "m", scores), abs=1e-12)
    r = np.corrcoef(axis.scores(age - age.mean()), age)[0, 1]
    assert by_name["age"].value == pytest.approx(r**2, abs=1e-10)
    assert by_name["age"].p_value == pytest.approx(1 / 200)
    assert by_name["age"].ci is not None
    assert by_name["age"].ci[0] < r**2 < by_name["age"].ci[1]
    assert skipped == ("same: always 1.0",)


def test_several_categories_give_the_mean_one_against_rest_auc(rng: np.random.Generator) -> None:
    site = np.array(["a", "b", "c"])[np.arange(90) % 3]
    X = rng.standard_normal((90, 5))
    X[:, 0] += 2 * (site == "a")
    axis = cross_fit(X, repeated_folds(90))
    (row,), _ = readability(X, pd.DataFrame({"site": site}), axis=axis)
    expected = np.mean([roc_auc_score(site == s, axis.scores((site == s).astype(float))) for s in "abc"])
    assert row.value == pytest.approx(expected, abs=1e-12)
    assert row.levels == 3


def test_nothing_is_read_from_noise_and_gaps_are_left_out() -> None:
    p = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        X, field = rng.standard_normal((40, 10)), rng.standard_normal(40)
        field[:5] = np.nan
        (row,), _ = readability(X, pd.DataFrame({"thickness": field}), seed=seed, draws=99)
        assert row.n == 35
        p.append(row.p_value)
    assert np.mean(np.array(p) <= 0.05) <= 0.17  # 99.9 % binomial band of 60 runs at 5 %


def test_text_of_many_values_and_rare_categories_are_passed_over_by_name(rng: np.random.Generator) -> None:
    X = rng.standard_normal((60, 4))
    fields = pd.DataFrame(
        {
            "remark": [f"text {i}" for i in range(60)],
            "rare": ["usual"] * 57 + ["odd"] * 3,
            "few": [1.0] * 10 + [None] * 50,
            "vendor": ["A"] * 30 + ["B"] * 27 + ["C"] * 3,
        }
    )
    rows, skipped = readability(X, fields)
    assert [(r.name, r.n, r.levels) for r in rows] == [("vendor", 57, 2)]
    text = " ".join(skipped)
    for said in ("remark: 60 different values", "rare: no two values", "few: known for 10 patients"):
        assert said in text
