"""Transport: a stage axis learnt from one whole cohort, frozen, and applied to another.

Nothing is learnt in the second cohort, so its scores are fixed: p comes from permuting the stage alone, and the
interval holds the sampling of patients alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import norm, t

from analysis.gradient.alignment import less_group_means
from analysis.gradient.axis import effective_df, ridge_penalty
from analysis.gradient.data import StageData
from analysis.gradient.intervals import invert_score_test
from analysis.gradient.rank_statistics import (
    concordance,
    concordance_variance,
    kendall_tau_b,
    null_concordance_variance,
    stage_counts,
    standardised_stage_means,
)
from analysis.gradient.result import StageRow
from analysis.resampling import chunks, permutation_p_value, permuted_columns
from analysis.results import Interval, array_sha256, library_versions, plain
from flexict_core.errors import AnalysisError, InputError

AXIS_FORMAT = "flexict stage axis"
AXIS_VERSION = 1
POWER = 0.80


@dataclass(frozen=True, eq=False, kw_only=True)
class StageAxis:
    """A stage axis of a whole cohort: score = Σ weights · (x − mean) / scale, higher = later stage.

    mean, scale, weights: [d], in the order of the embedding's dimensions; a dimension that was constant has
    weight 0 and scale 1. `concordance` and `ci` are the cross-fitted ones at home. `rows` holds a short hash of
    each training embedding, by which a patient who is in both cohorts is found.
    """

    embedding_id: str | None
    stage: str
    order: tuple[str, ...]
    counts: tuple[int, ...]
    n: int
    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    effective_df: float
    concordance: float | None = None
    ci: Interval | None = None
    cohort: str | None = None
    synthetic: bool = False
    licence: str | None = None
    data_sha256: Mapping[str, str] = field(default_factory=dict)
    seed: int | None = None
    rows: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=library_versions)

    @property
    def sha256(self) -> str:
        """Hash of everything in the axis."""
        return _content_sha256(self._content())

    def scores(self, X: np.ndarray) -> np.ndarray:
        """Scores [n] of embeddings [n, d], in units of stages."""
        return np.asarray(((X - self.mean) / self.scale) @ self.weights)

    def _content(self) -> dict[str, Any]:
        return {"format": AXIS_FORMAT, "version": AXIS_VERSION, **plain(asdict(self))}

    def to_json(self) -> str:
        """The axis as text; floats in full, so that it reads back bit for bit."""
        content = self._content()
        return (
            json.dumps({**content, "sha256": _content_sha256(content)}, indent=1, ensure_ascii=False) + "\n"
        )

    @classmethod
    def load(cls, path: str | Path) -> StageAxis:
        """Read an axis file; InputError when it is not one, or was changed after it was written."""
        file = Path(path)
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"axis {str(file)!r} cannot be read: {error.strerror}") from None
        except ValueError:
            content = None
        if not isinstance(content, dict) or content.get("format") != AXIS_FORMAT:
            raise InputError(
                f"axis {str(file)!r} is no stage axis: give the axis.json that flexict gradient wrote"
            )
        if content.get("version") != AXIS_VERSION:
            raise InputError(
                f"axis {str(file)!r} has version {content.get('version')!r}, this program reads {AXIS_VERSION}: "
                "make the axis again"
            )
        stated = content.pop("sha256", None)
        if stated != _content_sha256(content):
            raise InputError(f"axis {str(file)!r} was changed after it was written: make the axis again")
        values = {k: v for k, v in content.items() if k not in ("format", "version")}
        for name in ("mean", "scale", "weights"):
            values[name] = np.asarray(values[name], dtype=float)
        for name in ("order", "counts", "rows"):
            values[name] = tuple(values[name])
        values["ci"] = tuple(values["ci"]) if values["ci"] is not None else None
        return cls(**values)


@dataclass(frozen=True, eq=False, kw_only=True)
class Transport:
    """What a frozen axis is worth in this cohort.

    `scores` [n]: in within-stage SDs of this cohort about the mean of its stage means.
    `shared_patients`: patients here whose very embedding the axis was learnt from.
    """

    axis_sha256: str
    axis_embedding_id: str | None
    axis_cohort: str | None
    axis_n: int
    axis_order: tuple[str, ...]
    axis_concordance: float | None
    axis_ci: Interval | None
    n: int
    concordance: float
    ci: Interval | None
    p_value: float
    permutations: int
    kendall_tau: float
    stages: tuple[StageRow, ...]
    minimum_detectable_concordance: float
    shared_patients: int
    verdict: str
    estimand: str
    scores: np.ndarray

    def details(self) -> dict[str, Any]:
        """Everything but the scores of single patients."""
        return {k: v for k, v in vars(self).items() if k != "scores"}


def fit_axis(d: StageData, *, seed: int, concordance_: float | None, ci: Interval | None) -> StageAxis:
    """Ridge of the stage on the embeddings of all patients, with the penalty of the cross-fitted axis' rule."""
    X, y = d.X_full, d.centred(d.codes)
    y = y - y.mean()
    inside = less_group_means(X, d.groups)  # what differs between groups alone is no part of the axis
    mean, sd = X.mean(axis=0), inside.std(axis=0)
    constant = sd <= 1e-10 * (1 + np.abs(mean))
    scale = np.where(constant, 1.0, sd)
    Z = (inside - inside.mean(axis=0)) / scale
    Z[:, constant] = 0.0
    df = effective_df(d.n)
    if Z.shape[1] <= d.n:
        e, V = np.linalg.eigh(Z.T @ Z)
        e = np.maximum(e, 0.0)
        weights = (V / (e + ridge_penalty(e, df))) @ (V.T @ (Z.T @ y))
    else:
        e, U = np.linalg.eigh(Z @ Z.T)
        e = np.maximum(e, 0.0)
        weights = Z.T @ ((U / (e + ridge_penalty(e, df))) @ (U.T @ y))
    weights[constant] = 0.0
    origin = d.provenance({}, seed)
    return StageAxis(
        embedding_id=origin.embedding_id,
        stage=d.stage_name,
        order=d.order,
        counts=tuple(int(c) for c in d.counts),
        n=d.n,
        mean=mean,
        scale=scale,
        weights=weights,
        effective_df=df,
        concordance=concordance_,
        ci=ci,
        cohort=origin.cohort,
        synthetic=origin.synthetic,
        licence=origin.licence,
        data_sha256=dict(origin.data_sha256),
        seed=seed,
        rows=_row_hashes(X),
    )


