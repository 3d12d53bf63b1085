"""`flexict audit`: what could make the other results of a cohort wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.commands.options import (
    AsJson,
    Clinical,
    Embedding,
    FigureFormats,
    FigureWidth,
    IdColumn,
    IdReplace,
    NoFigures,
    Out,
    Overwrite,
    Quiet,
    Seed,
    Store,
    Where,
    split_list,
)
from app.console import Console, pages
from app.runs import check_out, run_audit


def register(app: typer.Typer) -> None:
    """Add this command to the program."""
    app.command("audit")(audit)


def audit(
    store: Store,
    clinical: Clinical,
    id_column: IdColumn,
    out: Out,
    embedding: Embedding = None,
    label: Annotated[
        str | None, typer.Option(help="Column that the other analyses are about.", metavar="COL")
    ] = None,
    order: Annotated[
        str | None, typer.Option(help="The label's values from early to late, if ordered.", metavar="ORDER")
    ] = None,
    fields: Annotated[
        str | None,
        typer.Option(help="Recorded columns to read from the embedding; all when absent.", metavar="A,B"),
    ] = None,
    group: Annotated[
        str | None, typer.Option(help="Column of the site, left out one at a time.", metavar="COL")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Column that says train or test.", metavar="COL")] = None,
    person: Annotated[
        str | None, typer.Option(help="Column of who a row is, where --id is a scan's.", metavar="COL")
    ] = None,
    index: Annotated[
        Path | None,
        typer.Option(help="Table of public collections: collection_id, PatientID.", metavar="FILE"),
    ] = None,
    near_images: Annotated[
        bool, typer.Option("--near-images", help="Read every CT again to find nearly equal ones.")
    ] = False,
    permutations: Annotated[int, typer.Option(help="Permutations of each test.", min=99)] = 999,
    where: Where = None,
    id_replace: IdReplace = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    no_figures: NoFigures = False,
    figure_width: FigureWidth = "single",
    figure_formats: FigureFormats = "pdf,svg,png",
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Confounders, leaks, and data the encoder has seen.

    The verdict is kept beside the store and stands on every later result of the same cohort.
    """
    from analysis.cohort import load_cohort

    check_out(out, "audit", overwrite=overwrite)
    cohort = load_cohort(
        store, embedding, clinical, id_column=id_column, where=where or (), id_replace=id_replace or ()
    )
    run_audit(
        cohort,
        out=out,
        label=label,
        order=order,
        fields=split_list(fields) or None,
        group=group,
        split=split,
        person=person,
        index=index,
        near_images=near_images,
        permutations=permutations,
        seed=seed,
        console=Console(quiet, as_json, figures=not no_figures, pages=pages(figure_width, figure_formats)),
    )
