"""A manifest: the table that says which CT file, and which region in it, belongs to which patient.

Columns: `patient_id`, `image` (file or DICOM folder), and optionally `series_uid`, `roi_id`, `mask`,
`mask_label` (a number, or the name of a region of an RTSTRUCT, SEG or Slicer segmentation),
`x_mm,y_mm,z_mm` (a seed point, LPS), `on_gaps` (refuse, or resample a DICOM series whose slices are uneven) and
`synthetic`. Paths are relative to the manifest and never leave its
folder, links followed: a manifest from someone else cannot make this program read other files.
"""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, cast
from warnings import warn

from flexict_core.errors import DataWarning, ManifestError
from flexict_core.tables import is_missing, listing, why_no_file

if TYPE_CHECKING:
    from flexict_core.io.dicom_geometry import OnGaps

REQUIRED = ("patient_id", "image")
SEED = ("x_mm", "y_mm", "z_mm")
OPTIONAL = ("series_uid", "roi_id", "mask", "mask_label", *SEED, "on_gaps", "synthetic")
ON_GAPS = ("refuse", "resample")
PLANTED_TRUTH = "synthetic.json"
_TRUE = frozenset({"1", "true", "yes", "y"})
_FALSE = frozenset({"", "0", "false", "no", "n"})


@dataclass(frozen=True)
class ManifestRow:
    """One region of one series. `image` and `mask` are relative to the manifest's folder, with forward
    slashes."""

    number: int  # line in the file, the header is line 1
    patient_id: str
    image: str
    series_uid: str = ""
    roi_id: str = ""
    mask: str | None = None
    mask_label: int | str | None = None  # a number, or the name of a region of the mask
    seed_lps_mm: tuple[float, float, float] | None = None
    on_gaps: OnGaps = "refuse"  # what becomes of a DICOM series with missing or unevenly spaced slices

    @property
    def key(self) -> tuple[str, str, str]:
        """What makes a row one row of a store."""
        return (self.patient_id, self.series_uid, self.roi_id)


@dataclass(frozen=True)
class RejectedRow:
    """A row that cannot be embedded as it stands, and why; it goes to quarantine."""

    number: int
    patient_id: str
    series_uid: str
    roi_id: str
    image: str
    mask: str
    file: str  # the file at fault
    reason: str


@dataclass(frozen=True)
class Manifest:
    """The rows that can be tried (`rows`), those that cannot (`rejected`), and the folder that all paths stay
    in."""

    root: Path
    rows: tuple[ManifestRow, ...]
    synthetic: bool = False
    rejected: tuple[RejectedRow, ...] = ()
    path: Path | None = None

    @property
    def name(self) -> str:
        return self.path.name if self.path else ""


def read_manifest(path: str | Path) -> Manifest:
    """Read a manifest (CSV, UTF-8; separated by comma, semicolon or tab, as its header is).

    A row that cannot be used is not an error: it is in `rejected` with its reason. Two rows with the same
    (patient_id, series_uid, roi_id) are both rejected, because nothing says which one is meant; a mere
    repetition of a line keeps its first. The manifest is `synthetic` when a file `synthetic.json` (planted
    truth) lies beside it or any row says so.
    Raises ManifestError for a file that is no manifest: missing, not UTF-8, no rows, a required column
    missing.
    """
    file = Path(path)
    header, lines = _read_lines(file)
    root = file.parent.resolve()
    good: list[ManifestRow] = []
    bad: list[RejectedRow] = []
    synthetic = (file.parent / PLANTED_TRUTH).is_file()
    for number, cells in lines:
        record = {name: cell.strip() for name, cell in zip(header, cells, strict=False)}
        try:
            if len(cells) != len(header):
                raise ManifestError(
                    f"line has {len(cells)} cells but the header names {len(header)}: quote commas"
                )
            synthetic |= _flag(record.get("synthetic", ""))
            good.append(_row(number, record, root))
        except ManifestError as error:
            bad.append(_rejected(number, record, str(error)))
    unique, repeated = _split_repeated(good)
    rejected = tuple(sorted([*bad, *repeated], key=lambda r: r.number))
    return Manifest(root=root, rows=tuple(unique), synthetic=synthetic, rejected=rejected, path=file)


def resolve_inside(root: str | Path, relative: str | Path) -> Path:
    """The real path of a manifest's file; raises ManifestError where it lies outside `root`, links
    followed."""
    folder = Path(root).resolve()
    try:
        real = (folder / relative).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a null byte, a name too long
        raise ManifestError(f"path {str(relative)!r} cannot be resolved ({error}): correct it") from None
    if not real.is_relative_to(folder):
        raise ManifestError(
            f"path {str(relative)!r} leads outside the manifest's folder: put the file beside or below it"
        )
    return real


