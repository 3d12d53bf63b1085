"""Load published weights strictly and safely: tensors only, everything verified before anything is copied.

Layouts understood: `.pth` of FlexiCT-2D and -3D ("teacher" holds `backbone.*` and pretraining heads), `.pth`
of FlexiCT-3D-VLM ("model" holds `vision_model.*`, the text tower and the projection), and flat `.safetensors`
or `.pth` files with one of these prefixes or none.
"""

from __future__ import annotations

import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from flexict_core.encoders.checkpoint_source import file_sha256, resolve_checkpoint
from flexict_core.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = [
    "LoadedWeights",
    "check_weights",
    "file_sha256",
    "load_weights",
    "network_config",
    "read_weights",
    "resolve_checkpoint",
]

_WRAPPERS = ("teacher", "model")
NETWORK_PREFIXES = ("", "backbone.", "vision_model.")
TEXT_PREFIXES = ("text_model.backbone.", "text_model.model.", "text_model.")
# Parts of the published files that a network may do without: pretraining heads and the parts of the VLM.
_OPTIONAL = ("dino_head.", "ibot_head.", "text_model.", "vlm_vision_projection.", "logit_scale")
_OPTIONAL_TO_TEXT = ("vision_model.", "vlm_vision_projection.", "logit_scale")


@dataclass(frozen=True)
class LoadedWeights:
    """What `load_weights` did: the file, its keys' prefix, tensors copied, known parts not needed."""

    path: Path
    prefix: str
    tensors: int
    dropped: tuple[str, ...]


def load_weights(
    module: nn.Module, path: str | os.PathLike[str], *, prefixes: Sequence[str] = NETWORK_PREFIXES
) -> LoadedWeights:
    """Copy the weights in `path` (.safetensors, .pth) into `module`; strict, safe, all or nothing.

    Every parameter and persistent buffer of the module must be in the file with its shape, and the file may
    hold nothing else but the known parts that the module does without. Values of another floating type are
    taken only where the conversion is exact. A module on the meta device gets its memory (CPU) here, after
    all checks. Of `prefixes` of the file's names the one that fits best is taken. Raises CheckpointError, with
    the module untouched, when the file is missing, truncated, not finite, made for another network, or a
    pickle of anything but tensors (which is not executed).
    """
    import torch

    path = Path(path)
    found = _select(read_weights(path), module.state_dict().keys(), prefixes)
    _verify(found, module.state_dict(), path, values=True)
    if any(tensor.is_meta for tensor in module.state_dict().values()):
        module.to_empty(device="cpu")
    with torch.no_grad():
        for name, target in module.state_dict().items():
            target.copy_(found.state[name])
    return LoadedWeights(path, found.prefix, len(found.state), found.dropped)


def check_weights(module: nn.Module, path: str | os.PathLike[str]) -> None:
    """The checks of `load_weights` on names, shapes and types, without copying; the module may be on meta."""
    _verify(
        _select(read_weights(path), module.state_dict().keys()), module.state_dict(), Path(path), values=False
    )


