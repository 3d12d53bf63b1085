"""Diaphragm, liver, spleen and stomach: what is seen below the lungs."""

from __future__ import annotations

import numpy as np

from flexict_core.phantom.anatomy import Anatomy
from flexict_core.phantom.canvas import Array, Canvas, blend


def diaphragm_height(canvas: Canvas, anatomy: Anatomy) -> Array:
    """Height of the diaphragm (y, x) in mm: two domes that fall off steeply to the back and the sides."""
    x, y = canvas.grid.x[None, :], canvas.grid.y[:, None]
    top = anatomy.z(0)
    heights = []
    for side, crown in ((-1, top), (1, top - anatomy.left_dome)):
        across = (x - side * 0.47 * anatomy.half_width) / (0.62 * anatomy.half_width)
        along = (y + 6) / np.where(y > -6, 0.98 * anatomy.depth, 1.25 * anatomy.depth)
        r2 = across**2 + along**2
        heights.append(crown - 26 * r2 - 15 * r2**2)
    return np.maximum(heights[0], heights[1]).astype(np.float32)


def draw_abdomen(canvas: Canvas, anatomy: Anatomy, pleura: Array, *, below: Array, texture: Array) -> None:
    """Organs under the diaphragm. `below` is negative there, `pleura` negative inside the chest (z, y, x), mm."""
    g = canvas.grid
    stop = int(np.searchsorted(g.z, anatomy.z(0) + 6))
    x, y = g.x[None, None, :], g.y[None, :, None]
    inside = np.maximum(pleura[:stop] + 4, below[:stop] + 1.5)
    noise = texture[:stop]
    liver = np.maximum(inside, x - 32 + 0.45 * (y + 30) + 3 * noise)
    spleen_shape = np.hypot((x - 0.74 * anatomy.half_width) / 46, (y - 0.45 * anatomy.depth) / 44)
    spleen = np.maximum(inside, (spleen_shape - 1) * 40)
    stomach_shape = np.hypot((x - 0.5 * anatomy.half_width) / 56, (y + 0.25 * anatomy.depth) / 58)
    stomach = np.maximum(inside + 1, np.maximum((stomach_shape - 1) * 40, 40 - x + 0.45 * (y + 30)))
    view = canvas.hu[:stop]
    blend(view, canvas.cover(inside + 3), -98 + 6 * noise)
    blend(view, canvas.cover(liver), 108 + 3 * noise + 45 * np.clip(noise - 1.8, 0, 0.6))
    blend(view, canvas.cover(stomach), 50 + 5 * noise)
    blend(view, canvas.cover(spleen), 118.0)
    # A level of air stands in front of the stomach's contents.
    air = np.maximum(np.maximum(stomach + 4, 4 - spleen), y + 0.42 * anatomy.depth)
    blend(view, canvas.cover(air), -960.0)
    blend(
        view, canvas.cover(np.maximum(np.maximum(below[:stop], -below[:stop] - 3.5), pleura[:stop] + 1)), 50.0
    )
