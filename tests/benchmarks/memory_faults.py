"""Runs whose worker finds no memory: it is told so, or the kernel kills it, in this machine's processes and in Ray's.

The kernel's part is real: the worker joins a control group with a fixed amount of memory, which counts whom it killed.
(The whole run in such a group would stand still before anybody is killed: its processes take turns to load their code.)
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flexict_core.encoders.baseline import BaselineEncoder
from tests.benchmarks.fault_cohort import ROOT, cohort, content, embed, reasons

CGROUPS = Path("/sys/fs/cgroup")
VARIABLE = "FLEXICT_CONTROL_GROUP"
MOST = 300 << 20  # bytes beyond what the worker has


class NotPermittedError(Exception):
    """This machine does not let us limit the memory of a group of processes."""


def swallow(at_once: int = 16 << 20, most: int = 8 << 30) -> None:
    """Take memory, and write to it, until there is none."""
    held = []
    while len(held) * at_once < most:
        held.append(np.ones(at_once, np.uint8))
    raise AssertionError(f"{most >> 30} GB were there: nothing limits this process")


class Bounded(BaselineEncoder):
    """The baseline, but for the volume of 12 HU, for which it wants more memory than the process may have."""

    def prepare(self, volume: Any, roi: Any = None) -> Any:
        if volume.array.max() != 12:
            return super().prepare(volume, roi)
        before = resource.getrlimit(resource.RLIMIT_AS)
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + (300 << 20), before[1]))
        try:
            return swallow()
        finally:
            resource.setrlimit(resource.RLIMIT_AS, before)


@dataclass(frozen=True)
class Group:
    """A control group: what joins it shares its limit of memory."""

    folder: Path
    unified: bool = False  # cgroup v2

    def limit(self, most: int) -> None:
        self.folder.mkdir()
        name = "memory.max" if self.unified else "memory.limit_in_bytes"
        (self.folder / name).write_text(str(most))

    def named(self) -> dict[str, str]:
        """An environment by which a process finds this group."""
        return {VARIABLE: str(self.folder)}

    def join(self) -> None:
        """This process from now on."""
        (self.folder / "cgroup.procs").write_text(str(os.getpid()))

    def kills(self) -> int:
        """How many of its processes the kernel has killed for memory."""
        told = (self.folder / ("memory.events" if self.unified else "memory.oom_control")).read_text()
        return int(dict(line.split() for line in told.splitlines())["oom_kill"])


@contextmanager
def limited_memory(most: int) -> Iterator[Group]:
    """A new control group of `most` bytes; NotPermittedError where none can be made."""
    mine = dict(line.split(":")[1:] for line in Path("/proc/self/cgroup").read_text().splitlines())
    unified = "memory" not in mine
    above = CGROUPS / mine.get("", "/")[1:] if unified else CGROUPS / "memory" / mine["memory"][1:]
    group = Group(above / f"flexict-{os.getpid()}", unified)
    try:
        group.limit(most)
    except OSError as error:
        with suppress(OSError):
            group.folder.rmdir()
        raise NotPermittedError(f"no control group can be made ({error.strerror})") from None
    try:
        yield group
    finally:
        for _ in range(100):  # the last process takes a moment to be gone
            with suppress(OSError):
                group.folder.rmdir()
                break
            time.sleep(0.1)


def no_memory_given(folder: Path) -> str:
    """A worker asks for more address space than it may have: its row alone is lost."""
    manifest = cohort(folder / "c", 6)
    report = embed(manifest, folder / "s", Bounded(), workers=1)
    assert (report.done, report.quarantined) == (5, 1), report
    why = reasons(folder / "s")["P02"]
    assert why.startswith("not enough memory to prepare this volume"), why
    return "5 of 6 embedded, the sixth in quarantine: " + why


def no_memory_left(folder: Path) -> str:
    """A worker takes more memory than there is and the kernel kills it: its row alone is lost."""
    return _killed(folder, "--workers", "2", says="the worker process died while preparing this row", kills=2)


def no_memory_left_in_ray(folder: Path) -> str:
    """The same in a worker of Ray's, where the row is tried three times."""
    return _killed(folder, "--engine", "ray", "--workers", "1", says="the worker died 3 times", kills=3)


def _killed(folder: Path, *how: str, says: str, kills: int) -> str:
    manifest, store = cohort(folder / "c", 6), folder / "s"
    command = [sys.executable, "-m", "app.cli", "embed", "--encoder", "greedy", "--manifest", str(manifest)]
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "FLEXICT_ENCODERS": "tests.benchmarks.greedy_encoder",
        "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    with limited_memory(MOST) as group:
        done = subprocess.run(
            [*command, "--store", str(store), "--quiet", *how],
            cwd=folder, env=environment | group.named(), capture_output=True, text=True, timeout=240,
        )  # fmt: skip
        struck = group.kills()
    assert done.returncode == 3, (done.returncode, done.stderr)
    assert struck == kills, f"the kernel killed {struck}, not {kills}: {done.stderr}"
    assert "Traceback" not in done.stderr, done.stderr
    why = reasons(store)
    assert list(why) == ["P02"], why
    assert says in why["P02"], why
    assert content(store)[0]["patient_id"].tolist() == ["P00", "P01", "P03", "P04", "P05"]
    return f"killed {struck} × by the kernel at {MOST >> 20} MB; 5 of 6 embedded, the sixth in quarantine"
