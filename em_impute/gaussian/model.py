"""`GaussianModel`: a mean vector and a covariance matrix that fill holes, and their JSON file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from em_impute.gaussian.conditional import Conditional, conditional
from em_impute.gaussian.draws import conditional_noise, standard_normals
from em_impute.gaussian.keys import Keys
from em_impute.gaussian.patterns import Floats, as_matrix

FORMAT = "em_impute.gaussian"
FORMAT_VERSION = 1


@dataclass(frozen=True, eq=False)
class GaussianModel:
    """A multivariate Gaussian over named columns.

    Attributes
    ----------
    mean : ndarray of shape (n_columns,)
    covariance : ndarray of shape (n_columns, n_columns)
        Symmetric. A column of variance zero is a constant.
    columns : tuple of str

    Raises
    ------
    ValueError
        If the shapes do not fit each other, a number is not finite, or the covariance is not
        symmetric or has a negative variance.
    """

    mean: Floats
    covariance: Floats
    columns: tuple[str, ...]

    def __post_init__(self) -> None:
        p = len(self.columns)
        if self.mean.shape != (p,) or self.covariance.shape != (p, p):
            raise ValueError(
                f"For {p} columns the mean must have shape ({p},) and the covariance ({p}, {p}), "
                f"got {self.mean.shape} and {self.covariance.shape}."
            )
        if not (np.isfinite(self.mean).all() and np.isfinite(self.covariance).all()):
            raise ValueError("Mean and covariance of a model must be finite.")
        if not np.allclose(self.covariance, self.covariance.T, rtol=1e-10, atol=0.0):
            raise ValueError("The covariance of a model must be symmetric.")
        if (np.diag(self.covariance) < 0).any():
            raise ValueError("The variances of a model must not be negative.")

    @property
    def sd(self) -> Floats:
        """Standard deviation of each column, of shape (n_columns,)."""
        return np.sqrt(np.diag(self.covariance))

    @property
    def correlation(self) -> Floats:
        """Correlation matrix, NaN for constant columns."""
        with np.errstate(divide="ignore", invalid="ignore"):
            matrix: Floats = self.covariance / np.outer(self.sd, self.sd)
        return matrix

    def conditional(self, X: ArrayLike) -> Conditional:
        """Mean and standard deviation of each missing cell given its row's observed cells.

        Parameters
        ----------
        X : array_like of shape (n_rows, n_columns)
            NaN where missing.

        Returns
        -------
        Conditional
            One entry per missing cell, in row-major order.
        """
        matrix = as_matrix(X, n_columns=len(self.columns))
        return conditional(matrix, self.mean, self.covariance)

    def impute(self, X: ArrayLike) -> Floats:
        """Copy of `X` with every missing cell replaced by its conditional mean.

        Parameters
        ----------
        X : array_like of shape (n_rows, n_columns)
            NaN where missing. Observed cells come back bit by bit.
        """
        filled = np.array(as_matrix(X, n_columns=len(self.columns)))
        cells = self.conditional(filled)
        filled[cells.rows, cells.columns] = cells.mean
        return filled

    def draw(
        self, X: ArrayLike, seed: int, keys: Keys | None = None, imputation: int = 1
    ) -> Floats:
        """Copy of `X` with every missing cell drawn from its distribution given the observed ones.

        The missing cells of a row are drawn jointly. A draw depends only on the model, the row's
        observed cells, `seed`, the row's key, the column's name and `imputation`: chunks, subsets
        and other orders of the rows give the same bits.

        Parameters
        ----------
        X : array_like of shape (n_rows, n_columns)
            NaN where missing. Observed cells come back bit by bit.
        seed : int
        keys : sequence of hashable or ndarray of shape (n_rows,), optional
            What tells the rows apart: numbers, text, bytes, dates, times or tuples of these, also
            as a Series, an Index or a DataFrame; the row number, from 0, by default. Rows with
            equal keys share their noise. With the key's columns of a job, its seed and its model
            the draws are those of the job.
        imputation : int, default=1
            Another number, from 1, gives an independent draw of every cell.

        Raises
        ------
        ValueError
            If there are not as many keys as rows, a key is missing, `imputation` is below 1, or
            the covariance is that of no distribution.
        TypeError
            If a key is of another kind.
        """
        missing = np.isnan(as_matrix(X, n_columns=len(self.columns)))
        normals = standard_normals(missing, self.columns, seed, keys, imputation)
        filled = self.impute(X)
        filled[missing] += conditional_noise(missing, self.covariance, normals)
        return filled

    def save(self, path: str | Path) -> None:
        """Write the model to a JSON file; every float comes back bit by bit."""
        content = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "columns": list(self.columns),
            "mean": self.mean.tolist(),
            "covariance": self.covariance.tolist(),
        }
        Path(path).write_text(json.dumps(content, indent=1, allow_nan=False), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a model that `save` wrote.

        Raises
        ------
        ValueError
            If the file is no model, is of another version, or does not hold together.
        """
        try:
            content: Any = json.loads(Path(path).read_text(encoding="utf-8"))
            if (content["format"], content["version"]) != (FORMAT, FORMAT_VERSION):
                raise ValueError(f"expected format {FORMAT} version {FORMAT_VERSION}")
            return cls(
                np.array(content["mean"], dtype=np.float64),
                np.array(content["covariance"], dtype=np.float64),
                tuple(str(name) for name in content["columns"]),
            )
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"{path} is not a model that can be read: {error}") from error
