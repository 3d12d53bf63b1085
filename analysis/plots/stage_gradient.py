"""Figures of the stage gradient: scores by stage, steps, the adjusters beside the embedding, the null.

Each figure draws numbers of the result; its `…_source` sibling gives the same numbers as a table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from analysis.gradient.words import interval_text, p_text
from analysis.plots.theme import (
    CATEGORY_COLOURS,
    FAINT,
    INK,
    PT,
    SYMBOLS,
    TICK_PT,
    Width,
    blank,
    decimal,
    finish,
    interval_trace,
    ordered_colours,
    shown,
    text_mm,
    width_mm,
    wrapped,
)
from flexict_core.errors import AnalysisError

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from analysis.gradient.result import Adjusters, StageGradientResult
    from analysis.results import Interval

_SPREAD = 0.4  # width of the cloud of points, in distances between stages
_BESIDE = 0.33  # where mean and fit stand, right of the points
_BINS = 40
_LABEL_MM = 26  # longest line of a step's label


def scores_by_stage(result: StageGradientResult, *, width: Width = "single") -> go.Figure:
    """Every patient's out-of-fold score by stage, with means, intervals and the isotonic fit."""
    import plotly.graph_objects as go

    slot = (width_mm(width) - 14) / len(result.stages)
    names = [wrapped(s.label, slot - 1, TICK_PT) for s in result.stages]
    fig = blank(width=width, panel_mm=48, left_mm=11, bottom_mm=9.5 + 2.8 * max(map(len, names)))
    x, colours = jittered(result), ordered_colours(len(result.stages))
    for code, row in enumerate(result.stages):
        mine = result.stage_codes == code
        fig.add_trace(
            go.Scatter(
                x=x[mine],
                y=result.scores[mine],
                customdata=result.patient_id[mine],
                mode="markers",
                marker={
                    "symbol": SYMBOLS[code % len(SYMBOLS)],
                    "size": 3 * PT,
                    "color": colours[code],
                    "line": {"width": 0.25 * PT, "color": INK},
                },
                name=shown(row.label),
                hovertemplate="%{customdata}<br>score %{y:.2f}<extra>%{fullData.name}</extra>",
            )
        )
    beside = [k + _BESIDE for k in range(len(result.stages))]
    fig.add_trace(
        go.Scatter(
            x=beside,
            y=result.strict.isotonic,
            mode="lines",
            line={"color": FAINT, "width": 0.75 * PT, "dash": f"{2 * PT}px"},
            name="isotonic fit",
            hovertemplate="isotonic fit %{y:.2f}<extra></extra>",
        )
    )
    fig.add_trace(
        interval_trace(
            beside,
            [s.mean_score for s in result.stages],
            [s.ci for s in result.stages],
            along="y",
            name="mean",
            hovertemplate="mean %{y:.2f}<extra></extra>",
        )
    )
    ticks = [
        "<br>".join([*map(shown, lines), f"n = {s.n}"]) for lines, s in zip(names, result.stages, strict=True)
    ]
    fig.update_xaxes(
        tickangle=0,
        tickvals=list(range(len(ticks))),
        ticktext=ticks,
        range=[-0.5, len(ticks) - 0.4],
        title_text=_stage_name(result),
    )
    fig.update_yaxes(title_text="Stage score, out of fold (within-stage SD)")
    known = any(s.ci is not None for s in result.stages)
    bars = " with 95 % intervals" if known else ", without intervals"
    notes = [
        f"Points: patients. Diamonds: means{bars}. Dashed: isotonic fit of the means.",
        _trend_sentence(result),
    ]
    caption = (
        f"Stage score of {result.n} patients by {_stage_name(result)}: out-of-fold scores (points), means "
        f"(diamonds{bars}) and the isotonic fit of the means (dashed). {_trend_sentence(result)} "
        f"Every step: {result.strict.verdict} (intersection–union {_p(result, result.strict.p_value)})."
    )
    return finish(fig, result.provenance, name="scores_by_stage", notes=notes, caption=caption)


def jittered(result: StageGradientResult) -> np.ndarray:
    """Horizontal place [n] of each patient: the stage's code plus an even, reproducible spread by rank of score."""
    x = result.stage_codes.astype(float)
    for code in np.unique(result.stage_codes):
        mine = np.flatnonzero(result.stage_codes == code)
        order = mine[np.argsort(result.scores[mine], kind="stable")]
        golden = np.arange(1, len(order) + 1) * (np.sqrt(5) - 1) / 2  # neighbours in score land far apart
        x[order] += _SPREAD * (golden % 1 - 0.5) - _SPREAD / 4
    return x


