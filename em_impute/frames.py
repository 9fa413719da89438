"""What the estimators share: tables as they take them and give them back, and what they draw with.

Frames stay frames, and types stay types.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import validate_data

from em_impute.gaussian.arrays import Bools, Floats
from em_impute.gaussian.table import Table, default_names, require_distinct, require_finite

Columns = Floats | list[Any]
"""The columns of a table: a matrix where they are of one type, else one by one."""


def numbers_of(estimator: Any, X: Any, *, reset: bool) -> tuple[Table, Floats]:
    """`X`, checked against what `fit` has seen, and its cells as a float64 matrix.

    Parameters
    ----------
    estimator : object
        An estimator of scikit-learn.
    X : array_like or DataFrame of shape (n_samples, n_features)
    reset : bool
        Whether this is what `fit` sees.
    """
    refuse_sparse(estimator, X)
    table = Table.of(X)
    require_distinct(table.names or ())
    validate_data(estimator, X, reset=reset, skip_check_array=True)
    require_finite(table.values, table.names or default_names(table.values.shape[1]))
    matrix: Floats = check_array(
        table.values, dtype=np.float64, ensure_all_finite="allow-nan", estimator=estimator
    )
    return table, matrix


def refuse_sparse(estimator: Any, X: Any) -> None:
    """Raise scikit-learn's own errors for what none of it takes: sparse and complex matrices."""
    if issparse(X) or getattr(getattr(X, "dtype", None), "kind", None) == "c":
        check_array(X, estimator=estimator)


def array_in_type(table: Table, filled: Floats) -> NDArray[Any]:
    """Filled cells in the one type that an array like `table` has."""
    return _narrowed(filled, np.result_type(*map(_filled_dtype, table.dtypes)))


def columns_in_types(table: Table, filled: Floats, kept: Bools | None = None) -> Columns:
    """Filled columns of a frame, each in its own type; integers stay such where none was missing.

    Parameters
    ----------
    table : Table
        What was filled.
    filled : ndarray of shape (n_rows, n_kept)
    kept : ndarray of shape (n_columns,), bool, optional
        Which columns of `table` these are; by default all.
    """
    whole = np.logical_not(np.isnan(table.values).any(axis=0))
    which = range(len(whole)) if kept is None else np.flatnonzero(kept)
    dtypes = [_filled_dtype(table.dtypes[j], bool(whole[j])) for j in which]
    if all(dtype == np.float64 for dtype in dtypes):
        return filled
    return [_narrowed(*column) for column in zip(filled.T, dtypes, strict=True)]


def one_by_one(columns: Columns) -> list[NDArray[Any]]:
    """The columns as a list."""
    return list(columns.T) if isinstance(columns, np.ndarray) else columns


def framed_like(
    X: Any, columns: Columns, names: Iterable[str], *, labels: Any = None, library: str = "default"
) -> Any:
    """Columns as a frame of the library of `X`, or as one of pandas.

    Parameters
    ----------
    X : DataFrame or Table
    columns : ndarray or list
        A list has arrays, or columns of the library.
    names : iterable of str
    labels : Index, optional
        In the place of the names, where `X` is of pandas.
    library : {"default", "pandas", "polars"}
        What scikit-learn was asked for: it makes a frame of polars of one of pandas itself.
    """
    if isinstance(X, pd.DataFrame):
        return _pandas_frame(columns, X.index, labels)
    each = one_by_one(columns)
    polars = sys.modules.get("polars")
    if library != "pandas" and polars is not None and isinstance(X, polars.DataFrame):
        return polars.DataFrame(dict(zip(names, each, strict=True)))
    if library == "default" and isinstance(X, (pa.Table, pa.RecordBatch)):
        return type(X).from_arrays(list(map(_of_arrow, each)), names=list(names))
    of_pandas = [one.to_pandas() if hasattr(one, "to_pandas") else one for one in each]
    return _pandas_frame(of_pandas, None, pd.Index(names))


def _of_arrow(column: Any) -> Any:
    if isinstance(column, pa.ChunkedArray):
        return column.unify_dictionaries().combine_chunks()
    return pa.array(column)


def seed_of(random_state: Any) -> int:
    """The seed of draws: a whole number is its own, a generator or None gives a new one."""
    random = check_random_state(random_state)
    own = random_state if isinstance(random_state, Integral) else None
    return int(random.randint(2**31 - 1) if own is None else own)


def _filled_dtype(dtype: np.dtype[Any], all_observed: bool = False) -> np.dtype[Any]:
    """The type that holds conditional means beside cells of `dtype`: they are no integers."""
    if dtype.kind == "f":
        return np.dtype(np.float32 if dtype.itemsize <= 4 else np.float64)
    return dtype if all_observed else np.dtype(np.float64)


def _narrowed(filled: Floats, dtype: np.dtype[Any]) -> NDArray[Any]:
    """`filled` in the type `dtype`, or as it is where a number would be infinite in that."""
    with np.errstate(over="ignore"):
        narrow = filled.astype(dtype, copy=False)
    return narrow if np.isfinite(narrow).all() else filled


def _pandas_frame(columns: Columns, index: Any, labels: Any) -> pd.DataFrame:
    if isinstance(columns, np.ndarray):
        return pd.DataFrame(columns, index=index, columns=labels, copy=False)
    frame = pd.DataFrame(dict(enumerate(columns)), index=index)
    frame.columns = labels
    return frame
