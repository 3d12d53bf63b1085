"""Small FlexiCT networks with weights that matter: LayerScale starts at 1, so that every block counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from flexict_core.encoders.vit import FlexiCTBackbone


@pytest.fixture
def small_network() -> Callable[..., FlexiCTBackbone]:
    import torch

    from flexict_core.encoders.vit import FlexiCTBackbone

    def build(*, seed: int = 0, **changes: Any) -> FlexiCTBackbone:
        config = {"embed_dim": 48, "depth": 4, "num_heads": 2, "layerscale_init": 1.0, **changes}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = FlexiCTBackbone(**config)
            for name, parameter in net.named_parameters():  # biases and norms too: a dropped one must show
                scale_like = name.endswith("gamma") or ("norm" in name and name.endswith("weight"))
                torch.nn.init.normal_(parameter, mean=float(scale_like), std=0.1)
        return net.eval()

    return build
