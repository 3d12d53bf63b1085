"""Results and figures as files: JSON, CSV, methods; PDF, SVG, PNG with source data, provenance and caption.

Files appear whole or not at all (written beside, then renamed); the same result gives the same JSON and CSV.
"""

from __future__ import annotations

import copy
import io
import json
import os
import re
import uuid
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.figure_browser import FigureBrowser, current_browser
from analysis.plots.theme import MM, TALLEST_MM, Width, is_stamped, set_width, stamp
from analysis.results import SCHEMA_VERSION, Result, plain
from flexict_core.errors import FigureExportError, InputError

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

FORMATS = ("pdf", "svg", "png", "tiff")
_FORMULA = ("=", "+", "-", "@", "\t", "\n")


def export_result(result: Result, out_dir: str | Path, *, command: str) -> list[Path]:
    """Write <command>.json, <command>.csv (the main table) and methods.md into a folder; returns their paths."""
    out = Path(out_dir)
    return [
        write_text(out / f"{command}.json", json_text({**result.to_dict(), "command": command})),
        write_text(out / f"{command}.csv", csv_text(result.table())),
        write_text(out / "methods.md", result.methods_text().strip() + "\n"),
    ]


def export_figure(
    fig: go.Figure,
    path_stem: str | Path,
    *,
    width: Width = "single",
    formats: Sequence[str] = ("pdf", "svg", "png"),
    source: pd.DataFrame | None = None,
    result: Result,
    dpi: int = 300,
) -> list[Path]:
    """Write a figure for a paper: its formats, and <stem>.csv, <stem>.json and <stem>.md beside them.

    The page is exactly 89 mm ("single") or 183 mm ("double") wide. source: the numbers drawn (without it,
    what the traces hold). dpi: of bitmaps. Raises FigureExportError for an unknown format, a figure above 170
    mm, and where no Chrome or Chromium can draw; CSV, JSON and caption are written before that.
    """
    unknown = [f for f in formats if f not in FORMATS]
    if unknown:
        raise FigureExportError(
            f"figure format {unknown[0]!r} is not known: choose from {', '.join(FORMATS)}"
        )
    stem = Path(path_stem)
    page = set_width(fig if is_stamped(fig) else stamp(fig, result.provenance), width)
    height_mm = page.layout.height / MM
    if height_mm > TALLEST_MM:
        raise FigureExportError(
            f"figure {stem.name} is {height_mm:.0f} mm tall, a page takes {TALLEST_MM:.0f} mm: show fewer rows"
        )
    written = [
        write_text(_beside(stem, "csv"), csv_text(drawn_numbers(fig) if source is None else source)),
        write_text(_beside(stem, "json"), json_text(_about(page, stem, result, formats, dpi))),
        write_text(_beside(stem, "md"), _caption(page, result)),
    ]
    with ExitStack() as stack:
        browser = current_browser() or stack.enter_context(FigureBrowser())
        for kind in formats:
            data = _drawn(browser, page, kind, title=stem.name, result=result, dpi=dpi)
            written.append(write_bytes(_beside(stem, kind), data))
    return written


def drawn_numbers(fig: go.Figure) -> pd.DataFrame:
    """Every number that the traces draw: trace, x, y, interval ends, and the patient where a point is one."""
    import numpy as np
    import pandas as pd

    frames = []
    for trace in fig.data:
        columns = {"trace": trace.name or trace.type, "x": trace.x, "y": trace.y}
        if getattr(trace, "customdata", None) is not None:
            columns["patient_id"] = trace.customdata
        for axis, centre in (("x", trace.x), ("y", trace.y)):
            bars = getattr(trace, f"error_{axis}", None)
            if bars is not None and bars.array is not None:
                middle = np.asarray(centre, dtype=float)
                columns["ci_low"] = middle - np.array(bars.arrayminus, dtype=float)
                columns["ci_high"] = middle + np.array(bars.array, dtype=float)
        frames.append(pd.DataFrame(columns))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def json_text(value: Any) -> str:
    """JSON in the order of the keys, every float in full, no NaN."""
    return json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def csv_text(table: pd.DataFrame) -> str:
    """CSV with floats in full; a text that a spreadsheet would run as a formula gets a leading apostrophe."""
    import pandas as pd

    safe = table.copy()
    for column in safe.columns:
        if not pd.api.types.is_numeric_dtype(safe[column]):
            safe[column] = [_harmless(v) for v in safe[column]]
    safe.columns = [_harmless(str(c)) for c in safe.columns]
    return str(safe.to_csv(index=False, lineterminator="\n"))


