"""The image side of FlexiCT-3D-VLM: the 3D network and the projection into the space shared with reports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the field's name

from flexict_core.encoders.pooling import cls_and_mean
from flexict_core.encoders.vit import FlexiCTBackbone


class ImageTower(nn.Module):
    """Names are those of the published checkpoint; its text tower is no part of this module.

    projection: width E of the shared space (1024 as published). config: of FlexiCTBackbone.
    """

    def __init__(self, *, projection: int, **config: Any) -> None:
        super().__init__()
        self.vision_model = FlexiCTBackbone(**config)
        self.vlm_vision_projection = nn.Linear(2 * self.vision_model.embed_dim, projection, bias=False)
        self.logit_scale = nn.Parameter(torch.zeros(1))  # [1]; similarity is exp(logit_scale) · image · text

    def forward(self, x: Tensor, patch_size: int | Sequence[int] | None = None) -> Tensor:
        """[B, 1, D, H, W] -> image embeddings [B, E] float32 of length 1."""
        features = cls_and_mean(self.vision_model(x, patch_size))  # [B, 2 C]
        return F.normalize(self.vlm_vision_projection(features).float(), dim=-1)  # [B, E]
