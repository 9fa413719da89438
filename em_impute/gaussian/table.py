"""`Table`: what users hand in, as a matrix of floats, NaN where a cell is missing, and its names.

Lists, arrays of NumPy of any type and layout, masked ones too, DataFrames of pandas and polars, and
whatever gives its columns as Arrow does. A column that cannot be read is named, its cells are not.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Self

import numpy as np
from numpy.typing import NDArray

from em_impute.gaussian.cells import (
    KINDS,
    LARGEST_EXACT_INTEGER,
    NotExact,
    NotNumbers,
    Numbers,
    numbers_of,
)

# A message has room for so many names.
MOST_NAMED = 8


@dataclass(frozen=True, eq=False)
class Table:
    """A table that was handed in.

    Attributes
    ----------
    values : ndarray of shape (n_rows, n_columns)
        NaN where missing; float32 where every column is, else float64.
    names : tuple of str or None
        None where there are none: of lists and arrays.
    dtypes : tuple of dtype
        NumPy's type of the numbers in each column, as `numbers_of` gives it.
    """

    values: Numbers
    names: tuple[str, ...] | None
    dtypes: tuple[np.dtype[Any], ...]

    @classmethod
    def of(cls, X: Any) -> Self:
        """Read `X`.

        Raises
        ------
        ValueError
            If it is no table, a column is not of numbers, or holds integers beyond 2**53.
        TypeError
            If a cell is an object that stands for no number.
        """
        whole = _whole(X)
        if whole is not None:
            wide = whole if whole.dtype == np.float32 else whole.astype(np.float64, copy=False)
            names = tuple(map(str, X.columns)) if hasattr(X, "columns") else None
            return cls(wide, names, (whole.dtype,) * whole.shape[1])
        columns, names = columns_of(X)
        read = _read(columns, names or default_names(len(columns)))
        n_rows = len(columns[0]) if columns else len(X)
        small = bool(read) and all(column.dtype == np.float32 for column, _ in read)
        # Column by column, as they come: turned round, a block of rows at a time costs less.
        values: Numbers = np.empty((n_rows, len(read)), order="F")
        if small:
            values = values.astype(np.float32)
        for j, (column, _) in enumerate(read):
            values[:, j] = column
        return cls(values, names, tuple(dtype for _, dtype in read))

    def places(self, columns: Sequence[str]) -> NDArray[np.int64] | None:
        """Where each of `columns` is, found by name; None where they come in this order.

        They are taken by position where one side has no names: arrays, frames whose labels are
        0, 1, ..., and columns that are called ``x0, x1, ...`` because they had none.

        Raises
        ------
        ValueError
            If there are other columns than these, or another number of them.
        """
        names, expected = self.names, tuple(columns)
        if names is not None and sorted(names) == sorted(expected):
            place = {name: j for j, name in enumerate(names)}
            in_order = names == expected
            return None if in_order else np.array([place[name] for name in expected])
        nameless = names is None or names == tuple(map(str, range(len(names))))
        if not nameless and expected != default_names(len(expected)):
            _refuse_names(names or (), expected)
        if len(expected) != self.values.shape[1]:
            raise ValueError(f"Expected {len(expected)} columns, got {self.values.shape[1]}.")
        return None

    def in_order_of(self, columns: Sequence[str]) -> Numbers:
        """The values of `columns`, in this order; errors as of `places`."""
        places = self.places(columns)
        return self.values if places is None else self.values[:, places]


def default_names(n_columns: int) -> tuple[str, ...]:
    """Names for the columns of an array that has none: ``x0, x1, ...``."""
    return tuple(f"x{j}" for j in range(n_columns))


def require_distinct(names: Sequence[str]) -> None:
    """Raise an error if a name is there twice."""
    if len(set(names)) != len(names):
        raise ValueError(f"Column names must differ from each other, got {list(names)}.")


def listed(names: Sequence[str], most: int = MOST_NAMED) -> str:
    """Names in a sentence: 'a', 'b' and 'c'."""
    quoted = [f"'{name}'" for name in names[:most]]
    if len(names) > most:
        quoted.append(f"{len(names) - most} more")
    return " and ".join(filter(None, [", ".join(quoted[:-1]), quoted[-1]]))


def require_finite(X: Numbers, names: Sequence[str]) -> None:
    """Raise an error that says where the first infinite cell of `X` is, if there is one."""
    if np.isinf(X).any():
        row, column = np.argwhere(np.isinf(X))[0]
        raise ValueError(
            f"Infinite cells cannot be used: the first is in row {row}, column {column} "
            f"(counted from 0), {names[column]!r}. Replace inf by NaN where it means missing."
        )


def columns_of(X: Any) -> tuple[list[Any], tuple[str, ...] | None]:
    """The columns of a table, as `numbers_of` takes them, and their names if they have any."""
    # Whoever hands in a frame has imported its library; we need not.
    pandas, polars, pyarrow = map(sys.modules.get, ("pandas", "polars", "pyarrow"))
    if pandas is not None and isinstance(X, pandas.DataFrame):
        columns = [_of_pandas(X.iloc[:, j]) for j in range(X.shape[1])]
        return columns, tuple(map(str, X.columns))
    if polars is not None and isinstance(X, polars.LazyFrame):
        raise ValueError("A LazyFrame of polars has no rows yet; collect() it first.")
    if polars is not None and isinstance(X, polars.DataFrame):
        return [_of_polars(series) for series in X.get_columns()], tuple(X.columns)
    # One of Arrow's columns, and a Series, gives a stream too.
    has_columns = hasattr(X, "schema") or not hasattr(X, "__array__")
    if pyarrow is not None and hasattr(X, "__arrow_c_stream__") and has_columns:
        table = pyarrow.table(X)
        return list(table.columns), tuple(table.column_names)
    matrix = _matrix(X)
    return [matrix[:, j] for j in range(matrix.shape[1])], None


def _whole(X: Any) -> NDArray[Any] | None:
    """`X` as the float matrix that it is already, without a copy; None if it is none."""
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(X, pandas.DataFrame):
        kinds = set(X.dtypes)
        one = kinds.pop() if len(kinds) == 1 else None
        return X.to_numpy() if isinstance(one, np.dtype) and one.kind == "f" else None
    plain = isinstance(X, np.ndarray) and not isinstance(X, np.ma.MaskedArray)
    return np.asarray(X) if plain and X.ndim == 2 and X.dtype.kind == "f" else None


def _of_pandas(series: Any) -> Any:
    if series.dtype.kind in "Mm":
        return NotNumbers(KINDS[series.dtype.kind])
    if str(series.dtype) == "category":
        return NotNumbers("categories")
    to_arrow = getattr(series.array, "__arrow_array__", None)
    return np.asarray(series) if to_arrow is None else to_arrow()


def _of_polars(series: Any) -> Any:
    # Arrow has no type for these.
    if str(series.dtype) in ("Object", "Int128", "UInt128"):
        return _objects(series.to_list())
    return series.to_arrow()


def _objects(cells: Sequence[Any]) -> NDArray[np.object_]:
    array = np.empty(len(cells), dtype=object)
    array[:] = cells
    return array


def _matrix(X: Any) -> NDArray[Any]:
    """`X` as an array of two dimensions, in a type that changes no cell."""
    if hasattr(X, "toarray"):
        raise ValueError("Sparse matrices cannot be used; X.toarray() makes an array of one.")
    matrix: NDArray[Any]
    if isinstance(X, np.ma.MaskedArray):
        matrix = X
    elif isinstance(X, (list, tuple)) and any(isinstance(row, np.ma.MaskedArray) for row in X):
        matrix = np.ma.array(X)
    else:
        try:
            matrix = np.asarray(X)
        except ValueError:
            raise ValueError(
                "Expected rows of equal length, got rows of different lengths."
            ) from None
        # Beside text, numbers become text; beside fractions, large integers are rounded.
        mixed = matrix.dtype.kind in "US" or (
            matrix.dtype.kind == "f" and bool((np.abs(matrix) >= LARGEST_EXACT_INTEGER).any())
        )
        matrix = np.array(X, dtype=object) if mixed and isinstance(X, (list, tuple)) else matrix
    if matrix.ndim != 2:
        raise ValueError(
            "Expected a two-dimensional array of rows and columns, "
            f"got {matrix.ndim} dimension(s). Reshape your data: reshape(1, -1) makes one row of "
            "it, reshape(-1, 1) one column."
        )
    return matrix


def _read(columns: Sequence[Any], names: Sequence[str]) -> list[tuple[Numbers, np.dtype[Any]]]:
    read: list[tuple[Numbers, np.dtype[Any]]] = []
    others: list[tuple[str, NotNumbers]] = []
    for name, cells in zip(names, columns, strict=True):
        try:
            read.append(numbers_of(cells))
        except NotNumbers as found:
            others.append((name, found))
        except NotExact as found:
            raise ValueError(
                f"Column {name!r} holds a whole number beyond 2**53, which floating point cannot "
                f"tell from its neighbours, in row {found.row} (counted from 0). Leave out what "
                "identifies rows; make a measurement a float."
            ) from None
    if others:
        _refuse_others(others)
    return read


def _refuse_others(others: Sequence[tuple[str, NotNumbers]]) -> NoReturn:
    shown = others[:MOST_NAMED]
    more = f" and {len(others) - MOST_NAMED} more" if len(others) > MOST_NAMED else ""
    error = next((found.error for _, found in others if found.error is not ValueError), ValueError)
    raise error(
        f"Expected numeric columns, got others: {[name for name, _ in shown]}{more} "
        f"({', '.join(found.kind for _, found in shown)}). Leave them out (for instance with a "
        "ColumnTransformer), turn them into numbers first, or name them in EMImputer(categories=)."
    )


def _refuse_names(names: Sequence[str], expected: Sequence[str]) -> NoReturn:
    missing = [name for name in expected if name not in names]
    extra = [name for name in names if name not in expected]
    twice = sorted({name for name in names if names.count(name) > 1})
    kinds = {"missing": missing, "not expected": extra, "there twice": twice}
    found = "; ".join(f"{kind}: {listed(those)}" for kind, those in kinds.items() if those)
    raise ValueError(
        f"The table has other columns than these {len(expected)}: {listed(expected)}. {found}. "
        "Select them by name; arrays, which have no names, are taken by position."
    )
