"""`GaussianModel`: a mean vector and a covariance matrix that fill holes, and their JSON file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any, Self

import numpy as np

from em_impute.gaussian.arrays import Floats, Ints
from em_impute.gaussian.conditional import Conditional, conditional, conditional_cells
from em_impute.gaussian.delta import shifts
from em_impute.gaussian.draws import conditional_draws, standard_normals
from em_impute.gaussian.holes import Holes
from em_impute.gaussian.keys import Keys, Words, row_words
from em_impute.gaussian.linalg import in_own_units
from em_impute.gaussian.model_file import numbers_of_json, read_model, write_model
from em_impute.gaussian.table import Table, listed, require_distinct, require_finite

FORMAT = "em_impute.gaussian"
# How far below zero an eigenvalue of a correlation matrix may be by rounding.
NEGATIVE_BY_ROUNDING = 1e-6


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
        If the shapes or names do not fit each other, a number is not finite, or the covariance is
        not symmetric or has a negative variance.
    """

    mean: Floats
    covariance: Floats
    columns: tuple[str, ...]

    def __post_init__(self) -> None:
        if isinstance(self.columns, str):
            raise TypeError(f"Expected a list of column names, got the text {self.columns!r}.")
        for name, value in (
            ("columns", tuple(map(str, self.columns))),
            ("mean", np.asarray(self.mean, dtype=np.float64)),
            ("covariance", np.asarray(self.covariance, dtype=np.float64)),
        ):
            object.__setattr__(self, name, value)
        p = len(self.columns)
        require_distinct(self.columns)
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

    @property
    def parts(self) -> tuple[tuple[float, Self], ...]:
        """The Gaussians that it is made of, each with its share of the rows: itself, with all."""
        return ((1.0, self),)

    def in_order_of(self, columns: Sequence[str]) -> Self:
        """The same model with its columns in another order.

        Raises
        ------
        ValueError
            If these are not the model's columns.
        """
        if sorted(columns) != sorted(self.columns):
            raise ValueError(
                f"The model has columns {list(self.columns)}, the data {list(columns)}."
            )
        places = [self.columns.index(name) for name in columns]
        return type(self)(
            self.mean[places], self.covariance[np.ix_(places, places)], tuple(columns)
        )

    def conditional(self, X: Any) -> Conditional:
        """Mean and standard deviation of each missing cell given its row's observed cells.

        Parameters
        ----------
        X : array_like or DataFrame of shape (n_rows, n_columns)
            NaN, None, NA or masked where missing. The columns of a frame are found by name.

        Returns
        -------
        Conditional
            One entry per missing cell, in row-major order; rows and columns are those of `X`.
        """
        table = Table.of(X)
        cells, places = self.conditional_of(self.holes(table)), table.places(self.columns)
        if places is None:
            return cells
        columns = places[cells.columns]
        order = np.lexsort((columns, cells.rows))
        return Conditional(cells.rows, columns[order], cells.mean[order], cells.sd[order])

    def impute(self, X: Any, *, delta: Mapping[str, float] | None = None) -> Floats:
        """Copy of `X` with every missing cell replaced by its conditional mean.

        Parameters
        ----------
        X : array_like or DataFrame of shape (n_rows, n_columns)
            NaN, None, NA or masked where missing. The columns of a frame are found by name.
        delta : mapping of str to float, optional
            By how many of its standard deviations in this model the missing cells of a column are
            shifted, to see what follows if they differ from the observed ones.

        Returns
        -------
        ndarray of shape (n_rows, n_columns)
            In the order of the columns of `X`. Observed cells come back bit by bit.
        """
        table = Table.of(X)
        holes = self.holes(table)
        cells = self._shifted(self.conditional_of(holes).mean, holes, delta)
        return self.given_back(holes.filled(cells), table)

    def draw(
        self,
        X: Any,
        seed: int,
        keys: Keys | None = None,
        imputation: int = 1,
        *,
        delta: Mapping[str, float] | None = None,
    ) -> Floats:
        """Copy of `X` with every missing cell drawn from its distribution given the observed ones.

        The missing cells of a row are drawn jointly. A draw depends only on the model, the row's
        observed cells, `seed`, the row's key, the column's name and `imputation`: chunks, subsets
        and other orders of the rows give the same bits.

        Parameters
        ----------
        X : array_like or DataFrame of shape (n_rows, n_columns)
            As for `impute`, and so is what comes back.
        seed : int
        keys : sequence of hashable or ndarray of shape (n_rows,), optional
            What identifies the rows: numbers, text, bytes, dates, times or tuples of these, also
            as a Series, an Index or a DataFrame; the row number, from 0, by default. Rows with
            equal keys share their noise. With the key's columns of a job, its seed and its model
            the draws are those of the job.
        imputation : int, default=1
            Another number, from 1, gives an independent draw of every cell.
        delta : mapping of str to float, optional
            As for `impute`. A column that it does not name is drawn as without it.

        Raises
        ------
        ValueError
            If there are not as many keys as rows, a key is missing, `imputation` is below 1,
            `delta` names another column or is not finite, or the covariance is that of no
            distribution.
        TypeError
            If a key is of another kind.
        """
        for name, number in (("seed", seed), ("imputation", imputation)):
            if not isinstance(number, Integral):
                raise ValueError(f"{name} must be a whole number, got {number!r}.")
        table = Table.of(X)
        holes = self.holes(table)
        drawn = self.draw_cells(holes, seed, row_words(keys, len(holes.X)), imputation, delta)
        return self.given_back(holes.filled(drawn), table)

    def draw_cells(
        self,
        holes: Holes,
        seed: int,
        words: Words,
        imputation: int = 1,
        delta: Mapping[str, float] | None = None,
    ) -> Floats:
        """The cells that `draw` fills the holes of a table with, where these are known.

        Parameters
        ----------
        holes : Holes
            With the columns in the order of the model's.
        seed : int
        words : ndarray of shape (n_rows,), uint64
            What `row_words` makes of the keys of the rows.
        imputation : int, default=1
        delta : mapping of str to float, optional

        Returns
        -------
        ndarray of shape (n_missing,)
            In row-major order.
        """
        at = holes.rows, holes.columns
        normals = standard_normals(at, self.columns, seed, words, imputation)
        with np.errstate(over="ignore", invalid="ignore"):
            cells = conditional_draws(holes, self.mean, self.covariance, normals)
        self._require_finite(holes, cells)
        return self._shifted(cells, holes, delta)

    def holes(self, table: Table) -> Holes:
        """The holes of a table whose columns come in the order of the model's."""
        # Row behind row, as each is worked on.
        matrix = np.asarray(table.in_order_of(self.columns), dtype=np.float64, order="C")
        require_finite(matrix, self.columns)
        return Holes.of(matrix)

    def drawn_by(
        self,
        X: Floats,
        seed: int,  # noqa: ARG002 - of a mixture it depends on these
        words: Words,  # noqa: ARG002
        imputation: int,  # noqa: ARG002
    ) -> Iterator[tuple[Self, Ints]]:
        """The Gaussians that the rows of `X` are drawn by, each with its rows: this one, with all.

        Parameters
        ----------
        X : ndarray of shape (n_rows, n_columns)
        seed : int
        words : ndarray of shape (n_rows,), uint64
        imputation : int
        """
        yield self, np.arange(len(X))

    def conditional_cells(self, X: Floats, cells: Ints) -> tuple[Floats, Floats]:
        """Means and standard deviations (n_rows, k) of k missing cells of each row.

        Parameters
        ----------
        X : ndarray of shape (n_rows, n_columns)
            In the order of the model's columns.
        cells : ndarray of shape (n_rows, k), int64
            The columns of each row's cells.
        """
        return conditional_cells(X, cells, self.mean, self.covariance)

    def conditional_parts(self, X: Floats, cells: Ints) -> list[tuple[Floats, Floats, Floats]]:
        """The same, with the weight of this Gaussian among those that fill the rows: 1."""
        return [(np.ones(len(X)), *self.conditional_cells(X, cells))]

    def conditional_of(self, holes: Holes) -> Conditional:
        """What `conditional` gives of holes that are known, in the order of the model's columns."""
        with np.errstate(over="ignore", invalid="ignore"):
            cells = conditional(holes, self.mean, self.covariance)
        self._require_finite(holes, cells.mean)
        return cells

    def _require_finite(self, holes: Holes, cells: Floats) -> None:
        if len(infinite := np.unique(holes.columns[~np.isfinite(cells)])):
            raise ValueError(
                f"Missing cells of {listed([self.columns[j] for j in infinite])} would be filled "
                "with infinities: the observed cells of a row are too far from the model's means."
            )

    def _shifted(self, cells: Floats, holes: Holes, delta: Mapping[str, float] | None) -> Floats:
        if delta is None:
            return cells
        return cells + shifts(delta, self.columns, self.sd)[holes.columns]

    def given_back(self, filled: Floats, table: Table) -> Floats:
        """Cells that are in the order of the model's columns in that of the table's."""
        places = table.places(self.columns)
        return filled if places is None else filled[:, np.argsort(places)]

    def to_dict(self) -> dict[str, Any]:
        """Columns, mean and covariance as lists, of which `from_dict` makes the model again."""
        return {
            "columns": list(self.columns),
            "mean": self.mean.tolist(),
            "covariance": self.covariance.tolist(),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """The model that `to_dict` was called on.

        Raises
        ------
        KeyError, TypeError, ValueError
            If something is missing, of another kind, or does not hold together; also if the
            covariance is that of no distribution.
        """
        if not all(isinstance(name, str) for name in content["columns"]):
            raise ValueError("expected column names to be text")
        mean, covariance = (numbers_of_json(content[name]) for name in ("mean", "covariance"))
        model = cls(mean, covariance, content["columns"])
        _require_semidefinite(model)
        return model

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


def require_model(name: str, given: object) -> None:
    """Raise an error if the argument `name` is no model."""
    if not isinstance(given, GaussianModel):
        raise ValueError(
            f"{name} must be a GaussianModel, as in result.model, got {type(given).__name__}."
        )


def _require_semidefinite(model: GaussianModel) -> None:
    # Of all columns: one of variance 0 must not have covariances either.
    smallest = np.linalg.eigvalsh(in_own_units(model.covariance)[1]).min(initial=0.0)
    if smallest < -NEGATIVE_BY_ROUNDING:
        raise ValueError(
            "The covariance of a model must be positive semidefinite: with this one some "
            "combination of the columns has a negative variance."
        )
