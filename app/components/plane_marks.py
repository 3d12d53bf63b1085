"""What is written on a plane: outline, crosshair, signs, the letters of the sides, a scale bar."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

OUTLINE_COLOUR = (240, 180, 40)
_CROSSHAIR, _WHITE, _BLACK = (86, 180, 233), (255, 255, 255), (0, 0, 0)
_BARS_MM = (200, 100, 50, 20, 10, 5)


def draw_outline(pen: ImageDraw, mask: np.ndarray) -> None:
    """Around a mask [rows, cols], in the picture's pixels."""
    from skimage.measure import find_contours

    for contour in find_contours(np.pad(mask, 1), 0.5):
        points = [(float(x) - 0.5, float(y) - 0.5) for y, x in contour]
        if len(points) > 1:
            pen.line(points, fill=OUTLINE_COLOUR, width=3, joint="curve")


def draw_crosshair(pen: ImageDraw, size: tuple[int, int], at: tuple[float, float]) -> None:
    """Where the other two planes cut; open in the middle so that it hides nothing."""
    (width, height), (x, y), gap = size, at, 0.08 * max(size)
    for line in ((0, y, x - gap, y), (x + gap, y, width, y), (x, 0, x, y - gap), (x, y + gap, x, height)):
        if line[2] > line[0] or line[3] > line[1]:
            pen.line(line, fill=_CROSSHAIR, width=1)


def draw_sign(pen: ImageDraw, at: tuple[float, float], sign: str, *, radius: float) -> None:
    """A plus, or a minus, drawn as bars of 3 to 11 px to each side: the font has no true minus."""
    (x, y), r = at, min(11.0, max(3.0, radius))
    t = max(1.0, r / 5)  # half of a bar's thickness
    bars = [(x - r, y - t, x + r, y + t), *([(x - t, y - r, x + t, y + r)] if sign == "+" else [])]
    for grown, colour in ((max(1.0, t), _BLACK), (0.0, _WHITE)):
        for left, top, right, bottom in bars:
            pen.rectangle((left - grown, top - grown, right + grown, bottom + grown), fill=colour)


def _write(pen: ImageDraw, spot: tuple[float, float], text: str, *, points: int, anchor: str) -> None:
    from PIL import ImageFont

    font = ImageFont.load_default(points)
    pen.text(spot, text, font=font, anchor=anchor, fill=_WHITE, stroke_width=2, stroke_fill=_BLACK)


def draw_letters(pen: ImageDraw, size: tuple[int, int], letters: str) -> None:
    """The sides of the patient: at the left, right, top and bottom."""
    (width, height), points = size, max(14, max(size) // 24)
    middle, centre = height / 2, width / 2
    spots = ((6, middle, "lm"), (width - 6, middle, "rm"), (centre, 4, "mt"), (centre, height - 4, "mb"))
    for letter, (x, y, anchor) in zip(letters, spots, strict=True):
        _write(pen, (x, y), letter, points=points, anchor=anchor)


def draw_scale_bar(pen: ImageDraw, size: tuple[int, int], px_per_mm: float) -> None:
    """A bar of a round length, at most a third of the width, at the lower right."""
    width, height = size
    length_mm = next((mm for mm in _BARS_MM if mm * px_per_mm <= width / 3), _BARS_MM[-1])
    points = max(18, max(size) // 30)
    right, bottom = width - 10, height - points - 12
    pen.rectangle((right - length_mm * px_per_mm, bottom, right, bottom + 4), fill=_WHITE, outline=_BLACK)
    _write(pen, (right, bottom + 6), f"{length_mm} mm", points=points, anchor="rt")