def scores_by_stage_source(result: StageGradientResult) -> pd.DataFrame:
    """element (patient, mean, isotonic fit), stage, patient_id, x (as drawn), value, ci_low, ci_high, n."""
    import pandas as pd

    x, labels = jittered(result), [s.label for s in result.stages]
    patients = [
        ("patient", labels[code], patient, place, score, None, None, None)
        for code, patient, place, score in zip(
            result.stage_codes, result.patient_id, x, result.scores, strict=True
        )
    ]
    means = [
        ("mean", s.label, None, k + _BESIDE, s.mean_score, *(s.ci or (None, None)), s.n)
        for k, s in enumerate(result.stages)
    ]
    fit = [
        ("isotonic fit", label, None, k + _BESIDE, value, None, None, None)
        for k, (label, value) in enumerate(zip(labels, result.strict.isotonic, strict=True))
    ]
    columns = ["element", "stage", "patient_id", "x", "value", "ci_low", "ci_high", "n"]
    return pd.DataFrame([*patients, *means, *fit], columns=columns)


def steps_forest(result: StageGradientResult, *, width: Width = "single") -> go.Figure:
    """Difference of mean scores at each step, with its interval and its one-sided p."""
    lines = [
        [*wrapped(f"{s.from_stage} → {s.to_stage}", _LABEL_MM, TICK_PT), f"n = {s.n_from}, {s.n_to}"]
        for s in result.steps
    ]
    labels = ["<br>".join(map(shown, parts)) for parts in lines]
    rows = list(range(len(labels)))
    left = max(text_mm(line, TICK_PT) for parts in lines for line in parts) + 4
    panel = 4 + len(rows) * (2 + 3 * max(map(len, lines)))
    fig = blank(width=width, panel_mm=panel, left_mm=left, right_mm=19, top_mm=6, bottom_mm=13)
    fig.add_vline(x=0, line={"width": 0.5 * PT, "color": FAINT}, layer="below")
    differences = [s.difference for s in result.steps]
    fig.add_trace(
        interval_trace(
            differences,
            rows,
            [s.ci for s in result.steps],
            along="x",
            symbol="square",
            name="difference",
            hovertemplate="difference %{x:.2f}<extra></extra>",
        )
    )
    for row, step in zip(rows, result.steps, strict=True):
        _beside(fig, row, _p(result, step.p_value))
    fig.add_annotation(
        text="one-sided",
        xref="paper",
        yref="paper",
        x=1,
        y=1,
        xanchor="left",
        yanchor="bottom",
        xshift=2 * PT,
    )
    fig.update_yaxes(tickvals=rows, ticktext=labels, range=[len(rows) - 0.5, -0.5])
    fig.update_xaxes(title_text="Difference of mean scores,<br>later − earlier stage (within-stage SD)")
    test = f"permutation test with {result.trend.permutations:,} refits"
    verdict = f"Every step: {result.strict.verdict} (intersection–union {_p(result, result.strict.p_value)})."
    notes = [f"Bars: 95 % intervals. p: {test}. {verdict}"]
    caption = (
        "Differences of mean stage scores between neighbouring stages with 95 % intervals and one-sided p "
        f"({test}). {verdict}"
    )
    return finish(fig, result.provenance, name="steps_forest", notes=notes, caption=caption)


def steps_forest_source(result: StageGradientResult) -> pd.DataFrame:
    """from_stage, to_stage, n_from, n_to, difference, ci_low, ci_high, p_value (one-sided), auc."""
    import pandas as pd

    rows = [
        (s.from_stage, s.to_stage, s.n_from, s.n_to, s.difference, *(s.ci or (None, None)), s.p_value, s.auc)
        for s in result.steps
    ]
    columns = [
        "from_stage",
        "to_stage",
        "n_from",
        "n_to",
        "difference",
        "ci_low",
        "ci_high",
        "p_value",
        "auc",
    ]
    return pd.DataFrame(rows, columns=columns)


