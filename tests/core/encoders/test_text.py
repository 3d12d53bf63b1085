"""Words against the original implementation's token ids, embeddings and similarities; where they come from."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from flexict_core.encoders.flexict import VolumeEncoder
from flexict_core.encoders.registry import load_encoder
from flexict_core.encoders.text import TextTower, resolve_text_model
from flexict_core.encoders.vit import FlexiCTBackbone
from flexict_core.errors import CheckpointError, EncoderError, InputError


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FLEXICT_TEXT_MODEL", "FLEXICT_CHECKPOINT", "FLEXICT_VLM_CHECKPOINT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def reference(shared: Path) -> Path:
    return shared / "reference/flexict"


@pytest.fixture
def vlm(reference: Path) -> VolumeEncoder:
    encoder = load_encoder(
        "flexict-3d-vlm",
        checkpoint=reference / "tiny_vlm.pth",
        text_model=reference / "tiny_qwen3",
        device="cpu",
    )
    assert isinstance(encoder, VolumeEncoder)
    return encoder


def golden(reference: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    told = json.loads((reference / "tiny_vlm_golden.json").read_text())
    values = load_file(reference / "tiny_vlm_golden.safetensors")
    return told, {name: tensor.numpy() for name, tensor in values.items()}


@pytest.mark.shared_data
def test_tokens_texts_and_similarity_equal_the_original(vlm: VolumeEncoder, reference: Path) -> None:
    told, values = golden(reference)
    batch = vlm.text_tower().tokenize(told["prompts"])
    assert batch["input_ids"].tolist() == told["input_ids"]
    assert batch["attention_mask"].tolist() == told["attention_mask"]
    texts = vlm.encode_text(told["prompts"])
    assert texts.dtype == np.float32
    np.testing.assert_allclose(texts, values["text_embedding"], atol=1e-4)
    assert vlm.logit_scale() == pytest.approx(float(values["logit_scale_exp"][0]), rel=1e-6)
    images = vlm.encode(list(values["input"]))
    similarity = vlm.logit_scale() * images @ texts.T
    np.testing.assert_allclose(similarity, values["similarity"], atol=1e-4)


@pytest.mark.shared_data
def test_a_text_means_the_same_alone_and_among_longer_ones(vlm: VolumeEncoder, reference: Path) -> None:
    told, values = golden(reference)
    many = [f"{text} {'long ' * (i % 7)}" for i, text in enumerate(told["prompts"] * 12)]
    many[20] = told["prompts"][1]
    np.testing.assert_allclose(vlm.encode_text(many)[20], values["text_embedding"][1], atol=1e-5)
    long = vlm.text_tower().tokenize(["mass " * 20_000])
    assert long["input_ids"].shape == (1, 8192)
    assert int(long["input_ids"][0, -1]) == told["input_ids"][0][-1]  # cut, and still ended


@pytest.mark.shared_data
def test_a_tower_travels_without_its_weights(vlm: VolumeEncoder) -> None:
    before = vlm.encode_text(["a nodule"])
    assert len(pickle.dumps(vlm)) < 10_000
    twin = pickle.loads(pickle.dumps(vlm))  # noqa: S301 - our own bytes
    np.testing.assert_array_equal(twin.encode_text(["a nodule"]), before)


@pytest.mark.shared_data
@pytest.mark.parametrize("texts", [[], [""], ["a", "  "], "a mass", [3]])
def test_texts_that_are_none_are_refused(vlm: VolumeEncoder, texts: Any) -> None:
    with pytest.raises(InputError, match="none of them empty"):
        vlm.text_tower().tokenize(texts)


# ── where tokenizer and configuration come from ─────────────────────────────────────────────────────────


@pytest.mark.shared_data
def test_explicit_goes_before_variable_before_checkpoint_folder_before_cache(
    reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def files(folder: Path) -> Path:
        return Path(shutil.copytree(reference / "tiny_qwen3", folder))

    given, named, beside = (files(tmp_path / name) for name in ("given", "named", "beside"))
    checkpoint = beside / "w.pth"
    monkeypatch.setenv("FLEXICT_TEXT_MODEL", str(named))
    assert resolve_text_model(given, checkpoint) == given
    assert resolve_text_model(None, checkpoint) == named
    monkeypatch.delenv("FLEXICT_TEXT_MODEL")
    assert resolve_text_model(None, checkpoint) == beside


def test_the_hub_s_cache_serves_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match="set FLEXICT_TEXT_MODEL=hf:Qwen/Qwen3-Embedding"):
        resolve_text_model(None, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="'hf:nobody/nothing' cannot be fetched"):
        resolve_text_model("hf:nobody/nothing", tmp_path / "w.pth")
    commit = "0123456789abcdef0123456789abcdef01234567"
    folder = tmp_path / "models--Qwen--Qwen3-Embedding-0.6B"
    snapshot = folder / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs/main").write_text(commit)
    for name in ("config.json", "tokenizer.json", "modeling_evil.py"):
        (snapshot / name).write_text("{}")
    assert resolve_text_model(None, tmp_path / "w.pth") == snapshot


def test_a_folder_that_lacks_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"tokenizer\.json missing"):
        resolve_text_model(tmp_path, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="is no folder"):
        resolve_text_model(tmp_path / "gone", tmp_path / "w.pth")


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("file", "change", "told"),
    [
        ("config.json", {"model_type": "llama"}, "describes 'llama' of width 32"),
        ("config.json", {"hidden_size": 64}, "describes 'qwen3' of width 64"),
        ("config.json", {"num_hidden_layers": 3}, "must be equal to the num"),
        (
            "config.json",
            {"num_hidden_layers": 3, "layer_types": ["full_attention"] * 3},
            r"11 missing \(layers\.2",
        ),
        (
            "config.json",
            {"num_hidden_layers": 1, "layer_types": ["full_attention"]},
            r"11 left over \(text_model\.backbone\.layers\.1",
        ),
        ("config.json", {"intermediate_size": 48}, "6 of another shape"),
        ("tokenizer.json", {"model": {"type": "Nonsense"}}, "no tokenizer can be read"),
    ],
)
def test_files_that_do_not_fit_are_told_in_one_line(
    reference: Path, tmp_path: Path, file: str, change: dict[str, Any], told: str
) -> None:
    for path in (reference / "tiny_qwen3").glob("*.json"):
        (tmp_path / path.name).write_text(path.read_text())
    content = json.loads((tmp_path / file).read_text())
    (tmp_path / file).write_text(json.dumps({**content, **change}))
    with pytest.raises(CheckpointError, match=told) as caught:
        TextTower(reference / "tiny_vlm.pth", tmp_path, 32).load()
    assert "\n" not in str(caught.value)


@pytest.mark.shared_data
def test_code_beside_the_tokenizer_is_never_run(reference: Path, tmp_path: Path) -> None:
    for path in (reference / "tiny_qwen3").glob("*.json"):
        (tmp_path / path.name).write_text(path.read_text())
    evil = f"open({str(tmp_path / 'trace')!r}, 'w').close()\nclass Tokenizer: ...\n"
    (tmp_path / "evil.py").write_text(evil)
    for name in ("config.json", "tokenizer_config.json"):
        content = json.loads((tmp_path / name).read_text())
        remote = {"AutoTokenizer": [None, "evil.Tokenizer"], "AutoModel": "evil.Tokenizer"}
        (tmp_path / name).write_text(json.dumps({**content, "auto_map": remote}))
    tower = TextTower(reference / "tiny_vlm.pth", tmp_path, 32)
    told, values = golden(reference)
    np.testing.assert_allclose(tower.encode(told["prompts"]), values["text_embedding"], atol=1e-4)
    assert not (tmp_path / "trace").exists()


# ── encoders without words ──────────────────────────────────────────────────────────────────────────────


def test_an_encoder_without_a_text_tower_says_so(
    small_network: Callable[..., FlexiCTBackbone], tmp_path: Path
) -> None:
    torch.save(small_network().state_dict(), tmp_path / "w.pth")
    for name, options in (("random-3d", {}), ("flexict-3d", {"checkpoint": tmp_path / "w.pth"})):
        encoder = load_encoder(name, device="cpu", **options)  # type: ignore[arg-type]
        assert isinstance(encoder, VolumeEncoder)
        for ask in (lambda e=encoder: e.encode_text(["a mass"]), encoder.logit_scale):
            with pytest.raises(EncoderError, match=f"'{name}' has no text tower: use flexict-3d-vlm"):
                ask()


def test_without_transformers_the_remedy_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EncoderError, match=r"pip install 'flexict-atlas\[text\]'"):
        TextTower(tmp_path / "w.pth", tmp_path, 32).load()
