"""A snapshot and a model become the filled table, staged for its target, and the cell ledger.

Only missing cells are written to. An observed cell is never part of any arithmetic: a filled column
is a copy of the original's values with the missing ones put in.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from em_impute.gaussian import Conditional, GaussianModel
from em_impute.job import DatabaseTarget, FileTarget
from em_impute.tables.columns import Roles, to_matrix
from em_impute.tables.run_folder import RunFolder, sha256
from em_impute.tables.sources import Snapshot, read_batches, read_schema
from em_impute.tables.targets import open_writer

LEDGER_COLUMNS = ("row", "column", "value", "sd")


@dataclass(frozen=True)
class Staged:
    """A filled table that waits to be published, and its ledger.

    Attributes
    ----------
    path : Path
        The table, in the format that the target stages.
    format : str
    rows : int
    cells : int
        Imputed cells.
    sha256 : str
        Of the table's bytes.
    ledger : Path
        Parquet, one row per imputed cell: row (counted from 1), the key columns, column, value
        and sd; ordered by row, then by column of the table.
    imputed : tuple of (str, int)
        Imputed cells of each column.
    key : tuple of str
        The columns that identify a row.
    """

    path: Path
    format: str
    rows: int
    cells: int
    sha256: str
    ledger: Path
    imputed: tuple[tuple[str, int], ...]
    key: tuple[str, ...] = ()


def fill(
    snapshot: Snapshot,
    model: GaussianModel | None,
    roles: Roles,
    target: FileTarget | DatabaseTarget,
    folder: RunFolder,
) -> Staged:
    """Stage `snapshot` with every missing cell of ``roles.impute`` filled, and write the ledger.

    A cell is filled with its expected value given what its row shows of the model's columns; a row
    that shows nothing gets the means. Without columns to impute no model is needed, and the table
    is staged as it is.

    Raises
    ------
    ValueError
        If the model is of other columns than `roles`.
    TargetError
        If the target's format cannot hold a column.
    DiskFullError
    """
    _check_model(model, roles)
    schema = filled_schema(snapshot, roles)
    path = folder.staged(target.staged_format)
    rows, counts = 0, np.zeros(len(roles.impute), dtype=np.int64)
    with (
        open_writer(path, target.staged_format, schema) as table,
        open_writer(folder.cells, "parquet", _ledger_schema(schema, roles)) as ledger,
    ):
        for batch in read_batches(snapshot.path):
            cells = _cells_to_fill(batch, model, roles)
            filled, values = _filled(batch, cells, roles, schema)
            table.write_batch(filled)
            ledger.write_batch(_ledger(batch, cells, values, roles, first_row=rows + 1))
            rows += batch.num_rows
            counts += np.bincount(cells.columns, minlength=len(counts))
    imputed = tuple(zip(roles.impute, counts.tolist(), strict=True))
    return Staged(
        path,
        target.staged_format,
        rows,
        int(counts.sum()),
        sha256(path),
        folder.cells,
        imputed,
        roles.key,
    )


def _check_model(model: GaussianModel | None, roles: Roles) -> None:
    columns = model.columns if model else ()
    if roles.impute and columns != roles.model_columns:
        raise ValueError(
            f"The model is of the columns {', '.join(columns) or '(none)'}, but the job's are "
            f"{', '.join(roles.model_columns)}; fit the model again."
        )


def filled_schema(snapshot: Snapshot, roles: Roles) -> pa.Schema:
    """Schema of the filled table: the snapshot's, with imputed integers as floating point."""
    schema = read_schema(snapshot.path)
    integers = [name for name in roles.impute if not pa.types.is_floating(schema.field(name).type)]
    for name in integers:
        i = schema.get_field_index(name)
        schema = schema.set(i, schema.field(i).with_type(pa.float64()))
    return schema.with_metadata(_as_floats_in_pandas(schema.metadata, integers))


def _as_floats_in_pandas(
    metadata: Mapping[bytes, bytes] | None, columns: Sequence[str]
) -> dict[bytes, bytes]:
    """Tell pandas, which would make integers of them again, that `columns` are floats now."""
    kept = dict(metadata or {})
    if b"pandas" in kept:
        frame = json.loads(kept[b"pandas"])
        for column in frame["columns"]:
            if column["field_name"] in columns:
                column |= {"pandas_type": "float64", "numpy_type": "float64"}
        kept[b"pandas"] = json.dumps(frame).encode()
    return kept


def _cells_to_fill(batch: pa.RecordBatch, model: GaussianModel | None, roles: Roles) -> Conditional:
    """Missing cells of the columns to impute; ``columns`` counts in ``roles.impute``."""
    if model is None or not roles.impute:
        none = np.empty(0, dtype=np.int64)
        return Conditional(none, none, np.empty(0), np.empty(0))
    given = model.conditional(to_matrix(batch, model.columns))
    in_impute = [roles.impute.index(c) if c in roles.impute else -1 for c in model.columns]
    columns = np.array(in_impute)[given.columns]
    chosen = columns >= 0
    return Conditional(given.rows[chosen], columns[chosen], given.mean[chosen], given.sd[chosen])


def _filled(
    batch: pa.RecordBatch, cells: Conditional, roles: Roles, schema: pa.Schema
) -> tuple[pa.RecordBatch, NDArray[np.float64]]:
    """The batch with its cells filled, and the values as their columns hold them."""
    columns, values = batch.columns, cells.mean.copy()
    for j, name in enumerate(roles.impute):
        i = schema.get_field_index(name)
        here = cells.columns == j
        # A copy of the column, null as NaN: what is observed keeps its bits.
        column = np.array(columns[i].cast(schema.field(i).type).to_numpy(zero_copy_only=False))
        column[cells.rows[here]] = values[here]
        values[here] = column[cells.rows[here]]
        columns[i] = pa.array(column)
    return pa.RecordBatch.from_arrays(columns, schema=schema), values


# --- The ledger --------------------------------------------------------------------------------


def _ledger_schema(schema: pa.Schema, roles: Roles) -> pa.Schema:
    return pa.schema(
        [
            ("row", pa.int64()),
            *[(_key_name(name), schema.field(name).type) for name in roles.key],
            ("column", pa.dictionary(pa.int32(), pa.string())),
            ("value", pa.float64()),
            ("sd", pa.float64()),
        ]
    )


def _key_name(name: str) -> str:
    return f"key.{name}" if name in LEDGER_COLUMNS else name


def _ledger(
    batch: pa.RecordBatch,
    cells: Conditional,
    values: NDArray[np.float64],
    roles: Roles,
    first_row: int,
) -> pa.RecordBatch:
    columns = pa.array(cells.columns, pa.int32())
    arrays = [
        pa.array(cells.rows + first_row),
        *[batch.column(name).take(pa.array(cells.rows)) for name in roles.key],
        pa.DictionaryArray.from_arrays(columns, pa.array(roles.impute, pa.string())),
        pa.array(values),
        pa.array(cells.sd),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=_ledger_schema(batch.schema, roles))
