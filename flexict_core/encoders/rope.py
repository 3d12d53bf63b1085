"""Axial rotary positions of FlexiCT, in the bfloat16 arithmetic that the published weights were trained with.

Rounding is part of the model: computed in float32 the same positions move the output by 2e-3.
Source: FlexiCT (arXiv 2605.21906); axial rotary positions as of RoFormer (arXiv 2104.09864) on image axes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

ROPE_BASE = 100.0
ROPE_DTYPE = torch.bfloat16


class AxialRope(nn.Module):
    """Rotation angles of the patch tokens of a 2D or 3D grid.

    The buffer `periods` (head_dim // (2 * axes) values, bfloat16) is saved with the weights, and the saved
    values are the ones to use: 100 ** (2 i / (head_dim / 2)), evaluated in bfloat16.
    """

    periods: Tensor

    def __init__(self, head_dim: int, *, axes: int) -> None:
        super().__init__()
        index = torch.arange(head_dim // (2 * axes), dtype=ROPE_DTYPE)  # [P]
        self.register_buffer("periods", ROPE_BASE ** (2 * index / (head_dim // 2)))  # [P]

    def forward(self, grid: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Sine and cosine, each [N, head_dim] bfloat16, for the N tokens of `grid` in raster order."""
        periods = self.periods.to(ROPE_DTYPE)  # [P]; lossless: undoes module.float()
        device = periods.device
        axes = [
            torch.arange(0.5, length, dtype=ROPE_DTYPE, device=device) / length  # [L]
            for length in grid
        ]
        coords = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)  # [L1, .., La, a]
        coords = 2.0 * coords.flatten(0, -2) - 1.0  # [N, a] in (-1, 1)
        # left to right, (2π · coordinate) / period: another order rounds otherwise
        angles = 2 * math.pi * coords[:, :, None] / periods[None, None, :]  # [N, a, P]
        angles = angles.flatten(1, 2).tile(2)  # [N, head_dim]
        return torch.sin(angles), torch.cos(angles)


def rotate_half(x: Tensor) -> Tensor:
    """Pair element j with j + head_dim / 2: [..., D] -> [..., D]."""
    first, second = x.chunk(2, dim=-1)  # [..., D/2] each
    return torch.cat((-second, first), dim=-1)  # [..., D]


def apply_rope(x: Tensor, sin: Tensor, cos: Tensor) -> Tensor:
    """Rotate the last N tokens of x [B, H, P + N, D]; the P leading tokens only pass through bfloat16.

    `sin` and `cos` are [N, D]. The result has the dtype of x.
    """
    rounded = x.to(sin.dtype)  # [B, H, P + N, D] bfloat16, every token's
    prefix = rounded.shape[-2] - sin.shape[-2]
    patches = rounded[:, :, prefix:]  # [B, H, N, D]
    patches = patches * cos + rotate_half(patches) * sin  # [B, H, N, D]
    return torch.cat((rounded[:, :, :prefix], patches), dim=-2).to(x.dtype)  # [B, H, P + N, D]
