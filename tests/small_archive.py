"""A small archive: an index as the package idc-index-data has it, and a bucket on this machine that the real transfer
program talks to."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from xml.sax.saxutils import escape

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flexict_core.archive import index, transfer

COLLECTION = "lung_small"


@dataclass
class Bucket:
    """Objects by key; refused: keys that are answered with 403; asked: keys that were downloaded; cut:
    bytes after which an object ends."""

    objects: dict[str, bytes] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    cut: dict[str, int] = field(default_factory=dict)


def _series(patient: str, study: str, modality: str, files: list[bytes], *, doi: str, licence: str) -> dict:
    number = len(_made)
    uuid = f"uuid-{number:03d}"
    _made.append((uuid, files))
    return {
        "collection_id": COLLECTION,
        "analysis_result_id": "added" if doi.endswith("added") else None,
        "PatientID": patient,
        "SeriesInstanceUID": f"1.2.3.{number}",
        "StudyInstanceUID": f"1.2.{patient[-1]}.{study}",
        "source_DOI": doi,
        "PatientAge": {"P-1": "061Y", "P-2": "006M"}.get(patient),
        "PatientSex": "F",
        "StudyDate": "2001-02-03",
        "BodyPartExamined": "CHEST",
        "Modality": modality,
        "Manufacturer": "GE",
        "ManufacturerModelName": "X1",
        "SeriesDescription": "thorax",
        "instanceCount": len(files),
        "license_short_name": licence,
        "series_aws_url": f"s3://bucket/{uuid}/*",
        "crdc_series_uuid": uuid,
        "series_size_MB": sum(map(len, files)) / 1e6,
        "transfer_syntax_name": "Explicit VR Little Endian",
    }


_made: list[tuple[str, list[bytes]]] = []


@pytest.fixture
def small_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Patients P-1 (CT, RTSTRUCT), P-2 (CT, SEG, and an MR study with its SEG), P-3 (CT); collection mr_only."""
    _made.clear()
    own = {"doi": "10.1/own", "licence": "CC BY-NC 3.0"}
    rows = [
        _series("P-1", "1", "CT", [b"c" * (100 + i) for i in range(4)], **own),
        _series("P-1", "1", "RTSTRUCT", [b"r" * 50], **own),
        _series("P-2", "1", "CT", [b"d" * (200 + i) for i in range(3)], **own),
        _series("P-2", "1", "SEG", [b"s" * 70], doi="10.1/added", licence="CC BY 4.0"),
        _series("P-2", "2", "MR", [b"m" * 10], **own),
        _series("P-2", "2", "SEG", [b"t" * 10], **own),
        _series("P-3", "1", "CT", [b"e" * 300, b"e" * 301], **own),
    ]
    other = {**rows[4], "collection_id": "mr_only", "SeriesInstanceUID": "1.2.3.9"}
    home = tmp_path / "package"
    home.mkdir()
    pq.write_table(pa.Table.from_pylist([*rows, other]), home / "idc_index.parquet")
    sources = [
        {"source_doi": "10.1/OWN", "citation": "Own, A., &amp; Own, B. <i>Lungs</i>."},
        {"source_doi": "10.1/added", "citation": "Added, C."},
    ]
    about = {"cancer_types": "Lung", "tumor_locations": "Chest", "sources": sources}
    table = [{"collection_id": name, **about} for name in (COLLECTION, "lung_large", "mr_only")]
    pq.write_table(pa.Table.from_pylist(table), home / "collections_index.parquet")
    monkeypatch.setattr(index, "installed_index", lambda name="idc_index": home / f"{name}.parquet")
    index._collections.cache_clear()
    yield home
    index._collections.cache_clear()


@pytest.fixture
def bucket(small_index: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """The files of that index behind the two requests of S3 that a download makes."""
    held = Bucket({f"{uuid}/{i}.dcm": data for uuid, files in _made for i, data in enumerate(files)})

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self._answer(200, b"")

        def do_GET(self) -> None:
            address = urlsplit(self.path)
            _, _, key = address.path.strip("/").partition("/")
            if not key:
                self._answer(200, _listing(held, parse_qs(address.query)["prefix"][0]))
                return
            held.asked.append(key)
            data = held.objects[key]
            data = data[: held.cut.get(key, len(data))]
            if key in held.refused:
                self._answer(403, b"<Error><Code>AccessDenied</Code></Error>")
            else:
                span = f"bytes 0-{len(data) - 1}/{len(data)}"
                self._answer(206, data, {"Content-Range": span, "ETag": '"e"'})

        def _answer(self, status: int, body: bytes, more: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **(more or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    class Server(ThreadingHTTPServer):
        request_queue_size = 256  # as many as the transfer program opens at once

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    monkeypatch.setattr(transfer, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    yield held
    server.shutdown()
    server.server_close()
    thread.join()


def _listing(held: Bucket, prefix: str) -> bytes:
    found = "".join(
        f"<Contents><Key>{escape(key)}</Key><LastModified>2024-01-01T00:00:00.000Z</LastModified>"
        f"<ETag>e</ETag><Size>{held.cut.get(key, len(data))}</Size><StorageClass>STANDARD</StorageClass></Contents>"
        for key, data in held.objects.items()
        if key.startswith(prefix)
    )
    space = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
    return (
        f"<ListBucketResult {space}><Name>bucket</Name><Prefix>{prefix}</Prefix>"
        f"<MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated>{found}</ListBucketResult>"
    ).encode()
