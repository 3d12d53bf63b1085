"""How commands speak: answers on stdout, notes and progress on stderr, one line for each mistake."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from flexict_core.errors import InputError

if TYPE_CHECKING:
    from analysis.plots.theme import Width


@dataclass(frozen=True)
class Pages:
    """Size of the figures and the files of each."""

    width: Width = "single"
    formats: tuple[str, ...] = ("pdf", "svg", "png")


def pages(width: str, formats: str) -> Pages:
    """The pages asked for. Raises InputError for a size or format that there is not, before anything is computed."""
    from analysis.paper.printing import FORMATS
    from analysis.plots.theme import WIDTH_MM

    kinds = tuple(k.strip().lower() for k in formats.split(",") if k.strip())
    if width not in WIDTH_MM:
        raise InputError(f"--figure-width {width!r} is not known: choose {', '.join(WIDTH_MM)}")
    for kind in kinds or ("",):
        if kind not in FORMATS:
            raise InputError(f"--figure-formats {kind!r} is not known: choose from {', '.join(FORMATS)}")
    return Pages(cast("Width", width), kinds)


@dataclass(frozen=True)
class Console:
    """`quiet` prints nothing but errors, `as_json` only the JSON, `brief` leaves out what a single run would say.

    Progress is shown unless quiet. `figures` says whether runs draw any, `pages` how.
    """

    quiet: bool = False
    as_json: bool = False
    brief: bool = False
    figures: bool = True
    pages: Pages = field(default_factory=Pages)
    _noted: set[str] = field(default_factory=set, repr=False)

    @property
    def progress(self) -> bool:
        return not self.quiet

    def say(self, text: str) -> None:
        """A line of the answer."""
        if not (self.quiet or self.as_json or self.brief):
            print(text, flush=True)

    def note(self, text: str) -> None:
        """A remark beside the answer, once however often it comes."""
        if not self.quiet and text not in self._noted:
            self._noted.add(text)
            print(f"note: {one_line(text)}", file=sys.stderr, flush=True)

    def progress_line(self, text: str) -> None:
        """What is being done now."""
        if self.progress:
            print(f"… {one_line(text)}", file=sys.stderr, flush=True)

    def show_json(self, value: Any) -> None:
        """The machine-readable answer, where it was asked for."""
        if self.as_json and not self.brief:
            from analysis.results import plain

            print(json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False), flush=True)


def one_line(text: object) -> str:
    """Any message as one line, whatever it was made of."""
    return " ".join(str(text).split())


def complain(text: str) -> None:
    """A line about something that went wrong, also when quiet."""
    print(one_line(text), file=sys.stderr, flush=True)


def program(command: str) -> str:
    """What the user typed to get here: "flexict gradient"."""
    return f"flexict {command}".strip()


def print_error(command: str, message: object) -> None:
    """`flexict COMMAND: error: …` on stderr."""
    print(f"{program(command)}: error: {one_line(message)}", file=sys.stderr, flush=True)
