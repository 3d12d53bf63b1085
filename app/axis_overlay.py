"""A case's stage-axis map as a file that any viewer lays over its CT."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flexict_core.errors import AnalysisError, InputError

if TYPE_CHECKING:
    from analysis.cohort import Cohort
    from analysis.gradient.transport import StageAxis
    from analysis.stage_axis_map import StageAxisMap


@dataclass(frozen=True, kw_only=True)
class Overlay:
    """What was written: the NIfTI (one voxel a patch, in stages), the JSON beside it, and the map itself."""

    nifti: Path
    about: Path
    found: StageAxisMap
    caution: str | None


def write_overlay(
    cohort: Cohort,
    patient: str,
    out: Path,
    *,
    stage: str | None = None,
    order: str | None = None,
    group: str | None = None,
    axis: StageAxis | None = None,
    checkpoint: str | None = None,
    overwrite: bool = False,
) -> Overlay:
    """Write the stage-axis map of a patient as .nii.gz, with its scores and provenance as JSON beside it.

    axis: a saved one; without it the axis of `stage` is learnt from all other patients of the cohort, within the
    values of the column `group` where one is given. Raises CohortError or InputError for a patient who is not there,
    InputError for a JSON that is there already without `overwrite`, AnalysisError where the embedding has no patches,
    EncoderError or CheckpointError where its encoder is not at hand.
    """
    from analysis.export import json_text, write_text
    from analysis.interchange import with_ending
    from analysis.stage_axis_map import axis_of_others, stage_axis_map, why_no_map
    from flexict_core.encoders.stored import encoder_of, weights_caution
    from flexict_core.io.write import write_nifti
    from flexict_core.store.format import read_spec

    with_ending(out, ".nii.gz")
    beside = out.with_name(out.name + ".json")  # not gradient.json for gradient.nii.gz: that is a result
    if beside.exists() and not overwrite:
        raise InputError(f"{str(beside)!r} is already there: pass --overwrite or name another --out")
    spec = read_spec(Path(cohort.store or ".") / cohort.embedding_id)
    if (reason := why_no_map(spec)) is not None:
        raise AnalysisError(f"embedding {cohort.embedding_id!r} has no stage-axis map: {reason}")
    row, stored = _row(cohort, patient)
    if axis is not None and group is not None:
        raise InputError(f"--group {group!r} is for an axis that is learnt: leave it or --axis out")
    if axis is None:
        if stage is None or order is None:
            raise InputError("a stage-axis map needs an axis: give --stage and --order, or --axis FILE")
        axis = axis_of_others(cohort, patient, stage=stage, order=order, group=group)
    encoder: Any = encoder_of(spec, checkpoint=checkpoint)
    volume, roi = _images(row)
    found = stage_axis_map(encoder.tokens(volume, roi), axis, pooling=str(spec["pooling"]), embedding=stored)
    out.parent.mkdir(parents=True, exist_ok=True)
    sha256 = write_nifti(found.to_volume(), out)
    caution = weights_caution(spec)
    about = {
        "patient_id": patient, "what": "contribution of each patch to the stage-axis score, in stages",
        "stage": found.stage, "order": found.order, "score": found.score, "patch_part": found.patch_part,
        "cls_part": found.cls_part, "share": found.share, "pooling": found.pooling, "sha256": sha256,
        "axis_sha256": axis.sha256, "axis_n": axis.n, "group": group, "caution": caution,
        "notice": "Research use only.",
        "provenance": cohort.provenance(parameters={"stage": found.stage, "order": list(found.order)}),
    }  # fmt: skip
    write_text(beside, json_text(about))
    return Overlay(nifti=out, about=beside, found=found, caution=caution)


def _row(cohort: Cohort, patient: str) -> tuple[Any, np.ndarray]:
    """The store's row of a patient and the vector in it."""
    from flexict_core.tables import nearest

    known = [str(p) for p in cohort.patient_id]
    if patient not in known:
        raise InputError(f"--patient {patient!r} is not in {cohort.name}: {nearest(patient, known)}")
    rows = cohort.rows[cohort.rows["patient_id"].astype(str) == patient]
    if len(rows) != 1:
        raise InputError(
            f"--patient {patient!r} has {len(rows)} series or regions in the store, whose mean has no place: "
            "make a store with one of them"
        )
    return rows.iloc[0], cohort.X[known.index(patient)]


def _images(row: Any) -> tuple[Any, Any]:
    """CT and mask of a row, as the files have them."""
    from app.components.ct_planes import open_case
    from flexict_core.manifest import resolve_inside

    if not row["root"] or not row["image"]:
        raise InputError(
            f"patient {row['patient_id']!r} has no image in the store: these vectors were imported"
        )
    image = resolve_inside(row["root"], row["image"])
    mask = resolve_inside(row["root"], row["mask"]) if row["mask"] else None
    label = row["mask_label"]
    case = open_case(
        image,
        mask,
        mask_label=int(label) if isinstance(label, int | np.integer) else None,
        series_uid=row["series_uid"],
    )
    return case.native or (case.volume, case.mask)
