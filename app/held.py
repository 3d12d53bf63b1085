"""Values that all sessions of a server share, bounded by their number and by their weight in memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")
_CELL_BYTES = 64  # of a table or an array of objects: a pointer and a short text
_DEEPEST = 4


class Held(Generic[T]):
    """The values last used. most: of them; most_mb: of all together, and a value that is heavier is held alone.

    What several sessions ask for at the same time is made once, and the others wait for it. A value that is let go
    lives on only where a page still shows it.
    """

    def __init__(self, *, most: int, most_mb: int) -> None:
        self.most, self.most_bytes = most, most_mb << 20
        self._lock = threading.Lock()
        self._values: OrderedDict[Hashable, tuple[T, int]] = OrderedDict()
        self._being_made: dict[Hashable, threading.Lock] = {}

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The value of this key, made if need be. What `make` raises is raised, and nothing is held."""
        with self._lock:
            if key in self._values:
                return self._used(key)
            turn = self._being_made.setdefault(key, threading.Lock())
        with turn:
            with self._lock:
                if key in self._values:
                    return self._used(key)
            try:
                value = make()
                self.put(key, value)
            finally:
                with self._lock:
                    self._being_made.pop(key, None)
        return value

    def put(self, key: Hashable, value: T) -> None:
        """Hold a value; those not used for longest go."""
        weight = weight_of(value)
        with self._lock:
            self._values.pop(key, None)
            self._values[key] = (value, weight)
            while len(self._values) > self.most or (
                len(self._values) > 1 and self._bytes() > self.most_bytes
            ):
                self._values.popitem(last=False)

    def pop(self, key: Hashable) -> None:
        """Let a value go."""
        with self._lock:
            self._values.pop(key, None)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._values

    def __getitem__(self, key: Hashable) -> T:
        with self._lock:
            return self._used(key)

    def __len__(self) -> int:
        return len(self._values)

    @property
    def mb(self) -> float:
        """What is held, in MB."""
        with self._lock:
            return self._bytes() / (1 << 20)

    def _used(self, key: Hashable) -> T:
        self._values.move_to_end(key)
        return self._values[key][0]

    def _bytes(self) -> int:
        return sum(weight for _, weight in self._values.values())


def weight_of(value: Any) -> int:
    """About how many bytes the arrays, tables and bytes in a value take, through dataclasses and containers."""
    return _weight(value, _DEEPEST, set())


def _weight(value: Any, deep: int, seen: set[int]) -> int:
    import numpy as np
    import pandas as pd

    if value is None or isinstance(value, bool | int | float) or id(value) in seen:
        return 0
    seen.add(id(value))
    if isinstance(value, bytes | str):
        return len(value)
    if isinstance(value, np.ndarray):
        return int(value.size) * (_CELL_BYTES if value.dtype == object else value.itemsize)
    if isinstance(value, pd.DataFrame | pd.Series):
        return int(value.size) * _CELL_BYTES
    if deep == 0:
        return 0
    if is_dataclass(value):
        return sum(_weight(getattr(value, f.name, None), deep - 1, seen) for f in fields(value))
    if isinstance(value, Mapping):
        return sum(_weight(v, deep - 1, seen) for v in value.values())
    if isinstance(value, list | tuple):
        return sum(_weight(v, deep - 1, seen) for v in value)
    return 0
