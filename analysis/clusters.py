"""Density clusters of an embedding (HDBSCAN), how stable they are, and what they are rich in.

Clusters are sought among the leading principal components of the compared vectors, never on a UMAP, whose distances
mean nothing. A cluster counts as stable when it comes back: the patients are drawn without replacement again and
again, clustered anew, and its best Jaccard overlap is averaged (Hennig, Comput. Stat. Data Anal. 52 (2007) 258:
0.75 and above is stable, below 0.5 it is dissolved). Clusters are found without a look at the clinical columns, so
that their comparison with those is an ordinary test.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from analysis.cohort import Cohort
from analysis.results import Result
from analysis.vectors import Metric, as_vectors, comparable
from flexict_core.errors import AnalysisError

if TYPE_CHECKING:
    import pandas as pd

STABLE = 0.75
_FEWEST, _MOST_COMPONENTS, _VARIANCE = 20, 20, 0.9
_DRAWS, _SHARE = 20, 0.8
_MOST_PATIENTS_REDRAWN = 5000


@dataclass(frozen=True)
class ClusterRow:
    """One cluster: its size, and its mean best Jaccard overlap with clusters of other draws (1 always the same)."""

    cluster: int
    n: int
    stability: float | None


@dataclass(frozen=True)
class Enrichment:
    """A cluster against all other clustered patients in one column.

    measure "P(in > out)" (0.5 nothing) by Mann–Whitney for numbers, "Cramér V" (0 nothing) by chi-squared for
    categories; most: the value that is most over-represented, with its shares inside and outside.
    """

    cluster: int
    column: str
    measure: str
    value: float
    p_value: float
    p_holm: float
    test: str
    n: int
    most: str


@dataclass(frozen=True, kw_only=True)
class ClusterResult(Result):
    """cluster [n]: 0, 1, … by size, −1 for patients in no dense region; membership [n] in 0…1."""

    command: ClassVar[str] = "project"

    patient_id: np.ndarray
    cluster: np.ndarray
    membership: np.ndarray
    clusters: tuple[ClusterRow, ...]
    enrichment: tuple[Enrichment, ...]
    columns_left_out: tuple[str, ...]
    components: int
    min_cluster_size: int
    draws: int

    def table(self) -> pd.DataFrame:
        import pandas as pd

        return pd.DataFrame(
            {"patient_id": self.patient_id, "cluster": self.cluster, "membership": self.membership}
        )

    def enrichment_table(self) -> pd.DataFrame:
        """One row a cluster and column, the strongest evidence first."""
        import pandas as pd

        return pd.DataFrame([asdict(e) for e in self.enrichment])

    def summary(self) -> str:
        lines = [self.verdict]
        for row in self.clusters:
            stability = "not judged" if row.stability is None else f"{row.stability:.2f}"
            lines.append(f"  cluster {row.cluster}: n = {row.n}, stability {stability}")
        for e in self.enrichment[:6]:
            if e.p_holm < 0.05:
                lines.append(
                    f"  cluster {e.cluster}, {e.column}: {e.measure} {e.value:.2f} (p = {e.p_holm:.2g} after "
                    f"Holm; {e.most})"
                )
        return "\n".join(lines)

    def methods_text(self) -> str:
        return (
            f"Density clusters were sought by HDBSCAN (smallest size {self.min_cluster_size}) among the first "
            f"{self.components} principal components. Stability is the mean best Jaccard overlap over {self.draws} "
            f"redraws of {100 * _SHARE:.0f} % of the patients (Hennig 2007; stable from {STABLE:g}). Each cluster was "
            "compared with all other clustered patients in every clinical column (Mann–Whitney or chi-squared; "
            "Holm's correction over all comparisons)."
        )

    def details(self) -> dict[str, Any]:
        return {
            "clusters": self.clusters,
            "unclustered": int(np.count_nonzero(self.cluster < 0)),
            "enrichment": self.enrichment,
            "columns_left_out": self.columns_left_out,
            "components": self.components,
            "min_cluster_size": self.min_cluster_size,
        }


def find_clusters(
    data: Cohort | np.ndarray,
    *,
    columns: Sequence[str] | pd.DataFrame | None = None,
    min_cluster_size: int | None = None,
    metric: Metric | None = None,
    patient_id: Sequence[Any] | None = None,
    seed: int = 0,
) -> ClusterResult:
    """Density clusters of a cohort or an array [n, d], with stability and enrichment.

    columns: clinical columns to compare (None: all of a cohort; a table of n rows for an array). min_cluster_size:
    patients of the smallest cluster; a twentieth of them, at least 5, unless given. Raises AnalysisError below 20
    patients and for a size that fewer than two clusters could have.
    """
    from sklearn.decomposition import PCA

    vectors = as_vectors(data, patient_id=patient_id)
    n = vectors.n
    if n < _FEWEST:
        raise AnalysisError(f"{n} patients are too few for clusters: at least {_FEWEST} are needed")
    size = max(5, n // 20) if min_cluster_size is None else min_cluster_size
    if isinstance(size, bool) or not isinstance(size, int) or not 2 <= size <= n // 2:
        raise AnalysisError(f"min_cluster_size = {size!r}: give a whole number from 2 to {n // 2}")
    if metric is None:
        metric = "cosine" if vectors.feature_names is None else "euclidean"
    space = comparable(vectors, metric=metric)
    if np.ptp(space.points, axis=0).max() <= 1e-12:
        raise AnalysisError(f"all {n} embeddings are equal: there are no clusters to find")
    most = min(_MOST_COMPONENTS, *space.points.shape)
    pca = PCA(
        n_components=most,
        svd_solver="full" if min(space.points.shape) <= 1000 else "arpack",
        random_state=seed,
    )
    points = pca.fit_transform(space.points)
    enough = int(np.searchsorted(np.cumsum(pca.explained_variance_ratio_), _VARIANCE) + 1)
    points = points[:, : min(enough, most)]
    found, membership = _hdbscan(points, size)
    found = _by_size(found)
    draws = _DRAWS if n <= _MOST_PATIENTS_REDRAWN else 0
    rows = _stability(points, found, size, draws=draws, seed=seed)
    table, left_out = comparable_columns(data, columns, n)
    enrichment = enrichment_of(found, table, seed=seed)
    return ClusterResult(
        n=n,
        verdict=_verdict(rows, found, n),
        warnings=vectors.warnings,
        provenance=vectors.provenance(
            parameters={"metric": metric, "min_cluster_size": size, "components": points.shape[1]},
            seed=seed, libraries=(),
        ),
        patient_id=vectors.patient_id,
        cluster=found,
        membership=membership,
        clusters=rows,
        enrichment=enrichment,
        columns_left_out=left_out,
        components=points.shape[1],
        min_cluster_size=size,
        draws=draws,
    )  # fmt: skip


def _verdict(rows: Sequence[ClusterRow], found: np.ndarray, n: int) -> str:
    if not rows:
        return f"No density clusters among {n} patients"
    stable = sum(r.stability is not None and r.stability >= STABLE for r in rows)
    alone = int(np.count_nonzero(found < 0))
    judged = f", {stable} of them stable" if rows[0].stability is not None else ", stability not judged"
    return f"{len(rows)} density clusters{judged}; {alone} of {n} patients in none"


def _hdbscan(points: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.cluster import HDBSCAN

    model = HDBSCAN(min_cluster_size=size, copy=True).fit(points)
    return model.labels_.astype(np.int64), model.probabilities_


def _by_size(labels: np.ndarray) -> np.ndarray:
    """Numbered anew, the largest cluster 0; ties by first patient."""
    names = [c for c in np.unique(labels) if c >= 0]
    order = sorted(names, key=lambda c: (-np.count_nonzero(labels == c), int(np.argmax(labels == c))))
    new = {old: i for i, old in enumerate(order)}
    return np.array([new.get(c, -1) for c in labels], dtype=np.int64)


def _stability(
    points: np.ndarray, found: np.ndarray, size: int, *, draws: int, seed: int
) -> tuple[ClusterRow, ...]:
    names = range(int(found.max()) + 1)
    overlaps: list[list[float]] = [[] for _ in names]
    rng = np.random.default_rng(seed)
    for _ in range(draws if len(overlaps) else 0):
        kept = np.sort(rng.permutation(len(points))[: round(_SHARE * len(points))])
        again = _hdbscan(points[kept], max(2, round(_SHARE * size)))[0]
        others = [again == c for c in np.unique(again) if c >= 0]
        for c in names:
            own = found[kept] == c
            shared = [np.count_nonzero(own & o) / np.count_nonzero(own | o) for o in others]
            overlaps[c].append(max(shared, default=0.0))
    return tuple(
        ClusterRow(c, int(np.count_nonzero(found == c)), float(np.mean(overlaps[c])) if overlaps[c] else None)
        for c in names
    )


def comparable_columns(
    data: Cohort | np.ndarray, columns: Sequence[str] | pd.DataFrame | None, n: int
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    import pandas as pd

    from analysis.audits.association import as_values

    if isinstance(columns, pd.DataFrame):
        named = {str(c): columns[c] for c in columns}
    elif isinstance(data, Cohort):
        asked = [c for c in data.table.columns if c != data.id_column] if columns is None else list(columns)
        named = {str(c): data.column(c) for c in asked}
    elif columns:
        raise AnalysisError("columns are named, but an array has none: give a table of its rows")
    else:
        named = {}
    kept, left_out = {}, []
    for name, column in named.items():
        values = as_values(column, n=n, name=name)
        levels = len({v for v in values.tolist() if v is not None})
        if values.dtype.kind != "f" and levels > max(2, n // 10):
            left_out.append(f"{name}: {levels} different values")
        else:
            kept[name] = values
    return kept, tuple(left_out)


def enrichment_of(found: np.ndarray, columns: dict[str, np.ndarray], *, seed: int) -> tuple[Enrichment, ...]:
    """Each cluster of `found` [n] against the other clustered patients in each column [n] (see `as_values`)."""
    from dataclasses import replace

    from analysis.gradient.comparison import holm_adjusted

    inside = found >= 0
    rows = []
    if found.max() > 0:  # with one cluster there is no other to compare with
        for c in range(int(found.max()) + 1):
            for name, values in columns.items():
                row = compare_group(c, name, (found == c)[inside], values[inside], seed)
                if row is not None:
                    rows.append(row)
    holm = holm_adjusted([r.p_value for r in rows])
    adjusted = [replace(r, p_holm=h) for r, h in zip(rows, holm, strict=True)]
    return tuple(sorted(adjusted, key=lambda r: (r.p_value, r.cluster, r.column)))


def compare_group(
    cluster: int, name: str, own: np.ndarray, values: np.ndarray, seed: int
) -> Enrichment | None:
    from analysis.audits.association import association

    if values.dtype.kind != "f":
        member = np.where(own, "in", "out").astype(object)
        found = association(values, member, seed=seed)
        if found is None:
            return None
        measure, value, p, test, n = found
        return Enrichment(cluster, name, measure, value, p, p, test, n, _most(own, values))
    from scipy.stats import mannwhitneyu

    known = np.isfinite(values)
    a, b = values[own & known], values[~own & known]
    if min(len(a), len(b)) < 2 or np.ptp(values[known]) == 0:
        return None
    u = mannwhitneyu(a, b)
    share = float(u.statistic / (len(a) * len(b)))
    most = f"median {np.median(a):.3g} inside, {np.median(b):.3g} outside"
    return Enrichment(
        cluster,
        name,
        "P(in > out)",
        share,
        float(u.pvalue),
        float(u.pvalue),
        "Mann–Whitney",
        len(a) + len(b),
        most,
    )


def _most(own: np.ndarray, values: np.ndarray) -> str:
    known = np.array([v is not None for v in values], dtype=bool)
    texts, own = values[known].astype(str), own[known]
    shares = {v: (np.mean(texts[own] == v), np.mean(texts[~own] == v)) for v in np.unique(texts)}
    name, (inside, outside) = max(shares.items(), key=lambda item: item[1][0] - item[1][1])
    return f"{name}: {100 * inside:.0f} % inside, {100 * outside:.0f} % outside"
