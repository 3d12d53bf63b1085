"""The network against the values and the key list of the original implementation, and against closed forms."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from flexict_core.encoders.patch_embed import interpolation_pinv
from flexict_core.encoders.vit import Attention, FlexiCTBackbone
from flexict_core.errors import EncoderError

# reference/flexict/tiny_golden.safetensors: outputs of the original implementation, CPU, float32
GOLDEN_PATCH_SIZES: dict[str, int | tuple[int, ...] | None] = {
    "2d_square": None,
    "2d_rect": None,
    "2d_patch16": 16,
    "2d_patch4": 4,
    "3d_cube": None,
    "3d_box": None,
    "3d_patch16": 16,
    "3d_patch4": 4,
    "3d_patch8x16x16": (8, 16, 16),
}


@pytest.fixture(scope="module")
def golden(shared: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(shared / "reference/flexict/tiny_golden.safetensors")


@pytest.fixture(scope="module")
def tiny(shared: Path) -> FlexiCTBackbone:
    from flexict_core.encoders.checkpoint import load_weights

    config = json.loads((shared / "reference/flexict/tiny_config.json").read_text())
    net = FlexiCTBackbone(**config).eval()
    load_weights(net, shared / "reference/flexict/tiny_teacher.pth")
    return net


def assert_equal_to_golden(have: torch.Tensor, want: torch.Tensor) -> None:
    assert have.shape == want.shape
    assert have.dtype == torch.float32
    assert float((have - want).abs().max()) < 1e-4
    assert float(torch.cosine_similarity(have.double(), want.double(), dim=-1).min()) > 0.99999


@pytest.mark.shared_data
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("case", GOLDEN_PATCH_SIZES)
def test_tokens_equal_the_original(
    tiny: FlexiCTBackbone, golden: dict[str, torch.Tensor], case: str, threads: int
) -> None:
    before = torch.get_num_threads()
    interpolation_pinv.cache_clear()
    try:
        torch.set_num_threads(threads)
        with torch.inference_mode():
            out = tiny(golden[f"{case}.input"], GOLDEN_PATCH_SIZES[case])
    finally:
        torch.set_num_threads(before)
    assert_equal_to_golden(out.cls, golden[f"{case}.cls"])
    assert_equal_to_golden(out.patches, golden[f"{case}.patch"])
    assert_equal_to_golden(out.storage, golden[f"{case}.storage"])


@pytest.mark.shared_data
def test_every_golden_case_is_tested(golden: dict[str, torch.Tensor]) -> None:
    assert {name.split(".")[0] for name in golden} == {*GOLDEN_PATCH_SIZES, "hier"}


@pytest.mark.shared_data
def test_hierarchical_feature_equals_the_original(
    tiny: FlexiCTBackbone, golden: dict[str, torch.Tensor]
) -> None:
    with torch.inference_mode():
        levels = tiny.intermediate(golden["hier.input"], range(4))
    feature = torch.cat([part for t in levels for part in (t.cls, t.patches.mean(1))], dim=-1)
    assert_equal_to_golden(feature / feature.norm(dim=-1, keepdim=True), golden["hier.feature"])


@pytest.mark.shared_data
def test_full_network_has_the_published_keys_shapes_and_types(shared: Path) -> None:
    published = json.loads((shared / "reference/flexict/base_state_dict_keys.json").read_text())
    with torch.device("meta"):
        state = FlexiCTBackbone().state_dict()
    assert {name: [list(t.shape), str(t.dtype)] for name, t in state.items()} == published


def test_full_network_has_144_million_parameters() -> None:
    with torch.device("meta"):
        net = FlexiCTBackbone()
    assert round(sum(p.numel() for p in net.parameters()) / 1e6, 1) == 144.0


def test_attention_is_the_textbook_formula() -> None:
    """softmax(q kᵀ / √D) v with heads side by side in the projection, without rotation."""
    torch.manual_seed(0)
    layer = Attention(24, 2, qkv_bias=False, mask_k_bias=True).eval()
    x = torch.randn(2, 9, 24)
    still = torch.zeros(0, 12)  # no token is turned, all are rounded to bfloat16
    with torch.inference_mode():
        out = layer(x, (still.bfloat16(), still.bfloat16()))
        q, k, v = (x @ layer.qkv.weight.T).split(24, dim=-1)
        heads = []
        for h in range(2):
            part = slice(12 * h, 12 * h + 12)
            qh, kh = q[..., part].bfloat16().float(), k[..., part].bfloat16().float()
            heads.append(torch.softmax(qh @ kh.mT / 12**0.5, dim=-1) @ v[..., part])
        expected = torch.cat(heads, dim=-1) @ layer.proj.weight.T + layer.proj.bias
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)


def test_bias_of_the_keys_has_no_effect(small_network: Callable[..., FlexiCTBackbone]) -> None:
    net = small_network(qkv_bias=True, mask_k_bias=True)
    x = torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = net(x).cls
        for block in net.blocks:
            block.attn.qkv.bias[48:96] += 3.0  # the keys' third
        torch.testing.assert_close(net(x).cls, before, atol=0, rtol=0)
        net.blocks[0].attn.qkv.bias[96:] += 3.0  # the values' third
        assert (net(x).cls - before).abs().max() > 1e-3


@pytest.mark.parametrize("shape", [(3, 1, 16, 24), (3, 1, 16, 8, 24)])
def test_inputs_of_a_batch_do_not_touch_each_other(
    small_network: Callable[..., FlexiCTBackbone], shape: tuple[int, ...]
) -> None:
    net, x = small_network(), torch.randn(shape, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        together = net(x)
        for index in range(3):
            alone = net(x[index : index + 1])
            torch.testing.assert_close(alone.cls[0], together.cls[index], atol=2e-3, rtol=0)
            torch.testing.assert_close(alone.patches[0], together.patches[index], atol=2e-3, rtol=0)
        assert (together.cls[0] - together.cls[1]).abs().max() > 0.05


def test_shapes_and_the_last_intermediate(small_network: Callable[..., FlexiCTBackbone]) -> None:
    net, x = small_network(), torch.randn(2, 1, 16, 8, 24, generator=torch.Generator().manual_seed(4))
    with torch.inference_mode():
        out, (third, first) = net(x), net.intermediate(x, (3, 0))
    assert out.cls.shape == (2, 48)
    assert out.patches.shape == (2, 2 * 1 * 3, 48)
    assert out.storage.shape == (2, 4, 48)
    assert all(torch.equal(a, b) for a, b in zip(third, out, strict=True))
    assert not torch.equal(first.cls, out.cls)
    assert net.grid((16, 8, 24)) == (2, 1, 3)


def test_bfloat16_autocast_stays_close(small_network: Callable[..., FlexiCTBackbone]) -> None:
    net, x = small_network(), torch.randn(2, 1, 16, 16, 16, generator=torch.Generator().manual_seed(5))
    with torch.inference_mode():
        exact = net(x).cls
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rounded = net(x).cls
    cosine = torch.cosine_similarity(exact.double(), rounded.double(), dim=-1)
    assert 0.999 < float(cosine.min()) < 1.0


@pytest.mark.parametrize(
    ("shape", "told"),
    [((1, 1, 16, 12), "not divisible"), ((1, 3, 16, 16), r"expected \[B, 1, H, W\]"), ((16, 16), "expected")],
)
def test_inputs_that_do_not_fit_are_refused(
    small_network: Callable[..., FlexiCTBackbone], shape: tuple[int, ...], told: str
) -> None:
    with pytest.raises(EncoderError, match=told):
        small_network()(torch.zeros(shape))


def test_blocks_and_heads_that_do_not_exist_are_refused(
    small_network: Callable[..., FlexiCTBackbone],
) -> None:
    with pytest.raises(EncoderError, match=r"\[4\].*blocks 0 to 3"):
        small_network().intermediate(torch.zeros(1, 1, 8, 8), (0, 4))
    with pytest.raises(EncoderError, match="multiple of 12"):
        FlexiCTBackbone(embed_dim=64, depth=1, num_heads=2)
