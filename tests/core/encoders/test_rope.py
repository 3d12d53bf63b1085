"""Rotary positions against the closed form and against rotation of complex numbers in float64."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from flexict_core.encoders.rope import AxialRope, apply_rope

BF16_STEP = 2.0**-8  # relative rounding of bfloat16: 8 bits of significand


@pytest.mark.parametrize(("head_dim", "axes", "count"), [(72, 2, 18), (72, 3, 12), (24, 2, 6), (24, 3, 4)])
def test_periods_follow_the_formula_in_bfloat16(head_dim: int, axes: int, count: int) -> None:
    periods = AxialRope(head_dim, axes=axes).periods
    assert periods.dtype == torch.bfloat16
    exact = 100.0 ** (2 * np.arange(count) / (head_dim / 2))
    # the exponent is rounded too, and an error in it grows with log(100)
    np.testing.assert_allclose(periods.double().numpy(), exact, rtol=BF16_STEP * (1 + 2 * np.log(100)))


@pytest.mark.shared_data
def test_periods_are_those_of_the_reference_checkpoint(shared: Path) -> None:
    from safetensors.torch import load_file

    state = load_file(shared / "reference/flexict/tiny_backbone.safetensors")
    config = json.loads((shared / "reference/flexict/tiny_config.json").read_text())
    head_dim = config["embed_dim"] // config["num_heads"]
    for axes in (2, 3):
        assert torch.equal(AxialRope(head_dim, axes=axes).periods, state[f"rope_embed_{axes}D.periods"])


def test_rotation_is_multiplication_by_unit_complex_numbers() -> None:
    """Element j pairs with j + D/2; the angle of axis a, period p at cell i is 2π ((i + 0.5) / L · 2 − 1) / p."""
    head_dim, grid = 24, (2, 3, 5)
    rope = AxialRope(head_dim, axes=3)
    x = torch.randn(1, 2, 1 + 30, head_dim, generator=torch.Generator().manual_seed(0))
    out = apply_rope(x, *rope(grid)).double().numpy()

    cells = np.stack(np.meshgrid(*map(np.arange, grid), indexing="ij"), -1).reshape(-1, 3)
    coords = (cells + 0.5) / np.array(grid) * 2 - 1
    angles = 2 * np.pi * coords[:, :, None] / rope.periods.double().numpy()
    turn = np.exp(1j * angles.reshape(30, 12))
    z = x.double().numpy()[:, :, 1:]
    turned = (z[..., :12] + 1j * z[..., 12:]) * turn
    # angles up to 2π carry a rounding of 2π · 2⁻⁸ (twice), a pair's length is at most 5 here
    np.testing.assert_allclose(out[:, :, 1:, :12], turned.real, atol=0.15)
    np.testing.assert_allclose(out[:, :, 1:, 12:], turned.imag, atol=0.15)


def test_leading_tokens_are_rounded_to_bfloat16_but_not_turned() -> None:
    rope = AxialRope(24, axes=2)
    x = torch.randn(1, 1, 5 + 6, 24, generator=torch.Generator().manual_seed(1))
    out = apply_rope(x, *rope((2, 3)))
    assert out.dtype == torch.float32
    assert torch.equal(out[:, :, :5], x[:, :, :5].bfloat16().float())
    assert (out[:, :, 5:] - x[:, :, 5:]).abs().max() > 0.1


def test_a_module_cast_to_float32_keeps_the_bfloat16_arithmetic() -> None:
    rope = AxialRope(72, axes=3)
    before = rope((4, 4, 4))
    after = rope.float()((4, 4, 4))
    assert all(a.dtype == torch.bfloat16 and torch.equal(a, b) for a, b in zip(after, before, strict=True))
