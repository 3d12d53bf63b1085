"""The encoder that an embedding of a store was made with, found again from its specification."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from flexict_core.encoders.base import Encoder
from flexict_core.errors import CheckpointError, EncoderError
from flexict_core.preprocess import RECIPES, Recipe

PUBLISHED_WIDTH, PUBLISHED_DEPTH = 864, 16


def encoder_of(
    spec: Mapping[str, Any], *, checkpoint: str | os.PathLike[str] | None = None, device: str = "auto"
) -> Encoder:
    """The encoder of an embedding, given its `spec.json`: same recipe, pooling, patch size, precision and weights.

    Raises EncoderError for imported vectors and for an encoder that is not there, CheckpointError where its weights are
    missing or others than those the embedding was made with.
    """
    from flexict_core.encoders.registry import load_encoder

    name = str(spec.get("encoder") or "")
    if "checkpoint_sha256" not in spec:
        raise EncoderError(
            f"the vectors {name!r} were imported: the encoder that made them is not here, so no further CT can be "
            "embedded beside them"
        )
    encoder = load_encoder(
        name,
        checkpoint=checkpoint,
        recipe=_recipe(spec.get("recipe")),
        pooling=spec.get("pooling") or None,
        patch_size=spec.get("patch_size"),
        device=device,
        precision=str(spec.get("precision") or "fp32"),
    )
    made = encoder.spec().get("checkpoint_sha256")
    if made != spec.get("checkpoint_sha256"):
        raise CheckpointError(
            f"the embedding was made with weights {str(spec.get('checkpoint_sha256'))[:12]}…, those at hand are "
            f"{str(made)[:12]}…: set FLEXICT_CHECKPOINT to the file that was used"
        )
    return encoder


def weights_caution(spec: Mapping[str, Any]) -> str | None:
    """What a reader must know of the weights before believing a map: random, or not the published network's."""
    if spec.get("negative_control"):
        return "random ones, a negative control in which nothing was learnt"
    network = spec.get("network")
    if not isinstance(network, Mapping):
        return None
    width, depth = network.get("embed_dim"), network.get("depth")
    if (width, depth) == (PUBLISHED_WIDTH, PUBLISHED_DEPTH):
        return None
    return (
        f"not the published network (width {width}, depth {depth}; FlexiCT has {PUBLISHED_WIDTH} and "
        f"{PUBLISHED_DEPTH}): test weights, whose results mean nothing"
    )


def _recipe(stored: Any) -> Recipe | str | None:
    if isinstance(stored, Mapping):
        try:
            return Recipe(**stored)
        except TypeError:
            raise EncoderError(
                f"recipe {stored.get('name')!r} was stored by another version of this program: embed again"
            ) from None
    return stored if stored in RECIPES else None
