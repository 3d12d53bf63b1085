"""Figures of a probe: metrics, confusion, calibration, label efficiency. Draws stored numbers, computes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.plots.theme import (
    CATEGORY_COLOURS,
    FAINT,
    INK,
    PT,
    TICK_PT,
    Width,
    blank,
    category_style,
    finish,
    interval_trace,
    shown,
    text_mm,
)
from analysis.probes.metrics import PRIMARY
from analysis.probes.words import NAMES, interval_words

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from analysis.probe import ProbeResult
    from analysis.probes.estimates import EfficiencyRow


def _cited(result: ProbeResult) -> str:
    name = PRIMARY[result.task]
    m = result.metrics[name]
    return (
        f"{result.target} ({result.task}, {result.learner} probe), {result.n} patients, nested cross-validation: "
        f"{NAMES[name]} {m.mean:.3f} ({interval_words(m.ci)})."
    )


def metrics_forest(result: ProbeResult, *, width: Width = "single") -> go.Figure:
    """Every metric with its interval where it has one, chance, the published protocol's, and other embeddings."""
    import plotly.graph_objects as go

    names = list(result.metrics)
    rows = list(range(len(names)))
    everyone = {result.embedding: result.metrics, **result.others}
    left = max(text_mm(NAMES[n], TICK_PT) for n in names) + 4
    legend = len(everyone) + 1 + (result.published is not None)
    fig = blank(width=width, panel_mm=4 + 6 * len(rows), left_mm=left, top_mm=4 + 5 * legend, bottom_mm=9)
    chance = [(result.metrics[n].chance, r) for n, r in zip(names, rows, strict=True)]
    fig.add_trace(
        go.Scatter(
            x=[c for c, _ in chance], y=[r for _, r in chance], mode="markers", name="chance",
            marker={"symbol": "line-ns", "size": 6 * PT, "line": {"width": 0.75 * PT, "color": FAINT}},
        )
    )  # fmt: skip
    for i, (embedding, metrics) in enumerate(everyone.items()):
        colour, symbol = category_style(i)
        shift = (i - (len(everyone) - 1) / 2) * 0.6 / max(len(everyone), 2)
        fig.add_trace(
            interval_trace(
                [metrics[n].mean for n in names], [r + shift for r in rows], [metrics[n].ci for n in names],
                along="x", symbol=symbol, colour=colour, name=shown(embedding),
            )
        )  # fmt: skip
    if result.published is not None:
        fig.add_trace(
            go.Scatter(
                x=[result.published.metrics[n] for n in names], y=rows, mode="markers", name="published protocol",
                marker={"symbol": "x-thin", "size": 4 * PT, "line": {"width": 1 * PT, "color": CATEGORY_COLOURS[1]}},
            )
        )  # fmt: skip
    fig.update_yaxes(tickvals=rows, ticktext=[NAMES[n] for n in names], range=[len(rows) - 0.5, -0.5])
    fig.update_xaxes(title_text="Value, out of fold")
    fig.update_layout(showlegend=True, legend={"x": 0, "y": 1, "xanchor": "left", "yanchor": "bottom"})
    bare = any(m.ci is None for m in result.metrics.values())
    said = _cited(result) + (
        " No bar: no interval has been shown to cover there." if bare else " Bars: 95 % intervals."
    )
    return finish(fig, result.provenance, name="probe_metrics", notes=[said], caption=said)


def metrics_forest_source(result: ProbeResult) -> pd.DataFrame:
    """embedding, metric, mean, ci_low, ci_high, chance, published."""
    import pandas as pd

    rows = []
    for embedding, metrics in {result.embedding: result.metrics, **result.others}.items():
        for name, m in metrics.items():
            first = result.published is not None and embedding == result.embedding
            reported = result.published.metrics[name] if first and result.published else None
            rows.append((embedding, name, m.mean, *(m.ci or (None, None)), m.chance, reported))
    return pd.DataFrame(
        rows, columns=["embedding", "metric", "mean", "ci_low", "ci_high", "chance", "published"]
    )


