"""Blocks by OpenVINO equal those by torch; when it is used, and what happens where it cannot be."""

from __future__ import annotations

import builtins
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from flexict_core.encoders import accelerate
from flexict_core.encoders.accelerate import OpenVinoBlocks, block_flop, wanted
from flexict_core.encoders.flexict import VolumeEncoder
from flexict_core.encoders.network import CpuEngine, cpu_engine, ready_network
from flexict_core.encoders.vit import FlexiCTBackbone
from flexict_core.encoders.weights import PublishedWeights, RandomWeights
from flexict_core.errors import EncoderError, FlexictWarning
from flexict_core.preprocess import RECIPES

pytest.importorskip("openvino")
Build = Callable[..., FlexiCTBackbone]


@pytest.mark.parametrize("shape", [(1, 1, 16, 8, 24), (2, 1, 24, 32)])
@pytest.mark.parametrize("bias", [False, True])
def test_every_token_of_every_block_equals_torch_s(
    small_network: Build, shape: tuple[int, ...], bias: bool
) -> None:
    net = small_network(qkv_bias=bias, mask_k_bias=bias)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        plain = net.intermediate(x, range(4))
        net.run_block = OpenVinoBlocks("fp32")
        fast = net.intermediate(x, range(4))
    for ours, theirs in zip(fast, plain, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            # a last bit before a rounding to bfloat16 may move a rotary step: 2e-3 is what such a step costs
            torch.testing.assert_close(a, b, atol=2e-3, rtol=0)
            assert float(torch.cosine_similarity(a.double(), b.double(), dim=-1).min()) > 0.99999


@pytest.mark.shared_data
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_original_s_values_come_out(
    shared: Path, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLEXICT_OPENVINO", "1")
    golden = load_file(shared / "reference/flexict/tiny_golden.safetensors")
    weights = PublishedWeights.open(shared / "reference/flexict/tiny_teacher.pth")
    for case, patch in (("3d_box", None), ("3d_patch8x16x16", (8, 16, 16))):
        encoder = VolumeEncoder(
            "flexict-3d",
            weights,
            recipe=RECIPES["default"],
            pooling="cls",
            patch_size=patch,
            device="cpu",
            precision=precision,
        )
        out = encoder.encode(list(golden[f"{case}.input"].numpy())).astype(float)
        want = golden[f"{case}.cls"].numpy().astype(float)
        cosine = (out * want).sum(1) / np.linalg.norm(out, axis=1) / np.linalg.norm(want, axis=1)
        assert cosine.min() > (0.99999 if precision == "fp32" else 0.9995)
        if precision == "fp32":
            np.testing.assert_allclose(out, want, atol=1e-4)


def test_tokens_by_parts_are_the_tokens(small_network: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(2, 1, 24, 32, 24, generator=torch.Generator().manual_seed(6))
    out = []
    for most in (1, 10**9):  # 32 of the 41 tokens at a time, and all
        monkeypatch.setattr(accelerate, "_SCORES", most)
        monkeypatch.setattr(accelerate, "_HIDDEN", most)
        net = small_network()
        net.run_block = OpenVinoBlocks("bf16")
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
            out.append(net(x).patches.double())
    assert float(torch.cosine_similarity(*out, dim=-1).min()) > 0.9999
    with torch.inference_mode():
        exact = small_network()(x).patches.double()
    assert float(torch.cosine_similarity(out[0], exact, dim=-1).min()) > 0.999


def test_a_version_without_the_setting_computes_all_the_same(
    small_network: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(7))
    with torch.inference_mode():
        exact = small_network()(x).cls.double()
        monkeypatch.setattr(accelerate, "_APART", "NO_SUCH_SETTING")
        net = small_network()
        net.run_block = OpenVinoBlocks("bf16")
        cosine = torch.cosine_similarity(net(x).cls.double(), exact, dim=-1)
    assert float(cosine.min()) > 0.999


def test_a_graph_is_compiled_once_for_a_shape_and_shared_by_the_blocks(
    small_network: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    compile_ = accelerate._compile
    monkeypatch.setattr(accelerate, "_compile", lambda *a: made.append(a[1]) or compile_(*a))
    net = small_network()
    net.run_block = OpenVinoBlocks("fp32")
    with torch.inference_mode():
        for side in (8, 16, 8, 16):
            net(torch.zeros(1, 1, side, side))
    assert made == [(1, 6, 48), (1, 9, 48)]


def test_a_result_is_not_overwritten_by_the_next(small_network: Build) -> None:
    net = small_network()
    net.run_block = OpenVinoBlocks("fp32")
    x = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        first = net(x[:1]).cls
        before = first.clone()
        net(x[1:])
        assert torch.equal(first, before)


def test_bfloat16_halves_the_matrices_and_changes_no_number(small_network: Build, tmp_path: Path) -> None:
    torch.save(small_network().state_dict(), tmp_path / "w.pth")
    weights = PublishedWeights.open(tmp_path / "w.pth")
    x = torch.randn(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    net = ready_network(weights, device="cpu", precision="bf16")
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(net(x).cls, small_network()(x).cls)
    assert isinstance(net, FlexiCTBackbone)
    assert net.blocks[0].attn.qkv.weight.dtype == torch.bfloat16


def test_encoders_of_one_checkpoint_share_its_network(small_network: Build, tmp_path: Path) -> None:
    torch.save(small_network().state_dict(), tmp_path / "w.pth")
    weights = PublishedWeights.open(tmp_path / "w.pth")
    one = ready_network(weights, device="cpu", precision="fp32")
    assert ready_network(PublishedWeights.open(tmp_path / "w.pth"), device="cpu", precision="fp32") is one
    assert ready_network(weights, device="cpu", precision="bf16") is not one
    assert ready_network(RandomWeights(), device="cpu", precision="fp32") is not one


# ── when it is used ─────────────────────────────────────────────────────────────────────────────────────


def test_small_networks_are_left_to_torch(small_network: Build) -> None:
    net = small_network()
    engine = CpuEngine("fp32", always=False)
    net.run_block = engine
    with torch.inference_mode():
        net(torch.zeros(1, 1, 16, 16))
    assert engine.fast is not None
    assert not engine.fast._compiled
    # the published network at 160³: 8,005 tokens, 5.8 TFLOP in 16 blocks
    with torch.device("meta"):
        block = FlexiCTBackbone(depth=1).blocks[0]
    assert 16 * block_flop(block, 8005) / 1e12 == pytest.approx(5.8, abs=0.1)  # type: ignore[arg-type]
    assert engine._pays(block, torch.empty(1, 8005, 864, device="meta"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "choice"), [("", None), ("auto", None), ("0", False), ("off", False), ("1", True)]
)
def test_the_switch(value: str, choice: bool | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEXICT_OPENVINO", value)
    assert wanted() is choice
    engine = cpu_engine("fp32")
    assert (engine is None) is (choice is False)
    monkeypatch.setenv("FLEXICT_OPENVINO", "maybe")
    with pytest.raises(EncoderError, match="'maybe' is not known: choose 0, 1 or auto"):
        wanted()


def test_without_openvino_torch_serves_unless_it_was_insisted_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerate, "installed", lambda: False)
    monkeypatch.delenv("FLEXICT_OPENVINO", raising=False)
    assert cpu_engine("fp32") is None
    monkeypatch.setenv("FLEXICT_OPENVINO", "1")
    with pytest.raises(EncoderError, match=r"pip install 'flexict-atlas\[openvino\]'"):
        cpu_engine("fp32")


def test_a_failure_costs_one_line_and_torch_goes_on(
    small_network: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("no such\ninstruction")

    monkeypatch.setattr(accelerate, "_compile", fail)
    monkeypatch.setattr(accelerate, "WORTH_FLOP", 0.0)
    net, x = small_network(), torch.zeros(1, 1, 16, 16)
    with torch.inference_mode():
        expected = net(x).cls
        net.run_block = CpuEngine("fp32", always=False)
        with pytest.warns(
            FlexictWarning, match=r"torch goes on .*RuntimeError: no such instruction"
        ) as caught:
            assert torch.equal(net(x).cls, expected)
        assert len(caught) == 1
        net.run_block = CpuEngine("fp32", always=True)
        with pytest.raises(EncoderError, match="unset FLEXICT_OPENVINO"):
            net(x)


def test_importing_it_sends_no_statistics() -> None:
    code = (
        "import sys, socket\n"
        "def no(*a, **k): raise SystemExit('a connection was opened')\n"
        "socket.socket.connect = no; socket.create_connection = no\n"
        "from flexict_core.encoders.accelerate import import_openvino\n"
        "ov = import_openvino(); ov.Core(); from openvino import opset13\n"
        "print('openvino_telemetry' in sys.modules, ov.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False openvino"
    assert builtins.__import__("openvino")  # and it stays importable
