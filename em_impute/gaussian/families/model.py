"""`MixtureModel`: several Gaussians that tell which of them a row is of, and fill its holes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from em_impute.gaussian.arrays import Floats, Ints
from em_impute.gaussian.conditional import conditional
from em_impute.gaussian.draws import conditional_draws, standard_normals, uniforms
from em_impute.gaussian.families.components import Components
from em_impute.gaussian.families.e_step import posteriors
from em_impute.gaussian.families.rows import Scaling, SortedRows
from em_impute.gaussian.holes import Holes
from em_impute.gaussian.keys import Words
from em_impute.gaussian.threads import one_blas_thread

# What the component of a row is drawn by; no column can have this name, which is not text.
_COMPONENT = ("component",)


@dataclass(frozen=True, eq=False)
class MixtureModel:
    """A mixture of Gaussians over named columns.

    Attributes
    ----------
    components : Components
        Of the standardised columns.
    scaling : Scaling
        How these are.
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
    def means(self) -> Floats:
        """Of shape (k, p)."""
        return self.scaling.centre + self.scaling.scale * self.components.means

    @property
    def covariances(self) -> Floats:
        """Matrices of shape (k, p, p), whatever they have in common."""
        return np.multiply.outer(self.scaling.scale, self.scaling.scale) * self.components.matrices

    def posteriors(self, X: Floats) -> tuple[Floats, Floats]:
        """Responsibilities (n, k) of the components for the rows, and log-likelihoods (n,)."""
        return posteriors(SortedRows.of(X, self.scaling), self.components)

    @one_blas_thread()
    def impute(self, X: Floats) -> Floats:
        """A copy of `X` with the conditional mean in each missing cell.

        With ``r`` the row's responsibilities it is ``sum_g r_g E_g[x_M | x_O]``.
        """
        holes, (responsibilities, _) = Holes.of(X), self.posteriors(X)
        cells = np.zeros(len(holes.rows))
        for g, (mean, covariance) in enumerate(self._each()):
            of_component = conditional(holes, mean, covariance).mean
            cells += responsibilities[holes.rows, g] * of_component
        return holes.filled(cells)

    def impute_by_component(self, X: Floats) -> Floats:
        """A copy of `X` filled with the conditional means of each row's most probable component."""
        components = np.argmax(self.posteriors(X)[0], axis=1)
        return Holes.of(X).filled(self._cells(X, components, None))

    def draw(self, X: Floats, seed: int, words: Words, imputation: int = 1) -> Floats:
        """A copy of `X` with the missing cells of each row drawn, jointly.

        A component is drawn by the row's responsibilities, then the cells from that component's
        conditional distribution. A draw depends only on the model, the row's observed cells,
        `seed`, the row's word, the column's name and `imputation`.

        Parameters
        ----------
        X : ndarray of shape (n, p)
        seed : int
        words : ndarray of shape (n,), uint64
            What `row_words` makes of the keys of the rows.
        imputation : int, default=1
            From 1.
        """
        cumulated = np.cumsum(self.posteriors(X)[0], axis=1)
        rows = np.arange(len(X))
        chance = uniforms((rows, np.zeros_like(rows)), [_COMPONENT], seed, words, imputation)
        components = np.sum(cumulated[:, :-1] < chance[:, None] * cumulated[:, -1:], axis=1)
        holes = Holes.of(X)
        at = holes.rows, holes.columns
        normals = standard_normals(at, self.columns, seed, words, imputation)
        return holes.filled(self._cells(X, components, normals))

    def _cells(self, X: Floats, components: Ints, normals: Floats | None) -> Floats:
        """The missing cells, row behind row, each row's under one component: means, or draws."""
        of_cell = np.repeat(components, np.isnan(X).sum(axis=1))
        cells = np.empty(len(of_cell))
        for g, (mean, covariance) in enumerate(self._each()):
            holes, mine = Holes.of(X[components == g]), of_cell == g
            if normals is None:
                cells[mine] = conditional(holes, mean, covariance).mean
            else:
                cells[mine] = conditional_draws(holes, mean, covariance, normals[mine])
        return cells

    def _each(self) -> Iterator[tuple[Floats, Floats]]:
        return zip(self.means, self.covariances, strict=True)
