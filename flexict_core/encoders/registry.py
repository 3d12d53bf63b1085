"""Name → encoder: what there is, what it needs, and how it is made. Listing it imports no torch.

## Adding an encoder: one file

An encoder is any class that satisfies `base.Encoder`; a call to `register_encoder` gives it a name. The whole
file, `lung_density.py`:

```python
import numpy as np

from flexict_core.encoders.registry import EncoderInfo, EncoderOptions, register_encoder
from flexict_core.errors import ImageError
from flexict_core.preprocess import RECIPES


class LungDensity:  # mean and 15th percentile of the lungs, in HU
    name, dim, pooling, licence = "lung-density", 2, "", "Apache-2.0"
    feature_names = ("mean_hu", "p15_hu")

    def __init__(self):
        self.recipe = RECIPES["native"]  # the file's own voxels, in HU

    def prepare(self, volume, roi):  # one case, in a worker process
        values = volume.array if roi is None else volume.array[roi.array]
        lung = values[(values > -950) & (values < -500)]
        if not lung.size:
            raise ImageError(f"{volume.source}: no voxel between -950 and -500 HU; give a chest CT")
        return np.array([lung.mean(), np.percentile(lung, 15)], np.float32)

    def encode(self, batch):  # prepared cases, here or on a GPU → [B, dim] float32
        return np.stack(batch)

    def spec(self):  # all that decides the numbers, JSON-ready; a change makes a new embedding
        return {"encoder": self.name, "encoder_version": 1, "checkpoint_sha256": None}


def make(name, options: EncoderOptions):
    options.refuse("checkpoint", "recipe", "pooling", "patch_size", name=name)
    return LungDensity()


register_encoder(
    "lung-density",
    make,
    info=EncoderInfo(
        name="lung-density", dim=2, recipe="native", poolings=("",), weights="none needed",
        licence="Apache-2.0", weights_found=None, description="mean and 15th percentile of the lungs",
    ),
)
```

Tried at once: `FLEXICT_ENCODERS=lung_density.py flexict embed --encoder lung-density …` (several files or module
names are separated as in PATH). Installed for good, by the `pyproject.toml` of a package of yours:

```toml
[project.entry-points."flexict.encoders"]
lung-density = "lung_density"
```

Either way it appears in `flexict encoders` and in `load_encoder("lung-density")`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TypeAlias
from warnings import warn

from flexict_core.encoders.base import Encoder, EncoderInfo
from flexict_core.encoders.checkpoint_source import (
    WEIGHTS_LICENCE,
    resolve_checkpoint,
    weights_status,
)
from flexict_core.encoders.pooling import POOLINGS, pooled_dim
from flexict_core.encoders.weights import PublishedWeights, RandomWeights
from flexict_core.errors import EncoderError, FlexictWarning
from flexict_core.preprocess import RECIPES, Recipe

__all__ = ["EncoderInfo", "EncoderOptions", "available", "load_encoder", "register_encoder"]

ENTRY_POINTS = "flexict.encoders"
FILES_VARIABLE = "FLEXICT_ENCODERS"
_WIDTH, _VLM_WIDTH = 864, 1024  # of the published networks


@dataclass(frozen=True)
class EncoderOptions:
    """What a caller of `load_encoder` asked for; None where the encoder decides."""

    checkpoint: str | os.PathLike[str] | None = None
    recipe: Recipe | None = None
    pooling: str | None = None
    patch_size: int | Sequence[int] | None = None
    device: str = "auto"
    precision: str = "fp32"
    text_model: str | os.PathLike[str] | None = None

    def refuse(self, *names: str, name: str) -> None:
        """EncoderError where one of these options was given to encoder `name`, which takes none of them."""
        for option in names:
            value = getattr(self, option)
            if value is not None and not (option == "precision" and value == "fp32"):
                told = value.name if isinstance(value, Recipe) else str(value)
                raise EncoderError(
                    f"encoder {name!r} takes no {option} (got {told!r}): leave it out, or use flexict-3d"
                )


Maker: TypeAlias = Callable[[str, EncoderOptions], Encoder]
Listed: TypeAlias = EncoderInfo | Callable[[], EncoderInfo]


def register_encoder(name: str, make: Maker, *, info: Listed) -> None:
    """Enter an encoder under `name`: `make(name, options)` gives it, `info` is its line in `flexict encoders`.

    Raises EncoderError for a name that is taken by another.
    """
    if name in _ENCODERS and _ENCODERS[name][0] is not make:
        raise EncoderError(f"encoder name {name!r} is taken: choose another")
    _ENCODERS[name] = (make, info)


def load_encoder(
    name: str,
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    recipe: str | Recipe | None = None,
    pooling: str | None = None,
    patch_size: int | Sequence[int] | None = None,
    device: str = "auto",
    precision: str = "fp32",
    text_model: str | os.PathLike[str] | None = None,
) -> Encoder:
    """The encoder called `name` (see `available`), ready to prepare; weights load when it first encodes.

    checkpoint: file, folder or hf:OWNER/REPO[@revision] with the weights; otherwise the FLEXICT_*CHECKPOINT
    variables decide. recipe, pooling, patch_size: the encoder's own when None; patch_size one integer or one
    per axis. device: auto, cpu, cuda or cuda:N. precision: fp32, or bf16 (autocast). text_model: where the
    tokenizer of flexict-3d-vlm comes from (see `text`).

    Raises EncoderError for a name, recipe, pooling, patch size, device or precision that cannot be had, and
    CheckpointError for weights that are missing or do not fit; each one line with the remedy.
    """
    if name not in _ENCODERS:
        _find_plugins()
    if name not in _ENCODERS:
        raise EncoderError(f"encoder {name!r} is not known: choose one of {', '.join(_ENCODERS)}")
    if isinstance(recipe, str):
        if recipe not in RECIPES:
            raise EncoderError(f"recipe {recipe!r} is not known; choose one of {', '.join(RECIPES)}")
        recipe = RECIPES[recipe]
    options = EncoderOptions(checkpoint, recipe, pooling, patch_size, device, precision, text_model)
    return _ENCODERS[name][0](name, options)


def available() -> list[EncoderInfo]:
    """Every encoder that `load_encoder` knows, with where its weights are or how to get them."""
    _find_plugins()
    return [info() if callable(info) else info for _, info in _ENCODERS.values()]


def _find_plugins() -> None:
    """Import what registers further encoders: installed packages, and the files that FLEXICT_ENCODERS names."""
    for name, load in [*_entry_points(), *_named_files(os.environ.get(FILES_VARIABLE, ""))]:
        try:
            load()
        except Exception as error:  # someone else's code: the other encoders stay usable
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:160]
            warn(f"the encoder of {name!r} cannot be loaded ({reason})", FlexictWarning, stacklevel=3)


@cache
def _entry_points() -> list[tuple[str, Callable[[], object]]]:
    from importlib.metadata import entry_points

    return [(point.name, cache(point.load)) for point in entry_points(group=ENTRY_POINTS)]


@cache
def _named_files(listed: str) -> list[tuple[str, Callable[[], object]]]:
    from importlib import import_module

    found: list[tuple[str, Callable[[], object]]] = []
    for entry in filter(None, (part.strip() for part in listed.split(os.pathsep))):
        name = entry
        if entry.endswith(".py"):
            path = Path(entry).expanduser().resolve()
            if str(path.parent) not in sys.path:
                sys.path.append(
                    str(path.parent)
                )  # by its module's name, so that worker processes find it too
            name = path.stem
        found.append((entry, cache(lambda name=name: import_module(name))))
    return found


def _baseline_info() -> EncoderInfo:
    baseline = _baseline_encoder()
    return EncoderInfo(
        name="baseline",
        dim=baseline.dim,
        recipe=baseline.recipe.name,
        poolings=(baseline.pooling,),
        weights="none needed",
        licence=baseline.licence,
        weights_found=None,
        description="named features of the ROI: intensity, size, shape, texture",
    )


def _control_info() -> EncoderInfo:
    control = RandomWeights()
    return EncoderInfo(
        name="random-3d",
        dim=pooled_dim("cls_mean", control.config["embed_dim"]),
        recipe="default",
        poolings=POOLINGS,
        weights="none needed (random, seeded)",
        licence=control.licence,
        weights_found=None,
        description="NEGATIVE CONTROL: a small FlexiCT network with random weights, nothing learnt",
    )


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


def _baseline(name: str, options: EncoderOptions) -> Encoder:
    encoder = _baseline_encoder()
    if options.recipe == encoder.recipe:
        options = replace(options, recipe=None)
    if options.pooling == encoder.pooling:
        options = replace(options, pooling=None)
    options.refuse("checkpoint", "recipe", "pooling", "patch_size", "precision", name=name)
    return encoder


def _network(name: str, options: EncoderOptions) -> Encoder:
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
        text_model=options.text_model,
    )


_ENCODERS: dict[str, tuple[Maker, Listed]] = {
    "baseline": (_baseline, _baseline_info),
    "flexict-2d": (
        _network,
        lambda: _published("flexict-2d", "slice_2d", "axial slices, averaged over the lesion or the volume"),
    ),
    "flexict-3d": (
        _network,
        lambda: _published("flexict-3d", "default", "the whole volume, or a cube around the lesion"),
    ),
    "flexict-3d-vlm": (
        _network,
        lambda: _published("flexict-3d-vlm", "default", "the network aligned with reports: images and words"),
    ),
    "random-3d": (_network, _control_info),
}
