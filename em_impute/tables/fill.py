"""A snapshot and a model become the filled table, staged for its target.

Only missing cells are written to. An observed cell is never part of any arithmetic: a filled column
is a copy of the original's values with the missing ones put in.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from em_impute.gaussian import GaussianModel
from em_impute.gaussian.arrays import Floats, Ints
from em_impute.gaussian.draws import conditional_noise, standard_normals, uniforms
from em_impute.gaussian.keys import Words
from em_impute.job import MASK, DatabaseTarget, FileTarget, Imputation
from em_impute.tables import spelling
from em_impute.tables.columns.categories import Nominal
from em_impute.tables.columns.encoding import Filling, to_numbers
from em_impute.tables.columns.numbers import Number
from em_impute.tables.columns.roles import Roles
from em_impute.tables.groups import group_rows
from em_impute.tables.ledger import IMPUTATION, ImputedCells, ledger_rows, ledger_schema
from em_impute.tables.row_keys import row_keys
from em_impute.tables.run_folder import RunFolder
from em_impute.tables.snapshot import (
    Snapshot,
    is_missing,
    read_schema,
    read_spelled,
    spelled_columns,
)
from em_impute.tables.whole_files import sha256
from em_impute.tables.writing.formats import open_writer
from em_impute.tables.writing.staged import Staged

# So many bits fit an integer that is not negative.
MOST_BITS = 63


def fill(
    snapshot: Snapshot,
    model: GaussianModel | None,
    roles: Roles,
    target: FileTarget | DatabaseTarget,
    folder: RunFolder,
    imputation: Imputation | None = None,
    groups: Mapping[str, GaussianModel] | None = None,
) -> Staged:
    """Stage `snapshot` with every missing cell of ``roles.impute`` filled, and write the ledger.

    By default a cell is filled with its expected value given what its row shows of the model's
    columns; a row that shows nothing gets the means. With ``method: draw`` the cells of a row are
    drawn from their distribution, keyed by ``roles.key`` or else by the number of the row. Without
    columns to impute no model is needed, and the table is staged as it is.

    Parameters
    ----------
    snapshot : Snapshot
    model : GaussianModel or None
        Of ``roles.dimensions``; None if nothing is imputed.
    roles : Roles
    target : FileTarget or DatabaseTarget
        Whose format the table is staged in.
    folder : RunFolder
        Where table and ledger are staged.
    imputation : Imputation, optional
        By default cells are filled with their means.
    groups : mapping of str to GaussianModel, optional
        The models of groups of rows, by label; `model` is for all others.

    Raises
    ------
    ValueError
        If the model is of other columns than `roles`.
    TargetError
        If the target's format cannot hold a column.
    DiskFullError
    """
    _check_model(model, roles)
    imputation = imputation or Imputation()
    schema = filled_schema(snapshot, roles)
    ledger_of = ledger_schema(schema, roles, folder)
    staged_format, is_spelled = target.staged_format, bool(spelled_columns(snapshot))
    if is_spelled:
        # Both what the cells hold and how they are written is kept until they are.
        staged_format, schema = "feather", spelling.spelled(schema)
    path = folder.staged(staged_format)
    rows, counts = 0, np.zeros(len(roles.impute), dtype=np.int64)
    with (
        open_writer(path, staged_format, schema) as table,
        open_writer(folder.cells, "parquet", ledger_of) as ledger,
    ):
        for spelled in read_spelled(snapshot.path):
            batch = spelled.select(spelling.plain(spelled.schema).names)
            keys = row_keys(batch, roles.key, rows)
            filled, cells = _filled(batch, model, groups or {}, roles, imputation, keys)
            read = spelling.as_read(spelled, roles.impute)
            columns = [filled.get(name, read.column(name)) for name in batch.schema.names]
            if roles.mask:
                columns.append(_mask(cells, batch.num_rows))
            if is_spelled:
                columns += _spellings(spelled, columns, cells, roles, target.file_format)
            table.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))
            ledger.write_batch(ledger_rows(batch, cells, roles, rows + 1, ledger_of))
            rows += batch.num_rows
            counts += np.array([len(column.rows) for column in cells], dtype=np.int64)
    imputed = tuple(zip(roles.impute, counts.tolist(), strict=True))
    return Staged(
        path,
        staged_format,
        rows,
        int(counts.sum()),
        sha256(path),
        folder.cells,
        imputed,
        roles.key,
    )


def _check_model(model: GaussianModel | None, roles: Roles) -> None:
    columns = model.columns if model else ()
    if roles.impute and columns != roles.dimensions:
        raise ValueError(
            f"The model is of the columns {', '.join(columns) or '(none)'}, but the job's are "
            f"{', '.join(roles.dimensions)}; fit the model again."
        )


def filled_schema(snapshot: Snapshot, roles: Roles) -> pa.Schema:
    """Schema of the filled table: the snapshot's, with some imputed integers as floating point."""
    schema = read_schema(snapshot.path)
    floats = []
    for name in roles.impute:
        i = schema.get_field_index(name)
        type_ = roles.filling(name).filled_type(schema.field(i).type)
        if type_ != schema.field(i).type:
            floats.append(name)
            schema = schema.set(i, schema.field(i).with_type(type_))
    schema = schema.with_metadata(_as_floats_in_pandas(schema.metadata, floats))
    if not roles.mask:
        return schema
    bits = pa.int64() if len(roles.impute) <= MOST_BITS else pa.binary()
    return schema.append(pa.field(MASK, bits))


