"""Chest CT phantoms with known truth: a body, a tumour of known size and texture, and a scanner's rendering."""

from __future__ import annotations

from typing import Any

import numpy as np

from flexict_core.phantom.abdomen import diaphragm_height, draw_abdomen
from flexict_core.phantom.anatomy import Anatomy, chest_radius, draw_anatomy
from flexict_core.phantom.canvas import Array, Canvas, Grid, smooth_field, union
from flexict_core.phantom.chest_wall import (
    Wall,
    draw_glands,
    draw_ribs,
    draw_scapulae,
    draw_sternum,
    draw_table,
    draw_wall,
    wall_radii,
)
from flexict_core.phantom.lungs import draw_parenchyma, draw_vessels
from flexict_core.phantom.mediastinum import Mediastinum, build_mediastinum, column, draw_spine
from flexict_core.phantom.scan import noise_level, scan
from flexict_core.phantom.spec import LOBES, SCANNERS, PhantomSpec, Scanner
from flexict_core.phantom.tumour import draw_tumour, place_tumour, shape_tumour
from flexict_core.volume import Volume

__all__ = ["LOBES", "SCANNERS", "PhantomSpec", "Scanner", "make_phantom"]

COLUMNS, ROWS = 176, 144


def make_phantom(spec: PhantomSpec, *, seed: int) -> tuple[Volume, Volume, dict[str, Any]]:
    """A synthetic chest CT, its tumour mask and the truth about them.

    Anatomy, tumour and noise have random streams of their own: the same seed with another scanner shows the
    same patient.

    Returns
    -------
    ct : Volume, int16 HU (z, y, x), axes LPS.
    mask : Volume, bool, on the same grid: voxels at least half filled by the tumour's solid part.
    truth : dict of `tumour_volume_mm3` (closed form), `tumour_diameter_mm`, `tumour_centre_mm` (LPS),
        `tumour_depth_mm` (from the pleura to the centre), `aorta_centre_mm`, `aorta_radius_mm` and `blood_hu`
        (an even region), `body_width_mm`, and `noise_sd_hu` in soft tissue.
    """
    body_rng, tumour_rng, vessel_rng, noise_rng = (
        np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(4)
    )
    anatomy = draw_anatomy(spec, body_rng)
    canvas, wall = _sheet(anatomy, spec)
    texture = smooth_field(canvas.grid, 6.0, body_rng)
    coarse = smooth_field(canvas.grid, 17.0, body_rng)
    outline, organs = _draw_body(canvas, anatomy, wall, textures=(texture, coarse), rng=vessel_rng)
    tumour = shape_tumour(spec, tumour_rng)
    centre, depth = place_tumour(
        anatomy, spec, canvas=canvas, outline=outline, radius=tumour.mean_radius_mm, rng=tumour_rng
    )
    mask = draw_tumour(canvas, tumour, centre, fields=(coarse, texture))
    width = 2 * float(wall.skin[:, [180, 540]].max())
    hu = scan(canvas.hu, scanner=spec.scanner, width_mm=width, rng=noise_rng)
    affine = canvas.grid.affine
    marks = organs.landmarks
    truth = {
        "tumour_volume_mm3": tumour.volume_mm3,
        "tumour_diameter_mm": tumour.diameter_mm,
        "tumour_centre_mm": centre.tolist(),
        "tumour_depth_mm": depth,
        "aorta_centre_mm": marks.descending_aorta.tolist(),
        "aorta_radius_mm": float(marks.aorta_radius),
        "blood_hu": anatomy.blood_hu,
        "body_width_mm": width,
        "noise_sd_hu": noise_level(spec.scanner, width),
    }
    return Volume(hu, affine), Volume(mask, affine), truth


def _sheet(anatomy: Anatomy, spec: PhantomSpec) -> tuple[Canvas, Wall]:
    """A grid that just holds the body, as a radiographer sets the field of view, and the body's radii on it."""
    thickness = spec.scanner.slice_thickness_mm
    slices = int(np.ceil(anatomy.height / thickness))
    z = np.arange(slices, dtype=np.float32) * np.float32(thickness)
    wall = wall_radii(anatomy, chest_radius(anatomy, z), z)
    field_mm = np.ceil((2 * float(wall.skin[:, [180, 540]].max()) + 14) / 10) * 10
    pixel = float(field_mm) / COLUMNS
    return Canvas(Grid.centred((slices, ROWS, COLUMNS), (thickness, pixel, pixel))), wall


def _draw_body(
    canvas: Canvas, anatomy: Anatomy, wall: Wall, *, textures: tuple[Array, Array], rng: np.random.Generator
) -> tuple[Array, Mediastinum]:
    """Everything but the tumour, from the skin inwards. Returns the lungs' outline and the organs between them."""
    texture, coarse = textures
    pleura = draw_wall(canvas, wall, texture=texture, coarse=coarse)
    draw_glands(canvas, anatomy, wall=wall, texture=coarse)
    draw_ribs(canvas, anatomy, pleura=pleura, texture=texture)
    draw_scapulae(canvas, anatomy, pleura)
    draw_sternum(canvas, anatomy)
    draw_table(canvas, wall)
    below = canvas.grid.z[:, None, None] - diaphragm_height(canvas, anatomy)[None]
    draw_abdomen(canvas, anatomy, pleura, below=below, texture=texture)
    organs = build_mediastinum(canvas, anatomy, rng)
    spared = column(canvas, anatomy) + 1.6 * coarse
    union(organs.spared, spared, fillet_mm=14.0)
    draw_spine(canvas, anatomy, texture=texture, spared=spared)
    outline = np.maximum(np.maximum(pleura + 1.0, 2.0 - below), -spared)
    cover = draw_parenchyma(canvas, anatomy, outline, texture=texture, bullae=coarse)
    organs.paint(canvas)
    picks = np.argwhere(outline[::3, ::3, ::3] < -4) * 3
    g = canvas.grid
    interior = np.stack([g.x[picks[:, 2]], g.y[picks[:, 1]], g.z[picks[:, 0]]], axis=1).astype(float)
    draw_vessels(canvas, organs.landmarks, interior=interior, cover=cover, blood_hu=anatomy.blood_hu, rng=rng)
    return outline, organs
