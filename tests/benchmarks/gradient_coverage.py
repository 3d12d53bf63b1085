"""Coverage of the intervals of transport and comparison, by simulation.

    python -m tests.benchmarks.gradient_coverage [--runs 400] [--draws 199] [--out DIR]

Frozen axis: normal scores whose concordance is known in closed form, equal and unequal spreads and stages. Paired
difference of two embeddings: the truth is the mean, over cohorts, of the difference on 2,000 new patients. Writes
`gradient_coverage.csv`; a row outside 93–97 % is marked, never left out.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import numpy as np
import pandas as pd
from scipy.stats import norm

from analysis.gradient.axis import cross_fit, ridge_gain
from analysis.gradient.comparison import joint_null, paired_difference
from analysis.gradient.data import StageData, gather
from analysis.gradient.rank_statistics import concordance
from analysis.gradient.transport import fixed_score_interval
from analysis.splits import repeated_folds

NEW_PATIENTS, TRUTHS = 2000, 100


def frozen_axis(
    n: int, weights: tuple[float, ...], step: float, spread: float, *, runs: int
) -> dict[str, float]:
    """Stage k has scores N(step · k, (1 + spread · k)²)."""
    rng, K = np.random.default_rng(0), len(weights)
    sd = 1 + spread * np.arange(K)
    pairs = [(a, b) for a in range(K) for b in range(a + 1, K)]
    inside, width = [], []
    for _ in range(runs):
        while True:
            codes = rng.choice(K, n, p=weights)
            counts = np.bincount(codes, minlength=K)
            if counts.min() >= 3:
                break
        # the truth for these stage counts: each pair of stages counts by its number of pairs
        share = np.array([counts[a] * counts[b] for a, b in pairs], dtype=float)
        order = [norm.cdf(step * (b - a) / np.hypot(sd[a], sd[b])) for a, b in pairs]
        truth = float(np.average(order, weights=share))
        low, high = fixed_score_interval(step * codes + sd[codes] * rng.standard_normal(n), codes, K)
        inside.append(low <= truth <= high)
        width.append(high - low)
    return {"truth": truth, "coverage": float(np.mean(inside)), "mean_width": float(np.mean(width))}


def _pair(n: int, K: int, effects: tuple[float, float], shared: float, rng: np.random.Generator) -> tuple:
    """Two embeddings of 40 dimensions with 10 factors each, `shared` of whose variance is common."""
    while True:
        codes = rng.integers(0, K, n)
        if np.bincount(codes, minlength=K).min() >= 3:
            break
    common, out = rng.standard_normal((n, 10)), []
    for index, effect in enumerate(effects):
        fixed = np.random.default_rng([7, index])
        loadings, direction = fixed.standard_normal((10, 40)) / np.sqrt(10), fixed.standard_normal(40)
        own = np.sqrt(shared) * common + np.sqrt(1 - shared) * rng.standard_normal((n, 10))
        stage = (codes - codes.mean()) / np.arange(K).std()
        out.append(
            own @ loadings
            + 0.5 * rng.standard_normal((n, 40))
            + effect * np.outer(stage, direction / np.linalg.norm(direction))
        )
    return out, codes


def paired(
    n: int, K: int, effects: tuple[float, float], shared: float, *, runs: int, draws: int
) -> dict[str, float]:
    rng = np.random.default_rng(1)
    truths = []
    for _ in range(TRUTHS):
        X, codes = _pair(n, K, effects, shared, rng)
        new, new_codes = _pair(NEW_PATIENTS, K, effects, shared, rng)
        c = []
        for known, unseen in zip(X, new, strict=True):
            scores = np.zeros(NEW_PATIENTS)
            for _repeat in range(10):
                chosen = rng.permutation(n)[: round(0.8 * n)]
                scores += ridge_gain(known[chosen], unseen) @ codes[chosen].astype(float)
            c.append(float(concordance(scores, new_codes, K)))
        truths.append(c[0] - c[1])
    truth = float(np.mean(truths))
    inside, width = [], []
    for run in range(runs):
        X, codes = _pair(n, K, effects, shared, rng)
        joint = joint_null(
            [cross_fit(x, repeated_folds(n, seed=run)) for x in X],
            _rows(X[0], codes, K),
            permutations=draws,
            rng=rng,
        )
        _, (low, high), _ = paired_difference(joint, 0, 1)
        inside.append(low <= truth <= high)
        width.append(high - low)
    return {"truth": truth, "coverage": float(np.mean(inside)), "mean_width": float(np.mean(width))}


def _rows(X: np.ndarray, codes: np.ndarray, K: int) -> StageData:
    order = [str(k) for k in range(K)]
    return gather(X, codes.astype(str), order=order, adjust=None, groups=None, patients=None)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--draws", type=int, default=199)
    parser.add_argument("--out", type=Path, default=Path("gradient_coverage"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, object]] = []

    def add(what: str, n: int, setting: str, found: dict[str, float]) -> None:
        inside = 0.93 <= found["coverage"] <= 0.97
        mark = "" if inside else "below" if found["coverage"] < 0.93 else "above"
        rows.append({"what": what, "n": n, "setting": setting, **found, "runs": args.runs, "outside": mark})
        print(f"{what}, n = {n}, {setting}: coverage {found['coverage']:.3f} {mark}", flush=True)
        pd.DataFrame(rows).to_csv(args.out / "gradient_coverage.csv", index=False)

    for n in (25, 60, 150):
        for weights in ((0.5, 0.5), (0.8, 0.2), (0.25,) * 4):
            for step in (0.0, 0.6, 1.5):
                for spread in (0.0, 0.5):
                    found = frozen_axis(n, weights, step, spread, runs=args.runs)
                    add("frozen axis", n, f"stages {weights}, step {step:g}, spread +{spread:g}", found)
    for n, K in ((30, 2), (60, 3), (120, 4)):
        for effects in ((0.0, 0.0), (1.0, 1.0), (1.0, 0.0), (2.0, 1.0), (0.5, 0.0)):
            for shared in (0.0, 0.9):
                found = paired(n, K, effects, shared, runs=args.runs, draws=args.draws)
                add("paired difference", n, f"K = {K}, effects {effects}, shared {shared:g}", found)


if __name__ == "__main__":
    main()