def _as_floats_in_pandas(
    metadata: Mapping[bytes, bytes] | None, columns: Sequence[str]
) -> dict[bytes, bytes]:
    """Tell pandas, which would make integers of them again, that `columns` are floats now."""
    kept = dict(metadata or {})
    if b"pandas" in kept and columns:
        try:
            frame = json.loads(kept[b"pandas"])
            for column in frame["columns"]:
                if column["field_name"] in columns:
                    column |= {"pandas_type": "float64", "numpy_type": "float64"}
            kept[b"pandas"] = json.dumps(frame).encode()
        except (ValueError, LookupError, TypeError, RecursionError):  # not what pandas writes
            del kept[b"pandas"]
    return kept


# --- One batch ---------------------------------------------------------------------------------


def _filled(
    batch: pa.RecordBatch,
    model: GaussianModel | None,
    groups: Mapping[str, GaussianModel],
    roles: Roles,
    imputation: Imputation,
    keys: Words,
) -> tuple[dict[str, pa.Array], list[ImputedCells]]:
    """The imputed columns of the batch with their cells filled, and these cells by column."""
    columns: dict[str, pa.Array] = {}
    cells: list[ImputedCells] = []
    if model is None or not roles.impute:
        return columns, cells
    X, draws = roles.encode(batch), imputation.method == "draw"
    mean, sd, drawn = np.empty(X.shape), np.empty(X.shape), X.copy()
    parts = group_rows(batch, roles) if groups else [("", np.arange(batch.num_rows))]
    for label, rows in parts:
        own = groups.get(label, model)
        mean[rows], sd[rows] = _moments(own, X[rows])
        if draws:
            drawn[rows] = _drawn(own, X[rows], roles, imputation.seed, keys[rows])
    for name in roles.impute:
        column, encoding, at = batch.column(name), roles.filling(name), roles.at(name)
        rows = np.flatnonzero(is_missing(column))
        m, s = mean[rows, at], sd[rows, at]
        filling = encoding.publish(drawn[rows, at]) if draws else encoding.expected(m, s)
        columns[name] = encoding.fill(column, rows, filling)
        cells.append(_cells(encoding, columns[name], rows, filling, m, s))
    return columns, cells


def _moments(model: GaussianModel, X: Floats) -> tuple[Floats, Floats]:
    """Conditional mean and sd of the missing cells, of the shape of `X`, NaN elsewhere."""
    given = model.conditional(X)
    mean, sd = np.full(X.shape, np.nan), np.full(X.shape, np.nan)
    mean[given.rows, given.columns], sd[given.rows, given.columns] = given.mean, given.sd
    return mean, sd


def _drawn(model: GaussianModel, X: Floats, roles: Roles, seed: int, keys: Words) -> Floats:
    """`X` with its missing cells drawn.

    What no normal gives, a level or a number between bounds, is drawn first: column after column,
    from its distribution given what the row shows and what has been drawn. The other cells of the
    row are drawn jointly given all of that.
    """
    X = X.copy()
    for name in roles.impute:
        encoding, at = roles.encoding(name), roles.at(name)
        if not (isinstance(encoding, Number | Nominal) and encoding.drawn_first):
            continue
        rows = np.flatnonzero(np.isnan(X[:, at]).any(axis=1))
        cells = np.ones((len(rows), 1), dtype=bool)
        uniform = uniforms(cells, [name], seed, keys[rows], IMPUTATION)
        mean, sd = _moments(model, X[rows])
        X[rows, at] = encoding.draw(uniform, mean[:, at], sd[:, at])
    missing = np.isnan(X)
    normals = standard_normals(missing, model.columns, seed, keys, IMPUTATION)
    X[missing] = model.conditional(X).mean + conditional_noise(missing, model.covariance, normals)
    return X


def _cells(
    encoding: Filling, column: pa.Array, rows: Ints, filling: Floats, mean: Floats, sd: Floats
) -> ImputedCells:
    """The cells of a column that has been filled, for the ledger."""
    values = spread = np.full(len(rows), np.nan)
    if isinstance(encoding, Number):
        values, spread = to_numbers(column.take(pa.array(rows))), encoding.spread(mean, sd)
    return ImputedCells(rows, values, spread, encoding.labels(filling))


def _spellings(
    batch: pa.RecordBatch,
    columns: Sequence[pa.Array],
    cells: Sequence[ImputedCells],
    roles: Roles,
    file_format: str,
) -> list[pa.Array]:
    """How the columns of a batch are written: observed cells as they were, filled ones as new."""
    filled = {name: own.rows for name, own in zip(roles.impute, cells, strict=False)}
    spellings = []
    for name, column in zip(roles.columns, columns, strict=False):
        before = batch.column(spelling.spelling_of(name))
        rows = filled.get(name, np.empty(0, dtype=np.int64))
        spellings.append(spelling.respelled(before, column, rows, file_format))
    return [*spellings, *(spelling.render(c, file_format) for c in columns[len(spellings) :])]


def _mask(cells: Sequence[ImputedCells], n_rows: int) -> pa.Array:
    """One bit for each column of ``roles.impute``, the first the lowest: whether it was filled."""
    filled = np.zeros((n_rows, len(cells)), dtype=bool)
    for j, column in enumerate(cells):
        filled[column.rows, j] = True
    packed = np.packbits(filled, axis=1, bitorder="little")
    if len(cells) > MOST_BITS:
        return pa.array([row.tobytes() for row in packed], pa.binary())
    words = np.zeros((n_rows, 8), dtype=np.uint8)
    words[:, : packed.shape[1]] = packed
    return pa.array(words.view("<i8")[:, 0].astype(np.int64))