def check_axis(axis: StageAxis, d: StageData) -> None:
    """Refuse an axis of another embedding, or of other stages; `AnalysisError` in one line."""
    here = d.provenance({}, 0).embedding_id
    if axis.embedding_id != here:
        raise AnalysisError(
            f"the axis was learnt on {_named(axis.embedding_id)}, this cohort is {_named(here)}: an axis "
            "applies to its own embedding only"
        )
    if axis.weights.size != d.X_full.shape[1]:
        raise AnalysisError(
            f"the axis has {axis.weights.size} dimensions, these embeddings have {d.X_full.shape[1]}"
        )
    place = [axis.order.index(s) if s in axis.order else -1 for s in d.order]
    if min(place) < 0 or place != sorted(place):
        raise AnalysisError(
            f"the axis was learnt on the stages {', '.join(axis.order)}, this cohort has "
            f"{', '.join(d.order)}: give --order the same stages in the same order"
        )


def apply_axis(
    axis: StageAxis, d: StageData, *, permutations: int, rng: np.random.Generator, alpha: float
) -> Transport:
    """Concordance of the frozen axis with the stage in this cohort; p by permuting the stage within groups."""
    check_axis(axis, d)
    scores, K = axis.scores(d.X_full), d.n_stages
    observed = float(concordance(scores, d.codes, K, groups=d.groups))
    null = np.empty(0)
    for size in chunks(d.n, permutations):
        drawn = permuted_columns(d.codes, size, rng, groups=d.groups)
        null = np.append(null, concordance(scores, drawn, K, groups=d.groups))
    p_value = permutation_p_value(observed, null)
    detectable = _detectable(scores, d, null, alpha)
    shared = int(np.isin(_row_hashes(d.X_full), axis.rows).sum())
    verdict = (
        "the frozen axis orders the stages here"
        if p_value < alpha
        else "no trend detected along the frozen axis (a concordance of "
        f"{detectable:.2f} could have been detected with 80 % power)"
    )
    if shared:
        verdict += f"; {shared} of {d.n} patients were in its training cohort, so this is no independent test"
    return Transport(
        axis_sha256=axis.sha256,
        axis_embedding_id=axis.embedding_id,
        axis_cohort=axis.cohort,
        axis_n=axis.n,
        axis_order=axis.order,
        axis_concordance=axis.concordance,
        axis_ci=axis.ci,
        n=d.n,
        concordance=observed,
        ci=fixed_score_interval(scores, d.codes, K, groups=d.groups),
        p_value=p_value,
        permutations=permutations,
        kendall_tau=kendall_tau_b(scores, d.codes),
        stages=_stage_rows(scores, d),
        minimum_detectable_concordance=detectable,
        shared_patients=shared,
        verdict=verdict,
        estimand=(
            f"concordance, in the population of this cohort, of the one axis learnt from {axis.n} patients "
            f"of {axis.cohort or 'another cohort'}"
        ),
        scores=_standardised(scores, d),
    )


