"""Heart, great vessels, windpipe, gullet and spine: what lies between the lungs and pushes them aside."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from flexict_core.phantom.anatomy import Anatomy
from flexict_core.phantom.canvas import Array, Canvas, Shape

MYOCARDIUM_HU, LUMEN_HU, AIRWAY_WALL_HU = 105.0, -985.0, 20.0


Adder = Callable[..., None]  # (shapes, hu, *, margin=None)


@dataclass(frozen=True)
class Landmarks:
    """Points (x, y, z) in mm from which vessels and airways start into the lungs."""

    carina: Array
    artery: dict[str, Array]
    vein: dict[str, Array]
    bronchus: dict[str, Array]
    descending_aorta: Array
    aorta_radius: float


@dataclass
class Mediastinum:
    """Shapes in the order in which they are painted, each with its HU, and all that the lungs must spare."""

    painted: list[tuple[Shape, float]]
    spared: list[Shape]
    landmarks: Landmarks

    def paint(self, canvas: Canvas) -> None:
        for shape, hu in self.painted:
            canvas.paint(shape, hu)


def build_mediastinum(canvas: Canvas, anatomy: Anatomy, rng: np.random.Generator) -> Mediastinum:
    """Places every organ; nothing is painted yet, since the lungs come first."""
    marks = _landmarks(anatomy, rng)
    painted: list[tuple[Shape, float]] = []
    spared: list[Shape] = []

    def add(shapes: Iterable[Shape | None], hu: float, *, margin: float | None = None) -> None:
        for shape in shapes:
            if shape is None:
                continue
            painted.append((shape, hu))
            if margin is not None:
                spared.append(shape.grown(margin))

    _add_heart(canvas, anatomy, add)
    for points, radii, hu, margin in _vessels(anatomy, marks, rng):
        add(canvas.tube(points, radii), hu, margin=margin)
    _add_airways(canvas, anatomy, marks, add)
    return Mediastinum(painted, spared, marks)


def _landmarks(anatomy: Anatomy, rng: np.random.Generator) -> Landmarks:
    z, h = anatomy.z, anatomy.heart
    carina = np.array([3.0, 20.0, z(0.62)]) + rng.normal(0, 1.5, 3)

    def from_carina(x: float, y: float, up: float) -> Array:
        return carina + np.array([x, y, up])

    artery = {"R": from_carina(-38 * h, -10, -24), "L": from_carina(38 * h, 2, -8)}
    vein = {"R": from_carina(-34 * h, -8, -42), "L": from_carina(36 * h, 2, -40)}
    bronchus = {"R": from_carina(-34, 2, -26), "L": from_carina(38, 8, -32)}
    aorta = np.array([27 * h, float(anatomy.spine_y(0.4)) - 18, z(0.4)])
    return Landmarks(carina, artery, vein, bronchus, aorta, 12.0 * h + rng.normal(0, 0.7))


def _add_heart(canvas: Canvas, anatomy: Anatomy, add: Adder) -> None:
    h, blood = anatomy.heart, anatomy.blood_hu
    floor = anatomy.z(0.0)
    # The heart's long axis points to the left, forwards and down.
    long = np.array([0.72, -0.52, -0.46])
    long /= np.linalg.norm(long)
    second = np.cross(long, [0.0, 0.0, 1.0])
    second /= np.linalg.norm(second)
    axes = np.stack([long, second, np.cross(long, second)])
    y0 = 0.42 * float(anatomy.front_y(0.1))
    base = np.array([18.0 * h, y0, floor + 36 * h])

    def part(offset: tuple[float, float, float], radii: tuple[float, float, float]) -> Shape | None:
        return canvas.ellipsoid(base + np.array(offset) * h, np.array(radii) * h, axes=axes)

    sac = part((2, 0, 0), (66, 50, 46))
    right_atrium = canvas.ellipsoid(base + np.array([-47, 14, 4]) * h, np.array([25, 27, 34]) * h)
    left_atrium = canvas.ellipsoid(base + np.array([-8, 37, 20]) * h, np.array([36, 22, 24]) * h)
    add([sac], -80.0, margin=1.5)  # fat under the pericardium
    add([part((4, 2, 0), (58, 43, 40))], MYOCARDIUM_HU)
    add([part((20, 10, 0), (38, 23, 25))], blood)  # left ventricle
    add([part((-2, -20, -3), (45, 17, 26))], blood - 12)  # right ventricle
    add([right_atrium], blood - 15, margin=2.5)
    add([left_atrium], blood - 3, margin=2.0)
    vena_cava = np.array([[-24 * h, 14, floor - 45], [-26 * h, 12, floor + 16]])
    add(canvas.tube(vena_cava, 12 * h), blood - 45, margin=2.0)


def _vessels(
    anatomy: Anatomy, marks: Landmarks, rng: np.random.Generator
) -> list[tuple[Array, list[float], float, float]]:
    """Centre lines (n, 3) mm, radii mm, HU and the margin of fat around each."""
    h, blood, z = anatomy.heart, anatomy.blood_hu, anatomy.z
    c, r = marks.carina, marks.aorta_radius

    def spine(t: float) -> float:
        return float(anatomy.spine_y(t))

    front = float(anatomy.front_y(0.5))
    root = z(0.0) + 66 * h
    arch = c[2] + 26
    ascending_y = 0.40 * front
    aorta = np.array(
        [
            [2, ascending_y + 4, root],
            [-14, ascending_y, root + 22],
            [-15, ascending_y + 4, arch - 16],
            [-6, ascending_y + 14, arch - 3],
            [8, 6, arch],
            [20, 26, arch - 6],
            [26 * h, spine(0.6) - 20, arch - 24],
            [27 * h, spine(0.4) - 18, z(0.4)],
            [22 * h, spine(0.15) - 22, z(0.15)],
            [8, spine(-0.2) - 28, -5],
        ]
    )
    trunk = np.array(
        [
            [24 * h, front * 0.62, root - 2],
            [25 * h, front * 0.42, root + 20],
            [20, -2, c[2] - 16],
            [12, 3, c[2] - 20],
        ]
    )
    right_pa = np.array([[14, 2, c[2] - 19], [-12, -2, c[2] - 21], marks.artery["R"]])
    hilum = marks.artery["L"] + np.array([4, 6, -8])
    left_pa = np.array([[20, -2, c[2] - 15], [34 * h, 10, c[2] - 8], hilum])
    cava = np.array([[-27 * h, -12, root - 8], [-28, -13, c[2]], [-27, -14, arch + 22]])
    top = anatomy.height + 5
    y_top = float(anatomy.spine_y(1.05)) - 30
    jitter = rng.normal(0, 1.5, 3)
    brachiocephalic = np.array([[-2, 0, arch + 6], [-14 + jitter[0], -2, arch + 30], [-22, y_top, top]])
    carotid = np.array([[8, 6, arch + 6], [14 + jitter[1], 6, arch + 30], [20, y_top + 4, top]])
    subclavian = np.array([[18, 20, arch + 2], [26 + jitter[2], 22, arch + 30], [36, y_top + 14, top]])
    veins_hu = blood + rng.normal(5, 30)
    return [
        (
            aorta,
            [r * 1.25, r * 1.28, r * 1.25, r * 1.15, r * 1.1, r * 1.05, r, r, r, r * 0.95],
            blood + 5,
            2.0,
        ),
        (trunk, [14 * h, 14 * h, 13 * h, 12 * h], blood + 8, 2.0),
        (right_pa, [11.5 * h, 11 * h, 9 * h], blood + 8, 1.5),
        (left_pa, [12 * h, 11.5 * h, 9 * h], blood + 8, 1.5),
        (cava, [10 * h, 9 * h, 8.5], veins_hu, 2.0),
        (np.array([[-27, -14, arch + 22], [-33, -12, top]]), [8, 6.5], veins_hu, 2.5),
        (np.array([[-27, -14, arch + 20], [2, -20, arch + 24], [34, -10, top]]), [7, 6.5, 6], veins_hu, 2.5),
        (brachiocephalic, [6.5, 6, 5.5], blood, 3.0),
        (carotid, [4.5, 4, 4], blood, 3.0),
        (subclavian, [6, 5, 5], blood, 3.0),
        (np.array([[-7, spine(0.0) - 24, -5], [-7, spine(0.5) - 23, c[2] + 4]]), [3.5, 4], blood - 40, 2.0),
    ]


def _add_airways(canvas: Canvas, anatomy: Anatomy, marks: Landmarks, add: Adder) -> None:
    c, top = marks.carina, anatomy.height + 5
    trachea = np.array([c, c + np.array([-1, -5, 40]), [0.0, float(anatomy.spine_y(1.05)) - 40, top]])
    radius = 7.6 if anatomy.female else 9.0
    tubes: list[tuple[Array, list[float]]] = [(trachea, [radius] * 3)]
    for side, r in (("R", 0.8), ("L", 0.72)):
        end = marks.bronchus[side]
        tubes.append((np.array([c + np.array([0, 0, 4]), end]), [radius * r, radius * r * 0.85]))
    gullet_y = [float(anatomy.spine_y(t)) - 27 for t in (-0.2, 0.3, 0.62, 1.05)]
    gullet = np.array(
        [
            [10, gullet_y[0], -5],
            [4, gullet_y[1], anatomy.z(0.3)],
            [5, c[1] + 17, c[2]],
            [3, gullet_y[3] + 3, top],
        ]
    )
    add(canvas.tube(gullet, [8, 7, 6.5, 6.5]), 42.0, margin=2.5)
    walls = [part for points, radii in tubes for part in canvas.tube(points, radii)]
    add([w.grown(1.8) for w in walls], AIRWAY_WALL_HU, margin=2.5)
    add(walls, LUMEN_HU)


def column(canvas: Canvas, anatomy: Anatomy) -> Array:
    """Signed distance (z, y, x) to the fat-filled column between the lungs and to the spine's bed, mm."""
    g = canvas.grid
    t = anatomy.t(g.z)[:, None, None]
    y, x = g.y[None, :, None], np.abs(g.x)[None, None, :]
    spine = anatomy.spine_y(t).astype(np.float32)
    front = anatomy.front_y(t).astype(np.float32)
    depth = np.clip((y - front) / (spine - front), 0, 1)
    waist = np.interp(t, [-0.2, 0.3, 0.55, 0.75, 0.9, 1.1], [9, 7, 10, 19, 25, 40]).astype(np.float32)
    half = 4 + (waist - 4) * np.sin(np.pi * np.minimum(depth, 0.5)) + 15 * depth**6
    return (x - half).astype(np.float32)


