"""A FlexiCT network made ready to run: on its device, in its precision, by the fastest engine that is there."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any
from warnings import warn
from weakref import WeakValueDictionary

from flexict_core.errors import EncoderError, FlexictWarning

if TYPE_CHECKING:
    from torch import Tensor, nn

    from flexict_core.encoders.vit import Block, FlexiCTBackbone, Rope
    from flexict_core.encoders.weights import Weights

COMPILE_SWITCH = "FLEXICT_COMPILE"
# Encoders of one checkpoint (several recipes in one run) share its network.
_networks: WeakValueDictionary[str, nn.Module] = WeakValueDictionary()


def ready_network(weights: Weights, *, device: str, precision: str) -> nn.Module:
    """The network of `weights` for inference; one that is in use already is shared. CheckpointError for misfits."""
    where = str(getattr(weights, "path", ""))
    key = json.dumps(
        [where, weights.config, weights.spec(), device, precision, os.environ.get("FLEXICT_OPENVINO")]
    )
    net = _networks.get(key)
    if net is None:
        net = weights.build().requires_grad_(False).eval().to(device)
        _tune(backbone_of(net), device.partition(":")[0], precision)
        _networks[key] = net
    return net


def backbone_of(net: nn.Module) -> FlexiCTBackbone:
    """The network itself, or the image side of a VLM."""
    found: Any = getattr(net, "vision_model", net)
    return found


def _tune(net: FlexiCTBackbone, kind: str, precision: str) -> None:
    if kind == "cpu":
        if precision == "bf16":
            _store_as_bfloat16(net)
        net.run_block = cpu_engine(precision)
    elif precision == "bf16" and _compiler_is_there():
        # in float32 a compiler would drop the roundings of the rotary positions
        for block in net.blocks:
            block.compile(dynamic=False)


def _store_as_bfloat16(net: FlexiCTBackbone) -> None:
    """The matrices of the blocks as autocast would round them at every pass: half the memory, the same numbers."""
    import torch

    for module in net.blocks.modules():
        if isinstance(module, torch.nn.Linear):
            module.weight.data = module.weight.data.to(torch.bfloat16)


def _compiler_is_there() -> bool:
    """Whether torch.compile can make GPU code here; FLEXICT_COMPILE=0 says not to."""
    from importlib.util import find_spec

    return os.environ.get(COMPILE_SWITCH, "").strip() != "0" and find_spec("triton") is not None


def cpu_engine(precision: str) -> CpuEngine | None:
    """What runs the blocks on a CPU: OpenVINO where it is installed and not switched off, else torch (None)."""
    from flexict_core.encoders.accelerate import SWITCH, installed, wanted

    choice = wanted()
    if choice is False:
        return None
    if not installed():
        if choice:
            raise EncoderError(
                f"{SWITCH}=1 needs the package openvino, which is not installed: "
                "pip install 'flexict-atlas[openvino]'"
            )
        return None
    return CpuEngine(precision, always=bool(choice))


class CpuEngine:
    """Blocks by OpenVINO where the network is large enough to gain; by torch, after one line, should that fail."""

    def __init__(self, precision: str, *, always: bool) -> None:
        from flexict_core.encoders.accelerate import OpenVinoBlocks

        self.fast: OpenVinoBlocks | None = OpenVinoBlocks(precision)
        self.always = always

    def __call__(self, block: Block, x: Tensor, rope: Rope) -> Tensor:
        if self.fast is not None and self._pays(block, x):
            try:
                return self.fast(block, x, rope)  # [B, T, C]
            except Exception as error:  # a processor or a version that cannot: the run goes on
                reason = " ".join(f"{type(error).__name__}: {error}".split())[:160]
                if self.always:
                    raise EncoderError(
                        f"OpenVINO cannot run this network ({reason}): unset FLEXICT_OPENVINO"
                    ) from error
                self.fast = None
                warn(
                    f"OpenVINO failed, torch goes on and takes longer ({reason})",
                    FlexictWarning,
                    stacklevel=2,
                )
        return block(x, rope)  # [B, T, C]

    def _pays(self, block: Block, x: Tensor) -> bool:
        from flexict_core.encoders.accelerate import WORTH_FLOP, block_flop

        return self.always or len(x) * block_flop(block, x.shape[1]) > WORTH_FLOP
