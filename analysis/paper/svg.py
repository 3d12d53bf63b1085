"""SVG as text: its opening tag, and ids that are nobody else's where several drawings stand on one page."""

from __future__ import annotations

import re
from collections.abc import Callable

from flexict_core.errors import FigureExportError


def split_root(svg: bytes) -> tuple[str, str]:
    """The opening tag of an SVG, and all that follows. Raises FigureExportError where there is none."""
    text = svg.decode("utf-8")
    root = re.match(r"<svg[^>]*>", text)
    if root is None:
        raise FigureExportError("the browser returned no SVG: try again")
    return root[0], text[root.end() :]


def renamed_ids(svg: str, name: Callable[[int, str], str]) -> str:
    """Every id, and every reference to one, as `name` gives it from its position in the drawing and its old name."""
    ids = dict.fromkeys(re.findall(r'\sid="([^"]+)"', svg))
    own = {old: name(i, old) for i, old in enumerate(ids)}

    def renamed(match: re.Match[str]) -> str:
        return match[1] + own.get(match[2], match[2]) + match[3]

    quote = r"(?:&quot;|&#39;|['\"])?"
    for pattern in (
        r'(\sid=")([^"]+)(")',
        rf"(url\({quote}#)([^)'\"&]+)({quote}\))",
        r'((?:xlink:)?href="#)([^"]+)(")',
    ):
        svg = re.sub(pattern, renamed, svg)
    return svg
