"""`flexict report`: a whole study, from its file to one HTML and one PDF."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.commands.options import AsJson, Overwrite, Quiet
from app.console import Console, complain
from flexict_core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from analysis.report.cohorts import Cohorts
    from analysis.report.sections import Section
    from analysis.results import Result
    from app.drawings import Drawing


def register(app: typer.Typer) -> None:
    """Add this command to the program."""
    app.command("report")(report)


def report(
    config: Annotated[
        Path | None, typer.Option(help="Study file (YAML); --example prints one.", metavar="FILE")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the report.", metavar="DIR")] = None,
    store: Annotated[
        Path | None, typer.Option(help="Store, in place of the study file's.", metavar="DIR")
    ] = None,
    clinical: Annotated[
        Path | None, typer.Option(help="Clinical table, in place of the study file's.", metavar="FILE")
    ] = None,
    example: Annotated[
        bool, typer.Option("--example", help="Print a study file with comments and stop.")
    ] = False,
    fresh: Annotated[
        bool,
        typer.Option("--fresh", help="Compute every section anew, also those that an earlier run finished."),
    ] = False,
    overwrite: Overwrite = False,
    no_figures: Annotated[bool, typer.Option("--no-figures", help="Draw no figures and no PDF.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """A whole study as one HTML and one PDF.

    Verdicts first, then every section with figures, table, methods and warnings; flow of patients, checklist, hashes.
    A run that was interrupted goes on where it stopped.
    """
    if example:
        from analysis.report.example import EXAMPLE

        typer.echo(EXAMPLE, nl=False)
        return
    for name, value in (("--config", config), ("--out", out)):
        if value is None:
            raise InputError(
                f"{name} is missing: flexict report --config study.yaml --out DIR (--example prints a study file)"
            )
    from analysis.report.build import write_report

    console = Console(quiet, as_json, figures=not no_figures)
    written = write_report(
        Path(str(config)),
        Path(str(out)),
        drawings_of=section_drawings,
        store=store,
        clinical=clinical,
        overwrite=overwrite,
        fresh=fresh,
        figures=not no_figures,
        command=_command(config, out, store=store, clinical=clinical, no_figures=no_figures),
        say=console.progress_line,
    )
    for line in written.changed:
        console.say(f"changed since the earlier report: {line}")
    for section in written.sections:
        said = f"not answered: {section.failed}" if section.failed else f"{section.verdict}."
        console.say(f"{section.title}: {said}")
    if written.no_pdf and not no_figures:
        console.note(f"no PDF and no figures, all else was written: {written.no_pdf}")
    console.say(f"{written.flow.verdict}")
    for path in (written.html, written.pdf, written.out / "report.json", written.out / "sections"):
        if path is not None:
            console.say(f"wrote {path}")
    console.show_json(written.to_dict())
    if any(section.fault for section in written.sections):
        complain("a section failed by a fault of this program; FLEXICT_DEBUG=1 shows where")
        raise typer.Exit(3)


def _command(
    config: Path | None, out: Path | None, *, store: Path | None, clinical: Path | None, no_figures: bool
) -> str:
    """The call that makes this report again, as a shell takes it. Of an absolute path only the name is printed: the
    report is passed on, and where it lay on one machine is nobody else's matter."""
    paths = {"config": config, "out": out, "store": store, "clinical": clinical}
    parts = ["flexict", "report"]
    for key, path in paths.items():
        if path is not None:
            parts += [f"--{key}", path.name if path.is_absolute() else path.as_posix()]
    return shlex.join([*parts, *(["--no-figures"] if no_figures else [])])


def section_drawings(section: Section, result: Result, cohorts: Cohorts) -> Sequence[Drawing]:
    """The figures of a section of a report: those of its command."""
    from analysis.report.sections import colours
    from app import drawings

    if section.kind == "project":
        values, order = colours(section, cohorts.by_name[section.own])
        label = section.options[0].colour or ""
        return drawings.project_drawings(result, values or None, label=label, order=order)  # type: ignore[arg-type]
    of = {
        "audit": drawings.audit_drawings,
        "gradient": drawings.gradient_drawings,
        "probe": drawings.probe_drawings,
        "retrieve": drawings.retrieve_drawings,
        "survival": drawings.survival_drawings,
    }
    return of[section.kind](result)  # type: ignore[operator]
