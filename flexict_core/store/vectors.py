"""Vectors made elsewhere (radiomics, another network) become an embedding like any other."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from warnings import warn

import numpy as np

from flexict_core.errors import DataWarning, InputError
from flexict_core.store.format import KEY
from flexict_core.tables import is_missing, listing, nearest

if TYPE_CHECKING:
    import pandas as pd

    from flexict_core.store import EmbeddingStore

# Without a choice of columns, one with such a word in its name is taken for a clinical label and left out.
# fmt: off
_LABEL_WORDS = frozenset((
    "age", "alive", "censored", "censoring", "class", "days", "dead", "deadstatus", "death", "dfs",
    "diagnosis", "died", "event", "fold", "follow", "followup", "gender", "grade", "histology",
    "isup", "label", "metastasis", "mets", "months", "os", "outcome", "pfs", "recurrence",
    "relapse", "response", "sex", "split", "stage", "status", "subtype", "surv", "survival",
    "target", "treatment", "vital", "years",
))
# fmt: on
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_BOOKKEEPING = frozenset({"series_uid", "roi_id"})


@dataclass(frozen=True)
class ImportReport:
    """What an import did: `rows` entered now, `skipped` were there already, `quarantined` lack a value or an ID."""

    embedding_id: str
    rows: int
    skipped: int
    quarantined: int
    feature_names: tuple[str, ...]
    dropped_columns: tuple[str, ...]


def import_vectors(
    store: EmbeddingStore,
    table: pd.DataFrame,
    *,
    id_column: str,
    name: str,
    source_sha256: str,
    columns: Sequence[str] | None = None,
    prefix: str | Sequence[str] | None = None,
    synthetic: bool = False,
    licence: str = "",
) -> ImportReport:
    """Store one vector a row of `table`, each chosen column a named dimension.

    Columns: those of `columns`, or those that begin with (one of) `prefix`, or else every numeric column that
    does not look like a clinical label. One column that holds vectors (Parquet lists) spreads to `<column>_0,
    …`. `series_uid` and `roi_id` are kept where the table has them, else a patient has one row. Columns
    without any number or with a single value are left out, rows without an ID or with a missing value go to
    quarantine; both with a DataWarning. The embedding_id depends on `source_sha256` (of the file) and on the
    columns: importing the same again adds nothing, and changed data never mixes with old.

    Raises InputError for a column that is not there (naming the nearest) or not numeric.
    """
    if id_column not in table.columns:
        raise InputError(
            f"column {id_column!r} is not in the table: {nearest(id_column, _names(table.columns))}"
        )
    chosen = _chosen(table, id_column, columns=columns, prefix=prefix)
    X, names = _matrix(table, chosen)
    X, names, dropped = _informative(X, names)
    if not names:
        raise InputError(f"none of the {len(chosen)} columns varies between rows: choose other columns")
    reasons = _row_faults(table, X, names, id_column=id_column)
    spec = {
        "encoder": "imported",
        "checkpoint_sha256": None,
        "recipe": None,
        "pooling": None,
        "patch_size": None,
        "precision": "fp32",
        "source_sha256": source_sha256,
        "id_column": id_column,
        "feature_names": names,
        "synthetic": synthetic,
        "licence": licence,
    }
    keys = _keys(table, id_column)
    bad = [
        {"row": i + 2, **dict(zip(KEY, keys[i], strict=True)), "reason": reason, "manifest": name}
        for i, reason in enumerate(reasons)
        if reason
    ]
    if bad:
        warn(
            f"{len(bad)} of {len(keys)} rows are left out, the first because {bad[0]['reason']}",
            DataWarning,
            stacklevel=2,
        )
    good = [i for i, reason in enumerate(reasons) if not reason]
    if not good:
        raise InputError(f"no row can be imported, the first because {bad[0]['reason']}: correct the table")
    with store.writer(spec, dim=len(names), name=name) as writer:
        new = [i for i in good if keys[i] not in writer.known]
        writer.add(
            {**dict(zip(KEY, keys[i], strict=True)), "source_sha256": source_sha256, "embedding": X[i]}
            for i in new
        )
        writer.quarantine(bad)
        identity = writer.embedding_id
    return ImportReport(identity, len(new), len(good) - len(new), len(bad), tuple(names), tuple(dropped))


def _names(columns: Iterable[Any]) -> list[str]:
    return [str(c) for c in columns]


def _chosen(
    table: pd.DataFrame, id_column: str, *, columns: Sequence[str] | None, prefix: str | Sequence[str] | None
) -> list[str]:
    there = _names(table.columns)
    if columns is not None and prefix is not None:
        raise InputError("columns and prefix are both given: give one of them")
    if columns is not None:
        absent = [c for c in columns if c not in there]
        if absent or not columns:
            remedy = nearest(absent[0], there) if absent else "name at least one"
            raise InputError(f"column {listing(absent)} is not in the table: {remedy}")
        if id_column in columns:
            raise InputError(f"column {id_column!r} is the ID: take it out of the vector's columns")
        return list(dict.fromkeys(columns))
    if prefix is not None:
        starts = (prefix,) if isinstance(prefix, str) else tuple(prefix)
        for start in starts:
            if not any(c.startswith(start) for c in there if c != id_column):
                raise InputError(f"no column begins with {start!r}: {nearest(start, there)}")
        return [c for c in there if c != id_column and c.startswith(starts)]
    numeric = [c for c in there if c != id_column and c not in _BOOKKEEPING and _is_numeric(table[c])]
    labels = [c for c in numeric if {w.casefold() for w in _WORD.findall(c)} & _LABEL_WORDS]
    taken = [c for c in numeric if c not in labels]
    if labels:
        warn(
            f"columns {listing(labels)} look like clinical labels and are left out of the vector: name the "
            "columns or a prefix to decide yourself",
            DataWarning,
            stacklevel=3,
        )
    if not taken:
        raise InputError(f"the table has no numeric column beside {id_column!r}: name the vector's columns")
    return taken


def _is_numeric(column: pd.Series) -> bool:
    import pandas as pd

    if pd.api.types.is_bool_dtype(column):
        return False
    if pd.api.types.is_numeric_dtype(column):
        return True
    if _holds_vectors(column):
        return False
    values, odd = _numbers(column)
    return odd is None and bool(np.isfinite(values).any())


def _numbers(column: pd.Series) -> tuple[np.ndarray, str | None]:
    """float64 [n] with NaN for a missing cell, and the first cell that is neither a number nor missing."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        return column.to_numpy(dtype=np.float64, na_value=np.nan), None
    text = column.map(_cell)
    gaps = text.map(is_missing).to_numpy(dtype=bool)
    numbers = pd.to_numeric(text.mask(gaps), errors="coerce").to_numpy(dtype=np.float64)
    odd = text[np.isnan(numbers) & ~gaps]
    return numbers, None if odd.empty else str(odd.iloc[0])


