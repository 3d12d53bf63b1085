"""An embedding's specification gives its encoder back, and says when it cannot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flexict_core.encoders.registry import load_encoder
from flexict_core.encoders.stored import encoder_of, weights_caution
from flexict_core.errors import CheckpointError, EncoderError
from flexict_core.preprocess import Recipe


@pytest.mark.parametrize(
    "options",
    [
        {"name": "baseline"},
        {
            "name": "random-3d",
            "recipe": Recipe("small", "whole", spacing_mm=4.0, size=32),
            "patch_size": (8, 16, 16),
        },
        {"name": "random-3d", "pooling": "mean_patch", "precision": "bf16"},
    ],
)
def test_the_encoder_comes_back_as_it_was(options: dict[str, object]) -> None:
    name = options.pop("name")
    made = load_encoder(str(name), device="cpu", **options)  # type: ignore[arg-type]
    stored = json.loads(json.dumps(made.spec()))
    again = encoder_of(stored, device="cpu")
    assert json.loads(json.dumps(again.spec())) == stored
    assert again.recipe == made.recipe


@pytest.mark.shared_data
def test_other_weights_are_refused(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = shared / "reference" / "flexict" / "tiny_teacher.pth"
    spec = load_encoder("flexict-3d", checkpoint=tiny, device="cpu").spec()
    assert encoder_of(spec, checkpoint=tiny, device="cpu").spec() == spec
    with pytest.raises(CheckpointError, match="was made with weights 000000000000…"):
        encoder_of({**spec, "checkpoint_sha256": "0" * 64}, checkpoint=tiny, device="cpu")
    for name in ("FLEXICT_CHECKPOINT", "FLEXICT_3D_CHECKPOINT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(CheckpointError, match="FLEXICT_3D_CHECKPOINT"):
        encoder_of(spec, device="cpu")


def test_imported_vectors_have_no_encoder_here() -> None:
    with pytest.raises(EncoderError, match="were imported"):
        encoder_of({"encoder": "elsewhere"})


def test_weights_that_are_not_the_published_ones_are_named() -> None:
    assert "nothing was learnt" in str(weights_caution(load_encoder("random-3d", device="cpu").spec()))
    assert "width 72, depth 4" in str(weights_caution({"network": {"embed_dim": 72, "depth": 4}}))
    assert weights_caution({"network": {"embed_dim": 864, "depth": 16}}) is None
    assert weights_caution(load_encoder("baseline").spec()) is None
