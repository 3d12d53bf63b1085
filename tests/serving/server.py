"""`flexict app` on a free port, started as a user starts it."""

from __future__ import annotations

import argparse
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PATIENCE_S = 60


def cohort_parser(description: str | None, *, stage: bool = True) -> argparse.ArgumentParser:
    """Arguments of a benchmark of the dashboard: the cohort to serve, with `stage` its stage and order too."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--clinical", type=Path, required=True)
    for name in ("--id", *(("--stage", "--order") if stage else ())):
        parser.add_argument(name, required=True)
    return parser


@dataclass(frozen=True)
class Server:
    """Where it answers, and its process."""

    url: str
    pid: int

    def memory_mb(self) -> float:
        """Resident memory (Linux)."""
        return self._status("VmRSS") / 1024

    def peak_memory_mb(self) -> float:
        """The most that it ever had resident (Linux)."""
        return self._status("VmHWM") / 1024

    def threads(self) -> int:
        """How many threads it has (Linux)."""
        return self._status("Threads")

    def _status(self, field: str) -> int:
        for line in Path(f"/proc/{self.pid}/status").read_text("utf-8").splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1])
        raise RuntimeError(f"process {self.pid} tells no {field}")


@contextmanager
def served(
    store: Path, clinical: Path, *, environment: Mapping[str, str] | None = None, **options: Any
) -> Iterator[Server]:
    """`flexict app` with these options (`id="patient_id"` unless told), stopped at the end."""
    import os

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "app.cli",
        "app",
        "--store",
        store,
        "--clinical",
        clinical,
        "--port",
        port,
    ]
    for name, value in {"id": "patient_id", **options}.items():
        command += [f"--{name}", value]
    with subprocess.Popen(
        [str(c) for c in command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **(environment or {})},
    ) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_for(url, process)
            yield Server(url, process.pid)
        finally:
            process.terminate()


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(_PATIENCE_S * 10):
        try:
            urllib.request.urlopen(f"{url}/_stcore/health", timeout=1).close()
            return
        except OSError:
            if process.poll() is not None:
                raise RuntimeError("the server ended before it answered") from None
            time.sleep(0.1)
    raise RuntimeError(f"the server did not answer within {_PATIENCE_S} s")