def fixed_score_interval(
    scores: np.ndarray, codes: np.ndarray, n_stages: int, *, groups: np.ndarray | None = None
) -> Interval:
    """95 % interval of the concordance of fixed scores.

    A score interval (as Wilson's) with the jackknife (DeLong) variance in units of c (1 − c), so that it stays
    within 0 … 1 and does not collapse at a perfect order; unlike a permutation variance it does not take the
    stages to have one spread. Coverage: `tests/benchmarks/gradient_coverage.py`.

    Sources: Wilson, JASA 22 (1927) 209; DeLong, DeLong & Clarke-Pearson, Biometrics 44 (1988) 837.
    """
    estimate, variance = _fixed_score_variance(scores, codes, n_stages, groups)
    return invert_score_test(estimate, variance, bounds=(0.0, 1.0))


def _fixed_score_variance(
    scores: np.ndarray, codes: np.ndarray, n_stages: int, groups: np.ndarray | None
) -> tuple[float, Callable[[np.ndarray], np.ndarray]]:
    """The concordance, and the variance of its estimate as a function of a candidate c0."""
    estimate, n = float(concordance(scores, codes, n_stages, groups=groups)), codes.size
    exchangeable = 4 * null_concordance_variance(stage_counts(codes, n_stages, groups))
    prior = 0.5 / n  # matters near a perfect order only, where the jackknife sees no spread
    unit = (concordance_variance(scores, codes, n_stages, groups=groups) + prior * exchangeable) / (
        estimate * (1 - estimate) + prior
    )
    unit *= (t.ppf(0.975, n - 1) / norm.ppf(0.975)) ** 2  # the variance is itself estimated

    def variance(c0: np.ndarray) -> np.ndarray:
        return unit * c0 * (1 - c0)

    return estimate, variance


def _detectable(scores: np.ndarray, d: StageData, null: np.ndarray, alpha: float) -> float:
    """Smallest concordance that exceeds the critical value in 80 % of cohorts of this size."""
    _, variance = _fixed_score_variance(scores, d.codes, d.n_stages, d.groups)
    candidates = np.linspace(0.5, 1.0, 2001)
    reached = candidates - norm.ppf(POWER) * np.sqrt(variance(candidates)) >= np.quantile(null, 1 - alpha)
    return float(candidates[reached][0]) if reached.any() else 1.0


def _stage_rows(scores: np.ndarray, d: StageData) -> tuple[StageRow, ...]:
    """Stage means of fixed scores in within-stage SDs about their mean, with t intervals (pooled variance)."""
    means = standardised_stage_means(scores, d.codes, d.n_stages)
    K, inverse = d.n_stages, 1 / d.counts
    rows = []
    for k, label in enumerate(d.order):
        # contrast of independent means; the last term is the uncertainty of the unit, a standard deviation
        variance = (1 - 2 / K) * inverse[k] + inverse.sum() / K**2 + means[k] ** 2 / (2 * (d.n - K))
        reach = float(t.ppf(0.975, d.n - K) * np.sqrt(variance))
        mean = float(means[k])
        rows.append(StageRow(label, int(d.counts[k]), mean, (mean - reach, mean + reach)))
    return tuple(rows)


def _standardised(scores: np.ndarray, d: StageData) -> np.ndarray:
    means = np.array([scores[d.codes == k].mean() for k in range(d.n_stages)])
    within = np.sqrt(np.sum((scores - means[d.codes]) ** 2) / (d.n - d.n_stages))
    return (scores - means.mean()) / within if within > 0 else scores - means.mean()


def _named(embedding_id: str | None) -> str:
    return "an array without an embedding_id" if embedding_id is None else f"embedding {embedding_id!r}"


def _row_hashes(X: np.ndarray) -> tuple[str, ...]:
    return tuple(array_sha256(row)[:16] for row in np.ascontiguousarray(X, dtype=np.float64))


def _content_sha256(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
