"""One 160³ volume through the full-size FlexiCT-3D network: plain torch float32 against the faster ways, in one run.

    python -m tests.benchmarks.encoder_speed [--rounds 2] [--side 160] [--depth 16]

Random weights whose blocks count (LayerScale 1). Every way is a process of its own, which is asked for one
embedding at a time, in turn, so that all of them meet the same load of the machine; the best of the rounds counts. Other programs on
the machine make these seconds worthless: "cpu s" is the processor time of the same forward pass over all threads,
which they touch little, and seconds far above cpu s / cores say that there were some.
Peak memory is the process's high-water mark, network and libraries included. "start" is what the first embedding
took longer than the best: loading, compiling.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from tests.benchmarks.measurements import Measurement, record

WAYS = {  # name → (FLEXICT_OPENVINO, precision, patch size)
    "plain torch fp32": ("0", "fp32", 8),
    "fp32": ("1", "fp32", 8),
    "bf16": ("1", "bf16", 8),
    "bf16, torch only": ("0", "bf16", 8),
    "preview fp32": ("1", "fp32", 16),
    "preview bf16": ("1", "bf16", 16),
}
PLAIN = "plain torch fp32"
BARS = {"fp32": (1.8, 0.99999), "bf16": (2.5, 0.9995)}  # at least this ratio, at least this cosine
GOAL = 3.5


def volume(side: int) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(0)
    smooth = (
        gaussian_filter(rng.standard_normal((side,) * 3), 4) * 40 + rng.standard_normal((side,) * 3) * 0.3
    )
    return ((smooth - smooth.mean()) / smooth.std()).astype(np.float32)[None]


def serve(way: str, side: int, depth: int) -> None:
    """The child: one line in, one embedding and its seconds out."""
    import resource

    from flexict_core.encoders.flexict import VolumeEncoder
    from flexict_core.encoders.weights import RandomWeights
    from flexict_core.preprocess import Recipe

    _, precision, patch = WAYS[way]
    config = {"embed_dim": 864, "depth": depth, "num_heads": 12, "patch_size": 8, "layerscale_init": 1.0}
    encoder = VolumeEncoder(
        "flexict-3d",
        RandomWeights(config),
        recipe=Recipe("benchmark", "whole", size=side),
        patch_size=patch,
        device="cpu",
        precision=precision,
    )
    x = volume(side)
    for _ in sys.stdin:
        start, cpu = time.perf_counter(), time.process_time()
        vector = encoder.encode([x])[0]
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            json.dumps({"seconds": seconds, "cpu": cpu, "peak_mb": peak, "vector": vector.tolist()}),
            flush=True,
        )


def start(way: str, args: argparse.Namespace) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.benchmarks.encoder_speed", "--serve", way]
    command += ["--side", str(args.side), "--depth", str(args.depth)]
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "FLEXICT_OPENVINO": WAYS[way][0]},
        cwd=Path(__file__).resolve().parents[2],
    )


def ask(child: subprocess.Popen[str]) -> dict:
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write("go\n")
    child.stdin.flush()
    return json.loads(child.stdout.readline())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, value in (("rounds", 2), ("side", 160), ("depth", 16)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), metavar="WAY")
    parser.add_argument("--serve", choices=WAYS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(args.serve, args.side, args.depth)
        return
    ways = list(dict.fromkeys([PLAIN, *args.ways]))
    children = {way: start(way, args) for way in ways}
    answers: dict[str, list[dict]] = {way: [] for way in ways}
    print(
        f"{args.side}³, {args.depth} blocks, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        flush=True,
    )
    for number in range(args.rounds):
        for way, child in children.items():
            answers[way].append(ask(child))
            print(
                f"  round {number + 1}: {way} {answers[way][-1]['seconds']:.2f} s, "
                f"cpu {answers[way][-1]['cpu']:.2f} s, load {os.getloadavg()[0]:.1f}",
                file=sys.stderr,
                flush=True,
            )
    for child in children.values():
        child.communicate()
    report(answers)


def report(answers: dict[str, list[dict]]) -> None:
    plain = answers[PLAIN]
    reference, base = np.array(plain[0]["vector"]), min(a["seconds"] for a in plain)
    base_cpu = min(a["cpu"] for a in plain)
    print(
        f"{'way':<18}{'seconds':>9}{'ratio':>8}{'cpu s':>8}{'ratio':>8}{'1 - cosine':>12}{'peak MB':>9}{'start s':>9}"
    )
    for way, given in answers.items():
        seconds = min(a["seconds"] for a in given)
        vector = np.array(given[0]["vector"])
        apart = 1 - float(reference @ vector / np.linalg.norm(reference) / np.linalg.norm(vector))
        peak = max(a["peak_mb"] for a in given)
        cpu = min(a["cpu"] for a in given)
        begun = given[0]["seconds"] - seconds
        print(
            f"{way:<18}{seconds:>9.2f}{base / seconds:>8.2f}{cpu:>8.2f}{base_cpu / cpu:>8.2f}{apart:>12.1e}{peak:>9.0f}{begun:>9.1f}"
        )
        if way in BARS:
            ratio, cosine = BARS[way]
            record(
                Measurement(way, base / seconds, "× as fast as plain torch", ratio, "higher"),
                Measurement(f"{way}, cosine to plain torch", 1 - apart, "", cosine, "higher"),
            )
            told = [
                ("ratio", base / seconds >= ratio, f"at least {ratio}"),
                ("cosine", 1 - apart >= cosine, f"at least {cosine}"),
                ("memory", peak <= max(a["peak_mb"] for a in plain), "at most the plain forward's"),
            ]
            print("    " + "; ".join(f"{n} {'hit' if ok else 'MISS'} ({bar})" for n, ok, bar in told))
            if way == "bf16":
                print(f"    goal of {GOAL}: {'hit' if base / seconds >= GOAL else 'not reached'}")


if __name__ == "__main__":
    main()
