"""The store beside plain pyarrow on the same data: 266,227 rows of 864 float32, written and read.

    python -m tests.benchmarks.store_speed [--rows 266227] [--dim 864] [--parts 1000] [--folder DIR]

Plain pyarrow writes one Parquet file with its defaults (snappy), renamed into place after an fsync, and reads with
`read_table`. Every line runs in a process of its own, three times, the two sides taking turns; the smallest times (of
the clock, and of the processor) and the largest peak memory of each are told. On a busy machine the processor's say more. The bar: at most 1.3 × plain pyarrow. Memory is the peak of the process less
what it holds before the work begins (for `write` that includes the matrix itself).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.measurements import Measurement, record

BAR = 1.3
NAMES = ["patient_id", "series_uid", "roi_id", "image", "source_sha256"]
SPEC = {"encoder": "net", "recipe": "default", "pooling": "cls"}
PATIENTS = 100


def made(rows: int, dim: int) -> tuple[dict[str, list[str]], np.ndarray]:
    """Columns as a run of `embed` has them, three rows to a patient, in no order; and the vectors."""
    rng = np.random.default_rng(0)
    order = rng.permutation(rows)
    digests = rng.bytes(32 * rows).hex()
    columns = {
        "patient_id": [f"P{i // 3:07d}" for i in order],
        "series_uid": [f"1.2.840.113619.2.55.3.{i:012d}" for i in order],
        "roi_id": [""] * rows,
        "root": ["/data/cohort"] * rows,
        "image": [f"P{i // 3:07d}/{i:07d}.nii.gz" for i in order],
        "mask": [""] * rows,
        "source_sha256": [digests[64 * i : 64 * i + 64] for i in range(rows)],
        "image_sha256": [digests[64 * i : 64 * i + 64] for i in range(rows)],
        "mask_sha256": [""] * rows,
        "source_stat": [f"{9_000_000 + i}:{i}:{i}|None|None" for i in order],
    }
    return columns, rng.standard_normal((rows, dim), dtype=np.float32)


def wanted(rows: int) -> list[str]:
    return [f"P{i:07d}" for i in np.random.default_rng(1).integers(0, rows // 3, PATIENTS)]


def table_of(columns: dict[str, list[str]], X: np.ndarray) -> Any:
    import pyarrow as pa

    vectors = pa.FixedSizeListArray.from_arrays(pa.array(X.ravel()), X.shape[1])
    names = {n: pa.array(v) for n, v in columns.items()}
    numbers = {"mask_label": pa.nulls(len(X), pa.int64()), "generation": pa.array(np.zeros(len(X), np.int32))}
    return pa.table({**names, **numbers, "embedding": vectors})


def plain_write(folder: Path, rows: int, dim: int) -> Callable[[], Any]:
    import pyarrow.parquet as pq

    columns, X = made(rows, dim)

    def work() -> None:
        temporary = folder / "plain.tmp"
        pq.write_table(table_of(columns, X), temporary)
        with temporary.open("rb+") as handle:
            os.fsync(handle.fileno())
        temporary.replace(folder / "plain.parquet")

    return work


def store_write(folder: Path, rows: int, dim: int) -> Callable[[], Any]:
    from flexict_core.store import EmbeddingStore

    columns, X = made(rows, dim)

    def work() -> None:
        with EmbeddingStore.create(folder / "store").writer(SPEC, dim=dim, name="net") as writer:
            writer.add_table(columns, X)

    return work


def plain_read(folder: Path, rows: int, dim: int, *, what: str) -> Callable[[], Any]:
    import pyarrow.parquet as pq

    path = folder / "plain.parquet"

    def whole(**more: Any) -> Any:
        table = pq.read_table(path, **more)
        X = table["embedding"].combine_chunks().flatten().to_numpy().reshape(-1, dim)
        return table.drop_columns(["embedding"]).to_pandas(), X

    return {
        "read all": whole,
        "read names": lambda: pq.read_table(path, columns=NAMES).to_pandas(),
        "read 100 patients": lambda: whole(filters=[("patient_id", "in", wanted(rows))]),
        "read 2 dimensions": lambda: whole()[1][:, [3, 700 % dim]].copy(),
    }[what]


def store_read(folder: Path, rows: int, dim: int, *, what: str) -> Callable[[], Any]:
    from flexict_core.store import EmbeddingStore

    store = EmbeddingStore(folder / "store")
    return {
        "read all": lambda: store.read("net"),
        "read names": lambda: store.rows("net", columns=NAMES),
        "read 100 patients": lambda: store.read("net", patients=wanted(rows)),
        "read 2 dimensions": lambda: store.read("net", features=[3, 700 % dim]),
    }[what]


def many_parts(folder: Path, parts: int, dim: int) -> None:
    """A store as writers that were killed leave it: `parts` parts of 20 rows."""
    from flexict_core.store import EmbeddingStore

    X = np.random.default_rng(2).standard_normal((20, dim), dtype=np.float32)
    writer = EmbeddingStore.create(folder / "many").writer(SPEC, dim=dim, name="net")
    for part in range(parts):
        writer.add_table({"patient_id": [f"P{part:05d}-{i:02d}" for i in range(20)]}, X)


def open_many(folder: Path, rows: int, dim: int) -> Callable[[], Any]:
    from flexict_core.store import EmbeddingStore

    return lambda: EmbeddingStore(folder / "many").list()


def go_on(folder: Path, rows: int, dim: int) -> Callable[[], Any]:
    from flexict_core.store import EmbeddingStore

    return lambda: kept.append(EmbeddingStore(folder / "store").writer(SPEC, dim=dim, name="net"))


kept: list[Any] = []


def close_many(folder: Path, rows: int, dim: int) -> Callable[[], Any]:
    from flexict_core.store import EmbeddingStore

    return lambda: EmbeddingStore(folder / "many").writer(SPEC, dim=dim, name="net").close()


def child(side: str, what: str, folder: Path, rows: int, dim: int) -> None:
    """One measurement, told as JSON."""
    import pandas  # noqa: F401 — loading libraries is not the store's time
    import pyarrow.parquet  # noqa: F401

    makers: dict[tuple[str, str], Callable[..., Any]] = {
        ("plain", "write"): plain_write,
        ("store", "write"): store_write,
        ("store", "go on"): go_on,
        ("store", "list 1,000 parts"): open_many,
        ("store", "merge 1,000 parts"): close_many,
    }
    reader = plain_read if side == "plain" else store_read
    make = makers.get((side, what)) or (lambda *a: reader(*a, what=what))
    work = make(folder, rows, dim)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, cpu = time.perf_counter(), time.process_time()
    work()
    print(json.dumps({
        "seconds": time.perf_counter() - start,
        "cpu": time.process_time() - cpu,
        "peak_mb": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before * (what != "write")) / 1024,
    }))  # fmt: skip


def measure(side: str, what: str, args: argparse.Namespace, folder: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.benchmarks.store_speed", "--child", side, what]
    command += ["--rows", str(args.rows), "--dim", str(args.dim), "--folder", str(folder)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def compare(args: argparse.Namespace, folder: Path) -> None:
    import shutil

    print(
        "| what | plain pyarrow s | store s | ratio | plain, processor s | store, processor s | ratio | plain MB | store MB |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for what in ("write", "read all", "read names", "read 100 patients", "read 2 dimensions"):
        found: dict[str, list[dict[str, float]]] = {"plain": [], "store": []}
        for _ in range(args.repeats):
            for side in found:
                if what == "write":
                    shutil.rmtree(folder / "store", ignore_errors=True) if side == "store" else None
                found[side].append(measure(side, what, args, folder))
        cells = []
        for key in ("seconds", "cpu"):
            plain, store = (min(f[key] for f in found[side]) for side in ("plain", "store"))
            cells += [
                f"{plain:.2f}",
                f"{store:.2f}",
                f"{store / plain:.2f}{'' if store / plain <= BAR else ' MISS'}",
            ]
        took = [min(f["seconds"] for f in found[side]) for side in ("store", "plain")]
        record(Measurement(what, took[0] / took[1], "× plain pyarrow", BAR))
        peak = [f"{max(f['peak_mb'] for f in found[side]):.0f}" for side in ("plain", "store")]
        print(f"| {' | '.join([what, *cells, *peak])} |", flush=True)
    size = {n: sum(p.stat().st_size for p in folder.glob(g)) / 1e6
            for n, g in (("plain", "plain.parquet"), ("store", "store/*/*"))}  # fmt: skip
    print(f"\non disk: plain {size['plain']:.0f} MB, store {size['store']:.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=266_227)
    parser.add_argument("--dim", type=int, default=864)
    parser.add_argument("--parts", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=None, help="where there is room; emptied by you")
    parser.add_argument("--child", nargs=2, default=None, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(*args.child, args.folder, args.rows, args.dim)
        return
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        print(f"{args.rows:,} × {args.dim} float32 ({4e-6 * args.rows * args.dim:.0f} MB), "
              f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}\n")  # fmt: skip
        compare(args, folder)
        going_on = measure("store", "go on", args, folder)
        print(f"a run that goes on opens the store in {going_on['seconds']:.1f} s and keeps what it needs to know of every "
              f"row in at most {going_on['peak_mb']:.0f} MB")  # fmt: skip
        many_parts(folder, args.parts, args.dim)
        listing = min(measure("store", "list 1,000 parts", args, folder)["seconds"] for _ in range(3))
        merging = measure("store", "merge 1,000 parts", args, folder)
        left = len(list(folder.glob("many/*/part-*")))
        record(Measurement(f"list a store of {args.parts:,} parts", listing, "s", 1.0))
        print(f"list a store of {args.parts:,} parts: {listing:.2f} s ({'hit' if listing < 1 else 'MISS'}: under 1 s); "
              f"its parts merged at close: {left} left, {merging['seconds']:.1f} s, {merging['peak_mb']:.0f} MB")  # fmt: skip


if __name__ == "__main__":
    main()
