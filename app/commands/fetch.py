"""Public cohorts: `fetch`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.commands.options import AsJson, Quiet
from app.console import Console, complain
from flexict_core.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

LARGE = 10**9  # bytes; more is only fetched with --yes
INCOMPLETE = 3  # exit status: done, but some series did not arrive whole


def register(app: typer.Typer) -> None:
    """Add this command to the program."""
    app.command("fetch")(fetch)


def fetch(
    collection: Annotated[
        str | None, typer.Argument(help="Collection of the Imaging Data Commons; see --list.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the files.", metavar="DIR")] = None,
    patients: Annotated[
        int | None, typer.Option(help="So many patients with CT, by ID; all unless given.", min=1)
    ] = None,
    patient: Annotated[
        list[str] | None, typer.Option(help="This patient. May be given again.", metavar="ID")
    ] = None,
    with_masks: Annotated[
        bool, typer.Option("--with-masks", help="Only patients with a SEG or RTSTRUCT.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Fetch it, also where it is more than 1 GB.")
    ] = False,
    list_only: Annotated[
        bool, typer.Option("--list", help="List the patients, or without COLLECTION the collections.")
    ] = False,
    table: Annotated[
        Path | None,
        typer.Option(help="Write how the series were acquired, as the index has it.", metavar="FILE.csv"),
    ] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """A public collection: CT with SEG and RTSTRUCT.

    From the Imaging Data Commons. Size, licences and citations are said first. --list and --table need no network.
    An interrupted fetch goes on where it stopped.
    """
    console = Console(quiet, as_json)
    chosen = {"patients": patients, "ids": patient or (), "with_masks": with_masks}
    if collection is None:
        if not list_only:
            raise InputError("no COLLECTION given: name one; flexict fetch --list shows all")
        _list_collections(console)
        return
    if list_only or table is not None:
        if out is not None:
            raise InputError(
                f"--{'list' if list_only else 'table'} fetches nothing: leave out --out {str(out)!r}"
            )
        _tell_index(console, collection, table=table, show=list_only, chosen=chosen)
        return
    if out is None:
        raise InputError(f"no --out given: name the folder for the files of {collection!r}")
    _fetch(console, collection, out=out, yes=yes, chosen=chosen)


def _fetch(console: Console, collection: str, *, out: Path, yes: bool, chosen: dict) -> None:
    from flexict_core.archive.download import download
    from flexict_core.archive.plan import in_words, plan_fetch

    plan = plan_fetch(collection, out=out, **chosen)
    console.say(plan.summary())
    if plan.waiting_size > LARGE and not yes:
        raise InputError(
            f"{in_words(plan.waiting_size)} to fetch, more than {in_words(LARGE)}: give --yes, or fewer --patients"
        )
    report = download(plan, progress=console.progress)
    console.say(report.summary())
    console.show_json({**vars(report), "sources": plan.sources})
    console.note(f"next: flexict scan {out} --manifest {out / 'manifest.csv'}")
    if report.missing:
        complain(
            f"{len(report.missing)} series did not arrive whole, first {report.missing[0]} ({report.reason}): give the "
            f"same command again; if it stays so, pip install --upgrade idc-index-data"
        )
        raise typer.Exit(INCOMPLETE)


def _list_collections(console: Console) -> None:
    from flexict_core.archive.index import collections_with_ct

    found = collections_with_ct()
    console.show_json(found.to_dict("records"))
    shown = found[["collection_id", "patients", "ct", "seg", "rtstruct", "size_gb", "cancer_types"]].copy()
    shown["cancer_types"] = shown["cancer_types"].str.slice(0, 60)
    console.say(_text(shown))


def _tell_index(console: Console, collection: str, *, table: Path | None, show: bool, chosen: dict) -> None:
    from flexict_core.archive.index import collection_named, series_of
    from flexict_core.archive.plan import choose_patients, list_patients

    name = collection_named(collection)
    series = series_of(name)
    series = series[series["patient_id"].isin(choose_patients(series, name=name, **chosen))]
    listed = list_patients(series)
    if table is not None:
        if table.exists():
            raise InputError(f"{str(table)!r} exists already: give --table another name")
        series.drop(columns="url").to_csv(table, index=False)
    console.show_json({"collection": name, "patients": listed.to_dict("records"), "table": table})
    if show:
        console.say(_text(listed))
    console.say(
        f"{name}: {len(listed)} patients, {len(series)} series" + (f"; table: {table}" if table else "")
    )


def _text(table: pd.DataFrame) -> str:
    return table.to_string(index=False, na_rep="")
