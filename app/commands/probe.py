"""`flexict probe`: what can be read from the embedding?"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from app.commands.options import (
    AsJson,
    Clinical,
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
)
from app.console import Console, pages
from app.drawings import probe_drawings
from app.runs import check_out, finish


class Task(StrEnum):
    CLASSIFY = "classify"
    ORDINAL = "ordinal"
    REGRESS = "regress"
    SURVIVAL = "survival"


class Learner(StrEnum):
    LINEAR = "linear"
    KNN = "knn"
    MLP = "mlp"


class Protocol(StrEnum):
    NESTED = "nested"
    PUBLISHED = "published"


def register(app: typer.Typer) -> None:
    """Add this command to the program."""
    app.command("probe")(probe)


def probe(
    store: Store,
    clinical: Clinical,
    id_column: IdColumn,
    target: Annotated[str, typer.Option(help="Column to read from the embedding.", metavar="COL")],
    out: Out,
    embedding: Annotated[
        list[str] | None,
        typer.Option(help="Embedding ID or name; several are compared on identical folds.", metavar="NAME"),
    ] = None,
    task: Annotated[Task, typer.Option(help="What the target is.")] = Task.CLASSIFY,
    learner: Annotated[Learner, typer.Option(help="What is fitted on the embedding.")] = Learner.LINEAR,
    protocol: Annotated[
        Protocol, typer.Option(help="Nested cross-validation, or the published protocol beside it.")
    ] = Protocol.NESTED,
    order: Annotated[
        str | None, typer.Option(help="Order of an ordinal target: 'I,II,III'.", metavar="ORDER")
    ] = None,
    event: Annotated[
        str | None, typer.Option(help="Event column (1, 0) of a survival target.", metavar="COL")
    ] = None,
    event_value: Annotated[
        str | None, typer.Option(help="Value that means an event, where it is not 1.", metavar="VALUE")
    ] = None,
    repeats: Annotated[
        int | None, typer.Option(help="Repeats of the outer folds (10; 2 for mlp).", min=1)
    ] = None,
    permutations: Annotated[
        int | None,
        typer.Option(help="Refits to permuted labels: test and chance (60; 100 for knn; 0 for mlp).", min=0),
    ] = None,
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
    """What can be read from the embedding?

    A class, an ordered class, a number or a survival time, by nested cross-validation.
    """
    from analysis import probe as analyse_probe
    from analysis.cohort import load_cohort

    check_out(out, "probe", overwrite=overwrite)
    cohorts = [
        load_cohort(
            store, name, clinical, id_column=id_column, where=where or (), id_replace=id_replace or ()
        )
        for name in (embedding or (None,))
    ]
    console = Console(quiet, as_json, figures=not no_figures, pages=pages(figure_width, figure_formats))
    result = analyse_probe(
        cohorts,
        target,
        task=task.value,
        learner=learner.value,
        protocol=protocol.value,
        order=order,
        event=event,
        event_value=event_value,
        repeats=repeats,
        permutations=permutations,
        seed=seed,
        progress=console.progress_line,
    )
    finish(result, out, drawings=probe_drawings(result), cohort=cohorts[0], console=console)