def _harmless(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = value.replace("\r\n", "\n").replace("\r", "\n")  # a bare return would end the row for some readers
    return f"'{text}" if text.startswith(_FORMULA) else text


def write_text(path: Path, text: str) -> Path:
    """Write UTF-8 text, whole or not at all."""
    return write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, data: bytes) -> Path:
    """Write a file whole or not at all (beside it, synced, renamed over it). Raises InputError where it cannot."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(
            f"{str(path)!r} cannot be written ({reason}): choose another folder or free space"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return path


def _beside(stem: Path, extension: str) -> Path:
    return stem.with_name(f"{stem.name}.{extension}")


def _about(page: go.Figure, stem: Path, result: Result, formats: Sequence[str], dpi: int) -> dict[str, Any]:
    about = result.to_dict()
    kept = ("command", "verdict", "n", "warnings", "provenance")
    return {
        "schema_version": SCHEMA_VERSION,
        "figure": stem.name,
        "width_mm": round(page.layout.width / MM, 3),
        "height_mm": round(page.layout.height / MM, 3),
        "formats": list(formats),
        "dpi": dpi,
        **{key: about[key] for key in kept},
    }


def _caption(page: go.Figure, result: Result) -> str:
    meta = page.layout.meta or {}
    caption = meta.get("caption") or result.verdict
    return f"**Figure.** {caption}\n\n{meta['stamp']}.\n\n## Methods\n\n{result.methods_text().strip()}\n"


def _drawn(
    browser: FigureBrowser, page: go.Figure, kind: str, *, title: str, result: Result, dpi: int
) -> bytes:
    width, height = page.layout.width, page.layout.height
    if kind == "svg":
        return _svg_in_mm(browser.image(page, "svg", width_px=width, height_px=height), width, height)
    if kind == "pdf":
        return _exact_page(_on_larger_page(browser, page), width, height, title=title, result=result)
    picture = browser.image(page, "png", width_px=width, height_px=height, scale=dpi / 96)
    return _bitmap(picture, kind, dpi)


def _on_larger_page(browser: FigureBrowser, page: go.Figure) -> bytes:
    """PDF of the figure in the upper left of a page some pixels larger: Chrome cuts pages to a grid of its own."""
    spare = {side: int(page.layout[side]) + 2 - page.layout[side] for side in ("width", "height")}
    larger = copy.deepcopy(page)
    larger.update_layout(
        width=page.layout.width + spare["width"],
        height=page.layout.height + spare["height"],
        margin={"r": page.layout.margin.r + spare["width"], "b": page.layout.margin.b + spare["height"]},
    )
    return browser.image(larger, "pdf", width_px=larger.layout.width, height_px=larger.layout.height)


def _svg_in_mm(svg: bytes, width: float, height: float) -> bytes:
    """The drawing stays in its own units (viewBox); the page gets its size in millimetres."""
    text = svg.decode("utf-8")
    root = re.match(r"<svg[^>]*>", text)
    if root is None:
        raise FigureExportError("the browser returned no SVG: try again")
    sized = re.sub(
        r' width="[^"]*" height="[^"]*"', f' width="{width / MM:.4f}mm" height="{height / MM:.4f}mm"', root[0]
    )
    return (sized + text[root.end() :]).encode("utf-8")


def _exact_page(pdf: bytes, width: float, height: float, *, title: str, result: Result) -> bytes:
    """Cut the page to its exact size from the upper left; name it, without the time of day."""
    from pypdf import PdfReader, PdfWriter
    from pypdf.generic import RectangleObject

    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(pdf)))
    page = writer.pages[0]
    points = 72 / 96
    top = float(page.mediabox.top)
    box = RectangleObject((0, top - height * points, width * points, top))
    for name in ("mediabox", "cropbox", "trimbox", "bleedbox", "artbox"):
        setattr(page, name, box)
    synthetic = "Synthetic data. " if result.provenance.synthetic else ""
    writer.metadata = {
        "/Title": title,
        "/Subject": f"{synthetic}Research use only.",
        "/Creator": "FlexiCT Atlas",
    }
    buffer = io.BytesIO()
    writer.write(buffer)
    return buffer.getvalue()


def _bitmap(png: bytes, kind: str, dpi: int) -> bytes:
    """PNG or TIFF that knows its resolution, so that it opens at the right size."""
    from PIL import Image

    buffer = io.BytesIO()
    with Image.open(io.BytesIO(png)) as image:
        options: dict[str, Any] = {"compression": "tiff_lzw"} if kind == "tiff" else {}
        image.convert("RGB").save(buffer, format=kind.upper(), dpi=(dpi, dpi), **options)
    return buffer.getvalue()
