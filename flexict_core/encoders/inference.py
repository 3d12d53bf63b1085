"""Run a network on batches: device, precision, pinned copies, and halving when the GPU's memory is full."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from flexict_core.errors import EncoderError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

PRECISIONS = ("fp32", "bf16")
_PARTS = 4  # a GPU batch is computed in
_MOST_AT_ONCE = 32


def resolve_device(device: str) -> str:
    """ "auto" → "cuda" where there is one, else "cpu"; EncoderError for a device that is not there."""
    import torch

    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise EncoderError(f"device {device!r} is not known: choose auto, cpu, cuda or cuda:N")
    if device == "cpu" or (device == "auto" and not torch.cuda.is_available()):
        return "cpu"
    if not torch.cuda.is_available():
        raise EncoderError(
            f"device {device!r}: torch {torch.__version__} finds no CUDA GPU; use device 'cpu', "
            "or install the CUDA build of torch and a driver"
        )
    index = device.partition(":")[2]
    if index and int(index) >= torch.cuda.device_count():
        raise EncoderError(
            f"device {device!r}: there are {torch.cuda.device_count()} GPUs, counted from cuda:0"
        )
    return "cuda" if device == "auto" else device


def check_precision(precision: str) -> str:
    if precision not in PRECISIONS:
        raise EncoderError(f"precision {precision!r} is not one of {', '.join(PRECISIONS)}")
    return precision


def gpu_batch(device: str, *, tokens: int, width: int, precision: str) -> int:
    """Inputs that fill most of a GPU's free memory, from 1 to 32; too many only cost one halving."""
    import torch

    free, _ = torch.cuda.mem_get_info(device)
    # Of one input, at the widest point of a block: residual, norm, q, k, v, their rotations, the hidden layer.
    bytes_each = tokens * width * (48 if precision == "bf16" else 88)
    return max(1, min(_MOST_AT_ONCE, int(0.7 * free / bytes_each)))


class BatchRunner:
    """Applies `forward` ([b, …] → [b, dim]) to arrays, without gradients, in the precision asked for.

    On a GPU the next part of a batch is pinned and copied while the present one is computed. After a CUDA
    out-of-memory the part is halved and goes on; later ones start at the size that fitted.
    """

    def __init__(self, forward: Callable[[Tensor], Tensor], *, device: str, precision: str) -> None:
        self.forward = forward
        self.device = device
        self.precision = precision
        self.largest: int | None = None  # inputs that fit at once, once that has been found out

    @property
    def kind(self) -> str:
        return self.device.partition(":")[0]

    def __call__(self, inputs: Sequence[np.ndarray]) -> Tensor:
        """Arrays of one shape → [len(inputs), dim] float32 on the CPU."""
        import torch

        parts = _PARTS if self.kind == "cuda" else 1  # of a batch, so that there is a next one to copy
        most = -(-len(inputs) // parts)
        outputs: list[Tensor] = []
        done = 0
        staged: Tensor | None = None
        while done < len(inputs):
            size = min(len(inputs) - done, self.largest or most)
            if staged is None or len(staged) != size:
                staged = self._stage(inputs[done : done + size])
            result = self._try(staged)
            staged = None
            if result is not None:
                done += size
                if self.kind == "cuda" and done < len(inputs):
                    staged = self._stage(inputs[done : done + min(size, len(inputs) - done)])
                outputs.append(result.float().cpu())  # waits for the device
            elif size == 1:
                raise EncoderError(
                    f"{self.device}: out of memory on one input of {'×'.join(map(str, inputs[done].shape))}; "
                    "use precision bf16, a larger patch size, or device 'cpu'"
                )
            else:
                self.largest = size // 2
                torch.cuda.empty_cache()  # does nothing where CUDA was not used
        return torch.cat(outputs)  # [B, dim]

    def _stage(self, inputs: Sequence[np.ndarray]) -> Tensor:
        """[b, …] on the device; on a GPU the copy is only begun."""
        import numpy as np
        import torch

        x = torch.from_numpy(np.stack(inputs))  # [b, …]
        if self.kind == "cuda":
            x = x.pin_memory().to(self.device, non_blocking=True)  # [b, …]
        return x

    def _try(self, x: Tensor) -> Tensor | None:
        """None when the device's memory did not suffice (what was tried is freed on return)."""
        import torch

        try:
            with (
                torch.inference_mode(),
                torch.autocast(self.kind, dtype=torch.bfloat16, enabled=self.precision == "bf16"),
            ):
                return self.forward(x)  # [b, dim]
        except torch.OutOfMemoryError:
            return None
