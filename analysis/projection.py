"""A two-dimensional picture of an embedding: PCA, UMAP on a graph of neighbours, or t-SNE.

A UMAP is a picture, not a fixed map: its own transform depends on who else is sent with a new patient, so new
patients are placed by their neighbours (`analysis.placement`). How far the picture can be believed, and whether it
looks the same with other random numbers, is printed with it.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import numpy as np

from analysis.cohort import Cohort
from analysis.neighbour_graph import Graph, neighbour_graph
from analysis.placement import OUTSIDE, Placed
from analysis.results import Result
from analysis.vectors import Metric, Space, as_vectors, comparable
from flexict_core.errors import AnalysisError

if TYPE_CHECKING:
    import pandas as pd

    from analysis.clusters import ClusterResult

Method = Literal["umap", "pca", "tsne"]
_FEWEST = 5  # trustworthiness needs k < n / 2, and k = 1 says nothing
_JUDGED = 3000  # patients on whom the picture is judged at most: the check needs all pairs
OTHER_SEEDS = 2  # further pictures whose neighbourhoods are compared with the first's
_MANY, _FEW_DIMENSIONS = 20_000, 4096  # more patients of no more dimensions: PCA goes by the covariance
_MOST_REDRAWN = 20_000  # patients up to which the picture is drawn again unless asked for


@dataclass(frozen=True, kw_only=True)
class ProjectionResult(Result):
    """coordinates [n, 2] in arbitrary units (UMAP) or in units of the compared vectors (PCA); patient_id [n].

    trustworthiness: of the k nearest in the picture, how few are strangers in the embedding; continuity: of
    the k nearest in the embedding, how few are torn apart in the picture (Venna & Kaski 2001). 1 is best; a
    random picture has about 0.5. stability: of a patient's k nearest in the picture, the share who are so in
    pictures of other seeds too (1 the same neighbourhoods; None where not judged). explained_variance: share of
    the variance along each axis (PCA only).
    """

    command: ClassVar[str] = "project"

    method: Method
    coordinates: np.ndarray
    patient_id: np.ndarray
    trustworthiness: float
    continuity: float
    k: int
    judged: int
    stability: float | None
    other_seeds: int
    explained_variance: tuple[float, float] | None
    parameters: dict[str, Any]
    space: str
    clusters: ClusterResult | None = None
    placed: Placed | None = None

    def table(self) -> pd.DataFrame:
        import pandas as pd

        x, y = self.coordinates.T
        return pd.DataFrame({"patient_id": self.patient_id, "x": x, "y": y})

    def summary(self) -> str:
        lines = [self.verdict]
        if self.clusters is not None:
            lines.append(self.clusters.summary())
        if self.placed is not None:
            strange = int(np.count_nonzero(self.placed.strangeness > OUTSIDE))
            lines.append(
                f"{len(self.placed.patient_id)} further patients placed by neighbours, {strange} unlike the map"
            )
        return "\n".join(lines)

    def methods_text(self) -> str:
        p = self.parameters
        if self.method == "pca":
            shares = " and ".join(f"{100 * v:.1f} %" for v in self.explained_variance or ())
            how = f"by principal components ({shares} of the variance)"
        elif self.method == "tsne":
            how = (
                f"by t-SNE (perplexity {p['perplexity']:g}, started from the principal components, seed "
                f"{self.provenance.seed})"
            )
        else:
            how = (
                f"by UMAP ({p['n_neighbors']} neighbours {p['graph']}, minimum distance {p['min_dist']:g}, "
                f"{p['epochs']} epochs, started from the principal components, seed {self.provenance.seed})"
            )
        sample = "" if self.judged == self.n else f" on a random sample of {self.judged} patients"
        again = (
            ""
            if self.stability is None or self.method == "pca"
            else f" Of the {self.k} nearest in the picture {100 * self.stability:.0f} % were so with other seeds too "
            f"({self.other_seeds} of them)."
        )
        more = "" if self.clusters is None else f" {self.clusters.methods_text()}"
        if self.placed is not None:
            more += (
                f" {len(self.placed.patient_id)} further patients were placed at the mean of their {self.placed.k} "
                "nearest patients' places, weighted by inverse distance."
            )
        return (
            f"The embeddings of {self.n} patients were projected to two dimensions {how}; {self.space}. "
            f"Trustworthiness was {self.trustworthiness:.3f} and continuity {self.continuity:.3f} "
            f"(k = {self.k}{sample}; Venna and Kaski 2001). Distances in the picture are not measured quantities."
            f"{again}{more}"
        )

    def details(self) -> dict[str, Any]:
        return {
            "method": self.method,
            "trustworthiness": self.trustworthiness,
            "continuity": self.continuity,
            "k": self.k,
            "judged": self.judged,
            "stability": self.stability,
            "other_seeds": self.other_seeds,
            "explained_variance": self.explained_variance,
            "space": self.space,
            "clusters": None if self.clusters is None else self.clusters.details(),
            "placed": [] if self.placed is None else self.placed.table().to_dict(orient="records"),
            "coordinates": self.table().to_dict(orient="records"),
        }


def project(
    data: Cohort | np.ndarray,
    *,
    method: Method = "umap",
    n_neighbors: int = 15,
    min_dist: float = 0.1,
    metric: Metric | None = None,
    other_seeds: int | None = None,
    patient_id: Sequence[Any] | None = None,
    seed: int = 0,
    progress: bool = False,
) -> ProjectionResult:
    """Project a cohort, or an array [n, d], to two dimensions.

    metric: "cosine" of the vectors (the default), or "euclidean" distance of standardised dimensions (the
    default for named features, whose units differ). n_neighbors counts the patient itself, as UMAP does; it
    is lowered where there are too few patients, which `warnings` says. t-SNE takes a perplexity of 30, or a third
    of the patients where they are few. other_seeds: pictures drawn again to see whether neighbourhoods stay (2;
    none above 20,000 patients unless asked for). progress: show bars of UMAP's search and
    layout. The same call gives the same picture.
    Raises AnalysisError below 5 patients, below 2 dimensions and where all embeddings are equal.
    """
    _check(method, n_neighbors, min_dist, metric)
    if other_seeds is not None and (isinstance(other_seeds, bool) or not 0 <= other_seeds <= 20):
        raise AnalysisError(f"other_seeds = {other_seeds!r}: give a whole number from 0 to 20")
    vectors = as_vectors(data, patient_id=patient_id)
    n, dim = vectors.X.shape
    if n < _FEWEST:
        raise AnalysisError(f"{n} patients are too few for a picture: project needs at least {_FEWEST}")
    if dim < 2:
        raise AnalysisError(f"the embedding has {dim} dimension: a picture in two needs at least 2")
    if metric is None:
        metric = "cosine" if vectors.feature_names is None else "euclidean"
    space = comparable(vectors, metric=metric)
    components, explained = _principal(space.points, seed)
    notes = [*vectors.warnings]
    parameters: dict[str, Any] = {"method": method, "metric": metric, "standardised": space.standardised}
    draw = _Draw(space, components)
    if method == "umap":
        near = min(n_neighbors, n - 1)
        if near < n_neighbors:
            notes.append(f"n_neighbors lowered from {n_neighbors} to {near}: there are {n} patients")
        epochs = 500 if n <= 10_000 else 200
        parameters |= {"n_neighbors": near, "min_dist": min_dist, "epochs": epochs}
        graph = neighbour_graph(space, near, progress=progress)  # searched once for all seeds
        parameters |= {"graph": graph.describe(), "graph_recall": graph.recall}
        draw = _UmapDraw(space, components, near, min_dist, epochs, graph, progress)
    elif method == "tsne":
        parameters["perplexity"] = min(30.0, (n - 1) / 3)
        draw = _TsneDraw(space, components, parameters["perplexity"])
    coordinates = draw(seed)
    k = min(n_neighbors, (min(n, _JUDGED) - 1) // 2)
    judged = np.sort(np.random.default_rng(seed).permutation(n)[:_JUDGED])
    trust, continuity = _faithful(space.points[judged], coordinates[judged], k)
    again = (
        0 if method == "pca" else OTHER_SEEDS * (n <= _MOST_REDRAWN) if other_seeds is None else other_seeds
    )
    stability = _stability(coordinates, [draw(seed + i) for i in range(1, again + 1)], judged, k)
    return ProjectionResult(
        n=n,
        verdict=(
            f"{method.upper()} of {n} patients: trustworthiness {trust:.3f}, continuity {continuity:.3f} "
            f"(k = {k}; 1 is best)" + (f", stability over seeds {stability:.2f}" if again else "")
        ),
        warnings=tuple(notes),
        provenance=vectors.provenance(
            parameters=parameters,
            seed=seed,
            libraries=("umap-learn", "faiss-cpu") if method == "umap" else (),
        ),
        method=method,
        coordinates=coordinates,
        patient_id=vectors.patient_id,
        trustworthiness=trust,
        continuity=continuity,
        k=k,
        judged=len(judged),
        stability=1.0 if method == "pca" else stability,
        other_seeds=again,
        explained_variance=explained if method == "pca" else None,
        parameters=parameters,
        space=space.describe(),
    )


def _check(method: str, n_neighbors: int, min_dist: float, metric: str | None) -> None:
    for value, name, known in ((method, "method", Method), (metric or "cosine", "metric", Metric)):
        if value not in get_args(known):
            raise AnalysisError(f"{name} {value!r} is not known: choose {' or '.join(get_args(known))}")
    if isinstance(n_neighbors, bool) or not isinstance(n_neighbors, int) or n_neighbors < 2:
        raise AnalysisError(f"n_neighbors = {n_neighbors!r}: give a whole number of at least 2")
    if not 0 <= min_dist <= 1:
        raise AnalysisError(f"min_dist = {min_dist!r}: give a number from 0 to 1")


def _principal(points: np.ndarray, seed: int) -> tuple[np.ndarray, tuple[float, float]]:
    """First two principal components [n, 2] and their shares of the variance.

    Signs are fixed (scikit-learn makes the largest loading of each axis positive), so that a picture never
    flips.
    """
    from sklearn.decomposition import PCA

    if np.ptp(points, axis=0).max() <= 1e-12 * max(np.abs(points).max(), 1.0):
        raise AnalysisError(f"all {len(points)} embeddings are equal: there is nothing to project")
    if len(points) > _MANY and points.shape[1] <= _FEW_DIMENSIONS:
        # exact too: of 266,227 × 864 in seconds, where a decomposition takes minutes
        solver = "covariance_eigh"
    else:
        solver = "full" if min(points.shape) <= 1000 else "arpack"
    pca = PCA(n_components=2, svd_solver=solver, random_state=seed)
    coordinates = pca.fit_transform(points)
    first, second = (float(v) for v in pca.explained_variance_ratio_)
    return coordinates, (first, second)


@dataclass(frozen=True)
class _Draw:
    """Draws the picture for a seed; this one is the principal components themselves."""

    space: Space
    start: np.ndarray

    def __call__(self, seed: int) -> np.ndarray:
        return self.start


@dataclass(frozen=True)
class _TsneDraw(_Draw):
    perplexity: float

    def __call__(self, seed: int) -> np.ndarray:
        """scikit-learn's t-SNE from the principal components, one thread."""
        from sklearn.manifold import TSNE

        # small, as scikit-learn's own start by principal components is, so that the first steps are free
        noise = np.random.default_rng(seed).normal(scale=1e-8, size=self.start.shape)
        start = 1e-4 * self.start / np.maximum(self.start[:, 0].std(), 1e-300) + noise
        model = TSNE(perplexity=self.perplexity, init=start.astype(np.float32), random_state=seed, n_jobs=1)
        return np.asarray(model.fit_transform(self.space.points.astype(np.float32)), dtype=np.float64)


