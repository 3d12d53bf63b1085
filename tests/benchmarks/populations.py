"""Populations of embeddings, stages and adjusters from which the calibration draws cohorts.

A population is fixed (loadings, directions); cohorts drawn from it differ. That makes "the expected
concordance on new patients" a number that can be computed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Cohort:
    """X [n, d], stage codes [n], adjusters [n rows], group [n]."""

    X: np.ndarray
    codes: np.ndarray
    adjusters: pd.DataFrame
    groups: np.ndarray


@dataclass(frozen=True)
class Population:
    """How stage, embedding and adjusters are made.

    kind:
        "independent": stage has nothing to do with anything.
        "planted": stage shifts the embedding along one direction by `effect` (in stage SDs).
        "size", "scanner", "nonlinear": stage and embedding are both driven by the adjuster and nothing else;
        `beyond` > 0 adds a phenotype that drives both.
    weights: share of each stage (equal when None). heavy: t₃ instead of normal noise. sites: number of sites,
    each with its own mix of stages and its own shift of the embedding. isotropic: independent dimensions
    instead of d / 4 factors. spread: noise SD of the last stage over that of the first.
    """

    kind: str
    d: int
    n_stages: int
    effect: float = 0.0
    beyond: float = 0.0
    weights: tuple[float, ...] | None = None
    heavy: bool = False
    sites: int = 1
    shape: tuple[float, ...] | None = None
    isotropic: bool = False
    spread: float = 1.0
    seed: int = 7
    _fixed: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        factors = max(2, self.d // 4)
        self._fixed["loadings"] = rng.standard_normal((factors, self.d)) / np.sqrt(factors)
        direction = rng.standard_normal((2, self.d))
        self._fixed["direction"] = direction / np.linalg.norm(direction, axis=1, keepdims=True)
        self._fixed["adjuster"] = rng.standard_normal((3, self.d))
        if self.kind not in ("independent", "planted"):
            # thresholds of the population, as a staging manual's: cut at a cohort's own quantiles, its patients
            # would not be independent
            many = 200_000
            driver, _, _ = self._adjuster(many, rng)
            latent = driver + 0.8 * rng.standard_normal(many) + self.beyond * rng.standard_normal(many)
            self._fixed["thresholds"] = np.quantile(latent, self._cuts())
        self._fixed["site"] = rng.standard_normal((self.sites, self.d)) * (self.sites > 1)

    def draw(self, n: int, rng: np.random.Generator) -> Cohort:
        """A cohort of n patients with at least three patients in every stage."""
        while True:
            cohort = self._draw(n, rng)
            if np.bincount(cohort.codes, minlength=self.n_stages).min() >= 3:
                return cohort

    def _draw(self, n: int, rng: np.random.Generator) -> Cohort:
        noise = (
            rng.standard_t(3, (n, self.d)) / np.sqrt(3) if self.heavy else rng.standard_normal((n, self.d))
        )
        factors = rng.standard_normal((n, self._fixed["loadings"].shape[0]))
        X = noise if self.isotropic else factors @ self._fixed["loadings"] + 0.5 * noise
        site = rng.integers(0, self.sites, n)
        X = X + self._fixed["site"][site]
        if self.kind in ("independent", "planted"):
            codes = self._stages(n, site, rng)
            values = np.arange(self.n_stages) if self.shape is None else np.asarray(self.shape)
            X = X * np.linspace(1.0, self.spread, self.n_stages)[codes][:, None]
            spread = np.arange(self.n_stages).std()
            X = X + self.effect * np.outer(
                (values[codes] - values.mean()) / spread, self._fixed["direction"][0]
            )
            adjusters = pd.DataFrame({"age": rng.normal(65, 10, n)})
        else:
            driver, shift, adjusters = self._adjuster(n, rng)
            phenotype = rng.standard_normal(n)
            latent = driver + 0.8 * rng.standard_normal(n) + self.beyond * phenotype
            codes = np.searchsorted(self._fixed["thresholds"], latent)
            X = X + shift + 2.0 * (self.beyond > 0) * np.outer(phenotype, self._fixed["direction"][1])
        return Cohort(X, codes.astype(np.int64), adjusters, site.astype(str))

    def _stages(self, n: int, site: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        weights = (
            np.full(self.n_stages, 1 / self.n_stages) if self.weights is None else np.asarray(self.weights)
        )
        tilt = np.linspace(-1, 1, self.n_stages)
        lean = np.linspace(-1, 1, self.sites) if self.sites > 1 else np.zeros(1)
        p = weights * np.exp(np.outer(lean[site], tilt))
        return (rng.random(n)[:, None] > np.cumsum(p / p.sum(axis=1, keepdims=True), axis=1)).sum(axis=1)

    def _cuts(self) -> np.ndarray:
        weights = (
            np.full(self.n_stages, 1 / self.n_stages) if self.weights is None else np.asarray(self.weights)
        )
        return np.cumsum(weights)[:-1]

    def _adjuster(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
        """Driver of the stage [n], shift of the embedding [n, d], and the adjuster as it is recorded."""
        size = rng.standard_normal(n)
        if self.kind == "scanner":
            scanner = rng.integers(0, 3, n)
            return (
                1.2 * scanner,
                self._fixed["adjuster"][scanner],
                pd.DataFrame({"scanner": np.array(list("ABC"))[scanner]}),
            )
        table = pd.DataFrame({"size_mm": 40 + 12 * size})
        if self.kind == "size":
            return 1.5 * size, np.outer(size, self._fixed["adjuster"][0]), table
        curves = np.column_stack([np.sin(2 * size), size**2, size])
        return 1.5 * size**2, curves @ self._fixed["adjuster"], table
