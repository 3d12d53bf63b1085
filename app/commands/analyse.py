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
from app.runs import check_out, run_gradient, run_project, run_reports, run_retrieve
from flexict_core.errors import EncoderError, InputError

if TYPE_CHECKING:
    from analysis.cohort import Cohort
    from analysis.zero_shot import EncodeText


class Method(StrEnum):
    UMAP = "umap"
    PCA = "pca"
    TSNE = "tsne"


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
    embedding: Annotated[
        list[str] | None,
        typer.Option(
            help="Embedding ID or unambiguous name; further ones are compared with the first on the same patients.",
            metavar="NAME",
        ),
    ] = None,
    adjust: Annotated[
        str | None,
        typer.Option(
            help="Columns the gradient must survive; also feature:NAME, EMBEDDING:NAME.", metavar="A,B"
        ),
    ] = None,
    group: Annotated[
        str | None, typer.Option(help="Column of blocks (site) to permute within.", metavar="COL")
    ] = None,
    axis: Annotated[
        Path | None,
        typer.Option(help="Axis of another cohort (its axis.json), to apply here unchanged.", metavar="FILE"),
    ] = None,
    save_axis: Annotated[
        Path | None, typer.Option(help="Write the axis here too; --out holds axis.json.", metavar="FILE")
    ] = None,
    duration: Annotated[
        str | None, typer.Option(help="Column of the time to the outcome; with --event.", metavar="COL")
    ] = None,
    event: Annotated[
        str | None, typer.Option(help="Column of the outcome: 1 it happened, 0 censored.", metavar="COL")
    ] = None,
    event_value: Annotated[
        str | None, typer.Option(help="Value of --event that means it happened, as 'dead'.", metavar="VALUE")
    ] = None,
    duration_unit: Annotated[
        str | None, typer.Option(help="Unit of --duration, for the words.", metavar="UNIT")
    ] = None,
    permutations: Annotated[int, typer.Option(help="Permutations of each test.", min=99)] = 9999,
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
    """Do embeddings follow the stage?

    At all, at every step, beyond the adjusters, in another cohort (--axis), and beside other embeddings.
    """
    check_out(out, "gradient", overwrite=overwrite)
    if (duration is None) != (event is None):
        missing = "--event" if event is None else "--duration"
        raise InputError(f"--duration and --event belong together: {missing} is missing")
    names: list[str | None] = [*embedding] if embedding else [None]
    cohorts = [
        _cohort(store, name, clinical, id_column=id_column, where=where, id_replace=id_replace)
        for name in names
    ]
    against = {str(name): other for name, other in zip(names[1:], cohorts[1:], strict=True)}
    twice = [name for name, other in against.items() if other.embedding_id == cohorts[0].embedding_id]
    if twice or len(against) < len(names) - 1:
        raise InputError(f"--embedding {(twice or names)[-1]!r} is given twice: name different embeddings")
    run_gradient(
        cohorts[0],
        stage=stage,
        order=order,
        out=out,
        adjust=split_list(adjust),
        group=group,
        against=against,
        axis=axis,
        save_axis=save_axis,
        duration=duration,
        event=event,
        event_value=event_value,
        duration_unit=duration_unit,
        permutations=permutations,
        seed=seed,
        console=Console(quiet, as_json, figures=not no_figures, pages=pages(figure_width, figure_formats)),
    )


