"""An encoder that takes all the memory there is for one volume; named by FLEXICT_ENCODERS, it adds itself as `greedy`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from flexict_core.encoders.baseline import BaselineEncoder
from flexict_core.encoders.registry import EncoderInfo, register_encoder
from tests.benchmarks.memory_faults import VARIABLE, Group, swallow


class Greedy(BaselineEncoder):
    """The baseline, but for the volume of 12 HU."""

    def prepare(self, volume: Any, roi: Any = None) -> Any:
        if volume.array.max() == 12:
            Group(Path(os.environ[VARIABLE])).join()
            swallow()
        return super().prepare(volume, roi)


register_encoder(
    "greedy",
    lambda name, options: Greedy(),
    info=EncoderInfo(
        name="greedy", dim=Greedy().dim, recipe="native", poolings=("",), weights="", licence="", weights_found=None,
        description="",
    ),
)  # fmt: skip