def draw_spine(canvas: Canvas, anatomy: Anatomy, *, texture: Array, spared: Array) -> None:
    """Vertebrae with discs, arches and spinous processes; lowers `spared` so that the lungs keep off."""
    scale = anatomy.heart**0.5
    low = float(anatomy.spine_y(1.1)) - 30
    box = canvas.box((-44, low, -10), (44, anatomy.depth + 62, anatomy.height + 20))
    if box is None:
        return
    t = anatomy.t(box.z)
    y = box.y - anatomy.spine_y(t).astype(np.float32)
    x = np.abs(box.x)
    pitch = anatomy.lung_height / 8.4
    v = (box.z - anatomy.z(0)) / pitch
    v = (v - np.round(v)) * pitch  # 0 at a vertebra's middle, half a pitch at the disc
    size = (0.78 + 0.22 * np.clip(1 - t, 0, 1)).astype(np.float32) * scale
    waist = 1 - 0.06 * np.cos(v / pitch * 2 * np.pi)
    rim = np.abs(x / (19 * size * waist)) ** 2.3 + np.abs(y / (15.5 * size * waist)) ** 2.3
    body = (rim ** (1 / 2.3) - 1) * 15
    np.minimum(spared[box.slices], body - 2.0, out=spared[box.slices])
    plate = np.abs(v) - (pitch / 2 - 2.8)
    bone = np.maximum(body, plate)
    canvas.paint(Shape(box, body), 95.0)  # discs
    canal_y = y - 26 * size
    ring = np.hypot(x / (14.5 * size), canal_y / (14 * size))
    lamina = np.abs(ring - 1) * 14 - 3.4
    arch = np.maximum(lamina, np.abs(v + 2) - pitch * 0.36)
    pedicle = np.maximum(
        np.maximum(np.abs(x - 12 * size) - 3.8, np.abs(y - 17 * size) - 8), np.abs(v - 4) - 6
    )
    # Spinous processes slope down as they leave the arch.
    tail = v + 0.62 * (y - 38 * size)
    tail = tail - np.round(tail / pitch) * pitch
    spinous = np.maximum(np.maximum(x - 2.8, np.abs(y - 52 * size) - 15), np.abs(tail) - 6.5)
    wing = np.abs(y - 23 * size - 0.35 * (x - 14)) - 4.0
    wing = np.maximum(np.maximum(wing, np.abs(x - 24) - 13), np.abs(v - 2) - 5.5)
    arches = np.minimum(np.minimum(arch, pedicle), np.minimum(spinous, wing))
    noise = texture[box.slices]
    canvas.paint(Shape(box, bone), 640.0)
    canvas.paint(Shape(box, arches), 760.0)
    canvas.paint(Shape(box, bone + 1.8), 190 + 45 * noise)
    canvas.paint(Shape(box, arches + 2.2), 300 + 50 * noise)
    canal = (np.hypot(x / (9.5 * size), canal_y / (9 * size)) - 1) * 9
    canvas.paint(Shape(box, canal), 5.0)
    canvas.paint(Shape(box, (np.hypot(x / 5.5, canal_y / 4.5) - 1) * 5), 45.0)
