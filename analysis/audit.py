"""What could make the other results of a cohort wrong: confounders, leaks, and data the encoder has seen before.

Five questions, one file each in `analysis.audits`: which recorded fields the embedding tells (and whether they go
with the label), what is lost when a site is left out, which entries are duplicates, whether they cross a split, and
whether the cohort comes from collections that the encoder was pretrained on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.audits.result import AuditResult
from flexict_core.errors import AnalysisError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from analysis.cohort import Cohort

__all__ = ["AuditResult", "audit"]


def audit(
    data: Cohort | np.ndarray,
    *,
    label: str | Sequence[Any] | np.ndarray | None = None,
    order: str | Sequence[str] | None = None,
    fields: Sequence[str] | pd.DataFrame | None = None,
    group: str | Sequence[Any] | np.ndarray | None = None,
    split: str | Sequence[Any] | np.ndarray | None = None,
    person: str | Sequence[Any] | np.ndarray | None = None,
    patient_id: Sequence[Any] | None = None,
    encoder: str | None = None,
    index: str | Path | None = None,
    near_images: bool = False,
    permutations: int = 999,
    seed: int = 0,
    alpha: float = 0.05,
    progress: Callable[[str], None] | None = None,
) -> AuditResult:
    """Audit a cohort, or an array [n, d] with values by keyword.

    Args:
        data: a `Cohort`, or embeddings [n, d].
        label: the column (or values [n]) that other analyses are about; fields are compared with it.
        order: the label's values from early to late, where it is a stage; else it is a category or a number.
        fields: columns to read from the embedding (a table of n rows for an array). None: every column of the
            cohort but ID, label, split and person.
        group: site or scanner, left out one at a time; needs a label.
        split: the side (train, test) of each patient; duplicates across it are leaks.
        person: who each entry is, where the ID is that of a scan.
        patient_id: IDs of the rows of an array.
        encoder: name of the encoder of an array, for its pretraining data; a cohort knows its own.
        index: table of public collections (collection_id, PatientID, SeriesInstanceUID).
        near_images: read every patient's first CT again and look for two that are nearly the same.
        permutations: refits behind each p of the ledger; the smallest p is 1 / (permutations + 1).
        seed: of the folds and all draws.
        alpha: level of the verdicts, after Holm's correction.
        progress: called with the name of each part of the work.

    Raises:
        CohortError: a column that is not there.
        AnalysisError: data that cannot carry the question; the message says why.
    """
    import numpy as np

    from analysis.audits.duplicates import find_duplicates, near_pairs
    from analysis.audits.gather import gather
    from analysis.audits.images import near_images as images_alike
    from analysis.audits.ledger import field_ledger, label_target
    from analysis.audits.left_out_groups import left_out_groups
    from analysis.audits.pretraining import pretraining_overlap
    from analysis.audits.words import verdict
    from analysis.gradient.axis import cross_fit, fold_repeats
    from analysis.splits import repeated_folds

    say = progress or (lambda _: None)
    if permutations < 99:
        raise AnalysisError(f"permutations = {permutations} is too few for a p-value: use at least 99")
    if not 0 < alpha < 0.5:
        raise AnalysisError(f"alpha = {alpha} must lie between 0 and 0.5")
    if group is not None and label is None:
        raise AnalysisError("a group is left out to see what a label loses, and there is no label: name one")
    d = gather(
        data, label=label, order=order, fields=fields, group=group, split=split, person=person,
        patient_id=patient_id, encoder=encoder,
    )  # fmt: skip
    say("fitting the embedding")
    axis = cross_fit(d.X, repeated_folds(d.n, repeats=fold_repeats(d.n), seed=seed))
    say("reading the recorded fields")
    ledger = field_ledger(d, axis, draws=permutations, seed=seed, alpha=alpha)
    groups = None
    if d.group is not None:
        say("leaving out each group")
        codes, ordered = label_target(d)
        known = (codes >= 0) & (d.group != "")
        fit = axis if known.all() else cross_fit(d.X[known], repeated_folds(int(known.sum()), seed=seed))
        groups = left_out_groups(
            d.X[known], codes[known], d.group[known].astype(str), ordered=ordered, fit=fit,
            column=d.group_name, label=d.label_name or "label", rng=np.random.default_rng([seed, 11]),
        )  # fmt: skip
    say("looking for duplicates")
    near = near_pairs(d.X, alpha=alpha)
    alike, unread = (
        images_alike(d.rows, d.patient_id, alpha=alpha, progress=say) if near_images else (None, ())
    )
    duplicates = find_duplicates(
        near, d.patient_id, images=d.images, alike=alike, persons=d.person, splits=d.split
    )
    overlap = pretraining_overlap(
        d.patient_id if d.person is None else d.person, d.series, encoder=d.encoder, index=index
    )
    said = verdict(
        ledger.rows, groups, duplicates, overlap, label=d.label_name, split=d.split_name, alpha=alpha
    )
    parameters = {
        "label": d.label_name, "order": d.order, "group": d.group_name, "split": d.split_name,
        "person": d.person_name, "fields": [r.name for r in ledger.rows], "permutations": permutations,
        "alpha": alpha, "near_images": near_images, "index": None if index is None else Path(index).name,
        "dimensions": d.X.shape[1],
    }  # fmt: skip
    return AuditResult(
        n=d.n,
        verdict=said,
        warnings=(*d.warnings, *unread, *_too_few_draws(len(ledger.rows), draws=permutations, alpha=alpha)),
        provenance=d.provenance(parameters, seed),
        fields=ledger.rows,
        fields_left_out=ledger.left_out,
        label=d.label_name,
        label_readability=ledger.label,
        left_out_groups=groups,
        duplicates=duplicates,
        split=d.split_name,
        intrinsic_dimension=near.intrinsic_dimension,
        images_compared=near_images,
        overlap=overlap,
        alpha=alpha,
        draws=permutations,
    )


def _too_few_draws(fields: int, *, draws: int, alpha: float) -> tuple[str, ...]:
    """A warning where the smallest p that the permutations can give does not outlive Holm's correction."""
    if fields < (draws + 1) * alpha:
        return ()
    return (
        f"{draws} permutations cannot show that any of {fields} fields is readable (the smallest p, 1/{draws + 1}, is "
        f"not below {alpha:g} / {fields}): use --permutations {int(fields / alpha) + 1} or more, or fewer --fields",
    )
