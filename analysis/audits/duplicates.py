"""Entries that should be one: the same image, the same embedding, embeddings too near to be two patients.

How near is too near follows from the cohort itself. Where points lie evenly within reach of their tenth
neighbour, (d1 / d10)^m is Beta(1, 9), with d1 the distance to the nearest, d10 to the tenth, and m the intrinsic
dimension. m comes from the median ratio, which some duplicates do not move. So every patient has a p-value for
so near a neighbour; Holm's correction is over all patients, and a pair must also lie within half of d10.

Source: order statistics of nearest-neighbour distances as in Levina & Bickel, NIPS 17 (2004), and Facco et al.,
Sci. Rep. 7 (2017) 12140.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.audits.result import Duplicate
from analysis.vectors import nearest_rows

NEIGHBOURS = 10
HALF = 0.5
FEWEST = 30  # patients below which the median ratio says nothing
_MOST_PAIRS = 200


@dataclass(frozen=True)
class Near:
    """Pairs of rows with their ratio d1 / d10 and Holm p; the intrinsic dimension, None where it is not judged."""

    pairs: tuple[tuple[int, int, float, float | None], ...]
    intrinsic_dimension: float | None


def near_pairs(X: np.ndarray, *, alpha: float) -> Near:
    """Pairs of rows of X [n, d] (standardised columns, Euclidean) that are equal, or nearer than chance allows."""
    from analysis.gradient.comparison import holm_adjusted

    n = len(X)
    spread = X.std(axis=0)
    Z = (X - X.mean(axis=0)) / np.where(spread > 1e-12 * (1 + np.abs(X).max(axis=0)), spread, np.inf)
    k = min(NEIGHBOURS, n - 2)
    if k < 1:
        return Near((), None)
    index, distance = nearest_rows(Z, Z, k + 1, metric="euclidean")
    other = index != np.arange(n)[:, None]
    other[other.all(axis=1), -1] = False  # many equal rows may push a row out of its own list
    index, distance = index[other].reshape(n, k), distance[other].reshape(n, k)
    # distances below rounding are no distances: the ranking is float64, the search float32
    scale = float(np.median(distance[:, -1])) or 1.0
    equal = distance <= 1e-6 * scale
    pairs = {(min(i, int(j)), max(i, int(j))): (0.0, None) for i in range(n) for j in index[i, equal[i]]}
    if n < FEWEST or k < NEIGHBOURS:
        return Near(tuple((a, b, r, p) for (a, b), (r, p) in sorted(pairs.items())), None)
    ratio = np.where(equal[:, 0], 0.0, distance[:, 0]) / np.maximum(distance[:, -1], 1e-300)
    middle = float(np.clip(np.median(ratio), 1e-6, 1 - 1e-9))
    dimension = float(np.log1p(-(0.5 ** (1 / (k - 1)))) / np.log(middle))
    p = -np.expm1((k - 1) * np.log1p(-np.minimum(ratio**dimension, 1.0 - 1e-16)))
    holm = np.array(holm_adjusted(p))
    found: dict[tuple[int, int], tuple[float, float | None]] = dict(pairs)
    for i in np.flatnonzero((holm < alpha) & (ratio < HALF)):
        # all of the row's neighbours that are about as near, for three copies are three pairs
        for j in index[i, distance[i] <= max(2 * distance[i, 0], 1e-6 * scale)]:
            if (d := distance[i, index[i] == j][0]) < HALF * distance[i, -1]:
                pair = (min(int(i), int(j)), max(int(i), int(j)))
                found.setdefault(pair, (float(d / distance[i, -1]), float(holm[i])))
    rows = sorted(found.items(), key=lambda item: (item[1][0], item[0]))[:_MOST_PAIRS]
    return Near(tuple((a, b, r, q) for (a, b), (r, q) in rows), dimension)


def find_duplicates(
    near: Near,
    patient_id: Sequence[str] | np.ndarray,
    *,
    images: Iterable[tuple[str, str]] = (),
    alike: Near | None = None,
    persons: Sequence[str] | np.ndarray | None = None,
    splits: Sequence[str] | np.ndarray | None = None,
) -> tuple[Duplicate, ...]:
    """Duplicates of every kind, those that cross the split first.

    images: (patient, hash of image and mask) of every stored row; alike: pairs whose images are nearly equal;
    persons [n]: who each row is, where the ID is that of a scan; splits [n]: the side of each row.
    IDs that differ in case, spaces or punctuation alone count as one person.
    """
    ids = [str(p) for p in patient_id]
    split_of = {} if splits is None else {i: str(s) for i, s in enumerate(splits)}
    rows: dict[tuple[str, int, int], Duplicate] = {}

    def add(kind: str, i: int, j: int, ratio: float | None = None, p: float | None = None) -> None:
        sides = (split_of[i], split_of[j]) if split_of else None
        crosses = sides is not None and "" not in sides and sides[0] != sides[1]
        rows.setdefault((kind, i, j), Duplicate(kind, ids[i], ids[j], ratio, p, sides, crosses))

    whole = _same_files(ids, images)
    for i, j in whole:
        add("same image file", i, j)
    whose: dict[str, set[int]] = defaultdict(set)
    for i, name in enumerate(ids if persons is None else [str(p) for p in persons]):
        whose[_plain(name)].add(i)
    for key, members in whose.items():
        # rows of one person are no mistake unless the split tears them apart
        for i, j in _chain(members, by_side=split_of if persons is not None or _same(ids, members) else None):
            if key:
                add("same person", i, j)
    for what, pairs in (("image", _less(alike, whole)), ("embedding", near.pairs)):
        for i, j, ratio, p in pairs:
            if not _one_person(i, j, ids, persons):
                add(f"{'same' if p is None else 'near'} {what}", i, j, ratio, p)
    return tuple(sorted(rows.values(), key=lambda d: (not d.crosses_split, d.kind, d.first, d.second)))


def _same_files(ids: Sequence[str], images: Iterable[tuple[str, str]]) -> list[tuple[int, int]]:
    place = {p: i for i, p in enumerate(ids)}
    holders: dict[str, set[int]] = defaultdict(set)
    for patient, digest in images:
        if digest and patient in place:
            holders[digest].add(place[patient])
    return [pair for members in holders.values() for pair in _chain(members)]


def _less(found: Near | None, known: Sequence[tuple[int, int]]) -> list[tuple[int, int, float, float | None]]:
    return [] if found is None else [p for p in found.pairs if p[:2] not in known]


def _one_person(i: int, j: int, ids: Sequence[str], persons: Sequence[str] | np.ndarray | None) -> bool:
    return ids[i] == ids[j] or (persons is not None and str(persons[i]) == str(persons[j]))


def _same(ids: Sequence[str], members: Iterable[int]) -> bool:
    return len({ids[i] for i in members}) == 1


def _chain(members: Iterable[int], *, by_side: dict[int, str] | None = None) -> list[tuple[int, int]]:
    """The first member with each other one; with `by_side` only the first of every further side."""
    ordered = sorted(members)
    if by_side is None:
        return [(ordered[0], j) for j in ordered[1:]]
    seen, pairs = {by_side.get(ordered[0], "")}, []
    for j in ordered[1:]:
        if (side := by_side.get(j, "")) not in seen:
            seen.add(side)
            pairs.append((ordered[0], j))
    return pairs


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "-", name.casefold()).strip("-")
