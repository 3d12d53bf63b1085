"""Devices, precision, and batches that halve when memory runs out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from flexict_core.encoders.inference import BatchRunner, check_precision, gpu_batch, resolve_device
from flexict_core.errors import EncoderError

no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA GPU")


def inputs(count: int) -> list[np.ndarray]:
    return [np.full((1, 2, 2), index, np.float32) for index in range(count)]


class FillsUp:
    """A network that holds at most `room` inputs at once, and notes what it was given."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.sizes: list[int] = []

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        self.sizes.append(len(x))
        if len(x) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return x.flatten(1)[:, :2] * 10


def test_batches_halve_until_they_fit_and_remember_it() -> None:
    network = FillsUp(room=3)
    run = BatchRunner(network, device="cpu", precision="fp32")
    expected = np.repeat(10.0 * np.arange(11)[:, None], 2, axis=1)
    np.testing.assert_array_equal(run(inputs(11)).numpy(), expected)
    assert network.sizes == [11, 5, 2, 2, 2, 2, 2, 1]
    network.sizes.clear()
    np.testing.assert_array_equal(run(inputs(5)).numpy(), expected[:5])
    assert network.sizes == [2, 2, 1]


def test_one_input_that_does_not_fit_is_told_with_the_remedy() -> None:
    run = BatchRunner(FillsUp(room=0), device="cpu", precision="fp32")
    with pytest.raises(EncoderError, match=r"out of memory on one input of 1×2×2; use precision bf16"):
        run(inputs(2))


def test_read_only_arrays_are_taken() -> None:
    arrays = inputs(2)
    for array in arrays:
        array.setflags(write=False)
    assert BatchRunner(FillsUp(room=9), device="cpu", precision="fp32")(arrays).shape == (2, 2)


def test_bf16_rounds_the_network_and_fp32_does_not() -> None:
    weight = torch.full((2, 4), 1 + 2.0**-12)  # bfloat16 holds 1 + 2⁻⁷ and 1, nothing between
    arrays = [np.ones((4,), np.float32)]
    for precision, expected in (("fp32", 4 * (1 + 2.0**-12)), ("bf16", 4.0)):
        run = BatchRunner(lambda x: x @ weight.T, device="cpu", precision=precision)
        out = run(arrays)
        assert out.dtype == torch.float32
        assert out.tolist() == [[expected, expected]]


def test_no_gradients_are_kept() -> None:
    layer = torch.nn.Linear(4, 2)
    out = BatchRunner(layer, device="cpu", precision="fp32")([np.ones(4, np.float32)])
    assert not out.requires_grad


@no_gpu
def test_cuda_that_is_not_there_is_told() -> None:
    assert resolve_device("auto") == "cpu"
    for device in ("cuda", "cuda:1"):
        with pytest.raises(EncoderError, match=rf"device '{device}'.*finds no CUDA GPU; use device 'cpu'"):
            resolve_device(device)


def test_a_gpu_is_taken_when_there_is_one_and_its_number_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [resolve_device(d) for d in ("auto", "cpu", "cuda", "cuda:1")] == ["cuda", "cpu", "cuda", "cuda:1"]
    with pytest.raises(EncoderError, match=r"'cuda:2': there are 2 GPUs"):
        resolve_device("cuda:2")


@pytest.mark.parametrize("device", ["gpu", "mps", "cuda:", "cuda:x", "cuda1", ""])
def test_unknown_devices_are_refused(device: str) -> None:
    with pytest.raises(EncoderError, match="choose auto, cpu, cuda"):
        resolve_device(device)


def test_unknown_precision_is_refused() -> None:
    with pytest.raises(EncoderError, match=r"'fp16' is not one of fp32, bf16"):
        check_precision("fp16")


def test_a_gpu_s_memory_decides_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    for gib in (0.1, 8, 16, 80):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, gib=gib: (int(gib * 2**30), 2**40))
        sizes.append(gpu_batch("cuda", tokens=8005, width=864, precision="bf16"))
    assert sizes == [1, 18, 32, 32]  # 332 MB each, of 70 % of 8.6 GB
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (8 * 2**30, 2**40))
    assert gpu_batch("cuda", tokens=8005, width=864, precision="fp32") == 9


class Staged(BatchRunner):
    """Runs as on a GPU, with this machine's memory in the GPU's place; notes what happens when."""

    def __init__(self, network: FillsUp) -> None:
        super().__init__(network, device="cuda", precision="fp32")
        self.events: list[str] = []

    def _stage(self, inputs: list[np.ndarray]) -> torch.Tensor:  # type: ignore[override]
        self.events.append(f"copy {len(inputs)}")
        return torch.from_numpy(np.stack(inputs))

    def _try(self, x: torch.Tensor) -> torch.Tensor | None:
        self.events.append(f"compute {len(x)}")
        return super()._try(x)


def test_on_a_gpu_the_next_part_is_copied_while_one_is_computed() -> None:
    run = Staged(FillsUp(room=9))
    np.testing.assert_array_equal(run(inputs(10))[:, 0].numpy(), 10.0 * np.arange(10))
    # `compute` only launches; results are waited for after the next copy has begun
    assert run.events == [
        "copy 3",
        "compute 3",
        "copy 3",
        "compute 3",
        "copy 3",
        "compute 3",
        "copy 1",
        "compute 1",
    ]
    small = Staged(FillsUp(room=1))
    np.testing.assert_array_equal(small(inputs(7))[:, 0].numpy(), 10.0 * np.arange(7))
    assert small.largest == 1
