"""Downloads of a result and its figures, made at the click by the code that the command line uses."""

from __future__ import annotations

import io
import os
import re
import tempfile
import zipfile
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from app.exhibits import Exhibit
from flexict_core.errors import FigureExportError

if TYPE_CHECKING:
    from analysis.plots.theme import Width

WIDTHS: dict[str, Width] = {"Single, 89 mm": "single", "Double, 183 mm": "double", "Slide, 16:9": "slide"}
_MIME = {"pdf": "application/pdf", "svg": "image/svg+xml", "png": "image/png", "tiff": "image/tiff"}


def file_stem(title: str) -> str:
    """A title as a file name."""
    return re.sub(r"[^A-Za-z0-9.-]+", "-", title).strip("-.").lower() or "figure"


@st.cache_resource(show_spinner=False, ttl=60)
def why_no_figures() -> str | None:
    """None where a browser can print figures, else what to install."""
    from choreographer.browsers.chromium import Chromium

    from analysis.figure_browser import REMEDY

    if os.environ.get("BROWSER_PATH") or Chromium.find_browser(skip_local=False):
        return None
    return f"No Chrome or Chromium here to print figures: {REMEDY}. All other files can be had."


def figure_file(exhibit: Exhibit, name: str, *, kind: str, width: Width) -> bytes:
    """One figure as PDF, SVG, PNG or TIFF. Raises FigureExportError where no browser can draw it."""
    from analysis.export import export_figure

    with tempfile.TemporaryDirectory() as folder:
        stem = Path(folder) / name
        export_figure(
            exhibit.figures[name],
            stem,
            width=width,
            formats=(kind,),
            source=exhibit.source(name),
            result=exhibit.result,
        )
        return stem.with_suffix(f".{kind}").read_bytes()


def archive(exhibits: Sequence[Exhibit], *, width: Width) -> bytes:
    """A zip with a folder for each result: its JSON, CSV and methods, and every figure with its source data.

    Where figures cannot be drawn everything else is there, and `figures-missing.txt` says why.
    """
    from analysis.export import export_figure, export_result
    from analysis.figure_browser import FigureBrowser

    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        root, missing = Path(folder), []
        try:
            if any(e.drawings for e in exhibits):
                stack.enter_context(FigureBrowser())
        except FigureExportError as error:
            missing.append(str(error))
        for exhibit in exhibits:
            home = root / file_stem(exhibit.title)
            export_result(exhibit.result, home, command=exhibit.result.command)
            for name, figure in exhibit.figures.items():
                try:
                    source = exhibit.source(name)
                    export_figure(figure, home / name, width=width, source=source, result=exhibit.result)
                except FigureExportError as error:
                    missing.append(f"{exhibit.title}, {name}: {error}")
        if missing:
            (root / "figures-missing.txt").write_text("\n".join(missing) + "\n", encoding="utf-8")
        return _zipped(root)


def _zipped(root: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted(p for p in root.rglob("*") if p.is_file()):
            packed.write(path, str(path.relative_to(root)))
    return buffer.getvalue()


def show_downloads(exhibit: Exhibit, *, key: str) -> None:
    """Buttons for a figure (PDF, SVG, PNG, TIFF at a column's width) and for all files of the result in one archive."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        name = _choose_figure(exhibit, key)
        if name is not None:
            width = WIDTHS[st.selectbox("Width", list(WIDTHS), key=f"{key}-width", width=160)]
            blocked = why_no_figures()
            for kind in _MIME:
                st.download_button(
                    kind.upper(),
                    data=partial(figure_file, exhibit, name, kind=kind, width=width),
                    file_name=f"{file_stem(exhibit.title)}-{name}.{kind}",
                    mime=_MIME[kind],
                    icon=":material/image:",
                    key=f"{key}-{kind}",
                    disabled=blocked is not None,
                    help=blocked,
                    on_click="ignore",
                )
        else:
            width = "single"
        st.download_button(
            "All files",
            data=lambda: archive([exhibit], width=width),
            file_name=f"{file_stem(exhibit.title)}.zip",
            mime="application/zip",
            icon=":material/folder_zip:",
            key=f"{key}-zip",
            on_click="ignore",
            help="Figures, the numbers drawn in them (CSV), the result (JSON, CSV) and a methods paragraph",
        )
    if exhibit.drawings and (reason := why_no_figures()):
        st.caption(f":material/warning: {reason}")


def _choose_figure(exhibit: Exhibit, key: str) -> str | None:
    names = list(exhibit.drawings)
    if len(names) < 2:
        return names[0] if names else None
    return st.selectbox(
        "Figure",
        names,
        format_func=lambda n: n.replace("_", " ").capitalize(),
        key=f"{key}-figure",
        width=220,
    )
