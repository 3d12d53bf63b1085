"""The shareable view of a session, and text from data."""

from __future__ import annotations

import html
import re
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from app.components.plain_text import JOINER, literal
from app.state import AppConfig, pack_selection, unpack_selection
from flexict_core.errors import InputError

IDS = [f"P{i}" for i in range(21)]


@given(st.sets(st.sampled_from(IDS)))
def test_a_selection_survives_the_url(chosen: set[str]) -> None:
    text = pack_selection(IDS, sorted(chosen))
    assert set(unpack_selection(IDS[::-1], text)) == chosen
    assert text is None or re.fullmatch(r"[A-Za-z0-9_-]+", text)


def test_a_large_selection_stays_short() -> None:
    ids = [f"patient-{i}" for i in range(5000)]
    text = pack_selection(ids, ids[:2500])
    assert text is not None
    assert len(text) < 200


@pytest.mark.parametrize(
    "text", ["", "x", "!!!!", "eNoBAAD__w", None, pack_selection([*IDS, "other"], ["P1"])]
)
def test_a_selection_of_another_cohort_or_no_selection_selects_nobody(text: str | None) -> None:
    assert unpack_selection(IDS, text) == ()


# Unicode's control characters that are no white space, and the format characters that hide or turn what follows
UNSEEN = {c for c in map(chr, range(0xA0)) if unicodedata.category(c) == "Cc" and not c.isspace()}
UNSEEN |= set("\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")


@given(st.text(min_size=1, max_size=60))
def test_literal_text_is_shown_letter_by_letter(text: str) -> None:
    shown = MarkdownIt("commonmark").enable(["table", "strikethrough"]).renderInline(literal(text))
    assert "<" not in shown.replace("<br />", "")
    letters = html.unescape(shown).replace(JOINER, "")
    told = "".join(f"‹U+{ord(c):04X}›" if c in UNSEEN else c for c in text)
    assert letters.split() == told.replace(JOINER, "").split()


def test_the_configuration_names_what_is_missing() -> None:
    full: dict[str, Any] = {"FLEXICT_APP_STORE": "s", "FLEXICT_APP_CLINICAL": "c", "FLEXICT_APP_ID": "id"}
    assert AppConfig.from_environment(full).id_column == "id"
    with pytest.raises(InputError, match=r"FLEXICT_APP_ID.*flexict app --store"):
        AppConfig.from_environment({k: v for k, v in full.items() if k != "FLEXICT_APP_ID"})
