"""The FlexiCT network, and only the network: one pre-norm vision transformer for 2D slices and 3D volumes.

Own implementation of the architecture of FlexiCT (arXiv 2605.21906). Names of parameters and buffers are
those of the published checkpoints. B batch, C width, H heads, D head width, S storage tokens, N patch tokens,
T = 1 + S + N tokens in all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the field's name

from flexict_core.encoders.patch_embed import PatchEmbed
from flexict_core.encoders.rope import AxialRope, apply_rope
from flexict_core.errors import EncoderError

NORM_EPS = 1e-6
Rope = tuple[Tensor, Tensor]


class Tokens(NamedTuple):
    """Normed output tokens: cls [B, C], patches [B, N, C] in raster order (d, h, w), storage [B, S, C]."""

    cls: Tensor
    patches: Tensor
    storage: Tensor


class MaskedKeyBiasLinear(nn.Linear):
    """The joint q, k, v projection with a bias whose key part is held at zero (it cancels in the softmax)."""

    bias_mask: Tensor

    def __init__(self, width: int) -> None:
        super().__init__(width, 3 * width, bias=True)
        mask = torch.ones(3 * width)  # [3 C]
        mask[width : 2 * width] = 0
        self.register_buffer("bias_mask", mask)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias * self.bias_mask)  # [B, T, 3 C]


class Attention(nn.Module):
    """Self-attention over all tokens, with rotary positions on the patch tokens."""

    def __init__(self, width: int, heads: int, *, qkv_bias: bool, mask_k_bias: bool) -> None:
        super().__init__()
        self.heads = heads
        masked = qkv_bias and mask_k_bias
        self.qkv = MaskedKeyBiasLinear(width) if masked else nn.Linear(width, 3 * width, bias=qkv_bias)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, rope: Rope) -> Tensor:
        batch, tokens, width = x.shape
        qkv = self.qkv(x).view(batch, tokens, 3, self.heads, width // self.heads)  # [B, T, 3, H, D]
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # [B, H, T, D] each, no copy
        q, k = apply_rope(q, *rope), apply_rope(k, *rope)  # [B, H, T, D]; v is not rounded
        out = F.scaled_dot_product_attention(q, k, v)  # [B, H, T, D], scale D ** -0.5
        return self.proj(out.transpose(1, 2).reshape(batch, tokens, width))  # [B, T, C]


class Mlp(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))  # [B, T, C] -> [B, T, hidden] -> [B, T, C]; exact GELU


class LayerScale(nn.Module):
    def __init__(self, width: int, init: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), init))  # [C]

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma  # [B, T, C]


class Block(nn.Module):
    """Pre-norm transformer block with a learnt scale on each branch."""

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        hidden: int,
        qkv_bias: bool,
        mask_k_bias: bool,
        layerscale_init: float,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=NORM_EPS)
        self.attn = Attention(width, heads, qkv_bias=qkv_bias, mask_k_bias=mask_k_bias)
        self.ls1 = LayerScale(width, layerscale_init)
        self.norm2 = nn.LayerNorm(width, eps=NORM_EPS)
        self.mlp = Mlp(width, hidden)
        self.ls2 = LayerScale(width, layerscale_init)

    def forward(self, x: Tensor, rope: Rope) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x), rope))  # [B, T, C]
        return x + self.ls2(self.mlp(self.norm2(x)))  # [B, T, C]


def _by_itself(block: nn.Module, x: Tensor, rope: Rope) -> Tensor:
    return block(x, rope)  # [B, T, C]


class FlexiCTBackbone(nn.Module):
    """FlexiCT-2D and FlexiCT-3D; the defaults are the published 144 M parameter network.

    `net(x)` takes z-scored CT as [B, 1, H, W] (slices) or [B, 1, D, H, W] (volumes, axes towards S, P, L) and
    returns `Tokens`. Sizes must be divisible by the patch size (EncoderError otherwise). `drop_path_rate`
    belongs to pretraining: nothing is dropped in inference, so it changes nothing here.
    """

    def __init__(
        self,
        embed_dim: int = 864,
        depth: int = 16,
        num_heads: int = 12,
        *,
        ffn_ratio: float = 4,
        patch_size: int = 8,
        in_chans: int = 1,
        n_storage_tokens: int = 4,
        qkv_bias: bool = False,
        mask_k_bias: bool = True,
        layerscale_init: float = 1e-5,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        if embed_dim % num_heads or (embed_dim // num_heads) % 12:
            raise EncoderError(
                f"embed_dim {embed_dim} over {num_heads} heads: a head's width must be a multiple of 12, "
                "so that rotary positions divide it among two and three axes"
            )
        self.embed_dim, self.depth, self.num_heads = embed_dim, depth, num_heads
        self.in_chans, self.n_storage_tokens = in_chans, n_storage_tokens
        head_dim = embed_dim // num_heads
        self.cls_token = nn.Parameter(torch.empty(1, 1, embed_dim))  # [1, 1, C]
        self.storage_tokens = nn.Parameter(torch.empty(1, n_storage_tokens, embed_dim))  # [1, S, C]
        self.mask_token = nn.Parameter(torch.zeros(1, embed_dim))  # [1, C], of pretraining only
        self.patch_embed_2D = PatchEmbed(embed_dim, in_chans, patch_size=patch_size, axes=2)
        self.patch_embed_3D = PatchEmbed(embed_dim, in_chans, patch_size=patch_size, axes=3)
        self.rope_embed_2D = AxialRope(head_dim, axes=2)
        self.rope_embed_3D = AxialRope(head_dim, axes=3)
        self.blocks = nn.ModuleList(
            Block(
                embed_dim,
                num_heads,
                hidden=int(embed_dim * ffn_ratio),
                qkv_bias=qkv_bias,
                mask_k_bias=mask_k_bias,
                layerscale_init=layerscale_init,
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(embed_dim, eps=NORM_EPS)
        # what runs a block: (block, tokens [B, T, C], rope) -> [B, T, C]; None is the block itself
        self.run_block: Callable[[Any, Tensor, Rope], Tensor] | None = None
        self._init_weights()

    @torch.no_grad()
    def _init_weights(self) -> None:
        """Truncated normals of standard deviation 0.02, biases zero; from torch's global generator."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d | nn.Conv3d):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.normal_(self.cls_token, std=0.02)
        nn.init.normal_(self.storage_tokens, std=0.02)

    def forward(self, x: Tensor, patch_size: int | Sequence[int] | None = None) -> Tokens:
        """Tokens after the last block and the final norm; `patch_size` per axis, the native one when None."""
        tokens, rope = self._embed(x, patch_size)  # [B, T, C]
        run = self.run_block or _by_itself
        for block in self.blocks:
            tokens = run(block, tokens, rope)  # [B, T, C]
        return self._split(tokens)

    def intermediate(
        self,
        x: Tensor,
        blocks: Iterable[int] = (3, 7, 11, 15),
        *,
        patch_size: int | Sequence[int] | None = None,
    ) -> list[Tokens]:
        """Tokens after each of `blocks` (0-based), passed through the final norm, in the order asked for."""
        wanted = list(blocks)
        unknown = [index for index in wanted if not 0 <= index < self.depth]
        if unknown or not wanted:
            raise EncoderError(
                f"blocks {unknown or wanted} asked of a network with blocks 0 to {self.depth - 1}"
            )
        tokens, rope = self._embed(x, patch_size)  # [B, T, C]
        run = self.run_block or _by_itself
        outputs: dict[int, Tokens] = {}
        for index, block in enumerate(self.blocks[: max(wanted) + 1]):
            tokens = run(block, tokens, rope)  # [B, T, C]
            if index in wanted:
                outputs[index] = self._split(tokens)
        return [outputs[index] for index in wanted]

    def grid(self, space: Sequence[int], patch_size: int | Sequence[int] | None = None) -> tuple[int, ...]:
        """Number of patch tokens along each axis for an input of `space` voxels, (d, h, w) or (h, w)."""
        return self._patch_embed(len(space)).grid(tuple(space), patch_size)

    def _patch_embed(self, axes: int) -> PatchEmbed:
        return self.patch_embed_2D if axes == 2 else self.patch_embed_3D

    def _embed(self, x: Tensor, patch_size: int | Sequence[int] | None) -> tuple[Tensor, Rope]:
        if x.ndim not in (4, 5) or x.shape[1] != self.in_chans:
            raise EncoderError(
                f"input of shape {tuple(x.shape)}: expected [B, {self.in_chans}, H, W] or "
                f"[B, {self.in_chans}, D, H, W]"
            )
        patches, grid = self._patch_embed(x.ndim - 2)(x, patch_size)  # [B, N, C]
        cls = self.cls_token.expand(len(x), -1, -1)  # [B, 1, C]
        storage = self.storage_tokens.expand(len(x), -1, -1)  # [B, S, C]
        tokens = torch.cat((cls, storage, patches), dim=1)  # [B, T, C]
        rope = (self.rope_embed_2D if len(grid) == 2 else self.rope_embed_3D)(grid)  # 2 × [N, D]
        return tokens, rope

    def _split(self, tokens: Tensor) -> Tokens:
        normed = self.norm(tokens)  # [B, T, C]
        first = 1 + self.n_storage_tokens
        return Tokens(cls=normed[:, 0], patches=normed[:, first:], storage=normed[:, 1:first])
