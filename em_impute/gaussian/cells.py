"""One column of what users hand in, as floats with NaN where a cell is missing.

A column is an array of NumPy, which may be masked or hold objects, or one of Arrow. What is no
number is an error that says what there is and in which row, never the cell itself.
"""

from __future__ import annotations

import numbers
import sys
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64] | NDArray[np.float32]

# Beyond this, floating point cannot tell every integer from its neighbours.
LARGEST_EXACT_INTEGER = 2**53
KINDS = {
    "M": "times",
    "m": "durations",
    "c": "complex numbers",
    "U": "text",
    "S": "bytes",
    "T": "text",
    "V": "records",
}
# The same of Arrow's types, by how their names begin.
ARROW_KINDS = (
    ("string", "text"),
    ("large_string", "text"),
    ("dictionary", "categories"),
    ("time", "times"),
    ("date", "times"),
    ("duration", "durations"),
)
# The same of a cell among objects. To NumPy a duration is an integer.
OTHER_CELLS: tuple[tuple[tuple[type, ...], str], ...] = (
    ((str,), "text"),
    ((bytes,), "bytes"),
    ((date, time, np.datetime64), "a time"),
    ((timedelta, np.timedelta64), "a duration"),
    ((complex, np.complexfloating), "a complex number"),
)
# What pandas writes for a missing cell.
MISSING = frozenset({"NAType", "NaTType"})


class NotNumbers(Exception):
    """A column cannot be read as numbers: `kind` is what it holds, `error` what to raise of it."""

    def __init__(self, kind: str, error: type[Exception] = ValueError) -> None:
        super().__init__(kind)
        self.kind, self.error = kind, error


class NotExact(Exception):
    """A column holds an integer that floating point cannot hold; the first is in row `row`."""

    def __init__(self, row: int) -> None:
        super().__init__(row)
        self.row = row


def numbers_of(cells: Any) -> tuple[Numbers, np.dtype[Any]]:
    """The numbers of a column, and NumPy's type of them.

    Parameters
    ----------
    cells : ndarray of shape (n,), array or chunked array of Arrow, or NotNumbers
        The last where it is known already, by the column's type.

    Returns
    -------
    values : ndarray of shape (n,)
        float32 where the column is, else float64; NaN where missing.
    dtype : dtype
        Of a column with missing cells that of the others; float64 where the cells are no numbers of
        NumPy's, such as objects, decimals and booleans.

    Raises
    ------
    NotNumbers, NotExact
    """
    if isinstance(cells, NotNumbers):
        raise cells
    if not isinstance(cells, np.ndarray):
        return _of_arrow(cells)
    if isinstance(cells, np.ma.MaskedArray):
        return _of_masked(cells)
    if cells.dtype.kind == "f":
        return _floating(cells), cells.dtype
    if cells.dtype.kind in "iu":
        return _exactly(cells, np.zeros(len(cells), dtype=bool)), cells.dtype
    if cells.dtype.kind == "b":
        return cells.astype(np.float64), np.dtype(np.float64)
    if cells.dtype.kind == "O":
        return _of_objects(cells), np.dtype(np.float64)
    raise NotNumbers(KINDS.get(cells.dtype.kind, str(cells.dtype)))


def _floating(cells: NDArray[Any]) -> Numbers:
    return cells if cells.dtype == np.float32 else cells.astype(np.float64, copy=False)


def _exactly(cells: NDArray[Any], missing: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Integers as floats, NaN where missing."""
    beyond = cells > LARGEST_EXACT_INTEGER
    if cells.dtype.kind == "i":
        beyond |= cells < -LARGEST_EXACT_INTEGER
    beyond &= ~missing
    if beyond.any():
        raise NotExact(int(beyond.argmax()))
    values = cells.astype(np.float64)
    values[missing] = np.nan
    return values


def _of_masked(cells: np.ma.MaskedArray[Any, Any]) -> tuple[Numbers, np.dtype[Any]]:
    """The numbers of a column of which those behind the mask are missing, whatever they are."""
    missing = np.ma.getmaskarray(cells)
    plain = np.array(np.ma.getdata(cells))
    if plain.dtype.kind in "iufbO":
        plain[missing] = None if plain.dtype.kind == "O" else 0
    values, dtype = numbers_of(plain)
    values[missing] = np.nan
    return values, dtype


def _of_objects(cells: NDArray[Any]) -> NDArray[np.float64]:
    if set(map(type, cells)) <= {float, type(None)}:
        return cells.astype(np.float64)
    return np.array([_number(cell, row) for row, cell in enumerate(cells)], dtype=np.float64)


def _number(cell: Any, row: int) -> float:
    if cell is None or cell is np.ma.masked or type(cell).__name__ in MISSING:
        return np.nan
    if kind := next((kind for types, kind in OTHER_CELLS if isinstance(cell, types)), None):
        raise NotNumbers(f"{kind} in row {row}")
    if isinstance(cell, numbers.Integral) and abs(int(cell)) > LARGEST_EXACT_INTEGER:
        raise NotExact(row)
    if isinstance(cell, Decimal):
        return np.nan if cell.is_nan() else float(cell)
    if isinstance(cell, (numbers.Real, np.bool_)):
        try:
            return float(cell)
        except OverflowError:
            return np.inf
    kind = type(cell).__name__
    # In Python's own words of it, by which scikit-learn knows the error.
    words = f"float() argument must be a string or a real number, not '{kind}'"
    raise NotNumbers(f"{kind} in row {row}: {words}", TypeError)


def _of_arrow(cells: Any) -> tuple[Numbers, np.dtype[Any]]:
    # Who made them has imported it; those who bring none need not wait for it.
    pa = sys.modules["pyarrow"]
    if not isinstance(cells, pa.ChunkedArray):
        cells = pa.chunked_array([cells])
    type_, is_ = cells.type, pa.types
    if is_.is_null(type_):
        return np.full(len(cells), np.nan), np.dtype(np.float64)
    if is_.is_boolean(type_) or is_.is_decimal(type_):
        return cells.cast(pa.float64()).to_numpy(), np.dtype(np.float64)
    if is_.is_floating(type_):
        values = cells.to_numpy()
        return _floating(values), values.dtype
    if is_.is_integer(type_):
        missing = cells.is_null().to_numpy()
        whole = cells.fill_null(0).to_numpy()
        return _exactly(whole, missing), whole.dtype
    name = str(type_)
    raise NotNumbers(next((kind for start, kind in ARROW_KINDS if name.startswith(start)), name))
