"""What breaks an embedding run beside blows to the process: no memory, no end, no room, a file that changes."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from flexict_core.encoders.baseline import BaselineEncoder
from tests.benchmarks.fault_cohort import ROOT, cohort, content, embed, reasons, save
from tests.benchmarks.memory_faults import no_memory_given, no_memory_left, no_memory_left_in_ray


class Hanging(BaselineEncoder):
    """Comes to no end with one volume, and is deaf to SIGTERM meanwhile, as code deep in a decoder is."""

    def prepare(self, volume: Any, roi: Any = None) -> Any:
        if volume.array.max() == 12:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(3600)
        return super().prepare(volume, roi)


def changing_encoder(path: Path) -> Any:
    """A baseline encoder during whose work another program writes to one file."""

    class Changing(BaselineEncoder):
        def prepare(self, volume: Any, roi: Any = None) -> Any:
            prepared = super().prepare(volume, roi)
            if volume.array.max() == 12:
                save(path, np.asarray(nib.load(path).dataobj) + 1)
                os.utime(path)
            return prepared

    return Changing()


def hanging_decoder(folder: Path) -> str:
    """A volume whose reading never ends costs its row and the time limit; the rest is embedded."""
    manifest = cohort(folder / "c", 6)
    report = embed(manifest, folder / "s", Hanging(), workers=2, timeout_s=10)
    assert (report.done, report.quarantined) == (5, 1), report
    assert "took more than 10 s" in reasons(folder / "s")["P02"], reasons(folder / "s")
    return f"5 of 6 embedded, the sixth in quarantine, {report.seconds:.0f} s with a limit of 10 s"


def changing_file(folder: Path) -> str:
    """A file that is written to while it is read is not stored; a change between two runs is named with its hashes."""
    manifest = cohort(folder / "c", 6)
    image = folder / "c/p2.nii.gz"
    report = embed(manifest, folder / "s", changing_encoder(image))
    assert (report.done, report.quarantined) == (5, 1), report
    assert reasons(folder / "s")["P02"].startswith("p2.nii.gz changed while it was read"), reasons(
        folder / "s"
    )
    report = embed(manifest, folder / "s")
    assert (report.done, report.skipped, report.quarantined) == (1, 5, 0), report
    save(image, np.asarray(nib.load(image).dataobj) + 5)
    report = embed(manifest, folder / "s")
    assert (report.done, report.skipped) == (1, 5), report
    assert report.changed[0].startswith("P02 (p2.nii.gz, sha256 "), report.changed
    return "kept out at once; named on the next run: " + report.changed[0]


def full_disk(folder: Path) -> str:
    """Writing fails (no file may grow beyond 6 KB): status 2, one line; the rows of before are still there."""
    rows = 30
    manifest = cohort(folder / "c", rows)
    lines = manifest.read_text().splitlines()
    manifest.write_text("\n".join(lines[:4]) + "\n")
    embed(manifest, folder / "s")
    before = content(folder / "s")
    manifest.write_text("\n".join(lines) + "\n")
    command = [sys.executable, "-m", "app.cli", "embed", "--manifest", str(manifest)]
    command += ["--store", str(folder / "s"), "--workers", "0", "--quiet"]

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (6144, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))

    run = subprocess.run(command, cwd=ROOT, preexec_fn=limit, capture_output=True, text=True)
    assert run.returncode == 2, (run.returncode, run.stderr)
    assert len(run.stderr.splitlines()) == 1, run.stderr
    assert "cannot be written" in run.stderr, run.stderr
    assert not list(folder.glob("s/*/.tmp-*"))
    after = content(folder / "s")
    assert after[0].equals(before[0])
    assert after[1] == before[1]
    report = embed(manifest, folder / "s")
    assert (report.done, report.skipped, report.quarantined) == (rows - 8, 3, 5), report
    return run.stderr.strip().replace(str(folder), "…")


OTHERS: dict[str, Callable[[Path], str]] = {
    "a decoder that hangs": hanging_decoder,
    "a worker to which no memory is given": no_memory_given,
    "a worker that the kernel kills for memory": no_memory_left,
    "a worker of Ray's that it kills": no_memory_left_in_ray,
    "a file that changes": changing_file,
    "a disk that is full": full_disk,
}
