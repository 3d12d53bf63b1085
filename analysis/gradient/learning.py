"""What learning the axis adds to the variance of an estimate, by simulation at every strength of the gradient.

The bootstrap or DeLong's formula on fixed out-of-fold scores ignores that another cohort would have given another
axis; near "no gradient" that is most of the variance. Refitting bootstraps and jackknives count it about twice there,
because the statistic is then a degenerate U-statistic. So the stage is drawn anew given the embedding, from the rank of

    strength · z + noise,    z the axis fitted to all patients, noise N(0, 1),

(the same number of patients in every stage; strength 0 is the permutation of the stage), and the axis is refitted to
each draw exactly. The excess of the variance of an estimate over its variance for *fixed* scores that reach the same
concordance under the same draws is what learning adds at that strength.

It is a model of the stage given the embedding; the coverage that it gives is simulated in
`tests/benchmarks/calibration.py`, and the table there is the reason why the intervals are printed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.gradient.axis import LARGEST_OPERATOR, CrossFit
from analysis.gradient.contrasts import StageContrasts
from analysis.gradient.data import StageData
from analysis.gradient.rank_statistics import concordance, null_concordance_variance, stage_counts

STRENGTHS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
DRAWS, DRAWS_LARGE = 199, 49  # of the stage at every strength
FIXED = 3  # fixed scores to compare with, for each strength


@dataclass(frozen=True, eq=False)
class LearningCurve:
    """Variance from learning over the true concordance, which rises with the strengths.

    concordance [G]: mean of the refitted concordance; excess [G]: of its variance; contrast_excess [G, C].
    """

    concordance: np.ndarray
    excess: np.ndarray
    contrast_excess: np.ndarray

    def at(self, c0: np.ndarray | float) -> np.ndarray:
        """Excess variance of the concordance where the true one is c0."""
        return np.asarray(np.interp(c0, self.concordance, self.excess))

    def of_contrasts(self, c: float) -> np.ndarray:
        """[C] excess variances of the contrasts at a concordance."""
        return np.array([np.interp(c, self.concordance, column) for column in self.contrast_excess.T])


def learning_curve(
    axis: CrossFit,
    d: StageData,
    *,
    rng: np.random.Generator,
    null: np.ndarray,
    contrasts: StageContrasts | None = None,
) -> LearningCurve:
    """Refit the axis to stages drawn at every strength; `null` [B]: the permutation distribution (strength 0)."""
    draws = DRAWS if d.n <= LARGEST_OPERATOR else DRAWS_LARGE
    z = axis.in_sample(d.centred(d.codes))
    spread = z.std()
    z = (z - z.mean()) / spread if spread > 0 else z
    reached, excess, of_contrasts = [], [], []
    for strength in STRENGTHS:
        drawn = tilted_stages(d, z, strength, draws, rng)
        refitted = axis.scores(d.centred(drawn))
        c = concordance(refitted, drawn, d.n_stages, groups=d.groups)
        noise = rng.standard_normal((d.n, FIXED))
        share = _share_of_signal(z, noise, drawn, d, target=float(c.mean()))
        fixed = share * z[:, None] + np.sqrt(1 - share**2) * noise  # [n, FIXED]
        fixed_c = [concordance(f, drawn, d.n_stages, groups=d.groups).var(ddof=1) for f in fixed.T]
        reached.append(float(c.mean()))
        excess.append(float(c.var(ddof=1) - np.mean(fixed_c)))
        if contrasts is not None:
            whole = contrasts.values(refitted, drawn).var(axis=1, ddof=1)
            parts = [
                contrasts.values(np.broadcast_to(f[:, None], drawn.shape), drawn).var(axis=1, ddof=1)
                for f in fixed.T
            ]
            of_contrasts.append(whole - np.mean(parts, axis=0))
    reached[0] = 0.5
    # about 0.5, so that a small-sample bias counts as error; without signal the fixed part has a closed form
    excess[0] = max(
        float(np.mean((null - 0.5) ** 2))
        - null_concordance_variance(stage_counts(d.codes, d.n_stages, d.groups)),
        0.0,
    )
    grid = np.maximum.accumulate(np.array(reached) + 1e-9 * np.arange(len(reached)))
    table = np.array(of_contrasts) if contrasts is not None else np.zeros((len(STRENGTHS), 0))
    return LearningCurve(grid, np.array(excess), table)


def tilted_stages(
    d: StageData, z: np.ndarray, strength: float, draws: int, rng: np.random.Generator
) -> np.ndarray:
    """[n, draws] stage codes in the rank of strength · z + N(0, 1), within groups; counts stay as they are."""
    latent = strength * z[:, None] + rng.standard_normal((d.n, draws))
    drawn = np.empty(latent.shape, dtype=d.codes.dtype)
    everyone = np.arange(d.n)
    parts = [everyone] if d.groups is None else [np.flatnonzero(d.groups == g) for g in np.unique(d.groups)]
    for part in parts:
        place = np.argsort(latent[part], axis=0)
        block = np.empty(place.shape, dtype=d.codes.dtype)
        np.put_along_axis(block, place, np.sort(d.codes[part])[:, None], axis=0)
        drawn[part] = block
    return drawn


def _share_of_signal(
    z: np.ndarray, noise: np.ndarray, drawn: np.ndarray, d: StageData, *, target: float
) -> float:
    """Correlation with z of fixed scores whose mean concordance is `target` (bisection; at most 1)."""
    some = drawn[:, :40]

    def reached(share: float) -> float:
        scores = share * z + np.sqrt(1 - share**2) * noise[:, 0]
        return float(concordance(scores, some, d.n_stages, groups=d.groups).mean())

    if reached(1.0) <= target:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(8):
        middle = (low + high) / 2
        low, high = (low, middle) if reached(middle) > target else (middle, high)
    return (low + high) / 2
