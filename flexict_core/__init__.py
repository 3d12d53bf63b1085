"""CT files become embeddings in a store. Names load on first use, so importing this package is cheap."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "Volume": "flexict_core.volume",
    "load_volume": "flexict_core.io",
    "load_mask": "flexict_core.io",
    "EmbeddingStore": "flexict_core.store",
    "load_encoder": "flexict_core.encoders.registry",
    "embed_manifest": "flexict_core.embed",
    "embed_together": "flexict_core.embed",
    "RECIPES": "flexict_core.preprocess",
    "Recipe": "flexict_core.preprocess",
    "apply_recipe": "flexict_core.preprocess",
}
__all__ = [
    "RECIPES",
    "EmbeddingStore",
    "Recipe",
    "Volume",
    "apply_recipe",
    "embed_manifest",
    "embed_together",
    "load_encoder",
    "load_mask",
    "load_volume",
]

if TYPE_CHECKING:
    from flexict_core.embed import embed_manifest, embed_together
    from flexict_core.encoders.registry import load_encoder
    from flexict_core.io import load_mask, load_volume
    from flexict_core.preprocess import RECIPES, Recipe, apply_recipe
    from flexict_core.store import EmbeddingStore
    from flexict_core.volume import Volume


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
