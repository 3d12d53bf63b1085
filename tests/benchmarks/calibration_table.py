"""The calibration's table and figure from its runs."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import binom

from tests.benchmarks.calibration_settings import ALPHA, Setting

TESTS = ("trend", "step", "conditional", "Freedman–Lane")
INTERVALS = ("concordance", "step", "mean", "adjusters alone", "added concordance")
SAID = ("strictly increasing", "a reversed step", "beyond adjusters", "explained by adjusters")


def rows_of_setting(
    setting: Setting, *, truth: pd.DataFrame, tests: pd.DataFrame, intervals: pd.DataFrame
) -> list[dict[str, object]]:
    """One row a size, a share of verdicts and a coverage, from one row a run."""
    rows: list[dict[str, object]] = []
    base = {"setting": setting.name, "n": setting.n, "K": setting.population.n_stages}

    def add(kind: str, what: str, hits: pd.Series, target: float | None, true: float | None = None) -> None:
        total = len(hits)
        if not total:
            return
        value = float(hits.mean())
        low, high = (
            (np.nan, np.nan) if target is None else np.array(binom.interval(0.99, total, target)) / total
        )
        inside = (
            "" if target is None else "yes" if low <= value <= high else "above" if value > high else "below"
        )
        rows.append({**base, "kind": kind, "what": what, "truth": true, "value": value, "runs": total,
                     "band_low": low, "band_high": high, "inside": inside})  # fmt: skip

    if setting.null and len(tests):
        for test in TESTS[2:] if setting.adjusted else TESTS[:2]:
            p = tests[test].dropna()
            add("size", test, p <= ALPHA, ALPHA)
        if setting.adjusted:
            add("said", "unadjusted trend test rejects", tests["trend"] <= ALPHA, None)
    if "refused" not in intervals:
        return rows
    if intervals["refused"].any():
        add("said", "refused: the adjusters determine the stage", intervals["refused"] == 1, None)
    held = intervals[intervals["refused"] == 0]
    if not setting.null:
        test = "conditional" if setting.adjusted else "trend"
        add("power", test, held[test] <= ALPHA, None)
    for verdict in (v for v in SAID if v in held):
        add("said", verdict, held[verdict], None)
    for column in truth.columns[1:] if len(truth) else ():
        true = float(truth[column].mean())
        low, high = held[f"{column} low"], held[f"{column} high"]
        shown = low.notna()
        add("coverage", column, ((low <= true) & (true <= high))[shown], 0.95, true)
    return rows


KINDS = {  # of settings, by how their names begin or what they hold
    "+ phenotype": "size or scanner drives both, and a phenotype too",
    "independent": "stage has nothing to do with the embedding",
    "patient blocks": "the same, one to three series a patient",
    "site": "site drives both (groups)",
    "size-driven": "size drives both",
    "scanner-driven": "scanner drives both",
    "nonlinear-driven": "size drives both, bent",
    "planted": "a gradient is planted",
}


def summary(table: pd.DataFrame) -> str:
    """Sizes and coverages by kind of setting: over all runs, and the least and most of any setting."""
    kind = table["setting"].map(_kind)
    lines = []
    for what, groups, title in (
        ("size", TESTS, "Rejected at the 5 % level (%)"),
        ("coverage", INTERVALS, "Covered by 95 % intervals (%)"),
    ):
        part = table[table["kind"] == what]
        lines += [
            f"| {title} | settings | {' | '.join(groups)} | runs |",
            "|---|---|" + "---|" * (len(groups) + 1),
        ]
        for name, said in KINDS.items():
            own = part[kind.loc[part.index] == name]
            if not len(own):
                continue
            cells = [_pooled(own[own["what"].map(_group) == g]) for g in groups]
            count = len(own.drop_duplicates(["setting", "n", "K"]))
            lines.append(f"| {said} | {count} | {' | '.join(cells)} | {_runs(own)} |")
        lines.append("")
    return "\n".join(lines)


def _kind(setting: str) -> str:
    return next(k for k in KINDS if setting.startswith(k) or (k[0] == "+" and k in setting))


def _pooled(rows: pd.DataFrame) -> str:
    if not len(rows):
        return ""
    mean = np.average(rows["value"], weights=rows["runs"])
    text = f"{100 * mean:.1f}"
    return (
        text
        if len(rows) == 1
        else f"{text} ({100 * rows['value'].min():.1f}–{100 * rows['value'].max():.1f})"
    )


def markdown(table: pd.DataFrame) -> str:
    """A summary, sizes, what is said, power, and coverage; outside its band **bold**."""
    if not len(table):
        return ""
    size = table[table["kind"] == "size"]
    lines = [
        "## By kind of setting",
        "",
        summary(table),
        "## Size at 5 %",
        "",
        f"| setting | n/K | {' | '.join(TESTS)} | runs |",
        "|---|---|" + "---|" * 5,
    ]
    for (name, n, K), part in size.groupby(["setting", "n", "K"], sort=False):
        cells = [_cell(part[part["what"] == t]) for t in TESTS]
        lines.append(f"| {name} | {n}/{K} | {' | '.join(cells)} | {_runs(part)} |")
    lines += ["", "## What is said", "", "| setting | n/K | in % of runs | runs |", "|---|---|---|---|"]
    for (name, n, K), part in table[table["kind"].isin(["said", "power"])].groupby(
        ["setting", "n", "K"], sort=False
    ):
        said = "; ".join(
            f"{'power of the ' + r.what + ' test' if r.kind == 'power' else r.what} {100 * r.value:.1f}"
            for r in part.itertuples()
            if r.kind == "power" or r.value > 0
        )
        lines.append(f"| {name} | {n}/{K} | {said} | {_runs(part)} |")
    lines += ["", "## Coverage of nominal 95 % intervals (%)", "",
              f"| setting | n/K | true concordance | {' | '.join(INTERVALS)} | runs |",
              "|---|---|---|" + "---|" * (len(INTERVALS) + 1)]  # fmt: skip
    for (name, n, K), part in table[table["kind"] == "coverage"].groupby(["setting", "n", "K"], sort=False):
        cells = [_range(part[part["what"].str.startswith(i) & _same_kind(part, i)]) for i in INTERVALS]
        true = float(part.loc[part["what"] == "concordance", "truth"].iloc[0])
        lines.append(f"| {name} | {n}/{K} | {true:.2f} | {' | '.join(cells)} | {_runs(part)} |")
    return "\n".join(lines) + "\n"


def _same_kind(part: pd.DataFrame, interval: str) -> pd.Series:
    return (part["what"] == interval) if interval not in ("step", "mean") else part["what"].notna()


def _cell(rows: pd.DataFrame) -> str:
    if not len(rows):
        return ""
    text = f"{100 * rows['value'].iloc[0]:.1f}"
    return text if rows["inside"].iloc[0] == "yes" else f"**{text}**"


def _range(rows: pd.DataFrame) -> str:
    if not len(rows):
        return ""
    low, high = 100 * rows["value"].min(), 100 * rows["value"].max()
    text = f"{low:.1f}" if len(rows) == 1 else f"{low:.1f}–{high:.1f}"
    return text if (rows["inside"] == "yes").all() else f"**{text}**"


def _runs(part: pd.DataFrame) -> str:
    low, high = part["runs"].min(), part["runs"].max()
    return str(low) if low == high else f"{low}–{high}"


def figure(table: pd.DataFrame):
    """Left: size of every test; right: coverage of every interval; grey: the 99 % band of their number of runs."""
    import plotly.graph_objects as go

    from analysis.plots.theme import CATEGORY_COLOURS, FAINT, PT, SYMBOLS, blank

    names = [f"{r.setting}, {r.n}/{r.K}" for r in table.itertuples()]
    table = table.assign(row=names, group=[_group(w) for w in table["what"]])
    rows = list(dict.fromkeys(names))
    fig = blank(width="double", panel_mm=max(4 * len(rows), 60), left_mm=62, bottom_mm=40)
    below = -11 / max(4 * len(rows), 60)  # of the panel's height: under the titles of the axes
    panels = (("size", TESTS, "x", "Rejected at 5 % (%)"), ("coverage", INTERVALS, "x2", "Coverage (%)"))
    for kind, groups, axis, _ in panels:
        part = table[table["kind"] == kind]
        for index, group in enumerate(groups):
            own = part[part["group"] == group]
            shift = 0.12 * (index - (len(groups) - 1) / 2)
            fig.add_trace(
                go.Scatter(
                    x=100 * own["value"], y=[rows.index(r) + shift for r in own["row"]], xaxis=axis, yaxis="y",
                    mode="markers", name=group, legend="legend" if kind == "size" else "legend2",
                    marker={"symbol": SYMBOLS[index], "size": 3.5 * PT, "color": CATEGORY_COLOURS[index]},
                )
            )  # fmt: skip
        for r in part.drop_duplicates("row").itertuples():
            at = rows.index(r.row)
            fig.add_shape(
                type="rect", xref=axis, yref="y", layer="below", line={"width": 0}, fillcolor=FAINT, opacity=0.35,
                x0=100 * r.band_low, x1=100 * r.band_high, y0=at - 0.42, y1=at + 0.42,
            )  # fmt: skip
    fig.update_layout(
        xaxis={"domain": [0, 0.47], "title": {"text": panels[0][3]}, "range": [0, 10]},
        xaxis2={"domain": [0.53, 1], "title": {"text": panels[1][3]}, "range": [82, 100.5], "anchor": "y"},
        yaxis={"tickvals": list(range(len(rows))), "ticktext": rows, "range": [len(rows) - 0.4, -0.6]},
        showlegend=True,
        legend={"x": 0, "y": below, "yanchor": "top"},
        legend2={"x": 0.53, "y": below, "yanchor": "top"},
    )
    return fig


def _group(what: str) -> str:
    return what.split(" ")[0] if what[:4] in ("step", "mean") else what
