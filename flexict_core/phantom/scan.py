"""What the scanner does to the body: kernel, slice profile, noise and rounding to whole HU."""

from __future__ import annotations

import numpy as np

from flexict_core.phantom.canvas import Array
from flexict_core.phantom.spec import Scanner

LOWEST_HU, HIGHEST_HU = -1024, 3071


def scan(hu: Array, *, scanner: Scanner, width_mm: float, rng: np.random.Generator) -> Array:
    """HU as the scanner shows them, int16 (z, y, x).

    Noise is white before the kernel, so the kernel that sharpens or smooths the edges also colours the noise.
    """
    level = noise_level(scanner, width_mm)
    raw = rng.standard_normal(hu.shape, dtype=np.float32)
    # Fewer photons are lost in air and lung, so there the noise is lower.
    scale = np.float32(level / noise_gain(scanner))
    share = hu * np.float32(0.65 / 900)
    share += np.float32(0.35 + 0.65 * 1000 / 900)
    raw *= np.clip(share, 0.35, 1, out=share) * scale
    raw += hu
    if scanner.slice_thickness_mm > 2.5:
        raw = _three_taps(raw, 0, 0.12)
    out = _kernel(raw, scanner.sharpness)
    np.clip(np.rint(out, out=out), LOWEST_HU, HIGHEST_HU, out=out)
    return out.astype(np.int16)


def noise_level(scanner: Scanner, width_mm: float) -> float:
    """SD of the noise in soft tissue, HU: the scanner's own for a body 350 mm wide, 0.6 % more with each mm."""
    return float(scanner.noise_sd_hu * np.exp(0.006 * (width_mm - 350)))


def noise_gain(scanner: Scanner) -> float:
    """SD after the kernel and slice profile of white noise of SD 1, in closed form from the weights."""
    tap = np.array([1, 2, 1]) / 4
    smooth = np.outer(tap, tap)
    weights = _mix(scanner.sharpness) * smooth
    weights[1, 1] += 1 - _mix(scanner.sharpness)
    along = np.array([0.12, 0.76, 0.12]) if scanner.slice_thickness_mm > 2.5 else np.array([1.0])
    return float(np.sqrt((weights**2).sum() * (along**2).sum()))


def _mix(sharpness: float) -> float:
    """Weight of the smoothed image: negative weights subtract it, which sharpens."""
    return -sharpness


def _kernel(image: Array, sharpness: float) -> Array:
    if sharpness == 0:
        return image.copy()
    smooth = _three_taps(_three_taps(image, 2, 0.25), 1, 0.25)
    mix = np.float32(_mix(sharpness))
    smooth *= mix
    smooth += (1 - mix) * image
    return smooth


def _three_taps(image: Array, axis: int, side: float) -> Array:
    """Weighted mean with both neighbours along an axis; the border repeats."""
    view = np.moveaxis(image, axis, 0)
    out = view * np.float32(1 - 2 * side)
    out[1:] += np.float32(side) * view[:-1]
    out[:-1] += np.float32(side) * view[1:]
    out[0] += np.float32(side) * view[0]
    out[-1] += np.float32(side) * view[-1]
    return np.moveaxis(out, 0, axis)
