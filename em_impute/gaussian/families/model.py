"""`MixtureModel`: several Gaussians that tell which of them a row is of, and fill its holes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np

from em_impute.gaussian.arrays import Floats, Ints
from em_impute.gaussian.conditional import Conditional
from em_impute.gaussian.draws import uniforms
from em_impute.gaussian.families.components import KINDS, Components
from em_impute.gaussian.families.e_step import posteriors
from em_impute.gaussian.families.mixed import Part, mixed_moments
from em_impute.gaussian.families.rows import Scaling, SortedRows
from em_impute.gaussian.holes import Holes
from em_impute.gaussian.keys import Keys, Words, row_words
from em_impute.gaussian.model import GaussianModel
from em_impute.gaussian.model_file import numbers_of_json, read_model, write_model
from em_impute.gaussian.threads import one_blas_thread

FORMAT = "em_impute.mixture"
# What the component of a row is drawn by; no column can have this name, which is not text.
_COMPONENT = ("component",)
_ARRAYS = ("weights", "means", "covariances", "centre", "scale")


@dataclass(frozen=True, eq=False)
class MixtureModel:
    """A mixture of Gaussians over named columns.

    Attributes
    ----------
    components : Components
        Of the standardised columns.
    scaling : Scaling
        How these are. A column of scale 0 is a constant.
    columns : tuple of str
    """

    components: Components
    scaling: Scaling
    columns: tuple[str, ...]

    @property
    def weights(self) -> Floats:
        """Shares of the components, of shape (k,)."""
        return self.components.weights

    @property
    def n_parameters(self) -> int:
        """How many numbers are free."""
        return self.components.n_parameters

    @property
    def means(self) -> Floats:
        """Of shape (k, p)."""
        return self.scaling.centre + self.scaling.scale * self.components.means

    @property
    def covariances(self) -> Floats:
        """Matrices of shape (k, p, p), whatever they have in common."""
        return np.multiply.outer(self.scaling.scale, self.scaling.scale) * self.components.matrices

    @cached_property
    def gaussians(self) -> tuple[GaussianModel, ...]:
        """The components by themselves."""
        both = zip(self.means, self.covariances, strict=True)
        return tuple(GaussianModel(mean, _even(S), self.columns) for mean, S in both)

    @property
    def parts(self) -> tuple[tuple[float, GaussianModel], ...]:
        """The components by themselves, each with its share of the rows."""
        return tuple(zip(self.weights.tolist(), self.gaussians, strict=True))

    @cached_property
    def moments(self) -> GaussianModel:
        """The Gaussian that has the mixture's own mean and covariance."""
        means, w = self.means, self.weights
        # Where all components agree there is no rounding.
        mean = means[0] + w @ (means - means[0])
        apart = means - mean
        between = np.einsum("g,gi,gj->ij", w, apart, apart)
        within = np.einsum("g,gij->ij", w, self.covariances)
        return GaussianModel(mean, _even(within + between), self.columns)

    @property
    def mean(self) -> Floats:
        """Of all components together, of shape (p,)."""
        return self.moments.mean

    @property
    def covariance(self) -> Floats:
        """Of all components together, of shape (p, p)."""
        return self.moments.covariance

    @property
    def sd(self) -> Floats:
        """Standard deviations of all components together, of shape (p,)."""
        return self.moments.sd

    @property
    def correlation(self) -> Floats:
        """Correlation matrix of all components together, NaN for constant columns."""
        return self.moments.correlation

    def posteriors(self, X: Floats) -> tuple[Floats, Floats]:
        """Responsibilities (n, k) of the components for the rows, and log-likelihoods (n,).

        A constant column, of which all components are alike, says nothing of the first.
        """
        scale = np.where(self.scaling.scale > 0, self.scaling.scale, 1.0)
        rows = SortedRows.of(X, Scaling(self.scaling.centre, scale))
        return posteriors(rows, self.components)

    @one_blas_thread()
    def conditional(self, X: Floats) -> Conditional:
        """Mean and standard deviation of each missing cell given its row's observed cells.

        With ``r`` the row's responsibilities, and ``m_g`` and ``s_g`` what the component g gives
        for a cell, these are ``m = sum_g r_g m_g`` and the root of
        ``sum_g r_g (s_g^2 + (m_g - m)^2)``.
        """
        holes = Holes.of(X)
        cells = [one.conditional_of(holes) for one in self.gaussians]
        weights = self.posteriors(X)[0][holes.rows].T
        parts = [(w, one.mean, one.sd) for w, one in zip(weights, cells, strict=True)]
        return Conditional(holes.rows, holes.columns, *mixed_moments(parts))

    def conditional_parts(self, X: Floats, cells: Ints) -> list[Part]:
        """For each component its responsibility for the rows, and what it says of k cells of each.

        Parameters
        ----------
        X : ndarray of shape (n, p)
        cells : ndarray of shape (n, k), int64
            The columns of each row's missing cells.
        """
        moments = [one.conditional_cells(X, cells) for one in self.gaussians]
        return [(w, *two) for w, two in zip(self.posteriors(X)[0].T, moments, strict=True)]

    def impute(self, X: Floats) -> Floats:
        """A copy of `X` with the conditional mean in each missing cell."""
        return Holes.of(X).filled(self.conditional(X).mean)

    def impute_by_component(self, X: Floats) -> Floats:
        """A copy of `X` filled with the conditional means of each row's most probable component."""
        filled, components = X.copy(), np.argmax(self.posteriors(X)[0], axis=1)
        for g, gaussian in enumerate(self.gaussians):
            holes = Holes.of(X[components == g])
            filled[components == g] = holes.filled(gaussian.conditional_of(holes).mean)
        return filled

    def drawn_by(
        self, X: Floats, seed: int, words: Words, imputation: int
    ) -> Iterator[tuple[GaussianModel, Ints]]:
        """The components, each with the rows that draw it, by their responsibilities.

        Which one a row draws depends on the model, its observed cells, `seed`, its word and
        `imputation`.

        Parameters
        ----------
        X : ndarray of shape (n, p)
        seed : int
        words : ndarray of shape (n,), uint64
            What `row_words` makes of the keys of the rows.
        imputation : int
            From 1.
        """
        cumulated = np.cumsum(self.posteriors(X)[0], axis=1)
        rows = np.arange(len(X))
        chance = uniforms((rows, np.zeros_like(rows)), [_COMPONENT], seed, words, imputation)
        components = np.sum(cumulated[:, :-1] < chance[:, None] * cumulated[:, -1:], axis=1)
        for g, gaussian in enumerate(self.gaussians):
            yield gaussian, np.flatnonzero(components == g)

    def draw(self, X: Floats, seed: int, keys: Keys | None = None, imputation: int = 1) -> Floats:
        """A copy of `X` with the missing cells of each row drawn, jointly.

        A component is drawn by the row's responsibilities, then the cells from that component's
        conditional distribution, as `GaussianModel.draw` does: a draw depends on nothing but the
        model, the row's observed cells, `seed`, the row's key, the column's name and `imputation`.

        Parameters
        ----------
        X : ndarray of shape (n, p)
        seed : int
        keys : sequence of hashable or ndarray of shape (n,), optional
            What identifies the rows; the row number, from 0, by default.
        imputation : int, default=1
            From 1.
        """
        drawn, words = X.copy(), row_words(keys, len(X))
        for gaussian, rows in self.drawn_by(X, seed, words, imputation):
            holes = Holes.of(X[rows])
            cells = gaussian.draw_cells(holes, seed, words[rows], imputation)
            drawn[rows] = holes.filled(cells)
        return drawn

    def with_constants(self, columns: tuple[str, ...], constants: Mapping[str, float]) -> Self:
        """The same with constant columns among its own.

        Parameters
        ----------
        columns : tuple of str
            All columns, in their order.
        constants : mapping of str to float
            The value of each that is not the mixture's.
        """
        own, k = np.array([name not in constants for name in columns]), len(self.weights)
        centre = np.array([constants.get(name, 0.0) for name in columns])
        scale, means = np.zeros(len(own)), np.zeros((k, len(own)))
        centre[own], scale[own] = self.scaling.centre, self.scaling.scale
        means[:, own] = self.components.means
        kind, inner = self.components.kind, self.components.covariances
        if kind in ("full", "tied"):
            # All components are alike in them, and independent of the others.
            covariances = np.tile(np.eye(len(own)), (k, 1, 1))
            covariances[:, own[:, None] & own] = inner.reshape(k, -1)
        else:
            covariances = np.ones((k, 1, len(own)))
            covariances[:, :, own] = inner
        components = Components(kind, self.weights, means, covariances)
        return type(self)(components, Scaling(centre, scale), columns)

    def to_dict(self) -> dict[str, Any]:
        """Columns and parameters as lists, of which `from_dict` makes the model again."""
        values = {**vars(self.components), **vars(self.scaling)}
        return {
            "columns": list(self.columns),
            "covariance_type": self.components.kind,
            **{name: values[name].tolist() for name in _ARRAYS},
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """The model that `to_dict` was called on.

        Raises
        ------
        KeyError, TypeError, ValueError
            If something is missing, of another kind, or does not hold together.
        """
        columns, kind = tuple(content["columns"]), content["covariance_type"]
        weights, means, covariances, centre, scale = (numbers_of_json(content[n]) for n in _ARRAYS)
        k, p = len(weights), len(columns)
        width = p if kind in ("full", "tied") else 1
        if kind not in KINDS or not all(isinstance(name, str) for name in columns):
            raise ValueError("expected column names to be text, and one of the covariance types")
        shapes = [weights.shape, means.shape, covariances.shape, centre.shape, scale.shape]
        if shapes != [(k,), (k, p), (k, width, p), (p,), (p,)] or not k:
            raise ValueError("weights, means and covariances do not fit each other")
        if (weights < 0).any() or not np.isclose(weights.sum(), 1.0) or (scale < 0).any():
            raise ValueError("expected weights that sum to 1, and scales that are not negative")
        components = Components(kind, weights, means, covariances)
        if np.linalg.eigvalsh(components.matrices).min(initial=1.0) <= 0:
            raise ValueError("expected covariances that are positive definite")
        return cls(components, Scaling(centre, scale), columns)

    def save(self, path: str | Path) -> None:
        """Write the model to a JSON file; every float comes back bit by bit."""
        write_model(path, FORMAT, self.to_dict())

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a model that `save` wrote.

        Raises
        ------
        ValueError
            If the file is no model, is of another family or version, or does not hold together.
        """
        return read_model(path, {FORMAT: cls.from_dict})


def _even(covariance: Floats) -> Floats:
    """A covariance without what rounding makes of its symmetry."""
    return (covariance + covariance.T) / 2.0
