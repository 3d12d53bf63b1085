"""Folds that keep a patient whole and never look at an outcome."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from flexict_core.errors import AnalysisError


@dataclass(frozen=True)
class Folds:
    """Repeated K-fold assignment of units (patients).

    `assignment` [repeats, n]: the fold (0 … folds − 1) in which each unit is held out.
    """

    assignment: np.ndarray
    folds: int

    @property
    def repeats(self) -> int:
        return int(self.assignment.shape[0])

    @property
    def n(self) -> int:
        return int(self.assignment.shape[1])

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (train, test) index arrays, repeat by repeat."""
        for held_out in self.assignment:
            for fold in range(self.folds):
                test = held_out == fold
                yield np.flatnonzero(~test), np.flatnonzero(test)


def repeated_folds(
    n: int, *, folds: int = 5, repeats: int = 10, seed: int | np.random.SeedSequence = 0
) -> Folds:
    """Draw `repeats` random partitions of n units into `folds` parts of equal size (± 1).

    The outcome plays no part in the draw, so a permutation of it leaves the folds valid.

    Raises:
        AnalysisError: fewer units than folds.
    """
    if n < folds:
        raise AnalysisError(f"{n} patients cannot be split into {folds} folds: at least {folds} are needed")
    rng = np.random.default_rng(seed)
    parts = np.arange(n) % folds
    return Folds(np.stack([rng.permutation(parts) for _ in range(repeats)]), folds)
