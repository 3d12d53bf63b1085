"""Tables from outside (CSV, TSV, Parquet, XLSX) read as text, so that nothing is guessed on the way in.

Every cell arrives as the text it was written as: an ID `007` keeps its zeros, a stage `1.0` is not yet a
number. Whoever asks for a column decides what it means.
"""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flexict_core.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

MISSING = frozenset(
    {
        "",
        "na",
        "n/a",
        "#n/a",
        "nan",
        "<na>",
        "null",
        "nil",
        "-",
        "--",
        "?",
        ".",
        "unknown",
        "not available",
        "missing",
    }
)
_KINDS = ".csv, .tsv, .txt, .parquet or .xlsx"


def is_missing(text: str) -> bool:
    """True for the listed tokens, in any case and with any space around; `none` and `X` are answers, not
    gaps."""
    return text.strip().casefold() in MISSING


def why_no_file(path: Path) -> str:
    """What to say of a path that is not a file to read: the end of "table 'x' …"."""
    if path.is_dir():
        return "is a folder"
    return "is a device or a pipe, not a file" if path.exists() else "does not exist"


def file_sha256(path: str | Path) -> str:
    """Hash of a file's bytes."""
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def listing(values: Sequence[Any], *, most: int = 5) -> str:
    """Values quoted and joined, the first `most` of them, with a count of the rest."""
    shown = ", ".join(repr(str(v)) for v in list(values)[:most])
    return shown + (f" and {len(values) - most} more" if len(values) > most else "")


def nearest(name: str, known: Sequence[str]) -> str:
    """The remedy for a misspelt name: the closest known one, else the known names."""
    close = get_close_matches(name, known, n=1, cutoff=0.6)
    if not close:
        folded = {k.casefold(): k for k in known}
        inside = [k for k in known if name.casefold() in k.casefold()]
        close = [folded[name.casefold()]] if name.casefold() in folded else inside[:1]
    return f"did you mean {close[0]!r}?" if close else f"it holds {listing(list(known), most=12)}"


def read_table(path: str | Path) -> pd.DataFrame:
    """Read a table with every cell as text, as written; an empty cell is "".

    CSV: UTF-8, separated by comma, semicolon or tab (found from the header). XLSX: the first sheet. Parquet:
    typed columns are written out as text (whole floats without ".0"), columns of vectors are kept as they
    are. Raises InputError for a missing, unreadable or empty file, and for a column name that occurs twice.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(f"table {str(file)!r} {why_no_file(file)}: give the path of a {_KINDS} file")
    kind = file.suffix.lower()
    if kind not in {".csv", ".tsv", ".txt", ".parquet", ".xlsx"}:
        raise InputError(f"table {str(file)!r} is a {kind or 'file without extension'}: save it as {_KINDS}")
    try:
        reader = {".parquet": _parquet, ".xlsx": _xlsx}.get(kind, _csv)
        frame = reader(file)
    except UnicodeDecodeError:
        raise InputError(f"table {str(file)!r} is not UTF-8 text: save it as 'CSV UTF-8'") from None
    except InputError:
        raise
    except Exception as error:  # parsers raise many types; all mean that this file cannot be read
        raise InputError(
            f"table {str(file)!r} cannot be read as {kind[1:]} ({_words(error)}): save it again"
        ) from None
    if frame.shape[0] == 0:
        raise InputError(
            f"table {str(file)!r} has no rows under its header: give a table with one row a patient"
        )
    return frame


def _words(error: Exception) -> str:
    return " ".join(str(error).split())


def _csv(file: Path) -> pd.DataFrame:
    import pandas as pd

    with file.open(encoding="utf-8-sig", newline="") as handle:
        first = handle.readline()
        separator = max(",;\t", key=first.count)
        header = next(csv.reader([first], delimiter=separator), [])
    if not any(h.strip() for h in header):
        raise InputError(f"table {str(file)!r} is empty: its first line must name the columns")
    frame = pd.read_csv(
        file,
        sep=separator,
        dtype=str,
        keep_default_na=False,
        na_filter=False,
        encoding="utf-8-sig",
        skip_blank_lines=True,
        index_col=False,
        header=0,
        names=_names([h.strip() for h in header], file),
    ).fillna("")  # a line with fewer cells than the header
    return frame.loc[:, [not (c.startswith("unnamed ") and (frame[c] == "").all()) for c in frame.columns]]


def _xlsx(file: Path) -> pd.DataFrame:
    import pandas as pd

    raw = pd.read_excel(file, header=None, dtype=str, keep_default_na=False, na_filter=False)
    if raw.empty:
        raise InputError(
            f"table {str(file)!r} is empty: the first row of its first sheet must name the columns"
        )
    frame = raw.iloc[1:].reset_index(drop=True).astype(str)
    frame.columns = _names([str(h).strip() for h in raw.iloc[0]], file)
    return frame


def _parquet(file: Path) -> pd.DataFrame:
    import pandas as pd

    frame = pd.read_parquet(file)
    if not isinstance(frame.index, pd.RangeIndex):
        frame = frame.reset_index()
    frame.columns = _names([str(c) for c in frame.columns], file)
    return frame.apply(lambda column: column if _holds_vectors(column) else column.map(_text))


def _holds_vectors(column: pd.Series) -> bool:
    present = column.dropna()
    return (
        bool(len(present))
        and hasattr(present.iloc[0], "__len__")
        and not isinstance(present.iloc[0], str | bytes)
    )


def _text(value: Any) -> str:
    import pandas as pd

    if pd.isna(value):
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return str(value)


def _names(header: Sequence[str], file: Path) -> list[str]:
    doubled = [name for name, count in Counter(header).items() if name and count > 1]
    if doubled:
        raise InputError(f"table {str(file)!r} names the column {listing(doubled)} twice: rename one of them")
    return [name or f"unnamed {i + 1}" for i, name in enumerate(header)]
