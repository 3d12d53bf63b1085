"""Scores of rankings against labels: what was found, what a random ranking would find, how sure that is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def published_split(strata: np.ndarray, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers of queries and gallery, in the order drawn: per stratum in ascending order, one generator,
    shuffle, the first n // 2 are queries (the split of the published retrieval study).
    """
    rng = np.random.default_rng(seed)
    queries, gallery = [], []
    for stratum in np.unique(strata):
        rows = np.flatnonzero(strata == stratum)
        rng.shuffle(rows)
        queries.append(rows[: len(rows) // 2])
        gallery.append(rows[len(rows) // 2 :])
    return np.concatenate(queries), np.concatenate(gallery)


def patient_split(strata: np.ndarray, patient_id: np.ndarray, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Sorted row numbers of queries and gallery: whole patients are drawn, half of each stratum.

    A patient's stratum is that of the first row; where a stratum is odd, its last patient goes to the
    gallery.
    """
    patients, first = np.unique(patient_id, return_index=True)
    drawn, _ = published_split(strata[first], seed=seed)
    is_query = np.isin(patient_id, patients[drawn])
    return np.flatnonzero(is_query), np.flatnonzero(~is_query)


def score_rankings(hits: np.ndarray, ks: Sequence[int]) -> dict[str, np.ndarray]:
    """Scores of each query, [q] an entry, from hits [q, g] in ranked order (at least one a query).

    recall@k: 1 where one of the k nearest is a hit; precision@k: share of hits among them; mAP: the mean over
    the query's hits of the precision at that hit, in the full ranking (average precision).
    """
    places = np.arange(1, hits.shape[1] + 1)
    scores = {f"recall@{k}": hits[:, :k].any(axis=1).astype(float) for k in ks}
    scores |= {f"precision@{k}": hits[:, :k].mean(axis=1) for k in ks}
    precision = np.cumsum(hits, axis=1) / places
    scores["mAP"] = (precision * hits).sum(axis=1) / hits.sum(axis=1)
    return scores


def random_expectation(relevant: np.ndarray, valid: np.ndarray, ks: Sequence[int]) -> dict[str, np.ndarray]:
    """Exact expectation of `score_rankings` under a uniformly random ranking, [q] an entry.

    With p of N rows relevant: recall@k = 1 − C(N − p, k) / C(N, k); precision@k = p / N. Average precision:
    place i holds a hit with probability p / N, and the i − 1 places before it then hold (i − 1)(p − 1) / (N −
    1) hits on average, so E[AP] = 1/p Σᵢ p/N · (1 + (i − 1)(p − 1)/(N − 1)) / i = (H_N + (N − H_N)(p − 1)/(N
    − 1)) / N, with H_N the harmonic number. This lies above the prevalence p / N that is often taken for it.
    """
    p, size = relevant.astype(float), valid.astype(float)
    expected = {}
    for k in ks:
        drawn = np.arange(k)
        rows = np.maximum(size[:, None] - drawn, 1)
        misses = np.clip(size[:, None] - p[:, None] - drawn, 0, None) / rows
        expected[f"recall@{k}"] = 1.0 - misses.prod(axis=1)
    expected |= {f"precision@{k}": p / size for k in ks}
    harmonic = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, int(valid.max()) + 1))])[valid]
    others = np.divide(p - 1, size - 1, out=np.zeros_like(p), where=size > 1)
    expected["mAP"] = (harmonic + (size - harmonic) * others) / size
    return expected


def without_each(hits: np.ndarray, ks: Sequence[int]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """`score_rankings` of each query after one gallery row is taken away: [q, g] by the place of that row.

    Also the number of hits then left, [q, g]; where it is 0 there is no score and the entry means nothing.
    """
    size = hits.shape[1]
    places, found = np.arange(1, size + 1), np.cumsum(hits, axis=1)
    left = found[:, -1:] - hits
    scores, precisions = {}, {}
    for k in ks:
        next_up = hits[:, [k]] if k < size else 0
        top = found[:, [k - 1]] - np.where(places <= k, hits.astype(int) - next_up, 0)
        scores[f"recall@{k}"] = (top > 0).astype(float)
        precisions[f"precision@{k}"] = top / min(k, size - 1)
    scores |= precisions
    # hits before the place keep their precision; those after it move up, and lose a hit if it was one
    kept = np.cumsum(hits * found / places, axis=1) - hits * found / places
    up = np.maximum(places - 1, 1)
    moved, moved_less = _after(hits * found / up), _after(hits * (found - 1) / up)
    scores["mAP"] = (kept + np.where(hits, moved_less, moved)) / np.maximum(left, 1)
    return scores, left


def _after(terms: np.ndarray) -> np.ndarray:
    """Sum of the terms behind each place, [q, g]."""
    return terms.sum(axis=1, keepdims=True) - np.cumsum(terms, axis=1)


def jackknife_interval(estimate: float, without: np.ndarray) -> tuple[float, float] | None:
    """95 % interval by Student's t from the estimates without each patient; None where one is undefined.

    For patients who are query and gallery at once: their queries are not independent, and drawing them with
    replacement gives intervals that are too narrow. The jackknife errs on the safe side: its variance is
    twice too large where labels and embeddings are unrelated, and right where they are related.
    """
    from scipy import stats

    n = len(without)
    if n < 3 or not np.isfinite(without).all():
        return None
    error = float(np.sqrt((n - 1) / n * ((without - without.mean()) ** 2).sum()))
    reach = float(stats.t.ppf(0.975, n - 1)) * error
    return estimate - reach, estimate + reach


def bootstrap_means(values: np.ndarray, patient_id: np.ndarray, *, resamples: int, seed: int) -> np.ndarray:
    """Means [resamples, m] of per-query values [q, m] when patients are drawn with replacement.

    All queries of a patient are drawn together; the means are over queries.
    """
    patients, block = np.unique(patient_id, return_inverse=True)
    _, first_seen = np.unique(block, return_index=True)
    block = np.argsort(np.argsort(first_seen))[block]  # patients in the order of their queries
    count = np.bincount(block).astype(float)
    sums = np.stack([np.bincount(block, weights=column) for column in values.T], axis=1)
    rng = np.random.default_rng(seed)
    means = np.empty((resamples, values.shape[1]))
    for b in range(resamples):
        times = np.bincount(rng.integers(0, len(patients), len(patients)), minlength=len(patients))
        means[b] = times @ sums / (times @ count)
    return means
