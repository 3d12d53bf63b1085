"""EmbeddingStore: what a store holds, listed, found by name, and read."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np

from flexict_core.errors import StoreError
from flexict_core.store.format import (
    FORMAT_VERSION,
    KEY,
    LAYOUT,
    QUARANTINE,
    QUARANTINE_COLUMNS,
    ROW_COLUMNS,
    SPEC,
    embedding_id,
    read_spec,
)
from flexict_core.store.index import Index, read_index, read_vectors
from flexict_core.store.writer import EmbeddingWriter, read_quarantine

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")


@dataclass(frozen=True)
class EmbeddingInfo:
    """One line of a store's listing."""

    embedding_id: str
    name: str
    encoder: str
    recipe: str
    pooling: str
    dim: int
    rows: int
    synthetic: bool
    licence: str


# inside EmbeddingStore the word `list` is the method
Listing: TypeAlias = list[EmbeddingInfo]
Names: TypeAlias = list[str]


@dataclass(frozen=True)
class EmbeddingTable:
    """One embedding in memory: `X` [n, D] float32 and, in the same order, `rows` with n lines.

    rows: patient_id, series_uid, roi_id, root, image, mask, mask_label, source_sha256, image_sha256,
    mask_sha256; text columns are "" where there is nothing, mask_label is <NA>. `root` is the folder that image
    and mask are relative to.
    Sorted by the first three, so the order does not depend on how the rows came in.
    """

    embedding_id: str
    spec: dict[str, Any]
    rows: pd.DataFrame
    X: np.ndarray


