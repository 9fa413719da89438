"""`FactorModel`: scores of rows by what they show, and their holes filled by these."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np

from em_impute.gaussian.arrays import Floats, Ints
from em_impute.gaussian.conditional import Conditional
from em_impute.gaussian.draws import standard_normals
from em_impute.gaussian.families.latent import Posterior, by_blocks
from em_impute.gaussian.families.loadings import Loadings
from em_impute.gaussian.families.mixed import Part
from em_impute.gaussian.families.rows import Scaling
from em_impute.gaussian.families.varimax import varimax
from em_impute.gaussian.holes import Holes
from em_impute.gaussian.keys import Keys, Words, row_words
from em_impute.gaussian.model_file import numbers_of_json, read_model, write_model
from em_impute.gaussian.threads import one_blas_thread

FORMAT = "em_impute.factor"
_ARRAYS = ("mean", "loadings", "noise", "centre", "scale")

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
        How these are. A column of scale 0 is a constant.
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
    def n_factors(self) -> int:
        """How many factors there are."""
        return int(self.standardised.loadings.shape[1])

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

    @property
    def correlation(self) -> Floats:
        """Correlation matrix, NaN for constant columns: made when it is asked for."""
        with np.errstate(divide="ignore", invalid="ignore"):
            matrix: Floats = self.covariance / np.outer(self.sd, self.sd)
        return matrix

    @property
    def parts(self) -> tuple[tuple[float, Self], ...]:
        """What it is made of, each with its share of the rows: itself, with all."""
        return ((1.0, self),)

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
        """Mean scores (n, k) of the rows given what they show, and log-likelihoods (n,).

        A constant column says nothing of the scores.
        """
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

        def describe(rows: slice, found: Posterior) -> tuple[Ints, Ints, Floats, Floats]:
            at = _holes(X[rows])
            return at[0] + rows.start, at[1], *self._moments(at, found)

        parts = self._by_blocks(X, describe)
        return Conditional(*(np.concatenate(kind) for kind in zip(*parts, strict=True)))

    @one_blas_thread()
    def conditional_parts(self, X: Floats, cells: Ints) -> list[Part]:
        """Weights of 1, and means and standard deviations of k missing cells of each row.

        Parameters
        ----------
        X : ndarray of shape (n, p)
        cells : ndarray of shape (n, k), int64
            The columns of each row's cells.
        """

        def describe(rows: slice, found: Posterior) -> tuple[Floats, Floats]:
            own = cells[rows]
            return self._moments((np.repeat(np.arange(len(own)), own.shape[1]), own.ravel()), found)

        means, sds = zip(*self._by_blocks(X, describe), strict=True)
        mean, sd = (np.concatenate(kind).reshape(cells.shape) for kind in (means, sds))
        return [(np.ones(len(X)), mean, sd)]

    def drawn_by(
        self,
        X: Floats,
        seed: int,  # noqa: ARG002 - of a mixture it depends on these
        words: Words,  # noqa: ARG002
        imputation: int,  # noqa: ARG002
    ) -> Iterator[tuple[Self, Ints]]:
        """What the rows of `X` are drawn by, each with its rows: this one, with all.

        Parameters
        ----------
        X : ndarray of shape (n, p)
        seed : int
        words : ndarray of shape (n,), uint64
        imputation : int
        """
        yield self, np.arange(len(X))

    @one_blas_thread()
    def draw_cells(self, holes: Holes, seed: int, words: Words, imputation: int = 1) -> Floats:
        """The missing cells (n_missing,) of a table in row-major order, those of a row jointly.

        Scores are drawn given what the row shows, then the noise of each cell.

        Parameters
        ----------
        holes : Holes
        seed : int
        words : ndarray of shape (n,), uint64
            What `row_words` makes of the keys of the rows.
        imputation : int, default=1
            From 1.
        """
        from em_impute.gaussian.families import scores

        X, k = holes.X, self.n_factors
        # No column can have a name that is not text.
        factors = [("factor", h) for h in range(k)]

        def draw(rows: slice, found: Posterior) -> Floats:
            at, drawn = _holes(X[rows]), found.mean.copy()
            grid = np.divmod(np.arange(drawn.size), k)
            normals = standard_normals(grid, factors, seed, words[rows], imputation)
            scores.add_draws(normals.reshape(-1, k), found.factors, drawn)
            noise = standard_normals(at, self.columns, seed, words[rows], imputation)
            sd = np.sqrt(self.noise)[at[1]]
            cells: Floats = self._cells(at, drawn) + sd * noise
            return cells

        return np.concatenate(self._by_blocks(X, draw))

    def draw(self, X: Floats, seed: int, keys: Keys | None = None, imputation: int = 1) -> Floats:
        """A copy of `X` with the missing cells of each row drawn, jointly.

        A draw depends on nothing but the model, the row's observed cells, `seed`, the row's key,
        the column's name and `imputation`.

        Parameters
        ----------
        X : ndarray of shape (n, p)
        seed : int
        keys : sequence of hashable or ndarray of shape (n,), optional
            What identifies the rows; the row number, from 0, by default.
        imputation : int, default=1
            From 1.
        """
        holes = Holes.of(X)
        return holes.filled(self.draw_cells(holes, seed, row_words(keys, len(X)), imputation))

    def with_constants(self, columns: tuple[str, ...], constants: Mapping[str, float]) -> Self:
        """The same with constant columns among its own.

        Parameters
        ----------
        columns : tuple of str
            All columns, in their order.
        constants : mapping of str to float
            The value of each that is not the model's.
        """
        own, at = np.array([name not in constants for name in columns]), self.standardised
        centre = np.array([constants.get(name, 0.0) for name in columns])
        scale, mean, noise = np.zeros(len(own)), np.zeros(len(own)), np.ones(len(own))
        loadings = np.zeros((len(own), at.loadings.shape[1]))
        centre[own], scale[own] = self.scaling.centre, self.scaling.scale
        mean[own], loadings[own], noise[own] = at.mean, at.loadings, at.noise
        wider = Loadings(mean, loadings, noise, at.isotropic, at.floor)
        return type(self)(wider, Scaling(centre, scale), columns)

    def to_dict(self) -> dict[str, Any]:
        """Columns and parameters as lists, of which `from_dict` makes the model again."""
        at = self.standardised
        values = {**vars(at), **vars(self.scaling)}
        return {
            "columns": list(self.columns),
            "isotropic": at.isotropic,
            "min_noise": at.floor,
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
        columns = tuple(content["columns"])
        mean, loadings, noise, centre, scale = (numbers_of_json(content[n]) for n in _ARRAYS)
        p, isotropic = len(columns), content["isotropic"]
        floor = float(numbers_of_json(content["min_noise"]))
        if not all(isinstance(name, str) for name in columns) or not isinstance(isotropic, bool):
            raise ValueError("expected column names to be text, and isotropic to be true or false")
        if any(one.shape != (p,) for one in (mean, noise, centre, scale)):
            raise ValueError("the parameters do not fit the columns")
        if loadings.ndim != 2 or len(loadings) != p or not loadings.shape[1]:
            raise ValueError("the loadings do not fit the columns")
        if (noise <= 0).any() or (scale < 0).any() or not floor > 0:
            raise ValueError("expected noise above 0, and scales that are not negative")
        at = Loadings(mean, loadings, noise, isotropic, floor)
        return cls(at, Scaling(centre, scale), columns)

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

    def _by_blocks(self, X: Floats, use: Callable[[slice, Posterior], Result]) -> list[Result]:
        scale = np.where(self.scaling.scale > 0, self.scaling.scale, 1.0)
        return by_blocks(X, Scaling(self.scaling.centre, scale), self.standardised, use)

    def _moments(self, at: Cells, found: Posterior) -> tuple[Floats, Floats]:
        """Means and standard deviations of cells of some rows given what these show."""
        from em_impute.gaussian.families import scores

        variances = self.standardised.noise[at[1]]
        scores.add_variances(*at, self.standardised.loadings, found.factors, variances)
        return self._cells(at, found.mean), self.scaling.scale[at[1]] * np.sqrt(variances)

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
