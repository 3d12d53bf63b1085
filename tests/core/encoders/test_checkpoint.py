"""Weights load strictly and safely: all verified before anything is copied, and no pickle gets to run code."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from flexict_core.encoders.checkpoint import check_weights, load_weights, network_config, read_weights
from flexict_core.encoders.vit import FlexiCTBackbone
from flexict_core.errors import CheckpointError

Build = Callable[..., FlexiCTBackbone]
State = dict[str, torch.Tensor]


def prefixed(state: State, prefix: str) -> State:
    return {prefix + name: tensor.contiguous() for name, tensor in state.items()}


HEADS = {"dino_head.mlp.0.weight": torch.ones(2, 3), "ibot_head.last.bias": torch.ones(2)}
VLM_PARTS = {
    "text_model.backbone.embed_tokens.weight": torch.ones(4, 2),
    "vlm_vision_projection.weight": torch.ones(8, 96),
    "logit_scale": torch.ones(1),
}
LAYOUTS: dict[str, Callable[[State], dict[str, Any]]] = {
    "published_2d_3d.pth": lambda s: {"teacher": {**prefixed(s, "backbone."), **HEADS}},
    "published_vlm.pth": lambda s: {"model": {**prefixed(s, "vision_model."), **VLM_PARTS}},
    "with_training_state.pth": lambda s: {
        "teacher": prefixed(s, "backbone."),
        "epoch": 3,
        "student": {"a": 1},
    },
    "plain.pth": dict,
    "plain.safetensors": dict,
    "backbone.safetensors": lambda s: {**prefixed(s, "backbone."), **HEADS},
    "vision.safetensors": lambda s: {**prefixed(s, "vision_model."), **VLM_PARTS},
    "flattened.safetensors": lambda s: {
        **prefixed(s, "model.vision_model."),
        **{f"model.{name}": tensor for name, tensor in VLM_PARTS.items()},
    },
}


def write(path: Path, content: dict[str, Any]) -> Path:
    if path.suffix == ".safetensors":
        save_file(content, path)
    else:
        torch.save(content, path)
    return path


def snapshot(net: torch.nn.Module) -> State:
    return {name: tensor.clone() for name, tensor in net.state_dict().items()}


def assert_same(have: State, want: State) -> None:
    assert have.keys() == want.keys()
    for name in want:
        assert torch.equal(have[name], want[name]), name


def assert_refused(net: torch.nn.Module, path: Path, told: str) -> str:
    """One line that says `told`, and a network that is as it was."""
    before = snapshot(net)
    with pytest.raises(CheckpointError, match=told) as caught:
        load_weights(net, path)
    assert_same(snapshot(net), before)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_known_layout_loads(small_network: Build, tmp_path: Path, layout: str) -> None:
    source, target = small_network(seed=1), small_network(seed=2)
    path = write(tmp_path / layout, LAYOUTS[layout](source.state_dict()))
    report = load_weights(target, path)
    assert_same(snapshot(target), snapshot(source))
    assert report.tensors == len(source.state_dict())
    assert len(report.dropped) == {"published_2d_3d.pth": 2, "backbone.safetensors": 2}.get(
        layout, 3 if "vlm" in layout or "vision" in layout or "flattened" in layout else 0
    )
    check_weights(target, path)
    config = network_config(path)
    assert config.pop("projection", None) == (8 if len(report.dropped) == 3 else None)
    with torch.device("meta"):
        check_weights(FlexiCTBackbone(**config), path)


@pytest.mark.parametrize("old_format", [False, True])
def test_a_file_of_before_the_zip_format_loads(
    small_network: Build, tmp_path: Path, old_format: bool
) -> None:
    source, target = small_network(seed=1), small_network(seed=2)
    path = tmp_path / "weights.pth"
    torch.save(source.state_dict(), path, _use_new_zipfile_serialization=not old_format)
    load_weights(target, path)
    assert_same(snapshot(target), snapshot(source))


def test_a_network_on_meta_gets_memory_only_once_all_fits(small_network: Build, tmp_path: Path) -> None:
    source = small_network(seed=1)
    path = write(tmp_path / "w.safetensors", source.state_dict())
    config = network_config(path)
    with torch.device("meta"):
        net, other = FlexiCTBackbone(**config), FlexiCTBackbone(**{**config, "depth": 5})
    load_weights(net, path)
    assert_same(snapshot(net), snapshot(source))
    with pytest.raises(CheckpointError, match=r"13 missing \(blocks\.4"):
        load_weights(other, path)
    assert all(tensor.is_meta for tensor in other.state_dict().values())


@pytest.mark.parametrize(
    "changes",
    [
        {"embed_dim": 72, "depth": 2, "num_heads": 3},
        {"patch_size": 4, "ffn_ratio": 2, "n_storage_tokens": 2},
        {"qkv_bias": True, "mask_k_bias": True, "in_chans": 2},
        {"qkv_bias": True, "mask_k_bias": False},
    ],
)
def test_configuration_is_read_off_the_shapes(
    small_network: Build, tmp_path: Path, changes: dict[str, Any]
) -> None:
    source = small_network(**changes)
    config = network_config(write(tmp_path / "w.safetensors", source.state_dict()))
    assert {name: config[name] for name in changes} == changes
    twin = FlexiCTBackbone(**config).state_dict()
    assert {n: t.shape for n, t in twin.items()} == {n: t.shape for n, t in source.state_dict().items()}


@pytest.mark.shared_data
def test_reference_checkpoints_agree_on_the_network(shared: Path) -> None:
    folder = shared / "reference/flexict"
    want = json.loads((folder / "tiny_config.json").read_text())
    for name, projection in (
        ("tiny_teacher.pth", None),
        ("tiny_backbone.safetensors", None),
        ("tiny_vlm.pth", 32),
    ):
        config = network_config(folder / name)
        assert config.pop("projection", None) == projection
        assert {key: want[key] for key in config if key != "mask_k_bias"} == {
            key: value for key, value in config.items() if key != "mask_k_bias"
        }
    flat, wrapped = FlexiCTBackbone(**want), FlexiCTBackbone(**want)
    load_weights(flat, folder / "tiny_backbone.safetensors")
    report = load_weights(wrapped, folder / "tiny_teacher.pth")
    assert_same(snapshot(flat), snapshot(wrapped))
    assert report.dropped == ("dino_head.mlp.0.weight", "ibot_head.mlp.0.weight")


def drop(name: str) -> Callable[[State], State]:
    return lambda s: {key: value for key, value in s.items() if key != name}


MISMATCHES: dict[str, tuple[Callable[[State], dict[str, Any]], str]] = {
    "missing": (drop("blocks.3.ls2.gamma"), r"1 missing \(blocks\.3\.ls2\.gamma\)$"),
    "left over": (lambda s: {**s, "blocks.9.extra": torch.ones(2)}, r"1 left over \(blocks\.9\.extra\)$"),
    "last of another shape": (
        lambda s: {**s, "norm.bias": torch.ones(7)},
        r"1 of another shape \(norm\.bias \[7\] for \[48\]\)$",
    ),
    "of integers": (
        lambda s: {**s, "norm.bias": torch.ones(48, dtype=torch.int32)},
        r"1 of another type \(norm\.bias torch\.int32 for torch\.float32\)$",
    ),
    "periods that bfloat16 cannot hold": (
        lambda s: {**s, "rope_embed_2D.periods": 100 ** (torch.arange(6) / 6)},
        r"1 of another type \(rope_embed_2D\.periods torch\.float32 for torch\.bfloat16\)$",
    ),
    "with a NaN": (
        lambda s: {**s, "norm.bias": torch.full((48,), torch.nan)},
        r"1 with values that are not finite \(norm\.bias\)$",
    ),
    "prefixed and beside it": (
        lambda s: {**prefixed(s, "backbone."), "norm.bias": torch.ones(48)},
        r"1 left over \(norm\.bias\)$",
    ),
    "all of another network": (
        lambda s: {f"layer{i}.weight": torch.ones(2) for i in range(9)},
        r"63 missing \(cls_token, .* 59 more\); 9 left over \(layer0\.weight, .*5 more\)$",
    ),
}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("case", MISMATCHES)
def test_weights_that_do_not_fit_change_nothing(
    small_network: Build, tmp_path: Path, case: str, suffix: str
) -> None:
    change, told = MISMATCHES[case]
    net = small_network(seed=2)
    path = write(tmp_path / f"w{suffix}", change(small_network(seed=1).state_dict()))
    assert_refused(net, path, told)


def test_values_that_the_wanted_type_holds_exactly_are_taken(small_network: Build, tmp_path: Path) -> None:
    source, target = small_network(seed=1), small_network(seed=2)
    state = {**source.state_dict(), "rope_embed_2D.periods": source.rope_embed_2D.periods.float()}
    load_weights(target, write(tmp_path / "w.pth", state))
    assert target.rope_embed_2D.periods.dtype == torch.bfloat16
    assert_same(snapshot(target), snapshot(source))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("kept", [0.0, 0.001, 0.5, 0.9, 0.9999])
def test_truncated_files_are_refused(small_network: Build, tmp_path: Path, suffix: str, kept: float) -> None:
    path = write(tmp_path / f"w{suffix}", small_network(seed=1).state_dict())
    os.truncate(path, int(path.stat().st_size * kept))
    assert_refused(small_network(seed=2), path, "truncated")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"teacher": {"backbone.cls_token": 3.0}}, "no tensors"),
        ({}, "no named weights"),
        ([torch.ones(3)], "no named weights"),
        (torch.ones(3), "no named weights"),
    ],
)
def test_files_of_something_else_are_refused(
    small_network: Build, tmp_path: Path, content: object, told: str
) -> None:
    path = tmp_path / "w.pth"
    torch.save(content, path)
    assert_refused(small_network(), path, told)


def test_missing_and_foreign_files_are_refused(small_network: Build, tmp_path: Path) -> None:
    assert_refused(small_network(), tmp_path / "absent.pth", "does not exist")
    text = tmp_path / "page.pth"
    text.write_text("<html>404</html>")
    assert_refused(small_network(), text, "truncated, or a pickle of something else")
    with pytest.raises(CheckpointError, match=r"not the weights of a FlexiCT network .* layer1"):
        network_config(write(tmp_path / "resnet.pth", {"layer1": torch.ones(2)}))


class LeavesATrace:
    """Unpickled without restriction, this creates a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return (open, (str(self.trace), "w"))