def _read_lines(file: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    if not file.is_file():
        columns = ", ".join(REQUIRED)
        raise ManifestError(
            f"manifest {str(file)!r} {why_no_file(file)}: give a CSV file with the columns {columns}"
        )
    try:
        with file.open(encoding="utf-8-sig", newline="") as handle:
            separator = max(",;\t", key=handle.readline().count)
            handle.seek(0)
            reader = csv.reader(handle, delimiter=separator, strict=True)
            header = [name.strip() for name in next(reader, [])]
            lines = [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise ManifestError(
            f"manifest {str(file)!r} is not UTF-8 text (byte 0x{byte:02x}): save it as 'CSV UTF-8'"
        ) from None
    except csv.Error as error:
        raise ManifestError(
            f"manifest {str(file)!r} is not a readable CSV ({error}): save it again as CSV"
        ) from None
    _check_header(header, file)
    if not lines:
        raise ManifestError(f"manifest {str(file)!r} has no rows under its header: add one row a series")
    return header, lines


def _check_header(header: Sequence[str], file: Path) -> None:
    missing = [name for name in REQUIRED if name not in header]
    if missing:
        close = {name: _nearest(name, header) for name in missing}
        hints = "; ".join(f"is {found!r} meant for {name!r}?" for name, found in close.items() if found)
        remedy = hints or f"it holds {listing(header, most=8)}"
        raise ManifestError(f"manifest {str(file)!r} has no column {listing(missing)}: {remedy}")
    doubled = sorted({name for name in header if name and header.count(name) > 1})
    if doubled:
        raise ManifestError(
            f"manifest {str(file)!r} names the column {listing(doubled)} twice: rename one of them"
        )
    known = {*REQUIRED, *OPTIONAL}
    for name in OPTIONAL:
        found = _nearest(name, [h for h in header if h not in known]) if name not in header else None
        if found:  # a misspelt `mask` would quietly embed the body instead of the tumour
            warn(
                f"column {found!r} of the manifest is not used: is {name!r} meant?", DataWarning, stacklevel=4
            )


def _nearest(name: str, among: Sequence[str]) -> str | None:
    folded = {h.casefold().replace(" ", "_"): h for h in among}
    close = get_close_matches(name, folded, n=1, cutoff=0.8)
    return folded[close[0]] if close else None


def _row(number: int, record: Mapping[str, str], root: Path) -> ManifestRow:
    for name in REQUIRED:
        if not record[name]:
            raise ManifestError(f"{name} is empty: fill it in")
    mask = record.get("mask", "") or None
    label = _label(record.get("mask_label", ""))
    if label is not None and mask is None:
        raise ManifestError(f"mask_label {label} is given but no mask: name the mask or clear the label")
    return ManifestRow(
        number=number,
        patient_id=record["patient_id"],
        image=_relative(record["image"], root),
        series_uid=record.get("series_uid", ""),
        roi_id=record.get("roi_id", ""),
        mask=None if mask is None else _relative(mask, root),
        mask_label=label,
        seed_lps_mm=_seed([record.get(axis, "") for axis in SEED]),
        on_gaps=_on_gaps(record.get("on_gaps", "")),
    )


def _relative(text: str, root: Path) -> str:
    # resolved only to refuse it: the row keeps the path as its author wrote it, so that a link stays a link
    real = resolve_inside(root, text)
    path = Path(text)
    return real.relative_to(root).as_posix() if path.is_absolute() or ".." in path.parts else path.as_posix()


def _label(text: str) -> int | str | None:
    if is_missing(text):
        return None
    try:
        value = float(text)
    except ValueError:
        return text
    if not value.is_integer() or value < 1:
        raise ManifestError(f"mask_label {text!r} is not a whole number of 1 or more: correct it")
    return int(value)


def _seed(cells: Sequence[str]) -> tuple[float, float, float] | None:
    if all(is_missing(cell) for cell in cells):
        return None
    try:
        x, y, z = (float(cell) for cell in cells)
    except ValueError:
        x = y = z = math.nan
    if not all(math.isfinite(v) for v in (x, y, z)):
        raise ManifestError(
            f"seed point ({', '.join(cells)}) is not three numbers in mm: correct x_mm, y_mm, z_mm"
        )
    return (x, y, z)


def _on_gaps(text: str) -> OnGaps:
    value = text.casefold() or "refuse"
    if value not in ON_GAPS:
        raise ManifestError(f"on_gaps {text!r} is neither refuse nor resample: correct it")
    return cast("OnGaps", value)


def _flag(text: str) -> bool:
    if text.casefold() not in _TRUE | _FALSE:
        raise ManifestError(f"synthetic {text!r} is neither true nor false: correct it")
    return text.casefold() in _TRUE


def _rejected(number: int, record: Mapping[str, str], reason: str) -> RejectedRow:
    mask = record.get("mask", "")
    return RejectedRow(
        number=number,
        patient_id=record.get("patient_id", ""),
        series_uid=record.get("series_uid", ""),
        roi_id=record.get("roi_id", ""),
        image=record.get("image", ""),
        mask=mask,
        file=mask if mask and repr(mask) in reason else record.get("image", ""),
        reason=reason,
    )


def _split_repeated(rows: Iterable[ManifestRow]) -> tuple[list[ManifestRow], list[RejectedRow]]:
    groups: dict[tuple[str, str, str], list[ManifestRow]] = defaultdict(list)
    for row in rows:
        groups[row.key].append(row)
    unique: list[ManifestRow] = []
    repeated: list[RejectedRow] = []
    for group in groups.values():
        first, *rest = group
        if len({(r.image, r.mask, r.mask_label, r.seed_lps_mm, r.on_gaps) for r in group}) == 1:
            unique.append(first)
            reasons = [(r, f"repeats line {first.number}, which was used: remove this line") for r in rest]
        else:
            where = ", ".join(str(r.number) for r in group)
            why = f"lines {where} share patient_id, series_uid, roi_id: give each its series_uid or roi_id"
            reasons = [(r, why) for r in group]
        repeated += [as_rejected(r, reason) for r, reason in reasons]
    return sorted(unique, key=lambda r: r.number), repeated


def as_rejected(row: ManifestRow, reason: str, *, file: str | None = None) -> RejectedRow:
    """The quarantine entry of a row; `file` is the file at fault, the image unless told otherwise."""
    return RejectedRow(
        number=row.number,
        patient_id=row.patient_id,
        series_uid=row.series_uid,
        roi_id=row.roi_id,
        image=row.image,
        mask=row.mask or "",
        file=file or row.image,
        reason=reason,
    )