def confusion_matrix(result: ProbeResult, *, width: Width = "single") -> go.Figure:
    """Share of each true class (rows) that was named each class, with counts averaged over repeats."""
    import plotly.graph_objects as go

    assert result.confusion is not None
    labels = [shown(t) for t in result.labels]
    share = result.confusion / result.confusion.sum(axis=1, keepdims=True)
    places = list(range(len(labels)))
    left = max(text_mm(t, TICK_PT) for t in result.labels) + 9
    fig = blank(width=width, panel_mm=max(30, 9 * len(labels)), left_mm=left, bottom_mm=10)
    for i in places:
        for j in places:
            fig.add_shape(
                type="rect", x0=j - 0.5, x1=j + 0.5, y0=i - 0.5, y1=i + 0.5, layer="below",
                line={"width": 0.25 * PT, "color": "white"}, fillcolor=CATEGORY_COLOURS[0],
                opacity=float(share[i, j]),
            )  # fmt: skip
    texts = [f"{share[i, j]:.0%}<br>{result.confusion[i, j]:.1f}" for i in places for j in places]
    fig.add_trace(
        go.Scatter(
            x=[j for _ in places for j in places], y=[i for i in places for _ in places], mode="text", text=texts,
            textfont={"size": TICK_PT * PT, "color": [
                "white" if share[i, j] > 0.6 else INK for i in places for j in places
            ]},
            name="share, patients",
        )
    )  # fmt: skip
    edge = [-0.5, len(labels) - 0.5]
    fig.update_xaxes(tickvals=places, ticktext=labels, range=edge, title_text="Named")
    fig.update_yaxes(
        tickvals=places, ticktext=labels, range=edge[::-1], title_text=f"True {shown(result.target)}"
    )
    said = f"Rows: share of each class and patients, averaged over repeats. {_cited(result)}"
    return finish(fig, result.provenance, name="probe_confusion", notes=[said], caption=said)


def confusion_matrix_source(result: ProbeResult) -> pd.DataFrame:
    """true, named, patients (mean over repeats), share of the true class."""
    import pandas as pd

    assert result.confusion is not None
    rows = [
        (true, named, result.confusion[i, j], result.confusion[i, j] / result.confusion[i].sum())
        for i, true in enumerate(result.labels)
        for j, named in enumerate(result.labels)
    ]
    return pd.DataFrame(rows, columns=["true", "named", "patients", "share"])


def calibration_curve(result: ProbeResult, *, width: Width = "single") -> go.Figure:
    """Observed against predicted in tenths of the predictions, and the diagonal of perfect calibration."""
    import plotly.graph_objects as go

    x, y = [c[0] for c in result.calibration], [c[1] for c in result.calibration]
    low, high = min(*x, *y), max(*x, *y)
    fig = blank(width=width, panel_mm=50, left_mm=13)
    fig.add_trace(
        go.Scatter(
            x=[low, high], y=[low, high], mode="lines", name="perfect",
            line={"width": 0.5 * PT, "color": FAINT, "dash": "dash"},
        )
    )  # fmt: skip
    fig.add_trace(
        go.Scatter(
            x=x, y=y, mode="lines+markers", name="observed", line={"width": 0.75 * PT, "color": CATEGORY_COLOURS[0]},
            marker={"size": 3.5 * PT, "color": CATEGORY_COLOURS[0]},
        )
    )  # fmt: skip
    kind = "share" if result.labels else "value"
    fig.update_xaxes(title_text=f"Predicted {kind}")
    fig.update_yaxes(title_text=f"Observed {kind}")
    said = f"Means within tenths of the out-of-fold predictions. {_cited(result)}"
    return finish(fig, result.provenance, name="probe_calibration", notes=[said], caption=said)


def calibration_curve_source(result: ProbeResult) -> pd.DataFrame:
    """predicted, observed, n."""
    import pandas as pd

    return pd.DataFrame(result.calibration, columns=["predicted", "observed", "n"])


def label_efficiency(result: ProbeResult, *, width: Width = "single") -> go.Figure:
    """Primary metric when 1–100 % of the training labels are used; bars from the lowest to the highest draw."""
    rows = _by_labels(result)
    fig = blank(width=width, panel_mm=45, left_mm=13)
    trace = interval_trace(
        [e.labels for e in rows], [e.mean for e in rows], [(e.lowest, e.highest) for e in rows], along="y",
        symbol="circle", colour=CATEGORY_COLOURS[0], name="mean of draws",
    )  # fmt: skip
    trace.update(mode="lines+markers", line={"width": 0.75 * PT, "color": CATEGORY_COLOURS[0]})
    fig.add_trace(trace)
    fig.update_xaxes(
        type="log", title_text="Training patients (log axis)", tickvals=[e.labels for e in rows], tickangle=0
    )
    name = NAMES[PRIMARY[result.task]]
    fig.update_yaxes(title_text=f"{name[0].upper()}{name[1:]}")
    share = f"{100 * rows[0].fraction:g}"
    said = f"{share}–100 % of the training labels; bars: lowest to highest of {rows[0].draws} draws, no interval. "
    said += _cited(result)
    return finish(fig, result.provenance, name="probe_label_efficiency", notes=[said], caption=said)


def label_efficiency_source(result: ProbeResult) -> pd.DataFrame:
    """fraction, labels, mean, lowest, highest, draws."""
    import pandas as pd

    return pd.DataFrame([vars(e) for e in _by_labels(result)])


def _by_labels(result: ProbeResult) -> list[EfficiencyRow]:
    """One row a number of labels: of shares that come to the same few patients, the largest."""
    return list({e.labels: e for e in sorted(result.efficiency, key=lambda e: e.fraction)}.values())
