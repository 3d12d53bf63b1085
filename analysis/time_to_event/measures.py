"""Measures of a risk score (higher = worse) against censored times, for one score or for many columns of them.

Sources: Harrell et al., JAMA 247 (1982) 2543; Uno et al., Stat. Med. 30 (2011) 1105 (IPCW concordance); Uno et
al., J. Am. Stat. Assoc. 102 (2007) 527 (cumulative/dynamic AUC); Graf et al., Stat. Med. 18 (1999) 2529 (Brier).
"""

from __future__ import annotations

import numpy as np

CHUNK = 4_000_000  # comparisons held at once


def survival_step(time: np.ndarray, happened: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Kaplan–Meier as (distinct times [m], survival after each [m])."""
    times, inverse, counts = np.unique(time, return_inverse=True, return_counts=True)
    events = np.bincount(inverse, weights=happened.astype(float))
    at_risk = time.size - np.concatenate([[0], np.cumsum(counts)[:-1]])
    return times, np.cumprod(1 - events / at_risk)


def step_value(
    step: tuple[np.ndarray, np.ndarray], at: np.ndarray | float, *, before: bool = False
) -> np.ndarray:
    """Value of a Kaplan–Meier step at times; `before` takes the limit from the left."""
    place = np.searchsorted(step[0], at, side="left" if before else "right")
    return np.concatenate([[1.0], step[1]])[place]


def censoring_step(time: np.ndarray, event: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Kaplan–Meier of being censored; who has an event at a time is no longer at risk of censoring then."""
    times, inverse, counts = np.unique(time, return_inverse=True, return_counts=True)
    censored = np.bincount(inverse, weights=(1 - event).astype(float))
    at_risk = time.size - np.concatenate([[0], np.cumsum(counts)[:-1]]) - (counts - censored)
    return times, np.cumprod(1 - np.divide(censored, at_risk, out=np.zeros(times.size), where=at_risk > 0))


def comparable(time: np.ndarray, event: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """For every patient with an event, those known to live longer (censored at the same time included)."""
    out = []
    for i in np.flatnonzero(event == 1):
        later = np.flatnonzero((time > time[i]) | ((time == time[i]) & (event == 0)))
        if later.size:
            out.append((int(i), later))
    return out


def concordance(
    risk: np.ndarray, time: np.ndarray, event: np.ndarray, *, weights: np.ndarray | None = None
) -> np.ndarray:
    """[B] concordance of risk [n, B] (or a float of [n]): Harrell's, or Uno's with `uno_weights`."""
    single = risk.ndim == 1
    S = risk[:, None] if single else risk
    agree, total = np.zeros(S.shape[1]), 0.0
    for i, later in comparable(time, event):
        w = 1.0 if weights is None else weights[i]
        if w == 0:
            continue
        mine, others = S[i], S[later]
        agree += w * ((others < mine).sum(axis=0) + 0.5 * (others == mine).sum(axis=0))
        total += w * later.size
    value = agree / total if total > 0 else np.full(S.shape[1], np.nan)
    return value[0] if single else value


def uno_weights(time: np.ndarray, event: np.ndarray, *, tau: float | None = None) -> np.ndarray:
    """[n] 1 / G(t−)² for events before tau, else 0: undoes what censoring hides."""
    G = step_value(censoring_step(time, event), time, before=True)
    counted = (event == 1) & (G > 0) & (np.full(time.size, True) if tau is None else time < tau)
    return np.where(counted, 1 / np.maximum(G, 1e-12) ** 2, 0.0)


def concordance_jackknife(
    risk: np.ndarray, time: np.ndarray, event: np.ndarray, *, weights: np.ndarray | None = None
) -> np.ndarray:
    """[n] concordance of a fixed score [n] without each patient (weights kept)."""
    agree, pairs = np.zeros(risk.size), np.zeros(risk.size)
    for i, later in comparable(time, event):
        w = 1.0 if weights is None else weights[i]
        right = w * ((risk[later] < risk[i]) + 0.5 * (risk[later] == risk[i]))
        agree[later] += right
        pairs[later] += w
        agree[i] += right.sum()
        pairs[i] += w * later.size
    return (agree.sum() / 2 - agree) / (pairs.sum() / 2 - pairs)


def dynamic_auc(
    risk: np.ndarray, time: np.ndarray, event: np.ndarray, *, horizon: float
) -> tuple[np.ndarray, np.ndarray]:
    """Cumulative/dynamic AUC [B] at a horizon of risk [n, B], and without each patient [n] for the first.

    Cases have had the event by the horizon (weighted by 1 / G(t−)), controls live beyond it.
    """
    S = risk[:, None] if risk.ndim == 1 else risk
    G = step_value(censoring_step(time, event), time, before=True)
    cases = np.flatnonzero((event == 1) & (time <= horizon) & (G > 0))
    controls = np.flatnonzero(time > horizon)
    w = 1 / G[cases]
    right = np.zeros(S.shape[1])
    for i, weight in zip(cases, w, strict=True):
        below, same = S[controls] < S[i], S[controls] == S[i]
        right += weight * (below.sum(axis=0) + 0.5 * same.sum(axis=0))
    total = w.sum() * controls.size
    value = right / total if total > 0 else np.full(S.shape[1], np.nan)
    left = np.full(time.size, value[0])
    if cases.size > 1 and controls.size > 1:
        s = S[:, 0]
        table = (s[controls] < s[cases, None]) + 0.5 * (s[controls] == s[cases, None])
        sums = w @ table
        left[cases] = (right[0] - w * table.sum(axis=1)) / ((w.sum() - w) * controls.size)
        left[controls] = (right[0] - sums) / (w.sum() * (controls.size - 1))
    return value, left


def brier(survival: np.ndarray, time: np.ndarray, event: np.ndarray, *, horizon: float) -> float:
    """IPCW Brier score at a horizon of predicted survival [n] there (0 best, 0.25 a coin)."""
    step = censoring_step(time, event)
    before, at = step_value(step, time, before=True), float(step_value(step, horizon))
    gone, alive = (event == 1) & (time <= horizon), time > horizon
    if at <= 0 or (gone & (before <= 0)).any():
        return float("nan")
    loss = np.zeros(time.size)
    loss[gone] = survival[gone] ** 2 / before[gone]
    loss[alive] = (1 - survival[alive]) ** 2 / at
    return float(loss.mean())


def log_rank(groups: np.ndarray, time: np.ndarray, event: np.ndarray, *, n_groups: int) -> np.ndarray:
    """[B] log-rank χ² (K − 1 df) of group codes [n, B], ties by the hypergeometric variance."""
    away, V = _log_rank_parts(groups, time, event, n_groups=n_groups)
    inside = V[:, :-1, :-1]
    return np.array([a @ np.linalg.pinv(v) @ a for a, v in zip(away[:-1].T, inside, strict=True)])


def log_rank_trend(groups: np.ndarray, time: np.ndarray, event: np.ndarray, *, n_groups: int) -> np.ndarray:
    """[B] z of the log-rank test for trend: above 0 where higher codes [n, B] have the event earlier.

    Source: Tarone, Biometrika 62 (1975) 679.
    """
    away, V = _log_rank_parts(groups, time, event, n_groups=n_groups)
    score = np.arange(n_groups)
    return (score @ away) / np.sqrt(np.maximum(np.einsum("k,bkl,l->b", score, V, score), 1e-300))


def _log_rank_parts(
    groups: np.ndarray, time: np.ndarray, event: np.ndarray, *, n_groups: int
) -> tuple[np.ndarray, np.ndarray]:
    """Observed − expected events [K, B] and their covariance [B, K, K]."""
    order = np.argsort(time, kind="stable")
    codes, times, died = groups[order], time[order], event[order].astype(float)
    start = np.searchsorted(times, times, "left")
    first = np.unique(start)
    deaths = np.add.reduceat(died, first)  # [m] at each distinct time
    risk = np.stack([_at_risk(codes == k)[first] for k in range(n_groups)])  # [K, m, B]
    all_risk = times.size - first[:, None]  # [m, 1]
    observed = np.stack([(died[:, None] * (codes == k)).sum(axis=0) for k in range(n_groups)])
    share = risk / all_risk
    expected = (deaths[:, None] * share).sum(axis=1)
    factor = deaths * (all_risk[:, 0] - deaths) / np.maximum(all_risk[:, 0] - 1, 1)
    V = -np.einsum("m,kmb,lmb->bkl", factor, share, share)
    for k in range(n_groups):
        V[:, k, k] += (factor[:, None] * share[k]).sum(axis=0)
    return observed - expected, V


def _at_risk(member: np.ndarray) -> np.ndarray:
    return np.cumsum(member[::-1].astype(float), axis=0)[::-1]
