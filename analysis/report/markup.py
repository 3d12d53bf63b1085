"""Pieces of the page: prose, tables, numbers and drawings as HTML. Every text from data is escaped here."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from analysis.paper.svg import renamed_ids

if TYPE_CHECKING:
    from analysis.report.characteristics import Cell, Characteristics

MOST_ROWS = 120
# of wide tables, the columns that a page has room for; all are in the section's CSV file
_SHOWN = {
    "audit": (
        "field", "kind", "metric", "readability", "ci_low", "ci_high", "p_holm", "association",
        "association_value", "association_p_holm", "n", "verdict",
    ),
    "retrieve": (
        "metric", "mean", "ci_low", "ci_high", "random", "difference", "difference_ci_low", "difference_ci_high",
    ),
}  # fmt: skip
_NAMES = {
    "p_value": "p", "p_holm": "p (Holm)", "ci": "95 % CI", "difference_ci": "95 % CI of the difference",
    "association": "with the label", "association_value": "value", "association_p_holm": "its p (Holm)",
}  # fmt: skip


def prose(text: str) -> Markup:
    """Paragraphs of Markdown with **bold** words, escaped first."""
    blocks = [b.strip() for b in re.split(r"\n\s*\n", text) if b.strip()]
    return Markup("").join(Markup("<p>{}</p>").format(_bold(b)) for b in blocks)


def _bold(text: str) -> Markup:
    return Markup(re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", str(escape(" ".join(text.split())))))


def number(value: Any, column: str = "") -> str:
    """A number as a table prints it: three decimals, fewer for large ones, p to its first digits."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if column.startswith("p_") or column.endswith("_p_holm"):
        return "<0.0001" if value < 0.0001 else f"{value:.4f}" if value < 0.1 else f"{value:.2f}"
    if isinstance(value, int) or column in ("n", "queries", "levels"):
        return str(round(value))
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 100 else f"{value:.3f}"


def table(kind: str, held: Mapping[str, Any]) -> Markup:
    """A section's main table: intervals in one column, a heading row for each part, numbers on the right."""
    columns, rows = list(held.get("columns", [])), list(held.get("rows", []))
    if not rows:
        return Markup("")
    if kind in _SHOWN:
        at = [columns.index(c) for c in _SHOWN[kind] if c in columns]
        columns, rows = [columns[i] for i in at], [[row[i] for i in at] for row in rows]
    parted = columns[0] == "section"
    cells = [_merged(columns, row) for row in rows]
    heads = [name for name, _ in cells[0]]
    numeric = [_is_numeric(columns, rows, name) for name in heads]
    body: list[Markup] = []
    part = None
    for row in cells[:MOST_ROWS]:
        if parted and row[0][1] != part:
            part = row[0][1]
            body.append(Markup('<tr class="part"><th colspan="{}">{}</th></tr>').format(len(heads) - 1, part))
        body.append(_row(row[parted:], numeric[parted:]))
    more = ""
    if len(cells) > MOST_ROWS:
        more = Markup('<p class="note">{} further rows are in the CSV file.</p>').format(
            len(cells) - MOST_ROWS
        )
    head = Markup("").join(
        Markup('<th class="{}">{}</th>').format(
            "num" if is_number else "", _NAMES.get(name, name.replace("_", " "))
        )
        for name, is_number in zip(heads[parted:], numeric[parted:], strict=True)
    )
    return Markup('<table class="data"><thead><tr>{}</tr></thead><tbody>{}</tbody></table>{}').format(
        head, Markup("").join(body), more
    )


def _row(row: Sequence[tuple[str, str]], numeric: Sequence[bool]) -> Markup:
    return Markup("<tr>{}</tr>").format(
        Markup("").join(
            Markup('<td class="{}">{}</td>').format("num" if is_number else "", text)
            for (_, text), is_number in zip(row, numeric, strict=True)
        )
    )


def _merged(columns: Sequence[str], row: Sequence[Any]) -> list[tuple[str, str]]:
    """(name, text) of each cell; "ci_low" and "ci_high" are one cell "ci"."""
    found = []
    for name, value in zip(columns, row, strict=True):
        if name.endswith("ci_high"):
            continue
        if name.endswith("ci_low"):
            high = row[columns.index(name.replace("ci_low", "ci_high"))]
            both = f"{number(value)} to {number(high)}" if value is not None and high is not None else ""
            found.append((name.removesuffix("_low"), both))
        else:
            found.append((name, number(value, name)))
    return found


def _is_numeric(columns: Sequence[str], rows: Sequence[Sequence[Any]], name: str) -> bool:
    source = f"{name}_low" if name.endswith("ci") else name
    values = [row[columns.index(source)] for row in rows if row[columns.index(source)] is not None]
    return name == "n" or (bool(values) and all(isinstance(v, int | float) for v in values))


def characteristics_table(result: Characteristics) -> Markup:
    """One row a characteristic or level, one column a group."""
    head = Markup("").join(
        Markup('<th class="num">{}<br><span>n = {}</span></th>').format(group, n)
        for group, n in zip(result.groups, result.counts, strict=True)
    )
    body: list[Markup] = []
    before = None
    for r in result.rows:
        if r.level and r.column != before:
            body.append(
                Markup('<tr class="part"><th colspan="{}">{}{}</th></tr>').format(
                    len(result.groups) + 1, r.column, _gaps(r.missing)
                )
            )
        name = Markup('<td class="level">{}</td>').format(r.level) if r.level else Markup("<td>{}{}</td>").format(
            r.column, _gaps(r.missing)
        )  # fmt: skip
        cells = Markup("").join(Markup('<td class="num">{}</td>').format(_cell(c)) for c in r.cells)
        body.append(Markup("<tr>{}{}</tr>").format(name, cells))
        before = r.column
    return Markup(
        '<table class="data"><thead><tr><th>characteristic</th>{}</tr></thead><tbody>{}</tbody></table>'
    ).format(head, Markup("").join(body))


def _gaps(missing: int) -> str:
    return f" ({missing} missing)" if missing else ""


def _cell(cell: Cell) -> str:
    if cell.median is not None and cell.low is not None and cell.high is not None:
        return f"{_short(cell.median)} ({_short(cell.low)} to {_short(cell.high)})"
    if cell.count is not None and cell.share is not None:
        return f"{cell.count} ({100 * cell.share:.0f} %)"
    return "–"


def _short(value: float) -> str:
    """At most one decimal above ten, two below: as a clinician writes them."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def inline_svg(svg: str, *, stem: str, label: str) -> Markup:
    """A drawing of this project for the page: no declaration, IDs of its own, a label for those who cannot see it.

    IDs are numbered in the order in which they occur and class names go, so that the same figure gives the same bytes.
    """
    body = re.sub(
        r'\sclass="[^"]*"', "", svg[svg.index("<svg") :]
    )  # plotly names traces at random; no style uses it
    body = renamed_ids(body, lambda i, _: f"{stem}-{i}")
    if 'role="img"' not in body[: body.index(">")]:
        body = body.replace("<svg", f'<svg role="img" aria-label="{escape(label)}"', 1)
    return Markup(body)  # drawn by this project, its texts escaped by the drawing