def adjusters_panel(result: StageGradientResult, *, width: Width = "single") -> go.Figure:
    """Concordance of the embedding beside that of the adjusters alone, and what the embedding adds to them."""
    a = _adjusters(result)
    estimates = _concordances(result, a)
    rows = list(range(len(estimates)))
    labels = [label for label, _, _ in estimates]
    left = max(text_mm(label, TICK_PT) for label in labels) + 3
    fig = blank(width=width, panel_mm=4 + 6 * len(rows), left_mm=left, right_mm=4, bottom_mm=13)
    fig.update_layout(
        xaxis={"domain": [0, 0.56]},
        xaxis2={"domain": [0.66, 1], "anchor": "y2"},
        yaxis2={"anchor": "x2", "matches": "y", "showticklabels": False, "ticks": ""},
    )
    fig.add_vline(x=0.5, line={"width": 0.5 * PT, "color": FAINT}, layer="below")
    fig.add_vline(x=0, line={"width": 0.5 * PT, "color": FAINT}, layer="below", xref="x2", yref="y2")
    for row, (label, value, ci) in enumerate(estimates):
        of_embedding = row != 1
        fig.add_trace(
            interval_trace(
                [value],
                [row],
                [ci],
                along="x",
                size_pt=5,
                symbol=SYMBOLS[row],
                colour=CATEGORY_COLOURS[0] if of_embedding else CATEGORY_COLOURS[1],
                name=label,
                hovertemplate="concordance %{x:.3f}<extra></extra>",
            )
        )
    fig.add_trace(
        interval_trace(
            [a.added_value],
            [_added_row(estimates)],
            [a.added_value_ci],
            along="x",
            symbol="diamond",
            name="added value",
            xaxis="x2",
            yaxis="y2",
            hovertemplate="added concordance %{x:.3f}<extra></extra>",
        )
    )
    fig.update_yaxes(range=[len(rows) - 0.5, -0.5])
    ends = [v for _, value, ci in estimates for v in (value, *(ci or ()))]
    fig.update_layout(xaxis_range=_with_margin([0.5, *ends]))
    fig.update_layout(
        xaxis2_range=_with_margin([0.0, a.added_value, *(a.added_value_ci or ())]),
        yaxis={"tickvals": rows, "ticktext": labels},
        xaxis_title_text="Concordance with stage<br>(0.5 = none)",
        xaxis2_title_text="Added concordance<br>(0 = none)",
    )
    notes = [f"Bars: 95 % intervals; n = {result.n}. {_adjusted_sentence(result, a)}"]
    if a.stratified_concordance is not None:
        notes.append(f"Strata: {shown(a.strata)}.")
    if a.disagreement:
        notes.append(f"{a.disagreement[0].upper()}{a.disagreement[1:]}.")
    caption = (
        "Concordance with stage of the embedding's score beside that of the adjusters alone, and what the score "
        f"adds to them: {decimal(a.added_value, sign=True)} (95 % interval {interval_text(a.added_value_ci, 3)}); "
        f"n = {result.n}. {_adjusted_sentence(result, a)}"
    )
    return finish(fig, result.provenance, name="adjusters", notes=notes, caption=caption)


def adjusters_panel_source(result: StageGradientResult) -> pd.DataFrame:
    """estimate, panel (concordance or added concordance), value, ci_low, ci_high, n."""
    import pandas as pd

    a = _adjusters(result)
    rows = [
        (label, "concordance", value, *(ci or (None, None)), result.n)
        for label, value, ci in _concordances(result, a)
    ]
    added = (
        "added by the score",
        "added concordance",
        a.added_value,
        *(a.added_value_ci or (None, None)),
        result.n,
    )
    return pd.DataFrame([*rows, added], columns=["estimate", "panel", "value", "ci_low", "ci_high", "n"])


