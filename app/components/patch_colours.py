"""Patch maps as colours: principal components, similarity to a point, contributions to the stage axis."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from app.components.plane_overlay import Overlay

if TYPE_CHECKING:
    from analysis.stage_axis_map import StageAxisMap
    from flexict_core.encoders.token_map import TokenMap

SEQUENTIAL, DIVERGING = "Viridis", "PuOr"  # both hold for every kind of colour vision
MOST_MARKS = 8  # patches of each sign that carry it
LEAST_MARKED = 0.2  # of the strongest


@dataclass(frozen=True)
class Scale:
    """A colour scale: [n, 3] uint8 from `low` to `high`, and what the numbers are."""

    colours: np.ndarray
    low: float
    high: float
    unit: str


def pca_overlay(parts: np.ndarray, affine: np.ndarray, opacity: float) -> Overlay:
    """Three principal components [d, h, w, 3] as red, green and blue, each from its 2nd to its 98th percentile."""
    low, high = np.percentile(parts.reshape(-1, 3), [2, 98], axis=0)
    shares = np.clip((parts - low) / np.where(high > low, high - low, 1.0), 0.0, 1.0)
    return Overlay(_rgba(shares * 255, np.full(parts.shape[:3], opacity)), affine)


def similarity_overlay(tokens: TokenMap, values: np.ndarray, opacity: float) -> tuple[Overlay, Scale]:
    """Cosines [d, h, w] from the least similar patch to 1."""
    scale = Scale(
        _steps(SEQUENTIAL), float(values.min()), 1.0, "cosine similarity to the patch at the crosshair"
    )
    return Overlay(_rgba(_coloured(values, scale), np.full(tokens.grid, opacity)), tokens.affine), scale


def axis_overlay(found: StageAxisMap, opacity: float) -> tuple[Overlay, Scale]:
    """Contributions on a scale that is symmetric about 0, fainter near it; the strongest patches carry + or −."""
    values = found.contributions
    most = float(np.abs(values).max()) or 1.0
    scale = Scale(_steps(DIVERGING)[::-1], -most, most, "stages that a patch adds to the score")
    strength = opacity * np.sqrt(np.abs(values) / most)
    marks = {}
    order = np.argsort(values, axis=None, kind="stable")
    for sign, places in (("−", order[:MOST_MARKS]), ("+", order[::-1][:MOST_MARKS])):
        for place in places:
            z, y, x = (int(i) for i in np.unravel_index(place, values.shape))
            if (values[z, y, x] > 0) == (sign == "+") and abs(values[z, y, x]) >= LEAST_MARKED * most:
                marks[(z, y, x)] = sign
    return Overlay(_rgba(_coloured(values, scale), strength), found.affine, marks), scale


def _coloured(values: np.ndarray, scale: Scale) -> np.ndarray:
    """[..., 3] colours of values on a scale."""
    span = (scale.high - scale.low) or 1.0
    steps = len(scale.colours) - 1
    return scale.colours[np.clip(np.rint((values - scale.low) / span * steps), 0, steps).astype(int)]


def _rgba(colours: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    alpha = np.clip(opacity, 0.0, 1.0)[..., None] * 255
    return np.concatenate([colours, alpha], axis=-1).round().astype(np.uint8)


@cache
def _steps(name: str) -> np.ndarray:
    """[256, 3] uint8 of a named scale."""
    from plotly.colors import sample_colorscale

    sampled = sample_colorscale(name, list(np.linspace(0, 1, 256)), colortype="tuple")
    return np.round(np.array(sampled) * 255).astype(np.uint8)