def _matrix(table: pd.DataFrame, chosen: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    if len(chosen) == 1 and _holds_vectors(table[chosen[0]]):
        return _spread(table[chosen[0]], chosen[0])
    blocks = []
    for column in chosen:
        values, odd = _numbers(table[column])
        if odd is not None:
            raise InputError(f"column {column!r} is not numeric (it holds {odd!r}): choose numeric columns")
        blocks.append(values)
    return np.stack(blocks, axis=1), list(chosen)


def _holds_vectors(column: pd.Series) -> bool:
    present = column.dropna()
    return (
        bool(len(present))
        and hasattr(present.iloc[0], "__len__")
        and not isinstance(present.iloc[0], str | bytes)
    )


def _spread(column: pd.Series, name: str) -> tuple[np.ndarray, list[str]]:
    lengths = sorted({len(cell) for cell in column if cell is not None and hasattr(cell, "__len__")})
    if len(lengths) != 1:
        raise InputError(
            f"column {name!r} holds vectors of {listing(lengths)} values: all must be equally long"
        )
    gap = np.full(lengths[0], np.nan)
    try:
        X = np.stack([np.asarray(c, dtype=np.float64) if hasattr(c, "__len__") else gap for c in column])
    except (TypeError, ValueError):
        raise InputError(
            f"column {name!r} holds vectors that are not numbers: choose a numeric column"
        ) from None
    return X, [f"{name}_{i}" for i in range(lengths[0])]


def _informative(X: np.ndarray, names: Sequence[str]) -> tuple[np.ndarray, list[str], list[str]]:
    with np.errstate(over="ignore"):
        X = np.where(np.isfinite(X.astype(np.float32)), X, np.nan)  # beyond float32 is missing too
    whole = ~np.isnan(X).any(axis=1)
    empty = np.isnan(X).all(axis=0)
    if not whole.any():
        whole = ~np.isnan(X[:, ~empty]).any(axis=1)
    seen = np.where(np.isnan(X), np.nan, X)[whole] if whole.sum() > 1 else X
    constant = ~empty & np.array([len(np.unique(c[~np.isnan(c)])) <= 1 for c in seen.T], dtype=bool)
    if len(X) < 2:
        constant[:] = False  # one row says nothing about what varies
    for mask, what in ((empty, "hold no number"), (constant, "hold a single value")):
        if mask.any():
            named = listing([n for n, m in zip(names, mask, strict=True) if m])
            warn(f"columns {named} {what} and are left out of the vector", DataWarning, stacklevel=3)
    keep = ~(empty | constant)
    kept = [n for n, k in zip(names, keep, strict=True) if k]
    return X[:, keep], kept, [n for n, k in zip(names, keep, strict=True) if not k]


def _keys(table: pd.DataFrame, id_column: str) -> list[tuple[str, str, str]]:
    def text(column: str) -> list[str]:
        if column not in table.columns:
            return [""] * len(table)
        return [_cell(value) for value in table[column]]

    return list(zip(text(id_column), text("series_uid"), text("roi_id"), strict=True))


def _cell(value: Any) -> str:
    if value is None or value != value:
        return ""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))  # an integer ID that a gap in its column made a float
    return str(value).strip()


def _row_faults(table: pd.DataFrame, X: np.ndarray, names: Sequence[str], *, id_column: str) -> list[str]:
    keys = _keys(table, id_column)
    where: dict[tuple[str, str, str], list[int]] = {}
    for i, key in enumerate(keys):
        where.setdefault(key, []).append(i)
    faults = []
    for i, (key, vector) in enumerate(zip(keys, X, strict=True)):
        gaps = [n for n, v in zip(names, vector, strict=True) if np.isnan(v)]
        twins = where[key]
        if is_missing(key[0]):
            faults.append(f"line {i + 2} has no {id_column}")
        elif gaps:
            faults.append(f"{key[0]!r} has no value for {listing(gaps, most=3)}")
        elif len(twins) > 1 and not all(np.array_equal(X[j], vector) for j in twins):
            faults.append(
                f"{key[0]!r} has {len(twins)} different rows: tell them apart by series_uid or roi_id"
            )
        elif i != twins[0]:
            faults.append(f"{key[0]!r} repeats line {twins[0] + 2}")
        else:
            faults.append("")
    return faults
