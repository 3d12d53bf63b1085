"""Start the dashboard: hand over what to show, check the port, become the Streamlit process."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from app.console import Console
from flexict_core.errors import InputError

PAGE = Path(__file__).with_name("streamlit_app.py")
LOCAL_ADDRESS = "127.0.0.1"
DEFAULT_PORT = 8501
# glibc keeps an arena for each of the threads that Streamlit runs pages in, and raises the size from which on memory
# is given back at once: both keep what a page needed for a moment, above all voxels, resident for good.
_MEMORY = {
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": str(1 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(8 << 20),
}
_SETTINGS = {  # said here too, for Streamlit reads .streamlit/config.toml only when started from the project
    "server.headless": "true",
    "server.fileWatcherType": "none",
    "server.maxUploadSize": "256",
    "browser.gatherUsageStats": "false",
    "client.toolbarMode": "minimal",
    "client.showErrorDetails": "none",
    "client.disableDataExport": "true",  # pages offer CSV themselves, with formulas escaped
    "theme.light.primaryColor": "#0072B2",
    "theme.dark.primaryColor": "#1F6FAE",
    "logger.hideWelcomeMessage": "true",
}


def page_variables(
    store: Path,
    clinical: Path,
    *,
    id_column: str,
    results: Path | None = None,
    stage: str | None = None,
    order: str | None = None,
    id_replace: Sequence[str] = (),
) -> dict[str, str]:
    """The environment variables that tell the pages what to show."""
    values = {
        "STORE": str(store.resolve()),
        "CLINICAL": str(clinical.resolve()),
        "ID": id_column,
        "RESULTS": str(results.resolve()) if results else None,
        "STAGE": stage,
        "ORDER": order,
        "ID_REPLACE": "\n".join(id_replace) or None,
    }
    return {f"FLEXICT_APP_{name}": value for name, value in values.items() if value is not None}


def streamlit_command(*, address: str, port: int) -> list[str]:
    """The call that serves the pages on `address`:`port`."""
    settings = {**_SETTINGS, "server.address": address, "server.port": str(port)}
    options = [word for name, value in settings.items() for word in (f"--{name}", value)]
    return [sys.executable, "-m", "app.server_process", "run", str(PAGE), *options]


def check_port(port: int, *, address: str = LOCAL_ADDRESS) -> None:
    """InputError when nobody can listen there: the port is taken or the address is not this machine's."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                remedy = (
                    f"stop it, or choose another port, e.g. --port {port + 1 if port < 65535 else port - 1}"
                )
                raise InputError(f"port {port} on {address} is taken by another program: {remedy}") from None
            raise InputError(
                f"cannot listen on {address}:{port} ({error.strerror}): check --address"
            ) from None


def serve(variables: Mapping[str, str], *, address: str, port: int, console: Console) -> int:
    """Serve until Ctrl-C. On POSIX this process becomes Streamlit, so signals reach it and memory is returned."""
    check_port(port, address=address)
    if address not in (LOCAL_ADDRESS, "localhost", "::1"):
        console.note(f"{address} lets others on the network open these data without a password")
    url = f"http://{f'[{address}]' if ':' in address else address}:{port}"
    console.say(f"dashboard: {url} (Ctrl-C stops it)")
    console.show_json({"url": url})
    command = streamlit_command(address=address, port=port)
    environment = {**_MEMORY, **os.environ, **variables}
    sys.stdout.flush()
    sys.stderr.flush()
    if os.name == "posix":
        os.execve(command[0], command, environment)
    return subprocess.call(command, env=environment)
