"""Names become encoders; what cannot be had is told in one line with the remedy."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flexict_core.encoders.base import Encoder
from flexict_core.encoders.registry import EncoderInfo, available, load_encoder
from flexict_core.encoders.vit import FlexiCTBackbone
from flexict_core.errors import CheckpointError, EncoderError, FlexictError

NAMES = ["baseline", "flexict-2d", "flexict-3d", "flexict-3d-vlm", "random-3d"]


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for middle in ("", "2D_", "3D_", "VLM_"):
        monkeypatch.delenv(f"FLEXICT_{middle}CHECKPOINT", raising=False)


@pytest.fixture
def checkpoint(small_network: Callable[..., FlexiCTBackbone], tmp_path: Path) -> Path:
    import torch

    state = {f"backbone.{name}": tensor for name, tensor in small_network().state_dict().items()}
    torch.save({"teacher": state}, tmp_path / "small.pth")
    return tmp_path / "small.pth"


def refusal(kind: type[FlexictError], name: str, **options: Any) -> str:
    with pytest.raises(kind) as caught:
        load_encoder(name, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def by_name() -> dict[str, EncoderInfo]:
    return {info.name: info for info in available()}


def test_listing_says_what_there_is_without_torch() -> None:
    code = (
        "import sys; from flexict_core.encoders.registry import available; available(); "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    assert list(by_name()) == NAMES


def test_listing_agrees_with_the_encoders(checkpoint: Path) -> None:
    for name in ("baseline", "random-3d"):
        info, encoder = by_name()[name], load_encoder(name, device="cpu")
        assert isinstance(encoder, Encoder)
        assert (info.dim, info.recipe, info.licence) == (encoder.dim, encoder.recipe.name, encoder.licence)
        assert encoder.pooling in info.poolings
        assert info.weights_found is None
    for name in ("flexict-2d", "flexict-3d"):
        info, encoder = by_name()[name], load_encoder(name, checkpoint=checkpoint, device="cpu")
        assert (info.recipe, info.licence) == (encoder.recipe.name, encoder.licence)
        assert info.dim == encoder.dim * 864 // 48  # the checkpoint here is 48 wide, the published one 864
        for pooling in info.poolings:
            assert load_encoder(name, checkpoint=checkpoint, pooling=pooling, device="cpu").pooling == pooling


def test_listing_tells_where_weights_are_or_how_to_get_them(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = by_name()["flexict-3d"]
    assert info.weights_found is False
    assert "hf:ricklisz123/FlexiCT-3D" in info.weights
    assert info.licence == "CC BY-NC-ND 4.0"
    monkeypatch.setenv("FLEXICT_3D_CHECKPOINT", str(checkpoint))
    assert by_name()["flexict-3d"].weights_found is True
    assert str(checkpoint) in by_name()["flexict-3d"].weights
    assert by_name()["flexict-2d"].weights_found is False
    monkeypatch.setenv("FLEXICT_3D_CHECKPOINT", "/nowhere/w.pth")
    info = by_name()["flexict-3d"]
    assert info.weights_found is False
    assert "FLEXICT_3D_CHECKPOINT '/nowhere/w.pth' does not exist" in info.weights
    assert "hf:ricklisz123/FlexiCT-3D" in info.weights


def test_an_encoder_comes_as_asked(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEXICT_CHECKPOINT", str(checkpoint))
    encoder = load_encoder(
        "flexict-3d", recipe="roi_adaptive", pooling="cls", patch_size=16, device="cpu", precision="bf16"
    )
    spec = encoder.spec()
    assert (encoder.name, encoder.recipe.name) == ("flexict-3d", "roi_adaptive")
    assert (encoder.pooling, encoder.dim) == ("cls", 48)
    assert (spec["patch_size"], spec["precision"]) == ([16, 16, 16], "bf16")
    assert load_encoder("flexict-2d", device="cpu").recipe.name == "slice_2d"


def test_the_control_is_named_as_one() -> None:
    info = by_name()["random-3d"]
    assert "NEGATIVE CONTROL" in info.description
    assert "random" in info.name
    assert "random" in info.licence
    assert load_encoder("random-3d", device="cpu").spec()["negative_control"] is True


@pytest.mark.parametrize("name", ["flexict-2d", "flexict-3d", "flexict-3d-vlm"])
def test_missing_weights_are_told_with_the_remedy(name: str) -> None:
    told = refusal(CheckpointError, name)
    assert name in told
    assert "hf:ricklisz123/FlexiCT-" in told
    assert "CC BY-NC-ND 4.0" in told


def test_what_cannot_be_had_is_told(checkpoint: Path) -> None:
    assert "choose one of baseline, flexict-2d" in refusal(EncoderError, "flexict-4d")
    assert "recipe 'zoom' is not known" in refusal(EncoderError, "random-3d", recipe="zoom")
    assert "cannot take recipe 'default'" in refusal(
        EncoderError, "flexict-2d", checkpoint=checkpoint, recipe="default"
    )
    assert "leave the checkpoint out" in refusal(EncoderError, "random-3d", checkpoint=checkpoint)
    assert "has no pooling 'vlm'" in refusal(EncoderError, "flexict-3d", checkpoint=checkpoint, pooling="vlm")
    refused = {
        "checkpoint": checkpoint,
        "recipe": "default",
        "pooling": "cls",
        "patch_size": 8,
        "precision": "bf16",
    }
    for option, value in refused.items():
        assert f"takes no {option}" in refusal(EncoderError, "baseline", **{option: value})


def test_weights_without_a_projection_are_no_vlm(checkpoint: Path) -> None:
    told = refusal(CheckpointError, "flexict-3d-vlm", checkpoint=checkpoint)
    assert "vlm_vision_projection.weight" in told
    assert "use flexict-3d" in told


def test_weights_of_something_else_are_told_before_any_work(tmp_path: Path) -> None:
    import torch

    torch.save({"layer.weight": torch.ones(2)}, tmp_path / "w.pth")
    assert "not the weights of a FlexiCT network" in refusal(
        CheckpointError, "flexict-3d", checkpoint=tmp_path / "w.pth"
    )


def test_the_licence_is_told_once_before_the_weights_are_used(
    checkpoint: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    from flexict_core.encoders.checkpoint_source import tell_licence

    caplog.set_level("WARNING", logger="flexict_core")
    tell_licence.cache_clear()
    load_encoder("baseline")
    load_encoder("random-3d", device="cpu")
    assert not caplog.records
    load_encoder("flexict-3d", checkpoint=checkpoint, device="cpu")
    load_encoder("flexict-2d", checkpoint=checkpoint, device="cpu")
    (record,) = caplog.records
    assert "CC BY-NC-ND 4.0" in record.getMessage()
    assert "\n" not in record.getMessage()
    code = "from flexict_core.encoders.checkpoint_source import tell_licence as t; t(); t()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.count("CC BY-NC-ND 4.0") == 1  # seen without any logging set up
    assert done.stdout == ""
