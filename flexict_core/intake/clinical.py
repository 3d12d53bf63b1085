"""A clinical table with the pseudonyms of a scan, so that it can be joined and passed on with the manifest."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flexict_core.durable import write_whole
from flexict_core.errors import InputError
from flexict_core.intake.pseudonyms import Pseudonyms
from flexict_core.tables import is_missing, listing, nearest, read_table

if TYPE_CHECKING:
    import pandas as pd

_UID = re.compile(r"[0-2](?:\.\d+){4,}")
_MONTH = r"(?:jan|feb|mar|apr|may|mai|jun|jul|aug|sep|oct|okt|nov|dec|dez)[a-zäé]*"
_DATE = re.compile(
    rf"\d{{4}}[-/.]\d{{1,2}}[-/.]\d{{1,2}}(?:[ T].*)?|\d{{1,2}}[-/.]\d{{1,2}}[-/.]\d{{2,4}}(?: .*)?|"
    rf"(?:19|20)\d\d[01]\d[0-3]\d|\d{{1,2}}[-. ]*{_MONTH}[-., ]*\d{{2,4}}|{_MONTH} \d{{1,2}}, *\d{{4}}",
    re.IGNORECASE,
)
_PERSONAL = re.compile(
    r"(first|last|family|given|sur|maiden|full|middle|patients?|vor|nach)?name|initials?|dob|birth(day|date)?|"
    r"geburts(datum|tag)|address|adresse|street|city|town|zip|zipcode|postcode|plz|phone|telephone|telefon|mobile|"
    r"fax|e?mail|mrn|ssn|nhs|insurance|accession",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class PseudonymisedTable:
    """What was written. dropped: columns that were left out; unmatched: patients that the manifest lacks."""

    out: Path
    patients: int
    columns: tuple[str, ...]
    dropped: tuple[str, ...]
    unmatched: int | None

    def summary(self) -> str:
        """The outcome in a line or two."""
        text = f"{self.patients} patients, {len(self.columns)} columns: {self.out}"
        if self.dropped:
            text += f"\nleft out: {', '.join(self.dropped)}"
        if self.unmatched is not None:
            text += f"\n{self.patients - self.unmatched} of them are in the manifest"
        return text


def pseudonymise_table(
    table: str | os.PathLike[str],
    *,
    id_column: str,
    key_file: str | os.PathLike[str],
    out: str | os.PathLike[str],
    drop: Sequence[str] = (),
    keep: Sequence[str] = (),
    rewrite: Callable[[str], str] = str.strip,
    manifest: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
) -> PseudonymisedTable:
    """Write a copy of a clinical table with the pseudonyms that `scan` gives by the same key.

    id_column: holds the patient IDs as DICOM has them once `rewrite` was applied. A column of UIDs gets pseudonyms
    too. drop: columns to leave out. keep: columns that look as if they told who a patient is, and do not.
    manifest: a pseudonymised manifest, to count how many patients it shares with the table.

    Raises InputError for a column that holds dates, patient IDs, or by its name names, addresses or numbers of
    persons, unless it is dropped or kept; for a row without ID, and a key file that does not exist.
    """
    frame = read_table(Path(table))
    target = Path(out)
    for name in (id_column, *drop, *keep):
        if name not in frame.columns:
            raise InputError(
                f"column {name!r} is not in {str(table)!r}: {nearest(name, list(frame.columns))}"
            )
    if id_column in drop:
        raise InputError(
            f"--drop {id_column!r} is the column of the patient IDs: keep it, it gets pseudonyms"
        )
    if target.exists() and not overwrite:
        raise InputError(f"{str(target)!r} exists already: give --overwrite or another name")
    if not Path(key_file).is_file():
        raise InputError(
            f"key file {str(key_file)!r} does not exist: give the one that the manifest was written with"
        )
    frame = frame.drop(columns=list(dict.fromkeys(drop)))
    ids = [rewrite(text) for text in frame[id_column]]
    empty = [number for number, text in enumerate(ids, start=2) if is_missing(text)]
    if empty:
        raise InputError(f"line {empty[0]} of {str(table)!r} has no {id_column}: fill it in or remove it")
    _check_columns(frame, ids, id_column=id_column, keep=keep)
    names = Pseudonyms.from_file(key_file)
    for column in frame.columns:
        if column != id_column and _holds_uids(frame[column]):
            frame[column] = ["" if is_missing(text) else names.uid(text.strip()) for text in frame[column]]
    frame[id_column] = [names.patient(text) for text in ids]
    write_whole(target, lambda path: frame.to_csv(path, index=False))
    patients = set(frame[id_column])
    return PseudonymisedTable(
        out=target,
        patients=len(patients),
        columns=tuple(frame.columns),
        dropped=tuple(dict.fromkeys(drop)),
        unmatched=None if manifest is None else len(patients - _patients_of(manifest)),
    )


def _check_columns(frame: pd.DataFrame, ids: Sequence[str], *, id_column: str, keep: Sequence[str]) -> None:
    known = {text.casefold() for text in ids}
    found = {
        name: why
        for name in frame.columns
        if name not in (id_column, *keep) and (why := _telling(name, frame[name], known))
    }
    if found:
        shown = ", ".join(f"{name!r} ({why})" for name, why in list(found.items())[:6])
        more = f" and {len(found) - 6} more" if len(found) > 6 else ""
        raise InputError(
            f"{len(found)} columns may tell who a patient is: {shown}{more}; give --drop {','.join(found)}, and "
            f"--keep those that do not"
        )


def _telling(name: str, column: pd.Series, ids: set[str]) -> str:
    """Why a column may tell who a patient is; "" where nothing says so."""
    words = re.findall(r"[^\W_\d]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name))
    if any(_PERSONAL.fullmatch(word) for word in words):
        return "by its name"
    present = [text.strip() for text in column if not is_missing(text)]
    if any(_DATE.fullmatch(text) for text in present):
        return "dates"
    # A short number is an ID in one column and a count in the next.
    if any(text.casefold() in ids for text in present if not (text.isdigit() and len(text) < 4)):
        return "patient IDs"
    return ""


def _holds_uids(column: pd.Series) -> bool:
    present = [text.strip() for text in column if not is_missing(text)]
    return bool(present) and all(_UID.fullmatch(text) for text in present)


def _patients_of(manifest: str | os.PathLike[str]) -> set[str]:
    table = read_table(Path(manifest))
    if "patient_id" not in table.columns:
        raise InputError(
            f"manifest {str(manifest)!r} has no column 'patient_id': it holds {listing(table.columns)}"
        )
    return set(table["patient_id"])
