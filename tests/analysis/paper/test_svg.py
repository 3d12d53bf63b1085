"""Ids of drawings that stand on one page."""

from __future__ import annotations

from analysis.paper.svg import renamed_ids


def test_ids_and_every_way_to_refer_to_one_are_renamed_and_nothing_else() -> None:
    svg = (
        '<g id="a" data-id="a"/><g id="ab" clip-path="url(#a)" style="fill: url(&quot;#ab&quot;); mask: url(\'#a\')"/>'
        '<use href="#ab"/><use xlink:href="#a"/><text>#a</text><a href="#away"/>'
    )
    assert renamed_ids(svg, lambda i, old: f"{old}{i}-x") == (
        '<g id="a0-x" data-id="a"/><g id="ab1-x" clip-path="url(#a0-x)" '
        "style=\"fill: url(&quot;#ab1-x&quot;); mask: url('#a0-x')\"/>"
        '<use href="#ab1-x"/><use xlink:href="#a0-x"/><text>#a</text><a href="#away"/>'
    )
