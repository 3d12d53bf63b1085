"""A lung tumour: a star-shaped solid with lobes and spikes, strands into the lung, and a necrotic core.

The solid is r = rho(direction) about its centre, so its volume is the integral of rho cubed over the sphere,
divided by three: truth that does not depend on any voxel grid. It is scaled so that its longest diameter is
the one asked for, whatever its margin.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flexict_core.phantom.anatomy import Anatomy
from flexict_core.phantom.canvas import Array, Canvas
from flexict_core.phantom.lungs import horizontal_fissure, oblique_fissure
from flexict_core.phantom.spec import PhantomSpec

LATITUDES, LONGITUDES = 91, 180


@dataclass(frozen=True)
class Tumour:
    """`rho` in mm over latitude (0 … 180 degrees from +z) and longitude (0 … 360 from +x), grid of directions."""

    rho: Array
    spikes: Array
    lengths: Array
    diameter_mm: float
    heterogeneity: float
    irregularity: float

    @property
    def volume_mm3(self) -> float:
        """Volume of the solid without strands, by Simpson's rule over the table."""
        from scipy.integrate import simpson

        polar = np.linspace(0, np.pi, LATITUDES)
        ring = (self.rho**3).mean(axis=1)
        return float(simpson(ring * np.sin(polar), x=polar) * 2 * np.pi / 3)

    @property
    def mean_radius_mm(self) -> float:
        """Radius of the ball of the same volume."""
        return float((3 * self.volume_mm3 / (4 * np.pi)) ** (1 / 3))


def shape_tumour(spec: PhantomSpec, rng: np.random.Generator) -> Tumour:
    """Draws the form: irregularity raises lobulation, spikes and strands; elongation is chance alone."""
    directions = _directions()
    m = spec.margin_irregularity
    ratios = np.array([1.0, rng.uniform(0.80, 0.97), rng.uniform(0.74, 0.94)])
    turn = _random_rotation(rng)
    base = 1 / np.linalg.norm((directions @ turn) / ratios, axis=-1)
    swell = np.zeros(directions.shape[:2])
    for count, sharpness, height in ((12, 8.0, 1.0), (36, 26.0, 0.75)):
        lobes = _unit(rng.normal(size=(count, 3)))
        signs = rng.choice([-1.0, 1.0], count) * rng.uniform(0.4, 1.0, count) * height
        swell += (np.exp(sharpness * (directions @ lobes.T - 1)) * signs).sum(axis=-1)
    spikes = _unit(rng.normal(size=(34, 3)))
    heights = rng.uniform(0.3, 1.0, 34) * (rng.random(34) < 0.25 + 0.75 * m)
    thorns = (np.exp(70 * (directions @ spikes.T - 1)) * heights).max(axis=-1)
    rho = base * (1 + (0.03 + 0.20 * m) * swell + 0.34 * m * thorns)
    rho = np.maximum(rho, 0.35)
    rho *= spec.tumour_diameter_mm / _longest_diameter(rho, directions)
    lengths = (3 + 13 * m * rng.random(34)) * (heights > 0) * m
    return Tumour(rho, spikes, lengths, spec.tumour_diameter_mm, spec.heterogeneity, m)


def place_tumour(
    anatomy: Anatomy,
    spec: PhantomSpec,
    *,
    canvas: Canvas,
    outline: Array,
    radius: float,
    rng: np.random.Generator,
) -> tuple[Array, float]:
    """Centre (x, y, z in mm) in the lobe, touching the pleura or clear of it, and the centre's depth in mm.

    Where the lobe has no room for the tumour, it lies as deep as it can and so reaches into its neighbours.
    """
    from scipy.ndimage import distance_transform_edt

    g = canvas.grid
    stride = [max(1, round(5.0 / s)) for s in g.spacing_zyx_mm]
    picks = tuple(slice(None, None, s) for s in stride)
    coarse = [s * d for s, d in zip(stride, g.spacing_zyx_mm, strict=True)]
    lung = outline[picks] < 0
    depth = distance_transform_edt(lung, sampling=coarse) - 0.5 * min(coarse)
    z, y, x = g.z[picks[0]][:, None, None], g.y[picks[1]][None, :, None], g.x[picks[2]][None, None, :]
    inside = (
        lung & in_lobe(anatomy, spec.tumour_lobe, (x, y, z)) & (z > anatomy.z(-0.05)) & (z < anatomy.z(0.93))
    )
    if not inside.any():
        inside = lung
    low, high = (0.74 * radius, 0.94 * radius) if spec.pleural_contact else (1.05 * radius + 2, 200.0)
    good = inside & (depth >= low) & (depth <= high)
    if not good.any():
        room = depth[inside].max()
        good = inside & (depth >= min(low, 0.93 * room))
    choice = np.argwhere(good)[rng.integers(good.sum())]
    zi, yi, xi = choice
    centre = np.array([x[0, 0, xi], y[0, yi, 0], z[zi, 0, 0]], float)
    return centre + rng.uniform(-0.4, 0.4, 3) * np.array(coarse)[::-1], float(depth[zi, yi, xi])


