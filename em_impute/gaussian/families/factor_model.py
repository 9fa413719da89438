"""`FactorModel`: scores of rows by what they show, and their holes filled by these."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self, TypeVar

import numpy as np

from em_impute.gaussian.arrays import Floats, Ints
from em_impute.gaussian.conditional import Conditional
from em_impute.gaussian.draws import standard_normals
from em_impute.gaussian.families.latent import Posterior, by_blocks
from em_impute.gaussian.families.loadings import Loadings
from em_impute.gaussian.families.rows import Scaling
from em_impute.gaussian.families.varimax import varimax
from em_impute.gaussian.keys import Words
from em_impute.gaussian.threads import one_blas_thread

Cells = tuple[Ints, Ints]
Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class FactorModel:
    """A Gaussian over named columns whose covariance is ``Lambda Lambda^T + Psi``.

    Attributes
    ----------
    standardised : Loadings
        Of the standardised columns.
    scaling : Scaling
        How these are.
    columns : tuple of str
    """

    standardised: Loadings
    scaling: Scaling
    columns: tuple[str, ...]

    @property
    def mean(self) -> Floats:
        """Of shape (p,)."""
        return self.scaling.centre + self.scaling.scale * self.standardised.mean

    @property
    def n_parameters(self) -> int:
        """How many numbers are free."""
        return self.standardised.n_parameters

    @property
    def loadings(self) -> Floats:
        """``Lambda``, of shape (p, k)."""
        return self.scaling.scale[:, None] * self.standardised.loadings

    @property
    def noise(self) -> Floats:
        """The diagonal of ``Psi``, of shape (p,)."""
        return self.scaling.scale**2 * self.standardised.noise

    @property
    def covariance(self) -> Floats:
        """``Lambda Lambda^T + Psi``, of shape (p, p): made when it is asked for."""
        covariance: Floats = self.loadings @ self.loadings.T
        covariance[np.diag_indices_from(covariance)] += self.noise
        return covariance

    @property
    def sd(self) -> Floats:
        """Standard deviation of each column."""
        sd: Floats = np.sqrt(np.sum(self.loadings**2, axis=1) + self.noise)
        return sd

    def turned(self, rotation: str | None) -> Self:
        """The same distribution with its factors in a definite place.

        Without a rotation ``Lambda^T Psi^-1 Lambda`` is diagonal, so that given a whole row the
        scores are uncorrelated; else the loadings of the standardised columns are varimax. The
        factors come in the order of the variance that they explain there, and the largest loading
        of each is positive.
        """
        at = self.standardised
        weighted = at.loadings / np.sqrt(at.noise)[:, None]
        loadings = at.loadings @ np.linalg.svd(weighted, full_matrices=False)[2].T
        if rotation == "varimax":
            loadings = loadings @ varimax(loadings)
            loadings = loadings[:, np.argsort(-np.sum(loadings**2, axis=0), kind="stable")]
        largest = loadings[np.argmax(np.abs(loadings), axis=0), range(loadings.shape[1])]
        loadings = loadings * np.where(largest < 0, -1.0, 1.0)
        return replace(self, standardised=replace(at, loadings=loadings))

    @one_blas_thread()
    def posteriors(self, X: Floats) -> tuple[Floats, Floats]:
        """Mean scores (n, k) of the rows given what they show, and log-likelihoods (n,)."""
        found = self._by_blocks(X, lambda _, found: (found.mean, found.logliks))
        means, logliks = zip(*found, strict=True)
        return np.concatenate(means), np.concatenate(logliks)

    @one_blas_thread()
    def impute(self, X: Floats) -> Floats:
        """A copy of `X` with the conditional mean ``mu + Lambda E[z | x_O]`` in missing cells."""
        filled = X.copy()

        def fill(rows: slice, found: Posterior) -> None:
            at = _holes(X[rows])
            filled[rows][at] = self._cells(at, found.mean)

        self._by_blocks(X, fill)
        return filled

    @one_blas_thread()
    def conditional(self, X: Floats) -> Conditional:
        """Mean and standard deviation of each missing cell given its row's observed cells."""
        from em_impute.gaussian.families import scores

        def describe(rows: slice, found: Posterior) -> tuple[Ints, Ints, Floats, Floats]:
            at = _holes(X[rows])
            variances = self.standardised.noise[at[1]]
            scores.add_variances(*at, self.standardised.loadings, found.factors, variances)
            sd = self.scaling.scale[at[1]] * np.sqrt(variances)
            return at[0] + rows.start, at[1], self._cells(at, found.mean), sd

        parts = self._by_blocks(X, describe)
        return Conditional(*(np.concatenate(kind) for kind in zip(*parts, strict=True)))

    @one_blas_thread()
    def draw(self, X: Floats, seed: int, words: Words, imputation: int = 1) -> Floats:
        """A copy of `X` with the missing cells of each row drawn, jointly.

        Scores are drawn given what the row shows, then the noise of each cell. A draw depends only
        on the model, the row's observed cells, `seed`, the row's word, the column's name and
        `imputation`.

        Parameters
        ----------
        X : ndarray of shape (n, p)
        seed : int
        words : ndarray of shape (n,), uint64
            What `row_words` makes of the keys of the rows.
        imputation : int, default=1
            From 1.
        """
        from em_impute.gaussian.families import scores

        filled, k = X.copy(), self.standardised.loadings.shape[1]
        # No column can have a name that is not text.
        factors = [("factor", h) for h in range(k)]

        def fill(rows: slice, found: Posterior) -> None:
            at, drawn = _holes(X[rows]), found.mean.copy()
            grid = np.divmod(np.arange(drawn.size), k)
            normals = standard_normals(grid, factors, seed, words[rows], imputation)
            scores.add_draws(normals.reshape(-1, k), found.factors, drawn)
            noise = standard_normals(at, self.columns, seed, words[rows], imputation)
            sd = np.sqrt(self.noise)[at[1]]
            filled[rows][at] = self._cells(at, drawn) + sd * noise

        self._by_blocks(X, fill)
        return filled

    def _by_blocks(self, X: Floats, use: Callable[[slice, Posterior], Result]) -> list[Result]:
        return by_blocks(X, self.scaling, self.standardised, use)

    def _cells(self, at: Cells, scores: Floats) -> Floats:
        """The expected cells of some rows given their scores."""
        rows, columns = at
        explained = np.sum(self.standardised.loadings[columns] * scores[rows], axis=1)
        cells: Floats = self.standardised.mean[columns] + explained
        cells *= self.scaling.scale[columns]
        cells += self.scaling.centre[columns]
        return cells


def _holes(X: Floats) -> Cells:
    """Rows and columns of the missing cells."""
    rows, columns = np.divmod(np.flatnonzero(np.isnan(X)), X.shape[1])
    return rows, columns
