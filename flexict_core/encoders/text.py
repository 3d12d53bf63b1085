"""The text side of FlexiCT-3D-VLM: words → the space that its images share.

The tower is the Qwen3 model of `transformers` (optional extra `text`) with the weights of the FlexiCT
checkpoint. What the checkpoint does not hold, the tokenizer and the tower's configuration, comes from a folder
in the layout of Qwen/Qwen3-Embedding-0.6B: the one given, FLEXICT_TEXT_MODEL, the checkpoint's own folder, or
the local hub cache, in this order; hf:OWNER/REPO[@revision] is fetched only where it is asked for. Files are
read as data: no code of a repository is ever run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flexict_core.encoders.checkpoint_source import file_sha256, hub_folder
from flexict_core.errors import CheckpointError, EncoderError, InputError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from flexict_core.encoders.flexict import VolumeEncoder

TEXT_VARIABLE = "FLEXICT_TEXT_MODEL"
TEXT_REPOSITORY = "hf:Qwen/Qwen3-Embedding-0.6B"
MAX_TOKENS = 8192
_FILES = ["config.json", "tokenizer*.json", "vocab.json", "merges.txt", "special_tokens_map.json"]
_AT_ONCE = 16  # texts in one forward pass


def resolve_text_model(explicit: str | os.PathLike[str] | None, checkpoint: Path) -> Path:
    """The folder with config.json and tokenizer.json; CheckpointError says where it may come from."""
    named = explicit if explicit is not None else os.environ.get(TEXT_VARIABLE, "").strip() or None
    origin = "text model" if explicit is not None else TEXT_VARIABLE
    if named is not None:
        reference = os.fspath(named)
        if reference.startswith("hf:"):
            return _complete(hub_folder(reference, _FILES), reference)
        return _complete(Path(reference).expanduser(), f"{origin} {reference!r}")
    if _lacks(checkpoint.parent) == []:
        return checkpoint.parent
    try:
        return _complete(hub_folder(TEXT_REPOSITORY, _FILES, fetch=False), TEXT_REPOSITORY)
    except CheckpointError:
        raise CheckpointError(
            f"words need the tokenizer of {TEXT_REPOSITORY.removeprefix('hf:')}, which is not in the local cache: "
            f"set {TEXT_VARIABLE}={TEXT_REPOSITORY} to fetch it, or to a folder with its config.json and "
            "tokenizer.json"
        ) from None


def _lacks(folder: Path) -> list[str]:
    return [name for name in ("config.json", "tokenizer.json") if not (folder / name).is_file()]


def _complete(folder: Path, origin: str) -> Path:
    if not folder.is_dir():
        raise CheckpointError(f"{origin} is no folder: give one with config.json and tokenizer.json")
    missing = _lacks(folder)
    if missing:
        raise CheckpointError(
            f"{origin}: {' and '.join(missing)} missing: give the files of {TEXT_REPOSITORY.removeprefix('hf:')}"
        )
    return folder


@dataclass
class TextTower:
    """Tokenizer and text model of one checkpoint; both load on first use.

    checkpoint: the VLM's weights file. folder: config.json and tokenizer.json. width: of the shared space.
    """

    checkpoint: Path
    folder: Path
    width: int
    device: str = "cpu"
    _model: nn.Module | None = None
    _tokenizer: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_model": None, "_tokenizer": None}

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Texts → [n, E] float32 of length 1; longer ones are cut at `MAX_TOKENS` tokens."""
        import numpy as np
        import torch

        self.load()
        out = np.empty((len(texts), self.width), np.float32)
        by_length = sorted(range(len(texts)), key=lambda i: len(texts[i]))  # little padding in a batch
        with torch.inference_mode():
            for start in range(0, len(texts), _AT_ONCE):
                rows = by_length[start : start + _AT_ONCE]
                out[rows] = self._forward(self.tokenize([texts[i] for i in rows])).cpu().numpy()
        return out

    def tokenize(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """input_ids and attention_mask [n, L], padded on the left, the end token last."""
        if isinstance(texts, str) or not texts or not all(isinstance(t, str) and t.strip() for t in texts):
            raise InputError(f"texts {texts!r}: give a list of at least one text, none of them empty")
        self.load()
        batch = self._tokenizer(
            list(texts), padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
        )
        return {name: batch[name] for name in ("input_ids", "attention_mask")}

    def _forward(self, batch: dict[str, Tensor]) -> Tensor:
        from torch.nn.functional import normalize

        assert self._model is not None  # load has set it
        states = self._model(**{name: t.to(self.device) for name, t in batch.items()}).last_hidden_state
        return normalize(
            states[:, -1].float(), dim=-1
        )  # [n, E]; the last token, since padding is on the left

    def load(self) -> TextTower:
        """Read tokenizer and weights now; EncoderError without `transformers`, CheckpointError for misfits."""
        if self._model is None:
            require_transformers()
            config = _configuration(self.folder, self.width)
            self._tokenizer = _tokenizer(self.folder)
            self._model = _text_model(self.checkpoint, config).to(self.device)
        return self

    def sha256(self) -> dict[str, str]:
        """Hashes of the files that decide the tokens."""
        return {name: file_sha256(self.folder / name) for name in ("config.json", "tokenizer.json")}


def words_for(
    spec: Mapping[str, Any],
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    text_model: str | os.PathLike[str] | None = None,
    device: str = "auto",
) -> VolumeEncoder:
    """The encoder whose `encode_text` and `logit_scale` belong to an embedding of the store, given its spec.

    Raises EncoderError for an embedding that no words can be placed beside, CheckpointError where the weights
    at hand are not those that it was made with.
    """
    from flexict_core.encoders.flexict import VolumeEncoder
    from flexict_core.encoders.registry import load_encoder

    name, pooling = str(spec.get("encoder", "")), spec.get("pooling")
    if name != "flexict-3d-vlm" or pooling != "vlm":
        told = f"encoder {name!r}" if name != "flexict-3d-vlm" else f"pooling {pooling!r} of {name}"
        raise EncoderError(
            f"{told} has no text tower: embed with --encoder flexict-3d-vlm --pooling vlm to use words"
        )
    require_transformers()
    encoder = load_encoder(name, checkpoint=checkpoint, pooling="vlm", device=device, text_model=text_model)
    found = encoder.spec()["checkpoint_sha256"]
    if found != spec.get("checkpoint_sha256"):
        raise CheckpointError(
            f"the embedding was made with weights {str(spec.get('checkpoint_sha256'))[:12]}…, those at hand are "
            f"{str(found)[:12]}…: pass the same --checkpoint"
        )
    if not isinstance(encoder, VolumeEncoder):  # another encoder was registered under this name
        raise EncoderError(f"encoder {name!r} has no text tower")
    return encoder


def require_transformers() -> None:
    from importlib.util import find_spec

    if find_spec("transformers") is None:
        raise EncoderError(
            "words need the package transformers, which is not installed: pip install 'flexict-atlas[text]'"
        )


def _tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(
            folder, padding_side="left", local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # the library's many ways to say that the files are not a tokenizer
        reason = " ".join(str(error).split())[:120]
        raise CheckpointError(
            f"{folder / 'tokenizer.json'}: no tokenizer can be read ({type(error).__name__}: {reason}): "
            "fetch it again"
        ) from error


def _configuration(folder: Path, width: int) -> Any:
    """The Qwen3Config that config.json describes; CheckpointError where it is another model's."""
    from transformers import Qwen3Config

    path = folder / "config.json"
    try:
        settings = json.loads(path.read_text("utf-8"))
        kind, size = settings.get("model_type"), settings.get("hidden_size")
    except (ValueError, AttributeError) as error:
        raise CheckpointError(f"{path}: no configuration ({error}): fetch it again") from None
    if kind != "qwen3" or size != width:
        raise CheckpointError(
            f"{path}: describes {kind!r} of width {size}, this checkpoint needs 'qwen3' of width {width}: "
            f"give the files of {TEXT_REPOSITORY.removeprefix('hf:')}"
        )
    try:
        return Qwen3Config.from_dict({**settings, "use_cache": False, "dtype": "float32"})
    except Exception as error:  # the library's checks of single settings
        reason = " ".join(str(error).split())[:160]
        raise CheckpointError(f"{path}: no configuration of Qwen3 ({reason}): fetch it again") from error


def _text_model(checkpoint: Path, config: Any) -> nn.Module:
    """Qwen3 with the checkpoint's weights; strict and all or nothing."""
    import torch
    from transformers import Qwen3Model

    from flexict_core.encoders.checkpoint import TEXT_PREFIXES, load_weights

    with torch.device("meta"):
        model = Qwen3Model(config)
    load_weights(model, checkpoint, prefixes=TEXT_PREFIXES)
    model.rotary_emb = type(model.rotary_emb)(config)  # its tables are no weights, so the file has none
    return model.requires_grad_(False).eval()
