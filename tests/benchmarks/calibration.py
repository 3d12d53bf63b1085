"""Size, power and interval coverage of the stage gradient, by simulation.

    python -m tests.benchmarks.calibration [--runs 1000] [--interval-runs 400] [--draws 199] [--workers 2]
                                           [--only NAME] [--out DIR]

Every run is kept in `DIR/runs`, setting by setting; the same command goes on where it stopped, and all settings advance
together. After each round it writes `calibration.csv`, `calibration.md` and, at the end and where a browser can draw,
`calibration.svg`. Every row says how many runs it rests on and the 99 % band within which a correct method would fall;
a row outside its band is marked, never left out. `--table` writes them from the runs that are there.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

# before numpy is imported: one thread a worker process
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import pandas as pd

from tests.benchmarks.calibration_settings import Setting, all_of_one, p_values_of_one, settings, truth_of_one
from tests.benchmarks.calibration_table import figure, markdown, rows_of_setting

TRUTHS = 120
PARTS: dict[str, Callable[[Setting, int, int], dict[str, float]]] = {
    "truth": truth_of_one,
    "tests": p_values_of_one,
    "intervals": all_of_one,
}


def advance(
    setting: Setting, part: str, *, target: int, most: int, draws: int, folder: Path, map_: Callable = map
) -> int:
    """Add up to `most` runs of a part of a setting, to `target` at most; how many were added."""
    path = folder / f"{setting.key}-{part}.csv"
    before = pd.read_csv(path) if path.exists() else pd.DataFrame()
    seeds = range(len(before), min(target, len(before) + most))
    if not seeds:
        return 0
    found = list(map_(PARTS[part], [setting] * len(seeds), [draws] * len(seeds), seeds))
    whole = pd.concat([before, pd.DataFrame(found)], ignore_index=True)
    temporary = path.with_suffix(".part")
    whole.to_csv(temporary, index=False)
    temporary.replace(path)
    return len(seeds)


def table_of(folder: Path, only: str = "") -> pd.DataFrame:
    """The table of all runs that are there."""
    rows: list[dict[str, object]] = []
    for setting in settings():
        if only not in setting.name:
            continue
        parts = {}
        for part in PARTS:
            path = folder / f"{setting.key}-{part}.csv"
            parts[part] = pd.read_csv(path) if path.exists() else pd.DataFrame()
        rows += rows_of_setting(setting, **parts)
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=1000, help="of the tests, where nothing is to be found")
    parser.add_argument("--interval-runs", type=int, default=400, help="of tests, intervals and verdicts")
    parser.add_argument("--draws", type=int, default=199)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--round", type=int, default=100, help="runs of a setting before the next has its turn"
    )
    parser.add_argument("--only", default="", help="settings whose name holds this")
    parser.add_argument(
        "--table", action="store_true", help="run nothing more: table and figure of what is there"
    )
    parser.add_argument("--out", type=Path, default=Path("calibration"))
    args = parser.parse_args()
    folder = args.out / "runs"
    folder.mkdir(parents=True, exist_ok=True)
    if not args.table:
        _run(args, folder)
    _write(args.out, folder, args.only)
    _draw(table_of(folder, args.only), args.out / "calibration.svg")


def _run(args: argparse.Namespace, folder: Path) -> None:
    chosen = [s for s in settings() if args.only in s.name]
    with ProcessPoolExecutor(args.workers) as pool:

        def map_(f: Callable, *columns: object) -> object:
            return pool.map(f, *columns, chunksize=5)

        def go(setting: Setting, part: str, target: int, most: int) -> int:
            return advance(
                setting, part, target=target, most=most, draws=args.draws, folder=folder, map_=map_
            )

        asked = [part for part, runs in (("tests", args.runs), ("intervals", args.interval_runs)) if runs]

        def there(setting: Setting) -> int:
            files = [folder / f"{setting.key}-{part}.csv" for part in asked]
            return sum(len(pd.read_csv(f)) for f in files if f.exists())

        moved = True
        while moved:
            moved, start = False, time.time()
            for s in sorted(chosen, key=there):  # after a stop, those with the fewest runs come first
                added = go(s, "tests", args.runs, args.round) if s.null else 0
                if not (s.grouped or s.blocks):
                    go(s, "truth", TRUTHS, TRUTHS)
                    added += go(s, "intervals", args.interval_runs, max(args.round // 5, 1))
                moved |= added > 0
            _write(args.out, folder, args.only)
            print(f"a round of {len(chosen)} settings: {time.time() - start:.0f} s", flush=True)


def _write(out: Path, folder: Path, only: str) -> None:
    table = table_of(folder, only)
    table.to_csv(out / "calibration.csv", index=False)
    (out / "calibration.md").write_text(markdown(table), encoding="utf-8")


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
