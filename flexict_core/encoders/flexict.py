"""FlexiCT networks as encoders: recipe, network, pooling; volumes at once, or slices averaged."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from flexict_core.encoders.inference import BatchRunner, check_precision, resolve_device
from flexict_core.encoders.pooling import POOLINGS, UNIT_LENGTH, hier_blocks, pooled_dim
from flexict_core.errors import EncoderError, ImageError, MaskError
from flexict_core.preprocess import Recipe, apply_recipe

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from flexict_core.encoders.base import JSON
    from flexict_core.encoders.text import TextTower
    from flexict_core.encoders.token_map import TokenMap
    from flexict_core.encoders.weights import Weights
    from flexict_core.volume import Volume

VOLUME_KINDS = ("whole", "whole_resized", "roi_adaptive", "roi_fixed")
SLICE_KINDS = ("slices",)


class NetworkEncoder(ABC):
    """What the encoders with a FlexiCT network share. Weights load on the first `encode`, or by `load`.

    Pickling leaves the loaded network behind: workers prepare, and load it only if they encode.
    """

    axes: ClassVar[int]
    kinds: ClassVar[tuple[str, ...]]
    inputs_at_once: ClassVar[dict[str, int | None]]  # None: as many as the caller gives
    feature_names: tuple[str, ...] | None = None

    def __init__(
        self,
        name: str,
        weights: Weights,
        *,
        recipe: Recipe,
        pooling: str = "cls_mean",
        patch_size: int | Sequence[int] | None = None,
        device: str = "auto",
        precision: str = "fp32",
        text_model: str | os.PathLike[str] | None = None,
    ) -> None:
        self.name, self.weights, self.recipe, self.pooling = name, weights, recipe, pooling
        self.licence = weights.licence
        self.precision = check_precision(precision)
        self.device = resolve_device(device)
        if recipe.kind not in self.kinds:
            raise EncoderError(
                f"{name} cannot take recipe {recipe.name!r}: it needs one of kind {', '.join(self.kinds)}"
            )
        self.patch_size = self._patch_sides(patch_size)
        self.dim = self._dim()
        self.text_model = text_model
        self._net: nn.Module | None = None
        self._runner: BatchRunner | None = None
        self._tower: TextTower | None = None

    def _patch_sides(self, patch_size: int | Sequence[int] | None) -> tuple[int, ...]:
        chosen = self.weights.config["patch_size"] if patch_size is None else patch_size
        sides = tuple(chosen) if isinstance(chosen, Sequence) else (chosen,) * self.axes
        if len(sides) != self.axes or any(side < 1 or self.recipe.size % side for side in sides):
            raise EncoderError(
                f"patch size {chosen!r} does not divide the {self.recipe.size} voxels a side of recipe "
                f"{self.recipe.name!r} into {self.axes}D patches: use 8 or 16"
            )
        return sides

    def _dim(self) -> int:
        config = self.weights.config
        poolings = (*POOLINGS, "vlm") if "projection" in config else POOLINGS
        if self.pooling not in poolings:
            raise EncoderError(
                f"{self.name} has no pooling {self.pooling!r}: choose one of {', '.join(poolings)}"
            )
        if self.pooling == "hier":
            hier_blocks(config["depth"])
        if self.pooling == "vlm":
            return int(config["projection"])
        return pooled_dim(self.pooling, config["embed_dim"])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_net": None, "_runner": None, "_tower": None}

    @property
    def batch_size(self) -> int:
        """Cases to give `encode` at once: one on a CPU, which it keeps busy; on a GPU what its memory holds."""
        if self.device == "cpu" or self.axes == 2:  # slices come in batches by themselves
            return 1
        from math import prod

        from flexict_core.encoders.inference import gpu_batch

        sides = [self.recipe.size // side for side in self.patch_size]
        return gpu_batch(
            self.device, tokens=prod(sides), width=self.weights.config["embed_dim"], precision=self.precision
        )

    def load(self) -> NetworkEncoder:
        """Read the weights now rather than at the first `encode`; CheckpointError when they do not fit."""
        if self._net is None:
            from flexict_core.encoders.network import ready_network

            self._net = ready_network(self.weights, device=self.device, precision=self.precision)
            self._runner = BatchRunner(self._forward, device=self.device, precision=self.precision)
            self._runner.largest = self.inputs_at_once[self.device.partition(":")[0]]
        return self

    def text_tower(self) -> TextTower:
        """Tokenizer and text model of FlexiCT-3D-VLM; EncoderError for an encoder that has none."""
        from flexict_core.encoders.text import TextTower, resolve_text_model
        from flexict_core.encoders.weights import PublishedWeights

        if not isinstance(self.weights, PublishedWeights) or "projection" not in self.weights.config:
            raise EncoderError(
                f"encoder {self.name!r} has no text tower: use flexict-3d-vlm with pooling 'vlm'"
            )
        if self._tower is None:
            folder = resolve_text_model(self.text_model, self.weights.path)
            width = int(self.weights.config["projection"])
            self._tower = TextTower(self.weights.path, folder, width, device=self.device)
        return self._tower

    def encode_text(self, texts: Sequence[str]) -> np.ndarray:
        """Texts → [n, E] float32 of length 1, in the space of the images' pooling 'vlm'.

        Similarity is `logit_scale() · image · text`. Raises EncoderError for an encoder without a text tower.
        """
        return self.text_tower().encode(texts)

    def logit_scale(self) -> float:
        """What the cosine of image and text is multiplied with before a softmax over texts (VLM only)."""
        self.text_tower()
        return self.weights.logit_scale()  # type: ignore[attr-defined]  # text_tower has refused the others

    @abstractmethod
    def encode(self, batch: Sequence[np.ndarray]) -> np.ndarray:
        """Prepared cases → [B, dim] float32."""

    @abstractmethod
    def tokens(self, volume: Volume, roi: Volume | None = None) -> TokenMap:
        """Patch tokens of the last block with their place in the patient."""

    def _tokens(self, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Patch tokens [B, N, C] and CLS tokens [B, C], float32, of inputs [1, (D,) H, W]."""
        import torch

        from flexict_core.encoders.network import backbone_of

        self.load()
        assert self._net is not None  # load has set it
        backbone = backbone_of(self._net)

        def forward(x: Tensor) -> Tensor:
            out = backbone(x, self.patch_size)
            return torch.cat((out.cls[:, None], out.patches), dim=1)  # [B, 1 + N, C]

        run = BatchRunner(forward, device=self.device, precision=self.precision)
        run.largest = self.inputs_at_once[self.device.partition(":")[0]]
        tokens = run(inputs).numpy()
        return tokens[:, 1:], tokens[:, 0]

    def _forward(self, x: Tensor) -> Tensor:
        from flexict_core.encoders.network import backbone_of
        from flexict_core.encoders.pooling import pool

        net: Any = self._net
        if self.pooling == "vlm":
            return net(x, self.patch_size)  # [B, E]
        return pool(backbone_of(net), x, self.pooling, patch_size=self.patch_size)  # [B, dim]

    def prepare(self, volume: Volume, roi: Volume | None) -> np.ndarray:
        """The recipe's array [1, D, H, W] float32; ImageError or MaskError for a case that cannot be used."""
        return _finite(apply_recipe(volume, self.recipe, roi), volume, self.recipe)

    def spec(self) -> dict[str, JSON]:
        return {
            "encoder": self.name,
            "recipe": self.recipe.to_dict(),
            "pooling": self.pooling,
            "patch_size": list(self.patch_size),
            "precision": self.precision,
            "network": dict(self.weights.config),
            "licence": self.licence,
            "feature_names": None,
            "negative_control": False,
            **self.weights.spec(),
        }


