"""What every result offers: summary in words, table, dictionary for JSON, methods paragraph, provenance.

A result is a frozen dataclass beside the function that makes it. Plots and pages read its numbers and
compute none of their own.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION = 1
Interval = tuple[float, float]


@dataclass(frozen=True)
class Provenance:
    """Where a result comes from: everything that is needed to make it again.

    weights_caution: what a reader must know of the encoder's weights (random, or made for tests); None of real ones.
    """

    embedding_id: str | None = None
    data_sha256: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    versions: Mapping[str, str] = field(default_factory=lambda: library_versions())
    synthetic: bool = False
    weights_caution: str | None = None
    licence: str | None = None
    cohort: str | None = None


@dataclass(frozen=True, kw_only=True)
class Result:
    """Base of all results; subclasses write `summary`, `methods_text`, `table` and `details`."""

    command: ClassVar[str] = ""

    n: int
    verdict: str
    warnings: tuple[str, ...] = ()
    provenance: Provenance = field(default_factory=Provenance)

    def summary(self) -> str:
        """The answer in a few lines of plain words."""
        raise NotImplementedError(f"{type(self).__name__} must say its own summary")

    def methods_text(self) -> str:
        """A methods paragraph (Markdown) whose every number comes from this object."""
        raise NotImplementedError(f"{type(self).__name__} must describe its own methods")

    def table(self) -> pd.DataFrame:
        """The main table, one row an estimate."""
        raise NotImplementedError(f"{type(self).__name__} must give its own table")

    def details(self) -> dict[str, Any]:
        """The keys of the JSON file that belong to this analysis alone."""
        raise NotImplementedError(f"{type(self).__name__} must give its own details")

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values, ready for `json.dumps`; a number that does not exist is null, never NaN."""
        common = {
            "schema_version": SCHEMA_VERSION,
            "command": self.command,
            "verdict": self.verdict,
            "n": self.n,
            "warnings": list(self.warnings),
            "provenance": dataclasses.asdict(self.provenance),
        }
        return plain({**common, **self.details()})


def plain(value: Any) -> Any:
    """Arrays, numpy scalars, dataclasses, paths and NaN to what JSON can hold."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


@cache
def _installed(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def library_versions() -> dict[str, str]:
    """Versions of this project and of the libraries that its numbers depend on."""
    return {n: _installed(n) for n in ("flexict-atlas", "numpy", "scipy", "pandas", "scikit-learn")}


def array_sha256(*arrays: Any) -> str:
    """Hash of values, types and shapes; strings are hashed as UTF-8 text."""
    digest = hashlib.sha256()
    for array in arrays:
        a = np.ascontiguousarray(array)
        digest.update(f"{a.dtype.str}{a.shape}".encode())
        digest.update("\x1f".join(map(str, a.ravel())).encode() if a.dtype == object else a.tobytes())
    return digest.hexdigest()
