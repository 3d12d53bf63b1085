"""Search and map at the size of FlexiCT's pretraining set, each as a ratio within one run.

    python -m tests.benchmarks.search_speed [--n 266227] [--d 864] [--queries 50] [--batch 1000]
    python -m tests.benchmarks.search_speed --map [--n 266227]        # UMAP of n × 64; some ten minutes

Search: the index of `analysis.large_search` against numpy's float32 product and argpartition on the same rows and
threads: time a query (median), recall of the ten nearest, memory; many queries in one call against one by one.
Map: `analysis.project`, graph included, against umap-learn's own default fit.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from analysis import project
from analysis.large_search import LargeIndex

K = 10


def clustered(n: int, d: int, rng: np.random.Generator) -> np.ndarray:
    """Unit rows in 200 groups, float32: nearer to embeddings than a formless cloud is."""
    centres = rng.standard_normal((200, d), dtype=np.float32)
    X = np.empty((n, d), dtype=np.float32)
    for start in range(0, n, 20_000):
        rows = X[start : start + 20_000]
        rng.standard_normal(out=rows, dtype=np.float32)
        rows += centres[rng.integers(0, 200, len(rows))]
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return X


def median_seconds(run: Callable[[np.ndarray], object], queries: np.ndarray) -> float:
    times = []
    for query in queries:
        start = time.perf_counter()
        run(query)
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def search(n: int, d: int, *, queries: int, batch: int, threads: int | None) -> None:
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        X = clustered(n, d, rng)
        np.save(Path(folder) / "vectors.npy", X)
        asked = X[rng.integers(0, n, max(queries, batch))] + 0.3 * rng.standard_normal(
            (max(queries, batch), d), dtype=np.float32
        ) / np.sqrt(d)
        asked /= np.linalg.norm(asked, axis=1, keepdims=True)
        start = time.perf_counter()
        index = LargeIndex(np.load(Path(folder) / "vectors.npy", mmap_mode="r"), threads=threads)
        built = time.perf_counter() - start

        def numpy_nearest(query: np.ndarray) -> np.ndarray:
            score = X @ query
            return np.argpartition(-score, K)[:K]

        few = asked[:queries]
        ours = [index.search(q, K)[0][0] for q in few]
        truth = [numpy_nearest(q) for q in few]
        recall = np.mean([len(np.intersect1d(a, b)) / K for a, b in zip(ours, truth, strict=True)])
        # in turns, so that a busy machine is busy for both
        naive = median_seconds(numpy_nearest, few)
        fast = median_seconds(lambda q: index.search(q, K), few)
        naive = min(naive, median_seconds(numpy_nearest, few))
        fast = min(fast, median_seconds(lambda q: index.search(q, K), few))
        start = time.perf_counter()
        together = index.search(asked[:batch], K)[0]
        whole = (time.perf_counter() - start) / batch
        assert all(np.array_equal(a, b) for a, b in zip(together, ours, strict=False))
    print(f"{n} × {d}, {index._threads} threads, index built in {built:.1f} s")
    print(
        f"numpy float32 {1e3 * naive:.1f} ms, index {1e3 * fast:.1f} ms a query: {naive / fast:.2f}× (at least 2)"
    )
    print(
        f"recall of {K} against numpy {recall:.4f} (at least 0.999); memory {index.nbytes / X.nbytes:.2f}× (at most 0.6)"
    )
    print(
        f"{batch} queries in one call {1e3 * whole:.2f} ms each: {fast / whole:.2f}× one by one (at least 4)"
    )


def umap_ratio(n: int) -> None:
    import umap

    X = clustered(n, 64, np.random.default_rng(0))
    project(X[:2000], other_seeds=0)  # numba compiles
    start = time.perf_counter()
    drawn = project(X, other_seeds=0, progress=True)
    ours = time.perf_counter() - start
    print(f"UMAP of {n} × 64: {ours:.0f} s, {drawn.parameters['graph']}", flush=True)
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        umap.UMAP(metric="cosine").fit(X)
    theirs = time.perf_counter() - start
    print(
        f"UMAP of {n} × 64: {ours:.0f} s, umap-learn's default fit {theirs:.0f} s: {ours / theirs:.2f}× (at most 1.5)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, value in (("n", 266_227), ("d", 864), ("queries", 50), ("batch", 1000)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--threads", type=int, help="of the index; set OMP_NUM_THREADS for numpy alike")
    parser.add_argument("--map", action="store_true")
    args = parser.parse_args()
    if args.map:
        umap_ratio(args.n)
    else:
        search(args.n, args.d, queries=args.queries, batch=args.batch, threads=args.threads)


if __name__ == "__main__":
    main()
