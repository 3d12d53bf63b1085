"""From folders to a manifest: `scan`; the clinical table that goes with it: `pseudonymise`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from app.commands.options import AsJson, IdColumn, IdReplace, Quiet, split_list
from app.console import Console, complain

TOLD = 5  # reasons that are printed; the file holds all
REFUSED = 3  # exit status: done, but some CTs or masks cannot be used


class OnGaps(StrEnum):
    REFUSE = "refuse"
    RESAMPLE = "resample"


def register(app: typer.Typer) -> None:
    """Add these commands to the program."""
    app.command("scan")(scan)
    app.command("pseudonymise")(pseudonymise)


def scan(
    paths: Annotated[list[Path], typer.Argument(help="Folders or image files.", metavar="PATH…")],
    manifest: Annotated[
        Path, typer.Option(help="Manifest to write, in a folder that holds every PATH.", metavar="FILE")
    ],
    quality: Annotated[
        Path | None, typer.Option(help="Quality table; quality.csv beside the manifest.", metavar="FILE")
    ] = None,
    roi: Annotated[
        list[str] | None,
        typer.Option(help="Only regions of this name, such as 'GTV*'. May be given again.", metavar="NAME"),
    ] = None,
    on_gaps: Annotated[
        OnGaps,
        typer.Option(help="DICOM series with missing or unevenly spaced slices: refuse or resample them."),
    ] = OnGaps.REFUSE,
    pseudonymise: Annotated[
        Path | None,
        typer.Option(
            help="Write pseudonyms of patient IDs and UIDs, by the key in this file (made if absent).",
            metavar="KEYFILE",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the tables of an earlier scan.")
    ] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Find CT series and masks (DICOM, NIfTI, NRRD, MHA).

    Writes the manifest for `embed`, quality.csv (how each series was made) and left_out.csv (the rest, with
    reasons). Patient IDs are taken from DICOM, to join the clinical table; names and birth dates never are.
    """
    from flexict_core.intake.scan import scan as scan_folders

    console = Console(quiet, as_json)
    report = scan_folders(
        paths,
        manifest=manifest,
        quality=quality,
        roi=roi or (),
        on_gaps=on_gaps.value,
        key_file=pseudonymise,
        overwrite=overwrite,
        progress=console.progress,
    )
    console.say(report.summary())
    for reason, count in list(report.reasons.items())[:TOLD]:
        console.say(f"    {count} × {reason}")
    console.show_json(report)
    if report.rows > report.patients:
        console.note(
            f"{report.rows} rows of {report.patients} patients: analyses average the rows of a patient; "
            f"--roi, or editing the manifest, chooses"
        )
    if report.refused:
        complain(f"{report.refused} refused, with reasons: {report.left_out}")
        raise typer.Exit(REFUSED)


def pseudonymise(
    table: Annotated[
        Path, typer.Argument(help="Clinical table (CSV, Parquet, XLSX).", metavar="TABLE", show_default=False)
    ],
    id_column: IdColumn,
    key: Annotated[Path, typer.Option(help="Key file of scan's --pseudonymise.", metavar="KEYFILE")],
    out: Annotated[Path, typer.Option(help="Table to write.", metavar="FILE.csv")],
    drop: Annotated[str | None, typer.Option(help="Columns to leave out.", metavar="A,B,…")] = None,
    keep: Annotated[
        str | None,
        typer.Option(help="Columns that look as if they told who a patient is, and do not.", metavar="A,B,…"),
    ] = None,
    manifest: Annotated[
        Path | None,
        typer.Option(help="Manifest of that scan, to count the patients in both.", metavar="FILE"),
    ] = None,
    id_replace: IdReplace = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the table of an earlier run.")
    ] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """A clinical table with the pseudonyms of a scan.

    Columns of dates, names, addresses or IDs are refused until --drop leaves them out or --keep says that they tell
    nobody.
    """
    from analysis.clinical import rewrite_id
    from flexict_core.intake.clinical import pseudonymise_table

    console = Console(quiet, as_json)
    report = pseudonymise_table(
        table,
        id_column=id_column,
        key_file=key,
        out=out,
        drop=split_list(drop),
        keep=split_list(keep),
        rewrite=lambda text: rewrite_id(text, id_replace or ()),
        manifest=manifest,
        overwrite=overwrite,
    )
    console.say(report.summary())
    console.show_json(report)
    if report.unmatched == report.patients:
        complain(
            f"none of the {report.patients} patients is in {manifest}: is it the same key, are the IDs DICOM's?"
        )
