"""What an encoder is: a transform for worker processes, and a network that turns batches into vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    import numpy as np

    from flexict_core.preprocess import Recipe
    from flexict_core.volume import Volume

JSON: TypeAlias = "str | int | float | bool | list[JSON] | dict[str, JSON] | None"


@runtime_checkable
class Encoder(Protocol):
    """CT volume (and ROI) → one vector of `dim` float32 values.

    name: as `load_encoder` knows it. recipe: the preprocessing its input gets. pooling: how tokens become one
    vector. feature_names: one per dimension where dimensions have a meaning, else None. licence: of the
    weights, to be shown wherever embeddings are. Encoders can be pickled before they have encoded, so that
    worker processes can prepare.
    """

    name: str
    dim: int
    recipe: Recipe
    pooling: str
    feature_names: tuple[str, ...] | None
    licence: str

    def prepare(self, volume: Volume, roi: Volume | None) -> Any:
        """CPU work on one case; ImageError or MaskError where the case cannot be used."""

    def encode(self, batch: Sequence[Any]) -> np.ndarray:
        """Prepared cases → [B, dim] float32."""

    def spec(self) -> dict[str, JSON]:
        """All that decides the numbers, JSON-ready: equal specifications give equal embeddings."""


@dataclass(frozen=True)
class EncoderInfo:
    """One line of `flexict encoders`.

    dim, recipe: by default. weights: where they were found, or how to get them. weights_found: None where an
    encoder has none.
    """

    name: str
    dim: int
    recipe: str
    poolings: tuple[str, ...]
    weights: str
    licence: str
    weights_found: bool | None
    description: str