class RunsAShell(LeavesATrace):
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return (os.system, (f"touch {self.trace}",))


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_the_trap_works_when_it_is_sprung(tmp_path: Path) -> None:
    for trap in (LeavesATrace, RunsAShell):
        trace = tmp_path / trap.__name__
        result = pickle.loads(pickle.dumps(trap(trace)))  # noqa: S301 - our own bytes; shows that the trap is armed
        assert trace.exists()
        if hasattr(result, "close"):
            result.close()


@pytest.mark.parametrize(("trap", "name"), [(LeavesATrace, "open"), (RunsAShell, "system")])
@pytest.mark.parametrize("how", ["zip", "zip beside weights", "old format", "bare pickle", "as .safetensors"])
def test_a_malicious_pickle_is_refused_without_running(
    small_network: Build, tmp_path: Path, trap: type[LeavesATrace], name: str, how: str
) -> None:
    trace = tmp_path / "trace"
    net = small_network(seed=2)
    path = tmp_path / ("w.safetensors" if "safetensors" in how else "w.pth")
    if how in ("bare pickle", "as .safetensors"):
        path.write_bytes(pickle.dumps(trap(trace)))
    elif how == "zip beside weights":
        torch.save({"teacher": prefixed(net.state_dict(), "backbone."), "args": trap(trace)}, path)
    else:
        torch.save(trap(trace), path, _use_new_zipfile_serialization=how == "zip")
    told = {"bare pickle": "refused without running it", "as .safetensors": "truncated or no safetensors"}
    assert_refused(net, path, told.get(how, rf"refused without running it: it asks for code \(\w+\.{name}\)"))
    assert not trace.exists()
    with pytest.raises(CheckpointError):
        network_config(path)
    assert not trace.exists()


def test_a_torchscript_archive_is_refused(small_network: Build, tmp_path: Path) -> None:
    import zipfile

    path = tmp_path / "w.pth"
    with zipfile.ZipFile(
        path, "w"
    ) as archive:  # what torch takes for TorchScript: constants.pkl in the archive
        archive.writestr("w/constants.pkl", b"")
        archive.writestr("w/version", b"3")
    assert_refused(small_network(), path, "truncated or no checkpoint")


def test_reading_does_not_copy_the_file_into_memory(small_network: Build, tmp_path: Path) -> None:
    """Mapped storages: tensors of one .pth share the file's mapping."""
    path = write(tmp_path / "w.pth", small_network().state_dict())
    state = read_weights(path)
    pages = {tensor.untyped_storage().data_ptr() for tensor in state.values()}
    assert max(pages) - min(pages) < path.stat().st_size
