"""`flexict export`: a cohort for other people's tools."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from app.commands.options import AsJson, Clinical, IdColumn, IdReplace, Overwrite, Quiet, Seed, Store, Where
from app.console import Console
from flexict_core.errors import InputError


class Kind(StrEnum):
    ANNDATA = "anndata"
    PARQUET = "parquet"


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
    to: Annotated[Kind, typer.Option(help="AnnData (.h5ad, for scanpy) or Parquet (for Embedding Atlas).")],
    out: Annotated[Path, typer.Option(help="File to write.", metavar="FILE")],
    embedding: Annotated[
        list[str] | None,
        typer.Option(
            help="Embedding ID or name; further ones go into the AnnData beside the first.", metavar="NAME"
        ),
    ] = None,
    drawn: Annotated[Map, typer.Option("--map", help="Two-dimensional picture to put in.")] = Map.UMAP,
    where: Where = None,
    id_replace: IdReplace = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Embeddings, clinical columns and a map in one file.

    One row a patient. The file holds the clinical columns: keep it where they may lie.
    """
    from analysis import interchange, project
    from analysis.cohort import load_cohort
    from analysis.gradient.alignment import in_every_embedding

    if out.exists() and not overwrite:
        what = (
            "is a folder: name a file"
            if out.is_dir()
            else "is already there: pass --overwrite or name another"
        )
        raise InputError(f"--out {str(out)!r} {what}")
    interchange.with_ending(out, {Kind.ANNDATA: ".h5ad", Kind.PARQUET: ".parquet"}[to])
    names: list[str | None] = [*embedding] if embedding else [None]
    if len(names) > 1 and to is Kind.PARQUET:
        raise InputError(
            f"--embedding {names[-1]!r}: a Parquet file holds one embedding: write one file each"
        )
    loaded = [
        load_cohort(
            store, name, clinical, id_column=id_column, where=where or (), id_replace=id_replace or ()
        )
        for name in names
    ]
    by_name = {str(name): cohort for name, cohort in zip(names, loaded, strict=True)}
    aligned = [in_every_embedding(c, {n: o for n, o in by_name.items() if o is not c}) for c in loaded]
    first, console = aligned[0], Console(quiet, as_json)
    for text in first.warnings:
        console.note(text)
    picture = None
    if drawn is not Map.NONE:
        console.progress_line("drawing the map")
        method: Any = drawn.value
        picture = project(first, method=method, seed=seed, other_seeds=0, progress=console.progress)
    opened = ""
    if to is Kind.PARQUET:
        written = interchange.write_parquet(interchange.atlas_table(first, picture), out)
        opened = interchange.atlas_command(written, mapped=picture is not None)
    else:
        others = dict(zip(list(by_name)[1:], aligned[1:], strict=True))
        maps = {} if picture is None else {drawn.value: picture}
        written = interchange.write_anndata(
            interchange.to_anndata(first, projections=maps, others=others), out
        )
        opened = f"python -c \"import anndata; print(anndata.read_h5ad('{written}'))\""
    console.say(
        f"wrote {written}: {first.n} patients × {first.X.shape[1]} dimensions of {first.embedding_id}"
    )
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
