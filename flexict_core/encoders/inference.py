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


class BatchRunner:
    """Applies `forward` ([b, …] → [b, dim]) to arrays, without gradients, in the precision asked for.

    After a CUDA out-of-memory the batch is halved and goes on; later batches start at the size that fitted.
    """

    def __init__(self, forward: Callable[[Tensor], Tensor], *, device: str, precision: str) -> None:
        self.forward = forward
        self.device = device
        self.precision = precision
        self.largest: int | None = None  # inputs that fit at once, once that has been found out

    def __call__(self, inputs: Sequence[np.ndarray]) -> Tensor:
        """Arrays of one shape → [len(inputs), dim] float32 on the CPU."""
        import torch

        outputs: list[Tensor] = []
        done = 0
        while done < len(inputs):
            size = min(len(inputs) - done, self.largest or len(inputs))
            result = self._try(inputs[done : done + size])
            if result is not None:
                outputs.append(result)
                done += size
            elif size == 1:
                raise EncoderError(
                    f"{self.device}: out of memory on one input of {'×'.join(map(str, inputs[done].shape))}; "
                    "use precision bf16, a larger patch size, or device 'cpu'"
                )
            else:
                self.largest = size // 2
                torch.cuda.empty_cache()  # does nothing where CUDA was not used
        return torch.cat(outputs)  # [B, dim]

    def _try(self, inputs: Sequence[np.ndarray]) -> Tensor | None:
        """None when the device's memory did not suffice (what was tried is freed on return)."""
        import numpy as np
        import torch

        x = torch.from_numpy(np.stack(inputs))  # [b, …]
        kind = self.device.partition(":")[0]
        try:
            if kind == "cuda":
                x = x.pin_memory().to(self.device, non_blocking=True)  # [b, …]
            with (
                torch.inference_mode(),
                torch.autocast(kind, dtype=torch.bfloat16, enabled=self.precision == "bf16"),
            ):
                return self.forward(x).float().cpu()  # [b, dim]
        except torch.OutOfMemoryError:
            return None
