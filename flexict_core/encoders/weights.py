"""Where a FlexiCT network's numbers come from: a published checkpoint, or a seeded generator as a control."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from flexict_core.encoders.checkpoint_source import WEIGHTS_LICENCE, file_sha256, tell_licence
from flexict_core.errors import CheckpointError

if TYPE_CHECKING:
    from torch import nn

    from flexict_core.encoders.base import JSON

# The control: the published design and head width at a small part of its cost. LayerScale starts at 1: with
# the published start of 1e-5 untrained blocks would add nothing to the tokens.
RANDOM_SEED = 20260521
RANDOM_NETWORK: dict[str, Any] = {
    "embed_dim": 216, "depth": 4, "num_heads": 3, "patch_size": 16, "layerscale_init": 1.0,
}  # fmt: skip


class Weights(Protocol):
    """Where a network's numbers come from."""

    @property
    def config(self) -> dict[str, Any]: ...

    @property
    def licence(self) -> str: ...

    def build(self) -> nn.Module: ...

    def spec(self) -> dict[str, JSON]: ...


@dataclass(frozen=True)
class PublishedWeights:
    """A verified checkpoint: the network's configuration is read off its shapes when it is opened."""

    path: Path
    sha256: str
    config: dict[str, Any]
    licence: str = WEIGHTS_LICENCE

    @classmethod
    def open(cls, path: Path, *, vlm: bool = False) -> PublishedWeights:
        """Check names and shapes against the network, without loading values; CheckpointError where they differ."""
        from flexict_core.encoders.checkpoint import check_weights, network_config

        tell_licence()
        config = network_config(path)
        if vlm and "projection" not in config:
            raise CheckpointError(
                f"{path}: holds no vlm_vision_projection.weight, so it is not FlexiCT-3D-VLM; use flexict-3d"
            )
        if not vlm:
            config.pop("projection", None)
        weights = cls(path, file_sha256(path), config)
        check_weights(weights._on_meta(), path)
        return weights

    def _on_meta(self) -> nn.Module:
        import torch

        from flexict_core.encoders.vit import FlexiCTBackbone
        from flexict_core.encoders.vlm import ImageTower

        with torch.device("meta"):
            return (
                ImageTower(**self.config) if "projection" in self.config else FlexiCTBackbone(**self.config)
            )

    def build(self) -> nn.Module:
        from flexict_core.encoders.checkpoint import load_weights

        if file_sha256(self.path) != self.sha256:  # the specification would name other weights than were used
            raise CheckpointError(f"{self.path}: changed since it was opened; load the encoder again")
        net = self._on_meta()  # no memory and no initialisation before the weights have been verified
        load_weights(net, self.path)
        return net

    def logit_scale(self) -> float:
        """What similarities of images and words are multiplied with; CheckpointError where there is none."""
        from flexict_core.encoders.checkpoint import read_weights

        logarithm = read_weights(self.path).get("logit_scale")
        if logarithm is None:
            raise CheckpointError(f"{self.path}: holds no logit_scale, so it is not FlexiCT-3D-VLM")
        return float(logarithm.double().exp())

    def spec(self) -> dict[str, JSON]:
        return {"checkpoint_sha256": self.sha256}


@dataclass(frozen=True)
class RandomWeights:
    """The same design, untrained: what it separates is separated without anything learnt."""

    config: dict[str, Any] = field(default_factory=lambda: dict(RANDOM_NETWORK))
    seed: int = RANDOM_SEED
    licence: str = "none needed (random weights, nothing trained)"

    def build(self) -> nn.Module:
        import torch

        from flexict_core.encoders.vit import FlexiCTBackbone

        with torch.random.fork_rng(devices=[]):  # leaves the caller's generator as it was
            torch.manual_seed(self.seed)
            return FlexiCTBackbone(**self.config)

    def spec(self) -> dict[str, JSON]:
        return {"checkpoint_sha256": None, "random_seed": self.seed, "negative_control": True}
