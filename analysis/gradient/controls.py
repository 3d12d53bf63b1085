"""Controls that run every time: random weights, size alone, and what else can be read from the embedding.

The permuted stage and the concordance without each group are made where the trend is (`gradient.trend`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.gradient.alignment import less_group_means, subset
from analysis.gradient.axis import CrossFit, cross_fit, fold_repeats
from analysis.gradient.comparison import joint_null, paired_difference, score_interval
from analysis.gradient.data import StageData
from analysis.gradient.readability import readability
from analysis.matching import mean_by_patient
from analysis.resampling import permutation_p_value
from analysis.splits import Folds, repeated_folds

if TYPE_CHECKING:
    import pandas as pd

    from flexict_core.store import EmbeddingTable

CONTROL_DRAWS = 999
SIZE_PREFIX = "size_"  # how the baseline encoder names its dimensions that are sizes


def further_controls(
    axis: CrossFit,
    d: StageData,
    folds: Folds,
    *,
    permutations: int,
    seed: int,
    without: Sequence[str] = (),
) -> dict[str, Any]:
    """`random_weights`, `size_only` (None with a reason where the store holds none), `readability`.

    `axis`: fit on `folds` (within groups, where there are some). `without`: columns that are no field to read
    (stage, outcome).
    """
    controls: dict[str, Any] = {}
    draws = min(permutations, CONTROL_DRAWS)
    found = _control_embeddings(d)
    for kind, absent in (
        ("random_weights", "no other embedding in the store comes from random weights"),
        ("size_only", "no embedding in the store has dimensions of size (size_…), and no size-only encoder"),
    ):
        if d.source is None or d.source.store is None:
            controls[kind] = {"skipped": "not looked for: the data are arrays, not a store's"}
        elif kind not in found:
            controls[kind] = {"skipped": absent}
        else:
            controls[kind] = _beside(axis, d, *found[kind], draws=draws, seed=seed)
    fields = _fields(d, without)
    if fields.shape[1]:
        # a field may differ between groups, so it is read from the embedding as it is
        whole = axis if d.groups is None else cross_fit(d.X, folds)
        read, skipped = readability(d.X, fields, axis=whole, seed=seed)
        controls["readability"] = [asdict(r) for r in read]
        controls["readability_skipped"] = list(skipped)
    else:
        controls["readability"], controls["readability_skipped"] = [], ["no field was given"]
    return controls


def _fields(d: StageData, without: Sequence[str]) -> pd.DataFrame:
    """Recorded fields, adjusters and group first, without identifier, stage and outcome."""
    import pandas as pd

    fields = pd.DataFrame(index=range(d.n))
    if d.adjusters is not None:
        named = [
            c for c in d.adjusters if not str(c).startswith("feature:")
        ]  # those are the embedding itself
        fields = fields.assign(**{str(c): d.adjusters[c].to_numpy() for c in named})
    if d.groups is not None and d.group_name not in fields:
        fields = fields.assign(**{str(d.group_name): d.groups})
    if d.source is not None:
        left_out = {d.source.id_column, d.stage_name, *without, *fields.columns}
        table = d.source.table
        fields = pd.concat(
            [fields, table[[c for c in table if c not in left_out]].reset_index(drop=True)], axis=1
        )
    return fields


def _control_embeddings(d: StageData) -> dict[str, tuple[str, str, np.ndarray, np.ndarray]]:
    """By kind: embedding_id, what it is, X [m, d] and patients [m], the first of its kind in the store."""
    from flexict_core.store import EmbeddingStore

    found: dict[str, tuple[str, str, np.ndarray, np.ndarray]] = {}
    if d.source is None or d.source.store is None:
        return found
    store = EmbeddingStore(d.source.store)
    for info in store.list():
        random = "random" in info.encoder.lower() and info.embedding_id != d.source.embedding_id
        sized = info.encoder.lower().startswith(("size", "baseline")) or "size" in info.name.lower()
        if not info.rows or not (random or sized):
            continue
        held = store.read(info.embedding_id)
        if "random_weights" not in found and held.spec.get("negative_control"):
            found["random_weights"] = (info.embedding_id, f"encoder {info.encoder}", *_by_patient(held))
        dimensions = _size_dimensions(held, info.name)
        if "size_only" not in found and dimensions.size:
            X, patients = _by_patient(held)
            text = f"{dimensions.size} dimensions of {info.encoder}"
            found["size_only"] = (info.embedding_id, text, X[:, dimensions], patients)
    return found


def _size_dimensions(held: EmbeddingTable, name: str) -> np.ndarray:
    names = held.spec.get("feature_names") or []
    sizes = np.flatnonzero([str(n).startswith(SIZE_PREFIX) for n in names])
    if sizes.size or "size" not in name.lower():
        return sizes
    return np.arange(held.X.shape[1])  # an embedding that is called size is size


def _by_patient(held: EmbeddingTable) -> tuple[np.ndarray, np.ndarray]:
    ids = held.rows["patient_id"].astype(str).str.strip().to_numpy(dtype=object)
    return mean_by_patient(np.asarray(held.X, dtype=np.float64), ids)


def _beside(
    axis: CrossFit,
    d: StageData,
    embedding_id: str,
    description: str,
    X: np.ndarray,
    patients: np.ndarray,
    *,
    draws: int,
    seed: int,
) -> dict[str, Any]:
    """The control's concordance and the embedding's less it, on the patients who have both."""
    place = {str(p): i for i, p in enumerate(patients)}
    kept = np.array([str(p) in place for p in d.patient_id])
    common = d if kept.all() else subset(d, kept)
    if common is None:
        return {
            "embedding_id": embedding_id,
            "skipped": f"only {int(kept.sum())} of {d.n} patients are in embedding {embedding_id!r}",
        }
    own = X[[place[str(p)] for p in common.patient_id]]
    own = own[:, np.isfinite(own).all(axis=0)]
    own = own[:, np.ptp(own, axis=0) > 0] if own.size else own
    if not own.size:
        return {"embedding_id": embedding_id, "skipped": f"embedding {embedding_id!r} is constant here"}
    folds = repeated_folds(common.n, repeats=fold_repeats(common.n), seed=seed)
    main = axis if common is d else cross_fit(common.within_groups, folds)
    control = cross_fit(less_group_means(own, common.groups), folds)
    joint = joint_null([main, control], common, permutations=draws, rng=np.random.default_rng([seed, 7]))
    difference, ci, p = paired_difference(joint, 0, 1)
    return {
        "embedding_id": embedding_id,
        "description": description,
        "n": common.n,
        "dimensions": own.shape[1],
        "concordance": float(joint.observed[1]),
        "ci": score_interval(joint, 1, control, common),
        "p_value": permutation_p_value(float(joint.observed[1]), joint.null[1]),
        "permutations": draws,
        "difference": difference,
        "difference_ci": ci,
        "difference_p": p,
    }