def permutation_null(result: StageGradientResult, *, width: Width = "single") -> go.Figure:
    """Concordances of the refitted permutations, and the observed one."""
    import plotly.graph_objects as go

    fig = blank(width=width, panel_mm=36, left_mm=13, bottom_mm=9)
    source = permutation_null_source(result)
    bars = source[source["element"] == "permutations"]
    fig.add_trace(
        go.Bar(
            x=(bars["from"] + bars["to"]) / 2,
            y=bars["count"],
            width=bars["to"] - bars["from"],
            marker={"color": "#C9C9C9", "line": {"width": 0.25 * PT, "color": "#6E6E6E"}},
            name="permutations",
            hovertemplate="%{x:.3f}: %{y}<extra></extra>",
        )
    )
    observed, top = result.trend.concordance, float(bars["count"].max()) * 1.12
    fig.add_trace(
        go.Scatter(
            x=[observed, observed],
            y=[0, top],
            mode="lines",
            line={"color": CATEGORY_COLOURS[1], "width": 1 * PT},
            name="observed",
            hovertemplate="observed %{x:.3f}<extra></extra>",
        )
    )
    low, high = float(bars["from"].min()), max(observed, float(bars["to"].max()))
    low = min(low, observed)
    right_half = observed > (low + high) / 2
    fig.add_annotation(
        text=f"observed {observed:.3f}",
        x=observed,
        y=top,
        xanchor="right" if right_half else "left",
        yanchor="top",
        xshift=(-2 if right_half else 2) * PT,
        font={"color": CATEGORY_COLOURS[1]},
    )
    spare = 0.03 * (high - low)
    fig.update_xaxes(title_text="Concordance with stage (0.5 = none)", range=[low - spare, high + spare])
    fig.update_yaxes(title_text="Permutations (count)", range=[0, top * 1.02])
    notes = [
        f"Grey: {result.trend.permutations:,} permutations of stage, refitted. {_trend_sentence(result)}"
    ]
    caption = (
        f"Concordance of the stage score in {result.trend.permutations:,} permutations of stage, each refitted "
        f"(grey), and as observed (line). {_trend_sentence(result)}"
    )
    return finish(fig, result.provenance, name="permutation_null", notes=notes, caption=caption)


def permutation_null_source(result: StageGradientResult) -> pd.DataFrame:
    """element (permutations, observed), from, to (bin edges; both the value for the observed), count."""
    import pandas as pd

    count, edge = np.histogram(result.null_concordance, bins=_BINS)
    rows = [("permutations", a, b, int(c)) for a, b, c in zip(edge[:-1], edge[1:], count, strict=True)]
    observed = result.trend.concordance
    return pd.DataFrame(
        [*rows, ("observed", observed, observed, None)], columns=["element", "from", "to", "count"]
    )


def _stage_name(result: StageGradientResult) -> str:
    name = shown(result.parameters.get("stage") or "stage")
    return f"{name[0].upper()}{name[1:]}"


def _p(result: StageGradientResult, p: float) -> str:
    return p_text(p, result.trend.permutations)


def _trend_sentence(result: StageGradientResult) -> str:
    t = result.trend
    return (
        f"Concordance {t.concordance:.3f} (95 % interval {interval_text(t.ci, 3)}), {_p(result, t.p_value)} "
        f"(one-sided permutation test with {t.permutations:,} refits), n = {result.n}."
    )


def _adjusted_sentence(result: StageGradientResult, a: Adjusters) -> str:
    return (
        f"Adjusters: {', '.join(shown(c) for c in a.columns)}. Beyond them: {_p(result, a.p_conditional)} "
        f"(conditional randomisation), {_p(result, a.p_freedman_lane)} (Freedman–Lane): {a.verdict}."
    )


def _adjusters(result: StageGradientResult) -> Adjusters:
    if result.adjusters is None:
        raise AnalysisError("this stage gradient was run without adjusters: there is nothing to compare with")
    return result.adjusters


def _concordances(result: StageGradientResult, a: Adjusters) -> list[tuple[str, float, Interval | None]]:
    rows: list[tuple[str, float, Interval | None]] = [
        ("Embedding", result.trend.concordance, result.trend.ci),
        ("Adjusters alone", a.baseline_concordance, a.baseline_ci),
        ("Adjusters + embedding", a.combined_concordance, None),
    ]
    if a.stratified_concordance is not None:
        rows.append(("Embedding within strata", a.stratified_concordance, None))
    return rows


def _with_margin(values: list[float]) -> list[float]:
    low, high = min(values), max(values)
    return [low - 0.08 * (high - low), high + 0.08 * (high - low)]


def _added_row(estimates: list[tuple[str, float, Interval | None]]) -> int:
    return [label for label, _, _ in estimates].index("Adjusters + embedding")


def _beside(fig: go.Figure, row: float, text: str) -> None:
    fig.add_annotation(text=text, xref="paper", x=1, y=row, xanchor="left", xshift=2 * PT)
