"""Results and figures as files: JSON, CSV, methods; PDF, SVG, PNG with source data, provenance and caption.

Files appear whole or not at all (written beside, then renamed); the same result gives the same JSON and CSV.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.figure_browser import FigureBrowser, current_browser
from analysis.paper.points import RASTER_DPI, noted, too_many, vector_traces, with_bitmap
from analysis.paper.printing import About, check_formats, dots_per_inch, printed
from analysis.plots.enlarged import on_slide
from analysis.plots.theme import MM, TALLEST_MM, Width, is_stamped, set_width, stamp
from analysis.results import SCHEMA_VERSION, Result, plain
from flexict_core.errors import FigureExportError, InputError

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

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
    dpi: int | None = None,
) -> list[Path]:
    """Write a figure for a paper: its formats, and <stem>.csv, <stem>.json and <stem>.md beside them.

    width: "single" (89 mm), "double" (183 mm), or "slide" (16:9, text of 14 pt). formats: of pdf, svg, png,
    tiff. source: the numbers drawn (without it, what the traces hold). dpi: of bitmaps, without it 300 for PNG
    and 600 for TIFF. Points are vectors up to 20,000, then a bitmap of 600 dpi, which a note says. Raises
    FigureExportError for an unknown format, a figure above 170 mm, and where no Chrome or Chromium can draw;
    CSV, JSON and caption are written before that.
    """
    check_formats(formats)
    stem = Path(path_stem)
    page = _page(fig, stem, width=width, result=result)
    crowded = too_many(page)
    written = [
        write_text(_beside(stem, "csv"), csv_text(drawn_numbers(fig) if source is None else source)),
        write_text(_beside(stem, "json"), json_text(_about(page, stem, result, formats, dpi))),
        write_text(_beside(stem, "md"), _caption(page, result)),
    ]
    about = About(stem.name, result.provenance.synthetic)
    with ExitStack() as stack:
        browser = current_browser() or stack.enter_context(FigureBrowser())
        if crowded:
            page = with_bitmap(browser, page)
        for kind in formats:
            data = printed(browser, page, kind, about=about, dpi=dpi)
            written.append(write_bytes(_beside(stem, kind), data))
    return written


def _page(fig: go.Figure, stem: Path, *, width: Width, result: Result) -> go.Figure:
    """The stamped figure at its size on paper or on a slide, its points as vectors or said not to be."""
    page = vector_traces(set_width(fig if is_stamped(fig) else stamp(fig, result.provenance), width))
    if too_many(page):
        page = noted(page)
    if width == "slide":
        return on_slide(page)
    height_mm = page.layout.height / MM
    if height_mm > TALLEST_MM:
        raise FigureExportError(
            f"figure {stem.name} is {height_mm:.0f} mm tall, a page takes {TALLEST_MM:.0f} mm: show fewer rows"
        )
    return page


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


def _about(
    page: go.Figure, stem: Path, result: Result, formats: Sequence[str], dpi: int | None
) -> dict[str, Any]:
    about = result.to_dict()
    kept = ("command", "verdict", "n", "warnings", "provenance")
    return {
        "schema_version": SCHEMA_VERSION,
        "figure": stem.name,
        "width_mm": round(page.layout.width / MM, 3),
        "height_mm": round(page.layout.height / MM, 3),
        "formats": list(formats),
        "dpi": {kind: dots_per_inch(kind, dpi) for kind in formats if kind in ("png", "tiff")},
        "points_dpi": RASTER_DPI if too_many(page) else None,
        **{key: about[key] for key in kept},
    }


def _caption(page: go.Figure, result: Result) -> str:
    meta = page.layout.meta or {}
    caption = meta.get("caption") or result.verdict
    return f"**Figure.** {caption}\n\n{meta['stamp']}.\n\n## Methods\n\n{result.methods_text().strip()}\n"
