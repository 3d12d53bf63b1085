"""FlexiCT encoders: poolings against reference values, slices, specification, pickling, the random control."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from flexict_core.encoders.base import Encoder
from flexict_core.encoders.flexict import SliceEncoder, VolumeEncoder
from flexict_core.encoders.pooling import hier_blocks, pooled_dim
from flexict_core.encoders.vit import FlexiCTBackbone
from flexict_core.encoders.weights import PublishedWeights, RandomWeights
from flexict_core.errors import CheckpointError, EncoderError, ImageError, MaskError
from flexict_core.preprocess import RECIPES, Recipe
from flexict_core.volume import Volume

SMALL_SLICES = Recipe("slice_2d", "slices", size=16)


def volume_encoder(weights: Any, **options: Any) -> VolumeEncoder:
    return VolumeEncoder("flexict-3d", weights, **{"recipe": RECIPES["default"], "device": "cpu", **options})


def slice_encoder(weights: Any, **options: Any) -> SliceEncoder:
    return SliceEncoder("flexict-2d", weights, **{"recipe": SMALL_SLICES, "device": "cpu", **options})


@pytest.fixture
def checkpoint(small_network: Callable[..., FlexiCTBackbone], tmp_path: Path) -> Path:
    save_file(small_network(seed=1).state_dict(), tmp_path / "small.safetensors")
    return tmp_path / "small.safetensors"


@pytest.fixture
def weights(checkpoint: Path) -> PublishedWeights:
    return PublishedWeights.open(checkpoint)


def arrays(count: int, *shape: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape).astype(np.float32) for _ in range(count)]


def ramp_volume(shape_zyx: tuple[int, int, int], spacing_zyx: tuple[float, float, float]) -> Volume:
    values = np.linspace(-1000, 1000, int(np.prod(shape_zyx))).reshape(shape_zyx)
    affine = np.diag([*spacing_zyx[::-1], 1.0])
    return Volume(values.astype(np.int16), affine)


# ── against the original implementation ─────────────────────────────────────────────────────────────────


@pytest.mark.shared_data
@pytest.mark.parametrize("file", ["tiny_teacher.pth", "tiny_backbone.safetensors"])
def test_embeddings_equal_the_original(shared: Path, file: str) -> None:
    folder = shared / "reference/flexict"
    golden = load_file(folder / "tiny_golden.safetensors")
    weights = PublishedWeights.open(folder / file)
    cube = list(golden["3d_cube.input"].numpy())
    cls, mean = golden["3d_cube.cls"], golden["3d_cube.patch"].mean(1)
    both = torch.cat((cls, mean), dim=1)
    expected = {"cls": cls, "mean_patch": mean, "cls_mean": both / both.norm(dim=1, keepdim=True)}
    for pooling, want in expected.items():
        encoder = volume_encoder(weights, pooling=pooling)
        assert encoder.dim == want.shape[1]
        np.testing.assert_allclose(encoder.encode(cube), want.numpy(), atol=1e-4)

    hier = volume_encoder(weights, pooling="hier").encode(list(golden["hier.input"].numpy()))
    np.testing.assert_allclose(hier, golden["hier.feature"].numpy(), atol=1e-4)
    patch16 = volume_encoder(weights, pooling="cls", patch_size=16)
    np.testing.assert_allclose(
        patch16.encode(list(golden["3d_patch16.input"].numpy())), golden["3d_patch16.cls"].numpy(), atol=1e-4
    )
    slices = slice_encoder(weights, pooling="cls")
    stack = golden["2d_square.input"].numpy()  # two slices, as of one volume
    np.testing.assert_allclose(slices.encode([stack])[0], golden["2d_square.cls"].numpy().mean(0), atol=1e-4)


@pytest.mark.shared_data
def test_vlm_image_embedding_equals_the_original(shared: Path) -> None:
    folder = shared / "reference/flexict"
    golden = load_file(folder / "tiny_vlm_golden.safetensors")
    weights = PublishedWeights.open(folder / "tiny_vlm.pth", vlm=True)
    encoder = VolumeEncoder("flexict-3d-vlm", weights, recipe=RECIPES["default"], pooling="vlm", device="cpu")
    assert encoder.dim == 32
    out = encoder.encode(list(golden["input"].numpy()))
    np.testing.assert_allclose(out, golden["image_embedding"].numpy(), atol=1e-4)
    scale = encoder.weights.build().logit_scale.detach().exp().item()
    similarity = scale * out @ golden["text_embedding"].numpy().T
    np.testing.assert_allclose(similarity, golden["similarity"].numpy(), atol=1e-3)
    # the same file serves its vision network alone
    plain = volume_encoder(PublishedWeights.open(folder / "tiny_vlm.pth"), pooling="cls")
    assert plain.encode(list(golden["input"].numpy())).shape == (2, 72)


@pytest.mark.shared_data
def test_a_real_volume_goes_through(shared: Path) -> None:
    from flexict_core.io import load_volume

    encoder = volume_encoder(
        PublishedWeights.open(shared / "reference/flexict/tiny_teacher.pth"), patch_size=16
    )
    path = next((shared / "data/sts").rglob("*.nii.gz"))
    array = encoder.prepare(load_volume(path), None)
    out = encoder.encode([array])
    assert array.shape == (1, 160, 160, 160)
    assert out.shape == (1, 144)
    np.testing.assert_allclose(np.linalg.norm(out, axis=1), 1, atol=1e-5)


# ── poolings and shapes ─────────────────────────────────────────────────────────────────────────────────


def test_poolings_have_the_published_sizes() -> None:
    sizes = {"cls": 864, "mean_patch": 864, "cls_mean": 1728, "hier": 6912}
    assert {pooling: pooled_dim(pooling, 864) for pooling in sizes} == sizes
    assert hier_blocks(16) == (3, 7, 11, 15)
    with pytest.raises(EncoderError, match="at least 4 blocks, the network has 3"):
        hier_blocks(3)


def test_poolings_are_parts_of_each_other(weights: PublishedWeights) -> None:
    batch = arrays(2, 1, 16, 16, 16)
    out = {
        p: volume_encoder(weights, pooling=p).encode(batch) for p in ("cls", "mean_patch", "cls_mean", "hier")
    }
    both = np.concatenate([out["cls"], out["mean_patch"]], axis=1)
    norm = np.linalg.norm(both, axis=1, keepdims=True)
    np.testing.assert_allclose(out["cls_mean"], both / norm, atol=1e-6)
    last = out["hier"][:, -96:]  # the last quarter of the network is its output
    np.testing.assert_allclose(last / np.linalg.norm(last, axis=1, keepdims=True), both / norm, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(out["hier"], axis=1), 1, atol=1e-6)
    assert not np.allclose(norm, 1, atol=0.1)


def test_rows_keep_their_order_whatever_their_shapes(weights: PublishedWeights) -> None:
    encoder = volume_encoder(weights)
    mixed = [*arrays(2, 1, 16, 16, 16), *arrays(1, 1, 8, 16, 24), *arrays(1, 1, 16, 16, 16)]
    out = encoder.encode(mixed)
    for row, array in enumerate(mixed):
        np.testing.assert_allclose(encoder.encode([array])[0], out[row], atol=1e-6)
    assert out.dtype == np.float32


def test_bf16_is_close_and_not_equal(weights: PublishedWeights) -> None:
    batch = arrays(2, 1, 16, 16, 16)
    exact = volume_encoder(weights).encode(batch)
    rounded = volume_encoder(weights, precision="bf16").encode(batch)
    assert rounded.dtype == np.float32
    assert ((exact * rounded).sum(1) > 0.9995).all()
    assert not np.array_equal(exact, rounded)


# ── slices ──────────────────────────────────────────────────────────────────────────────────────────────


def test_slices_are_averaged(weights: PublishedWeights) -> None:
    stack = arrays(1, 9, 1, 16, 16)[0]  # more than are encoded at once
    one_by_one = slice_encoder(weights, pooling="cls").encode([stack[i : i + 1] for i in range(9)])
    together = slice_encoder(weights, pooling="cls").encode([stack, stack[:2]])
    np.testing.assert_allclose(together, [one_by_one.mean(0), one_by_one[:2].mean(0)], atol=1e-5)
    unit = slice_encoder(weights, pooling="cls_mean").encode([stack])
    np.testing.assert_allclose(np.linalg.norm(unit), 1, atol=1e-6)


@pytest.mark.parametrize(
    ("touched", "spacing_z", "expected"),
    [
        (
            [3, 4],
            4.0,
            [5, 6, 7, 8],
        ),  # 12 and 16 mm; 10 mm lies between two slices and counts to the upper one
        ([1], 1.2, [1]),  # 1.2 mm lies between the resampled slices at 0 and 2 mm: the closer one
        ([6, 7, 8], 2.0, [6, 7, 8]),
        ([0, 9], 2.0, [0, 9]),  # two lesions, and nothing between them
    ],
)
def test_only_the_slices_of_the_lesion_are_taken(
    weights: PublishedWeights, touched: list[int], spacing_z: float, expected: list[int]
) -> None:
    volume = ramp_volume((10, 8, 8), (spacing_z, 2.0, 2.0))
    mask = np.zeros((10, 8, 8), bool)
    mask[touched, 3, 3] = True
    encoder = slice_encoder(weights)
    whole = encoder.prepare(volume, None)
    lesion = encoder.prepare(volume, volume.with_array(mask))
    assert whole.shape == (round(10 * spacing_z / 2), 1, 16, 16)
    np.testing.assert_array_equal(lesion, whole[expected])
    # upside down in the file is the same lesion in the patient
    flipped = volume.to_orientation("LPI")
    upside_down = encoder.prepare(flipped, volume.with_array(mask).to_orientation("LPI"))
    np.testing.assert_allclose(upside_down, lesion, atol=1e-5)


def test_a_mask_elsewhere_or_empty_is_refused(weights: PublishedWeights) -> None:
    volume, encoder = ramp_volume((6, 8, 8), (2, 2, 2)), slice_encoder(weights)
    with pytest.raises(MaskError, match="empty"):
        encoder.prepare(volume, volume.with_array(np.zeros((6, 8, 8), bool)))
    with pytest.raises(MaskError, match="grid"):
        encoder.prepare(volume, Volume(np.ones((5, 8, 8), bool), volume.affine))


# ── preparing, pickling, loading ────────────────────────────────────────────────────────────────────────


def test_prepare_gives_the_recipes_array_and_refuses_what_is_not_finite(weights: PublishedWeights) -> None:
    encoder = volume_encoder(weights)
    volume = ramp_volume((20, 20, 20), (4, 4, 4))
    assert encoder.prepare(volume, None).shape == (1, 160, 160, 160)
    broken = volume.array.astype(np.float32)
    broken[5, 5, 5] = np.nan
    with pytest.raises(ImageError):
        encoder.prepare(volume.with_array(broken), None)
    roi = volume_encoder(weights, recipe=RECIPES["roi_adaptive"])
    with pytest.raises(MaskError, match="roi_adaptive"):
        roi.prepare(volume, None)


def test_a_pickled_encoder_leaves_the_network_behind(weights: PublishedWeights) -> None:
    encoder = volume_encoder(weights)
    batch = arrays(1, 1, 16, 16, 16)
    fresh = len(pickle.dumps(encoder))
    before = encoder.encode(batch)
    assert len(pickle.dumps(encoder)) == fresh < 10_000
    twin = pickle.loads(pickle.dumps(encoder))  # noqa: S301 - our own bytes
    assert twin.spec() == encoder.spec()
    np.testing.assert_array_equal(twin.encode(batch), before)


def test_workers_prepare_without_importing_torch(weights: PublishedWeights, tmp_path: Path) -> None:
    (tmp_path / "encoder.pickle").write_bytes(pickle.dumps(volume_encoder(weights)))
    code = (
        "import pickle, sys; import numpy as np; from flexict_core.volume import Volume; "
        f"encoder = pickle.load(open({str(tmp_path / 'encoder.pickle')!r}, 'rb')); "
        "volume = Volume(np.arange(8000, dtype=np.int16).reshape(20, 20, 20) % 900, np.eye(4)); "
        "print(encoder.prepare(volume, None).shape, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(1, 160, 160, 160) False"


def test_weights_that_changed_under_way_are_refused(weights: PublishedWeights, checkpoint: Path) -> None:
    encoder = volume_encoder(weights)
    save_file({**load_file(checkpoint), "norm.bias": torch.zeros(48)}, checkpoint)
    with pytest.raises(CheckpointError, match="changed since it was opened"):
        encoder.load()


def test_specification_tells_all_that_decides_the_numbers(
    weights: PublishedWeights, checkpoint: Path
) -> None:
    import hashlib

    spec = volume_encoder(weights, pooling="hier", patch_size=16, precision="bf16").spec()
    assert spec == json.loads(json.dumps(spec))
    assert spec["encoder"] == "flexict-3d"
    assert spec["checkpoint_sha256"] == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert spec["recipe"] == RECIPES["default"].to_dict()
    assert (spec["pooling"], spec["patch_size"], spec["precision"]) == ("hier", [16, 16, 16], "bf16")
    assert spec["licence"] == "CC BY-NC-ND 4.0"
    assert spec["negative_control"] is False
    assert str(checkpoint) not in json.dumps(spec)  # the same weights elsewhere give the same embedding
    assert isinstance(volume_encoder(weights), Encoder)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"pooling": "max"}, r"no pooling 'max': choose one of cls, mean_patch, cls_mean, hier"),
        ({"pooling": "vlm"}, r"no pooling 'vlm'"),
        ({"patch_size": 12}, r"patch size 12 does not divide the 160 voxels"),
        ({"patch_size": (8, 8)}, r"patch size \(8, 8\)"),
        ({"patch_size": 0}, r"patch size 0"),
        ({"recipe": RECIPES["slice_2d"]}, r"cannot take recipe 'slice_2d'"),
        ({"recipe": RECIPES["native"]}, r"cannot take recipe 'native'"),
        ({"precision": "int8"}, r"precision 'int8'"),
        ({"device": "tpu"}, r"device 'tpu'"),
    ],
)
def test_what_cannot_be_had_is_told_at_once(
    weights: PublishedWeights, options: dict[str, Any], told: str
) -> None:
    with pytest.raises(EncoderError, match=told) as caught:
        volume_encoder(weights, **options)
    assert "\n" not in str(caught.value)


# ── the negative control ────────────────────────────────────────────────────────────────────────────────


def test_random_network_is_seeded_and_leaves_the_generator_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first = RandomWeights().build().state_dict()
    assert torch.equal(torch.rand(3), expected)
    second = RandomWeights().build().state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = RandomWeights(seed=1).build().state_dict()
    assert not torch.equal(first["cls_token"], other["cls_token"])


def test_random_control_is_labelled_and_looks_at_its_input() -> None:
    encoder = VolumeEncoder("random-3d", RandomWeights(), recipe=RECIPES["default"], device="cpu")
    spec = encoder.spec()
    assert spec["negative_control"] is True
    assert spec["checkpoint_sha256"] is None
    assert spec["random_seed"] == RandomWeights().seed
    assert "random" in encoder.licence
    a, b = encoder.encode(arrays(2, 1, 32, 32, 32))
    assert a.shape == (encoder.dim,) == (432,)
    assert 0.0 < float(np.linalg.norm(a - b))
