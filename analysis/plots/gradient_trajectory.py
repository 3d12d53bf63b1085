"""The path of the stages in the plane of the stage axis and the first component across it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from analysis.gradient.trajectory import ellipse_points
from analysis.plots.theme import (
    FAINT,
    INK,
    PT,
    SYMBOLS,
    Width,
    blank,
    finish,
    ordered_colours,
    shown,
)
from flexict_core.errors import AnalysisError

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from analysis.gradient.result import StageGradientResult
    from analysis.gradient.trajectory import Trajectory

_PANEL_MM = 62.0


def trajectory_plane(result: StageGradientResult, *, width: Width = "single") -> go.Figure:
    """Patients, centroids with 95 % ellipses, and the path through them; both axes have one scale."""
    import plotly.graph_objects as go

    t = _trajectory(result)
    fig = blank(width=width, panel_mm=_PANEL_MM, left_mm=11, bottom_mm=9)
    colours = ordered_colours(len(t.centroids))
    for code, centroid in enumerate(t.centroids):
        mine = result.stage_codes == code
        fig.add_trace(
            go.Scatter(
                x=result.scores[mine],
                y=t.across[mine],
                customdata=result.patient_id[mine],
                mode="markers",
                marker={"symbol": SYMBOLS[code % len(SYMBOLS)], "size": 2.5 * PT, "color": colours[code],
                        "opacity": 0.45},
                name=shown(centroid.label),
                hovertemplate="%{customdata}<extra>%{fullData.name}</extra>",
            )
        )  # fmt: skip
    for code, centroid in enumerate(t.centroids):
        x, y = ellipse_points(centroid)
        if x.size:
            fig.add_trace(
                go.Scatter(x=x, y=y, mode="lines", line={"width": 1 * PT, "color": colours[code]},
                           name=f"95 % ellipse {shown(centroid.label)}", hoverinfo="skip")
            )  # fmt: skip
    fig.add_trace(
        go.Scatter(
            x=[c.x for c in t.centroids],
            y=[c.y for c in t.centroids],
            mode="lines+markers+text",
            text=[shown(c.label) for c in t.centroids],
            textposition="top center",
            line={"width": 1 * PT, "color": INK},
            marker={"size": 5 * PT, "color": colours, "line": {"width": 0.75 * PT, "color": INK},
                    "symbol": [SYMBOLS[k % len(SYMBOLS)] for k in range(len(colours))]},
            name="path of the stages",
            hovertemplate="%{text}: %{x:.2f}, %{y:.2f}<extra></extra>",
        )
    )  # fmt: skip
    fig.add_hline(y=0, line={"width": 0.25 * PT, "color": FAINT}, layer="below")
    x_range, y_range = _ranges(result, t)
    fig.update_xaxes(title_text="Stage axis: score, out of fold (within-stage SD)", range=x_range)
    fig.update_yaxes(
        title_text="First component across it (within-stage SD)", range=y_range, scaleanchor="x", scaleratio=1
    )
    counts = ", ".join(f"{shown(c.label)} {c.n}" for c in t.centroids)
    angles = ", ".join(f"{a:.0f}°" for a in t.turning_angles)
    notes = [
        f"Points: patients ({counts}). Ellipses: 95 %, bootstrap of patients, widened along the axis for what "
        "learning it leaves uncertain.",
        f"Path {t.path_length:.2f} SD, end to end {t.end_to_end:.2f} SD"
        + (f", turning by {angles}." if angles else "."),
    ]
    caption = (
        f"Centroids of the stages of {result.n} patients in the plane of the stage axis and the first principal "
        f"component orthogonal to it ({100 * t.explained_variance:.0f} % of the variance there). {' '.join(notes)}"
    )
    return finish(fig, result.provenance, name="gradient_trajectory", notes=notes, caption=caption)


def trajectory_plane_source(result: StageGradientResult) -> pd.DataFrame:
    """element (patient, centroid), stage, patient_id, x, y, ellipse's semi-axes and angle, n."""
    import pandas as pd

    t = _trajectory(result)
    labels = [c.label for c in t.centroids]
    rows = [
        ("patient", labels[code], patient, x, y, None, None, None, None)
        for code, patient, x, y in zip(
            result.stage_codes, result.patient_id, result.scores, t.across, strict=True
        )
    ]
    centres = [
        ("centroid", c.label, None, c.x, c.y, *(c.semi_axes or (None, None)), c.angle_degrees, c.n)
        for c in t.centroids
    ]
    columns = [
        "element",
        "stage",
        "patient_id",
        "x",
        "y",
        "semi_axis_long",
        "semi_axis_short",
        "angle_degrees",
        "n",
    ]
    return pd.DataFrame([*rows, *centres], columns=columns)


def _ranges(result: StageGradientResult, t: Trajectory) -> list[list[float]]:
    """Ranges of x and y that hold every point and ellipse; the axes' common scale then enlarges one of them."""
    outline = [ellipse_points(c) for c in t.centroids]
    ends = []
    for i, points in enumerate((result.scores, t.across)):
        values = np.concatenate([points, *(o[i] for o in outline)])
        spare = 0.04 * max(np.ptp(values), 1e-9)
        ends.append([float(values.min() - spare), float(values.max() + spare)])
    return ends


def _trajectory(result: StageGradientResult) -> Trajectory:
    if result.trajectory is None:
        raise AnalysisError("this result holds no path of the stages")
    return result.trajectory
