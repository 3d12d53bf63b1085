"""Where a checkpoint comes from: a path, an environment variable or the Hugging Face hub. No code is run."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from functools import cache
from pathlib import Path

from flexict_core.errors import CheckpointError

WEIGHTS_LICENCE = "CC BY-NC-ND 4.0"
HUB_REPOSITORIES = {
    "flexict-2d": "ricklisz123/FlexiCT-2D",
    "flexict-3d": "ricklisz123/FlexiCT-3D",
    "flexict-3d-vlm": "ricklisz123/FlexiCT-3D-VLM",
}
_LOG = logging.getLogger("flexict_core")
_VARIABLES = {
    "flexict-2d": ("FLEXICT_CHECKPOINT", "FLEXICT_2D_CHECKPOINT"),
    "flexict-3d": ("FLEXICT_CHECKPOINT", "FLEXICT_3D_CHECKPOINT"),
    "flexict-3d-vlm": ("FLEXICT_CHECKPOINT", "FLEXICT_VLM_CHECKPOINT"),
}
_SUFFIXES = (".safetensors", ".pth", ".pt")
_HUB = re.compile(r"hf:(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")


@cache
def tell_licence() -> None:
    """One line on stderr (the logger `flexict_core`) before FlexiCT weights are first used in a process."""
    _LOG.warning(
        "FlexiCT weights are licensed %s: name the authors, no commercial use, pass on neither the weights nor "
        "changed ones",
        WEIGHTS_LICENCE,
    )


def environment_checkpoint(name: str) -> tuple[str, str] | None:
    """(variable, value) that names the checkpoint of encoder `name`; the general variable goes first."""
    found = ((variable, os.environ.get(variable, "").strip()) for variable in _VARIABLES[name])
    return next((pair for pair in found if pair[1]), None)


def how_to_get(name: str) -> str:
    """One sentence: how to come by the weights of encoder `name`, and their licence."""
    return (
        f"pass --checkpoint PATH or --checkpoint hf:{HUB_REPOSITORIES[name]}, or set {_VARIABLES[name][1]} "
        f"(weights: {WEIGHTS_LICENCE}, non-commercial, not part of this project)"
    )


def weights_status(name: str) -> tuple[str, bool]:
    """Where the environment says the weights of encoder `name` are, or how to get them; and whether they are here.

    Looks at files and at the local hub cache only.
    """
    named = environment_checkpoint(name)
    if named is None:
        return how_to_get(name), False
    variable, value = named
    try:
        path = (
            _from_hub(value, fetch=False) if value.startswith("hf:") else _weights_file(Path(value), variable)
        )
    except CheckpointError as error:
        if value.startswith("hf:") and _HUB.fullmatch(value):
            return f"{value} ({variable}), fetched when first used", False
        return f"{error}; or {how_to_get(name)}", False
    return f"{path} ({variable})", True


def resolve_checkpoint(name: str, explicit: str | os.PathLike[str] | None = None) -> Path:
    """The local file with the weights of encoder `name`.

    explicit: a file, a folder that holds one weights file, or hf:OWNER/REPO[@revision]; wins over
    FLEXICT_CHECKPOINT, which wins over FLEXICT_2D_, FLEXICT_3D_ and FLEXICT_VLM_CHECKPOINT (same forms).
    Nothing is fetched unless an hf: reference asks for it. Raises CheckpointError with the remedy.
    """
    if explicit is not None:
        reference, origin = os.fspath(explicit), "checkpoint"
    else:
        found = environment_checkpoint(name)
        if found is None:
            raise CheckpointError(f"{name} needs its weights: {how_to_get(name)}")
        origin, reference = found
    if reference.startswith("hf:"):
        return _from_hub(reference)
    return _weights_file(Path(reference), origin)


def _weights_file(path: Path, origin: str) -> Path:
    path = path.expanduser()
    if path.is_file():
        return path
    if not path.is_dir():
        raise CheckpointError(
            f"{origin} {str(path)!r} does not exist: give a .safetensors or .pth file, or hf:OWNER/REPO"
        )
    for suffix in _SUFFIXES:
        files = sorted(path.glob(f"*{suffix}"))
        if len(files) == 1:
            return files[0]
        if files:
            raise CheckpointError(
                f"{origin} {str(path)!r} holds {len(files)} {suffix} files: name the one to load"
            )
    raise CheckpointError(
        f"{origin} {str(path)!r} holds no {' or '.join(_SUFFIXES)} file: name the weights file"
    )


def _from_hub(reference: str, *, fetch: bool = True) -> Path:
    # .pth only where there is no .safetensors, so that not both are fetched; patterns match no code
    for patterns in (["*.safetensors"], ["*.pth", "*.pt"]):
        folder = hub_folder(reference, patterns, fetch=fetch)
        if any(path.suffix in _SUFFIXES for path in folder.glob("*")):
            return _weights_file(folder, reference)
    raise CheckpointError(f"checkpoint {reference!r} holds no .safetensors or .pth file: pass a local file")


def hub_folder(reference: str, patterns: list[str], *, fetch: bool = True) -> Path:
    """Local folder with the files of hf:OWNER/REPO[@revision] that match; from the cache alone unless `fetch`.

    Raises CheckpointError, one line, where it is neither cached nor to be had.
    """
    match = _HUB.fullmatch(reference)
    if match is None:
        raise CheckpointError(
            f"checkpoint {reference!r} is not of the form hf:OWNER/REPO or hf:OWNER/REPO@REVISION"
        )
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read when the library loads
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(
                match["repo"],
                revision=match["revision"],
                allow_patterns=patterns,
                local_files_only=not fetch,
            )
        )
    except Exception as error:  # the client's many network errors: each becomes the same one line
        reason = (str(error).strip().splitlines() or [""])[0][:160]
        raise CheckpointError(
            f"checkpoint {reference!r} cannot be fetched and is not in the local cache "
            f"({type(error).__name__}: {reason}): check the network and the name, or pass a local file"
        ) from error


def file_sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
