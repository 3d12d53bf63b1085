"""Patch embedding with a kernel resampled to the patch size asked for at run time (as FlexiViT, 2212.08013)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the field's name

from flexict_core.errors import EncoderError


@contextmanager
def _two_threads() -> Iterator[None]:
    """The last bits of LAPACK and BLAS depend on their number of threads; here it is the same on every machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@lru_cache(maxsize=16)
def interpolation_pinv(old: tuple[int, ...], new: tuple[int, ...]) -> Tensor:
    """Pseudo-inverse [prod(old), prod(new)] of the matrix that interpolates a flattened patch to the new size.

    Two axes: bicubic with antialias; three: trilinear without; align_corners=False. Float32 throughout, as in
    the published model, whose last bits matter: they decide roundings to bfloat16 in the rotary positions, and
    so move the output by 1e-3.
    """
    # aside from the caller's inference mode and autocast, since the cache serves every caller
    with torch.inference_mode(False), torch.no_grad(), torch.autocast("cpu", enabled=False), _two_threads():
        basis = torch.eye(math.prod(old), device="cpu").reshape(-1, 1, *old)  # [O, 1, *old]: unit patches
        if len(old) == 2:
            resized = F.interpolate(basis, size=new, mode="bicubic", antialias=True, align_corners=False)
        else:
            resized = F.interpolate(basis, size=new, mode="trilinear", align_corners=False)  # [O, 1, *new]
        return torch.linalg.pinv(resized.flatten(1).T)  # [O, N]


def resample_kernel(weight: Tensor, size: tuple[int, ...]) -> Tensor:
    """The kernel [C, in, *size] that answers an interpolated patch as `weight` [C, in, *old] does the patch.

    W · pinv(R) on flattened kernels, in float32; R interpolates a patch from the old to the new size.
    """
    pinv = interpolation_pinv(tuple(weight.shape[2:]), size).to(weight.device)  # [O, N]
    with torch.autocast(weight.device.type, enabled=False), _two_threads():
        kernel = weight.float().flatten(2) @ pinv  # [C, in, N]
    return kernel.reshape(*weight.shape[:2], *size).to(weight.dtype)  # [C, in, *size]


def as_patch_size(patch_size: int | Sequence[int], axes: int) -> tuple[int, ...]:
    """One patch side per axis (d, h, w or h, w); EncoderError when it does not fit the number of axes."""
    sides = tuple(patch_size) if isinstance(patch_size, Sequence) else (patch_size,) * axes
    if len(sides) != axes or min(sides, default=0) < 1:
        raise EncoderError(
            f"patch size {patch_size!r} does not fit a {axes}D input: give one positive integer or {axes}"
        )
    return sides


class PatchEmbed(nn.Module):
    """Non-overlapping patches -> tokens, by a convolution whose stride is its kernel."""

    def __init__(self, embed_dim: int, in_chans: int, *, patch_size: int, axes: int) -> None:
        super().__init__()
        conv = nn.Conv2d if axes == 2 else nn.Conv3d
        self.axes = axes
        self.proj = conv(in_chans, embed_dim, kernel_size=patch_size, stride=patch_size)

    def sides(self, patch_size: int | Sequence[int] | None) -> tuple[int, ...]:
        """Patch size of each axis; the trained one when None."""
        return tuple(self.proj.kernel_size) if patch_size is None else as_patch_size(patch_size, self.axes)

    def grid(self, space: Sequence[int], patch_size: int | Sequence[int] | None) -> tuple[int, ...]:
        """Patches along each axis of an input of `space` voxels; EncoderError when they do not divide it."""
        sides = self.sides(patch_size)
        if any(length < side or length % side for length, side in zip(space, sides, strict=True)):
            raise EncoderError(
                f"input of {'×'.join(map(str, space))} voxels is not divisible by the patch size "
                f"{'×'.join(map(str, sides))}: pad or resample it, or choose a patch size that divides it"
            )
        return tuple(length // side for length, side in zip(space, sides, strict=True))

    def forward(self, x: Tensor, patch_size: int | Sequence[int] | None) -> tuple[Tensor, tuple[int, ...]]:
        """[B, in, *space] -> tokens [B, N, C] in raster order, and the grid they came from."""
        grid, sides = self.grid(x.shape[2:], patch_size), self.sides(patch_size)
        weight = self.proj.weight  # [C, in, *native]
        if sides != tuple(weight.shape[2:]):
            weight = resample_kernel(weight, sides)  # [C, in, *sides]
        conv = F.conv2d if self.axes == 2 else F.conv3d
        # on a CPU this convolution takes ten times as long in bfloat16
        with torch.autocast("cpu", enabled=False) if x.device.type == "cpu" else nullcontext():
            features = conv(x, weight, self.proj.bias, stride=sides)  # [B, C, *grid]
        return features.flatten(2).transpose(1, 2), grid  # [B, N, C]