@dataclass(frozen=True)
class _UmapDraw(_Draw):
    near: int
    min_dist: float
    epochs: int
    graph: Graph
    progress: bool

    def __call__(self, seed: int) -> np.ndarray:
        return _umap(self, seed)


def _stability(
    coordinates: np.ndarray, others: Sequence[np.ndarray], judged: np.ndarray, k: int
) -> float | None:
    """Mean share of a patient's k nearest in the picture who are so in each other picture; None without any."""
    if not others:
        return None
    nearest = [_nearest_in(picture[judged], k) for picture in (coordinates, *others)]
    shares = [
        np.mean([len(np.intersect1d(a, b)) / k for a, b in zip(nearest[0], other, strict=True)])
        for other in nearest[1:]
    ]
    return float(np.mean(shares))


def _nearest_in(picture: np.ndarray, k: int) -> np.ndarray:
    from sklearn.neighbors import NearestNeighbors

    return np.asarray(NearestNeighbors(n_neighbors=k).fit(picture).kneighbors(return_distance=False))


def _umap(draw: _UmapDraw, seed: int) -> np.ndarray:
    """UMAP of a neighbour graph, one thread, so that a seed fixes the picture."""
    umap = _umap_functions()
    space, near, start = draw.space, draw.near, draw.start
    random = np.random.RandomState(seed)
    graph = umap.fuzzy_simplicial_set(
        space.points, near, random, space.metric, knn_indices=draw.graph.index, knn_dists=draw.graph.distance
    )[0]
    a, b = umap.find_ab_params(1.0, draw.min_dist)
    # noise of 1e-5 of the picture separates equal patients
    noise = np.random.default_rng(seed).normal(scale=1e-4, size=start.shape)
    start = 10 * start / np.abs(start).max() + noise
    coordinates, _ = umap.simplicial_set_embedding(
        space.points,
        graph,
        n_components=2,
        initial_alpha=1.0,
        a=a,
        b=b,
        gamma=1.0,
        negative_sample_rate=5,
        n_epochs=draw.epochs,
        tqdm_kwds={"disable": not draw.progress, "desc": "layout", "leave": False},
        init=start.astype(np.float32),
        random_state=random,
        metric=space.metric,
        metric_kwds={},
        densmap=False,
        densmap_kwds={},
        output_dens=False,
        parallel=False,
    )
    return np.asarray(coordinates, dtype=np.float64)


def _umap_functions() -> Any:
    """umap's functions; its class would warn that a searched graph allows no transform, which nobody is offered."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Tensorflow not installed", category=ImportWarning)
        from umap import umap_
    return umap_


def _faithful(points: np.ndarray, picture: np.ndarray, k: int) -> tuple[float, float]:
    """Trustworthiness, and continuity, which is trustworthiness with the two spaces swapped.

    Both compare Euclidean neighbours; those of rows of length one are the neighbours by cosine.
    """
    from sklearn.manifold import trustworthiness

    return (
        float(trustworthiness(points, picture, n_neighbors=k)),
        float(trustworthiness(picture, points, n_neighbors=k)),
    )
