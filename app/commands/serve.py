"""Serving the dashboard: `app`, and `demo`, which first makes everything there is to see."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.commands.options import AsJson, Clinical, IdColumn, IdReplace, Port, Quiet, Store
from app.console import Console
from app.serving import DEFAULT_PORT, LOCAL_ADDRESS


def register(app: typer.Typer) -> None:
    """Add these commands to the program."""
    app.command("app")(serve_app)
    app.command("demo")(demo)


def serve_app(
    store: Store,
    clinical: Clinical,
    id_column: IdColumn,
    id_replace: IdReplace = None,
    port: Port = DEFAULT_PORT,
    address: Annotated[str, typer.Option(help="Address to listen on.", metavar="HOST")] = LOCAL_ADDRESS,
    results: Annotated[
        Path | None, typer.Option(help="Folder of results to show and to keep selections in.", metavar="DIR")
    ] = None,
    stage: Annotated[str | None, typer.Option(help="Stage column to start with.", metavar="COL")] = None,
    order: Annotated[str | None, typer.Option(help="Its order, 'I,II,III'.", metavar="ORDER")] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Serve the dashboard on this machine."""
    from analysis.clinical import parse_order, read_clinical
    from app.serving import check_port, page_variables, serve
    from flexict_core.errors import StoreError
    from flexict_core.store import EmbeddingStore

    check_port(port, address=address)
    if not EmbeddingStore(store).list():
        raise StoreError(f"store {str(store)!r} holds no embedding: run flexict embed or import first")
    table = read_clinical(clinical, id_column=id_column, id_replace=id_replace or ())
    if stage is not None:
        from analysis.clinical import require_column

        require_column(stage, list(table.frame.columns), f"{clinical.name} (--stage)")
    if order is not None:
        parse_order(order)
    variables = page_variables(
        store, clinical, id_column=id_column, results=results, stage=stage, order=order,
        id_replace=id_replace or (),
    )  # fmt: skip
    raise typer.Exit(serve(variables, address=address, port=port, console=Console(quiet, as_json)))


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the demo.", metavar="DIR")] = Path("flexict-demo"),
    no_serve: Annotated[bool, typer.Option("--no-serve", help="Stop after the analysis.")] = False,
    port: Port = DEFAULT_PORT,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """A synthetic cohort, from CT to dashboard."""
    from app.demo import ID_COLUMN, STAGE, run_demo
    from app.serving import check_port, page_variables, serve

    console = Console(quiet, as_json)
    if not no_serve:
        check_port(port)
    made = run_demo(out, console=console)
    if no_serve:
        console.show_json(made.to_dict())
        return
    variables = page_variables(
        made.store,
        made.clinical,
        id_column=ID_COLUMN,
        results=made.results,
        stage=STAGE,
        order=made.order,
    )
    raise typer.Exit(serve(variables, address=LOCAL_ADDRESS, port=port, console=console))
