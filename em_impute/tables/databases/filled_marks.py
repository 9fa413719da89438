"""Which cells of a staged table were filled: the ledger as bits beside its rows.

A database is sent them with the rows, so that it can tell the cells that were observed from those
that were filled, which may be rounded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from em_impute.gaussian.arrays import Ints
from em_impute.tables.snapshot import read_batches, read_schema
from em_impute.tables.writing.staged import Staged

# So many bits of a word are used that no database takes it for negative.
BITS = 62


def filled_columns(staged: Staged) -> list[str]:
    """The columns in which a cell was filled."""
    return [name for name, cells in staged.imputed if cells]


def marked(staged: Staged) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """A staged table with its marks: whole numbers after its columns, a bit for each filled column.

    Without a filled cell there are none. `mark` says where the bit of a column is.
    """
    schema, batches = read_schema(staged.path), read_batches(staged.path)
    names = filled_columns(staged)
    if not names:
        return schema, batches
    wider = with_words(schema, names)
    return wider, _with_marks(batches, wider, names, _ledger(staged, names))


def with_words(schema: pa.Schema, names: Sequence[str]) -> pa.Schema:
    """A schema with the columns that hold the marks of some of its columns."""
    words = [pa.field(f"em_impute marks {i}", pa.int64()) for i in range(_words(names))]
    return pa.schema([*schema, *words], schema.metadata)


def marks(names: Sequence[str], columns: int) -> dict[str, tuple[int, int]]:
    """For each column of names the number of the column with its mark, and the mark."""
    return {name: (columns + i // BITS, 1 << i % BITS) for i, name in enumerate(names)}


def no_marks(names: Sequence[str], rows: int) -> Ints:
    """Words for so many rows, by word and row, without a mark."""
    return np.zeros((_words(names), rows), np.int64)


def mark(words: Ints, columns: Ints | int, rows: Ints) -> None:
    """Mark cells.

    Parameters
    ----------
    words : ndarray of shape (n_words, n_rows)
        Written to.
    columns : int or ndarray of shape (n_cells,)
        Numbers of their columns among those that have marks.
    rows : ndarray of shape (n_cells,)
        Numbers of their rows.
    """
    columns = np.broadcast_to(np.asarray(columns, np.int64), rows.shape)
    np.bitwise_or.at(words, (columns // BITS, rows), np.int64(1) << columns % BITS)


def _words(names: Sequence[str]) -> int:
    return -(-len(names) // BITS)


def _ledger(staged: Staged, names: Sequence[str]) -> Iterator[tuple[Ints, Ints]]:
    """Rows, from 0, and numbers of columns of the filled cells, in the order of rows."""
    known, rows_of_each = pa.array(names, pa.string()), staged.rows // staged.imputations
    with pq.ParquetFile(staged.ledger) as file:
        for batch in file.iter_batches(columns=["row", "column", "imputation"]):
            columns = pc.index_in(batch["column"].cast(pa.string()), known)
            rows = rows_of_each * (batch["imputation"].to_numpy().astype(np.int64) - 1)
            yield rows + batch["row"].to_numpy() - 1, columns.cast(pa.int64()).to_numpy()


def _with_marks(
    batches: Iterator[pa.RecordBatch],
    schema: pa.Schema,
    names: Sequence[str],
    ledger: Iterator[tuple[Ints, Ints]],
) -> Iterator[pa.RecordBatch]:
    rows, columns, first = np.empty(0, np.int64), np.empty(0, np.int64), 0
    for batch in batches:
        end = first + batch.num_rows
        while not len(rows) or rows[-1] < end:
            if (more := next(ledger, None)) is None:
                break
            rows, columns = np.append(rows, more[0]), np.append(columns, more[1])
        now = int(np.searchsorted(rows, end))
        words = no_marks(names, batch.num_rows)
        mark(words, columns[:now], rows[:now] - first)
        yield pa.RecordBatch.from_arrays([*batch.columns, *map(pa.array, words)], schema=schema)
        rows, columns, first = rows[now:], columns[now:], end
