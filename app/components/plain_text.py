"""Text that comes from data stays text: no Markdown, no HTML, no icons, links or arrows made of its letters."""

from __future__ import annotations

import re
from typing import Any

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~$:&\"'])")
# Escapes do not stop what Streamlit does after parsing: :material/…: icons, links from bare addresses, "->" to an
# arrow. An invisible word joiner between the letters does.
_LATE = re.compile(r"(?<=:)(?=material/|//)|(?<=www)(?=\.)|(?<=@)(?=\w)|(?<=[<>~-])(?=[-=>])", re.IGNORECASE)
JOINER = "\u2060"


def literal(value: Any) -> str:
    """`value` as Markdown that shows exactly its characters, on one line."""
    return _MARKDOWN.sub(r"\\\1", _LATE.sub(JOINER, " ".join(str(value).split())))
