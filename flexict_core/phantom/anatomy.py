"""Sizes of one patient: contours of the chest by level, in mm, with chance variation.

Levels are given as t: 0 at the top of the right diaphragm, 1 at the apex of the lungs. Angles run from the
front (0) through the patient's left (+90 degrees) to the back (180), about an axis through the chest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flexict_core.phantom.canvas import Array, Grid
from flexict_core.phantom.spec import PhantomSpec

AXIS_Y_MM = 15.0  # the polar axis: inside the chest at every level, behind the heart
ANGLES = 720
BELOW_DOME_MM, ABOVE_APEX_MM = 42.0, 12.0


@dataclass(frozen=True)
class Anatomy:
    """Lengths in mm, densities in HU."""

    female: bool
    half_width: float
    depth: float
    lung_height: float
    left_dome: float
    fat: float
    muscle: float
    heart: float
    kyphosis: float
    breast: float
    blood_hu: float
    emphysema: float

    @property
    def height(self) -> float:
        """Length of the scan."""
        return BELOW_DOME_MM + self.lung_height + ABOVE_APEX_MM

    def z(self, t: float) -> float:
        """Height above the lowest slice of a level."""
        return BELOW_DOME_MM + t * self.lung_height

    def t(self, z: Array) -> Array:
        return (z - BELOW_DOME_MM) / self.lung_height

    def spine_y(self, t: Array | float) -> Array:
        """Centre of the vertebral bodies."""
        curve = np.interp(t, [-0.3, 0, 0.3, 0.6, 0.8, 1.0, 1.1], [50, 57, 64, 63, 56, 44, 38])
        return curve * self.depth / 88 + self.kyphosis * np.sin(np.pi * np.clip(t, 0, 1))

    def front_y(self, t: Array | float) -> Array:
        """Inner surface of the breastbone's side of the chest."""
        knots, values = [-0.4, 0, 0.3, 0.6, 0.8, 0.92, 1.0, 1.1], [84, 88, 84, 68, 45, 22, 4, -6]
        return -_curve(t, knots, values) * self.depth / 88


def draw_anatomy(spec: PhantomSpec, rng: np.random.Generator) -> Anatomy:
    """Sizes that go with height, sex and body-mass index, with the scatter seen between people."""
    female = spec.sex == "F"
    scale = spec.height_cm / 172
    vary = rng.normal(0, 1, 10)
    over = spec.bmi - 24
    return Anatomy(
        female=female,
        half_width=(119 if female else 131) * scale**0.7 * (1 + 0.03 * vary[0]) + 0.5 * over,
        depth=(83 if female else 90) * scale**0.5 * (1 + 0.04 * vary[1]) + 0.45 * over + 8 * spec.emphysema,
        lung_height=(176 if female else 194) * scale * (1 + 0.04 * vary[2]) + 14 * spec.emphysema,
        left_dome=float(np.clip(12 + 4 * vary[3], 3, 22)),
        fat=float(np.clip((11 if female else 8) + 1.25 * over + 1.5 * vary[4], 3, 34)),
        muscle=float(np.clip((0.8 if female else 1.05) * (1 + 0.10 * vary[5]), 0.55, 1.4)),
        heart=float(np.clip((0.92 if female else 1.0) * scale**0.7 * (1 + 0.05 * vary[6]), 0.78, 1.16)),
        kyphosis=2 + 2.5 * float(vary[7]),
        breast=float(np.clip(24 + 2.2 * over + 5 * vary[8], 10, 52)) if female else 0.0,
        blood_hu=float(165 + 22 * vary[9]),
        emphysema=spec.emphysema,
    )


def polar(grid: Grid) -> tuple[Array, Array]:
    """Distance from the polar axis in mm and index into tables over angle, both (y, x)."""
    y = grid.y[:, None] - np.float32(AXIS_Y_MM)
    x = grid.x[None, :]
    angle = np.arctan2(x, -y)
    index = np.floor((angle + np.pi) / (2 * np.pi) * ANGLES).astype(np.int64) % ANGLES
    return np.hypot(x, y), index


def table_angles() -> Array:
    """Angles in degrees of the table's columns, -180 … 180, negative on the patient's right."""
    return (np.arange(ANGLES) + 0.5) / ANGLES * 360 - 180


def chest_radius(anatomy: Anatomy, z: Array) -> Array:
    """Distance from the polar axis to the inner chest wall (z, angle), mm: broad below, a dome at the apex."""
    t = anatomy.t(z.astype(float))
    width = anatomy.half_width * _curve(
        t, [-0.4, 0, 0.25, 0.5, 0.7, 0.85, 0.95, 1.02, 1.1], [0.97, 1, 0.985, 0.9, 0.77, 0.6, 0.44, 0.3, 0.2]
    )
    front = anatomy.front_y(t)
    back = _curve(t, [-0.4, 0, 0.3, 0.6, 0.8, 0.92, 1.0, 1.1], [84, 88, 94, 91, 79, 66, 52, 42])
    back = back * anatomy.depth / 88 + anatomy.kyphosis * np.sin(np.pi * np.clip(t, 0, 1))
    turn = np.linspace(-np.pi, np.pi, 361)
    power = 2 / 2.35
    px = np.sign(np.sin(turn)) * np.abs(np.sin(turn)) ** power
    py = -np.sign(np.cos(turn)) * np.abs(np.cos(turn)) ** power
    columns = table_angles()
    out = np.empty((len(z), ANGLES))
    for i in range(len(z)):
        x = width[i] * px
        y = (front[i] + back[i]) / 2 + (back[i] - front[i]) / 2 * py - AXIS_Y_MM
        angle = np.degrees(np.arctan2(x, -y))
        order = np.argsort(angle, kind="stable")
        out[i] = np.interp(columns, angle[order], np.hypot(x, y)[order], period=360)
    # Beside the spine the chest wall turns inwards to the heads of the ribs.
    behind = bump(np.abs(columns), 180, 11)
    return (out * (1 - 0.2 * behind)).astype(np.float32)


def bump(value: Array, centre: float, width: float) -> Array:
    """Bell curve of height 1."""
    return np.exp(-0.5 * ((value - centre) / width) ** 2)


def step(value: Array, edge: float, width: float) -> Array:
    """0 below the edge, 1 above it, smooth over about `width`."""
    return 1 / (1 + np.exp(-np.clip((value - edge) / width * 4, -50, 50)))


def _curve(t: Array | float, knots: Sequence[float], values: Sequence[float]) -> Array:
    from scipy.interpolate import PchipInterpolator

    return PchipInterpolator(knots, values, extrapolate=False)(np.clip(t, knots[0], knots[-1]))