def _finite(array: np.ndarray, volume: Volume, recipe: Recipe) -> np.ndarray:
    import numpy as np

    if not np.isfinite(array).all():
        raise ImageError(
            f"{volume.source or 'volume'}: not finite after recipe {recipe.name!r}; repair the file"
        )
    return array


class VolumeEncoder(NetworkEncoder):
    """One forward pass a volume: FlexiCT-3D, the image side of FlexiCT-3D-VLM, and the random control."""

    axes = 3
    kinds = VOLUME_KINDS
    # On a CPU one volume keeps every core busy, and a batch would only take more memory.
    inputs_at_once: ClassVar[dict[str, int | None]] = {"cpu": 1, "cuda": None}

    def encode(self, batch: Sequence[np.ndarray]) -> np.ndarray:
        """Prepared volumes [1, D, H, W] → [B, dim] float32, in the batch's order."""
        import numpy as np

        self.load()
        assert self._runner is not None  # load has set it
        shapes = {array.shape for array in batch}
        out = np.empty((len(batch), self.dim), np.float32)
        for shape in shapes:  # one, unless a caller mixes recipes
            rows = [row for row, array in enumerate(batch) if array.shape == shape]
            out[rows] = self._runner([batch[row] for row in rows]).numpy()
        return out

    def tokens(self, volume: Volume, roi: Volume | None = None) -> TokenMap:
        """Patch tokens [d, h, w, C], normed, and their affine: of the volume, or of the cube about `roi`.

        MaskError where a ROI recipe lacks a usable mask; the other recipes do not look at it.
        """
        from flexict_core.encoders.token_map import TokenMap, token_affine

        d, h, w = self.patch_size
        affine = token_affine(volume, self.recipe, (d, h, w), roi=roi)
        array = self.prepare(volume, roi)
        grid = [length // side for length, side in zip(array.shape[1:], self.patch_size, strict=True)]
        patches, cls = self._tokens([array])
        return TokenMap(patches[0].reshape(*grid, -1), affine, cls[0])


class SliceEncoder(NetworkEncoder):
    """FlexiCT-2D on volumes: axial slices are embedded one by one and averaged to one vector.

    Where a mask is given only the slices that it touches are used, else all. Poolings that end in a
    normalisation are normalised again after averaging.
    """

    axes = 2
    kinds = SLICE_KINDS
    inputs_at_once: ClassVar[dict[str, int | None]] = {"cpu": 4, "cuda": 32}

    def prepare(self, volume: Volume, roi: Volume | None) -> np.ndarray:
        """Slices [S, 1, H, W] float32: those of the lesion where a mask is given, and only they are resized."""
        from flexict_core.recipe_steps import slice_stack

        keep = None if roi is None else self._lesion_slices(volume, roi)
        return _finite(slice_stack(volume, self.recipe, keep=keep), volume, self.recipe)[:, None]

    def _lesion_slices(self, volume: Volume, roi: Volume) -> np.ndarray:
        """Indices of the resampled axial slices whose closest original slice has a voxel of the mask."""
        import numpy as np

        from flexict_core.resample import resampled_size

        if not roi.same_grid(volume):
            raise MaskError(
                f"{roi.source or 'mask'}: the mask is not on its CT's grid; resample it to the CT"
            )
        lps = roi.to_orientation("LPS")
        touched = np.asarray(lps.array.any(axis=(1, 2)))  # [z]
        if not touched.any():
            raise MaskError(f"{roi.source or 'mask'}: the mask is empty; give another mask")
        count = resampled_size(lps, self.recipe.spacing_mm)[0]
        step = self.recipe.spacing_mm / lps.spacing_zyx_mm[0]  # original slices per resampled slice
        closest = np.clip(np.floor(np.arange(count) * step + 0.5).astype(int), 0, len(touched) - 1)
        chosen = np.flatnonzero(touched[closest])
        if not len(chosen):  # a lesion thinner than the resampled slices, between two of them
            centre = np.flatnonzero(touched).mean() / step
            chosen = np.array([min(round(float(centre)), count - 1)])
        return chosen

    def encode(self, batch: Sequence[np.ndarray]) -> np.ndarray:
        """Prepared stacks [S, 1, H, W] → [B, dim] float32: each the mean over its slices."""
        import numpy as np

        self.load()
        assert self._runner is not None  # load has set it
        out = np.empty((len(batch), self.dim), np.float32)
        for row, slices in enumerate(batch):
            mean = self._runner(list(slices)).double().mean(0)  # [dim]
            out[row] = (mean / mean.norm() if self.pooling in UNIT_LENGTH else mean).numpy()
        return out

    def tokens(self, volume: Volume, roi: Volume | None = None, *, slices: slice | None = None) -> TokenMap:
        """Patch tokens [s, h, w, C] of the recipe's axial slices, normed, with their affine.

        slices: which (without a step); left out, those from the first to the last that `roi` touches, or all,
        at 14 MB a slice of 512² and patch 8 in the published network.
        """
        from flexict_core.encoders.token_map import TokenMap, token_affine
        from flexict_core.recipe_steps import slice_stack
        from flexict_core.resample import resampled_size

        if slices is None:
            touched = None if roi is None else self._lesion_slices(volume, roi)
            slices = slice(None) if touched is None else slice(int(touched[0]), int(touched[-1]) + 1)
        count = resampled_size(volume.to_orientation("LPS"), self.recipe.spacing_mm)[0]
        first, last, step = slices.indices(count)
        if step != 1 or last <= first:
            raise EncoderError(f"slices {slices} of a volume with {count}: give a run of at least one")
        h, w = self.patch_size
        stack = _finite(slice_stack(volume, self.recipe, keep=range(first, last)), volume, self.recipe)
        tokens, cls = self._tokens(list(stack[:, None]))  # [s, N, C], [s, C]
        tokens = tokens.reshape(last - first, stack.shape[1] // h, stack.shape[2] // w, -1)
        affine = token_affine(volume, self.recipe, (1, h, w), first_slice=first)
        return TokenMap(tokens, affine, cls)

    def spec(self) -> dict[str, JSON]:
        return {**super().spec(), "slices": "lesion slices where a mask is given, else all; mean"}
