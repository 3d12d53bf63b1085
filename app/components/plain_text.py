"""Text that comes from data stays text: no Markdown, no HTML, no icons, links or arrows made of its letters."""

from __future__ import annotations

import re
from typing import Any

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~$:&\"'])")
# Escapes do not stop what Streamlit does after parsing: :material/…: icons, links from bare addresses, "->" to an
# arrow. An invisible word joiner between the letters does.
_LATE = re.compile(r"(?<=:)(?=material/|//)|(?<=www)(?=\.)|(?<=@)(?=\w)|(?<=[<>~-])(?=[-=>])", re.IGNORECASE)
JOINER = "\u2060"
# Control characters, invisible spaces, and those that turn the direction of what follows: shown by their number.
_UNSEEN = re.compile(
    r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u200b\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]"
)
_LONGEST = 2000


def literal(value: Any) -> str:
    """`value` as Markdown that shows exactly its characters, on one line; of a very long one the beginning."""
    text = _UNSEEN.sub(lambda found: f"‹U+{ord(found[0]):04X}›", " ".join(brief(value, _LONGEST).split()))
    return _MARKDOWN.sub(r"\\\1", _LATE.sub(JOINER, text))


def brief(value: Any, most: int) -> str:
    """`value` as text of at most so many characters, with a mark where it was cut."""
    text = str(value)
    return text if len(text) <= most else f"{text[: most - 1]}…"
