"""Lungs: outline, parenchyma, fissures, and branching arteries, veins and bronchi."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flexict_core.phantom.anatomy import Anatomy
from flexict_core.phantom.canvas import Array, Canvas, blend
from flexict_core.phantom.mediastinum import Landmarks

PARENCHYMA_HU = -868.0
TIP_RADIUS_MM = 0.56


@dataclass(frozen=True)
class Tree:
    """Straight pieces: starts and ends (n, 3; x, y, z in mm) and their radii (n,), from the root outwards."""

    starts: Array
    ends: Array
    radius: tuple[Array, Array]


def draw_parenchyma(
    canvas: Canvas, anatomy: Anatomy, outline: Array, *, texture: Array, bullae: Array
) -> Array:
    """Air-filled lung inside the outline (signed distance, z, y, x). Returns the lungs' share of each voxel.

    The lower-lying back is denser; emphysema lowers the density in patches, most in the upper lobes.
    """
    g = canvas.grid
    t = anatomy.t(g.z)[:, None, None].astype(np.float32)
    hu = 14 * texture
    hu += PARENCHYMA_HU + (30 * (g.y / anatomy.depth))[None, :, None].astype(np.float32) - 8 * t
    loss = bullae + (np.float32(3.2 * anatomy.emphysema - 1.9) + 0.6 * t)
    hu -= 78 * np.clip(loss, 0, 1, out=loss)
    _add_fissures(canvas, anatomy, hu)
    cover = canvas.cover(outline)
    blend(canvas.hu, cover, hu)
    return cover


def oblique_fissure(anatomy: Anatomy, y: Array) -> Array:
    """Height in mm of the surface that parts the lower lobe from those above, falling to the front."""
    return anatomy.z(0.37) + 0.0043 * anatomy.lung_height * y


def horizontal_fissure(anatomy: Anatomy) -> float:
    """Height in mm of the surface between the right upper and middle lobes."""
    return anatomy.z(0.45)


def _add_fissures(canvas: Canvas, anatomy: Anatomy, hu: Array) -> None:
    """Brightens the few voxels that the thin surfaces between the lobes pass through, in place."""
    g = canvas.grid
    bow = 0.0006 * g.x[None, :] ** 2
    oblique = oblique_fissure(anatomy, g.y[:, None]) - bow
    flat = np.where(g.x[None, :] < 0, horizontal_fissure(anatomy) + 4 * bow / 3, -np.inf)
    flat = np.where(flat > oblique, flat, -np.inf)  # it ends where it meets the oblique one
    dz, yx = g.spacing_zyx_mm[0], np.indices(oblique.shape)
    for surface in (oblique, flat):
        lowest = np.floor((np.maximum(surface, -99) - g.z[0]) / dz).astype(int)
        for offset in range(-1, 3):
            level = lowest + offset
            inside = (level >= 0) & (level < len(g.z))
            height = np.abs(level[inside] * dz + g.z[0] - surface[inside])
            hu[level[inside], yx[0][inside], yx[1][inside]] += 95 * np.clip(1 - height / 1.9, 0, 1)


def draw_vessels(
    canvas: Canvas,
    marks: Landmarks,
    *,
    interior: Array,
    cover: Array,
    blood_hu: float,
    rng: np.random.Generator,
) -> None:
    """Arteries and veins from the hila to all parts of the lungs, with the larger bronchi beside the arteries.

    `interior` lists voxel centres (n, 3; x, y, z in mm) inside the lungs.
    """
    arteries, bronchi, veins = [], [], []
    for side in ("R", "L"):
        half = interior[(interior[:, 0] < 0) if side == "R" else (interior[:, 0] > 0)]
        if len(half) < 50:
            continue
        tips = half[rng.integers(0, len(half), 800)] + rng.uniform(-1, 1, (800, 3))
        arteries.append(grow_tree(marks.artery[side], tips, rng))
        airways = grow_tree(marks.bronchus[side], tips[:60] + np.array([0, 2.5, 0]), rng, tip_radius=0.85)
        bronchi.append(airways)
        tips = half[rng.integers(0, len(half), 600)] + rng.uniform(-1, 1, (600, 3))
        veins.append(grow_tree(marks.vein[side], tips, rng))
    # Veins and arteries take contrast unlike each other; thin ones lose it to partial volume by themselves.
    for trees, hu in ((veins, blood_hu - 15), (arteries, blood_hu + 5)):
        _draw_tree(canvas, _join(trees), hu, cover)
    _draw_bronchi(canvas, _join(bronchi))


def grow_tree(
    root: Array, tips: Array, rng: np.random.Generator, *, tip_radius: float = TIP_RADIUS_MM
) -> Tree:
    """Tree from the root to every tip (n, 3), made by halving groups of tips again and again.

    Each group gets one straight piece from its parent's end to about half-way to the group's middle, and is cut
    across the direction of its outermost tip. Radii follow Murray's law: the cube of a trunk's radius is the sum
    of its branches' cubes.
    """
    group = np.zeros(len(tips), int)
    node, before = np.asarray(root, float)[None, :], np.full(1, np.inf)
    starts, ends, first, last = [], [], [], []
    while len(tips):
        count = np.bincount(group)
        middle = np.stack([np.bincount(group, tips[:, i]) for i in range(3)], axis=1) / count[:, None]
        radius, leaf = tip_radius * count ** (1 / 3), count == 1
        way = middle - node
        bend = rng.normal(0, 0.03, way.shape) * np.linalg.norm(way, axis=1, keepdims=True)
        end = node + rng.uniform(0.42, 0.58, (len(count), 1)) * way + bend
        end[leaf] = middle[leaf]
        starts.append(node)
        ends.append(end)
        first.append(np.minimum(before, 1.25 * radius))
        last.append(np.where(leaf, 0.55 * radius, radius))
        branch = 2 * group + _halves(group, count, tips - middle[group], rng)
        more = ~leaf[group]
        tips, branch = tips[more], branch[more]
        parents, group = np.unique(branch, return_inverse=True)
        node, before = end[parents // 2], radius[parents // 2]
    return Tree(np.concatenate(starts), np.concatenate(ends), (np.concatenate(first), np.concatenate(last)))


def _halves(group: Array, count: Array, spread: Array, rng: np.random.Generator) -> Array:
    """0 or 1 for each tip (n,): its side of the cut, which leaves 38 to 62 % of its group on side 0."""
    by_reach = np.lexsort((np.einsum("ij,ij->i", spread, spread), group))
    outermost = spread[by_reach[np.cumsum(count) - 1]]
    order = np.lexsort((np.einsum("ij,ij->i", spread, outermost[group]), group))
    rank = np.empty(len(group), int)
    rank[order] = np.arange(len(group)) - (np.cumsum(count) - count)[group[order]]
    cut = np.clip(np.rint(count * rng.uniform(0.38, 0.62, len(count))), 1, np.maximum(count - 1, 1))
    return (rank >= cut[group]).astype(int)


def _join(trees: list[Tree]) -> Tree:
    return Tree(
        np.concatenate([t.starts for t in trees]),
        np.concatenate([t.ends for t in trees]),
        (np.concatenate([t.radius[0] for t in trees]), np.concatenate([t.radius[1] for t in trees])),
    )


def _draw_tree(canvas: Canvas, tree: Tree, hu: float, cover: Array) -> None:
    """Thick pieces as capsules, thin ones as threads; nothing outside the lungs but the roots."""
    thick = np.maximum(*tree.radius) > 0.9 * canvas.softness_mm
    share = canvas.threads(
        tree.starts[~thick], tree.ends[~thick], (tree.radius[0][~thick], tree.radius[1][~thick])
    )
    blend(canvas.hu, share * cover, hu)
    for i in np.flatnonzero(thick):
        points = np.stack([tree.starts[i], tree.ends[i]])
        for part in canvas.tube(points, [float(tree.radius[0][i]), float(tree.radius[1][i])]):
            canvas.paint(part, hu)


def _draw_bronchi(canvas: Canvas, tree: Tree) -> None:
    wide = np.flatnonzero(np.minimum(*tree.radius) > 1.4)
    parts = [
        part
        for i in wide
        for part in canvas.tube(
            np.stack([tree.starts[i], tree.ends[i]]), [float(tree.radius[0][i]), float(tree.radius[1][i])]
        )
    ]
    for part in parts:
        canvas.paint(part.grown(0.8), -150.0, opacity=0.6)
    for part in parts:
        canvas.paint(part, -960.0)
