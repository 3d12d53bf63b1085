"""The options that commands share, so that one name means one thing everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Store = Annotated[Path, typer.Option("--store", help="Folder of the embedding store.", metavar="DIR")]
Embedding = Annotated[
    str | None,
    typer.Option(
        help="Embedding ID or unambiguous name; may be left out when the store holds one.", metavar="NAME"
    ),
]
Clinical = Annotated[
    Path, typer.Option(help="Clinical table (CSV, Parquet, XLSX), one row a patient.", metavar="FILE")
]
IdColumn = Annotated[str, typer.Option("--id", help="Column of the patient IDs.", metavar="COLUMN")]
IdReplace = Annotated[
    list[str] | None,
    typer.Option(
        help="Rewrite the table's IDs before joining, as plain text: 'case_=KiTS-'. May be given again.",
        metavar="FROM=TO",
    ),
]
Where = Annotated[
    list[str] | None,
    typer.Option(
        help="Keep only patients with this value (or '!=': without). May be given again.", metavar="COL=VALUE"
    ),
]
Out = Annotated[Path, typer.Option(help="Folder for the result files.", metavar="DIR")]
Seed = Annotated[int, typer.Option(help="Seed of everything random.", min=0)]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the files of an earlier run in --out.")]
NoFigures = Annotated[bool, typer.Option("--no-figures", help="Write no figures.")]
FigureWidth = Annotated[
    str,
    typer.Option(
        help="Size of the figures: single (89 mm), double (183 mm) or slide (16:9).", metavar="WIDTH"
    ),
]
FigureFormats = Annotated[
    str, typer.Option(help="Files of a figure, separated by commas: pdf, svg, png, tiff.", metavar="LIST")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
Port = Annotated[int, typer.Option(help="Port of the dashboard.", min=1, max=65535)]


def split_list(text: str | None) -> list[str]:
    """ "A, B" to ["A", "B"]; nothing given is an empty list."""
    return [part.strip() for part in (text or "").split(",") if part.strip()]
