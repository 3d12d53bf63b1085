"""Where in a CT does its stage-axis score come from: one number a patch, exact, with its place in the patient.

The mean-patch part of an embedding is an average over patches, so a linear axis of it is an average over patches
too: score = Σ_j g_j (x_j − μ_j) with g = weights / scale, and x_j the mean over patches of t_pj / L, where L is the
length that the pooling divides by (1 for `mean_patch`). Hence patch p contributes Σ_j g_j (t_pj / L − μ_j) / N: with
L taken as it is, the contributions sum to the mean-patch part of the score. The CLS token is no average over
patches; what it adds has no place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from flexict_core.errors import AnalysisError
from flexict_core.volume import Volume

if TYPE_CHECKING:
    import pandas as pd

    from analysis.cohort import Cohort
    from analysis.gradient.transport import StageAxis
    from flexict_core.encoders.token_map import TokenMap

LOCAL_POOLINGS = ("cls_mean", "mean_patch")
_TOLERANCE = 1e-3  # of the embedding's length; bfloat16 on another machine stays below
_REASONS = {
    "cls": "pooling 'cls' is the CLS token alone, which is no average over patches",
    "hier": "pooling 'hier' also averages patches of earlier blocks, whose tokens the encoder does not give",
    "vlm": "pooling 'vlm' is a projection into the space of words, where no axis is split into patches here",
}


@dataclass(frozen=True, eq=False, kw_only=True)
class StageAxisMap:
    """Contribution of every patch to a case's stage-axis score, in stages; positive = towards later stages.

    contributions: [d, h, w] float64, axes towards S, P, L; they sum to `patch_part`.
    affine: [4, 4], index (x, y, z) → centre of the patch in LPS mm.
    score: of the axis for this case, 0 = the mean of the patients that the axis was learnt from; it is
    patch_part + cls_part (0 for pooling `mean_patch`).
    embedding: [D], the vector that the tokens give, whose score it is.
    """

    contributions: np.ndarray
    affine: np.ndarray
    score: float
    patch_part: float
    cls_part: float
    pooling: str
    stage: str
    order: tuple[str, ...]
    embedding: np.ndarray

    @property
    def share(self) -> float | None:
        """patch_part / score; None where the two parts pull in opposite directions, so that no share exists."""
        if self.patch_part * self.cls_part < 0 or self.score == 0:
            return None
        return self.patch_part / self.score

    def to_volume(self) -> Volume:
        """The contributions [z, y, x] as a Volume of float32 in LPS, e.g. for `flexict_core.io.write.write_nifti`."""
        return Volume(self.contributions.astype(np.float32), self.affine)

    def summary(self) -> str:
        """The score and its parts in one line."""
        line = f"score {self.score:+.3f} stages = patches {self.patch_part:+.3f}"
        if self.pooling == "mean_patch":
            return f"{line}: all of it has a place"
        if self.share is None:
            return (
                f"{line} and CLS {self.cls_part:+.3f}: they pull apart, so the map is no share of the score"
            )
        return f"{line} and CLS {self.cls_part:+.3f}: the map holds {self.share:.0%} of the score"


def stage_axis_map(
    tokens: TokenMap,
    axis: StageAxis,
    *,
    pooling: str,
    embedding: Sequence[float] | np.ndarray | None = None,
) -> StageAxisMap:
    """Split the stage-axis score of one CT into one number a patch.

    tokens: `encoder.tokens(volume, roi)` of the encoder that the axis' embedding was made with. axis: as
    `flexict gradient` writes it, or `axis_of_others`. pooling: of that embedding. embedding: the stored vector [D] of
    this case; where it is given, tokens that do not pool to it are refused.

    Raises AnalysisError for a pooling that is no average over patches, and for tokens that do not belong to the
    axis or to the embedding.
    """
    if pooling not in LOCAL_POOLINGS:
        raise AnalysisError(f"no stage-axis map: {_reason(pooling)}; embed with --pooling cls_mean")
    patches = np.asarray(tokens.tokens, dtype=np.float64)  # [d, h, w, C]
    width = patches.shape[-1]
    wanted = width * (2 if pooling == "cls_mean" else 1)
    if axis.weights.size != wanted:
        raise AnalysisError(
            f"the axis has {axis.weights.size} dimensions, tokens of width {width} give {wanted} with pooling "
            f"{pooling!r}: use an axis of the same encoder and pooling"
        )
    x, weight = _pooled(patches, tokens.cls, pooling)
    if embedding is not None:
        _check_same(x, np.asarray(embedding, dtype=np.float64))
    slope = axis.weights / axis.scale  # [D]
    parts = slope * (x - axis.mean)  # [D]
    local, mean = slope[-width:], axis.mean[-width:]
    count = patches[..., 0].size
    contributions = (patches @ local) * weight[:, None, None] - (mean @ local) / count
    patch_part, cls_part = float(contributions.sum()), float(parts[:-width].sum())
    return StageAxisMap(
        contributions=contributions,
        affine=np.asarray(tokens.affine, dtype=np.float64),
        score=patch_part + cls_part,
        patch_part=patch_part,
        cls_part=cls_part,
        pooling=pooling,
        stage=axis.stage,
        order=axis.order,
        embedding=x,
    )


def why_no_map(spec: Mapping[str, Any]) -> str | None:
    """Why an embedding of the store, given its specification, has no patch-level stage-axis map; None if it has."""
    if not spec.get("patch_size"):
        encoder = spec.get("encoder") or "this encoder"
        return f"encoder {encoder!r} describes a region as a whole: there are no patches to divide its score among"
    pooling = str(spec.get("pooling") or "")
    return None if pooling in LOCAL_POOLINGS else _reason(pooling)


def feature_contributions(
    axis: StageAxis, x: Sequence[float] | np.ndarray, names: Sequence[str]
) -> pd.DataFrame:
    """What each named feature adds to the stage-axis score of one vector [D]; exact, as a linear score is a sum.

    Columns: feature, value, sd (distance from the mean of the axis' patients), contribution (stages); largest first
    by size, summing to the score.
    """
    import pandas as pd

    values = np.asarray(x, dtype=np.float64)
    sd = (values - axis.mean) / axis.scale
    table = pd.DataFrame(
        {"feature": list(names), "value": values, "sd": sd, "contribution": sd * axis.weights}
    )
    order = np.argsort(-np.abs(table["contribution"].to_numpy()), kind="stable")
    return table.iloc[order].reset_index(drop=True)


def axis_of_others(
    cohort: Cohort, patient: str | None, *, stage: str, order: Sequence[str] | str, group: str | None = None
) -> StageAxis:
    """The stage axis of a cohort without one patient, so that this patient's map owes nothing to their own stage.

    It is the axis of `stage_gradient`, fitted without any test. patient: None leaves nobody out. Raises what
    `stage_gradient` raises for stages that cannot be used.
    """
    from analysis.gradient.data import gather
    from analysis.gradient.transport import fit_axis

    others = cohort.patient_id.astype(str) != (patient or "")
    away = {int(i): "the patient whose map is drawn" for i in np.flatnonzero(~others)}
    rest = cohort.keep(others, away)
    d = gather(rest, stage, order=order, adjust=None, groups=group, patients=None)
    return fit_axis(d, seed=0, concordance_=None, ci=None)


def patch_share_of_spread(axis: StageAxis, X: np.ndarray, *, pooling: str) -> float:
    """Share of the spread of the scores of X [n, D] that the mean-patch part carries: cov(part, score) / var(score).

    With the CLS part's share it sums to 1; below 0 or above 1 where the parts work against each other. NaN where all
    scores are equal.
    """
    if pooling not in LOCAL_POOLINGS:
        raise AnalysisError(f"no share of patches: {_reason(pooling)}")
    if pooling == "mean_patch":
        return 1.0
    parts = (np.asarray(X, dtype=np.float64) - axis.mean) * (axis.weights / axis.scale)  # [n, D]
    scores, local = parts.sum(axis=1), parts[:, parts.shape[1] // 2 :].sum(axis=1)
    variance = float(np.mean((scores - scores.mean()) ** 2))
    return float(np.mean((scores - scores.mean()) * local)) / variance if variance > 0 else float("nan")


def _reason(pooling: str) -> str:
    return _REASONS.get(pooling, f"pooling {pooling!r} is no average over patches")


def _pooled(patches: np.ndarray, cls: np.ndarray | None, pooling: str) -> tuple[np.ndarray, np.ndarray]:
    """The embedding [D] that the tokens give, and what each slab's [d] tokens are multiplied with in it."""
    depth, per_slab = patches.shape[0], patches.shape[1] * patches.shape[2]
    if pooling == "mean_patch":
        weight = np.full(depth, 1.0 / (depth * per_slab))
        return patches.mean(axis=(0, 1, 2)), weight
    if cls is None:
        raise AnalysisError(
            "no stage-axis map: pooling 'cls_mean' needs the CLS token beside the patch tokens"
        )
    cls = np.asarray(cls, dtype=np.float64)
    if cls.ndim == 1:  # one pass over the volume
        both = np.concatenate([cls, patches.mean(axis=(0, 1, 2))])
        length = np.linalg.norm(both)
        return both / length, np.full(depth, 1.0 / (depth * per_slab * length))
    both = np.concatenate([cls, patches.mean(axis=(1, 2))], axis=1)  # [d, 2 C]: slices, each of length 1
    lengths = np.linalg.norm(both, axis=1)
    mean = (both / lengths[:, None]).mean(axis=0)
    length = np.linalg.norm(mean)
    return mean / length, 1.0 / (depth * per_slab * lengths * length)


def _check_same(x: np.ndarray, stored: np.ndarray) -> None:
    if stored.shape != x.shape:
        raise AnalysisError(f"the stored embedding has {stored.size} dimensions, the tokens give {x.size}")
    apart = float(np.linalg.norm(x - stored)) / max(float(np.linalg.norm(stored)), 1e-12)
    if apart > _TOLERANCE:
        raise AnalysisError(
            f"the tokens do not pool to the stored embedding (they differ by {apart:.1%}): the image, the mask or "
            "the weights changed since it was made; embed again"
        )
