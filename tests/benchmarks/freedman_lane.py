"""How often Freedman–Lane rejects at 5 % where nothing is beyond the adjusters, by what its residuals are residuals of.

    python -m tests.benchmarks.freedman_lane [--runs 1000] [--draws 199] [--workers 2]

Of the stage expected under the model of stage given adjusters, as the test takes them, and of a least-squares fit of the
stage on the same basis, as the method was published. Settings of the calibration, with cohorts of its own. Prints a
Markdown table.

Source: Freedman & Lane, J. Bus. Econ. Stat. 1 (1983) 292.
"""

from __future__ import annotations

import argparse
import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial

# before numpy is imported: one thread a worker process
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import numpy as np
from scipy.stats import binom

from analysis.gradient.adjusted import adjusted_null, freedman_lane
from analysis.gradient.adjusters import residual_projector
from analysis.resampling import permutation_p_value
from analysis.splits import repeated_folds
from flexict_core.errors import AnalysisError
from tests.benchmarks.calibration_settings import ALPHA, Setting, rows_of, settings
from tests.benchmarks.measurements import Measurement, record

FIRST_SEED = 100_000  # the calibration's own begin at 0
SETTINGS = (
    ("nonlinear-driven, unbalanced", 150), ("size-driven, unbalanced", 150), ("nonlinear-driven", 30), ("size-driven", 30),
)  # fmt: skip


def rejects(setting: Setting, seed: int, *, draws: int) -> tuple[bool, bool] | None:
    """Whether one cohort is rejected with the model's residuals and with least squares'; None where it is refused."""
    rng = np.random.default_rng(setting.stream(seed, 2))
    d = rows_of(setting, seed)
    try:
        tests = adjusted_null(d, repeated_folds(d.n, seed=seed), permutations=draws, rng=rng)
    except AnalysisError:  # the adjusters determine the stage
        return None
    Q = residual_projector(tests.basis.matrix)
    fitted = freedman_lane(tests.beyond, Q, d, expected=Q @ (Q.T @ d.y), permutations=draws, rng=rng)
    return tests.p_freedman_lane <= ALPHA, permutation_p_value(tests.observed, fitted) <= ALPHA


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--draws", type=int, default=199)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    print("| setting | n/K | expected under the model | least-squares fit | runs |\n|---|---|---|---|---|")
    with ProcessPoolExecutor(args.workers) as pool:
        for setting in (s for s in settings() if (s.name, s.n) in SETTINGS):
            seeds = range(FIRST_SEED, FIRST_SEED + args.runs)
            one = partial(rejects, setting, draws=args.draws)
            found = np.array([r for r in pool.map(one, seeds, chunksize=10) if r is not None])
            model, fitted = found.mean(axis=0)
            high = float(binom.ppf(0.995, len(found), ALPHA)) / len(found)
            record(Measurement(f"{setting.key}, rejected", float(model), "", high))
            print(
                f"| {setting.name} | {setting.n}/{setting.population.n_stages} | {100 * model:.1f} | {100 * fitted:.1f} | "
                f"{len(found)} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
