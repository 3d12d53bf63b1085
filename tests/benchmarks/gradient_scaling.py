"""Time and memory of the stage gradient against n and d: where the method changes, and what it costs there.

    python -m tests.benchmarks.gradient_scaling [--permutations 999] [--adjust] [--n 200,…] [--d 64,…] [--out DIR]

Every setting runs in a process of its own, so that its peak memory is its own. Writes `gradient_scaling.csv` and,
where a browser can draw, `gradient_scaling.svg`. `--largest` adds n = 10,000 with d = 1,728.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd

ONE = """
import json, resource, sys, time
import numpy as np, pandas as pd
from analysis import stage_gradient
n, d, permutations, adjust = map(int, sys.argv[1:])
rng = np.random.default_rng(0)
codes = rng.integers(0, 4, n)
size = rng.standard_normal(n) + 0.5 * codes
X = rng.standard_normal((n, d)) + 0.2 * size[:, None]
table = pd.DataFrame({"size": size}) if adjust else None
stage_gradient(X[:60, :4], codes[:60].astype(str), order="0,1,2,3", permutations=99)  # imports and first use
start, parts = time.perf_counter(), []
result = stage_gradient(
    X, codes.astype(str), order="0,1,2,3", adjust=table, permutations=permutations,
    progress=lambda text: parts.append((round(time.perf_counter() - start, 2), text)),
)
print(json.dumps({
    "n": n, "d": d, "permutations": permutations, "adjusted": bool(adjust),
    "method": result.parameters["refits"], "repeats": result.parameters["repeats"],
    "seconds": time.perf_counter() - start,
    "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    "concordance": result.trend.concordance, "parts": parts,
}))
"""


def measure(n: int, d: int, *, permutations: int, adjust: bool) -> dict[str, object]:
    """One setting in a fresh process: seconds, peak resident memory in GiB, and the method used."""
    run = subprocess.run(
        [sys.executable, "-c", ONE, str(n), str(d), str(permutations), str(int(adjust))],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(run.stdout.splitlines()[-1])


def figure(table: pd.DataFrame):
    """Seconds (upper panel) and peak memory (lower) over n, a line for each d; filled: n × n, open: factors."""
    import plotly.graph_objects as go

    from analysis.plots.theme import CATEGORY_COLOURS, PT, SYMBOLS, blank

    fig = blank(width="single", panel_mm=90, left_mm=13, bottom_mm=9)
    fig.update_layout(
        yaxis={"domain": [0.55, 1], "title": {"text": "Seconds"}, "type": "log"},
        yaxis2={"domain": [0, 0.45], "title": {"text": "Peak memory (GiB)"}, "type": "log", "anchor": "x"},
        xaxis={"title": {"text": "Patients"}, "type": "log", "anchor": "y2"},
        showlegend=True,
        legend={"x": 0.02, "y": 1.0},
    )
    for index, (d, part) in enumerate(table.groupby("d")):
        dense = (part["method"] == "n × n operator").to_numpy()
        for column, axis in (("seconds", "y"), ("peak_gib", "y2")):
            colour, symbol = CATEGORY_COLOURS[index], SYMBOLS[index]
            fig.add_trace(
                go.Scatter(
                    x=part["n"],
                    y=part[column],
                    yaxis=axis,
                    mode="lines+markers",
                    name=f"d = {d}",
                    showlegend=axis == "y",
                    line={"color": colour, "width": 0.75 * PT},
                    marker={
                        "symbol": [symbol if s else f"{symbol}-open" for s in dense],
                        "size": 5 * PT,
                        "color": colour,
                    },
                )
            )
    return fig


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--permutations", type=int, default=999)
    parser.add_argument("--adjust", action="store_true")
    parser.add_argument("--n", default="200,400,800,1600,3200,5000,5001,7500")
    parser.add_argument("--d", default="64,256,768")
    parser.add_argument("--largest", action="store_true", help="also n = 10,000, d = 1,728")
    parser.add_argument("--out", type=Path, default=Path("gradient_scaling"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    settings = [(int(n), int(d)) for d in args.d.split(",") if d for n in args.n.split(",") if n]
    settings += [(10_000, 1_728)] if args.largest else []
    rows = []
    for n, d in settings:
        row = measure(n, d, permutations=args.permutations, adjust=args.adjust)
        parts = row.pop("parts")
        rows.append(row)
        print(
            f"n = {n}, d = {d}: {row['seconds']:.1f} s, {row['peak_gib']:.2f} GiB, {row['method']}, "
            f"5 × {row['repeats']} folds; {parts if (n, d) == (10_000, 1_728) else ''}",
            flush=True,
        )
        table = pd.DataFrame(rows)
        table.to_csv(args.out / "gradient_scaling.csv", index=False)
    slopes = {
        int(d): float(np.polyfit(np.log(p["n"]), np.log(p["seconds"]), 1)[0])
        for d, p in table.groupby("d")
        if len(p) > 2
    }
    print("seconds grow as n to the power:", {d: round(s, 2) for d, s in slopes.items()})
    _draw(table, args.out / "gradient_scaling.svg")


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
