"""Rank statistics of an ordered stage, vectorised over many score or stage vectors at once."""

from __future__ import annotations

import numpy as np

from analysis.resampling import jackknife_variance


def concordance(
    scores: np.ndarray, codes: np.ndarray, n_stages: int, *, groups: np.ndarray | None = None
) -> np.ndarray:
    """P(s_i < s_j | y_i < y_j), ties in s counted half: Jonckheere–Terpstra over its number of pairs.

    Args:
        scores: [n] or [n, B].
        codes: stage codes 0 … n_stages − 1, [n] or [n, B]; a code of −1 leaves that entry out.
        groups: [n]; only pairs within a group are counted.

    Returns:
        0-d array or [B]; 0.5 is no order, 1 a perfect one. Somers' D = 2c − 1.

    Source: Jonckheere, Biometrika 41 (1954) 133; Terpstra, Indag. Math. 14 (1952) 327.
    """
    single = scores.ndim == 1 and codes.ndim == 1
    parts = [slice(None)] if groups is None else [np.flatnonzero(groups == g) for g in np.unique(groups)]
    counted = np.array([concordant_pairs(scores[p], codes[p], n_stages) for p in parts])  # [groups, 2, B]
    below, pairs = counted.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = below / pairs
    return value[0] if single else value


def concordant_pairs(scores: np.ndarray, codes: np.ndarray, n_stages: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs in order (ties half) and all comparable pairs, each [B] (B = 1 for single vectors)."""
    # [B, n]: sorting along the last, contiguous axis is several times faster
    S = np.atleast_2d(scores.T)
    Y = np.atleast_2d(codes.T)
    S, Y = np.broadcast_arrays(S, Y)
    order = np.argsort(S, axis=1, kind="stable")
    below = _pairs_below(np.take_along_axis(Y, order, 1), n_stages)
    s = np.take_along_axis(S, order, 1)
    if np.any(s[:, 1:] == s[:, :-1]):
        # sorted from the other end, ties stand the other way round: the mean of the two counts ties half
        order = np.argsort(S[:, ::-1], axis=1, kind="stable")
        below = (below + _pairs_below(np.take_along_axis(Y[:, ::-1], order, 1), n_stages)) / 2
    counts = np.stack([np.count_nonzero(np.equal(Y, k), axis=1) for k in range(n_stages)]).astype(float)
    return below, (counts.sum(axis=0) ** 2 - (counts**2).sum(axis=0)) / 2


def _pairs_below(sorted_codes: np.ndarray, n_stages: int) -> np.ndarray:
    """Number of pairs (i before j) with code_i < code_j, by row of codes sorted by score."""
    total = np.zeros(sorted_codes.shape[0])
    lower = np.zeros(sorted_codes.shape, dtype=np.int32)
    for stage in range(1, n_stages):
        lower += np.cumsum(sorted_codes == stage - 1, axis=1, dtype=np.int32)
        total += np.einsum("bn,bn->b", lower, sorted_codes == stage, dtype=np.float64, casting="unsafe")
    return total


def isotonic_means(means: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted non-decreasing least-squares fit of the stage means (pool adjacent violators)."""
    blocks: list[list[float]] = []  # value, weight, length
    for value, weight in zip(means, weights, strict=True):
        blocks.append([float(value), float(weight), 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            v, w, k = blocks.pop()
            u = blocks[-1]
            u[0] = (u[0] * u[1] + v * w) / (u[1] + w)
            u[1] += w
            u[2] += k
    return np.concatenate([np.full(int(k), v) for v, _, k in blocks])


def concordant_share(
    scores: np.ndarray, codes: np.ndarray, n_stages: int, *, groups: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """For each patient [n]: pairs (within its group) with other stages in order (ties half), and all such pairs."""
    concordant, pairs = np.zeros(scores.size), np.zeros(scores.size)
    if groups is not None:
        for g in np.unique(groups):
            here = groups == g
            concordant[here], pairs[here] = concordant_share(scores[here], codes[here], n_stages)
        return concordant, pairs
    by_stage = [np.sort(scores[codes == k]) for k in range(n_stages)]
    for k in range(n_stages):
        for other, sorted_scores in enumerate(by_stage):
            if other == k:
                continue
            mine = codes == k
            below = np.searchsorted(sorted_scores, scores[mine], "left")
            up_to = np.searchsorted(sorted_scores, scores[mine], "right")
            smaller = (below + up_to) / 2
            concordant[mine] += smaller if other < k else sorted_scores.size - smaller
            pairs[mine] += sorted_scores.size
    return concordant, pairs


def concordance_variance(
    scores: np.ndarray, codes: np.ndarray, n_stages: int, *, groups: np.ndarray | None = None
) -> float:
    """Delete-one jackknife variance of the concordance of *fixed* scores (equals DeLong's to O(1/n))."""
    return jackknife_variance(left_out(*concordant_share(scores, codes, n_stages, groups=groups)))


def left_out(concordant: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Concordance [n] without each patient, from its shares (each pair counted at both its patients)."""
    return (concordant.sum() / 2 - concordant) / (pairs.sum() / 2 - pairs)


def paired_variance(left: np.ndarray, other: np.ndarray) -> float:
    """Jackknife variance of a difference from the `left_out` values of its two parts."""
    return jackknife_variance(left - other)


def stage_counts(codes: np.ndarray, n_stages: int, groups: np.ndarray | None) -> np.ndarray:
    """Patients by stage [1, K], or by group and stage [G, K]."""
    levels = [codes] if groups is None else [codes[groups == g] for g in np.unique(groups)]
    return np.stack([np.bincount(level, minlength=n_stages) for level in levels])


def null_concordance_variance(counts: np.ndarray) -> float:
    """Variance of the concordance of fixed, untied scores when the stage is exchangeable.

    `counts` [K], or [G, K] where it is exchangeable within G groups and only their own pairs count.

    Source: Jonckheere (1954); Hollander & Wolfe, *Nonparametric Statistical Methods*, §6.2.
    """
    table = np.atleast_2d(counts).astype(float)
    n = table.sum(axis=1)
    pairs = (n**2 - np.sum(table**2, axis=1)) / 2
    variance = (n**2 * (2 * n + 3) - np.sum(table**2 * (2 * table + 3), axis=1)) / 72
    return float(variance.sum() / pairs.sum() ** 2)


def kendall_tau_b(scores: np.ndarray, codes: np.ndarray) -> float:
    """Kendall's τ-b between score and stage."""
    from scipy.stats import kendalltau

    return float(kendalltau(scores, codes).statistic)


def standardised_stage_means(scores: np.ndarray, codes: np.ndarray, n_stages: int) -> np.ndarray:
    """Mean score by stage about the unweighted mean of the stage means, in pooled within-stage SDs.

    Args:
        scores, codes: [n] or [n, B] (one may be [n] while the other is [n, B]).

    Returns:
        [K] or [K, B]. The unit makes differences comparable between axes whose shrinkage differs.
    """
    single = scores.ndim == 1 and codes.ndim == 1
    S = scores[:, None] if scores.ndim == 1 else scores
    Y = codes[:, None] if codes.ndim == 1 else codes
    n, means, square = S.shape[0], [], np.zeros(max(S.shape[1], Y.shape[1]))
    for k in range(n_stages):
        here = np.equal(Y, k)
        count = np.count_nonzero(here, axis=0)
        inside = np.where(here, S, 0.0)
        mean = inside.sum(axis=0) / np.maximum(count, 1)
        means.append(mean)
        square = square + (inside**2).sum(axis=0) - count * mean**2
    value = np.stack(means)
    within = np.sqrt(np.maximum(square, 0.0) / (n - n_stages))
    value = value - value.mean(axis=0)
    value = np.divide(value, within, out=np.zeros_like(value), where=within > 0)
    return value[:, 0] if single else value


def step_statistic(
    scores: np.ndarray,
    codes: np.ndarray,
    pair: tuple[int, int],
    *,
    n_stages: int,
    groups: np.ndarray | None = None,
) -> np.ndarray:
    """Difference of two stages' mean scores (later minus earlier) as Welch's t [B]; with groups, in pooled SDs.

    Args:
        scores, codes: [n, B].
        groups: [n]; differences are taken within each group and averaged with weights n_a n_b / (n_a + n_b).

    Source: Welch, Biometrika 34 (1947) 28; studentised permutation, Janssen, Stat. Probab. Lett. 36 (1997) 9.
    """
    everyone = np.arange(scores.shape[0])
    parts = [everyone] if groups is None else [np.flatnonzero(groups == g) for g in np.unique(groups)]
    difference, weight, square, df = 0.0, 0.0, 0.0, 0
    error = np.zeros(0)
    for part in parts:
        S, Y = scores[part], codes[part]
        means, counts, within = {}, {}, {}
        for k in range(n_stages) if groups is not None else pair:
            here = np.equal(Y, k)
            count = np.count_nonzero(here, axis=0)
            inside = np.where(here, S, 0.0)
            means[k], counts[k] = inside.sum(axis=0) / np.maximum(count, 1), count
            within[k] = np.maximum((inside**2).sum(axis=0) - count * means[k] ** 2, 0.0)
            square = square + within[k]
        a, b = pair
        error = sum(within[k] / np.maximum(counts[k] - 1, 1) / np.maximum(counts[k], 1) for k in pair)
        w = counts[a] * counts[b] / np.maximum(counts[a] + counts[b], 1)
        difference, weight = difference + w * (means[b] - means[a]), weight + w
        df += part.size - np.unique(Y[:, 0]).size
    raw = difference / np.maximum(weight, 1e-300)
    scale = np.sqrt(error) if groups is None else np.sqrt(square / max(df, 1))
    return np.divide(raw, scale, out=np.zeros_like(raw), where=scale > 0)
