"""How much faster the linear shortcut is than refitting scikit-learn for every permutation, in one run.

    python -m tests.benchmarks.gradient_speed [--n 421] [--d 190] [--permutations 9999] [--refits 20]

The naive side refits StandardScaler and Ridge in 5 × 10 folds for `--refits` permutations of the trend test and
is scaled up to the number of tests (trend, K − 1 steps, two adjusted tests); it is given its penalty for free.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
import pandas as pd
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from analysis import stage_gradient
from analysis.gradient.axis import cross_fit
from analysis.splits import repeated_folds

STAGES = 4


def naive_scores(X: np.ndarray, y: np.ndarray, folds) -> np.ndarray:
    """Out-of-fold scores with a scaler and a ridge fitted anew in every fold."""
    scores = np.zeros(y.size)
    for train, test in folds:
        scaler = StandardScaler().fit(X[train])
        model = Ridge(alpha=300.0).fit(scaler.transform(X[train]), y[train])
        scores[test] += model.predict(scaler.transform(X[test])) - y[train].mean()
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, value in (("n", 421), ("d", 190), ("permutations", 9999), ("refits", 20)):
        parser.add_argument(f"--{name}", type=int, default=value)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    codes = rng.integers(0, STAGES, args.n)
    size = rng.standard_normal(args.n) + 0.5 * codes
    X = rng.standard_normal((args.n, args.d)) + 0.3 * size[:, None]
    adjust = pd.DataFrame({"size": size})
    folds = repeated_folds(args.n)
    cross_fit(X[:50], repeated_folds(50, repeats=1))  # first use of the linear algebra library

    start = time.perf_counter()
    for _ in range(args.refits):
        naive_scores(X, rng.permutation(codes).astype(float), folds)
    one = (time.perf_counter() - start) / args.refits
    start = time.perf_counter()
    stage_gradient(
        X,
        codes.astype(str),
        order=[str(k) for k in range(STAGES)],
        adjust=adjust,
        permutations=args.permutations,
    )
    ours = time.perf_counter() - start
    tests = 1 + (STAGES - 1) + 2
    naive = one * args.permutations * tests
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"n = {args.n}, d = {args.d}, 5 × 10 folds, {args.permutations} permutations in each of {tests} tests"
    )
    print(
        f"refitting scikit-learn: {one:.3f} s a permutation, {naive:.0f} s in all (scaled from {args.refits})"
    )
    print(
        f"linear shortcut, all tests and intervals: {ours:.2f} s, ratio {naive / ours:.0f}×, peak {peak:.0f} MiB"
    )


if __name__ == "__main__":
    main()
