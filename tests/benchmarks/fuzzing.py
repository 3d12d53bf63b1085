"""Ten thousand damaged inputs for every parser of outside input, with the process held to a fixed amount of memory.

    python -m tests.benchmarks.fuzzing [--examples 10000] [--only NAME]

Prints one line a parser: inputs, what came out that was not a declared error in one line (must be nothing), seconds.
The suite runs the same with 500 and a fixed seed.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings

from tests.benchmarks.measurements import Measurement, record
from tests.fuzzing.targets import Target, damaged, targets

MEMORY = 6 << 30  # bytes of address space for the whole process, libraries included


def fuzz(target: Target, examples: int) -> Counter[str]:
    found: Counter[str] = Counter()

    @settings(
        max_examples=examples, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(data=damaged(target.sound))
    def once(data: bytes) -> None:
        try:
            target.survives(data)
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            found[f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}"] += 1

    once()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--examples", type=int, default=10_000)
    parser.add_argument("--only", help="the parser of this name")
    args = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with tempfile.TemporaryDirectory() as home:
        for name, target in targets(Path(home)).items():
            if args.only not in (None, name):
                continue
            start = time.perf_counter()
            found = fuzz(target, args.examples)
            said = "; ".join(f"{n} × {what}" for what, n in found.most_common()) or "nothing"
            record(Measurement(f"{name}: undeclared", found.total(), f"of {args.examples:,}", 0))
            print(
                f"{name:<18} {args.examples} inputs: {said} ({time.perf_counter() - start:.0f} s)", flush=True
            )


if __name__ == "__main__":
    main()
