"""A Ray cluster to work on: joined or started, its GPUs counted, its libraries compared with those here."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from flexict_core.errors import EncoderError, FlexictError, InputError

_ANSWERS_S = 5.0
_LAST_PORT = 65_535
_DECISIVE = (
    "flexict-atlas", "numpy", "scipy", "torch", "scikit-image", "SimpleITK", "nibabel", "isal", "pydicom", "highdicom",
    "python-gdcm", "pylibjpeg", "pylibjpeg-openjpeg", "openvino",
)  # fmt: skip


@contextmanager
def connected(address: str | None, workers: int | None) -> Iterator[Any]:
    """Ray, joined to the cluster at `address` or started on this machine; what was started is shut down."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # before Ray loads
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what matters comes back as an exception
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
        import ray.data
    except ImportError:
        raise InputError(
            "Ray is not installed: pip install 'flexict-atlas[ray]', or use --engine local"
        ) from None
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.max_errored_blocks = -1  # they are asked for again
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    mine = not ray.is_initialized()
    if mine:
        if address is not None:
            _check_address(address)
        quiet: dict[str, Any] = {"logging_level": logging.CRITICAL, "log_to_driver": False}
        try:
            if address is None:
                cpus = None if workers is None else workers + 1  # one for the encoder
                ray.init(
                    address="local",
                    include_dashboard=False,
                    num_cpus=cpus,
                    _node_ip_address="127.0.0.1",  # nobody else's business
                    **quiet,
                )
            else:
                ray.init(address=address, **quiet)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise _not_joined(address or "on this machine", error) from None
    try:
        yield ray
    finally:
        if mine:
            ray.shutdown()


def _check_address(address: str) -> None:
    """Ray itself would try for minutes, and write of it, before it says that nobody answers."""
    if address in ("auto", "local"):
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit() or int(port) > _LAST_PORT:
        raise InputError(
            f"--ray-address {address!r} is neither auto nor HOST:PORT: give for example HOST:6379"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWERS_S).close()
    except OSError as error:
        raise _not_joined(address, error.strerror or error) from None


def _not_joined(address: str, why: object) -> InputError:
    return InputError(
        f"Ray cluster {address!r} cannot be joined ({' '.join(str(why).split())}): check the address and that "
        "`ray status` answers"
    )


@cache
def versions() -> dict[str, str]:
    """Of whatever decides the numbers of a row; all machines of a cluster need the same."""
    found = {}
    for name in _DECISIVE:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def other_versions(theirs: Mapping[str, str]) -> FlexictError | None:
    """What to say where this machine has other libraries than the one that gives the command, whose are `theirs`."""
    here = versions()
    differ = [
        f"{name} {here.get(name, 'not at all')} instead of {theirs.get(name, 'none')}"
        for name in _DECISIVE
        if here.get(name) != theirs.get(name)
    ]
    if not differ:
        return None
    return FlexictError(
        f"machine {socket.gethostname()!r} of the Ray cluster has {', '.join(differ)}: install the same versions on "
        "all (requirements.txt), so that their rows are the same"
    )


def gpus_of(ray: Any, wanted: bool | None) -> int:
    """GPUs to put encoders on: all the cluster has, none where not wanted; EncoderError where there must be one."""
    there = int(ray.cluster_resources().get("GPU", 0))
    if wanted and not there:
        raise EncoderError(
            "--device cuda: the Ray cluster has no GPU: use --device cpu, or add a node that has one"
        )
    return 0 if wanted is False else there
