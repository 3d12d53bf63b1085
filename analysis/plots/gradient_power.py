"""Power of the trend test in a cohort of this size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.plots.theme import CATEGORY_COLOURS, FAINT, INK, PT, Width, blank, finish
from flexict_core.errors import AnalysisError

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from analysis.gradient.power import PowerCurve
    from analysis.gradient.result import StageGradientResult


def power_plot(result: StageGradientResult, *, width: Width = "single") -> go.Figure:
    """Power over the true concordance, with the observed one and the smallest that 80 % of studies find."""
    import plotly.graph_objects as go

    curve = _curve(result)
    fig = blank(width=width, panel_mm=40, left_mm=12, bottom_mm=9)
    fig.add_hline(y=0.8, line={"width": 0.5 * PT, "color": FAINT, "dash": f"{2 * PT}px"}, layer="below")
    fig.add_trace(
        go.Scatter(
            x=curve.concordance,
            y=curve.power,
            mode="lines",
            line={"color": CATEGORY_COLOURS[0], "width": 1 * PT},
            name="power",
            hovertemplate="concordance %{x:.2f}: power %{y:.2f}<extra></extra>",
        )
    )
    observed, detectable = result.trend.concordance, result.minimum_detectable_concordance
    fig.add_trace(
        go.Scatter(
            x=[observed, observed],
            y=[0, 1],
            mode="lines",
            line={"color": CATEGORY_COLOURS[1], "width": 0.75 * PT},
            name="observed",
            hovertemplate="observed %{x:.3f}<extra></extra>",
        )
    )
    if detectable is not None:
        fig.add_trace(
            go.Scatter(
                x=[detectable],
                y=[0.8],
                mode="markers",
                marker={"symbol": "diamond", "size": 5 * PT, "color": INK},
                name="detectable with 80 % power",
                hovertemplate="%{x:.2f} with 80 % power<extra></extra>",
            )
        )
    fig.update_xaxes(
        title_text="True concordance with stage (0.5 = none)", range=[min(0.5, observed) - 0.01, 1.01]
    )
    fig.update_yaxes(title_text="Power", range=[0, 1.03])
    found = "no concordance below 1" if detectable is None else f"a concordance of {detectable:.2f} (diamond)"
    notes = [
        f"One-sided trend test at {curve.alpha:g}, n = {result.n}: {found} is found in 80 % of studies. Vertical "
        f"line: observed concordance, {observed:.3f}."
    ]
    caption = f"Power of the trend test over the true concordance. {notes[0]}"
    return finish(fig, result.provenance, name="gradient_power", notes=notes, caption=caption)


def power_plot_source(result: StageGradientResult) -> pd.DataFrame:
    """element (curve, observed, detectable), concordance, power."""
    import pandas as pd

    curve = _curve(result)
    rows: list[tuple[str, float, float | None]] = [
        ("curve", c, p) for c, p in zip(curve.concordance, curve.power, strict=True)
    ]
    rows.append(("observed", result.trend.concordance, None))
    if result.minimum_detectable_concordance is not None:
        rows.append(("detectable", result.minimum_detectable_concordance, 0.8))
    return pd.DataFrame(rows, columns=["element", "concordance", "power"])


def _curve(result: StageGradientResult) -> PowerCurve:
    if result.power is None:
        raise AnalysisError("this result holds no power curve")
    return result.power
