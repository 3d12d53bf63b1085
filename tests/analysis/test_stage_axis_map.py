"""The stage-axis map: contributions of patches add up to the score, and lie where the tokens lie."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from analysis.gradient.transport import StageAxis
from analysis.stage_axis_map import axis_of_others, patch_share_of_spread, stage_axis_map, why_no_map
from flexict_core.encoders.flexict import SliceEncoder, VolumeEncoder
from flexict_core.encoders.token_map import TokenMap
from flexict_core.encoders.weights import RANDOM_NETWORK, RandomWeights
from flexict_core.errors import AnalysisError
from flexict_core.io.write import write_nifti
from flexict_core.preprocess import Recipe
from flexict_core.volume import Volume

GRID, WIDTH = (3, 4, 5), 7
AFFINE = np.array([[16.0, 0, 0, -40.0], [0, 12.0, 0, 7.0], [0, 0, 8.0, 100.0], [0, 0, 0, 1]])


def an_axis(rng: np.random.Generator, dim: int) -> StageAxis:
    return StageAxis(
        embedding_id=None,
        stage="stage",
        order=("I", "II"),
        counts=(5, 5),
        n=10,
        mean=rng.standard_normal(dim) * 0.1,
        scale=rng.uniform(0.5, 2.0, dim),
        weights=rng.standard_normal(dim),
        effective_df=1.0,
    )


def a_map(rng: np.random.Generator, *, cls: tuple[int, ...] | None = (WIDTH,)) -> TokenMap:
    return TokenMap(
        rng.standard_normal((*GRID, WIDTH)).astype(np.float32),
        AFFINE,
        None if cls is None else rng.standard_normal(cls).astype(np.float32),
    )


def test_contributions_are_the_mean_patch_part_of_the_score_in_closed_form(rng: np.random.Generator) -> None:
    tokens, axis = a_map(rng), an_axis(rng, 2 * WIDTH)
    got = stage_axis_map(tokens, axis, pooling="cls_mean")
    flat = tokens.tokens.reshape(-1, WIDTH).astype(float)
    x = np.concatenate([tokens.cls.astype(float), flat.mean(0)])
    x /= np.linalg.norm(x)
    parts = axis.weights * (x - axis.mean) / axis.scale
    assert got.contributions.shape == GRID
    assert got.contributions.sum() == pytest.approx(parts[WIDTH:].sum(), abs=1e-12)
    assert got.cls_part == pytest.approx(parts[:WIDTH].sum(), abs=1e-12)
    assert got.score == pytest.approx(float(axis.scores(x[None])[0]), abs=1e-12)
    # one patch by hand
    length = np.linalg.norm(np.concatenate([tokens.cls.astype(float), flat.mean(0)]))
    by_hand = sum(
        axis.weights[WIDTH + j] / axis.scale[WIDTH + j] * (flat[37, j] / length - axis.mean[WIDTH + j])
        for j in range(WIDTH)
    ) / len(flat)
    assert got.contributions.ravel()[37] == pytest.approx(by_hand, abs=1e-12)


@pytest.mark.parametrize("cls", [None, (WIDTH,), (GRID[0], WIDTH)])
def test_all_of_a_mean_patch_score_has_a_place(rng: np.random.Generator, cls: tuple[int, ...] | None) -> None:
    tokens, axis = a_map(rng, cls=cls), an_axis(rng, WIDTH)
    got = stage_axis_map(tokens, axis, pooling="mean_patch")
    x = tokens.tokens.reshape(-1, WIDTH).astype(float).mean(0)
    assert got.contributions.sum() == pytest.approx(float(axis.scores(x[None])[0]), abs=1e-12)
    assert got.cls_part == 0.0
    assert got.share == pytest.approx(1.0)


SMALL = Recipe("small", "whole", spacing_mm=4.0, size=32)
SLICES = Recipe("small", "slices", spacing_mm=4.0, size=32)


def a_ct(rng: np.random.Generator) -> Volume:
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    return Volume(rng.integers(-1000, 400, (30, 44, 40)).astype(np.float32), affine)


@pytest.mark.parametrize("pooling", ["cls_mean", "mean_patch"])
@pytest.mark.parametrize("kind", [VolumeEncoder, SliceEncoder])
def test_the_score_is_that_of_the_encoders_own_embedding(
    rng: np.random.Generator, kind: type[VolumeEncoder] | type[SliceEncoder], pooling: str
) -> None:
    weights = RandomWeights({**RANDOM_NETWORK, "patch_size": 8})
    recipe = SMALL if kind is VolumeEncoder else SLICES
    encoder = kind("random", weights, recipe=recipe, pooling=pooling, device="cpu")
    volume = a_ct(rng)
    x = encoder.encode([encoder.prepare(volume, None)])[0]
    axis = an_axis(rng, x.size)
    got = stage_axis_map(encoder.tokens(volume), axis, pooling=pooling, embedding=x)
    np.testing.assert_allclose(got.embedding, x, atol=1e-6)
    assert got.score == pytest.approx(float(axis.scores(x[None].astype(float))[0]), abs=1e-4)
    half = slice(x.size // 2 if pooling == "cls_mean" else 0, None)
    local = float(np.sum((axis.weights * (x - axis.mean) / axis.scale)[half]))
    assert got.contributions.sum() == pytest.approx(local, abs=1e-4)
    with pytest.raises(AnalysisError, match="do not pool to the stored embedding"):
        stage_axis_map(encoder.tokens(volume), axis, pooling=pooling, embedding=np.roll(x, 1))


def test_a_planted_patch_is_the_summit_and_lies_where_it_was_planted(
    rng: np.random.Generator, tmp_path: Path
) -> None:
    axis, tokens = an_axis(rng, WIDTH), a_map(rng)
    tokens.tokens[1, 2, 3] += 30 * axis.weights / axis.scale
    got = stage_axis_map(tokens, axis, pooling="mean_patch")
    assert np.unravel_index(got.contributions.argmax(), GRID) == (1, 2, 3)
    write_nifti(got.to_volume(), tmp_path / "map.nii.gz")
    image = nib.load(tmp_path / "map.nii.gz")
    at = np.unravel_index(image.get_fdata().argmax(), image.shape)
    ras = image.affine @ [*at, 1]
    np.testing.assert_allclose(ras[:3], [-(3 * 16 - 40), -(2 * 12 + 7), 1 * 8 + 100], atol=1e-4)
    assert image.get_fdata().sum() == pytest.approx(got.patch_part, rel=1e-5)


def test_a_share_exists_only_where_the_parts_agree(rng: np.random.Generator) -> None:
    tokens, axis = a_map(rng), an_axis(rng, 2 * WIDTH)
    got = stage_axis_map(tokens, axis, pooling="cls_mean")
    flipped = axis.weights.copy()
    if got.patch_part * got.cls_part > 0:
        flipped[:WIDTH] *= -1
    apart = stage_axis_map(tokens, StageAxis(**{**vars(axis), "weights": flipped}), pooling="cls_mean")
    assert apart.share is None
    assert "pull apart" in apart.summary()
    agree = flipped.copy()
    agree[:WIDTH] *= -1
    together = stage_axis_map(tokens, StageAxis(**{**vars(axis), "weights": agree}), pooling="cls_mean")
    assert together.share == pytest.approx(together.patch_part / together.score)
    assert 0 < together.share < 1


def test_shares_of_the_spread_of_both_halves_sum_to_one(rng: np.random.Generator) -> None:
    axis, X = an_axis(rng, 2 * WIDTH), rng.standard_normal((50, 2 * WIDTH))
    share = patch_share_of_spread(axis, X, pooling="cls_mean")
    parts = (X - axis.mean) * axis.weights / axis.scale
    covariance = np.cov(parts[:, WIDTH:].sum(1), parts.sum(1))
    assert share == pytest.approx(covariance[0, 1] / covariance[1, 1], abs=1e-12)
    swapped = StageAxis(
        **{**vars(axis), "weights": np.roll(axis.weights, WIDTH), "scale": np.roll(axis.scale, WIDTH)}
    )
    other = patch_share_of_spread(swapped, np.roll(X, WIDTH, axis=1), pooling="cls_mean")
    assert share + other == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"encoder": "baseline", "patch_size": None, "pooling": ""}, "no patches"),
        ({"encoder": "flexict-3d", "patch_size": [8, 8, 8], "pooling": "cls"}, "CLS token alone"),
        ({"encoder": "flexict-3d", "patch_size": [8, 8, 8], "pooling": "hier"}, "earlier blocks"),
        ({"encoder": "flexict-3d-vlm", "patch_size": [8, 8, 8], "pooling": "vlm"}, "space of words"),
    ],
)
def test_what_cannot_be_split_says_why(rng: np.random.Generator, spec: dict[str, object], said: str) -> None:
    assert said in str(why_no_map(spec))
    if spec["patch_size"]:
        with pytest.raises(AnalysisError, match=said):
            stage_axis_map(a_map(rng), an_axis(rng, WIDTH), pooling=str(spec["pooling"]))
    assert why_no_map({"encoder": "flexict-3d", "patch_size": [8], "pooling": "cls_mean"}) is None


def test_an_axis_of_another_width_and_a_missing_cls_are_refused(rng: np.random.Generator) -> None:
    with pytest.raises(AnalysisError, match="9 dimensions"):
        stage_axis_map(a_map(rng), an_axis(rng, 9), pooling="cls_mean")
    with pytest.raises(AnalysisError, match="needs the CLS token"):
        stage_axis_map(a_map(rng, cls=None), an_axis(rng, 2 * WIDTH), pooling="cls_mean")


def test_the_axis_of_the_others_is_that_of_the_gradient_without_the_patient(planted_store: object) -> None:
    from analysis import load_cohort, stage_gradient

    cohort = load_cohort(planted_store.store, None, planted_store.clinical, id_column="patient_id")  # type: ignore[attr-defined]
    axis = axis_of_others(cohort, "P-030", stage="stage", order="I,II,III,IV")
    kept = cohort.patient_id != "P-030"
    whole = stage_gradient(
        cohort.X[kept], list(cohort.table["stage"][kept]), order="I,II,III,IV", permutations=99
    ).axis
    assert whole is not None
    assert axis.n == 47
    np.testing.assert_allclose(axis.weights, whole.weights, atol=1e-9)
    np.testing.assert_allclose(axis.mean, whole.mean)
