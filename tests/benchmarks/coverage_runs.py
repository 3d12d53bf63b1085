"""Simulations of coverage and size that go on where they stopped, and their table.

A run is a dictionary of numbers: `WHAT|mean`, `WHAT|low`, `WHAT|high` and `WHAT|truth` of an estimate (its truth is
averaged over runs), `WHAT|p` of a test and `WHAT|of`, its size in % where there is nothing to find.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
from scipy.stats import binom

Run = dict[str, float]


class Setting(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def columns(self) -> dict[str, object]:
        """What stands at the head of its rows."""
        ...


def estimate(what: str, mean: float, ci: tuple[float, float] | None, truth: float) -> Run:
    low, high = ci or (float("nan"), float("nan"))
    return {f"{what}|mean": mean, f"{what}|low": low, f"{what}|high": high, f"{what}|truth": truth}


def test(what: str, p: float | None, *, null: bool) -> Run:
    return {f"{what}|p": float("nan") if p is None else p, f"{what}|of": 5.0 if null else float("nan")}


def options(description: str, out: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--round", type=int, default=20, help="runs of a setting before the next has its turn"
    )
    parser.add_argument("--only", default="", help="settings whose name holds this")
    parser.add_argument("--table", action="store_true", help="run nothing more: the table of what is there")
    parser.add_argument("--out", type=Path, default=Path(out))
    return parser.parse_args()


def simulate(
    settings: Sequence[Setting], one_run: Callable[[Setting, int], Run], args: argparse.Namespace
) -> None:
    """Runs of every setting in turn, each kept in `OUT/runs`, and the table after each round."""
    folder = args.out / "runs"
    folder.mkdir(parents=True, exist_ok=True)
    chosen = [s for s in settings if args.only in s.name]
    moved = not args.table
    with ProcessPoolExecutor(args.workers) as pool:
        while moved:
            moved = False
            for s in chosen:
                path = _path(folder, s)
                before = pd.read_csv(path) if path.exists() else pd.DataFrame()
                seeds = range(len(before), min(args.runs, len(before) + args.round))
                if not seeds:
                    continue
                moved, began = True, time.time()
                found = list(pool.map(one_run, [s] * len(seeds), seeds))
                temporary = path.with_suffix(".part")
                pd.concat([before, pd.DataFrame(found)], ignore_index=True).to_csv(temporary, index=False)
                temporary.replace(path)
                print(
                    f"{s.name}: {seeds.stop} runs, {(time.time() - began) / len(seeds):.2f} s each",
                    flush=True,
                )
            _write(chosen, args.out)
    _write(chosen, args.out)


def _path(folder: Path, s: Setting) -> Path:
    return folder / f"{s.name.replace(' ', '-')}.csv"


def _write(settings: Sequence[Setting], out: Path) -> None:
    rows: list[dict[str, object]] = []
    for s in settings:
        path = _path(out / "runs", s)
        if path.exists():
            rows += [s.columns | row for row in rows_of(pd.read_csv(path))]
    pd.DataFrame(rows).to_csv(out / "table.csv", index=False)
    (out / "table.md").write_text(markdown(pd.DataFrame(rows)) if rows else "", encoding="utf-8")


def rows_of(found: pd.DataFrame) -> list[dict[str, object]]:
    """Truth, mean estimate, covered or rejected %, what it should be, width and runs of everything in the runs."""
    rows: list[dict[str, object]] = []
    for what in dict.fromkeys(c.split("|")[0] for c in found):
        if f"{what}|p" in found:
            p = found[f"{what}|p"].dropna()
            if p.size:
                rows.append(
                    {"what": f"p < 0.05 {what}", "percent": 100 * float((p < 0.05).mean()),
                     "of": float(found[f"{what}|of"].iloc[0]), "runs": p.size}
                )  # fmt: skip
            continue
        mean, low, high, truth = (found[f"{what}|{part}"] for part in ("mean", "low", "high", "truth"))
        there, value = low.notna(), float(truth.mean())
        covered = (
            100 * float(((low <= value) & (value <= high))[there].mean()) if there.any() else float("nan")
        )
        rows.append(
            {"what": what, "truth": value, "mean": float(mean.mean()), "percent": covered, "of": 95.0,
             "width": float((high - low).mean()), "runs": int(there.sum())}
        )  # fmt: skip
    return rows


def band(runs: int, share: float) -> tuple[float, float]:
    """Within which 99 % of correct methods fall, in %."""
    low, high = binom.ppf([0.005, 0.995], runs, share)
    return 100 * float(low) / runs, 100 * float(high) / runs


def markdown(table: pd.DataFrame) -> str:
    """Coverage (or rejections) in %, **bold** outside the 99 % band of its number of runs."""
    heads = [c for c in table if c not in ("what", "truth", "mean", "percent", "of", "width", "runs")]
    lines = [
        f"| {' | '.join(map(str, heads))} | what | truth | mean estimate | covered or rejected % | width | runs |",
        "|---" * (len(heads) + 6) + "|",
    ]
    for _, r in table.iterrows():
        low, high = (
            band(int(r["runs"]), r["of"] / 100) if np.isfinite(r["of"]) and r["runs"] else (-np.inf, np.inf)
        )
        percent = "no interval" if not np.isfinite(r["percent"]) else f"{r['percent']:.1f}"
        if np.isfinite(r["percent"]) and not low - 1e-9 <= r["percent"] <= high + 1e-9:
            percent = f"**{percent}**"
        truth, mean, width = (f"{r[c]:.3f}" if np.isfinite(r[c]) else "" for c in ("truth", "mean", "width"))
        own = " | ".join(str(r[c]) for c in heads)
        lines.append(f"| {own} | {r['what']} | {truth} | {mean} | {percent} | {width} | {r['runs']} |")
    return "\n".join(lines) + "\n"
