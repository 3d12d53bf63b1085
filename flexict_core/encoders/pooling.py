"""Tokens → one vector: the embeddings that the published FlexiCT studies use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from flexict_core.errors import EncoderError

if TYPE_CHECKING:
    from torch import Tensor

    from flexict_core.encoders.vit import FlexiCTBackbone, Tokens

POOLINGS = ("cls", "mean_patch", "cls_mean", "hier")
UNIT_LENGTH = frozenset({"cls_mean", "hier", "vlm"})  # poolings that end in an L2 normalisation
_HIER_LEVELS = 4


def pooled_dim(pooling: str, embed_dim: int) -> int:
    """Length of the vector that `pool` returns."""
    return embed_dim * {"cls": 1, "mean_patch": 1, "cls_mean": 2, "hier": 2 * _HIER_LEVELS}[pooling]


def hier_blocks(depth: int) -> tuple[int, ...]:
    """The last block (0-based) of each quarter of the network: 3, 7, 11, 15 in the published one."""
    if depth < _HIER_LEVELS:
        raise EncoderError(
            f"pooling 'hier' needs at least {_HIER_LEVELS} blocks, the network has {depth}: use 'cls_mean'"
        )
    return tuple(depth * (level + 1) // _HIER_LEVELS - 1 for level in range(_HIER_LEVELS))


def cls_and_mean(tokens: Tokens) -> Tensor:
    """Concatenation of CLS and the mean patch token, float32: [B, 2 C], not normalised."""
    import torch

    return torch.cat((tokens.cls.float(), tokens.patches.float().mean(1)), dim=-1)  # [B, 2 C]


def pool(
    net: FlexiCTBackbone, x: Tensor, pooling: str, *, patch_size: int | Sequence[int] | None = None
) -> Tensor:
    """Embeddings [B, dim] float32 of inputs x [B, 1, (D,) H, W].

    cls, mean_patch: [B, C], not normalised. cls_mean: both, [B, 2 C]; hier: both after the last block of each
    quarter of the network, [B, 8 C]; these two have length 1 (L2).
    """
    import torch
    from torch.nn.functional import normalize

    if pooling == "hier":
        levels = net.intermediate(x, hier_blocks(net.depth), patch_size=patch_size)
        return normalize(torch.cat([cls_and_mean(tokens) for tokens in levels], dim=-1), dim=-1)  # [B, 8 C]
    tokens = net(x, patch_size)
    if pooling == "cls":
        return tokens.cls.float()  # [B, C]
    if pooling == "mean_patch":
        return tokens.patches.float().mean(1)  # [B, C]
    if pooling == "cls_mean":
        return normalize(cls_and_mean(tokens), dim=-1)  # [B, 2 C]
    raise EncoderError(f"pooling {pooling!r} is not one of {', '.join(POOLINGS)}")