def project(
    store: Store,
    clinical: Clinical,
    id_column: IdColumn,
    out: Out,
    embedding: Embedding = None,
    method: Annotated[Method, typer.Option(help="UMAP, principal components or t-SNE.")] = Method.UMAP,
    neighbours: Annotated[int, typer.Option(help="Neighbours of a patient in UMAP's graph.", min=2)] = 15,
    min_dist: Annotated[float, typer.Option(help="How tightly UMAP packs.", min=0.0, max=1.0)] = 0.1,
    colour: Annotated[str | None, typer.Option(help="Column that colours the figure.", metavar="COL")] = None,
    order: Annotated[
        str | None, typer.Option(help="Order of the colour's values, when they are stages.", metavar="ORDER")
    ] = None,
    clusters: Annotated[
        bool, typer.Option("--clusters", help="Look for density clusters and what they are rich in.")
    ] = False,
    place: Annotated[
        str | None,
        typer.Option(
            help="Patients to place on the map of the others by their neighbours.", metavar="COL=VALUE"
        ),
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
        clusters=clusters,
        place=place,
        seed=seed,
        console=Console(quiet, as_json, figures=not no_figures, pages=pages(figure_width, figure_formats)),
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
    text: Annotated[
        str | None, typer.Option(help="Words to search CTs by (FlexiCT-3D-VLM).", metavar="TEXT")
    ] = None,
    report: Annotated[
        str | None,
        typer.Option(help="Column of reports: do they and the CTs find each other?", metavar="COL"),
    ] = None,
    checkpoint: Annotated[
        str | None, typer.Option(help="Weights whose words to use.", metavar="PATH|hf:REPO")
    ] = None,
    text_model: Annotated[
        str | None, typer.Option(help="Folder with the tokenizer of these words.", metavar="DIR|hf:REPO")
    ] = None,
    protocol: Annotated[
        Protocol, typer.Option(help="Each against all others, a seeded split, or the published split.")
    ] = Protocol.LOO,
    stratify: Annotated[
        str | None, typer.Option(help="Column that stratifies the split; else the label.", metavar="COL")
    ] = None,
    k: Annotated[int, typer.Option("--k", help="Neighbours to list for --query.", min=1)] = 10,
    rrf_k: Annotated[int, typer.Option(help="Constant of the rank fusion.", min=1)] = 20,
    match: Annotated[
        str | None,
        typer.Option(help="Columns that a control holds equal, such as size and scanner.", metavar="A,B"),
    ] = None,
    caliper: Annotated[
        float, typer.Option(help="How near matched numbers must lie, in standard deviations.", min=0.0)
    ] = 0.5,
    where: Where = None,
    id_replace: IdReplace = None,
    seed: Seed = 42,
    overwrite: Overwrite = False,
    no_figures: NoFigures = False,
    figure_width: FigureWidth = "single",
    figure_formats: FigureFormats = "pdf,svg,png",
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Nearest patients, and whether they share a label."""
    check_out(out, "retrieve", overwrite=overwrite)
    if label is None and not query and text is None and report is None:
        raise InputError(
            "nothing to retrieve: give --label COL for metrics, --query ID or --text WORDS for neighbours, "
            "or --report COL for reports"
        )
    if report is not None and (label is not None or query or text is not None):
        raise InputError(
            f"--report {report!r} is an analysis of its own: leave out --label, --query and --text"
        )
    cohorts = [
        _cohort(store, name, clinical, id_column=id_column, where=where, id_replace=id_replace)
        for name in (embedding or (None,))
    ]
    words = None
    if text is not None or report is not None:
        asked = f"--text {text!r}" if text is not None else f"--report {report!r}"
        words = _words(cohorts, asked=asked, checkpoint=checkpoint, text_model=text_model)
    if match is not None and label is None:
        raise InputError(f"--match {match!r} is a control of --label, and there is none: name the label")
    console = Console(quiet, as_json, figures=not no_figures, pages=pages(figure_width, figure_formats))
    if stratify is not None and protocol is Protocol.LOO:
        console.note(f"--stratify {stratify} draws a split, and --protocol loo has none: it changes nothing")
    if report is not None and words is not None:
        run_reports(cohorts[0], column=report, encode_text=words, out=out, seed=seed, console=console)
        return
    run_retrieve(
        cohorts,
        out=out,
        label=label,
        queries=query or (),
        text=text,
        encode_text=words,
        protocol=protocol.value,
        stratify=stratify,
        k=k,
        rrf_k=rrf_k,
        match=split_list(match) or None,
        caliper=caliper,
        seed=seed,
        console=console,
    )


def _words(
    cohorts: list[Cohort], *, asked: str, checkpoint: str | None, text_model: str | None
) -> EncodeText:
    """What places words beside the images of a cohort: the text tower of the weights that embedded them."""
    from flexict_core.encoders.text import words_for
    from flexict_core.store.format import read_spec

    if len(cohorts) > 1:
        raise InputError(f"{asked} needs one --embedding: words have no place in several at once")
    cohort = cohorts[0]
    spec = read_spec(Path(cohort.store or ".") / cohort.embedding_id)
    try:
        return words_for(spec, checkpoint=checkpoint, text_model=text_model).encode_text
    except EncoderError as error:
        raise EncoderError(f"{asked}: {error}") from None


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
