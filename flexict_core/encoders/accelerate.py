"""The blocks of the network by OpenVINO on a CPU: the same arithmetic, two to three times as fast as torch.

The graph of one block is written down here and compiled for the shape at hand in about a second; every block
runs through it with its own weights as inputs, read where torch holds them. So nothing is converted, nothing
is kept on disk, no weight lies in memory twice, and there is no tracing pass (which takes minutes at full size).

FLEXICT_OPENVINO=0 keeps to torch, 1 insists on OpenVINO; otherwise it is used where it is installed and the
network is large enough to gain.
"""

from __future__ import annotations

import os
import sys
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from flexict_core.encoders.vit import NORM_EPS, Block, MaskedKeyBiasLinear, Rope
from flexict_core.errors import EncoderError

if TYPE_CHECKING:
    import openvino

SWITCH = "FLEXICT_OPENVINO"
WORTH_FLOP = 5e9  # of one block: below it torch is done before a graph is compiled
_SHAPES = 4  # compiled graphs kept
_SCORES = 2**25  # of attention, held at once
_HIDDEN = 2**23  # values of the hidden layer, held at once
_APART = "SNIPPETS_MODE"


def wanted() -> bool | None:
    """What FLEXICT_OPENVINO says: True insists, False forbids, None leaves it to what is installed."""
    value = os.environ.get(SWITCH, "").strip().lower()
    if value in ("", "auto"):
        return None
    if value in ("0", "off", "no", "false"):
        return False
    if value in ("1", "on", "yes", "true"):
        return True
    raise EncoderError(f"{SWITCH} {value!r} is not known: choose 0, 1 or auto")


def installed() -> bool:
    from importlib.util import find_spec

    return find_spec("openvino") is not None


def block_flop(block: Block, tokens: int) -> float:
    """Multiplications and additions of one block for one input of that many tokens."""
    width, hidden = block.mlp.fc1.in_features, block.mlp.fc1.out_features
    return 2.0 * tokens * width * (4 * width + 2 * hidden) + 4.0 * tokens * tokens * width


class OpenVinoBlocks:
    """Runs `Block`s: blocks(block, x [B, T, C], rope) -> [B, T, C] float32, as block(x, rope) would."""

    def __init__(self, precision: str) -> None:
        self.precision = precision
        self._compiled: OrderedDict[tuple[int, ...], Any] = OrderedDict()
        self._tables: tuple[Rope, tuple[Tensor, Tensor]] | None = None

    def __call__(self, block: Block, x: Tensor, rope: Rope) -> Tensor:
        request = self._request(block, x)
        sin, cos = self._whole(rope, x.shape[1])
        out = torch.empty(x.shape, dtype=torch.float32)  # [B, T, C]
        inputs = [x.float().contiguous(), sin, cos, *_parameters(block, _groups(block, self.precision))]
        for index, tensor in enumerate(inputs):
            request.set_input_tensor(index, _shared(tensor))
        request.set_output_tensor(0, _shared(out))
        request.infer()
        return out

    def _whole(self, rope: Rope, tokens: int) -> Rope:
        """The tables [T, D] for all tokens: those before the patches are turned by nothing."""
        if self._tables is None or self._tables[0][0] is not rope[0]:
            still = tokens - len(rope[0])
            sin, cos = (
                torch.cat((torch.full((still, table.shape[1]), fill), table.float())).contiguous()
                for table, fill in zip(rope, (0.0, 1.0), strict=True)
            )  # [T, D] float32 each, of values that bfloat16 holds
            self._tables = (rope, (sin, cos))
        return self._tables[1]

    def _request(self, block: Block, x: Tensor) -> Any:
        """A compiled graph for this shape; the last few are kept."""
        key = (*x.shape, block.attn.heads, block.mlp.fc1.out_features, block.attn.qkv.weight.element_size())
        if key not in self._compiled:
            if len(self._compiled) >= _SHAPES:
                self._compiled.popitem(last=False)
            self._compiled[key] = _compile(block, tuple(x.shape), self.precision)
        self._compiled.move_to_end(key)
        return self._compiled[key]


