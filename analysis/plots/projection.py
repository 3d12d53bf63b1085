"""The map: patients in two dimensions, coloured by any column, with how far it can be believed printed below."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.clinical import canonical, canonical_column
from analysis.plots.theme import (
    INK,
    MISSING_COLOUR,
    PT,
    SYMBOLS,
    TICK_PT,
    TITLE_PT,
    Width,
    blank,
    category_style,
    finish,
    ordered_colours,
    shown,
    text_mm,
    width_mm,
)
from flexict_core.errors import AnalysisError

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from analysis.projection import ProjectionResult

_MOST_CATEGORIES = 12
_FEWEST_NUMBERS = 7  # a numeric column with fewer different values is shown as categories
OTHER, MISSING = "other", "missing"
NAMES = {"umap": "UMAP", "pca": "PCA", "tsne": "t-SNE"}


@dataclass(frozen=True)
class Colouring:
    """A column as it colours the map: numbers [n] with NaN for missing, or category labels [n] in order."""

    label: str
    numbers: np.ndarray | None
    labels: np.ndarray | None
    categories: tuple[str, ...] = ()
    ordered: bool = False


def colouring(
    values: Sequence[Any] | np.ndarray, *, label: str, order: Sequence[str] | None = None
) -> Colouring:
    """How a column colours the map: `order` given: ordered categories; numbers with at least 7 different values:
    a colour scale; else categories, of which the 11 most frequent keep a colour of their own.
    """
    given = np.asarray(values)
    if (
        order is None
        and given.dtype.kind == "f"
        and len(np.unique(given[np.isfinite(given)][:1000])) >= _FEWEST_NUMBERS
    ):
        return Colouring(label, np.where(np.isfinite(given), given, np.nan), None)  # plainly a number
    texts = canonical_column(values)
    present = Counter(t for t in texts if t)
    if order is not None:
        unknown = sorted(set(present) - {canonical(o) for o in order})
        if unknown:
            raise AnalysisError(
                f"{label} holds {unknown[0]!r}, which the order {', '.join(order)} does not name"
            )
        names = [o for o in order if canonical(o) in present]
        shown_as = {canonical(o): o for o in order}
        named = np.array([shown_as.get(t, MISSING) for t in texts], dtype=object)
        return Colouring(label, None, named, tuple(names), ordered=True)
    numbers = _numbers(texts)
    if numbers is not None and len(present) >= _FEWEST_NUMBERS:
        return Colouring(label, numbers, None)
    names = _sorted(present)
    if len(names) > _MOST_CATEGORIES:
        frequent = [t for t, _ in present.most_common(_MOST_CATEGORIES - 1)]
        names = [*[t for t in names if t in frequent], OTHER]
    kept = set(names)
    labels = np.array([t if t in kept else OTHER if t else MISSING for t in texts], dtype=object)
    return Colouring(label, None, labels, tuple(names), ordered=numbers is not None)


def _numbers(texts: np.ndarray) -> np.ndarray | None:
    try:
        return np.array([float(t) if t else np.nan for t in texts])
    except ValueError:
        return None


def _sorted(present: Counter[str]) -> list[str]:
    """Numbers by value, texts as people count: "site 2" before "site 10"."""
    try:
        return sorted(present, key=float)
    except ValueError:
        return sorted(present, key=lambda t: [int(p) if p.isdecimal() else p for p in re.split(r"(\d+)", t)])


def projection_map(
    result: ProjectionResult,
    values: Sequence[Any] | np.ndarray | None = None,
    *,
    label: str = "",
    order: Sequence[str] | None = None,
    webgl: bool = False,
    width: Width = "single",
) -> go.Figure:
    """Scatter of the map; every point carries its patient ID as customdata, for selection on a page.

    values: one a patient in the order of `result.patient_id`, shown under the name `label` (with its unit);
    order: their stages from early to late. webgl: faster on screens above 5,000 points, a bitmap in a PDF.
    """
    colour = None if values is None else _checked(result, values, label, order)
    right = _legend_mm(colour)
    left, bottom = (12, 9) if result.method == "pca" else (6, 6)  # UMAP has no tick labels
    panel = min(width_mm(width), 120) - left - right
    legend = 5.1 * (len(colour.categories) + 2) if colour else 0
    fig = blank(
        width=width, panel_mm=max(min(panel, 75), legend), left_mm=left, right_mm=right, bottom_mm=bottom
    )
    if colour is None:
        _points(
            fig, result, np.arange(result.n), webgl, marker={"color": category_style(0)[0]}, name="patients"
        )
    elif colour.numbers is not None:
        _scale(fig, result, colour, webgl)
    else:
        _categories(fig, result, colour, webgl)
    _placed(fig, result)
    _axes(fig, result)
    notes = [_trust_sentence(result)]
    if (
        colour is not None
        and colour.numbers is not None
        and (lost := np.count_nonzero(np.isnan(colour.numbers)))
    ):
        notes.append(f"Grey crosses: {MISSING} (n = {lost}).")
    if result.placed is not None:
        notes.append(
            f"Stars: {len(result.placed.patient_id)} new patients, placed by their {result.placed.k} nearest."
        )
    if result.method != "pca":
        notes.append(
            f"{NAMES[result.method]} is a picture: axes have no unit and distances are not measured."
        )
    by = f" coloured by {colour.label}" if colour else ""
    caption = f"{NAMES[result.method]} of {result.n} patients{by}. {_trust_sentence(result)}"
    return finish(fig, result.provenance, name="map", notes=notes, caption=caption)


def projection_map_source(
    result: ProjectionResult,
    values: Sequence[Any] | np.ndarray | None = None,
    *,
    label: str = "",
    order: Sequence[str] | None = None,
) -> pd.DataFrame:
    """patient_id, x, y, and the column as it is coloured (numbers, or category with "other" and "missing")."""
    table = result.table()
    if values is None:
        return table
    colour = _checked(result, values, label, order)
    table[colour.label] = colour.labels if colour.numbers is None else colour.numbers
    return table


def _checked(
    result: ProjectionResult, values: Sequence[Any] | np.ndarray, label: str, order: Sequence[str] | None
) -> Colouring:
    if len(values) != result.n:
        raise AnalysisError(
            f"{len(values)} values of {label or 'the column'} for {result.n} patients on the map"
        )
    return colouring(values, label=label or "value", order=order)


def _trust_sentence(result: ProjectionResult) -> str:
    sample = "" if result.judged == result.n else f", {result.judged} patients sampled"
    return (
        f"Trustworthiness {result.trustworthiness:.3f}, continuity {result.continuity:.3f} "
        f"(k = {result.k}{sample}; 1 is best), n = {result.n}.{_stability_sentence(result)}"
    )


def _stability_sentence(result: ProjectionResult) -> str:
    if result.stability is None or result.method == "pca":
        return ""
    return f" Neighbours that stay with {result.other_seeds} other seeds: {100 * result.stability:.0f} %."


def _legend_mm(colour: Colouring | None) -> float:
    if colour is None:
        return 3
    if colour.numbers is not None:
        return 15
    names = [f"{c} (n = 999)" for c in (*colour.categories, MISSING)]
    return min(45, max(11 + max(text_mm(t, TICK_PT) for t in names), 2 + text_mm(colour.label, TITLE_PT)))


def _points(
    fig: go.Figure,
    result: ProjectionResult,
    rows: np.ndarray,
    webgl: bool,
    *,
    marker: dict[str, Any],
    **trace: Any,
) -> None:
    import plotly.graph_objects as go

    kind = go.Scattergl if webgl else go.Scatter
    outline = {"width": 0.25 * PT, "color": "white"}
    fig.add_trace(
        kind(
            x=result.coordinates[rows, 0],
            y=result.coordinates[rows, 1],
            customdata=result.patient_id[rows],
            mode="markers",
            marker={"size": 4 * PT, "line": outline, **marker},
            **{"hovertemplate": "%{customdata}<extra>%{fullData.name}</extra>", **trace},
        )
    )


def _missing(fig: go.Figure, result: ProjectionResult, rows: np.ndarray, webgl: bool) -> None:
    """Patients without a value: small grey crosses under the others."""
    if len(rows):
        marker = {
            "color": MISSING_COLOUR,
            "symbol": "x-thin",
            "line": {"width": 0.75 * PT, "color": MISSING_COLOUR},
        }
        _points(fig, result, rows, webgl, marker=marker, name=f"{MISSING} (n = {len(rows)})", legendrank=2000)


def _scale(fig: go.Figure, result: ProjectionResult, colour: Colouring, webgl: bool) -> None:
    assert colour.numbers is not None
    known = np.isfinite(colour.numbers)
    _missing(fig, result, np.flatnonzero(~known), webgl)
    bar = {
        "title": {"text": shown(colour.label), "side": "right", "font": {"size": TITLE_PT * PT}},
        "thickness": 6 * PT,
        "len": 0.9,
        "outlinewidth": 0.5 * PT,
        "tickwidth": 0.5 * PT,
        "ticklen": 2 * PT,
        "ticks": "outside",
        "tickfont": {"size": TICK_PT * PT},
        "xpad": 2 * PT,
        "ypad": 0,
    }
    marker = {"color": colour.numbers[known], "colorscale": "Viridis", "reversescale": True, "colorbar": bar}
    _points(
        fig,
        result,
        np.flatnonzero(known),
        webgl,
        marker=marker,
        name=shown(colour.label),
        hovertemplate="%{customdata}<br>%{marker.color}<extra>%{fullData.name}</extra>",
        showlegend=False,
    )


def _categories(fig: go.Figure, result: ProjectionResult, colour: Colouring, webgl: bool) -> None:
    assert colour.labels is not None
    _missing(fig, result, np.flatnonzero(colour.labels == MISSING), webgl)
    ordered = ordered_colours(len(colour.categories)) if colour.ordered and colour.categories else []
    for i, name in sorted(enumerate(colour.categories), key=lambda pair: pair[1] != OTHER):  # the rest below
        rows = np.flatnonzero(colour.labels == name)
        fill, symbol = category_style(i)
        if ordered:
            fill, symbol = ordered[i], SYMBOLS[i % len(SYMBOLS)]
        if name == OTHER and not colour.ordered:
            fill, symbol = MISSING_COLOUR, "circle"
        line = {"width": 0.25 * PT, "color": INK if ordered else "white"}
        _points(
            fig,
            result,
            rows,
            webgl,
            marker={"color": fill, "symbol": symbol, "line": line},
            name=f"{shown(name)} (n = {len(rows)})",
            legendrank=1000 + i,
        )
    fig.update_layout(
        showlegend=True,
        legend={
            "title": {"text": shown(colour.label), "font": {"size": TITLE_PT * PT}},
            "x": 1,
            "y": 1,
            "xanchor": "left",
            "yanchor": "top",
        },
    )


def _placed(fig: go.Figure, result: ProjectionResult) -> None:
    """New patients, who had no part in the map: open stars above the others."""
    import plotly.graph_objects as go

    if result.placed is None:
        return
    x, y = result.placed.coordinates.T
    fig.add_trace(
        go.Scatter(
            x=x, y=y, customdata=result.placed.patient_id, mode="markers", legendrank=3000,
            marker={"symbol": "star-open", "size": 6 * PT, "color": INK, "line": {"width": 0.75 * PT}},
            name=f"placed (n = {len(x)})", hovertemplate="%{customdata}<extra>%{fullData.name}</extra>",
        )
    )  # fmt: skip


def _axes(fig: go.Figure, result: ProjectionResult) -> None:
    """One scale for both axes; UMAP's numbers mean nothing and are not printed."""
    if result.method == "pca":
        shares = result.explained_variance or (0.0, 0.0)
        titles = [f"PC {i} ({100 * v:.1f} % of variance)" for i, v in enumerate(shares, 1)]
        ticks: dict[str, Any] = {}
    else:
        titles = [f"{NAMES[result.method]} {i} (arbitrary unit)" for i in (1, 2)]
        ticks = {"showticklabels": False, "ticks": ""}
    fig.update_xaxes(title_text=titles[0], **ticks)
    fig.update_yaxes(title_text=titles[1], scaleanchor="x", scaleratio=1, **ticks)
