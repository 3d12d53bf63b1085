"""Pieces of the page: escaped, rounded as a reader expects, figures with IDs of their own."""

from __future__ import annotations

from typing import Any

import pytest

from analysis.report.markup import inline_svg, number, prose, table
from tests.analysis.report.conftest import TAG


@pytest.mark.parametrize(
    ("value", "column", "text"),
    [
        (0.12345, "value", "0.123"),
        (123.456, "value", "123.5"),
        (12345.6, "value", "12346"),
        (0.04999, "p_value", "0.0500"),
        (0.00001, "p_value", "<0.0001"),
        (0.456, "p_holm", "0.46"),
        (60, "n", "60"),
        (60.0, "n", "60"),
        (None, "value", ""),
        (float("nan"), "value", ""),
        ("36 + 28", "n", "36 + 28"),
    ],
)
def test_numbers(value: Any, column: str, text: str) -> None:
    assert number(value, column) == text


def test_prose_is_escaped_before_its_bold_words() -> None:
    html = prose(f"**Stage {TAG}.** a < b\n\nsecond")
    assert html == ("<p><b>Stage &lt;script&gt;alert(1)&lt;/script&gt;.</b> a &lt; b</p><p>second</p>")


def test_a_table_merges_intervals_and_heads_its_parts() -> None:
    held = {
        "columns": ["section", "estimate", "value", "ci_low", "ci_high", "n"],
        "rows": [["trend", TAG, 0.7123, 0.6, 0.8, "60"], ["step", "I → II", 1.5, None, None, "30"]],
    }
    html = table("gradient", held)
    assert "0.600 to 0.800" in html
    assert html.count('class="part"') == 2
    assert "<script" not in html
    assert "None" not in html
    assert table("gradient", {}) == ""


def test_figures_get_ids_of_their_own_in_order() -> None:
    def drawn(run: str) -> str:
        return (
            f'<?xml version="1.0"?><svg class="main"><defs><clipPath id="clip{run}"/><path id="p{run}"/></defs>'
            f'<g clip-path="url(#clip{run})"><use xlink:href="#p{run}"/>'
            f'<g style="clip-path: url(&quot;#clip{run}&quot;)"/></g></svg>'
        )

    html = inline_svg(drawn("a81f"), stem="s1f1", label=f'A "figure" {TAG}')
    assert html == inline_svg(drawn("99zz"), stem="s1f1", label=f'A "figure" {TAG}')
    assert html.startswith('<svg role="img" aria-label="A &#34;figure&#34; &lt;script&gt;')
    assert html.count("s1f1-0") == 3
    assert 'xlink:href="#s1f1-1"' in html
    assert "a81f" not in html
