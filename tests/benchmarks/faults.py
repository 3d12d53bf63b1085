"""What breaks `flexict embed`, done to it on purpose, and the store compared with that of a run nobody disturbed.

    python -m tests.benchmarks.faults [--kills 100] [--part-kills 20] [--interrupts 10] [--seed 0]

A cohort of 40 small volumes, five of them unusable, is embedded by the command itself, which here writes a part after
every batch and works slowly, so that there is something to strike. SIGKILL comes at random moments of the work (one
in ten while the program starts), or exactly inside the writing of a part: half written, before and after the fsync,
after the rename, between the removals of a merge. After each blow the store must be readable, hold no key twice and
no vector that is not the reference's. The same command then goes on; where it gets to its end, rows, vectors and
quarantine must be those of the undisturbed run, byte for byte, and no temporary file may be left.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flexict_core.encoders.baseline import BaselineEncoder
from tests.benchmarks.fault_cohort import ROOT, ROWS, check_ended, check_struck, cohort
from tests.benchmarks.measurements import Measurement, record
from tests.benchmarks.memory_faults import NotPermittedError
from tests.benchmarks.other_faults import OTHERS

SLOW_S = 0.03
STAGES = ("half", "written", "synced", "renamed", "removing")


def child(manifest: str, store: str, workers: str, stage: str, count: str) -> int:
    """`flexict embed`, a part after every batch, slow; and SIGKILL from within where a stage is named."""
    import flexict_core.embed_run as embed_run
    from app.cli import main

    encode = BaselineEncoder.encode

    def slow(self: Any, batch: Any) -> Any:
        time.sleep(SLOW_S * len(batch))
        return encode(self, batch)

    BaselineEncoder.encode = slow  # type: ignore[method-assign]
    embed_run.FLUSH_S = 0.0
    if stage != "-":
        _arm(stage, int(count))
    print("begun", flush=True)
    call = ["embed", "--manifest", manifest, "--store", store, "--workers", workers, "--batch-size", "2"]
    return main([*call, "--quiet"])


def _arm(stage: str, count: int) -> None:
    """SIGKILL this process at the `count`-th time it comes to a stage of writing a part."""
    import pyarrow.parquet as pq

    left = [count]

    def strike() -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    write, sync, replace, unlink = pq.write_table, os.fsync, Path.replace, Path.unlink

    def writing(table: Any, where: Any, **more: Any) -> None:
        write(table, where, **more)
        if "embedding" in table.schema.names and stage in ("half", "written"):
            if stage == "half" and left[0] == 1:
                os.truncate(where, random.randrange(os.path.getsize(where)))
            strike()

    def syncing(descriptor: int) -> None:
        sync(descriptor)
        if stage == "synced":
            strike()

    def replacing(self: Path, target: Any) -> Path:
        result = replace(self, target)
        if stage == "renamed" and Path(target).name.startswith("part-"):
            strike()
        return result

    def unlinking(self: Path, **more: Any) -> None:
        unlink(self, **more)
        if stage == "removing" and self.name.startswith("part-"):
            strike()

    pq.write_table, os.fsync = writing, syncing
    Path.replace, Path.unlink = replacing, unlinking  # type: ignore[assignment, method-assign]


@dataclass
class Strikes:
    """One cohort, its reference, and what was done so far. `folder` must be empty."""

    folder: Path
    seed: int = 0
    rows: int = ROWS
    ended: int = 0
    tally: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.pick = random.Random(self.seed)
        self.manifest = cohort(self.folder / "cohort", self.rows)
        self.reference, self.store = self.folder / "reference", self.folder / "struck"
        process = self.start(self.reference, 0)
        begun = time.monotonic()
        _, said = process.communicate()
        assert process.returncode == 3, f"the undisturbed run must end with rows in quarantine: {said}"
        self.work_s = time.monotonic() - begun

    def start(
        self, store: Path, workers: int, stage: str = "-", count: int = 0, *, early: bool = False
    ) -> subprocess.Popen[str]:
        """The command, once it has loaded its libraries (`early`: at once)."""
        given = [str(self.manifest), str(store), str(workers), stage, str(count)]
        command = [sys.executable, "-m", "tests.benchmarks.faults", "--child", *given]
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        if not early:
            process.stdout.readline()
        return process

    def kill_at_random(self) -> None:
        """SIGKILL from outside, at a moment of the work or (one in ten) of the start."""
        workers = self.pick.choice((0, 0, 2))
        early = self.pick.random() < 0.1
        process = self.start(self.store, workers, early=early)
        time.sleep(self.pick.uniform(0, 0.5 if early else self.work_s))
        self.settle(process, "SIGKILL at a random moment", signal.SIGKILL)

    def kill_in_part(self, stage: str) -> None:
        """SIGKILL from within the writing of a part."""
        process = self.start(self.store, 0, stage, self.pick.randint(1, 6))
        process.wait()
        self.settle(process, f"SIGKILL in a part: {stage}", None)

    def interrupt(self, blow: signal.Signals) -> None:
        """Ctrl-C or a scheduler's SIGTERM: status 130, nothing half written, and one line."""
        process = self.start(self.store, 0)
        time.sleep(self.pick.uniform(0, 0.7 * self.work_s))
        self.settle(process, f"{blow.name}: status 130", blow)

    def settle(self, process: subprocess.Popen[str], what: str, blow: signal.Signals | None) -> None:
        """Deliver the blow, look at what it left, and begin a new store where the run had come to its end."""
        if blow is not None:
            process.send_signal(blow)
        _, said = process.communicate()
        if process.returncode == 3 or "rows in quarantine: " in said:  # it was done before the blow
            self.tally["came too late"] += 1
            check_ended(self.store, self.reference)
            self.renew()
            return
        if blow is signal.SIGTERM and process.returncode == -blow:
            assert not said, said  # the command was not at work yet, and had nothing to write
            what = "SIGTERM before the work began"
        elif blow in (signal.SIGINT, signal.SIGTERM):
            # CPython dies of SIGINT itself, a shell's 130 too, where the blow fell into an `exec` (a lazy import).
            assert process.returncode in (130, -signal.SIGINT), f"status {process.returncode}: {said}"
            assert len(said.splitlines()) == 1, said
            assert "goes on where it stopped" in said, said
            assert not list(self.store.glob("*/.tmp-*")), "a temporary file is left"
        else:
            assert process.returncode == -signal.SIGKILL, f"status {process.returncode}: {said}"
        self.tally[what] += 1
        check_struck(self.store, self.reference)

    def finish(self) -> None:
        """Run to the end what was struck last, and compare."""
        process = self.start(self.store, self.pick.choice((0, 2)))
        _, said = process.communicate()
        assert process.returncode == 3, said
        check_ended(self.store, self.reference)
        self.renew()

    def renew(self) -> None:
        self.ended += 1
        shutil.rmtree(self.store)

    def strike_until(self, what: str, number: int, blow: Callable[[], None]) -> None:
        """Blows until `number` of them have struck; runs to the end in between, now and then."""
        while self.struck(what) < number:
            blow()
            if self.store.exists() and self.pick.random() < 0.2:
                self.finish()
        if self.store.exists():
            self.finish()

    def struck(self, what: str) -> int:
        return sum(n for name, n in self.tally.items() if name.startswith(what))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--part-kills", type=int, default=20)
    parser.add_argument("--interrupts", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", nargs=5, default=None, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        sys.exit(child(*args.child))
    start = time.monotonic()
    # a shell's background jobs are deaf to Ctrl-C, and so would be the runs that are to hear it
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as name:
        strikes = Strikes(Path(name) / "strikes", args.seed)
        pick = strikes.pick
        phases: list[tuple[str, int, Callable[[], None]]] = [
            ("SIGKILL at a random", args.kills, strikes.kill_at_random),
            ("SIGKILL in a part", args.part_kills, lambda: strikes.kill_in_part(pick.choice(STAGES))),
            ("SIGINT", args.interrupts, lambda: strikes.interrupt(signal.SIGINT)),
            ("SIGTERM", args.interrupts, lambda: strikes.interrupt(signal.SIGTERM)),
        ]
        print("| what | times | outcome |\n|---|---|---|")
        for phase, number, blow in phases:
            strikes.strike_until(phase, number, blow)
            for what in sorted(w for w in strikes.tally if w.startswith(phase)):
                record(Measurement(what, strikes.tally[what], "times, nothing lost, doubled or left"))
                print(f"| {what} | {strikes.tally[what]} | store readable, no key twice, every vector the reference's |",
                      flush=True)  # fmt: skip
        print(f"| runs to their end in between | {strikes.ended} ({strikes.tally['came too late']} before the blow) | rows, "
              "vectors, quarantine equal to the undisturbed run's, nothing stray |")  # fmt: skip
        for i, (what, do) in enumerate(OTHERS.items()):
            (Path(name) / str(i)).mkdir()
            try:
                said = do(Path(name) / str(i))
            except NotPermittedError as why:
                said = f"not tried: {why}"
            else:
                record(Measurement(what, 1, "time, as it should be"))
            print(f"| {what} | 1 | {said} |", flush=True)
    print(f"\n{time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
