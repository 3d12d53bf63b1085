"""What the cross-fitted score is worth: concordance, AUC over time, Brier score, and what it adds to the clinic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from analysis.gradient.axis import adjusted_gain, effective_directions
from analysis.learning_interval import learning_interval
from analysis.refitted_interval import refitted_interval
from analysis.resampling import jackknife_variance, permutation_p_value, subsample, subsample_variance
from analysis.results import Interval
from analysis.splits import Folds, repeated_folds
from analysis.time_to_event.curves import tertile_codes
from analysis.time_to_event.measures import (
    brier,
    concordance,
    concordance_jackknife,
    dynamic_auc,
    log_rank_trend,
    step_value,
    survival_step,
    uno_weights,
)
from analysis.time_to_event.ridge_cox import RiskSets, breslow_survival, ridge_cox, slopes
from analysis.time_to_event.risk_score import RiskScore, martingale_residuals, nested_folds

if TYPE_CHECKING:
    from analysis.time_to_event.data import SurvivalData

NULL_SAMPLE = 20  # permuted outcomes whose variance for fixed scores is averaged
GAIN_DRAWS, GAIN_REPEATS = 400, 5
SUBSAMPLES, PART_REPEATS = 30, 2  # subsamples; fold draws averaged by each of two scores in a subsample
_WEAK = 1.0  # ridge penalty of the clinical Cox model, of the weight of one event: keeps separation finite


@dataclass(frozen=True)
class Measure:
    """Estimate and interval; `chance` is its value for a score that knows nothing."""

    mean: float
    ci: Interval | None
    chance: float
    p_value: float | None = None


@dataclass(frozen=True)
class AucRow:
    """Cumulative/dynamic AUC at a horizon."""

    horizon: float
    mean: float
    ci: Interval | None
    cases: int
    controls: int


@dataclass(frozen=True)
class BrierRow:
    """Brier score at a horizon of the cross-fitted survival, of the training folds' Kaplan–Meier beside it, and
    the share of the latter that is gained."""

    horizon: float
    score: float
    reference: float
    explained: float


@dataclass(frozen=True)
class AddedValue:
    """Concordance gained by the embedding beyond the clinical columns, cross-fitted; its permutation test.

    `ci`: both models are fitted anew without a fifth of the patients. Halves would be too few: they learn so much less
    beyond the clinic that their gain varies a third as much as it should (`tests.benchmarks.outcome_calibration`).
    """

    columns: tuple[str, ...]
    baseline: float
    combined: float
    gain: float
    ci: Interval | None
    p_value: float
    permutations: int


@dataclass(frozen=True, eq=False)
class ScoreEstimates:
    """All that is said of the score alone; `scores` [n] are out of fold, higher = worse."""

    scores: np.ndarray
    c_index: Measure
    c_index_ipcw: Measure
    auc: tuple[AucRow, ...]
    log_hazard: Measure
    tertile_statistic: float
    tertile_p: float


def score_estimates(
    d: SurvivalData, *, horizons: tuple[float, ...], permutations: int, rng: np.random.Generator, seed: int
) -> ScoreEstimates:
    """Cross-fit the score, refit it to permuted outcomes, and measure both alike."""
    model = RiskScore.of(d.X, seed=seed)
    owner = np.stack([rng.permutation(d.n) for _ in range(permutations)], axis=1)
    scores = model.scores(d.time, d.event)
    permuted = model.scores(d.time, d.event, owner)
    null = np.empty_like(permuted)  # [n, B] in the order of the outcomes
    np.put_along_axis(null, owner, permuted, axis=0)
    k = effective_directions(d.X)
    uno = uno_weights(d.time, d.event)
    codes = tertile_codes(scores)[:, None]
    statistic = float(log_rank_trend(codes, d.time, d.event, n_groups=3)[0])
    null_statistic = log_rank_trend(tertile_codes(null), d.time, d.event, n_groups=3)
    return ScoreEstimates(
        scores=scores,
        c_index=_concordance(d, scores, null, None, k),
        c_index_ipcw=_concordance(d, scores, null, uno, k),
        auc=tuple(row for h in horizons if (row := _auc(d, scores, null, h, k)) is not None),
        log_hazard=_log_hazard(d, scores, null, k),
        tertile_statistic=statistic,
        tertile_p=permutation_p_value(statistic, null_statistic),
    )


def _concordance(
    d: SurvivalData, scores: np.ndarray, null: np.ndarray, weights: np.ndarray | None, directions: float
) -> Measure:
    value = float(concordance(scores, d.time, d.event, weights=weights))
    drawn = concordance(null, d.time, d.event, weights=weights)
    fixed = jackknife_variance(concordance_jackknife(scores, d.time, d.event, weights=weights))
    null_fixed = np.mean(
        [
            jackknife_variance(concordance_jackknife(column, d.time, d.event, weights=weights))
            for column in null.T[:NULL_SAMPLE]
        ]
    )
    interval = learning_interval(
        value, fixed=fixed, null_fixed=float(null_fixed), null=drawn, chance=0.5, directions=directions
    )
    return Measure(value, interval, 0.5, permutation_p_value(value, drawn))


def _auc(
    d: SurvivalData, scores: np.ndarray, null: np.ndarray, horizon: float, directions: float
) -> AucRow | None:
    cases, controls = int(((d.time <= horizon) & (d.event == 1)).sum()), int((d.time > horizon).sum())
    if min(cases, controls) < 5:
        return None
    value, left = dynamic_auc(scores, d.time, d.event, horizon=horizon)
    drawn, _ = dynamic_auc(null, d.time, d.event, horizon=horizon)
    null_fixed = np.mean(
        [
            jackknife_variance(dynamic_auc(column, d.time, d.event, horizon=horizon)[1])
            for column in null.T[:NULL_SAMPLE]
        ]
    )
    interval = learning_interval(
        float(value[0]),
        fixed=jackknife_variance(left),
        null_fixed=float(null_fixed),
        null=drawn,
        chance=0.5,
        directions=directions,
    )
    return AucRow(horizon, float(value[0]), interval, cases, controls)


def _log_hazard(d: SurvivalData, scores: np.ndarray, null: np.ndarray, directions: float) -> Measure:
    """Log hazard ratio of one SD of the score, alone."""

    def per_sd(S: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return slopes((S - S.mean(axis=0)) / S.std(axis=0, ddof=1), time=d.time, event=d.event)

    value, information = per_sd(scores[:, None])
    drawn, null_information = per_sd(null)
    interval = learning_interval(
        float(value[0]),
        fixed=1 / float(information[0]) + float(value[0]) ** 2 / (2 * d.n),  # of the slope, and of the SD
        null_fixed=float(np.mean(1 / null_information)),
        null=drawn,
        chance=0.0,
        directions=directions,
        bounds=None,
    )
    return Measure(float(value[0]), interval, 0.0, permutation_p_value(float(value[0]), drawn))


def brier_rows(
    d: SurvivalData, *, horizons: tuple[float, ...], seed: int
) -> tuple[tuple[BrierRow, ...], float | None]:
    """Brier scores at the horizons and their integral over time (events' quantiles 10–90 %), cross-fitted.

    In each outer fold the slope and the baseline hazard of the score come from the training patients' own
    inner out-of-fold scores.
    """
    low, high = np.quantile(d.time[d.event == 1], [0.1, 0.9])
    grid = np.linspace(low, high, 25)
    at = np.concatenate([np.asarray(horizons, dtype=float), grid])
    folds = nested_folds(d.X, seed=seed)
    predicted, reference = np.zeros((d.n, at.size)), np.zeros((d.n, at.size))
    visits = np.zeros(d.n)
    for fold in folds:
        train, test = fold.train, fold.test
        time, event = d.time[train], d.event[train]
        residual = martingale_residuals(time, event, np.ones((train.size, 1)))[:, 0]
        inner, outer = fold.inner @ residual, fold.outer @ residual
        slope = slopes(inner[:, None], time=time, event=event)[0][0]
        predicted[test] += breslow_survival(
            slope * inner, time=time, event=event, new_eta=slope * outer, horizons=list(at)
        )
        reference[test] += step_value(survival_step(time, event), at)
        visits[test] += 1
    predicted, reference = predicted / visits[:, None], reference / visits[:, None]

    def score(S: np.ndarray, k: int) -> float:
        return brier(S[:, k], d.time, d.event, horizon=float(at[k]))

    rows = []
    for k, horizon in enumerate(horizons):
        own, other = score(predicted, k), score(reference, k)
        if np.isfinite([own, other]).all() and other > 0:
            rows.append(BrierRow(horizon, own, other, 1 - own / other))
    values = np.array([score(predicted, k) for k in range(len(horizons), at.size)])
    integral = float(np.trapezoid(values, grid) / (high - low)) if np.isfinite(values).all() else None
    return tuple(rows), integral


def added_value(
    d: SurvivalData, basis: np.ndarray, *, columns: tuple[str, ...], rng: np.random.Generator, seed: int
) -> AddedValue:
    """Concordance of clinical columns + embedding minus that of the clinical columns, cross-fitted.

    In each training fold: a Cox model of the clinical basis [n, q], and the ridge score of its martingale residuals
    on what the embedding holds beyond the basis. Their sum is one step of the Cox model in which the clinical
    columns are free and the embedding is penalised. The null breaks the link between that residual embedding and
    the outcome (Freedman–Lane), clinical columns and outcome staying together; there the gain is below 0.
    """
    folds = repeated_folds(d.n, repeats=GAIN_REPEATS, seed=seed + 1)
    scale = d.n / d.events / folds.repeats
    gains, base, extra = _crossed_models(d, basis, folds, np.arange(d.n))
    everyone = basis @ ridge_cox(basis, d.time, d.event, penalty=_WEAK)
    residual = _cox_residuals(everyone, d.time, d.event)
    owner = np.stack([rng.permutation(d.n) for _ in range(GAIN_DRAWS)], axis=1)
    permuted, null = np.zeros(owner.shape), np.empty(owner.shape)
    for (train, test), gain in zip(folds, gains, strict=True):
        permuted[test] += scale * gain @ residual[owner[train]]
    np.put_along_axis(null, owner, permuted, axis=0)
    alone = float(concordance(base, d.time, d.event))
    both = float(concordance(base + extra, d.time, d.event))
    drawn = concordance(base[:, None] + null, d.time, d.event) - alone
    return AddedValue(
        columns=columns,
        baseline=alone,
        combined=both,
        gain=both - alone,
        ci=_gain_interval(both - alone, _gains_in_subsamples(d, basis, seed=seed)),
        p_value=permutation_p_value(both - alone, drawn),
        permutations=GAIN_DRAWS,
    )


def _crossed_models(
    d: SurvivalData, basis: np.ndarray, folds: Folds, rows: np.ndarray
) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Gains of the embedding [n_test, n_train], one a fold, and the two parts [m] of the risk, of these rows [m]."""
    X, Z, time, event = d.X[rows], basis[rows], d.time[rows], d.event[rows]
    scale = rows.size / event.sum() / folds.repeats
    gains, base, extra = [], np.zeros(rows.size), np.zeros(rows.size)
    for train, test in folds:
        gain = adjusted_gain(X[train], X[test], basis_train=Z[train], basis_test=Z[test])
        beta = ridge_cox(Z[train], time[train], event[train], penalty=_WEAK)
        base[test] += Z[test] @ beta / folds.repeats
        extra[test] += scale * gain @ _cox_residuals(Z[train] @ beta, time[train], event[train])
        gains.append(gain)
    return gains, base, extra


def _gains_in_subsamples(d: SurvivalData, basis: np.ndarray, *, seed: int) -> np.ndarray:
    """[SUBSAMPLES, 2] gain in concordance without part of the patients under two fold draws, all fitted anew."""
    rng, out = np.random.default_rng([seed, 5]), np.empty((SUBSAMPLES, 2))
    for s in range(SUBSAMPLES):
        rows = subsample(d.event, rng)
        for draw in range(2):
            folds = repeated_folds(rows.size, repeats=PART_REPEATS, seed=int(rng.integers(1 << 30)))
            _, base, extra = _crossed_models(d, basis, folds, rows)
            time, event = d.time[rows], d.event[rows]
            out[s, draw] = concordance(base + extra, time, event) - concordance(base, time, event)
    return out


def _gain_interval(gain: float, parts: np.ndarray) -> Interval | None:
    """Interval of the gain; a model that learns nothing more loses a little, which is what it is worth."""
    between, noise = subsample_variance(parts)
    return refitted_interval(gain, variance=between + noise * PART_REPEATS / GAIN_REPEATS)


def _cox_residuals(eta: np.ndarray, time: np.ndarray, event: np.ndarray) -> np.ndarray:
    """Martingale residuals [n] of a Cox model with linear predictor eta."""
    sets = RiskSets(time, event)
    r = np.exp(eta[sets.order] - eta.mean())
    out = np.empty(time.size)
    out[sets.order] = sets.died - r * sets.so_far(sets.died / sets.at_risk(r))
    return out
