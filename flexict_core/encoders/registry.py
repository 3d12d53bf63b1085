"""Name → encoder: what there is, what it needs, and how it is made. Listing it imports no torch.

To add an encoder: write a class that satisfies `base.Encoder`, enter it in `_MAKERS` and in `available`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flexict_core.encoders.base import Encoder, EncoderInfo
from flexict_core.encoders.checkpoint_source import (
    WEIGHTS_LICENCE,
    resolve_checkpoint,
    weights_status,
)
from flexict_core.encoders.pooling import POOLINGS, pooled_dim
from flexict_core.encoders.weights import PublishedWeights, RandomWeights
from flexict_core.errors import EncoderError
from flexict_core.preprocess import RECIPES, Recipe

__all__ = ["EncoderInfo", "available", "load_encoder"]

_WIDTH, _VLM_WIDTH = 864, 1024  # of the published networks


@dataclass(frozen=True)
class _Options:
    """What a caller asked for; None where the encoder decides."""

    checkpoint: str | os.PathLike[str] | None
    recipe: Recipe | None
    pooling: str | None
    patch_size: int | Sequence[int] | None
    device: str
    precision: str


def load_encoder(
    name: str,
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    recipe: str | Recipe | None = None,
    pooling: str | None = None,
    patch_size: int | Sequence[int] | None = None,
    device: str = "auto",
    precision: str = "fp32",
) -> Encoder:
    """The encoder called `name` (see `available`), ready to prepare; weights load when it first encodes.

    checkpoint: file, folder or hf:OWNER/REPO[@revision] with the weights; otherwise the FLEXICT_*CHECKPOINT
    variables decide. recipe, pooling, patch_size: the encoder's own when None; patch_size one integer or one
    per axis. device: auto, cpu, cuda or cuda:N. precision: fp32, or bf16 (autocast).

    Raises EncoderError for a name, recipe, pooling, patch size, device or precision that cannot be had, and
    CheckpointError for weights that are missing or do not fit; each one line with the remedy.
    """
    if name not in _MAKERS:
        raise EncoderError(f"encoder {name!r} is not known: choose one of {', '.join(_MAKERS)}")
    if isinstance(recipe, str):
        if recipe not in RECIPES:
            raise EncoderError(f"recipe {recipe!r} is not known; choose one of {', '.join(RECIPES)}")
        recipe = RECIPES[recipe]
    return _MAKERS[name](name, _Options(checkpoint, recipe, pooling, patch_size, device, precision))


def available() -> list[EncoderInfo]:
    """Every encoder that `load_encoder` knows, with where its weights are or how to get them."""
    baseline, control = _baseline_encoder(), RandomWeights()
    return [
        EncoderInfo(
            name="baseline",
            dim=baseline.dim,
            recipe=baseline.recipe.name,
            poolings=(baseline.pooling,),
            weights="none needed",
            licence=baseline.licence,
            weights_found=None,
            description="named features of the ROI: intensity, size, shape, texture",
        ),
        _published("flexict-2d", "slice_2d", "axial slices, averaged over the lesion or the volume"),
        _published("flexict-3d", "default", "the whole volume, or a cube around the lesion"),
        _published("flexict-3d-vlm", "default", "image side of the network aligned with reports"),
        EncoderInfo(
            name="random-3d",
            dim=pooled_dim("cls_mean", control.config["embed_dim"]),
            recipe="default",
            poolings=POOLINGS,
            weights="none needed (random, seeded)",
            licence=control.licence,
            weights_found=None,
            description="NEGATIVE CONTROL: a small FlexiCT network with random weights, nothing learnt",
        ),
    ]


def _published(name: str, recipe: str, description: str) -> EncoderInfo:
    vlm = name == "flexict-3d-vlm"
    weights, found = weights_status(name)
    return EncoderInfo(
        name=name,
        dim=_VLM_WIDTH if vlm else pooled_dim("cls_mean", _WIDTH),
        recipe=recipe,
        poolings=("vlm", *POOLINGS) if vlm else POOLINGS,
        weights=weights,
        licence=WEIGHTS_LICENCE,
        weights_found=found,
        description=description,
    )


def _baseline_encoder() -> Encoder:
    from flexict_core.encoders.baseline import BaselineEncoder

    return BaselineEncoder()


def _baseline(name: str, options: _Options) -> Encoder:
    encoder = _baseline_encoder()
    refused = {
        "checkpoint": options.checkpoint is not None,
        "recipe": options.recipe not in (None, encoder.recipe),
        "pooling": options.pooling not in (None, encoder.pooling),
        "patch_size": options.patch_size is not None,
        "precision": options.precision != "fp32",
    }
    for option, is_refused in refused.items():
        if is_refused:
            value = getattr(options, option)
            value = value.name if isinstance(value, Recipe) else value
            raise EncoderError(
                f"encoder 'baseline' takes no {option} (got {str(value)!r}): leave it out, or use flexict-3d"
            )
    return encoder


def _network(name: str, options: _Options) -> Encoder:
    from flexict_core.encoders.flexict import SliceEncoder, VolumeEncoder

    kind = SliceEncoder if name == "flexict-2d" else VolumeEncoder
    vlm = name == "flexict-3d-vlm"
    if name == "random-3d":
        if options.checkpoint is not None:
            raise EncoderError(
                f"encoder {name!r} has random weights: leave the checkpoint out, or use flexict-3d"
            )
        weights: PublishedWeights | RandomWeights = RandomWeights()
    else:
        weights = PublishedWeights.open(resolve_checkpoint(name, options.checkpoint), vlm=vlm)
    return kind(
        name,
        weights,
        recipe=options.recipe or RECIPES["slice_2d" if name == "flexict-2d" else "default"],
        pooling=options.pooling or ("vlm" if vlm else "cls_mean"),
        patch_size=options.patch_size,
        device=options.device,
        precision=options.precision,
    )


_MAKERS: dict[str, Callable[[str, _Options], Encoder]] = {
    "baseline": _baseline,
    "flexict-2d": _network,
    "flexict-3d": _network,
    "flexict-3d-vlm": _network,
    "random-3d": _network,
}
