"""How commands speak: answers on stdout, notes and progress on stderr, one line for each mistake."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Console:
    """`quiet` prints nothing but errors, `as_json` only the JSON, `brief` leaves out what a single run would say.

    Progress is shown unless quiet. `figures` says whether runs draw any.
    """

    quiet: bool = False
    as_json: bool = False
    brief: bool = False
    figures: bool = True
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
