"""Into the store and what is in it: `embed`, `import`, `list`, `encoders`."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.commands.options import AsJson, IdReplace, Quiet, Store, split_list
from app.console import Console, complain
from flexict_core.errors import InputError

if TYPE_CHECKING:
    from flexict_core.engines.ray_data import Ray
    from flexict_core.store import EmbeddingStore

TOLD = 5  # quarantined rows that are printed; the file holds all
QUARANTINED = 3  # exit status: done, but some rows could not be used


class Device(StrEnum):
    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class Precision(StrEnum):
    FP32 = "fp32"
    BF16 = "bf16"


class Engine(StrEnum):
    LOCAL = "local"
    RAY = "ray"


def register(app: typer.Typer) -> None:
    """Add these commands to the program."""
    app.command("embed")(embed)
    app.command("import")(import_table)
    app.command("list")(list_embeddings)
    app.command("encoders")(list_encoders)


def embed(
    manifest: Annotated[Path, typer.Option(help="CSV of patients, images and masks.", metavar="FILE")],
    store: Store,
    encoder: Annotated[str, typer.Option(help="See `flexict encoders`.", metavar="NAME")] = "baseline",
    checkpoint: Annotated[str | None, typer.Option(help="Weights.", metavar="PATH|hf:REPO")] = None,
    recipe: Annotated[
        list[str] | None, typer.Option(help="Preprocessing; given again, one embedding each.", metavar="NAME")
    ] = None,
    pooling: Annotated[str | None, typer.Option(help="Tokens to vector.", metavar="NAME")] = None,
    patch_size: Annotated[int | None, typer.Option(help="Patch size of the network.", min=1)] = None,
    device: Annotated[Device, typer.Option(help="Where the network runs.")] = Device.AUTO,
    precision: Annotated[Precision, typer.Option(help="Number format of the network.")] = Precision.FP32,
    workers: Annotated[int | None, typer.Option(help="Processes that read images.", min=0)] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images the network takes at once.", min=1)] = None,
    shard: Annotated[
        str | None, typer.Option(help="This part of the manifest only: 1/4 … 4/4.", metavar="I/N")
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds a volume may take to be read.", min=1)] = 600.0,
    engine: Annotated[Engine, typer.Option(help="Processes here, or a Ray cluster.")] = Engine.LOCAL,
    ray_address: Annotated[
        str | None, typer.Option(help="The cluster; none: Ray on this machine.", metavar="auto|HOST:PORT")
    ] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """CT volumes of a manifest into embeddings.

    A run that was stopped goes on where it stopped; a row that cannot be used goes to quarantine.
    """
    from flexict_core.embed import embed_together
    from flexict_core.encoders.registry import load_encoder
    from flexict_core.manifest import read_manifest
    from flexict_core.store import EmbeddingStore

    console = Console(quiet, as_json)
    part = parse_shard(shard)
    ray = _ray(engine, ray_address, device)
    listed = read_manifest(manifest)
    encoders = [
        load_encoder(
            encoder,
            checkpoint=checkpoint,
            recipe=name,
            pooling=pooling,
            patch_size=patch_size,
            device=device.value if ray is None or device is Device.CPU else "auto",  # GPUs are elsewhere
            precision=precision.value,
        )
        for name in (recipe or (None,))
    ]
    archive = EmbeddingStore.create(store)
    given = {"workers": workers, "batch_size": batch_size}
    chosen = {name: value for name, value in given.items() if value is not None}
    with end_in_order():
        reports = embed_together(
            listed,
            archive,
            encoders=encoders,
            shard=part,
            timeout_s=timeout,
            ray=ray,
            progress=console.progress,
            **chosen,
        )
    for report in reports:
        console.say(report.summary())
        _tell_quarantine(archive, report.embedding_id, report.quarantined)
    console.show_json(reports[0] if len(reports) == 1 else reports)
    if any(report.quarantined for report in reports):
        raise typer.Exit(QUARANTINED)


def _ray(engine: Engine, address: str | None, device: Device) -> Ray | None:
    if engine is Engine.LOCAL:
        if address is not None:
            raise InputError(
                f"--ray-address {address!r} without --engine ray: add it, or leave the address out"
            )
        return None
    from flexict_core.engines.ray_data import Ray

    return Ray(address, gpus={Device.AUTO: None, Device.CPU: False, Device.CUDA: True}[device])


@contextmanager
def end_in_order() -> Iterator[None]:
    """SIGTERM (a scheduler's time limit) ends a run as Ctrl-C does: what is done is written."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _tell_quarantine(store: EmbeddingStore, embedding_id: str, count: int) -> None:
    """The first rows that could not be used, with the reason, and where all of them are; said even if quiet."""
    if not count:
        return
    rows = store.quarantine(embedding_id)
    for row in rows.head(TOLD).itertuples():
        complain(f"quarantined: patient {row.patient_id!r}, {row.file or f'line {row.row}'}: {row.reason}")
    complain(f"{len(rows)} rows in quarantine: {store.quarantine_path(embedding_id)}")


def parse_shard(text: str | None) -> tuple[int, int]:
    """ "2/4" to (2, 4); nothing given is the whole."""
    if text is None:
        return (1, 1)
    part, slash, parts = text.partition("/")
    if not (slash and part.isdigit() and parts.isdigit() and 1 <= int(part) <= int(parts)):
        raise InputError(f"--shard {text!r} is not I/N with 1 ≤ I ≤ N: write for example --shard 1/4")
    return (int(part), int(parts))


def import_table(
    vectors: Annotated[Path, typer.Option(help="Table of vectors (CSV, Parquet, XLSX).", metavar="FILE")],
    id_column: Annotated[str, typer.Option("--id", help="Column of the patient IDs.", metavar="COLUMN")],
    name: Annotated[str, typer.Option(help="Name of the new embedding.", metavar="NAME")],
    store: Store,
    columns: Annotated[str | None, typer.Option(help="The dimensions, by name.", metavar="A,B,…")] = None,
    prefix: Annotated[
        str | None,
        typer.Option(help="The dimensions: all columns that begin so; several by comma.", metavar="P"),
    ] = None,
    id_replace: IdReplace = None,
    licence: Annotated[str, typer.Option(help="Licence of the vectors.", metavar="TEXT")] = "",
    synthetic: Annotated[
        bool, typer.Option("--synthetic", help="The vectors are of synthetic data.")
    ] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Vectors from elsewhere into the store.

    A row with a gap goes to quarantine.
    """
    from analysis.clinical import require_column, rewrite_id
    from flexict_core.store import EmbeddingStore, import_vectors
    from flexict_core.tables import file_sha256, read_table

    console = Console(quiet, as_json)
    table = read_table(vectors)
    require_column(id_column, list(table.columns), f"{vectors.name} (--id)")
    table[id_column] = [rewrite_id(text, id_replace or ()) for text in table[id_column].astype(str)]
    archive = EmbeddingStore.create(store)
    report = import_vectors(
        archive,
        table,
        id_column=id_column,
        name=name,
        source_sha256=file_sha256(vectors),
        columns=split_list(columns) or None,
        prefix=split_list(prefix) or None,
        synthetic=synthetic,
        licence=licence,
    )
    console.say(
        f"{report.embedding_id}: {report.rows} rows of {len(report.feature_names)} dimensions imported, "
        f"{report.skipped} already there, {report.quarantined} in quarantine"
    )
    console.show_json(report)
    if report.quarantined:
        _tell_quarantine(archive, report.embedding_id, report.quarantined)
        raise typer.Exit(QUARANTINED)


def list_embeddings(store: Store, quiet: Quiet = False, as_json: AsJson = False) -> None:
    """What the store holds."""
    from flexict_core.store import EmbeddingStore

    keys = ("embedding_id", "name", "encoder", "recipe", "pooling", "dim", "rows", "synthetic")
    entries = [{key: getattr(info, key) for key in keys} for info in EmbeddingStore(store).list()]
    console = Console(quiet, as_json)
    console.show_json(entries)
    console.say(aligned([keys, *(tuple(e.values()) for e in entries)]) if entries else "no embeddings yet")


def list_encoders(quiet: Quiet = False, as_json: AsJson = False) -> None:
    """What can embed: weights, licence, recipe."""
    from flexict_core.encoders.registry import available

    console = Console(quiet, as_json)
    infos = available()
    console.show_json(infos)
    for info in infos:
        poolings = ", ".join(filter(None, info.poolings)) or "none"
        console.say(f"{info.name}: {info.description}")
        console.say(f"    {info.dim or '?'} dimensions · recipe {info.recipe} · pooling {poolings}")
        console.say(f"    weights: {info.weights}")
        console.say(f"    licence: {info.licence}")


def aligned(rows: list[tuple[object, ...]]) -> str:
    """Rows of values as a table of text."""
    cells = [[str(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells
    )