class EmbeddingStore:
    """A folder of embeddings. Opening costs nothing and reads nothing.

    Raises StoreError where the folder does not exist; `EmbeddingStore.create` makes it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            what = "is a file" if self.path.exists() else "does not exist"
            raise StoreError(
                f"store {str(path)!r} {what}: give the folder that `flexict embed --store` wrote"
            )

    @classmethod
    def create(cls, path: str | Path) -> EmbeddingStore:
        """Open a store, made first where there is none."""
        try:
            Path(path).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"store {str(path)!r} cannot be made ({error.strerror}): choose another folder"
            ) from None
        return cls(path)

    def __repr__(self) -> str:
        return f"EmbeddingStore({str(self.path)!r})"

    def ids(self) -> Names:
        """embedding_ids, sorted."""
        return sorted(spec.parent.name for spec in self.path.glob(f"*/{SPEC}"))

    def list(self) -> Listing:
        """Every embedding here with its number of rows."""
        return [self._info(identity) for identity in self.ids()]

    def resolve(self, name_or_id: str) -> str:
        """The embedding_id meant by an id, a name, an encoder, or a beginning that only one id has.

        Raises StoreError where none or several fit, and names them.
        """
        ids = self.ids()
        if name_or_id in ids:
            return name_or_id
        specs = {i: read_spec(self.path / i) for i in ids}
        readings = (
            [i for i in ids if specs[i].get("name") == name_or_id],
            [i for i in ids if specs[i].get("encoder") == name_or_id],
            [i for i in ids if name_or_id and i.startswith(name_or_id)],
        )
        found = next((r for r in readings if r), [])
        if len(found) == 1:
            return found[0]
        if found:
            raise StoreError(
                f"embedding {name_or_id!r} is ambiguous in {str(self.path)!r}: choose {_either(found)}"
            )
        if not ids:
            raise StoreError(
                f"store {str(self.path)!r} holds no embedding: run `flexict embed` or `flexict import` first"
            )
        names = [str(specs[i].get("name", i)) for i in ids]
        close = get_close_matches(name_or_id, [*names, *ids], n=1)
        remedy = f"did you mean {close[0]!r}?" if close else f"it holds {_either(ids)}"
        raise StoreError(f"embedding {name_or_id!r} is not in {str(self.path)!r}: {remedy}")

    def writer(self, spec: Mapping[str, Any], *, dim: int, name: str) -> EmbeddingWriter:
        """A writer for the embedding that `spec` describes, new or gone on with; use it in a `with` block.

        spec must be plain JSON values; what it holds decides the embedding_id (all but licence and
        description).
        """
        if dim < 1:
            raise StoreError(f"an embedding of {dim} dimensions cannot be stored: dim must be at least 1")
        defaults = {"encoder": name, "feature_names": None, "synthetic": False, "licence": ""}
        full: dict[str, Any] = {**defaults, **json.loads(json.dumps(dict(spec)))}
        full |= {"name": name, "dim": dim, "format_version": FORMAT_VERSION, "layout": LAYOUT}
        full["embedding_id"] = embedding_id(full)
        return EmbeddingWriter(self.path / full["embedding_id"], full)

    def read(
        self,
        name_or_id: str,
        *,
        patients: Collection[str] | None = None,
        features: Sequence[str | int] | None = None,
    ) -> EmbeddingTable:
        """Rows and vectors of one embedding, each row once.

        patients: only their rows; what is read from disk is the columns of names and the row groups these
        patients lie in. features: only these dimensions, by name or number; memory holds no more of the others
        than one row group. StoreError for a feature that the embedding does not have.
        """
        identity = self.resolve(name_or_id)
        spec = read_spec(self.path / identity)
        chosen = None if features is None else _positions(features, spec)

        def read() -> tuple[Index, np.ndarray]:
            index = read_index(self.path / identity, ROW_COLUMNS)
            index = index if patients is None else index.of_patients(patients)
            return index, read_vectors(index, spec["dim"], features=chosen)

        index, X = _undisturbed(read)
        if chosen is not None:
            names = spec.get("feature_names")
            spec = spec | {
                "dim": len(chosen),
                "feature_names": None if names is None else [names[i] for i in chosen],
            }
        return EmbeddingTable(identity, spec, _frame(index), X)

    def rows(self, name_or_id: str, *, columns: Sequence[str] = ROW_COLUMNS) -> pd.DataFrame:
        """The rows of `read` alone, or some of their columns: no vector is read."""
        unknown = sorted(set(columns) - set(ROW_COLUMNS))
        if unknown:
            raise StoreError(f"columns {unknown} are not in a store: choose of {', '.join(ROW_COLUMNS)}")
        return _frame(read_index(self.path / self.resolve(name_or_id), columns), columns)

    def quarantine(self, name_or_id: str) -> pd.DataFrame:
        """Rows that could not be embedded: row (line of the manifest), patient_id, series_uid, roi_id, file,
        reason, image, mask, root, manifest."""
        import pandas as pd

        entries = read_quarantine(self.path / self.resolve(name_or_id))
        return pd.DataFrame(entries, columns=list(QUARANTINE_COLUMNS))

    def quarantine_path(self, name_or_id: str) -> Path:
        return self.path / self.resolve(name_or_id) / QUARANTINE

    def to_anndata(self, name_or_id: str) -> Any:
        """The embedding as an AnnData: X, obs (rows), var (named dimensions), uns (spec). Needs anndata."""
        try:
            from anndata import AnnData
        except ImportError:
            raise StoreError("anndata is not installed: pip install 'flexict-atlas[anndata]'") from None
        import pandas as pd

        table = self.read(name_or_id)
        keys = table.rows[list(KEY)]
        obs = table.rows.assign(mask_label=table.rows["mask_label"].astype("float64"))
        single = keys["patient_id"].is_unique
        obs.index = pd.Index(keys["patient_id"] if single else keys.agg("|".join, axis=1), name=None)
        names = table.spec.get("feature_names") or [f"dim_{i}" for i in range(table.spec["dim"])]
        # spec as text: AnnData files cannot hold null
        uns = {"embedding_id": table.embedding_id, "spec": json.dumps(table.spec)}
        return AnnData(X=table.X, obs=obs, var=pd.DataFrame(index=pd.Index(names)), uns=uns)

    def _info(self, identity: str) -> EmbeddingInfo:
        spec = read_spec(self.path / identity)
        recipe = spec.get("recipe") or ""
        return EmbeddingInfo(
            embedding_id=identity,
            name=str(spec["name"]),
            encoder=str(spec["encoder"]),
            recipe=str(recipe.get("name", "")) if isinstance(recipe, dict) else str(recipe),
            pooling=str(spec.get("pooling") or ""),
            dim=int(spec["dim"]),
            rows=read_index(self.path / identity).count,
            synthetic=bool(spec["synthetic"]),
            licence=str(spec.get("licence") or ""),
        )


def _frame(index: Index, columns: Sequence[str] = ROW_COLUMNS) -> pd.DataFrame:
    import pandas as pd

    if index.paths:
        rows = index.sorted_table().select(list(columns)).to_pandas()
    else:
        rows = pd.DataFrame(columns=list(columns))
    return rows.astype({"mask_label": "Int64"}) if "mask_label" in columns else rows


def _positions(features: Sequence[str | int], spec: Mapping[str, Any]) -> list[int]:
    names = spec.get("feature_names") or []
    where = {name: i for i, name in enumerate(names)}
    positions = [f if isinstance(f, int) else where.get(f, -1) for f in features]
    for feature, position in zip(features, positions, strict=True):
        if not 0 <= position < spec["dim"]:
            close = get_close_matches(str(feature), names, n=1)
            remedy = f"did you mean {close[0]!r}?" if close else f"it has {spec['dim']} dimensions"
            raise StoreError(f"feature {feature!r} is not in {spec['name']!r}: {remedy}")
    return positions


def _undisturbed(read: Callable[[], T]) -> T:
    """Read again where another process merged parts meanwhile."""
    for _ in range(20):
        with suppress(FileNotFoundError):
            return read()
    raise StoreError("the store keeps changing while it is read: try again when its writers are done")


def _either(ids: list[str], most: int = 8) -> str:
    shown = ", ".join(ids[:most])
    return shown + (f" and {len(ids) - most} more" if len(ids) > most else "")
