"""`flexict …`: parses the call, runs the command, and turns every mistake of the user into one line.

Exit status: 0 done; 2 the call or the input is wrong; 3 done, but some rows went to quarantine; 130 interrupted;
1 a fault of this program (set FLEXICT_DEBUG=1 to see where).
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated

import typer

from app.commands import analyse, audit, embed, export, fetch, probe, report, scan, serve, survival
from app.console import one_line, print_error, program
from flexict_core.errors import FlexictError, FlexictWarning

RESUMABLE = ("fetch", "embed", "demo", "report")

app = typer.Typer(
    name="flexict",
    help="Find out what a CT foundation model has learnt about disease. Research use only.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (scan, fetch, embed, analyse, audit, probe, survival, report, export, serve):
    command.register(app)


def _show_version(wanted: bool) -> None:
    if wanted:
        from flexict_core import __version__

        typer.echo(f"flexict {__version__}")
        raise typer.Exit


@app.callback()
def options_of_all(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Find out what a CT foundation model has learnt about disease. Research use only."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status comes back (see the module's docstring)."""
    given = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    known = {c.name for c in app.registered_commands}
    command = next((a for a in given if a in known), "")
    with warnings.catch_warnings():
        quiet = bool({"--quiet", "-q"} & set(given))
        _show_warnings_as_lines(command, quiet=quiet)
        logging.getLogger("flexict_core").setLevel(logging.ERROR if quiet else logging.WARNING)
        return _run(given, command)


def _run(given: list[str], command: str) -> int:
    try:
        status = app(args=given, prog_name="flexict", standalone_mode=False)
    except FlexictError as error:
        return _fail(command, error)
    except typer.TyperException as error:  # a wrong call: unknown option, missing option, bad value
        return _fail(command, f"{_with_value(error, given)} (see {program(command)} --help)")
    except (typer.Abort, KeyboardInterrupt):  # the second: while the commands are put together
        status = 130
    except OSError as error:  # no permission, disk full, a folder where a file should be
        return _fail(command, f"{error.strerror or error}: {error.filename or 'no file named'}")
    except MemoryError:
        return _fail(command, "out of memory: use fewer --workers or a machine with more")
    except Exception as error:
        if os.environ.get("FLEXICT_DEBUG"):
            raise
        print_error(command, f"internal error, {type(error).__name__}: {error}; FLEXICT_DEBUG=1 shows where")
        return 1
    if status == 130:
        print_error(
            command, "interrupted" + "; the same command goes on where it stopped" * (command in RESUMABLE)
        )
    return status if isinstance(status, int) else 0


def _with_value(error: typer.TyperException, given: list[str]) -> str:
    """The message about a wrong call, with the value that was given where the message leaves it out."""
    message = error.format_message().rstrip(".")
    names = getattr(getattr(error, "param", None), "opts", ())
    values = [value for name, value in pairwise(given) if name in names]
    return message if not values or repr(values[-1]) in message else f"{message}, got {values[-1]!r}"


def _fail(command: str, message: object) -> int:
    if os.environ.get("FLEXICT_DEBUG"):
        import traceback

        traceback.print_exc()
    print_error(command, message)
    return 2


def _show_warnings_as_lines(command: str, *, quiet: bool) -> None:
    """This project's warnings as `flexict COMMAND: warning: …`; those of libraries only when debugging."""

    def show(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
        if not quiet:
            print(f"{program(command)}: warning: {one_line(message)}", file=sys.stderr, flush=True)

    if not os.environ.get("FLEXICT_DEBUG"):
        warnings.simplefilter("ignore")
    warnings.filterwarnings("always", category=FlexictWarning)
    warnings.showwarning = show


if __name__ == "__main__":
    sys.exit(main())
