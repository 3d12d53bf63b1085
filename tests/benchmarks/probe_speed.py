"""How long the nested probe takes beside the same loop written plainly with scikit-learn on two processes, in one run.

    python -m tests.benchmarks.probe_speed [--repeats 10] [--data DIR]

The cohort is LUNG1's radiomics (421 × 190, overall stage) where `--data` names a folder of real cohorts that holds
it as lung1/, else simulated numbers of that shape. The plain side is StandardScaler and LogisticRegression in a
GridSearchCV of the same six values of C, 5 inner folds, in each of 5 outer folds × repeats, two processes over the
outer folds. CPU seconds of both sides, their children included, are printed beside the wall time, for they do not
depend on who else uses the machine.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from analysis.probes.learners import LOGISTIC_C
from analysis.probes.metrics import balanced_accuracy
from analysis.probes.nested import Question, nested


def cohort(data: Path | None) -> tuple[np.ndarray, np.ndarray, str]:
    """X, codes, and where they come from."""
    if data is None:
        rng = np.random.default_rng(0)
        y = rng.integers(0, 4, 421)
        return (
            rng.standard_normal((421, 60)) @ rng.standard_normal((60, 190)) + 0.2 * y[:, None],
            y,
            "simulated",
        )
    lung1 = data / "lung1"
    table = pd.read_csv(lung1 / "radiomics_and_clinical.csv")
    stage = (
        pd.read_csv(lung1 / "clinical.csv").set_index("PatientID")["Overall.Stage"].loc[table["PatientID"]]
    )
    known = stage.notna().to_numpy()
    features = [c for c in table.columns if c.startswith(("original_", "wavelet")) or "glcm" in c]
    return (
        table.loc[known, features].to_numpy(),
        np.unique(stage[known].astype(str), return_inverse=True)[1],
        "LUNG1",
    )


def plain_fold(X: np.ndarray, y: np.ndarray, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=2000))
    grid = {"logisticregression__C": LOGISTIC_C}
    search = GridSearchCV(
        model, grid, cv=StratifiedKFold(5, shuffle=True, random_state=0), scoring="balanced_accuracy"
    )
    return search.fit(X[train], y[train]).predict_proba(X[test])


def plain(X: np.ndarray, y: np.ndarray, repeats: int) -> np.ndarray:
    """Out-of-fold probabilities [repeats, n, K] by scikit-learn alone."""
    folds = [
        (r, train, test)
        for r in range(repeats)
        for train, test in StratifiedKFold(5, shuffle=True, random_state=r).split(X, y)
    ]
    done = Parallel(n_jobs=2)(delayed(plain_fold)(X, y, train, test) for _, train, test in folds)
    out = np.zeros((repeats, y.size, y.max() + 1))
    for (r, _, test), p in zip(folds, done, strict=True):
        out[r, test] = p
    return out


def cpu() -> float:
    """CPU seconds of this process and of the children that have ended."""
    return sum(resource.getrusage(who).ru_utime + resource.getrusage(who).ru_stime
               for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of real cohorts")
    args = parser.parse_args()
    from joblib.externals.loky import get_reusable_executor

    X, y, source = cohort(args.data)
    print(
        f"{source}: {X.shape[0]} × {X.shape[1]}, 5 × 5 folds, {args.repeats} repeats, load {os.getloadavg()[0]:.1f}"
    )
    q = Question("classify", "linear", y, int(y.max()) + 1, 0)
    sides = {
        "nested probe": lambda: nested(X, q, repeats=args.repeats, processes=2).predicted,
        "plain scikit-learn": lambda: plain(X, y, args.repeats),
    }
    taken = {}
    for name, side in sides.items():
        before, start = cpu(), time.perf_counter()
        predicted = side()
        wall = time.perf_counter() - start
        get_reusable_executor().shutdown(wait=True)  # its children's CPU time counts once they have ended
        taken[name] = (wall, cpu() - before)
        score = np.mean([balanced_accuracy(y, p, np.ones((1, y.size)))[0] for p in predicted])
        print(
            f"{name}: {wall:.1f} s wall, {taken[name][1]:.1f} s CPU, balanced accuracy {score:.3f}",
            flush=True,
        )
    own, other = taken.values()
    print(f"ratio plain / nested: wall {other[0] / own[0]:.2f}, CPU {other[1] / own[1]:.2f}")


if __name__ == "__main__":
    main()
