"""The flow of patients as a drawing (SVG, in mm): a column of boxes, losses to the right, analyses below."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from itertools import pairwise

from analysis.plots.theme import FONT, wrapped
from analysis.report.flow import Flow, Leaf, Lost

PAGE_MM = 174.0
_PT = 7.5
_LINE_MM = _PT * 25.4 / 72 * 1.32
_PAD, _GAP = 2.2, 7.0
_MAIN_MM, _SIDE_MM, _BETWEEN = 74.0, 83.6, 16.0
_MOST_REASONS = 8
_COLUMNS = 3


@dataclass(frozen=True)
class _Box:
    """A rectangle with lines of text; `strong` lines come first and are bold."""

    x: float
    y: float
    width: float
    strong: tuple[str, ...]
    plain: tuple[str, ...]

    @property
    def height(self) -> float:
        return 2 * _PAD + (len(self.strong) + len(self.plain)) * _LINE_MM

    @property
    def foot(self) -> float:
        return self.y + self.height


def flow_svg(flow: Flow) -> str:
    """The drawing, 174 mm wide; its height follows from what there is to say."""
    main: list[_Box] = []
    side: list[_Box] = []
    y = 0.5
    for i, step in enumerate(flow.steps):
        if step.lost:
            out = sum(count for _, count in step.lost)
            beside = _box(_MAIN_MM + _BETWEEN, y, _SIDE_MM, (f"Left out (n = {out})",), _reasons(step.lost))
            side.append(beside)
            y = beside.foot + _GAP * 0.6
        elif i:
            y += _GAP
        main.append(_box(0.4, y, _MAIN_MM, (step.label, f"n = {step.n}"), ()))
        y = main[-1].foot + (_GAP * 0.6 if i + 1 < len(flow.steps) else 0)
    leaves, rails, foot = _leaves(flow.leaves, y + _GAP)
    lines = [_arrow(a.x + a.width / 2, a.foot, a.x + a.width / 2, b.y) for a, b in pairwise(main)]
    stem = main[0].x + _MAIN_MM / 2
    lines += [_arrow(stem, b.y + b.height / 2, b.x, b.y + b.height / 2) for b in side]
    if leaves:
        lines += [_line(stem, main[-1].foot, stem, rails[0]), *_fan(leaves, stem, rails)]
    drawn = "".join([*lines, *map(_drawn, [*main, *side, *leaves])])
    height = foot + 0.5
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{PAGE_MM}mm" height="{height:.2f}mm" '
        f'viewBox="0 0 {PAGE_MM} {height:.2f}" role="img" aria-label="{escape(flow.verdict)}" '
        f'font-family="{escape(FONT)}" font-size="{_PT * 25.4 / 72:.3f}">{_HEAD}{drawn}</svg>'
    )


def _reasons(lost: Lost) -> tuple[str, ...]:
    ordered = sorted(lost, key=lambda row: -row[1])
    shown = [f"{count}  {reason}" for reason, count in ordered[:_MOST_REASONS]]
    if rest := ordered[_MOST_REASONS:]:
        shown.append(f"{sum(c for _, c in rest)}  for {len(rest)} further reasons (flow.csv)")
    return tuple(shown)


def _box(x: float, y: float, width: float, strong: tuple[str, ...], plain: tuple[str, ...]) -> _Box:
    room = width - 2 * _PAD
    bold = [line for text in strong for line in wrapped(text, room * 0.94, _PT)]
    normal = [line for text in plain for line in wrapped(text, room, _PT)]
    return _Box(x, y, width, tuple(bold), tuple(normal))


def _leaves(leaves: tuple[Leaf, ...], y: float) -> tuple[list[_Box], list[float], float]:
    """Boxes in rows of three, the height of the rail above each row, and the foot of the last row."""
    width = (PAGE_MM - 0.8 - (_COLUMNS - 1) * 4) / _COLUMNS
    boxes, rails = [], []
    for start in range(0, len(leaves), _COLUMNS):
        rails.append(y)
        row = [
            _box(0.4 + i * (width + 4), y + 3.5, width, *_words(leaf))
            for i, leaf in enumerate(leaves[start : start + _COLUMNS])
        ]
        boxes += row
        y = max(b.foot for b in row) + 3.5
    return boxes, rails, y - 3.5 if leaves else y


def _words(leaf: Leaf) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if leaf.n is None:
        return (leaf.label,), ("not answered: the section says why",)
    return (leaf.label, f"n = {leaf.n}"), tuple(f"left out: {line}" for line in _reasons(leaf.lost))


def _fan(leaves: list[_Box], stem: float, rails: list[float]) -> list[str]:
    """From the stem to every row: a rail over the boxes and an arrow into each; rows are joined at the left edge."""
    lines = []
    for i, rail in enumerate(rails):
        row = leaves[i * _COLUMNS : (i + 1) * _COLUMNS]
        middles = [b.x + b.width / 2 for b in row]
        edges = [*middles, stem] if i == 0 else [*middles, _edge(leaves)]
        lines.append(_line(min(edges), rail, max(edges), rail))
        lines += [_arrow(m, rail, m, b.y) for m, b in zip(middles, row, strict=True)]
        if i:
            lines.append(_line(_edge(leaves), rails[i - 1], _edge(leaves), rail))
            lines.append(_line(_edge(leaves), rails[i - 1], max(stem, middles[-1]), rails[i - 1]))
    return lines


def _edge(leaves: list[_Box]) -> float:
    """Between the first and the second column, where a line to the next row crosses no box."""
    return leaves[0].x + leaves[0].width + 2


def _drawn(box: _Box) -> str:
    lines = [(text, "bold") for text in box.strong] + [(text, "normal") for text in box.plain]
    texts = "".join(
        f'<text x="{box.x + _PAD:.2f}" y="{box.y + _PAD + (i + 0.76) * _LINE_MM:.2f}" font-weight="{weight}">'
        f"{escape(text)}</text>"
        for i, (text, weight) in enumerate(lines)
    )
    return (
        f'<rect x="{box.x:.2f}" y="{box.y:.2f}" width="{box.width:.2f}" height="{box.height:.2f}" fill="#fff" '
        f'stroke="#1a1a1a" stroke-width="0.25"/>{texts}'
    )


_HEAD = (
    '<defs><marker id="flow-tip" viewBox="0 0 4 4" refX="4" refY="2" markerWidth="6" markerHeight="6" orient="auto">'
    '<path d="M0 0 L4 2 L0 4 z" fill="#1a1a1a"/></marker></defs>'
)


def _line(x1: float, y1: float, x2: float, y2: float, more: str = "") -> str:
    return f'<line x1="{x1:.2f}" y1="{y1:.2f}" x2="{x2:.2f}" y2="{y2:.2f}" stroke="#1a1a1a" stroke-width="0.25"{more}/>'


def _arrow(x1: float, y1: float, x2: float, y2: float) -> str:
    return _line(x1, y1, x2, y2, ' marker-end="url(#flow-tip)"')
