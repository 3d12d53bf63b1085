"""From folders to a manifest: `scan`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.commands.options import AsJson, Quiet
from app.console import Console, complain

TOLD = 5  # reasons that are printed; the file holds all
REFUSED = 3  # exit status: done, but some CTs or masks cannot be used


def register(app: typer.Typer) -> None:
    """Add this command to the program."""
    app.command("scan")(scan)


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
