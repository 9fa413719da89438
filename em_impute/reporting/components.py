"""A mixture's components, as the report describes them: sizes, profiles, BIC, where they lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh

from em_impute.gaussian.arrays import Floats
from em_impute.gaussian.families import MixtureFit, MixtureModel
from em_impute.gaussian.threads import one_blas_thread

MOST_COLUMNS = 30
# Of an axis, so many columns are named that go with it.
NAMED = 2
# Cells on a side of the picture, which reaches so many sd beyond the components' means.
BINS, REACH = 40, 3.0

OwnMoments = Callable[[str, Floats, Floats], tuple[Floats, Floats]]
"""Means and sds of a column of the model, by its name, on its own scale."""


@dataclass(frozen=True)
class Profile:
    """A column in each component.

    Attributes
    ----------
    column : str
    between : float
        The part of its variance that lies between the components.
    means, sds : tuple of float
        By component, on the column's own scale.
    """

    column: str
    between: float
    means: tuple[float, ...]
    sds: tuple[float, ...]


@dataclass(frozen=True)
class Directions:
    """The plane in which the components lie farthest apart, and the rows in it.

    Attributes
    ----------
    names : tuple of (str, str)
        Which columns go along with each axis.
    low, high : tuple of (float, float)
        Where the picture begins and ends, in sd within components.
    counts : tuple of tuple of int
        Rows by bin: of the second axis, upwards, and in these of the first.
    centres : tuple of (float, float)
    covariances : tuple of (float, float, float)
        Variance, covariance, variance of each component there.
    """

    names: tuple[str, str]
    low: tuple[float, float]
    high: tuple[float, float]
    counts: tuple[tuple[int, ...], ...]
    centres: tuple[tuple[float, float], ...]
    covariances: tuple[tuple[float, float, float], ...]


@dataclass(frozen=True)
class Components:
    """All that the report says of a mixture.

    Attributes
    ----------
    covariance_type : str
    weights : tuple of float
        Shares of the rows, by component.
    rows : int
        Of which they are.
    profiles : tuple of Profile
        The columns that tell the components apart most, at most `MOST_COLUMNS`.
    total_columns : int
    bics : tuple of (int, float)
        BIC by number of components; empty where the job gives it.
    directions : Directions or None
        None with one component, or one column.
    """

    covariance_type: str
    weights: tuple[float, ...]
    rows: int
    profiles: tuple[Profile, ...]
    total_columns: int
    bics: tuple[tuple[int, float], ...] = ()
    directions: Directions | None = None


def describe_components(
    fit: MixtureFit, own_moments: OwnMoments, directions: Directions | None
) -> Components:
    """Describe a mixture.

    Parameters
    ----------
    fit : MixtureFit
    own_moments : callable
    directions : Directions or None
    """
    model = fit.model
    between = _between(model)
    sds = np.array([one.sd for one in model.gaussians])
    profiles = []
    for j in np.argsort(-between, kind="stable")[:MOST_COLUMNS]:
        moments = own_moments(model.columns[j], model.means[:, j], sds[:, j])
        means, spreads = (tuple(np.nan_to_num(part).tolist()) for part in moments)
        profiles.append(Profile(model.columns[j], float(between[j]), means, spreads))
    return Components(
        covariance_type=model.components.kind,
        weights=tuple(model.weights.tolist()),
        rows=fit.n_rows,
        profiles=tuple(profiles),
        total_columns=len(model.columns),
        bics=tuple((k, bic) for k, bic in fit.bics.items() if np.isfinite(bic)),
        directions=directions,
    )


def _between(model: MixtureModel) -> Floats:
    """The part of each column's variance that lies between the components."""
    variances = np.diag(model.covariance)
    apart = model.weights @ (model.means - model.mean) ** 2
    return np.divide(apart, variances, out=np.zeros_like(apart), where=variances > 0)


@dataclass(frozen=True, eq=False)
class Plane:
    """Two directions among the columns of a mixture, ``(x - mean) @ axes``."""

    mean: Floats
    axes: Floats
    names: tuple[str, str]


@one_blas_thread()
def separating_plane(model: MixtureModel) -> Plane | None:
    """The two directions in which components lie farthest apart, for their spread (Fisher 1936).

    Where only one tells them apart, the other is that in which the rows vary most of those which
    are uncorrelated with it within components. None with one component, or one column that varies.

    Parameters
    ----------
    model : MixtureModel
    """
    varying = np.flatnonzero(model.sd > 0)
    if len(model.weights) < 2 or len(varying) < 2:
        return None
    unit = model.sd[varying]
    within = np.einsum("g,gij->ij", model.weights, model.covariances)[np.ix_(varying, varying)]
    within /= np.outer(unit, unit)
    total = model.correlation[np.ix_(varying, varying)]
    separations, axes = eigh(total - within, within + 1e-12 * np.eye(len(varying)))
    axes = axes[:, ::-1]
    if separations[-2] < 1e-8 * separations[-1]:
        rest = axes[:, 1:]
        axes = np.column_stack([axes[:, 0], rest @ eigh(rest.T @ total @ rest)[1][:, -1]])
    axes = axes[:, :2]
    along = total @ axes / np.sqrt(np.einsum("ij,ik,kj->j", axes, total, axes))
    # The column that goes along most grows to the right, or upwards.
    signs = np.sign(along[np.abs(along).argmax(axis=0), [0, 1]])
    columns = [model.columns[j] for j in varying]
    names = [_named(columns, correlations) for correlations in (along * signs).T]
    placed = np.zeros((len(model.columns), 2))
    placed[varying] = axes * signs / unit[:, None]
    return Plane(model.mean, placed, (names[0], names[1]))


def _named(columns: Sequence[str], correlations: Floats) -> str:
    ranked = np.argsort(-np.abs(correlations), kind="stable")[:NAMED]
    return ", ".join(f"{columns[j]} ({correlations[j]:+.2f})" for j in ranked)


def describe_directions(model: MixtureModel, plane: Plane, rows: Floats) -> Directions:
    """Where the components and the rows are in a plane.

    Parameters
    ----------
    model : MixtureModel
    plane : Plane
    rows : ndarray of shape (n_rows, n_columns)
        Without missing cells.
    """
    centres = (model.means - plane.mean) @ plane.axes
    covariances = plane.axes.T @ model.covariances @ plane.axes
    reach = REACH * np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))
    low, high = (centres - reach).min(axis=0), (centres + reach).max(axis=0)
    seen = (rows - plane.mean) @ plane.axes
    ends = [(low[0], high[0]), (low[1], high[1])]
    counts, _, _ = np.histogram2d(seen[:, 0], seen[:, 1], bins=BINS, range=ends)
    return Directions(
        names=plane.names,
        low=(float(low[0]), float(low[1])),
        high=(float(high[0]), float(high[1])),
        counts=tuple(tuple(int(n) for n in line) for line in counts.T),
        centres=tuple((float(x), float(y)) for x, y in centres),
        covariances=tuple((float(S[0, 0]), float(S[0, 1]), float(S[1, 1])) for S in covariances),
    )
