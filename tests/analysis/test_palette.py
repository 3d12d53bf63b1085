"""Colours stay apart for every kind of colour vision, and in grey print."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from skimage.color import deltaE_ciede2000, rgb2lab

from analysis.plots.theme import CATEGORY_COLOURS, ordered_colours

# Machado, Oliveira & Fernandes, IEEE TVCG 15 (2009) 1291: severity 1.0, on linear RGB
VISION = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}


def rgb(colour: str) -> np.ndarray:
    if colour.startswith("#"):
        return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.array([float(v) for v in colour[4:-1].split(",")]) / 255


def seen(colours: list[str], vision: str) -> np.ndarray:
    """CIE L*a*b* [n, 3] of colours as an eye of that kind sees them."""
    encoded = np.array([rgb(c) for c in colours])
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ VISION[vision].T, 0, 1)
    return rgb2lab(np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055))


def closest(colours: list[str], vision: str, pairs: list[tuple[int, int]]) -> float:
    lab = seen(colours, vision)
    return min(float(deltaE_ciede2000(lab[i], lab[j])) for i, j in pairs)


def test_the_simulation_gives_known_values() -> None:
    """White stays white; deuteranopes confuse a red and a green that others tell apart by far (Viénot et al. 1999)."""
    for vision in VISION:
        np.testing.assert_allclose(seen(["#FFFFFF"], vision)[0], [100, 0, 0], atol=0.5)
    assert closest(["#B45A00", "#7A7A00"], "normal", [(0, 1)]) > 25
    assert closest(["#B45A00", "#7A7A00"], "deuteranopia", [(0, 1)]) < 12


@pytest.mark.parametrize("vision", VISION)
def test_every_two_categories_are_told_apart(vision: str) -> None:
    """All eight: 10 of CIEDE2000, four times what an eye just notices (2.3)."""
    colours = list(CATEGORY_COLOURS)
    assert closest(colours, vision, list(itertools.combinations(range(8), 2))) >= 10


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize(("count", "least"), [(2, 60), (4, 14), (6, 8), (8, 6)])
def test_neighbouring_stages_are_told_apart_and_darken(vision: str, count: int, least: float) -> None:
    """The more stages, the closer their colours; of eight, neighbours still differ by 6."""
    colours = ordered_colours(count)
    assert closest(colours, vision, list(itertools.pairwise(range(count)))) >= least
    lightness = seen(colours, vision)[:, 0]
    assert (np.diff(lightness) < -3).all()
