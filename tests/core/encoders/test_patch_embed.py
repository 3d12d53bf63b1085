"""A resampled kernel answers an interpolated patch as the trained kernel answers the patch."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F  # noqa: N812 - the field's name

from flexict_core.encoders.patch_embed import PatchEmbed, interpolation_pinv, resample_kernel
from flexict_core.errors import EncoderError


def interpolate(patches: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
    if len(size) == 2:
        return F.interpolate(patches, size=size, mode="bicubic", antialias=True, align_corners=False)
    return F.interpolate(patches, size=size, mode="trilinear", align_corners=False)


@pytest.mark.parametrize("size", [(16, 16), (12, 9), (16, 16, 16), (8, 16, 16), (8, 8, 11)])
def test_larger_kernel_keeps_the_response_to_interpolated_patches(size: tuple[int, ...]) -> None:
    """Enlarging loses nothing, so pinv(R) R = 1 and the response is the same."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(5, 1, *(8,) * len(size), generator=generator)
    patches = torch.randn(7, 1, *(8,) * len(size), generator=generator)
    expected = patches.flatten(1) @ weight.flatten(1).T  # [7, 5]
    response = interpolate(patches, size).flatten(1) @ resample_kernel(weight, size).flatten(1).T
    torch.testing.assert_close(response, expected, atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize("size", [(4, 4), (4, 4, 4), (8, 4, 2)])
def test_smaller_kernel_answers_for_the_patch_that_shrinks_to_the_input(size: tuple[int, ...]) -> None:
    """Shrinking loses detail: R pinv(R) = 1, the response is that to one patch that interpolates to the input."""
    generator = torch.Generator().manual_seed(1)
    old = (8,) * len(size)
    weight = torch.randn(5, 1, *old, generator=generator)
    small = torch.randn(7, 1, *size, generator=generator)
    large = (small.flatten(1) @ interpolation_pinv(old, size).T).reshape(7, 1, *old)
    torch.testing.assert_close(interpolate(large, size), small, atol=1e-4, rtol=1e-4)
    response = small.flatten(1) @ resample_kernel(weight, size).flatten(1).T
    torch.testing.assert_close(response, large.flatten(1) @ weight.flatten(1).T, atol=2e-3, rtol=1e-3)


def test_kernel_does_not_depend_on_the_number_of_threads() -> None:
    threads, kernels = torch.get_num_threads(), []
    weight = torch.randn(6, 1, 8, 8, 8, generator=torch.Generator().manual_seed(2))
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            interpolation_pinv.cache_clear()
            kernels.append(resample_kernel(weight, (8, 16, 16)))
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(kernels[0], kernels[1])
    assert torch.equal(kernels[0], kernels[2])


def test_kernel_made_in_inference_mode_serves_training_too() -> None:
    embed = PatchEmbed(4, 1, patch_size=8, axes=2)
    interpolation_pinv.cache_clear()
    with torch.inference_mode():
        embed(torch.zeros(1, 1, 16, 16), 4)
    tokens, _ = embed(torch.ones(1, 1, 16, 16), 4)
    tokens.sum().backward()
    assert embed.proj.weight.grad is not None
    assert embed.proj.weight.grad.shape == (4, 1, 8, 8)


def test_tokens_come_in_raster_order_of_the_grid() -> None:
    embed = PatchEmbed(1, 1, patch_size=2, axes=3)
    with torch.no_grad():
        embed.proj.weight.fill_(1 / 8)  # the token is the patch's mean
        embed.proj.bias.zero_()
    blocks = torch.arange(24.0).reshape(2, 3, 4)
    x = blocks.repeat_interleave(2, 0).repeat_interleave(2, 1).repeat_interleave(2, 2)
    tokens, grid = embed(x[None, None], None)
    assert grid == (2, 3, 4)
    torch.testing.assert_close(tokens[0, :, 0], torch.arange(24.0))


@pytest.mark.parametrize(
    ("space", "patch_size", "told"),
    [
        ((16, 20), None, "16×20"),
        ((16, 16), 5, "5×5"),
        ((16, 16), (8, 8, 8), r"\(8, 8, 8\)"),
        ((16, 16), 0, "patch size 0"),
        ((4, 16), 8, "4×16"),
    ],
)
def test_sizes_that_do_not_divide_are_refused(
    space: tuple[int, int], patch_size: int | tuple[int, ...] | None, told: str
) -> None:
    with pytest.raises(EncoderError, match=told):
        PatchEmbed(4, 1, patch_size=8, axes=2)(torch.zeros(1, 1, *space), patch_size)


@pytest.mark.parametrize("patch_size", [None, 4])
def test_on_a_cpu_patches_stay_float32_under_autocast(patch_size: int | None) -> None:
    embed = PatchEmbed(4, 1, patch_size=8, axes=3)
    x = torch.randn(1, 1, 8, 16, 8, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        expected, _ = embed(x, patch_size)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            tokens, _ = embed(x, patch_size)
    assert tokens.dtype == torch.float32
    assert torch.equal(tokens, expected)
