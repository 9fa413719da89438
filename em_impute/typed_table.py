"""Tables whose columns are of any type: as Arrow has them, and filled in their own types."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd
import pyarrow as pa
from sklearn.utils import check_array
from sklearn.utils.validation import validate_data

from em_impute.frames import refuse_sparse
from em_impute.gaussian.arrays import Ints
from em_impute.gaussian.table import columns_of, default_names, listed, require_distinct
from em_impute.tables.snapshot import is_numeric


class FilledCells(NamedTuple):
    """A filled column, and the rows, from 0, of the cells that were missing."""

    column: pa.Array
    rows: Ints


@dataclass(frozen=True, eq=False)
class TypedTable:
    """A table that was handed in.

    Attributes
    ----------
    names : tuple of str
        ``x0, x1, ...`` where it has none.
    columns : list
        As they are in its library; those of an array as of pandas.
    arrow : Table
    is_array : bool
    """

    names: tuple[str, ...]
    columns: list[Any]
    arrow: pa.Table
    is_array: bool

    @classmethod
    def of(cls, X: Any) -> Self:
        """Read `X`.

        Raises
        ------
        ValueError
            If it is no table, or has a name twice.
        TypeError
            If a column holds objects of which there is no column in Arrow.
        """
        polars, is_array = sys.modules.get("polars"), False
        if isinstance(X, pd.DataFrame):
            names = tuple(map(str, X.columns))
            columns: list[Any] = [X.iloc[:, j] for j in range(X.shape[1])]
        elif polars is not None and isinstance(X, polars.DataFrame):
            names, columns = tuple(X.columns), X.get_columns()
        else:
            columns, own = columns_of(X)
            names, is_array = own or default_names(len(columns)), own is None
            columns = [pd.Series(column) for column in columns] if is_array else columns
        require_distinct(names)
        return cls(names, columns, _arrow_table(columns, names), is_array)

    def column(self, j: int, filled: FilledCells | None = None) -> Any:
        """Column `j` as it came, with cells that were missing put in; of an array as one.

        Parameters
        ----------
        j : int
        filled : FilledCells, optional
        """
        column = self.columns[j]
        if filled is not None:
            column = _with_cells(column, filled)
        # Objects that are numbers, too, are floats in an array, as without options about columns.
        if self.is_array and is_numeric(self.arrow.field(j).type) and column.dtype == object:
            return column.to_numpy(np.float64)
        return column


def typed_table_of(estimator: Any, X: Any, *, reset: bool) -> TypedTable:
    """`X`, checked against what `fit` has seen.

    Parameters
    ----------
    estimator : object
        An estimator of scikit-learn.
    X : array_like or DataFrame of shape (n_samples, n_features)
    reset : bool
        Whether this is what `fit` sees.
    """
    refuse_sparse(estimator, X)
    table = TypedTable.of(X)
    validate_data(estimator, X, reset=reset, skip_check_array=True)
    if not table.columns:
        check_array(np.empty((len(X), 0)), estimator=estimator)  # in scikit-learn's own words
    return table


def _with_cells(column: Any, filled: FilledCells) -> Any:
    if isinstance(column, pd.Series):
        return _put_in(column, filled.column.take(pa.array(filled.rows)), filled.rows)
    polars = sys.modules.get("polars")
    if polars is not None and isinstance(column, polars.Series):
        return _of_polars(column, filled.column)
    return filled.column


def _arrow_table(columns: Sequence[Any], names: Sequence[str]) -> pa.Table:
    arrays, odd = [], []
    for name, column in zip(names, columns, strict=True):
        try:
            arrays.append(_arrow_column(column))
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            odd.append(name)
    if odd:
        raise TypeError(
            f"Columns of no one type that can be read: {listed(odd)}. The argument must be a table "
            "whose columns are of strings, numbers, truth values or times, each of one kind; "
            "convert these, or leave them out."
        )
    return pa.Table.from_arrays(arrays, names=list(names))


def _arrow_column(column: Any) -> Any:
    if isinstance(column, pd.Series):
        if _has_intervals(column):
            column = column.cat.rename_categories(str)  # of which Arrow makes no dictionary
        return pa.array(column, from_pandas=True)
    return column if isinstance(column, (pa.Array, pa.ChunkedArray)) else column.to_arrow()


def _has_intervals(column: pd.Series[Any]) -> bool:
    """Whether it is of the categories that `pandas.cut` makes."""
    type_ = column.dtype
    return isinstance(type_, pd.CategoricalDtype) and isinstance(type_.categories, pd.IntervalIndex)


def _put_in(column: pd.Series[Any], cells: pa.Array, rows: Ints) -> pd.Series[Any]:
    values: Any = cells.to_pylist()
    if isinstance(column.dtype, pd.CategoricalDtype):
        known = {str(one): one for one in column.cat.categories}
        values = [known.get(str(one), one) for one in values]
        new = dict.fromkeys(one for one in values if str(one) not in known)
        column = column.cat.add_categories(list(new))
    elif pa.types.is_floating(cells.type) and column.dtype.kind != "O":
        values = cells.to_numpy()
        if column.dtype.kind != "f":
            column = column.astype(np.float64)
    filled = column.copy()
    filled.iloc[rows] = values
    return filled


def _of_polars(column: Any, filled: pa.Array) -> Any:
    if pa.types.is_dictionary(filled.type):
        filled = filled.dictionary_decode()
    series = type(column)(column.name, filled)
    stays_float = column.dtype.is_integer() and series.dtype.is_float()
    return series if stays_float else series.cast(column.dtype)
