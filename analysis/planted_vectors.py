"""Embeddings with planted and with null effects, for calibration: what is true of them is known in closed form.

In all of them the rows are independent patients, noise is standard normal and w is a random unit vector. `size`
is a standard normal adjuster (think of the logarithm of a diameter).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray


class Planted(NamedTuple):
    """X [n, d] float64; stage [n] codes 0 … K-1; adjusters, one row a patient; truth:
    `beyond_adjusters` (is X dependent on stage given the adjusters?), `axis` w where there is one, and
    `concordance` where it has a closed form."""

    X: Array
    stage: Array
    adjusters: pd.DataFrame
    truth: dict[str, Any]


def independent(n: int, d: int, n_stages: int, *, seed: int, rows_per_patient: int = 1) -> Planted:
    """X, stage and the adjusters are independent; every concordance is 0.5.

    With `rows_per_patient` above 1 (n counts rows and must be its multiple), a patient's rows share their stage
    and half of their variance, and `adjusters["patient"]` tells them apart: exchangeable as whole blocks only.
    """
    rng = np.random.default_rng(seed)
    if n % rows_per_patient:
        raise ValueError(f"n is {n}: give a multiple of rows_per_patient, {rows_per_patient}")
    patient = np.repeat(np.arange(n // rows_per_patient), rows_per_patient)
    stage = _even_stages(n // rows_per_patient, n_stages, rng)[patient]
    own = rng.standard_normal((n, d))
    shared = rng.standard_normal((n // rows_per_patient, d))[patient]
    X = own if rows_per_patient == 1 else (own + shared) / np.sqrt(2)
    columns = {"size": rng.standard_normal(n), "scanner": rng.choice(["S1", "S2"], n), "patient": patient}
    return _planted(X, stage, columns, beyond=False, concordance=0.5)


def planted_gradient(n: int, d: int, n_stages: int, *, effect: float, seed: int) -> Planted:
    """X = effect · z(stage) w + noise, with z the codes centred and scaled to SD 1; size is independent of both.

    Truth: the axis w gives the largest concordance that any axis can have, the mean of
    Phi(effect (z_b - z_a) / sqrt 2) over pairs of patients in different stages. An axis learnt from n patients
    stays below it.
    """
    rng = np.random.default_rng(seed)
    stage = _even_stages(n, n_stages, rng)
    w = _unit(d, rng)
    X = rng.standard_normal((n, d)) + effect * np.outer(_standard(stage), w)
    columns = {"size": rng.standard_normal(n), "scanner": rng.choice(["S1", "S2"], n)}
    concordance = best_concordance(stage, effect)
    return _planted(X, stage, columns, beyond=effect != 0, concordance=concordance, axis=w)


def size_driven(
    n: int, d: int, n_stages: int, *, effect: float = 1.5, rho: float = 0.6, seed: int
) -> Planted:
    """Stage and X depend on size and on nothing else they share: X is independent of stage given size.

    The stage is cut into equal groups from rho · size + sqrt(1 - rho²) · noise. A test that does not adjust for
    size finds a gradient; one that does must not.
    """
    rng = np.random.default_rng(seed)
    size = rng.standard_normal(n)
    stage = _cut(rho * size + np.sqrt(1 - rho**2) * rng.standard_normal(n), n_stages)
    w = _unit(d, rng)
    X = rng.standard_normal((n, d)) + effect * np.outer(size, w)
    return _planted(X, stage, {"size": size, "scanner": rng.choice(["S1", "S2"], n)}, beyond=False, axis=w)


def scanner_driven(
    n: int, d: int, n_stages: int, *, effect: float = 1.5, lean: float = 0.8, seed: int
) -> Planted:
    """Later stages are scanned more often on S2, and S2 shifts X: X is independent of stage given the scanner.

    `lean` is the log odds of S2 per SD of stage.
    """
    rng = np.random.default_rng(seed)
    stage = _even_stages(n, n_stages, rng)
    second = rng.random(n) < 1 / (1 + np.exp(-lean * _standard(stage)))
    w = _unit(d, rng)
    X = rng.standard_normal((n, d)) + effect * np.outer(second - 0.5, w)
    columns = {"size": rng.standard_normal(n), "scanner": np.where(second, "S2", "S1")}
    return _planted(X, stage, columns, beyond=False, axis=w)


def nonlinear_confounding(n: int, d: int, n_stages: int, *, effect: float = 1.0, seed: int) -> Planted:
    """Stage rises and X moves with curves in size (square, sine): independent given size, but not given a
    straight line in size. A linear adjustment leaves a false gradient; one that bends does not."""
    rng = np.random.default_rng(seed)
    size = rng.standard_normal(n)
    curve = (size**2 - 1) / np.sqrt(2)
    stage = _cut(0.5 * size + 0.7 * curve + 0.7 * rng.standard_normal(n), n_stages)
    wave = np.sin(1.5 * size)
    w = _unit(d, rng)
    X = rng.standard_normal((n, d)) + effect * (np.outer(curve, w) + np.outer(wave, _unit(d, rng)))
    return _planted(X, stage, {"size": size, "scanner": rng.choice(["S1", "S2"], n)}, beyond=False, axis=w)


def planted_beyond_size(
    n: int, d: int, n_stages: int, *, effect: float, size_effect: float = 1.5, rho: float = 0.6, seed: int
) -> Planted:
    """As `size_driven`, and X also moves by `effect` along a second axis with the part of the stage's latent
    score that size does not explain: dependent given size whenever `effect` is not 0."""
    rng = np.random.default_rng(seed)
    size, rest = rng.standard_normal(n), rng.standard_normal(n)
    stage = _cut(rho * size + np.sqrt(1 - rho**2) * rest, n_stages)
    first, second = np.linalg.qr(rng.standard_normal((d, 2)))[0].T
    X = rng.standard_normal((n, d)) + size_effect * np.outer(size, first) + effect * np.outer(rest, second)
    columns = {"size": size, "scanner": rng.choice(["S1", "S2"], n)}
    return _planted(X, stage, columns, beyond=effect != 0, axis=second)


def best_concordance(stage: Array, effect: float) -> float:
    """P(s_i < s_j | y_i < y_j) for s ~ N(effect · z(stage), 1), over the stages given (codes from 0)."""
    from scipy.stats import norm

    z, counts = np.unique(_standard(stage), return_counts=True)
    wins = norm.cdf(effect * (z[None, :] - z[:, None]) / np.sqrt(2))
    pairs = np.triu(np.outer(counts, counts), 1)
    return float((wins * pairs).sum() / pairs.sum())


def _planted(X: Array, stage: Array, columns: dict[str, Any], *, beyond: bool, **more: Any) -> Planted:
    import pandas as pd

    return Planted(X, stage, pd.DataFrame(columns), {"beyond_adjusters": beyond, **more})


def _even_stages(n: int, n_stages: int, rng: np.random.Generator) -> Array:
    return rng.permutation(np.arange(n) * n_stages // n)


def _cut(latent: Array, n_stages: int) -> Array:
    """Codes 0 … K-1 by rank, groups as even as n allows."""
    rank = np.argsort(np.argsort(latent, kind="stable"), kind="stable")
    return rank * n_stages // len(latent)


def _standard(stage: Array) -> Array:
    return (stage - stage.mean()) / stage.std()


def _unit(d: int, rng: np.random.Generator) -> Array:
    w = rng.standard_normal(d)
    return w / np.linalg.norm(w)