def in_lobe(anatomy: Anatomy, lobe: str, xyz: tuple[Array, Array, Array]) -> Array:
    """Whether points (x, y, z in mm, broadcastable) lie on the lobe's side of the midline and the fissures."""
    x, y, z = xyz
    above = z > oblique_fissure(anatomy, y)
    side = x < 0 if lobe.startswith("R") else x > 0
    if lobe.endswith("LL"):
        return side & ~above
    if lobe == "LUL":
        return side & above
    high = z > horizontal_fissure(anatomy)
    return side & above & (high if lobe == "RUL" else ~high)


def draw_tumour(canvas: Canvas, tumour: Tumour, centre: Array, *, fields: tuple[Array, Array]) -> Array:
    """Paints the tumour; returns its mask, bool (z, y, x): voxels at least half filled by the solid.

    `fields` are two random fields over the grid, a coarse and a finer one, that shape core and patches.
    """
    reach = float(tumour.rho.max()) + 4
    box = canvas.box(centre - reach, centre + reach)
    if box is None:
        return np.zeros(canvas.grid.shape, bool)
    dx, dy, dz = (b - np.float32(c) for b, c in zip((box.x, box.y, box.z), centre, strict=True))
    r = np.sqrt(dx**2 + dy**2 + dz**2)
    rho = _look_up(tumour.rho, (dx, dy, dz), r)
    distance = r - rho
    m, h = np.float32(tumour.irregularity), np.float32(tumour.heterogeneity)
    coarse, fine = (f[box.slices] for f in fields)
    _draw_strands(canvas, tumour, centre)
    # An irregular margin is also a hazy one: a rim of half-filled lung.
    rim = (
        np.clip(1 - distance / (1.5 + 5 * m), 0, 1) ** 2 * (0.10 + 0.35 * m) * np.clip(0.7 + 0.5 * fine, 0, 1)
    )
    view = canvas.hu[box.slices]
    view += np.where(distance > 0, rim, 0) * np.maximum(20 - view, 0)
    solid = 68 + (5 + 13 * h) * fine
    # The core dies first: well inside, in lobules, the more the higher the heterogeneity.
    alive = r / np.maximum(rho, 1) - (0.10 + 0.72 * h) - 0.13 * coarse
    core = np.clip(0.5 - alive * rho / 4.5, 0, 1) * np.clip(h * 2.2, 0, 1)
    hu = solid * (1 - core) + (12 + 3 * fine) * core
    cover = canvas.cover(distance)
    view += cover * (hu - view)
    mask = np.zeros(canvas.grid.shape, bool)
    mask[box.slices] = distance <= 0
    return mask


def _draw_strands(canvas: Canvas, tumour: Tumour, centre: Array) -> None:
    """Spiculae: thin strands that run on from the spikes into the lung."""
    used = tumour.lengths > 1
    if not used.any():
        return
    d = tumour.spikes[used].astype(np.float32)
    surface = _look_up(tumour.rho, (d[:, 0], d[:, 1], d[:, 2]), np.ones(len(d), np.float32))[:, None]
    starts, ends = centre + 0.85 * surface * d, centre + (surface + tumour.lengths[used][:, None]) * d
    radius = np.full(len(d), 0.8 + 0.9 * tumour.irregularity)
    share = canvas.threads(starts, ends, (radius, 0.45 * radius))
    canvas.hu += share * np.maximum(30 - canvas.hu, 0)


def _look_up(rho: Array, d: tuple[Array, Array, Array], r: Array) -> Array:
    """Radius of the surface in the direction d (any length r), bilinear in the table."""
    dx, dy, dz = d
    v = np.arccos(np.clip(dz / np.maximum(r, np.float32(1e-3)), -1, 1)) / np.float32(np.pi) * (LATITUDES - 1)
    u = (np.arctan2(dy, dx) / np.float32(2 * np.pi)) % 1 * LONGITUDES
    i, j = np.minimum(v.astype(np.int32), LATITUDES - 2), u.astype(np.int32) % LONGITUDES
    fv, fu = v - i, u - np.floor(u)
    k = (j + 1) % LONGITUDES
    table = rho.astype(np.float32)
    low = table[i, j] * (1 - fu) + table[i, k] * fu
    return low * (1 - fv) + (table[i + 1, j] * (1 - fu) + table[i + 1, k] * fu) * fv


def _directions() -> Array:
    """Unit vectors (latitude, longitude, 3)."""
    v = np.linspace(0, np.pi, LATITUDES)[:, None]
    u = np.arange(LONGITUDES)[None, :] / LONGITUDES * 2 * np.pi
    return np.stack([np.sin(v) * np.cos(u), np.sin(v) * np.sin(u), np.cos(v) + 0 * u], axis=-1)


def _longest_diameter(rho: Array, directions: Array) -> float:
    """Largest distance between two points of the surface (about 2 degrees apart).

    Only points that stick out furthest along one of many axes can be its ends, as can be no others.
    """
    from scipy.spatial.distance import pdist

    points = (rho[..., None] * directions).reshape(-1, 3)
    reach = directions[::6, ::6].reshape(-1, 3) @ points.T
    return float(pdist(points[np.unique(reach.argmax(axis=1))]).max())


def _unit(v: Array) -> Array:
    return v / np.linalg.norm(v, axis=-1, keepdims=True)


def _random_rotation(rng: np.random.Generator) -> Array:
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    return q * np.sign(np.diag(r))
