"""`flexict export`: a cohort for other people's tools."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.commands.options import AsJson, Clinical, IdColumn, IdReplace, Overwrite, Quiet, Seed, Store, Where
from app.console import Console
from flexict_core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from analysis.cohort import Cohort


class Kind(StrEnum):
    ANNDATA = "anndata"
    PARQUET = "parquet"
    NIFTI = "nifti"


ENDINGS = {Kind.ANNDATA: ".h5ad", Kind.PARQUET: ".parquet", Kind.NIFTI: ".nii.gz"}


class Map(StrEnum):
    UMAP = "umap"
    PCA = "pca"
    TSNE = "tsne"
    NONE = "none"


def register(app: typer.Typer) -> None:
    """Add this command to the program."""
    app.command("export")(export)


def export(
    store: Store,
    clinical: Clinical,
    id_column: IdColumn,
    to: Annotated[
        Kind,
        typer.Option(
            help="AnnData (.h5ad, for scanpy), Parquet (for Embedding Atlas), or a case's stage-axis map as NIfTI."
        ),
    ],
    out: Annotated[Path, typer.Option(help="File to write.", metavar="FILE")],
    embedding: Annotated[
        list[str] | None,
        typer.Option(
            help="Embedding ID or name; further ones go into the AnnData beside the first.", metavar="NAME"
        ),
    ] = None,
    drawn: Annotated[Map, typer.Option("--map", help="Two-dimensional picture to put in.")] = Map.UMAP,
    patient: Annotated[
        str | None, typer.Option(help="Case of the stage-axis map (nifti).", metavar="ID")
    ] = None,
    stage: Annotated[
        str | None, typer.Option(help="Stage whose axis all others teach (nifti).", metavar="COL")
    ] = None,
    order: Annotated[str | None, typer.Option(help="Its order (nifti).", metavar="ORDER")] = None,
    group: Annotated[
        str | None,
        typer.Option(help="Column within whose values the axis is learnt (nifti).", metavar="COL"),
    ] = None,
    axis: Annotated[
        Path | None, typer.Option(help="A saved axis.json in their place (nifti).", metavar="FILE")
    ] = None,
    checkpoint: Annotated[
        str | None, typer.Option(help="Weights of the embedding's encoder (nifti).", metavar="PATH|hf:REPO")
    ] = None,
    where: Where = None,
    id_replace: IdReplace = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Embeddings, clinical columns and a map in one file; or where in a CT its stage score comes from.

    AnnData and Parquet: one row a patient, with the clinical columns: keep the file where they may lie.
    """
    from analysis import interchange
    from analysis.cohort import load_cohort
    from analysis.gradient.alignment import in_every_embedding

    if out.exists() and not overwrite:
        what = "is a folder: name a file"
        raise InputError(
            f"--out {str(out)!r} {what if out.is_dir() else 'is already there: pass --overwrite or name another'}"
        )
    interchange.with_ending(out, ENDINGS[to])
    names: list[str | None] = [*embedding] if embedding else [None]
    if len(names) > 1 and to is not Kind.ANNDATA:
        raise InputError(f"--embedding {names[-1]!r}: a .{to.value} file is of one embedding: write one each")
    loaded = [
        load_cohort(
            store, name, clinical, id_column=id_column, where=where or (), id_replace=id_replace or ()
        )
        for name in names
    ]
    by_name = {str(name): cohort for name, cohort in zip(names, loaded, strict=True)}
    aligned = [in_every_embedding(c, {n: o for n, o in by_name.items() if o is not c}) for c in loaded]
    console = Console(quiet, as_json)
    for text in aligned[0].warnings:
        console.note(text)
    if to is Kind.NIFTI:
        _overlay(
            aligned[0],
            out,
            patient,
            stage=stage,
            order=order,
            group=group,
            axis=axis,
            checkpoint=checkpoint,
            overwrite=overwrite,
            console=console,
        )
        return
    cohorts = dict(zip(by_name, aligned, strict=True))
    _table(cohorts, out, to, drawn=drawn, seed=seed, console=console)


def _overlay(
    cohort: Cohort,
    out: Path,
    patient: str | None,
    *,
    stage: str | None,
    order: str | None,
    group: str | None,
    axis: Path | None,
    checkpoint: str | None,
    overwrite: bool,
    console: Console,
) -> None:
    from analysis.gradient.transport import StageAxis
    from app.axis_overlay import write_overlay

    if patient is None:
        raise InputError("--to nifti is of one case: name it with --patient ID")
    console.progress_line("encoding the CT")
    made = write_overlay(
        cohort,
        patient,
        out,
        stage=stage,
        order=order,
        group=group,
        axis=None if axis is None else StageAxis.load(axis),
        checkpoint=checkpoint,
        overwrite=overwrite,
    )
    if made.caution is not None:
        console.note(f"weights: {made.caution}")
    console.say(f"{patient}: {made.found.summary()}")
    console.say(f"wrote {made.nifti} and {made.about.name}: one voxel a patch, in stages; lay it over the CT")
    console.show_json({"path": str(made.nifti), "score": made.found.score, "patch_part": made.found.patch_part,
                       "cls_part": made.found.cls_part, "synthetic": cohort.synthetic})  # fmt: skip


def _table(
    cohorts: Mapping[str, Cohort], out: Path, to: Kind, *, drawn: Map, seed: int, console: Console
) -> None:
    from analysis import interchange, project

    first = next(iter(cohorts.values()))
    picture = None
    if drawn is not Map.NONE:
        console.progress_line("drawing the map")
        method: Any = drawn.value
        picture = project(first, method=method, seed=seed, other_seeds=0, progress=console.progress)
    if to is Kind.PARQUET:
        written = interchange.write_parquet(interchange.atlas_table(first, picture), out)
        opened = interchange.atlas_command(written, mapped=picture is not None)
    else:
        others = dict(list(cohorts.items())[1:])
        maps = {} if picture is None else {drawn.value: picture}
        written = interchange.write_anndata(
            interchange.to_anndata(first, projections=maps, others=others), out
        )
        opened = f"python -c \"import anndata; print(anndata.read_h5ad('{written}'))\""
    size = f"{first.n} patients × {first.X.shape[1]} dimensions"
    console.say(f"wrote {written}: {size} of {first.embedding_id}")
    console.say(f"open it: {opened}")
    console.show_json(
        {
            "path": str(written),
            "patients": first.n,
            "dimensions": first.X.shape[1],
            "embedding_id": first.embedding_id,
            "map": None if picture is None else drawn.value,
            "open": opened,
            "synthetic": first.synthetic,
        }
    )