def _groups(block: Block, precision: str) -> int:
    """Parts that the heads are dealt with in: two keep float32 below torch's peak of memory."""
    return 2 if precision == "fp32" and block.attn.heads % 2 == 0 else 1


def _parameters(block: Block, groups: int) -> list[Tensor]:
    """The weights in the order of the graph's inputs: matrices first; q, k and v each by groups of heads."""
    attn, mlp = block.attn, block.mlp
    bias: Tensor | None = attn.qkv.bias
    if bias is None:
        bias = torch.zeros(len(attn.qkv.weight))
    elif isinstance(attn.qkv, MaskedKeyBiasLinear):
        bias = bias * attn.qkv.bias_mask
    wide = [*attn.qkv.weight.chunk(3 * groups), attn.proj.weight, mlp.fc1.weight, mlp.fc2.weight]
    narrow = [
        block.norm1.weight, block.norm1.bias, *bias.chunk(3 * groups), attn.proj.bias, block.ls1.gamma,
        block.norm2.weight, block.norm2.bias, mlp.fc1.bias, mlp.fc2.bias, block.ls2.gamma,
    ]  # fmt: skip
    return [t.detach().contiguous() for t in wide] + [t.detach().float().contiguous() for t in narrow]


def _shared(tensor: Tensor) -> openvino.Tensor:
    """The tensor's own memory as OpenVINO sees it."""
    import openvino as ov

    if tensor.dtype == torch.bfloat16:  # numpy has no such type
        return ov.Tensor(tensor.view(torch.int16).numpy(), list(tensor.shape), ov.Type.bf16)
    return ov.Tensor(tensor.numpy(), shared_memory=True)


def import_openvino() -> Any:
    """The package, without the usage statistics that it would send when imported."""
    if "openvino" not in sys.modules and "openvino_telemetry" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # its import fails, a stub serves
        try:
            import openvino
        finally:
            del sys.modules["openvino_telemetry"]
        return openvino
    import openvino

    return openvino


def _compile(block: Block, shape: tuple[int, ...], precision: str) -> Any:
    ov = import_openvino()
    settings = {
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "ENABLE_CPU_PINNING": False,  # other processes prepare volumes meanwhile
    }
    # In bfloat16 the generated kernel for all of attention is a quarter slower than its three parts by themselves;
    # in float32 it is the faster one.
    apart = precision == "bf16"
    groups = _groups(block, precision)
    model = _graph(block, shape, rows=_rows(block, shape) if apart else None, groups=groups)
    if apart:
        try:
            return (
                ov.Core().compile_model(model, "CPU", {**settings, _APART: "DISABLE"}).create_infer_request()
            )
        except RuntimeError:  # a version that knows no such setting
            model = _graph(block, shape, rows=None, groups=groups)
    return ov.Core().compile_model(model, "CPU", settings).create_infer_request()


