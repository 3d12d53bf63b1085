"""The audit's verdict beside the store, so that every other result of the same cohort can carry it.

One small JSON file a cohort in `<store>/audits/`. The cohort is told by its embedding, its clinical table, its
vectors, its name (which holds the filter) and its patients, so that an edited table, a changed filter or a selection
saved anew has no audit yet.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from flexict_core.errors import StoreError

if TYPE_CHECKING:
    from analysis.audits.result import AuditResult
    from analysis.cohort import Cohort

FOLDER = "audits"


def stamp_path(cohort: Cohort) -> Path | None:
    """Where the verdict on this cohort lies; None for a cohort that comes from no store."""
    if cohort.store is None:
        return None
    told = [
        cohort.embedding_id,
        cohort.name,
        *(cohort.data_sha256.get(k, "") for k in ("clinical", "embedding")),
        *sorted(str(p) for p in cohort.patient_id),
    ]
    key = hashlib.sha256("\x1f".join(told).encode()).hexdigest()[:16]
    return Path(cohort.store) / FOLDER / f"{key}.json"


def write_stamp(cohort: Cohort, result: AuditResult) -> Path | None:
    """Keep the verdict beside the store. Raises StoreError where it cannot be written."""
    from flexict_core.durable import write_whole

    path = stamp_path(cohort)
    if path is None:
        return None
    held = {
        "verdict": result.verdict,
        "cohort": cohort.name,
        "embedding_id": cohort.embedding_id,
        "n": result.n,
        "label": result.label,
        "confounders": [f.name for f in result.confounders],
        "leaks": len(result.leaks),
    }
    try:
        path.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"{str(path.parent)!r} cannot be made ({error.strerror}): check permissions"
        ) from error
    text = json.dumps(held, indent=2, ensure_ascii=False)

    def write(file: Path) -> None:
        file.write_text(text, "utf-8")

    write_whole(path, write)
    return path


def audit_verdict(cohort: Cohort) -> str | None:
    """The verdict of the last audit of exactly this cohort, or None where there was none."""
    return read_verdict(stamp_path(cohort))


def read_verdict(path: Path | None) -> str | None:
    """The verdict that a stamp holds; None for no stamp."""
    if path is None or not path.is_file():
        return None
    try:
        return str(json.loads(path.read_text("utf-8"))["verdict"])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # a damaged note is no audit
