"""The audit in cohorts where nothing is to be found, and the coverage of its readability intervals.

    python -m tests.benchmarks.audit_calibration [--runs 400] [--draws 199]

Prints, with the 99 % band of a correct method for that many runs: how often any field is called readable, any pair
a near duplicate, any fall in a left-out site significant; and how often the interval of a planted field's
readability holds the mean value, on new patients, of what cohorts of that size teach.
"""

from __future__ import annotations

import argparse
import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import numpy as np
import pandas as pd
from scipy.stats import binom

from analysis import audit
from analysis.audits.duplicates import near_pairs
from analysis.gradient.axis import cross_fit, ridge_gain
from analysis.gradient.rank_statistics import concordance
from analysis.gradient.readability import readability
from analysis.splits import repeated_folds

NEW, TRUTHS = 3000, 60


def band(runs: int, rate: float) -> str:
    low, high = binom.ppf([0.005, 0.995], runs, rate) / runs
    return f"{100 * low:.1f}–{100 * high:.1f} %"


def curved(rng: np.random.Generator, m: int) -> np.ndarray:
    """A noisy closed curve in m dimensions."""
    along = rng.uniform(0, 2 * np.pi, 120)
    return np.sin(along[:, None] * (1 + np.arange(m) % 3) + np.arange(m)) + 0.1 * rng.standard_normal(
        (120, m)
    )


def size(runs: int, draws: int) -> None:
    readable = fell = 0
    for seed in range(runs):
        rng = np.random.default_rng([seed, 1])
        n = 60 if seed % 2 else 120
        X = rng.standard_normal((n, 20)) if seed % 4 < 2 else rng.standard_t(4, size=(n, 20))
        site = rng.choice(["n", "s", "w"], n)
        fields = pd.DataFrame({"age": rng.normal(60, 9, n), "site": site, "sex": rng.choice(["F", "M"], n)})
        found = audit(
            X, label=rng.choice(["I", "II"], n), fields=fields, group=site, permutations=draws, seed=seed
        )
        readable += any(f.verdict != "not shown" for f in found.fields)
        fell += found.left_out_groups.p_value < 0.05
    print(
        f"any field readable (Holm)       {100 * readable / runs:5.1f} %   nominal 5 %, band {band(runs, 0.05)}"
    )
    print(
        f"fall in left-out sites          {100 * fell / runs:5.1f} %   nominal 5 %, band {band(runs, 0.05)}"
    )
    for name, draw in {
        "normal": lambda r, m: r.standard_normal((120, m)),
        "heavy tails": lambda r, m: r.standard_t(3, size=(120, m)),
        "four clusters": lambda r, m: (
            r.standard_normal((120, m)) + 6 * r.standard_normal((4, m))[r.integers(0, 4, 120)]
        ),
        "curved": curved,
    }.items():
        for m in (3, 12, 64):
            hits = sum(
                bool(near_pairs(draw(np.random.default_rng([s, 2]), m), alpha=0.05).pairs)
                for s in range(runs)
            )
            print(
                f"any near pair, {name}, d = {m:<3}  {100 * hits / runs:5.1f} %   at most 5 %, band to {band(runs, 0.05)}"
            )


def cohort(kind: str, n: int, effect: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    levels = {"2 categories": 2, "3 categories": 3}.get(kind)
    own = rng.standard_normal(n) if levels is None else rng.integers(0, levels, n)
    X = rng.standard_normal((n, 30))
    X[:, 0] += effect * (own - (0 if levels is None else (levels - 1) / 2))
    return X, own


def truth(kind: str, n: int, effect: float, rng: np.random.Generator) -> float:
    (X, own), (X_new, new) = cohort(kind, n, effect, rng), cohort(kind, NEW, effect, rng)
    operator = np.zeros((NEW, n))
    for _ in range(10):
        chosen = rng.permutation(n)[: round(0.8 * n)]
        operator[:, chosen] += ridge_gain(X[chosen], X_new)
    if own.dtype.kind == "f":
        return float(np.corrcoef(operator @ own, new)[0, 1])
    levels = range(1, 2) if own.max() == 1 else range(own.max() + 1)
    aucs = [concordance(operator @ (own == k).astype(float), (new == k).astype(np.int64), 2) for k in levels]
    return float(np.mean(aucs))


def coverage(runs: int, draws: int) -> None:
    for kind in ("2 categories", "3 categories", "number"):
        for n, effect in ((60, 0.0), (60, 1.0), (150, 0.5), (150, 1.5)):
            rng = np.random.default_rng([n, int(10 * effect), 3])
            value = float(np.mean([truth(kind, n, effect, rng) for _ in range(TRUTHS)]))
            value = value * abs(value) if kind == "number" else value
            held = 0
            for seed in range(runs):
                X, own = cohort(kind, n, effect, rng)
                column = pd.Series(own if kind == "number" else np.array(list("abc"))[own])
                axis = cross_fit(X, repeated_folds(n, seed=seed))
                (row,), _ = readability(X, pd.DataFrame({"f": column}), axis=axis, seed=seed, draws=draws)
                held += row.ci[0] <= value <= row.ci[1]
            print(f"coverage, {kind:<13} n = {n:<4} effect {effect:<4} truth {value:.3f}: {100 * held / runs:5.1f} %   "
                  f"nominal 95 %, band {band(runs, 0.95)}", flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--draws", type=int, default=199)
    args = parser.parse_args()
    size(args.runs, args.draws)
    coverage(args.runs, args.draws)


if __name__ == "__main__":
    main()
