"""What an encoder cannot do is one line and exit status 2, before any volume is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from app.cli import main

Call = Callable[..., tuple[int, str]]


@pytest.fixture
def embed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    (tmp_path / "manifest.csv").write_text("patient_id,image\nA,no_such_file.nii.gz\n")

    def run(*options: str) -> tuple[int, str]:
        given = ["embed", "--manifest", str(tmp_path / "manifest.csv"), "--store", str(tmp_path / "s")]
        status = main([*given, "--workers", "0", "--quiet", *options])
        return status, capsys.readouterr().err

    return run


@pytest.fixture(autouse=True)
def _no_weights_and_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for name in ("", "2D_", "3D_", "VLM_"):
        monkeypatch.delenv(f"FLEXICT_{name}CHECKPOINT", raising=False)


NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA GPU")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--encoder", "random-3d", "--patch-size", "7"), ("patch size 7", "160 voxels", "use 8 or 16")),
        (("--encoder", "random-3d", "--recipe", "slice_2d"), ("cannot take recipe 'slice_2d'", "roi_fixed")),
        (("--encoder", "random-3d", "--recipe", "default", "--recipe", "native"), ("recipe 'native'",)),
        (("--encoder", "random-3d", "--pooling", "vlm"), ("no pooling 'vlm'", "cls_mean")),
        (("--encoder", "flexict-3d"), ("needs its weights", "--checkpoint", "CC BY-NC-ND 4.0")),
        (
            ("--encoder", "flexict-3d", "--checkpoint", "hf:nobody/nothing"),
            ("hf:nobody/nothing", "local file"),
        ),
        (("--encoder", "flexict-3d", "--checkpoint", "hf:nothing"), ("hf:OWNER/REPO",)),
        (("--encoder", "baseline", "--precision", "bf16"), ("takes no precision", "bf16")),
        pytest.param(
            ("--encoder", "random-3d", "--device", "cuda"),
            ("device 'cuda'", "use device 'cpu'"),
            marks=NO_GPU,
        ),
    ],
)
def test_what_an_encoder_cannot_do_is_one_line(
    embed: Call, tmp_path: Path, options: tuple[str, ...], told: tuple[str, ...]
) -> None:
    status, err = embed(*options)
    assert (status, err.count("\n")) == (2, 1)
    assert all(part in err for part in told), err
    assert not (tmp_path / "s").exists()


def test_a_pickle_that_wants_to_run_is_refused_and_leaves_no_trace(embed: Call, tmp_path: Path) -> None:
    import pickle

    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return (open, (str(tmp_path / "trace"), "w"))

    torch.save({"teacher": {"backbone.cls_token": Trap()}}, tmp_path / "evil.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Trap()))
    for name in ("evil.pth", "plain.pth"):
        status, err = embed("--encoder", "flexict-3d", "--checkpoint", str(tmp_path / name))
        assert (status, err.count("\n")) == (2, 1)
        assert "refused without running it" in err
    assert not (tmp_path / "trace").exists()