def _rows(block: Block, shape: tuple[int, ...]) -> int:
    """Queries whose scores are computed at once, so that those take no more than 64 MB in bfloat16."""
    batch, tokens, _ = shape
    return max(32, min(tokens, _SCORES // (batch * block.attn.heads * tokens)))


def _graph(block: Block, shape: tuple[int, ...], *, rows: int | None, groups: int) -> openvino.Model:
    """One block; inputs: x [B, T, C], sin and cos [T, D], then `_parameters`. T tokens, H heads of D.

    rows: queries that attention takes at a time, as products and a softmax; None leaves it whole. groups: parts
    that the heads are dealt with in.
    """
    import openvino as ov
    from openvino import opset13 as op

    batch, tokens, width = shape
    heads = block.attn.heads
    weight_type = ov.Type.bf16 if block.attn.qkv.weight.dtype == torch.bfloat16 else ov.Type.f32
    sizes = [(batch, tokens, width), (tokens, width // heads), (tokens, width // heads)]
    inputs = [op.parameter(list(size), ov.Type.f32) for size in sizes]
    matrices = 3 * groups + 3
    for index, tensor in enumerate(_parameters(block, groups)):
        inputs.append(op.parameter(list(tensor.shape), weight_type if index < matrices else ov.Type.f32))
    x, sin, cos, *w_qkv = inputs[: 3 + 3 * groups]
    w_proj, w_fc1, w_fc2, g1, b1, *b_qkv = inputs[3 + 3 * groups : 8 + 6 * groups]
    b_proj, ls1, g2, b2, b_fc1, b_fc2, ls2 = inputs[8 + 6 * groups :]

    def linear(value: Any, weight: Any, bias: Any) -> Any:
        if weight_type == ov.Type.bf16:
            weight = op.convert(weight, ov.Type.f32)
        return op.add(op.matmul(value, weight, False, True), bias)

    def norm(value: Any, weight: Any, bias: Any) -> Any:
        axis = op.constant([-1], dtype="int64")
        return op.add(op.multiply(op.mvn(value, axis, True, NORM_EPS, "inside_sqrt"), weight), bias)

    def rounded(value: Any) -> Any:
        return op.convert(op.convert(value, ov.Type.bf16), ov.Type.f32)

    def turned(value: Any) -> Any:  # as rope.apply_rope, each step rounded to bfloat16
        value = rounded(value)  # [B, H, T, D]
        first, second = op.split(value, op.constant(3, dtype="int64"), 2).outputs()
        across = op.concat([op.negative(second), first], -1)
        return rounded(op.add(rounded(op.multiply(value, cos)), rounded(op.multiply(across, sin))))

    def integers(*values: int) -> Any:
        return op.constant(list(values), dtype="int64")

    def by_head(weight: Any, bias: Any) -> Any:
        value = linear(normed, weight, bias)  # [B, T, some of C]
        split = op.reshape(value, integers(batch, tokens, heads // groups, width // heads), False)
        return op.transpose(split, integers(0, 2, 1, 3))  # [B, some of H, T, D]

    normed = norm(x, g1, b1)  # [B, T, C]
    outs = []
    for group in range(groups):
        q, k, v = (by_head(w_qkv[part], b_qkv[part]) for part in range(group, 3 * groups, groups))
        outs.append(_attention(turned(q), turned(k), v, rows=rows, shape=(tokens, width // heads)))
    out = _joined(outs, axis=1)  # [B, H, T, D]
    out = op.reshape(op.transpose(out, integers(0, 2, 1, 3)), integers(batch, tokens, width), False)
    x = op.add(x, op.multiply(linear(out, w_proj, b_proj), ls1))  # [B, T, C]

    def mlp(value: Any) -> Any:
        hidden = op.gelu(linear(norm(value, g2, b2), w_fc1, b_fc1), "erf")  # [B, some of T, hidden]
        return op.add(value, op.multiply(linear(hidden, w_fc2, b_fc2), ls2))  # [B, some of T, C]

    # the hidden layer is the widest thing there is: some tokens at a time keep memory below torch's
    step = max(32, _HIDDEN // (batch * block.mlp.fc1.out_features))
    x = _joined([mlp(part) for part in _sliced(x, tokens, step, axis=1)], axis=1)  # [B, T, C]
    return ov.Model([op.result(x)], inputs, "flexict_block")


def _sliced(value: Any, length: int, step: int, *, axis: int) -> list[Any]:
    """Parts of at most `step` along an axis of `length`."""
    from openvino import opset13 as op

    if step >= length:
        return [value]
    return [
        op.slice(
            value, *(op.constant([i], dtype="int64") for i in (start, min(start + step, length), 1, axis))
        )
        for start in range(0, length, step)
    ]


def _joined(parts: list[Any], *, axis: int) -> Any:
    from openvino import opset13 as op

    return parts[0] if len(parts) == 1 else op.concat(parts, axis)


def _attention(q: Any, k: Any, v: Any, *, rows: int | None, shape: tuple[int, int]) -> Any:
    """[B, H, T, D] of three alike, whole or some queries at a time."""
    from openvino import opset13 as op

    if rows is None:
        return op.scaled_dot_product_attention(q, k, v)
    tokens, width = shape
    q = op.multiply(q, op.constant(width**-0.5, dtype="float32"))
    parts = []
    for some in _sliced(q, tokens, rows, axis=2):
        scores = op.matmul(some, k, False, True)  # [B, H, rows, T]
        parts.append(op.matmul(op.softmax(scores, -1), v, False, False))  # [B, H, rows, D]
    return _joined(parts, axis=2)
