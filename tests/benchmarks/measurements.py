"""What a benchmark found, in a form that `python -m tests.benchmarks` can put into one table.

A benchmark prints what it likes for people, and calls `record` for each number that answers its question.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

VARIABLE = "FLEXICT_MEASUREMENTS"  # the file that the numbers go to; without it nothing is written


@dataclass(frozen=True)
class Measurement:
    """One number. bar: what it is held against, None where it is only told; better: on which side of the bar."""

    name: str
    value: float
    unit: str = ""
    bar: float | None = None
    better: Literal["lower", "higher"] = "lower"

    @property
    def met(self) -> bool | None:
        """Whether the bar is met; None without one."""
        if self.bar is None:
            return None
        return self.value <= self.bar if self.better == "lower" else self.value >= self.bar

    def measured(self) -> str:
        """`read names 1.18 × plain pyarrow`."""
        value = f"{self.value:,.0f}" if float(self.value).is_integer() else f"{self.value:.3g}"
        return " ".join(filter(None, (self.name, value, self.unit)))

    def wanted(self) -> str:
        """`at most 1.3`; nothing without a bar."""
        if self.bar is None:
            return ""
        return f"{'at most' if self.better == 'lower' else 'at least'} {self.bar:g}"


def record(*measurements: Measurement) -> None:
    """Hand numbers over to whoever runs this benchmark."""
    if path := os.environ.get(VARIABLE):
        with Path(path).open("a", encoding="utf-8") as handle:
            handle.writelines(json.dumps(asdict(m)) + "\n" for m in measurements)


def recorded(path: Path) -> list[Measurement]:
    """What `record` has written into a file; nothing where there is none."""
    if not path.exists():
        return []
    return [Measurement(**json.loads(line)) for line in path.read_text("utf-8").splitlines()]
