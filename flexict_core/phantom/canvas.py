"""The sheet that a phantom is drawn on: a voxel grid in mm, soft-edged shapes, smooth random fields.

Shapes are signed distances in mm, negative inside (Quilez, "distance functions"). A voxel that an edge cuts
takes a share of both tissues, as in a scanner: partial volume, so no stair-steps at 2 mm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

Array = np.ndarray
Point = Sequence[float] | np.ndarray  # x, y, z in mm


@dataclass(frozen=True)
class Grid:
    """Voxel centres in mm: x to the patient's left, y to posterior, z to superior (LPS)."""

    x: Array
    y: Array
    z: Array

    @property
    def shape(self) -> tuple[int, int, int]:
        """(z, y, x)."""
        return len(self.z), len(self.y), len(self.x)

    @property
    def spacing_zyx_mm(self) -> tuple[float, float, float]:
        return tuple(float(axis[1] - axis[0]) for axis in (self.z, self.y, self.x))  # type: ignore[return-value]

    @property
    def affine(self) -> Array:
        """Index (x, y, z) to LPS mm, 4 x 4."""
        dz, dy, dx = self.spacing_zyx_mm
        affine = np.diag([dx, dy, dz, 1.0])
        affine[:3, 3] = self.x[0], self.y[0], self.z[0]
        return affine

    @classmethod
    def centred(cls, shape: tuple[int, int, int], spacing_zyx_mm: tuple[float, float, float]) -> Grid:
        """x and y symmetric about 0, z from 0 upwards."""
        (nz, ny, nx), (dz, dy, dx) = shape, spacing_zyx_mm
        x = (np.arange(nx) - (nx - 1) / 2) * dx
        y = (np.arange(ny) - (ny - 1) / 2) * dy
        return cls(x.astype(np.float32), y.astype(np.float32), (np.arange(nz) * dz).astype(np.float32))


@dataclass(frozen=True)
class Box:
    """A sub-block of the grid with coordinates that broadcast to (z, y, x)."""

    slices: tuple[slice, slice, slice]
    z: Array
    y: Array
    x: Array


@dataclass
class Shape:
    """Signed distance in mm (negative inside) within a box; +inf outside of it is understood."""

    box: Box
    distance: Array

    def grown(self, mm: float) -> Shape:
        return Shape(self.box, self.distance - np.float32(mm))


