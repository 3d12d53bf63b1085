"""Questions to a cohort: `gradient`, `project`, `retrieve`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.commands.options import (
    AsJson,
    Clinical,
    Embedding,
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
from app.console import Console
from app.runs import check_out, run_gradient, run_project, run_retrieve
from flexict_core.errors import EncoderError, InputError

if TYPE_CHECKING:
    from analysis.cohort import Cohort


class Method(StrEnum):
    UMAP = "umap"
    PCA = "pca"


class Protocol(StrEnum):
    LOO = "loo"
    SPLIT = "split"
    PUBLISHED = "published"


def register(app: typer.Typer) -> None:
    """Add these commands to the program."""
    app.command("gradient")(gradient)
    app.command("project")(project)
    app.command("retrieve")(retrieve)


def gradient(
    store: Store,
    clinical: Clinical,
    id_column: IdColumn,
    stage: Annotated[str, typer.Option(help="Column of the stage.", metavar="COL")],
    order: Annotated[
        str,
        typer.Option(help="Stages from early to late: 'I,II,III'; '1a+1b,2a+2b,3' merges.", metavar="ORDER"),
    ],
    out: Out,
    embedding: Embedding = None,
    adjust: Annotated[
        str | None,
        typer.Option(
            help="Columns the gradient must survive; also feature:NAME, EMBEDDING:NAME.", metavar="A,B"
        ),
    ] = None,
    group: Annotated[
        str | None, typer.Option(help="Column of blocks (site) to permute within.", metavar="COL")
    ] = None,
    permutations: Annotated[int, typer.Option(help="Permutations of each test.", min=99)] = 9999,
    where: Where = None,
    id_replace: IdReplace = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    no_figures: NoFigures = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Do embeddings follow the stage?

    At all, at every step, and beyond the adjusters.
    """
    check_out(out, "gradient", overwrite=overwrite)
    cohort = _cohort(store, embedding, clinical, id_column=id_column, where=where, id_replace=id_replace)
    run_gradient(
        cohort,
        stage=stage,
        order=order,
        out=out,
        adjust=split_list(adjust),
        group=group,
        permutations=permutations,
        seed=seed,
        console=Console(quiet, as_json, figures=not no_figures),
    )


def project(
    store: Store,
    clinical: Clinical,
    id_column: IdColumn,
    out: Out,
    embedding: Embedding = None,
    method: Annotated[Method, typer.Option(help="UMAP or principal components.")] = Method.UMAP,
    neighbours: Annotated[int, typer.Option(help="Neighbours of a patient in UMAP's graph.", min=2)] = 15,
    min_dist: Annotated[float, typer.Option(help="How tightly UMAP packs.", min=0.0, max=1.0)] = 0.1,
    colour: Annotated[str | None, typer.Option(help="Column that colours the figure.", metavar="COL")] = None,
    order: Annotated[
        str | None, typer.Option(help="Order of the colour's values, when they are stages.", metavar="ORDER")
    ] = None,
    where: Where = None,
    id_replace: IdReplace = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    no_figures: NoFigures = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """The cohort as a picture, and how far to believe it."""
    check_out(out, "project", overwrite=overwrite)
    cohort = _cohort(store, embedding, clinical, id_column=id_column, where=where, id_replace=id_replace)
    run_project(
        cohort,
        out=out,
        colour=colour,
        order=order,
        method=method.value,
        n_neighbors=neighbours,
        min_dist=min_dist,
        seed=seed,
        console=Console(quiet, as_json, figures=not no_figures),
    )


def retrieve(
    store: Store,
    clinical: Clinical,
    id_column: IdColumn,
    out: Out,
    embedding: Annotated[
        list[str] | None,
        typer.Option(help="Embedding ID or name; several are fused by reciprocal rank.", metavar="NAME"),
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="Column that near patients should share.", metavar="COL")
    ] = None,
    query: Annotated[
        list[str] | None, typer.Option(help="Patient whose nearest to list.", metavar="ID")
    ] = None,
    text: Annotated[str | None, typer.Option(help="Words to search images by.", metavar="TEXT")] = None,
    protocol: Annotated[
        Protocol, typer.Option(help="Each against all others, a seeded split, or the published split.")
    ] = Protocol.LOO,
    stratify: Annotated[
        str | None, typer.Option(help="Column that stratifies the split; else the label.", metavar="COL")
    ] = None,
    k: Annotated[int, typer.Option("--k", help="Neighbours to list for --query.", min=1)] = 10,
    rrf_k: Annotated[int, typer.Option(help="Constant of the rank fusion.", min=1)] = 20,
    where: Where = None,
    id_replace: IdReplace = None,
    seed: Seed = 42,
    overwrite: Overwrite = False,
    no_figures: NoFigures = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Nearest patients, and whether they share a label."""
    check_out(out, "retrieve", overwrite=overwrite)
    if label is None and not query and text is None:
        raise InputError(
            "nothing to retrieve: give --label COL for metrics, --query ID for neighbours, or both"
        )
    cohorts = [
        _cohort(store, name, clinical, id_column=id_column, where=where, id_replace=id_replace)
        for name in (embedding or (None,))
    ]
    if text is not None:
        names = ", ".join(c.encoder or c.embedding_id for c in cohorts)
        raise EncoderError(
            f"--text {text!r}: encoder {names} has no text tower; use --query ID or --label COL"
        )
    console = Console(quiet, as_json, figures=not no_figures)
    if stratify is not None and protocol is Protocol.LOO:
        console.note(f"--stratify {stratify} draws a split, and --protocol loo has none: it changes nothing")
    run_retrieve(
        cohorts,
        out=out,
        label=label,
        queries=query or (),
        protocol=protocol.value,
        stratify=stratify,
        k=k,
        rrf_k=rrf_k,
        seed=seed,
        console=console,
    )


def _cohort(
    store: Path,
    embedding: str | None,
    clinical: Path,
    *,
    id_column: str,
    where: list[str] | None,
    id_replace: list[str] | None,
) -> Cohort:
    from analysis.cohort import load_cohort

    return load_cohort(
        store, embedding, clinical, id_column=id_column, where=where or (), id_replace=id_replace or ()
    )
