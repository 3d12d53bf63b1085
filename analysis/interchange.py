"""A cohort for other people's tools: AnnData (scanpy and its kin) and Parquet (Embedding Atlas and any table reader).

One row a patient; the clinical columns come along, so what is written holds labels and belongs where they may lie.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.results import plain
from flexict_core.errors import AnalysisError, CohortError, InputError

if TYPE_CHECKING:
    import pandas as pd

    from analysis.cohort import Cohort
    from analysis.projection import ProjectionResult

NEIGHBOURS = 15
# columns of the Parquet file that are not clinical
X_COLUMN, Y_COLUMN, VECTOR_COLUMN, NEIGHBOUR_COLUMN = (
    "projection_x",
    "projection_y",
    "embedding",
    "neighbours",
)


def to_anndata(
    cohort: Cohort,
    *,
    projections: Mapping[str, ProjectionResult] | None = None,
    others: Mapping[str, Cohort] | None = None,
) -> Any:
    """A cohort as AnnData: X [n, d] float32, obs (clinical columns by patient), var (dimensions), obsm, uns.

    projections: maps of these patients by name, as obsm["X_umap"]; others: further embeddings of the same patients, as
    obsm["X_<name>"]. uns["flexict"] holds provenance as text (AnnData files cannot hold null). Raises AnalysisError
    without anndata, and CohortError where a map or an embedding is not of these patients.
    """
    try:
        from anndata import AnnData
    except ImportError:
        raise AnalysisError(
            "anndata is not installed: pip install 'flexict-atlas[anndata]', or write --to parquet"
        ) from None
    import pandas as pd

    obs = cohort.table.drop(columns=[cohort.id_column]).copy()
    for column in obs.columns:
        if (
            obs[column].dtype == object
        ):  # text with gaps: files of AnnData hold categories with gaps, not text
            obs[column] = pd.Categorical(obs[column])
    obs.columns = _file_keys([str(c) for c in obs.columns])
    obs.index = pd.Index([str(p) for p in cohort.patient_id])
    names = cohort.feature_names or [f"dim_{i}" for i in range(cohort.X.shape[1])]
    uns = {
        "embedding_id": cohort.embedding_id,
        "encoder": cohort.encoder,
        "licence": cohort.licence or "not recorded",
        "synthetic": cohort.synthetic,
        "notice": _notice(cohort),
        "provenance": json.dumps(plain(cohort.provenance())),
    }
    data = AnnData(
        X=cohort.X.astype(np.float32),
        obs=obs,
        var=pd.DataFrame(index=pd.Index([str(n) for n in names])),
        uns={"flexict": uns},
    )
    for name, result in (projections or {}).items():
        _same_patients(cohort, result.patient_id, f"map {name!r}")
        data.obsm[f"X_{name}"] = result.coordinates
        uns[f"methods_{name}"] = result.methods_text()
    for name, other in (others or {}).items():
        _same_patients(cohort, other.patient_id, f"embedding {name!r}")
        data.obsm[f"X_{name}"] = other.X.astype(np.float32)
    data.uns["flexict"] = uns
    return data


def write_anndata(data: Any, path: str | Path) -> Path:
    """Write an AnnData as .h5ad, whole or not at all."""
    from analysis.export import write_bytes

    file = with_ending(path, ".h5ad")
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        data.write_h5ad(Path(folder) / "data.h5ad")
        return write_bytes(file, (Path(folder) / "data.h5ad").read_bytes())


def atlas_table(cohort: Cohort, projection: ProjectionResult | None = None) -> Any:
    """A cohort as an Arrow table that Embedding Atlas opens, one row a patient.

    Clinical columns, then `embedding` (list of float32 [d]), `projection_x` and `projection_y` where a map is given,
    and `neighbours` (the nearest patients by row, nearest first, with distances; see its methods). The schema's
    metadata hold the provenance. Raises CohortError where a clinical column has one of these names.
    """
    import pyarrow as pa

    own = [VECTOR_COLUMN, NEIGHBOUR_COLUMN, *([X_COLUMN, Y_COLUMN] if projection is not None else [])]
    taken = [c for c in own if c in cohort.table.columns]
    if taken:
        raise CohortError(f"the clinical table has a column {taken[0]!r}, which is written here: rename it")
    table = pa.Table.from_pandas(_plain_columns(cohort.table), preserve_index=False)
    vectors = pa.array(list(cohort.X.astype(np.float32)), type=pa.list_(pa.float32()))
    table = table.append_column(VECTOR_COLUMN, vectors)
    if projection is not None:
        _same_patients(cohort, projection.patient_id, "the map")
        for name, values in zip((X_COLUMN, Y_COLUMN), projection.coordinates.T, strict=True):
            table = table.append_column(name, pa.array(np.asarray(values, dtype=np.float64)))
    table = table.append_column(NEIGHBOUR_COLUMN, pa.array(_neighbours(cohort)))
    about = {
        "flexict.provenance": json.dumps(plain(cohort.provenance())),
        "flexict.notice": _notice(cohort),
        **({} if projection is None else {"flexict.map": projection.methods_text()}),
    }
    return table.replace_schema_metadata({**(table.schema.metadata or {}), **about})


def write_parquet(table: Any, path: str | Path) -> Path:
    """Write an Arrow table as .parquet, whole or not at all."""
    import io

    import pyarrow.parquet as pq

    from analysis.export import write_bytes

    file = with_ending(path, ".parquet")
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return write_bytes(file, buffer.getvalue())


def atlas_command(path: Path, *, mapped: bool) -> str:
    """The call of Embedding Atlas that opens a file written here."""
    if not mapped:
        return f"embedding-atlas {path} --vector {VECTOR_COLUMN}"
    return f"embedding-atlas {path} --x {X_COLUMN} --y {Y_COLUMN} --neighbors {NEIGHBOUR_COLUMN}"


def _neighbours(cohort: Cohort) -> list[dict[str, list[Any]]]:
    """Rows and distances of each patient's nearest, compared as on a map of the cohort; the patient itself first."""
    from analysis.vectors import as_vectors, comparable, nearest_rows

    metric: Any = "cosine" if cohort.feature_names is None else "euclidean"
    points = comparable(as_vectors(cohort), metric=metric).points
    rows, values = nearest_rows(points, points, min(NEIGHBOURS, cohort.n), metric=metric)
    distances = 1 - values if metric == "cosine" else values
    return [
        {"ids": [int(i) for i in ids], "distances": [float(max(d, 0.0)) for d in far]}
        for ids, far in zip(rows, distances, strict=True)
    ]


def _plain_columns(table: pd.DataFrame) -> pd.DataFrame:
    """Text columns as text (None where missing), numbers as they are."""
    return table.astype({c: "string" for c in table.columns if table[c].dtype == object})


def _file_keys(names: list[str]) -> list[str]:
    """Names of columns that an HDF5 file may hold ("/" would make a folder), still one for each."""
    keys: list[str] = []
    for name in names:
        key = name.replace("/", "_")
        key = f"{key}_column" if key in ("_index", "") else key
        while key in keys:
            key += "_"
        keys.append(key)
    return keys


def _same_patients(cohort: Cohort, patients: np.ndarray, what: str) -> None:
    if [str(p) for p in patients] != [str(p) for p in cohort.patient_id]:
        raise CohortError(f"{what} is of other patients than the cohort: make it from the same cohort")


def _notice(cohort: Cohort) -> str:
    return f"{'Synthetic data. ' if cohort.synthetic else ''}Research use only."


def with_ending(path: str | Path, ending: str) -> Path:
    """The path, where it ends so; else InputError that names the one to write."""
    file = Path(path)
    if not file.name.endswith(ending) or file.name == ending:
        raise InputError(f"--out {str(file)!r} does not end in {ending}: write {file.with_suffix(ending)}")
    return file
