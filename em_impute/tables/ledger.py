"""The cell ledger: one row for each imputed cell, by imputation, row and column.

Its columns: ``row`` (counted from 1), the key's columns, ``column``; ``value`` for numbers and
``level`` for categories; ``sd``, the conditional standard deviation on the published scale (null
for categories); ``pattern``, what its row does not show of the model; and ``imputation``, the
number of the imputation. The file's metadata name the run and the model, and the shifts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from em_impute.gaussian.distinct import distinct_patterns
from em_impute.tables.columns.roles import Roles
from em_impute.tables.run_folder import RunFolder
from em_impute.tables.whole_files import sha256

LEDGER_COLUMNS = ("row", "column", "value", "level", "sd", "pattern", "imputation")


@dataclass(frozen=True)
class ImputedCells:
    """The imputed cells of one column of a batch.

    Attributes
    ----------
    rows : ndarray of shape (n,), int64
        Counted from 0 within the batch.
    values : ndarray of shape (n,)
        As the column holds them; NaN for levels.
    sd : ndarray of shape (n,)
        NaN for levels.
    levels : StringArray of length n
        Nulls for numbers.
    """

    rows: NDArray[np.int64]
    values: NDArray[np.float64]
    sd: NDArray[np.float64]
    levels: pa.Array


def ledger_schema(
    schema: pa.Schema, roles: Roles, folder: RunFolder, delta: Mapping[str, float]
) -> pa.Schema:
    """Schema of the ledger of a run; `schema` is that of the filled table.

    Parameters
    ----------
    schema : Schema
        Of the filled table.
    roles : Roles
    folder : RunFolder
        With the model, if there is one.
    delta : mapping of str to float
        By how many standard deviations the cells of columns are shifted.
    """
    metadata = {
        "em_impute.run": folder.path.name,
        "em_impute.model": sha256(folder.model) if folder.model.exists() else "",
    }
    if delta:
        metadata["em_impute.delta"] = json.dumps(dict(delta))
    return pa.schema(
        [
            ("row", pa.int64()),
            *[(_key_name(name), schema.field(name).type) for name in roles.key],
            ("column", pa.dictionary(pa.int32(), pa.string())),
            ("value", pa.float64()),
            ("level", pa.string()),
            ("sd", pa.float64()),
            ("pattern", pa.string()),
            ("imputation", pa.int32()),
        ],
        metadata=metadata,
    )


def ledger_rows(
    batch: pa.RecordBatch,
    cells: Sequence[ImputedCells],
    roles: Roles,
    first_row: int,
    imputation: int,
    schema: pa.Schema,
) -> pa.RecordBatch:
    """The ledger of one batch.

    Parameters
    ----------
    batch : RecordBatch
        Of the table as it was read.
    cells : sequence of ImputedCells
        For each column of ``roles.impute``.
    roles : Roles
    first_row : int
        Number of the batch's first row, from 1.
    imputation : int
        Number of the imputation, from 1.
    schema : Schema
        From `ledger_schema`.
    """
    rows = np.concatenate([np.empty(0, dtype=np.int64), *[column.rows for column in cells]])
    columns = np.repeat(np.arange(len(cells)), [len(column.rows) for column in cells])
    order = np.lexsort((columns, rows))
    at = pa.array(rows[order])
    values, sd = (
        np.concatenate([np.empty(0), *[getattr(column, name) for column in cells]])[order]
        for name in ("values", "sd")
    )
    arrays = [
        pa.array(rows[order] + first_row),
        *[batch.column(name).take(at) for name in roles.key],
        pa.DictionaryArray.from_arrays(
            pa.array(columns[order], pa.int32()), pa.array(roles.impute, pa.string())
        ),
        pa.array(values, from_pandas=True),
        pa.concat_arrays([pa.nulls(0, pa.string()), *(c.levels for c in cells)]).take(
            pa.array(order)
        ),
        pa.array(sd, from_pandas=True),
        _patterns(batch, roles).take(at),
        pa.array(np.full(len(order), imputation, dtype=np.int32)),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _patterns(batch: pa.RecordBatch, roles: Roles) -> pa.Array:
    """For each row which of ``roles.model_columns`` it lacks, as hexadecimal digits.

    The first column is the highest bit of the first digit.
    """
    patterns, pattern_of_row = distinct_patterns(roles.missing(batch))
    names = [bits.tobytes().hex() for bits in np.packbits(patterns, axis=1)]
    return pa.array(names, pa.string()).take(pa.array(pattern_of_row))


def _key_name(name: str) -> str:
    return f"key.{name}" if name in LEDGER_COLUMNS else name
