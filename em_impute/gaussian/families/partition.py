"""Where a mixture starts: k-means on rows whose missing cells are filled under one Gaussian."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.cluster.vq import vq

from em_impute.gaussian.arrays import Floats, Ints
from em_impute.gaussian.conditional import conditional
from em_impute.gaussian.families.climb import climb
from em_impute.gaussian.families.components import Components, Kind, pooled
from em_impute.gaussian.families.rows import SortedRows
from em_impute.gaussian.holes import Holes
from em_impute.gaussian.stopping import Options

# So many rows say where to start; where there are more, EM begins among these, too.
SAMPLE_ROWS = 10_000
LLOYD_STEPS = 10
# How near to its maximum EM comes among them, and the prior that gives few rows a spread.
NEAR = Options(tol=1e-3, max_iter=50)
START_PRIOR_ROWS = 1.0


@dataclass(frozen=True, eq=False)
class Sample:
    """Some rows with something observed.

    Attributes
    ----------
    rows : SortedRows
    filled : ndarray of shape (n, p)
        The same standardised, each filled with its conditional means under one Gaussian.
    of_many : bool
        Whether there are others.
    """

    rows: SortedRows
    filled: Floats
    of_many: bool

    @classmethod
    def of(cls, rows: SortedRows, rng: np.random.Generator) -> Self:
        """Rows that are chosen at random where there are many, else all of them."""
        chosen = rows.order[len(rows.order) - rows.n_observed :]
        of_many = len(chosen) > SAMPLE_ROWS
        if of_many:
            chosen = rng.choice(chosen, SAMPLE_ROWS, replace=False)
        X, p = rows.X[np.sort(chosen)], rows.X.shape[1]
        some = SortedRows.of(X, rows.scaling)
        alone = Components("full", np.ones(1), np.zeros((1, p)), np.eye(p)[None])
        one = climb(some, alone, START_PRIOR_ROWS, NEAR).point.components
        holes = Holes.of((X - rows.scaling.centre) / rows.scaling.scale)
        cells = conditional(holes, one.means[0], one.covariances[0]).mean
        return cls(some, holes.filled(cells), of_many)


def start(sample: Sample, k: int, kind: Kind, rng: np.random.Generator) -> Components:
    """The weights, means and covariances of k clusters.

    Parameters
    ----------
    sample : Sample
    k : int
    kind : {"full", "tied", "diag", "spherical"}
    rng : Generator
    """
    labels = k_means(sample.filled, k, rng)
    masses = np.bincount(labels, minlength=k).astype(np.float64)
    means = _means(sample.filled, labels, np.zeros((k, sample.filled.shape[1])))
    deviations = sample.filled - means[labels]
    clusters = [deviations[labels == g] for g in range(k)]
    if kind in ("full", "tied"):
        scatters = np.array([cluster.T @ cluster for cluster in clusters])
    else:
        scatters = np.array([np.sum(cluster**2, axis=0, keepdims=True) for cluster in clusters])
    # An empty cluster, which rows that are all alike leave, begins with the weight of one row.
    weights = np.maximum(masses, 1.0)
    covariances = pooled(kind, scatters, masses, START_PRIOR_ROWS)
    components = Components(kind, weights / weights.sum(), means, covariances)
    if not sample.of_many:
        return components
    near = climb(sample.rows, components, 0.0, NEAR)
    return components if len(near.collapsed) else near.point.components


def k_means(points: Floats, k: int, rng: np.random.Generator) -> Ints:
    """The cluster of each of the points (n, p), from seeds that are far apart.

    A point becomes the next seed with a probability that is proportional to its squared distance
    from the nearest one (k-means++, Arthur & Vassilvitskii 2007); Lloyd's steps follow.
    """
    centres = points[rng.integers(len(points), size=1)]
    while len(centres) < k:
        squares = vq(points, centres)[1] ** 2
        total = squares.sum()
        chances = squares / total if total > 0 else None
        centres = np.vstack([centres, points[rng.choice(len(points), p=chances)]])
    for _ in range(LLOYD_STEPS):
        labels = vq(points, centres)[0]
        centres = _means(points, labels, centres)
    clusters: Ints = vq(points, centres)[0].astype(np.int64)
    return clusters


def _means(points: Floats, labels: Ints, otherwise: Floats) -> Floats:
    """Means of the clusters; a row of `otherwise` where one is empty."""
    means = [
        points[labels == g].mean(axis=0) if (labels == g).any() else elsewhere
        for g, elsewhere in enumerate(otherwise)
    ]
    return np.array(means)
