"""Coverage of the intervals of the survival analysis and size of its tests, by simulation.

    python -m tests.benchmarks.outcome_calibration [--runs 200] [--workers 2] [--only "80 20"] [--out DIR]

Every run is kept in `DIR/runs`; the same command goes on where it stopped (`tests.benchmarks.coverage_runs`).

Truth: the mean, over the simulated cohorts, of the measure on 3,000 new patients of a score learnt from 4/5 of the
cohort, which is what cross-fitting estimates. Times are exponential, hazards log-linear in the first embedding
dimensions, censoring independent. Clinical columns (two) carry hazard and are correlated with the embedding. Without a
signal the embedding still carries the hazard of the clinic: only its added value is nothing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

# before numpy is imported: one thread a worker process
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import numpy as np
import pandas as pd

from analysis.gradient.adjusters import adjuster_basis
from analysis.gradient.axis import adjusted_gain, ridge_gain
from analysis.time_to_event.data import gather
from analysis.time_to_event.estimates import _cox_residuals, added_value, score_estimates
from analysis.time_to_event.measures import concordance, dynamic_auc, uno_weights
from analysis.time_to_event.ridge_cox import ridge_cox, slopes
from analysis.time_to_event.risk_score import martingale_residuals
from tests.benchmarks.coverage_runs import Run, estimate, options, simulate, test

NEW, HORIZON, PERMUTATIONS = 3000, 1.0, 199


@dataclass(frozen=True)
class Setting:
    n: int
    d: int
    log_hazard: float
    censoring: float

    @property
    def name(self) -> str:
        return f"{self.n} {self.d} {self.log_hazard:g} {self.censoring:g}"

    @property
    def columns(self) -> dict[str, object]:
        return {"n": self.n, "d": self.d, "log hazard": self.log_hazard, "censoring": self.censoring}


def settings() -> list[Setting]:
    sizes = ((80, 20), (250, 60))
    every = [Setting(n, d, signal, 0.3) for n, d in sizes for signal in (0.0, 0.5, 1.2)]
    return [*every, Setting(150, 200, 0.5, 1.0)]


def population(rng: np.random.Generator, n: int, *, d: int, signal: float, censoring: float):
    """X, clinical Z, time, event: the log hazard is `signal` along two dimensions, 0.5 along the clinic."""
    Z = rng.standard_normal((n, 2))
    X = rng.standard_normal((n, d)) * np.linspace(1.5, 0.5, d)
    X[:, 0] += 0.8 * Z[:, 0]
    own = (X[:, 0] - 0.8 * Z[:, 0]) / 1.5 + X[:, min(3, d - 1)]
    hazard = np.exp(signal * own / np.sqrt(2) + 0.5 * Z[:, 0])
    death = rng.exponential(1 / hazard)
    end = rng.exponential(1 / censoring, n)
    return X, Z, np.minimum(death, end), (death <= end).astype(int)


def truths(train, new) -> dict[str, float]:
    """The measures on new patients of scores learnt from these."""
    X, Z, time, event = train
    Xn, Zn, tn, en = new
    residual = martingale_residuals(time, event, np.ones((time.size, 1)))[:, 0]
    s = ridge_gain(X, Xn) @ residual
    basis = adjuster_basis(pd.DataFrame(np.vstack([Z, Zn]), columns=["a", "b"])).matrix
    old, fresh = basis[: time.size], basis[time.size :]
    beta = ridge_cox(old, time, event, penalty=1.0)
    left = _cox_residuals(old @ beta, time, event)
    extra = adjusted_gain(X, Xn, basis_train=old, basis_test=fresh) @ left
    weight = time.size / event.sum()
    base = fresh @ beta
    return {
        "C-index": concordance(s, tn, en),
        "C-index (IPCW)": concordance(s, tn, en, weights=uno_weights(tn, en)),
        "AUC": dynamic_auc(s, tn, en, horizon=HORIZON)[0][0],
        "log hazard ratio": slopes(((s - s.mean()) / s.std())[:, None], time=tn, event=en)[0][0],
        "added value": concordance(base + weight * extra, tn, en) - concordance(base, tn, en),
    }


def one_run(s: Setting, seed: int) -> Run:
    rng = np.random.default_rng([seed, s.n, round(10 * s.log_hazard)])
    of = {"d": s.d, "signal": s.log_hazard, "censoring": s.censoring}
    X, Z, time, event = population(rng, s.n, **of)
    data = gather(
        X, duration=time, event=event, by=None, clinical=pd.DataFrame(Z, columns=["a", "b"]), patients=None,
        event_value=None, competing="refuse",
    )  # fmt: skip
    seeds = rng.integers(1 << 30, size=2)
    e = score_estimates(data, horizons=(HORIZON,), permutations=PERMUTATIONS, rng=rng, seed=int(seeds[0]))
    a = added_value(
        data, adjuster_basis(data.clinical).matrix, columns=("a", "b"), rng=rng, seed=int(seeds[1])
    )
    keep = rng.permutation(s.n)[: round(0.8 * s.n)]
    true = truths((X[keep], Z[keep], time[keep], event[keep]), population(rng, NEW, **of))
    out: Run = {}
    for name, m in (
        ("C-index", e.c_index), ("C-index (IPCW)", e.c_index_ipcw), ("log hazard ratio", e.log_hazard)
    ):  # fmt: skip
        out |= estimate(name, m.mean, m.ci, true[name])
    if e.auc:
        out |= estimate("AUC", e.auc[0].mean, e.auc[0].ci, true["AUC"])
    out |= estimate("added value", a.gain, a.ci, true["added value"])
    return out | test("for added value", a.p_value, null=s.log_hazard == 0)


if __name__ == "__main__":
    simulate(settings(), one_run, options(__doc__, "outcome_calibration"))
