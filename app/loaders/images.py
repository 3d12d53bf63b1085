"""CT and mask of a store's row; nothing outside the manifest's folder is read."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

from app.components.ct_planes import CtCase, open_case
from app.held import Held
from app.loaders.cohorts import stamp
from flexict_core.errors import ImageError

_CTS: Held[CtCase] = Held(most=3, most_mb=2048)  # a chest CT and its mask, as filed and turned, can be 700 MB


def image_paths(row: Any) -> tuple[Path, Path | None]:
    """Image and mask of a store row. Raises ImageError when there are none, or when one lies outside the manifest's
    folder: nothing else of this machine is shown."""
    if not row.root or not row.image:
        raise ImageError(f"patient {row.patient_id!r} has no image in the store: these vectors were imported")
    root = Path(row.root).resolve()
    paths = []
    for name in (row.image, row.mask):
        path = (root / name).resolve() if name else None
        if path is not None and not path.is_relative_to(root):
            raise ImageError(f"{name!r} lies outside the manifest's folder {str(root)!r}: it is not shown")
        if path is not None and not path.exists():
            raise ImageError(f"{str(path)!r} is not there any more: put it back to see this case")
        paths.append(path)
    return paths[0], paths[1]  # type: ignore[return-value]


def ct_case(row: Any, *, waiting: AbstractContextManager[Any] | None = None) -> CtCase:
    """The CT and mask of a store row; the last few stay in memory. waiting: shown meanwhile, a spinner unless told."""
    image, mask = image_paths(row)

    def make() -> CtCase:
        with waiting or st.spinner("Reading the CT…"):
            return read_case(row)

    stamps = (*stamp(image), *(stamp(mask) if mask else ()))
    return _CTS.get((stamps, str(row.mask_label), str(row.series_uid)), make)


def read_case(row: Any) -> CtCase:
    """The CT and mask of a store row, read anew."""
    image, mask = image_paths(row)
    label = row.mask_label
    return open_case(
        image,
        mask,
        mask_label=int(label) if isinstance(label, int | np.integer) else None,
        series_uid=row.series_uid,
    )
