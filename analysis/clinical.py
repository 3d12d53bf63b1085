"""The clinical table: text in, declared types out, and the ordered stages that a user names.

Missing values: an empty cell, NA, N/A, #N/A, NaN, <NA>, null, nil, -, --, ?, ., unknown, not available,
missing (any case). `none` and `X` are answers. A column is numeric when every value that is not missing is a
finite number; all else stays text. The ID column is always text, so leading zeros live.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from flexict_core.errors import CohortError, InputError
from flexict_core.tables import file_sha256, is_missing, listing, nearest, read_table

if TYPE_CHECKING:
    import pandas as pd

MIN_PATIENTS_A_STAGE = 3  # fewer cannot be analysed as a stage of their own


@dataclass(frozen=True)
class ClinicalTable:
    """One row a patient, as typed columns; `patient_id` is text, `without_id` counts rows that had none."""

    frame: pd.DataFrame
    id_column: str
    source: Path
    sha256: str
    without_id: int

    @property
    def patient_id(self) -> np.ndarray:
        """[n] object array of text, in the table's order."""
        return self.frame[self.id_column].to_numpy(dtype=object)


def read_clinical(
    path: str | Path,
    *,
    id_column: str,
    id_replace: Sequence[str] = (),
) -> ClinicalTable:
    """Read a clinical table (CSV, Parquet, XLSX) with one row a patient.

    `id_replace` holds "FROM=TO" texts that are applied to the IDs in turn. Raises CohortError when the file
    cannot be read, the ID column is not there, or an ID occurs twice (the IDs are listed).
    """
    file = Path(path)
    try:
        text = read_table(file)
    except InputError as error:
        raise CohortError(str(error)) from None
    require_column(id_column, list(text.columns), f"{file.name} (--id)")
    ids = [rewrite_id(v, id_replace) for v in text[id_column].astype(str)]
    doubled = {i: c for i, c in Counter(ids).items() if i and c > 1}
    if doubled:
        shown = listing([f"{i} ({c} rows)" for i, c in doubled.items()])
        raise CohortError(
            f"{file.name}: column {id_column!r} holds {shown} more than once: keep one row a patient"
        )
    frame = text.drop(columns=[id_column]).apply(typed)
    frame.insert(0, id_column, ids)
    kept = frame[frame[id_column] != ""].reset_index(drop=True)
    if kept.empty:
        raise CohortError(
            f"{file.name}: column {id_column!r} is empty in every row: name the column with the IDs"
        )
    return ClinicalTable(kept, id_column, file, file_sha256(file), len(frame) - len(kept))


def rewrite_id(text: str, rules: Sequence[str] = ()) -> str:
    """The ID without surrounding space, after each "FROM=TO" (plain text) of the rules."""
    for rule in rules:
        old, equals, new = rule.partition("=")
        if not equals or not old:
            raise CohortError(
                f"--id-replace {rule!r} is not FROM=TO: write for example --id-replace 'case_=KiTS-'"
            )
        text = text.replace(old, new)
    return text.strip()


def typed(column: pd.Series) -> pd.Series:
    """Text to float64 (missing is NaN) when every value present is a finite number, else object (missing is
    None)."""
    import pandas as pd

    at, different = pd.factorize(column.astype(str))  # each different value is read once
    values = [str(v).strip() for v in different]
    gap = np.array([is_missing(v) for v in values], dtype=bool)
    numbers = np.array([math.nan if g else _number(v) for v, g in zip(values, gap, strict=True)])
    if not gap.all() and np.isfinite(numbers[~gap]).all():
        return pd.Series(numbers[at], index=column.index, dtype="float64")
    texts = np.array([None if g else v for v, g in zip(values, gap, strict=True)], dtype=object)
    return pd.Series(texts[at], index=column.index, dtype=object)


def _number(text: str) -> float:
    try:
        return math.nan if "_" in text else float(text)
    except ValueError:
        return math.nan


