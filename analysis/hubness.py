"""Hubness: patients who are among the nearest of very many others, and those who are nobody's neighbour.

In many dimensions a few points become neighbours of everyone, and a retrieval then shows the same cases again and
again. N_k of a gallery row is the number of queries that have it among their k nearest; its mean is k times queries
over rows, and a skewness far above 0 says that few rows take most places.

Source: Radovanović, Nanopoulos & Ivanović, J. Mach. Learn. Res. 11 (2010) 2487.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_MOST_HUBS = 10


@dataclass(frozen=True)
class Hub:
    """One gallery row and how many queries have it among their k nearest."""

    patient_id: str
    occurrences: int


@dataclass(frozen=True)
class Hubness:
    """N_k over the gallery. mean: expected occurrences; never: share of rows that nobody has among the k nearest.

    hubs: the rows above mean + 2 SD of N_k, at most 10, most frequent first.
    """

    k: int
    queries: int
    skewness: float | None
    mean: float
    largest: int
    never: float
    hubs: tuple[Hub, ...]


def hubness(occurrences: np.ndarray, patient_id: np.ndarray, *, k: int, queries: int) -> Hubness:
    """Skewness (biased, as scipy's `skew`), hubs and orphans from N_k [g] of the gallery rows."""
    from scipy.stats import skew

    mean, spread = float(occurrences.mean()), float(occurrences.std())
    order = np.argsort(-occurrences, kind="stable")[:_MOST_HUBS]
    hubs = [Hub(str(patient_id[i]), int(occurrences[i])) for i in order if occurrences[i] > mean + 2 * spread]
    return Hubness(
        k=k,
        queries=queries,
        skewness=float(skew(occurrences)) if spread > 0 else None,
        mean=mean,
        largest=int(occurrences.max()),
        never=float(np.mean(occurrences == 0)),
        hubs=tuple(hubs),
    )


def hubness_sentence(h: Hubness) -> str:
    """One sentence for a summary or a methods paragraph."""
    skewness = "undefined" if h.skewness is None else f"{h.skewness:.2f}"
    hubs = ", ".join(f"{hub.patient_id} ({hub.occurrences})" for hub in h.hubs[:3])
    return (
        f"Hubness (k = {h.k}): skewness {skewness}; on average {h.mean:.1f} of {h.queries} queries have a patient "
        f"among their nearest, at most {h.largest}; {100 * h.never:.0f} % are nobody's neighbour"
        + (f"; hubs: {hubs}." if hubs else "; no hubs.")
    )
