"""Pseudonyms in the tables of a scan: IDs and UIDs in their columns, and wherever a text or a path quotes them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from warnings import warn

from flexict_core.errors import DataWarning
from flexict_core.intake.pseudonyms import Pseudonyms
from flexict_core.io.dicom_header import Header

Row = Mapping[str, object]

TEXTS = ("reason", "warnings", "roi_id", "series_description")
PATHS = ("image", "mask", "file")
_SHORTEST = 3  # characters: a shorter ID stands in every sentence
_SHORTEST_NUMBER = 4
_BETWEEN = r"[\s\W_]*"  # the words of a name or an ID, however they are joined


@dataclass(frozen=True)
class Hiding:
    """What is to be hidden. telling: a pattern to the ID that its match gives away, "" for a name."""

    pseudonyms: Pseudonyms
    telling: tuple[tuple[re.Pattern[str], str], ...]

    @classmethod
    def of(cls, pseudonyms: Pseudonyms, *, ids: Iterable[str], names: Iterable[str] = ()) -> Hiding:
        """ids: of patients; names: as DICOM writes them (DOE^JANE)."""
        found: list[tuple[re.Pattern[str], str]] = []
        for name in sorted(set(names), key=len, reverse=True):
            words = _words(name)
            if len("".join(words)) < _SHORTEST:
                continue
            orders = {tuple(words), tuple(reversed(words))}
            patterns = [p for order in sorted(orders) if (p := _pattern(order)) is not None]
            found += [(pattern, "") for pattern in patterns]
        for patient in sorted(set(ids), key=len, reverse=True):
            long_enough = len(patient) >= (_SHORTEST_NUMBER if patient.isdigit() else _SHORTEST)
            if long_enough and (pattern := _pattern(_words(patient))) is not None:
                found.append((pattern, patient))
        return cls(pseudonyms, tuple(found))

    def row(self, row: Row) -> Row:
        """A row of any of the tables; its paths stay as they are, because they must lead to the files."""
        out = dict(row)
        out["patient_id"] = self.pseudonyms.patient(str(row["patient_id"]))
        out["series_uid"] = self.pseudonyms.uid(str(row["series_uid"]))
        for column in TEXTS:
            if column in row:
                out[column] = self.text(str(row[column]))
        return out

    def text(self, text: str) -> str:
        """A sentence with pseudonyms for UIDs and IDs, and "(name)" for names."""
        text = self.pseudonyms.in_text(text)
        for pattern, patient in self.telling:
            text = pattern.sub(self.pseudonyms.patient(patient) if patient else "(name)", text)
        return text

    def warn_of_paths(self, rows: Sequence[Row]) -> None:
        """DataWarning where pseudonyms are of little use, because a path shows the patient's ID or name."""
        telling = [path for row in rows if (path := self._telling_path(row))]
        if telling:
            warn(
                f"{len(telling)} of {len(rows)} rows still show their patient ID or name in a path, such as "
                f"{telling[0]!r}: rename the files before you pass the tables on",
                DataWarning,
                stacklevel=3,
            )

    def _telling_path(self, row: Row) -> str:
        own = _pattern(_words(str(row["patient_id"])))
        patterns = [pattern for pattern, _ in self.telling] + ([own] if own else [])
        for column in PATHS:
            path = str(row.get(column) or "")
            if any(pattern.search(path) for pattern in patterns):
                return path
        return ""


def patient_names(headers: Sequence[Header]) -> set[str]:
    """The PatientName of every patient and series, from one file each: to be hidden, and never written."""
    from pydicom import dcmread

    from flexict_core.io.dicom_file import quiet_pydicom

    files = {(header.patient_id, header.series_uid): header.path for header in headers}
    names = set()
    with quiet_pydicom():
        for path in files.values():
            try:
                ds = dcmread(path, stop_before_pixels=True, force=True, specific_tags=["PatientName"])
                names.add(str(ds.get("PatientName", "")))
            except Exception:  # read once already: whatever is wrong now is no name
                continue
    return names


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text)


def _pattern(words: Sequence[str]) -> re.Pattern[str] | None:
    """Matches these words in this order, however joined; None where there are none."""
    if not words:
        return None
    body = _BETWEEN.join(map(re.escape, words))
    return re.compile(rf"(?<![^\W_]){body}(?![^\W_])", re.IGNORECASE)