def require_column(name: str, known: Sequence[str], where: str) -> None:
    """CohortError with the nearest known name when the column is not there."""
    if name not in known:
        raise CohortError(f"column {name!r} is not in {where}: {nearest(name, known)}")


def canonical(value: object) -> str:
    """One text for one value: "1", 1 and "1.0" are the same; None and NaN are ""."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    text = str(value).strip()
    number = _number(text)
    if not math.isfinite(number):
        return "" if is_missing(text) else text
    return str(int(number)) if number.is_integer() and abs(number) < 2**53 else repr(number)


def canonical_column(values: Sequence[object] | np.ndarray) -> np.ndarray:
    """`canonical` of every value [n], as object array; each different value is read once."""
    import pandas as pd

    codes, different = pd.factorize(np.asarray(values, dtype=object), use_na_sentinel=True)
    texts = np.array([*(canonical(v) for v in different), ""], dtype=object)
    return texts[codes]  # a missing value has code −1: the last


@dataclass(frozen=True)
class StageOrder:
    """Stages from the earliest to the latest; `members` says which values of the table each one takes."""

    labels: tuple[str, ...]
    members: tuple[tuple[str, ...], ...]

    def __str__(self) -> str:
        return ",".join(self.labels)

    def codes(self) -> Mapping[str, int]:
        """Value of the table (canonical text) to 0…K−1."""
        return {canonical(m): k for k, values in enumerate(self.members) for m in values}


def parse_order(order: str | Sequence[str] | StageOrder) -> StageOrder:
    """Read "I,II,III" or "1a+1b,2a+2b,3,4" (or a sequence of such labels) as ordered stages.

    A plus merges values into one stage of that label. Raises CohortError for fewer than two stages, an empty
    one, or a value named twice.
    """
    if isinstance(order, StageOrder):
        return order
    labels = [str(p).strip() for p in (order.split(",") if isinstance(order, str) else order)]
    shown = ",".join(labels)
    members = tuple(tuple(canonical(v) for v in label.split("+")) for label in labels)
    flat = [m for values in members for m in values]
    if any(m == "" for m in flat):
        raise CohortError(f"--order {shown!r} has an empty stage: write the stages like 'I,II,III,IV'")
    doubled = [m for m, count in Counter(flat).items() if count > 1]
    if doubled:
        raise CohortError(f"--order {shown!r} names the stage {listing(doubled)} twice: name each value once")
    if len(labels) < 2:
        raise CohortError(
            f"--order {shown!r} names {len(labels)} stage: a gradient needs two or more, 'I,II,III'"
        )
    return StageOrder(tuple("+".join(values) for values in members), members)


def stage_codes(
    values: Sequence[object],
    order: StageOrder,
    *,
    column: str = "stage",
) -> tuple[np.ndarray, dict[int, str]]:
    """Stage of each patient as 0…K−1, −1 where there is none, and for those the reason by position.

    A value that is not in `order` is refused (CohortError, listed with its count), for leaving a whole stage
    out in silence would change the question. Values that together are held by fewer than 3 patients could not
    be analysed as a stage anyway: those patients are left out with a reason.
    """
    known = order.codes()
    texts = [canonical(v) for v in values]
    foreign = Counter(t for t in texts if t and t not in known)
    if sum(foreign.values()) >= MIN_PATIENTS_A_STAGE or (foreign and not any(t in known for t in texts)):
        shown = ", ".join(f"{value!r} ({count})" for value, count in sorted(foreign.items()))
        apart = " ".join(f'--where "{column}!={value}"' for value in sorted(foreign)[:3])
        raise CohortError(
            f"column {column!r} holds stages that --order {str(order)!r} does not name: {shown}; "
            f"add them to --order, or leave their patients out with {apart}"
        )
    codes = np.array([known.get(t, -1) for t in texts], dtype=np.int64)
    reasons = {
        i: f"{column} is {t!r}, not in the order" if t else f"{column} is missing"
        for i, t in enumerate(texts)
        if codes[i] < 0
    }
    return codes, reasons