def read_weights(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Name → tensor on the CPU, memory-mapped where the format allows it; outer "teacher" or "model" removed.

    Only tensors are ever constructed. Raises CheckpointError.
    """
    import torch

    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"checkpoint {str(path)!r} does not exist: give a .safetensors or .pth file")
    content: Any = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    if isinstance(content, Mapping):
        content = next((content[w] for w in _WRAPPERS if isinstance(content.get(w), Mapping)), content)
    if not isinstance(content, Mapping) or not content:
        raise CheckpointError(f"{path}: holds no named weights: give the published checkpoint")
    odd = [str(name) for name, value in content.items() if not isinstance(value, torch.Tensor)]
    if odd:
        raise CheckpointError(
            f"{path}: entries that are no tensors ({_some(odd)}): give the published checkpoint"
        )
    for wrapper in _WRAPPERS:
        if all(str(name).startswith(f"{wrapper}.") for name in content):
            return {str(name).removeprefix(f"{wrapper}."): value for name, value in content.items()}
    return {str(name): value for name, value in content.items()}


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path}: truncated or no safetensors file ({_line(error)}): fetch it again"
        ) from error


def _read_pickle(path: Path) -> object:
    """torch.load restricted to tensors and plain containers; the pickle's own calls are never executed."""
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a TorchScript archive warns before it is refused
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        code = re.search(r"GLOBAL `?([\w.]+)", str(error))
        why = (
            f"it asks for code ({code[1]})"
            if code
            else "truncated, or a pickle of something else than tensors"
        )
        raise CheckpointError(
            f"{path}: refused without running it: {why}; get the published file or a .safetensors"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, LookupError, AttributeError, TypeError) as error:
        raise CheckpointError(
            f"{path}: truncated or no checkpoint ({_line(error)}): fetch it again"
        ) from error


class _Selection(NamedTuple):
    """A file's tensors under the module's names, what does not belong there, and known parts not needed."""

    state: dict[str, Tensor]
    prefix: str
    left_over: tuple[str, ...]
    dropped: tuple[str, ...]


def _select(
    content: Mapping[str, Tensor], expected: Collection[str], prefixes: Sequence[str] = NETWORK_PREFIXES
) -> _Selection:
    def matches(prefix: str) -> int:
        return sum(prefix + name in content for name in expected)

    prefix = max(prefixes, key=matches)  # the first of equals: no prefix
    state = {name: content[prefix + name] for name in expected if prefix + name in content}
    others = [name for name in content if not (name.startswith(prefix) and name[len(prefix) :] in state)]
    optional = _OPTIONAL_TO_TEXT if prefix in TEXT_PREFIXES else _OPTIONAL
    return _Selection(
        state,
        prefix,
        left_over=tuple(name for name in others if not name.startswith(optional)),
        dropped=tuple(name for name in others if name.startswith(optional)),
    )


def _verify(found: _Selection, expected: Mapping[str, Tensor], path: Path, *, values: bool) -> None:
    """Raise CheckpointError unless names, shapes and types fit, and the values are finite where asked."""
    state = found.state
    shared = [name for name in expected if name in state]
    complaints: dict[str, Sequence[str]] = {
        "missing": [name for name in expected if name not in state],
        "left over": found.left_over,
        "of another shape": [
            f"{name} {list(state[name].shape)} for {list(expected[name].shape)}"
            for name in shared
            if state[name].shape != expected[name].shape
        ],
        "of another type": [
            f"{name} {state[name].dtype} for {expected[name].dtype}"
            for name in shared
            if not _type_fits(state[name], expected[name])
        ],
    }
    if values and not any(complaints.values()):
        complaints["with values that are not finite"] = [
            n for n in shared if not bool(state[n].isfinite().all())
        ]
    told = [f"{len(names)} {kind} ({_some(names)})" for kind, names in complaints.items() if names]
    if told:
        raise CheckpointError(f"{path}: not the weights of this network, nothing loaded: {'; '.join(told)}")


def _type_fits(have: Tensor, want: Tensor) -> bool:
    """Same type, or floating values that the wanted type holds exactly."""
    if have.dtype == want.dtype:
        return True
    if not (have.is_floating_point() and want.is_floating_point()):
        return False
    return bool((have.to(want.dtype).to(have.dtype) == have).all())


def network_config(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Arguments of FlexiCTBackbone for the weights in `path`, read off the shapes; CheckpointError if none fit.

    With "projection" (width of the VLM's image embedding) where the file holds one.
    """
    content = read_weights(path)
    prefix = max(
        NETWORK_PREFIXES, key=lambda p: sum(p + name in content for name in ("cls_token", "norm.weight"))
    )
    shape = {n[len(prefix) :]: tuple(t.shape) for n, t in content.items() if n.startswith(prefix)}
    try:
        width = shape["cls_token"][-1]
        # the head's width is only told by the rotary periods: a quarter of it in 2D, a sixth in 3D
        head_dim = 4 * shape["rope_embed_2D.periods"][0]
        if head_dim != 6 * shape["rope_embed_3D.periods"][0] or width % head_dim:
            raise CheckpointError(f"{path}: rotary periods of {head_dim} do not divide a width of {width}")
        config: dict[str, Any] = {
            "embed_dim": width,
            "depth": 1 + max(int(name.split(".")[1]) for name in shape if name.startswith("blocks.")),
            "num_heads": width // head_dim,
            "ffn_ratio": shape["blocks.0.mlp.fc1.weight"][0] / width,
            "patch_size": shape["patch_embed_2D.proj.weight"][-1],
            "in_chans": shape["patch_embed_2D.proj.weight"][1],
            "n_storage_tokens": shape["storage_tokens"][1],
            "qkv_bias": "blocks.0.attn.qkv.bias" in shape,
            "mask_k_bias": "blocks.0.attn.qkv.bias_mask" in shape,
        }
    except (LookupError, ValueError) as error:
        raise CheckpointError(
            f"{path}: not the weights of a FlexiCT network ({_line(error)} is missing); it holds "
            f"{len(content)} tensors: {_some(content)}"
        ) from error
    projection = content.get("vlm_vision_projection.weight")
    return config if projection is None else {**config, "projection": projection.shape[0]}


def _some(names: Iterable[str], most: int = 4) -> str:
    listed = list(names)
    return ", ".join(listed[:most]) + (f", … {len(listed) - most} more" if len(listed) > most else "")


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
