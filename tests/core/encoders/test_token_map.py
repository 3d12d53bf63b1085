"""Patch tokens find back to the CT: a bright spot in the patient is the bright token on the map."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from flexict_core.encoders.flexict import SliceEncoder, VolumeEncoder
from flexict_core.encoders.token_map import TokenMap, token_affine
from flexict_core.encoders.vit import FlexiCTBackbone
from flexict_core.encoders.weights import RANDOM_NETWORK, RandomWeights
from flexict_core.errors import EncoderError, InputError, MaskError
from flexict_core.preprocess import RECIPES, Recipe, apply_recipe
from flexict_core.volume import Volume

SPOT_LPS_MM = np.array([31.0, -22.0, 55.0])


def spotted(spacing_xyz: tuple[float, float, float], shape_zyx: tuple[int, int, int], codes: str) -> Volume:
    """Air with one soft bright ball of 18 mm at SPOT_LPS_MM, stored in the orientation asked for."""
    affine = np.diag([*spacing_xyz, 1.0])
    affine[:3, 3] = [-90.0, -130.0, -40.0]
    volume = Volume(np.zeros(shape_zyx, np.float32), affine)
    zyx = np.indices(shape_zyx).reshape(3, -1)
    distance = np.linalg.norm(volume.index_to_world(zyx[::-1].T) - SPOT_LPS_MM, axis=1)
    values = -1000 + 1900 * np.exp(-((distance / 18) ** 2))
    return volume.with_array(values.reshape(shape_zyx).astype(np.float32)).to_orientation(codes)


@pytest.mark.parametrize("codes", ["LPS", "RAS", "SPL"])
@pytest.mark.parametrize(
    ("recipe", "patch"),
    [("default", (8, 8, 8)), ("default", (4, 16, 8)), ("local_path", (8, 8, 8)), ("slice_2d", (1, 16, 16))],
)
@pytest.mark.parametrize(
    ("spacing", "shape"),
    [((1.5, 1.5, 3.0), (60, 120, 110)), ((4.0, 4.0, 2.5), (150, 100, 60))],  # padded; cropped and padded
)
def test_the_bright_token_lies_at_the_spot(
    recipe: str, patch: tuple[int, int, int], codes: str, spacing: tuple[float, ...], shape: tuple[int, ...]
) -> None:
    volume = spotted(spacing, shape, codes)
    array = apply_recipe(volume, recipe)[0]
    blocks = [part for n, p in zip(array.shape, patch, strict=True) for part in (n // p, p)]
    means = array[: blocks[0] * patch[0]].reshape(blocks).mean(axis=(1, 3, 5), dtype=np.float64)
    affine = token_affine(volume, RECIPES[recipe], patch)
    # the centre of brightness, found on the map and put back into the patient
    weight = means - means.min()
    centre_zyx = [float((np.arange(n) * weight.sum(tuple({0, 1, 2} - {a}))).sum() / weight.sum())
                  for a, n in enumerate(weight.shape)]  # fmt: skip
    found = affine @ [*centre_zyx[::-1], 1.0]
    np.testing.assert_allclose(found[:3], SPOT_LPS_MM, atol=0.6)


def test_volume_tokens_are_the_networks_in_the_patients_grid() -> None:
    recipe = Recipe("small", "whole", spacing_mm=4.0, size=32)
    weights = RandomWeights({**RANDOM_NETWORK, "patch_size": 4})
    encoder = VolumeEncoder("random-3d", weights, recipe=recipe, patch_size=(4, 8, 8), device="cpu")
    volume = spotted((3.0, 3.0, 3.0), (50, 60, 60), "RAS")
    out = encoder.tokens(volume)
    assert out.grid == (8, 4, 4)
    net = weights.build().eval()
    with torch.inference_mode():
        tokens = net(torch.from_numpy(encoder.prepare(volume, None)[None]), (4, 8, 8)).patches
    np.testing.assert_allclose(out.tokens.reshape(-1, 216), tokens[0].numpy(), atol=1e-5)
    np.testing.assert_array_equal(out.affine, token_affine(volume, recipe, (4, 8, 8)))


def test_slice_tokens_come_for_a_run_of_slices() -> None:
    recipe = Recipe("small", "slices", spacing_mm=4.0, size=32)
    encoder = SliceEncoder("random-2d", RandomWeights(), recipe=recipe, device="cpu")
    volume = spotted((3.0, 3.0, 2.0), (40, 60, 60), "LPS")
    every, some = encoder.tokens(volume), encoder.tokens(volume, slices=slice(5, 8))
    assert every.grid == (20, 2, 2)
    assert some.grid == (3, 2, 2)
    np.testing.assert_allclose(some.tokens, every.tokens[5:8], atol=1e-5)
    np.testing.assert_allclose(some.affine @ [0, 0, 0, 1], every.affine @ [0, 0, 5, 1])
    for wrong in (slice(0, 9, 2), slice(8, 8), slice(30, 40)):
        with pytest.raises(EncoderError, match="volume with 20"):
            encoder.tokens(volume, slices=wrong)


def ball_mask(volume: Volume, centre_lps_mm: np.ndarray, radius_mm: float) -> Volume:
    zyx = np.indices(volume.shape_zyx).reshape(3, -1)
    apart = np.linalg.norm(volume.index_to_world(zyx[::-1].T) - centre_lps_mm, axis=1)
    return volume.with_array((apart <= radius_mm).reshape(volume.shape_zyx))


@pytest.mark.parametrize("codes", ["LPS", "RAS", "SPL"])
@pytest.mark.parametrize(
    ("recipe", "radius_mm"), [("roi_adaptive", 24.0), ("roi_adaptive_2.0", 21.0), ("roi_fixed_64", 9.0)]
)
@pytest.mark.parametrize(
    "shift_mm", [(0.0, 0.0, 0.0), (9.0, -7.0, 5.0), (-45.0, 50.0, 40.0)]
)  # last: cut by the edge
def test_the_bright_token_of_a_region_lies_at_the_spot(
    recipe: str, radius_mm: float, shift_mm: tuple[float, ...], codes: str
) -> None:
    """The cube is centred on the mask, not on the spot: the map must say where the spot is all the same."""
    volume = spotted((1.5, 1.5, 3.0), (60, 120, 110), codes)
    roi = ball_mask(volume, SPOT_LPS_MM + shift_mm, radius_mm)
    array = apply_recipe(volume, recipe, roi)[0].astype(np.float64)
    patch = (8, 8, 8)
    means = array.reshape(20, 8, 20, 8, 20, 8).mean(axis=(1, 3, 5))
    affine = token_affine(volume, RECIPES[recipe], patch, roi=roi)
    index = np.indices(means.shape)[::-1].reshape(3, -1)
    where = (affine @ np.vstack([index, np.ones(index.shape[1])]))[:3].T

    def agreement(
        points: np.ndarray,
    ) -> float:  # with the planted brightness there, whose closed form is known
        hu = -1000 + 1900 * np.exp(-((np.linalg.norm(points - SPOT_LPS_MM, axis=1) / 18) ** 2))
        return float(np.corrcoef(np.clip(hu, -1000, 1000), means.ravel())[0, 1])

    assert agreement(where) > 0.999
    for axis in range(3):  # a map that is off by one token agrees less
        for sign in (-1, 1):
            assert agreement(where + sign * affine[:3, axis]) < agreement(where) - 1e-4


def test_tokens_of_a_region_come_with_its_grid() -> None:
    volume = spotted((3.0, 3.0, 3.0), (40, 60, 60), "LPS")
    roi = ball_mask(volume, SPOT_LPS_MM, 12.0)
    weights = RandomWeights({**RANDOM_NETWORK, "patch_size": 32})
    encoder = VolumeEncoder("random-3d", weights, recipe=RECIPES["roi_adaptive"], device="cpu")
    out = encoder.tokens(volume, roi)
    assert out.grid == (5, 5, 5)
    z, y, x = out.index_at(SPOT_LPS_MM)
    assert (z, y, x) == (2, 2, 2)
    np.testing.assert_array_equal(out.affine, token_affine(volume, encoder.recipe, (32, 32, 32), roi=roi))
    for wrong, told in (
        (None, "needs a mask"),
        (volume.with_array(np.zeros(volume.shape_zyx, bool)), "empty"),
        (Volume(np.ones((3, 3, 3), bool), volume.affine), "grid"),
    ):
        with pytest.raises(MaskError, match=told):
            encoder.tokens(volume, wrong)
    with pytest.raises(EncoderError, match="'native' gives no patch tokens"):
        token_affine(volume, RECIPES["native"], (8, 8, 8))


def test_slice_tokens_of_a_lesion_are_its_run_of_slices() -> None:
    recipe = Recipe("small", "slices", spacing_mm=4.0, size=32)
    encoder = SliceEncoder("random-2d", RandomWeights(), recipe=recipe, device="cpu")
    volume = spotted((3.0, 3.0, 2.0), (40, 60, 60), "LPS")
    mask = np.zeros(volume.shape_zyx, bool)
    mask[[10, 14], 5, 5] = True  # at 20 and 28 mm: slices 5 and 7 of 4 mm, and the one between
    out = encoder.tokens(volume, volume.with_array(mask))
    expected = encoder.tokens(volume, slices=slice(5, 8))
    np.testing.assert_array_equal(out.affine, expected.affine)
    np.testing.assert_allclose(out.tokens, expected.tokens, atol=1e-5)


def token_map(tokens: np.ndarray) -> TokenMap:
    affine = np.diag([16.0, 8.0, 4.0, 1.0])
    affine[:3, 3] = [100.0, 200.0, 300.0]
    return TokenMap(tokens.astype(np.float32), affine)


def test_points_find_their_token_and_its_likes() -> None:
    tokens = np.zeros((2, 3, 4, 3))
    tokens[...] = [1, 0, 0]
    tokens[1, 2, 3] = [2, 2, 0]
    tokens[0, 0, 0] = [0, 0, -3]
    out = token_map(tokens)
    assert out.index_at([148.0, 216.0, 304.0]) == (1, 2, 3)
    assert out.index_at([155.9, 212.1, 302.1]) == (1, 2, 3)  # anywhere in its patch
    similarity = out.similarity_to([148.0, 216.0, 304.0])
    assert similarity.shape == (2, 3, 4)
    np.testing.assert_allclose(similarity[1, 2, 3], 1, atol=1e-6)
    np.testing.assert_allclose(similarity[0, 0, 0], 0, atol=1e-6)
    np.testing.assert_allclose(similarity[0, 1, 1], 0.5**0.5, atol=1e-6)
    with pytest.raises(InputError, match="outside the encoded field"):
        out.index_at([156.1, 216.0, 304.0])


def test_principal_components_find_the_planted_axes() -> None:
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(6, 6)))[0][:, :2]
    scores = rng.normal(size=(60, 2)) * [5.0, 1.0]
    out = token_map((scores @ axes.T + 7).reshape(3, 4, 5, 6)).principal_components(2).reshape(60, 2)
    centred = scores - scores.mean(0)
    # the sample's own axes: those of the planted scores' covariance, known up to sign
    rotation = np.linalg.svd(centred, full_matrices=False)[2].T
    expected = centred @ rotation
    np.testing.assert_allclose(np.abs(out), np.abs(expected), atol=1e-4)
    with pytest.raises(InputError, match="7 components"):
        token_map(np.zeros((2, 2, 2, 6))).principal_components(7)


def test_the_control_shares_the_networks_class() -> None:
    assert isinstance(RandomWeights().build(), FlexiCTBackbone)
