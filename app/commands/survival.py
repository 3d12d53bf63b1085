"""`flexict survival`: does the embedding tell how long patients live, alone and beside the clinic?"""

from __future__ import annotations

from enum import StrEnum
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
from app.drawings import survival_drawings
from app.runs import check_out, finish
from flexict_core.errors import InputError


class Competing(StrEnum):
    REFUSE = "refuse"
    CENSOR = "censor"


def register(app: typer.Typer) -> None:
    """Add this command to the program."""
    app.command("survival")(survival)


def survival(
    store: Store,
    clinical: Clinical,
    id_column: IdColumn,
    duration: Annotated[str, typer.Option(help="Column of the time to event or censoring.", metavar="COL")],
    event: Annotated[str, typer.Option(help="Column of the event: 1 yes, 0 censored.", metavar="COL")],
    out: Out,
    embedding: Embedding = None,
    event_value: Annotated[
        str | None, typer.Option(help="Value that means an event, where it is not 1.", metavar="VALUE")
    ] = None,
    competing: Annotated[
        Competing, typer.Option(help="Other kinds of event: refuse them, or count them as censored.")
    ] = Competing.REFUSE,
    by: Annotated[
        str | None,
        typer.Option(
            help="Column whose groups get curves; thirds of the risk score when absent.", metavar="COL"
        ),
    ] = None,
    adjust: Annotated[
        str | None,
        typer.Option(
            help="Clinical columns that the embedding must add to; also feature:NAME.", metavar="A,B"
        ),
    ] = None,
    horizons: Annotated[
        str | None,
        typer.Option(
            help="Times of AUC and Brier score; quartiles of the event times when absent.", metavar="T,T"
        ),
    ] = None,
    penalty: Annotated[float, typer.Option(help="Ridge penalty of the Cox models.", min=0.0)] = 0.0,
    unit: Annotated[str | None, typer.Option(help="Unit of the times, for labels.", metavar="TEXT")] = None,
    permutations: Annotated[int, typer.Option(help="Refits to permuted outcomes.", min=99)] = 999,
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
    """Does the embedding tell survival?

    Kaplan–Meier, Cox models, and a cross-fitted risk score beside the clinical columns.
    """
    from analysis import survival as analyse_survival
    from analysis.cohort import load_cohort

    check_out(out, "survival", overwrite=overwrite)
    times = _numbers(horizons)
    cohort = load_cohort(
        store, embedding, clinical, id_column=id_column, where=where or (), id_replace=id_replace or ()
    )
    console = Console(quiet, as_json, figures=not no_figures, pages=pages(figure_width, figure_formats))
    result = analyse_survival(
        cohort,
        duration,
        event,
        event_value=event_value,
        competing=competing.value,
        by=by,
        clinical=split_list(adjust) or None,
        horizons=times,
        penalty=penalty,
        unit=unit,
        permutations=permutations,
        seed=seed,
        progress=console.progress_line,
    )
    finish(result, out, drawings=survival_drawings(result), cohort=cohort, console=console)


def _numbers(text: str | None) -> list[float] | None:
    if text is None:
        return None
    try:
        return [float(part) for part in split_list(text)]
    except ValueError:
        raise InputError(f"--horizons {text!r} is not a list of times: write for example 365,730") from None
