"""Skin, fat, muscle and bone around the lungs, and the table below."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flexict_core.phantom.anatomy import AXIS_Y_MM, Anatomy, bump, polar, step, table_angles
from flexict_core.phantom.canvas import Array, Canvas, Shape, blend

SKIN_MM, WALL_MM = 2.2, 12.0
FAT_HU, MUSCLE_HU, SKIN_HU = -102.0, 56.0, 15.0


@dataclass(frozen=True)
class Wall:
    """Radii (z, angle) in mm from the polar axis, outwards: pleura, outer face of the muscles, skin."""

    pleura: Array
    muscle: Array
    skin: Array
    axilla: Array


def wall_radii(anatomy: Anatomy, pleura: Array, z: Array) -> Wall:
    """Muscle and fat laid on the inner chest wall; the back is flattened by the table."""
    from scipy.ndimage import gaussian_filter

    t, angle = anatomy.t(z)[:, None], table_angles()[None, :]
    side = np.abs(angle)
    upper = step(t, 0.42, 0.14)
    axilla = 15 * bump(side, 84, 17) * upper * (0.6 + 0.4 * step(t, 0.62, 0.1)) * (1 + 0.02 * anatomy.fat)
    muscle = (
        4
        + 17 * bump(side, 36, 20) * bump(t, 0.68, 0.25) * (0.7 if anatomy.female else 1.0)
        + 9 * bump(side, 98, 26)
        + 13 * bump(side, 116, 13) * bump(t, 0.5, 0.25)
        + 30 * bump(side, 130, 17) * step(t, 0.45, 0.16)
        + 27 * bump(side, 164, 13)
        + 17 * bump(side, 180, 7)
    )
    outer = pleura + WALL_MM + muscle * anatomy.muscle + axilla
    shoulders = _ellipse_radius(angle, 1.34 * anatomy.half_width, 66 + 0.3 * anatomy.fat, 96)
    blend_in = step(t, 0.84, 0.3)
    outer = outer + blend_in * np.maximum(shoulders - outer, 0)
    belly = 1 + 0.5 * bump(side, 100, 40) * (1 - step(t, 0.3, 0.3)) - 0.25 * bump(side, 165, 30)
    breast = anatomy.breast * bump(side, 40, 15) * bump(t, 0.33, 0.15)
    skin = gaussian_filter(outer, (4.0, 14.0), mode=("nearest", "wrap"))
    skin = np.maximum(skin, outer) + anatomy.fat * belly + SKIN_MM + breast
    back = anatomy.depth + 45 + 0.45 * anatomy.fat - AXIS_Y_MM
    flat = back / np.maximum(-np.cos(np.radians(angle)), 0.05)
    skin = _soft_minimum(gaussian_filter(skin, (1.5, 4.0), mode=("nearest", "wrap")), flat, 7.0)
    outer = np.minimum(outer, skin - SKIN_MM - 2.5)
    return Wall(*(a.astype(np.float32) for a in (pleura, outer, skin, axilla)))


def draw_wall(canvas: Canvas, wall: Wall, *, texture: Array, coarse: Array) -> Array:
    """Body with skin, fat and muscle; the chest is filled with fat.

    Returns the distance outside the inner chest wall (z, y, x), mm. Where the field `coarse` changes sign, fat
    parts one muscle from the next.
    """
    radius, index = polar(canvas.grid)
    pleura = np.empty(canvas.grid.shape, np.float32)
    for first in range(0, len(pleura), 8):  # a few slices at a time stay in the processor's cache
        part = slice(first, first + 8)
        # Signed distances (z, y, x), negative inside each surface.
        tables = (wall.skin, wall.muscle, wall.pleura)
        skin, muscle, inner = (radius - np.take(table[part], index, axis=1) for table in tables)
        gap = np.take(wall.axilla[part], index, axis=1)
        pleura[part] = inner
        hu, noise = canvas.hu[part], texture[part]
        blend(hu, canvas.cover(skin), SKIN_HU)
        # Thin strands of connective tissue run through the fat.
        blend(hu, canvas.cover(skin + SKIN_MM), FAT_HU + 8 * noise + 55 * np.clip(np.abs(noise) - 2, 0, 1))
        septa = np.clip(1.3 - np.abs(coarse[part]) / 0.16, 0, 1)
        septa *= np.clip((inner - WALL_MM - 5) / 5, 0, 1) * np.clip(-muscle / 3 - 0.8, 0, 1)
        blend(hu, canvas.cover(muscle), MUSCLE_HU + 7 * noise - 125 * septa)
        # The fat plane between the ribs' layer and the muscles of shoulder and back opens into the armpit.
        plane = inner - (WALL_MM - 1 + 1.2 * noise)
        layer = np.maximum(np.maximum(-plane, plane - 1.3 - gap), muscle + 3)
        blend(hu, canvas.cover(layer), FAT_HU + 10 * noise)
        blend(hu, canvas.cover(inner), FAT_HU + 6 * noise)
    return pleura


def draw_glands(canvas: Canvas, anatomy: Anatomy, *, wall: Wall, texture: Array) -> None:
    """Glandular strands within the fat of the breasts."""
    if anatomy.breast <= 0:
        return
    row = int(np.argmin(np.abs(canvas.grid.z - anatomy.z(0.33))))
    for side in (-1, 1):
        angle = np.radians(40 * side)
        column = int((np.degrees(angle) + 180) * 2) % wall.skin.shape[1]
        reach = 0.5 * (wall.muscle[row, column] + wall.skin[row, column]) + 2
        centre = (reach * np.sin(angle), AXIS_Y_MM - reach * np.cos(angle), anatomy.z(0.33))
        size = anatomy.breast
        shape = canvas.ellipsoid(centre, (0.85 * size + 6, 0.42 * size + 3, 0.8 * size + 6))
        if shape is not None:
            noise, body = texture[shape.box.slices], canvas.hu[shape.box.slices] > -250
            canvas.paint(shape, 25.0, opacity=np.clip(0.25 + 0.5 * noise, 0, 0.85) * body)


def draw_ribs(canvas: Canvas, anatomy: Anatomy, *, pleura: Array, texture: Array) -> None:
    """Rings that slope down towards the front: bone to the side, cartilage near the breastbone.

    `pleura` is the distance outside the inner chest wall (z, y, x), mm.
    """
    _, index = polar(canvas.grid)
    shape = canvas.grid.shape
    flat = pleura.reshape(shape[0], -1)
    t = anatomy.t(canvas.grid.z)
    x = np.broadcast_to(canvas.grid.x, shape[1:]).ravel()
    rows, columns = np.nonzero(
        (flat > -1) & (flat < WALL_MM) & (t < 1.0)[:, None] & (np.abs(x) > 17)[None, :]
    )
    angle = np.abs(table_angles())[index.ravel()[columns]]
    z = canvas.grid.z[rows]
    spacing = anatomy.lung_height / 7.3
    drop = 4.3 * spacing * (1 - np.cos(np.radians(180 - angle))) / 2
    drop = drop - 1.5 * spacing * np.clip((45 - angle) / 45, 0, 1) ** 1.5  # cartilage climbs to the sternum
    v = (z + drop - anatomy.z(1.0)) / spacing
    v = (v - np.round(v)) * spacing
    u = flat[rows, columns] - 5.2
    ring = np.hypot(u / 3.6, v / 6.4)
    distance = (ring - 1) * np.hypot(u, v) / np.maximum(ring, 1e-3)
    cartilage = step(-angle, -38, 6)
    noise = texture.reshape(shape[0], -1)[rows, columns]
    hu = canvas.hu.reshape(shape[0], -1)
    cell = hu[rows, columns]
    cell = cell + canvas.cover(distance) * ((1 - cartilage) * 950 + cartilage * 130 - cell)
    marrow = canvas.cover(distance + 1.6) * (1 - cartilage)
    hu[rows, columns] = cell + marrow * (230 + 60 * noise - cell)


def draw_sternum(canvas: Canvas, anatomy: Anatomy) -> None:
    """Body and manubrium of the breastbone, and the collar bones."""
    box = canvas.box((-34, -140, anatomy.z(0.12)), (34, 20, anatomy.z(0.9)))
    if box is None:
        return
    t = anatomy.t(box.z)
    y = box.y - (anatomy.front_y(t).astype(np.float32) - 6.5)
    width = 15 + 11 * step(t, 0.76, 0.05)
    ring = np.hypot(box.x / width, y / 6.0)
    ends = np.maximum(anatomy.z(0.14) - box.z, box.z - anatomy.z(0.88))
    joint = 2.5 - np.abs(box.z - anatomy.z(0.73))
    distance = np.maximum(np.maximum((ring - 1) * 7, ends), joint).astype(np.float32)
    canvas.paint(Shape(box, distance), 520.0)
    canvas.paint(Shape(box, distance + 2.2), 140.0)
    for side in (-1, 1):
        front = float(anatomy.front_y(0.88))
        points = np.array(
            [
                [24 * side, front - 10, anatomy.z(0.88)],
                [70 * side, front - 12, anatomy.z(0.97)],
                [120 * side, front + 22, anatomy.z(1.05)],
            ]
        )
        bone = canvas.tube(points, [7.0, 5.5, 6.0])
        for part in bone:
            canvas.paint(part, 850.0)
        for part in bone:
            canvas.paint(part.grown(-2.2), 260.0)
        head = canvas.ellipsoid((1.13 * anatomy.half_width * side, 30, anatomy.z(1.03)), (22, 23, 24))
        if head is not None:
            canvas.paint(head.grown(5), -60.0, opacity=0.6)
            canvas.paint(head, 620.0)
            canvas.paint(head.grown(-2.5), 190.0)


def draw_scapulae(canvas: Canvas, anatomy: Anatomy, pleura: Array) -> None:
    """Shoulder blades: thin plates behind the ribs, thick at the outer border, each with its spine."""
    _, index = polar(canvas.grid)
    shape = canvas.grid.shape
    flat = pleura.reshape(shape[0], -1)
    t = anatomy.t(canvas.grid.z)
    rows, columns = np.nonzero((flat > 12) & (flat < 46) & ((t > 0.4) & (t < 1.06))[:, None])
    angle = np.abs(table_angles())[index.ravel()[columns]]
    u, level = flat[rows, columns], t[rows]
    arc = np.radians(1) * (u + 0.9 * anatomy.half_width)  # mm an angle of one degree spans
    outer_edge, inner_edge = 114 - 8 * (level - 0.4), 128 + 20 * np.clip((level - 0.4) / 0.3, 0, 1)
    depth_in = 20 + 0.22 * (angle - 112) + 2.0 * bump(angle, 132, 8)
    thick = 1.3 + 3.4 * bump(angle, 116, 4) + 0.8 * bump(angle, 150, 4)
    plate = np.maximum(np.abs(u - depth_in) - thick, arc * np.maximum(outer_edge - angle, angle - inner_edge))
    ridge = np.maximum(
        np.abs((level - 0.8) * anatomy.lung_height - 1.3 * (angle - 128)) - 5.0, np.abs(u - 31) - 9
    )
    ridge = np.maximum(ridge, arc * np.maximum(outer_edge - angle, angle - inner_edge + 6))
    distance = np.minimum(plate, ridge)
    hu = canvas.hu.reshape(shape[0], -1)
    cell = hu[rows, columns]
    cell = cell + canvas.cover(distance) * (800 - cell)
    hu[rows, columns] = cell + canvas.cover(distance + 2.4) * (250 - cell)


def draw_table(canvas: Canvas, wall: Wall) -> None:
    """A curved carbon table: two thin shells with foam between them."""
    lowest = AXIS_Y_MM + float(wall.skin[:, [0, -1]].max()) + 3
    x, y = canvas.grid.x[None, :], canvas.grid.y[:, None]
    top = lowest - 0.00055 * x**2 - y  # negative below the table's upper face
    base = lowest + 22 - 0.0016 * x**2 - y
    edge = np.abs(x) - 190
    foam = np.maximum(np.maximum(top, -base), edge)
    shell = np.maximum(np.minimum(np.abs(top), np.abs(base)) - 0.6, edge)
    first = int(np.flatnonzero((foam < 3).any(axis=1))[0])
    view = canvas.hu[:, first:]
    free = view < -950
    for distance, hu in ((foam, -960.0), (shell, -420.0)):
        blend(view, canvas.cover(distance[first:].astype(np.float32)) * free, hu)


def _ellipse_radius(angle: Array, half_width: float, front: float, back: float) -> Array:
    """Distance from the polar axis to a rounded oblong about it with unlike front and back halves."""
    a = np.radians(angle)
    depth = np.where(np.abs(angle) < 90, front, back)
    power = 2.7
    return ((np.abs(np.sin(a)) / half_width) ** power + (np.abs(np.cos(a)) / depth) ** power) ** (-1 / power)


def _soft_minimum(a: Array, b: Array, width: float) -> Array:
    return -width * np.logaddexp(-a / width, -b / width)
