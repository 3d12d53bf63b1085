"""Power of the stage gradient over n and effect: the power section of the calibration.

    python -m tests.benchmarks.power_curves [--runs 200] [--draws 199] [--workers 2] [--out DIR]

Trend, every step, and the adjusted verdict, each over the strength that was planted; strength 0 is the size of the
test. Writes `power_curves.csv` and, where a browser can draw, `power_curves.svg`.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

# before numpy is imported: one thread a worker process
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import pandas as pd
from scipy.stats import binom

from tests.benchmarks.calibration_settings import Setting, all_of_one
from tests.benchmarks.populations import Population

SIZES = (30, 60, 150, 400)
EFFECTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
BEYOND = (0.0, 0.25, 0.5, 0.75, 1.0)


def settings() -> list[tuple[str, float, Setting]]:
    """(question, planted strength, setting): an effect along one direction, and a phenotype beyond size."""
    rows = []
    for n in SIZES:
        for effect in EFFECTS:
            kind = "planted" if effect else "independent"
            rows.append(("trend", effect, Setting("planted", Population(kind, 40, 4, effect=effect), n)))
        for beyond in BEYOND:
            population = Population("size", 40, 4, beyond=beyond)
            rows.append(("beyond size", beyond, Setting("size-driven", population, n, adjusted=True)))
    return rows


def shares(
    question: str, setting: Setting, *, runs: int, draws: int, map_: Callable = map
) -> dict[str, float]:
    """Share of runs in which each claim was made, by name."""
    frame = pd.DataFrame(list(map_(all_of_one, [setting] * runs, [draws] * runs, range(runs))))
    frame = frame[frame["refused"] == 0]
    named = {"refused": 1 - len(frame) / runs}
    if not len(frame):
        return named
    if question == "trend":
        return named | {
            "trend p ≤ 0.05": float((frame["trend"] <= 0.05).mean()),
            "strictly increasing": float(frame["strictly increasing"].mean()),
            "median detectable concordance": float(frame["detectable"].median()),
        }
    return named | {
        "conditional p ≤ 0.05": float((frame["conditional"] <= 0.05).mean()),
        "beyond adjusters": float(frame["beyond adjusters"].mean()),
        "explained by adjusters": float(frame["explained by adjusters"].mean()),
    }


def figure(table: pd.DataFrame):
    """Power over planted strength, a line for each n; left: trend, right: beyond the adjusters."""
    import plotly.graph_objects as go

    from analysis.plots.theme import FAINT, PT, SYMBOLS, blank, ordered_colours

    fig = blank(width="double", panel_mm=50, left_mm=12, bottom_mm=9)
    fig.update_layout(
        xaxis={"domain": [0, 0.46], "title": {"text": "Effect of stage on the embedding (SD)"}},
        xaxis2={"domain": [0.54, 1], "title": {"text": "Phenotype beyond size"}, "anchor": "y2"},
        yaxis={"title": {"text": "Share of runs, trend p ≤ 0.05"}, "range": [0, 1.03]},
        yaxis2={"title": {"text": "Share of runs, beyond adjusters"}, "range": [0, 1.03], "anchor": "x2"},
        showlegend=True,
        legend={"x": 0.3, "y": 0.1},
    )
    for x, y in (("x", "y"), ("x2", "y2")):
        fig.add_shape(
            type="line",
            xref=f"{x} domain",
            yref=y,
            x0=0,
            x1=1,
            y0=0.05,
            y1=0.05,
            line={"width": 0.5 * PT, "color": FAINT, "dash": f"{2 * PT}px"},
        )
    colours = ordered_colours(len(SIZES))
    for index, n in enumerate(SIZES):
        for claim, axes in (("trend p ≤ 0.05", ("x", "y")), ("beyond adjusters", ("x2", "y2"))):
            part = table[(table["n"] == n) & (table["claim"] == claim)]
            fig.add_trace(
                go.Scatter(
                    x=part["strength"],
                    y=part["share"],
                    xaxis=axes[0],
                    yaxis=axes[1],
                    mode="lines+markers",
                    name=f"n = {n}",
                    showlegend=axes[0] == "x",
                    line={"color": colours[index], "width": 0.75 * PT},
                    marker={"symbol": SYMBOLS[index], "size": 4 * PT, "color": colours[index]},
                )
            )
    return fig


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--draws", type=int, default=199)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("power_curves"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    rows = []
    with ProcessPoolExecutor(args.workers) as pool:

        def map_(f: Callable, *columns: object) -> object:
            return pool.map(f, *columns, chunksize=10)

        for question, strength, setting in settings():
            found = shares(question, setting, runs=args.runs, draws=args.draws, map_=map_)
            asked = args.runs * (1 - found["refused"])
            for claim, share in found.items():
                low, high = binom.interval(0.99, max(round(asked), 1), min(max(share, 0.0), 1.0))
                rows.append(
                    {"question": question, "n": setting.n, "strength": strength, "claim": claim, "share": share,
                     "runs": args.runs, "noise_low": low / max(asked, 1), "noise_high": high / max(asked, 1)}
                )  # fmt: skip
            print(
                f"{question}, n = {setting.n}, strength {strength:g}: "
                + ", ".join(f"{claim} {share:.2f}" for claim, share in found.items()),
                flush=True,
            )
            pd.DataFrame(rows).to_csv(args.out / "power_curves.csv", index=False)
    _draw(pd.DataFrame(rows), args.out / "power_curves.svg")


def _draw(table: pd.DataFrame, path: Path) -> None:
    from analysis.figure_browser import FigureBrowser
    from flexict_core.errors import FigureExportError

    fig = figure(table)
    try:
        with FigureBrowser() as browser:
            path.write_bytes(
                browser.image(fig, "svg", width_px=fig.layout.width, height_px=fig.layout.height)
            )
    except FigureExportError as error:
        print(f"no figure: {error}")


if __name__ == "__main__":
    main()