@dataclass
class Canvas:
    """HU values (z, y, x) on a grid, starting as air."""

    grid: Grid
    hu: Array = field(init=False)

    def __post_init__(self) -> None:
        self.hu = np.full(self.grid.shape, -1000.0, np.float32)
        # The edge's width: about one voxel, whichever way the edge runs.
        self.softness_mm = np.float32(np.prod(self.grid.spacing_zyx_mm) ** (1 / 3))

    def box(self, low: Point, high: Point) -> Box | None:
        """Voxels between two corners (x, y, z in mm); None when the box lies off the grid."""
        slices = []
        for axis, a, b in zip((self.grid.x, self.grid.y, self.grid.z), low, high, strict=True):
            start, stop = int(np.searchsorted(axis, a)), int(np.searchsorted(axis, b, side="right"))
            if start >= stop:
                return None
            slices.append(slice(start, stop))
        sx, sy, sz = slices
        g = self.grid
        return Box((sz, sy, sx), g.z[sz][:, None, None], g.y[sy][None, :, None], g.x[sx][None, None, :])

    def cover(self, distance: Array) -> Array:
        """Share of each voxel that lies inside a shape, from its signed distance in mm."""
        return np.clip(np.float32(0.5) - distance / self.softness_mm, 0, 1)

    def paint(self, shape: Shape | None, hu: float | Array, *, opacity: float | Array = 1.0) -> None:
        """Lay a tissue of `hu` over what is there; `opacity` below 1 lets it shine through."""
        if shape is not None:
            blend(self.hu[shape.box.slices], self.cover(shape.distance) * np.float32(opacity), hu)

    def ellipsoid(self, centre: Point, radii: Point, *, axes: Array | None = None) -> Shape | None:
        """Ellipsoid with its centre and radii in mm; `axes` holds its unit axes as rows (x, y, z)."""
        c, size = np.asarray(centre, float), np.asarray(radii, float)
        reach = size if axes is None else size.max()
        box = self.box(c - reach - 5, c + reach + 5)
        if box is None:
            return None
        p = [b - np.float32(v) for b, v in zip((box.x, box.y, box.z), c, strict=True)]
        if axes is not None:
            p = [sum(np.float32(a) * q for a, q in zip(row, p, strict=True)) for row in axes]  # type: ignore[misc]
        r = [np.float32(v) for v in radii]
        k0 = np.sqrt(sum((q / v) ** 2 for q, v in zip(p, r, strict=True)))
        k1 = np.sqrt(sum((q / (v * v)) ** 2 for q, v in zip(p, r, strict=True)))
        return Shape(box, k0 * (k0 - 1) / np.maximum(k1, np.float32(1e-6)))

    def tube(self, points: Array, radii: Sequence[float] | float) -> list[Shape]:
        """A polyline (n, 3; x, y, z in mm) with a radius at each point: one tapered capsule a segment."""
        points = np.asarray(points, float)
        r = np.broadcast_to(np.asarray(radii, float), (len(points),))
        parts = (
            self._capsule(points[i], points[i + 1], (float(r[i]), float(r[i + 1])))
            for i in range(len(points) - 1)
        )
        return [part for part in parts if part is not None]

    def _capsule(self, a: Array, b: Array, radii: tuple[float, float]) -> Shape | None:
        ra, rb = radii
        reach = max(ra, rb) + 5
        box = self.box(np.minimum(a, b) - reach, np.maximum(a, b) + reach)
        if box is None:
            return None
        ab = (b - a).astype(np.float32)
        px, py, pz = box.x - np.float32(a[0]), box.y - np.float32(a[1]), box.z - np.float32(a[2])
        t = np.clip((px * ab[0] + py * ab[1] + pz * ab[2]) / np.float32(max(float(ab @ ab), 1e-6)), 0, 1)
        d = np.sqrt((px - t * ab[0]) ** 2 + (py - t * ab[1]) ** 2 + (pz - t * ab[2]) ** 2)
        return Shape(box, d - (np.float32(ra) + np.float32(rb - ra) * t))

    def threads(self, starts: Array, ends: Array, radii: tuple[Array, Array]) -> Array:
        """Share of each voxel (z, y, x) filled by threads thinner than a voxel, n straight pieces in mm.

        Points along each piece carry its cross-section's volume and are shared among the eight voxels around.
        """
        lengths = np.linalg.norm(ends - starts, axis=1)
        step = 0.5 * min(self.grid.spacing_zyx_mm)
        counts = np.maximum(np.ceil(lengths / step).astype(int), 1)
        piece = np.repeat(np.arange(len(starts)), counts)
        t = (np.arange(len(piece)) - np.repeat(np.cumsum(counts) - counts, counts) + 0.5) / counts[piece]
        points = starts[piece] + t[:, None] * (ends - starts)[piece]
        radius = radii[0][piece] + t * (radii[1] - radii[0])[piece]
        volume = np.pi * radius**2 * (lengths / counts)[piece]
        return self._splat(points, volume / float(np.prod(self.grid.spacing_zyx_mm)))

    def _splat(self, points: Array, weights: Array) -> Array:
        g, shape = self.grid, self.grid.shape
        spacing = np.array(g.spacing_zyx_mm)[::-1]
        position = (points - np.array([g.x[0], g.y[0], g.z[0]])) / spacing
        base = np.floor(position).astype(int)
        inside = np.all((base >= 0) & (base + 1 < np.array(shape)[::-1]), axis=1)
        base, part, weights = base[inside], (position - base)[inside], weights[inside]
        index, weight = [], []
        for corner in np.ndindex(2, 2, 2):
            i = base + np.array(corner)
            index.append((i[:, 2] * shape[1] + i[:, 1]) * shape[2] + i[:, 0])
            weight.append(weights * np.prod(np.where(np.array(corner) == 1, part, 1 - part), axis=1))
        flat = np.bincount(np.concatenate(index), np.concatenate(weight), minlength=int(np.prod(shape)))
        return np.clip(flat, 0, 1).astype(np.float32).reshape(shape)


def blend(target: Array, cover: Array, hu: float | Array) -> None:
    """Mix `hu` into `target` in place by the share of each voxel that it covers."""
    target += cover * (hu - target)


def union(shapes: Sequence[Shape], into: Array, *, fillet_mm: float) -> None:
    """Lower `into`, a signed distance over the whole grid (z, y, x), to the shapes; notches are rounded out."""
    k = np.float32(fillet_mm)
    for shape in shapes:
        view = into[shape.box.slices]
        near = np.maximum(k - np.abs(view - shape.distance), 0)
        np.minimum(view, shape.distance, out=view)
        view -= near * near / (4 * k)


def smooth_field(grid: Grid, scale_mm: float, rng: np.random.Generator) -> Array:
    """Random field (z, y, x) of mean 0 and SD about 1 that varies over about `scale_mm`."""
    axes = (grid.z, grid.y, grid.x)
    counts = [max(int(np.ceil((a[-1] - a[0]) / scale_mm)) + 4, 5) for a in axes]
    low = rng.standard_normal(counts, dtype=np.float32)
    wz, wy, wx = (_spline_weights(axis, scale_mm, count) for axis, count in zip(axes, counts, strict=True))
    rows = np.matmul(wy, np.tensordot(wz, low, axes=1)).reshape(-1, counts[2])
    return (rows @ np.ascontiguousarray(wx.T)).reshape(grid.shape)


def _spline_weights(axis: Array, scale_mm: float, count: int) -> Array:
    """Cubic B-spline weights (n, count), each row scaled to unit norm so that the field's SD stays 1."""
    u = (axis - axis[0]) / scale_mm + 1.5
    d = np.abs(u[:, None] - np.arange(count)[None, :])
    w = np.where(d < 1, 2 / 3 - d**2 + d**3 / 2, np.where(d < 2, (2 - d) ** 3 / 6, 0))
    return (w / np.sqrt((w**2).sum(axis=1, keepdims=True))).astype(np.float32)
