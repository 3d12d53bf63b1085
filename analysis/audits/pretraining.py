"""Which public collections an encoder is known to have been pretrained on, and whether this cohort comes from one.

FlexiCT was pretrained on 56 public datasets. Its authors publish no full list: the 22 names below stand in their
training code as "example dataset names, not comprehensive", so that a collection which is not among them is
unknown, never clean. Which names mean which collection of the Imaging Data Commons was worked out here; where a
name does not settle it, the status is "may be".

Sources: arXiv 2605.21906 (56 datasets); https://github.com/ricklisz/FlexiCT, dinov3/train/
train_ct_2D_adaptive_patch.py (names) and README ("Public files do not include the full dataset inventory").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from analysis.audits.result import Overlap
from flexict_core.archive.index import PACKAGE, installed_index, rows_of_patients

if TYPE_CHECKING:
    import pandas as pd

NAMED, MAYBE, UNKNOWN, NONE = "named as pretraining data", "may be pretraining data", "unknown", "none"
FLEXICT_SOURCE = (
    "github.com/ricklisz/FlexiCT, train_ct_2D_adaptive_patch.py: example names, not comprehensive"
)
FLEXICT_DATASETS = 56


@dataclass(frozen=True)
class Pretrained:
    """A dataset named by the encoder's authors; collection_id: of the Imaging Data Commons, "" where it has none.

    certain: the name means that collection as a whole.
    """

    name: str
    collection_id: str = ""
    certain: bool = True


FLEXICT: tuple[Pretrained, ...] = (
    Pretrained("AMOS-2350"),
    Pretrained("Colorectal-Liver-Metastases", "colorectal_liver_metastases"),
    Pretrained("CT_COLONOGRAPHY", "ct_colonography"),
    Pretrained("DeepLesion5K-MedSAM2"),
    Pretrained("HCC-TACE-Seg", "hcc_tace_seg"),
    Pretrained("HECTOR"),
    Pretrained("HNSCC"),
    Pretrained("INSPECT"),
    Pretrained("Luna16", "lidc_idri", certain=False),  # 888 of its 1,010 patients
    Pretrained("LUNA25", "nlst", certain=False),  # a part of its patients
    Pretrained("Lung-PET-CT-Dx", "lung_pet_ct_dx"),
    Pretrained("OPC"),
    Pretrained("Panorama"),
    Pretrained("Pediatric-CT-SEG", "pediatric_ct_seg"),
    Pretrained("Prostate-Anatomical-Edge-Cases", "prostate_anatomical_edge_cases"),
    Pretrained("QIN", "qin_lung_ct", certain=False),  # the name is that of several collections
    Pretrained("QIN", "qin_breast", certain=False),
    Pretrained("StageII-Colorectal-CT", "stageii_colorectal_ct"),
    Pretrained("StonyBrookChestCT", "covid_19_ny_sbu", certain=False),  # by the name of the hospital
    Pretrained("ULS23_Radboudumc_Bone"),
    Pretrained("ULS23_Radboudumc_Pancreas"),
    Pretrained("CT-RATE"),
    Pretrained("TotalSegmentatorv2"),
)
_UNTRAINED = ("baseline", "random", "size")


def pretraining_overlap(
    patients: Sequence[str] | np.ndarray,
    series: Sequence[str] | np.ndarray = (),
    *,
    encoder: str,
    index: str | Path | None = None,
) -> tuple[Overlap, ...]:
    """What is known of the overlap between a cohort and the encoder's pretraining data, one row a collection.

    patients: IDs as the source collection has them; series: DICOM series UIDs ("" where not known). index: a
    table (CSV, Parquet) with collection_id, PatientID and optionally SeriesInstanceUID; without it the index of
    the installed package idc-index-data, if any. Patients in no indexed collection are one row, "unknown".
    """
    ids = sorted({str(p) for p in patients})
    kind = encoder.lower()
    if kind.startswith(_UNTRAINED):
        return (Overlap("all", NONE, 0, None, "", f"encoder {encoder} was not pretrained on images"),)
    table, where = _index(index, ids, [s for s in series if s])
    known = {p.collection_id: p for p in FLEXICT if p.collection_id} if kind.startswith("flexict") else {}
    rest = _rest_source(kind, encoder)
    if table is None:
        return (Overlap("not looked up", UNKNOWN, len(ids), None, "", f"{where}; {rest}"),)
    rows, found = [], set()
    for collection, part in table.groupby("collection_id", sort=True):
        mine = set(part["PatientID"])
        found |= mine
        by_series = int(part["by_series"].sum())
        entry = known.get(str(collection))
        status = UNKNOWN if entry is None else NAMED if entry.certain else MAYBE
        source = rest if entry is None else f"{entry.name} in {FLEXICT_SOURCE}"
        matched = "patient and series" if by_series else "patient"
        rows.append(Overlap(str(collection), status, len(mine), by_series or None, matched, source))
    if left := len(set(ids) - found):
        rows.append(Overlap("in no indexed collection", UNKNOWN, left, None, "", f"{where}; {rest}"))
    return tuple(sorted(rows, key=lambda r: ((NAMED, MAYBE, UNKNOWN).index(r.status), r.collection)))


def _rest_source(kind: str, encoder: str) -> str:
    if kind.startswith("flexict"):
        names = len({p.name for p in FLEXICT})
        return f"{names} of FlexiCT's {FLEXICT_DATASETS} pretraining datasets are named in public"
    return f"the pretraining data of {encoder or 'this encoder'} are not known here"


def _index(
    index: str | Path | None, ids: Sequence[str], series: Sequence[str]
) -> tuple[pd.DataFrame | None, str]:
    """Rows of the index of these patients, with a column by_series, and where they were looked up."""
    path = installed_index() if index is None else Path(index)
    if path is None:
        return None, f"no index of public collections: give one, or pip install {PACKAGE}"
    frame = rows_of_patients(ids, path)
    wanted = set(series)
    frame["by_series"] = [s in wanted for s in frame["SeriesInstanceUID"]]
    return frame, f"looked up in {path.name}"
