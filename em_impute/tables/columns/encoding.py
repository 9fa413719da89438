"""A column of the table as columns of the model, and the model's answers as cells of the table.

Each kind of column has an `Encoding`: `Numeric`, perhaps transformed, bounded or whole; `Instant`;
`Nominal`, one-hot with its first level dropped; `Ordinal`, as scores of a latent normal. Observed
cells only ever go one way, into the model.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import pyarrow as pa

from em_impute.gaussian.arrays import Floats, Ints


class Encoding(Protocol):
    """How one column takes part in the model, where it has d columns."""

    @property
    def column(self) -> str:
        """Its name."""

    @property
    def dimensions(self) -> tuple[str, ...]:
        """Names of its columns in the model."""

    def encode(self, cells: pa.Array) -> Floats:
        """Cells as numbers of shape (n, d), NaN where missing."""


class Filling(Encoding, Protocol):
    """An encoding whose column can be filled.

    What is filled in goes as floats, too: the values themselves, or the codes of levels.
    """

    def expected(self, mean: Floats, sd: Floats, /) -> Floats:
        """What to fill in, given conditional means and sd of shape (n, d): values or codes (n,)."""

    def publish(self, drawn: Floats) -> Floats:
        """What to fill in for a draw of the model's columns, of shape (n, d): values or codes."""

    def filled_type(self, type_: pa.DataType) -> pa.DataType:
        """Arrow type of the filled column."""

    def fill(self, cells: pa.Array, rows: Ints, filling: Floats) -> pa.Array:
        """The cells with those of `rows` replaced by values or codes.

        Parameters
        ----------
        cells : Array
            The column.
        rows : ndarray of int
            Rows of the missing cells, from 0.
        filling : ndarray of float
            What goes into them: values or codes.
        """

    def labels(self, filling: Floats) -> pa.Array:
        """Names of the levels of these codes; nulls for numbers."""


def to_numbers(cells: pa.Array) -> Floats:
    """Numeric cells as floats of shape (n,), NaN where null; integers beyond 2**53 are rounded."""
    numbers: Floats = cells.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return numbers


def decimals_as_floats(table: pa.Table) -> pa.Table:
    """The table with its decimals, which few programs calculate with, as floats.

    A column of which floats would not keep all digits stays as it is.
    """
    for i, field in enumerate(table.schema):
        if pa.types.is_decimal(field.type):
            floats = table.column(i).cast(pa.float64(), safe=False)
            if _survives(table.column(i), floats):
                table = table.set_column(i, field.name, floats)
    return table


def _survives(decimals: pa.ChunkedArray, floats: pa.ChunkedArray) -> bool:
    try:
        return bool(floats.cast(decimals.type).equals(decimals))
    except pa.ArrowInvalid:  # rounded up to one digit more than there is room for
        return False


def as_labels(cells: pa.Array) -> pa.Array:
    """Cells of text, booleans, integers or a dictionary of these as text, null where missing."""
    if pa.types.is_dictionary(cells.type):
        cells = cells.dictionary_decode()
    return cells.cast(pa.large_string())


def mask_of(n: int, rows: Ints) -> pa.Array:
    """Which of `n` cells are in these rows, as Arrow has it."""
    mask = np.zeros(n, dtype=bool)
    mask[rows] = True
    return pa.array(mask)
