"""Does anything wait? Embedding 16 volumes of 512 × 512 × 300 against the processor time of its stages run alone.

    python -m tests.benchmarks.embed_overlap [--volumes 16] [--slices 300] [--precision fp32]

FlexiCT-3D at full size with random weights, patch 16, recipe `default`. First each stage runs alone on two of the
volumes (hash, decode, preprocess, encode) and its processor time is taken; then `embed_manifest` runs on all of
them with its own choice of workers. The bar: wall time at most 1.15 × (total processor time / cores).
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from tests.benchmarks.measurements import Measurement, record

BAR = 1.15
CONFIG = {"embed_dim": 864, "depth": 16, "num_heads": 12, "patch_size": 8, "layerscale_init": 1.0}


def write_volumes(folder: Path, count: int, slices: int) -> Path:
    """CT-like files: a body of noisy soft tissue in noisy air, so that they compress as CT does."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:512, :512]
    body = ((x - 256) / 200) ** 2 + ((y - 256) / 150) ** 2 <= 1
    plane = np.where(body, 40, -1000)
    lungs = (((np.abs(x - 256) - 85) / 60) ** 2 + ((y - 250) / 90) ** 2) <= 1
    plane[lungs] = -850
    noise = rng.normal(0, 18, (32, 512, 512))
    array = np.stack([plane + noise[z % 32] * np.where(body, 1, 0.4) for z in range(slices)]).astype(np.int16)
    lines = ["patient_id,image"]
    affine = np.diag([-0.75, -0.75, 1.25, 1.0])
    for i in range(count):
        nib.save(nib.Nifti1Image((array + i).transpose(2, 1, 0), affine), folder / f"{i}.nii.gz")
        lines.append(f"P{i},{i}.nii.gz")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder / "manifest.csv"


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def cost(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """Result, processor seconds (of all threads), wall seconds."""
    cpu, wall = cpu_seconds(), time.perf_counter()
    result = work()
    return result, cpu_seconds() - cpu, time.perf_counter() - wall


def new_encoder(precision: str) -> Any:
    from flexict_core.encoders.flexict import VolumeEncoder
    from flexict_core.encoders.weights import RandomWeights
    from flexict_core.preprocess import RECIPES

    return VolumeEncoder(
        "flexict-3d",
        RandomWeights(dict(CONFIG)),
        recipe=RECIPES["default"],
        patch_size=16,
        device="cpu",
        precision=precision,
    )


def stages_alone(folder: Path, precision: str) -> dict[str, float]:
    """Processor seconds of each stage for one volume, the smaller of two; and of what a run does once."""
    from flexict_core.encoders.checkpoint_source import file_sha256
    from flexict_core.io import load_volume

    encoder = new_encoder(precision)
    nothing = [np.zeros((1, 160, 160, 160), np.float32)]
    _, loading, _ = cost(encoder.load)
    _, first, _ = cost(lambda: encoder.encode(nothing))
    _, second, _ = cost(lambda: encoder.encode(nothing))
    once = {"load weights (once)": loading, "kernel and compilation (once)": first - second}
    print("  " + ", ".join(f"{name} {seconds:.2f}" for name, seconds in once.items()))
    found: list[dict[str, float]] = []
    for i in (0, 1):
        path = folder / f"{i}.nii.gz"
        _, hashing, _ = cost(lambda path=path: file_sha256(path))
        volume, decoding, _ = cost(lambda path=path: load_volume(path))
        array, preparing, _ = cost(lambda volume=volume: encoder.prepare(volume, None))
        _, encoding, wall = cost(lambda array=array: encoder.encode([array]))
        found.append({"hash": hashing, "decode": decoding, "preprocess": preparing, "encode": encoding})
        print(
            f"  {path.name}: "
            + ", ".join(f"{n} {s:.2f}" for n, s in found[-1].items())
            + f" (encode wall {wall:.2f})"
        )
    return {name: min(f[name] for f in found) for name in found[0]} | once


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--volumes", type=int, default=16)
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--precision", default="fp32")
    args = parser.parse_args()
    from flexict_core.embed import embed_manifest

    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest = write_volumes(folder, args.volumes, args.slices)
        size = sum(p.stat().st_size for p in folder.glob("*.nii.gz")) / args.volumes / 2**20
        print(f"{args.volumes} volumes of 512 × 512 × {args.slices}, {size:.0f} MB each, {cores} cores, "
              f"load {os.getloadavg()[0]:.1f}; processor seconds of the stages alone:")  # fmt: skip
        alone = stages_alone(folder, args.precision)
        each = sum(s for stage, s in alone.items() if "once" not in stage)
        total = each * args.volumes + sum(s for stage, s in alone.items() if "once" in stage)
        bound = total / cores
        encoder = new_encoder(args.precision)
        own, start = cpu_seconds(), time.perf_counter()
        report = embed_manifest(manifest, folder / "store", encoder=encoder, progress=False)
        wall = time.perf_counter() - start
        workers = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = cpu_seconds() - own + workers.ru_utime + workers.ru_stime
        assert report.done == args.volumes
        print(f"sum of the stages {total:.1f} s / {cores} cores = {bound:.1f} s; wall {wall:.1f} s; ratio {wall / bound:.2f} "
              f"({'hit' if wall <= BAR * bound else 'MISS'}: at most {BAR}); load now {os.getloadavg()[0]:.1f}")  # fmt: skip
        record(Measurement("wall time", wall / bound, "× its stages", BAR))
        print(f"the run itself used {used:.1f} processor seconds, {used / wall:.2f} of {cores} cores; "
              f"peak of a worker process {workers.ru_maxrss / 1024:.0f} MB")  # fmt: skip


if __name__ == "__main__":
    main()
