"""A snapshot and a model become the filled table, staged for its target.

Only missing cells are written to. An observed cell is never part of any arithmetic: a filled column
is a copy of the original's values with the missing ones put in.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from uuid import uuid4

import numpy as np
import pyarrow as pa

from em_impute.gaussian.arrays import Floats, Ints
from em_impute.gaussian.delta import shifts
from em_impute.gaussian.draws import uniforms
from em_impute.gaussian.filling import FillingModel, Normal
from em_impute.gaussian.holes import Holes
from em_impute.gaussian.keys import Words
from em_impute.job import (
    CLUSTER,
    IMPUTATION,
    MASK,
    PROBABILITY,
    Imputation,
    Target,
)
from em_impute.tables import spelling
from em_impute.tables.clusters import cluster_columns
from em_impute.tables.columns.categories import Nominal, Ordinal
from em_impute.tables.columns.encoding import Filling, to_numbers
from em_impute.tables.columns.numbers import Numeric
from em_impute.tables.columns.roles import Roles
from em_impute.tables.columns.transforms import IDENTITY
from em_impute.tables.engines import Workers
from em_impute.tables.groups import models_of
from em_impute.tables.imputations import Models
from em_impute.tables.ledger import ImputedCells, ledger_rows, ledger_schema
from em_impute.tables.row_keys import row_keys
from em_impute.tables.run_folder import RunFolder
from em_impute.tables.scores import score_columns
from em_impute.tables.snapshot import (
    OnBatch,
    Part,
    Snapshot,
    is_missing,
    parts_of,
    read_schema,
    read_spelled,
    spelled_columns,
)
from em_impute.tables.whole_files import sha256, written_whole
from em_impute.tables.writing.formats import open_writer
from em_impute.tables.writing.staged import Staged

# So many bits fit an integer that is not negative.
MOST_BITS = 63


def fill(
    snapshot: Snapshot,
    model: FillingModel | None,
    roles: Roles,
    target: Target,
    folder: RunFolder,
    imputation: Imputation | None = None,
    groups: Mapping[str, FillingModel] | None = None,
    drawn: Sequence[Models] = (),
    workers: Workers | None = None,
    on_batch: OnBatch | None = None,
) -> Staged:
    """Stage `snapshot` with every missing cell of ``roles.impute`` filled, and write the ledger.

    By default a cell is filled with its expected value given what its row shows of the model's
    columns; a row that shows nothing gets the means. With ``method: draw`` the cells of a row are
    drawn from their distribution, keyed by ``roles.key`` or else by the number of the row. With
    ``method: multiple`` that is done once for each of the models in `drawn`, one whole table after
    the other. A column's `delta` then shifts its cells on the model's scale, by that many standard
    deviations of the model of all rows. Without columns to impute no model is needed, and the table
    is staged as it is.

    Parameters
    ----------
    snapshot : Snapshot
    model : FillingModel or None
        Of ``roles.dimensions``; None if nothing is imputed.
    roles : Roles
    target : Target
        Whose format the table is staged in.
    folder : RunFolder
        Where table and ledger are staged.
    imputation : Imputation, optional
        By default cells are filled with their means.
    groups : mapping of str to FillingModel, optional
        The models of groups of rows, by label; `model` is for all others.
    drawn : sequence of Models, optional
        With ``roles.multiple``: the models of each imputation, in the place of these.
    workers : Workers, optional
        Who fills it, a part each; by default that is done here, with the same bits.
    on_batch : callable, optional
        Gets each batch of the snapshot, once and in their order, where it is filled here.

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
    staged_format, is_spelled = target.staged_format, bool(spelled_columns(snapshot))
    if is_spelled:
        # Both what the cells hold and how they are written is kept until they are.
        staged_format, schema = "feather", spelling.spelled(schema)
    filling = _Filling(
        roles,
        imputation,
        schema,
        ledger_schema(schema, roles, folder, imputation.delta),
        target.file_format if is_spelled else None,
    )
    path = folder.staged(staged_format)
    versions = drawn or (Models(model, groups or {}),)
    counts = np.zeros(len(roles.impute), dtype=np.int64)
    with (
        open_writer(path, staged_format, schema) as table,
        open_writer(folder.cells, "parquet", filling.ledger_schema) as ledger,
    ):
        for number, models in enumerate(versions, start=1):
            counts[:] = 0
            batches = _filled_batches(filling, snapshot, models, number, folder, workers, on_batch)
            for filled in batches:
                table.write_batch(filled.rows)
                ledger.write_batch(filled.ledger)
                counts += filled.counts
            on_batch = None
    return Staged(
        path,
        staged_format,
        rows=snapshot.rows * len(versions),
        cells=int(counts.sum()),
        sha256=sha256(path),
        ledger=folder.cells,
        imputed=tuple(zip(roles.impute, counts.tolist(), strict=True)),
        key=roles.filled_key,
        imputations=len(versions),
    )


@dataclass(frozen=True)
class FilledBatch:
    """A batch of the filled table.

    Attributes
    ----------
    rows, ledger : RecordBatch
        The batch, and the ledger of its imputed cells.
    counts : ndarray of shape (n_imputed,), int64
        Imputed cells of each column of ``roles.impute``.
    """

    rows: pa.RecordBatch
    ledger: pa.RecordBatch
    counts: Ints


@dataclass(frozen=True)
class _Filling:
    """How a snapshot is filled, here or elsewhere: what all of its batches have in common.

    Attributes
    ----------
    roles : Roles
    imputation : Imputation
    schema, ledger_schema : Schema
        Of the filled table and of its ledger.
    spelled_for : str or None
        The file format whose spellings the table keeps, if it keeps any.
    """

    roles: Roles
    imputation: Imputation
    schema: pa.Schema
    ledger_schema: pa.Schema
    spelled_for: str | None

    def passed(
        self,
        snapshot: Path,
        models: Models,
        number: int,
        part: Part | None = None,
        on_batch: OnBatch | None = None,
    ) -> Iterator[FilledBatch]:
        """The filled batches of a snapshot, or of a part of it, in their order."""
        row = part.first_row if part else 0
        for spelled in read_spelled(snapshot, part=part):
            if on_batch is not None:
                on_batch(spelled)
            yield self._batch(spelled, models, row, number)
            row += spelled.num_rows

    def _batch(self, spelled: pa.RecordBatch, models: Models, row: int, number: int) -> FilledBatch:
        roles = self.roles
        batch = spelled.select(spelling.plain(spelled.schema).names)
        keys = row_keys(batch, roles.key, row)
        filled, cells = filled_columns(batch, models, roles, self.imputation, keys, number)
        read = spelling.as_read(spelled, roles.impute)
        columns = [filled.get(name, read.column(name)) for name in batch.schema.names]
        columns += _added(cells, roles, number, batch.num_rows)
        if roles.clusters:
            columns += cluster_columns(batch, models, roles)
        if roles.scores:
            columns += score_columns(batch, models, roles)
        if self.spelled_for is not None:
            columns += _spellings(spelled, columns, cells, roles, self.spelled_for)
        return FilledBatch(
            pa.RecordBatch.from_arrays(columns, schema=self.schema),
            ledger_rows(batch, cells, roles, row + 1, number, self.ledger_schema),
            np.array([len(column.rows) for column in cells], dtype=np.int64),
        )


def _filled_batches(
    filling: _Filling,
    snapshot: Snapshot,
    models: Models,
    number: int,
    folder: RunFolder,
    workers: Workers | None,
    on_batch: OnBatch | None,
) -> Iterator[FilledBatch]:
    """The filled batches of a snapshot; of workers, by way of files that they leave in `folder`."""
    if workers is None:
        yield from filling.passed(snapshot.path, models, number, on_batch=on_batch)
        return
    parts = parts_of(snapshot, len(filling.roles.dimensions))
    fill_part = partial(
        _fill_part, filling, snapshot.path.absolute(), models, number, folder.path.absolute()
    )
    for path in workers.map(fill_part, snapshot, parts):
        with pa.OSFile(str(path)) as file, pa.OSFile(str(_ledger_of(path))) as beside:
            rows, ledger = pa.ipc.open_stream(file), pa.ipc.open_stream(beside)
            for batch, cells in zip(rows, ledger, strict=True):
                counts = np.bincount(
                    cells.column("column").indices.to_numpy(), minlength=len(filling.roles.impute)
                )
                yield FilledBatch(batch, cells, counts)
        path.unlink()
        _ledger_of(path).unlink()


def _fill_part(
    filling: _Filling, snapshot: Path, models: Models, number: int, folder: Path, part: Part
) -> Path:
    """Fill a part on a worker, into two files; the path of the first."""
    path = folder / f".filled.{number}.{part.first}.part"
    # A worker that takes over from one that was lost may meet it, or what it has left.
    with (
        written_whole(path, path.with_suffix(f".{uuid4().hex}.part")) as half,
        written_whole(_ledger_of(path), half.with_suffix(".cells.part")) as half_ledger,
        pa.ipc.new_stream(half, filling.schema) as rows,
        pa.ipc.new_stream(half_ledger, filling.ledger_schema) as ledger,
    ):
        for filled in filling.passed(snapshot, models, number, part):
            rows.write_batch(filled.rows)
            ledger.write_batch(filled.ledger)
    return path


def _ledger_of(path: Path) -> Path:
    return path.with_suffix(".cells.part")


def shifts_in_words(roles: Roles, imputation: Imputation) -> list[str]:
    """A sentence for each column whose imputed cells are shifted."""
    sentences = []
    for name, by in imputation.delta.items():
        encoding = roles.encoding(name)
        scale = ""
        if isinstance(encoding, Ordinal):
            scale = " on the scale of its scores"
        elif isinstance(encoding, Numeric) and encoding.transform is not IDENTITY:
            scale = f" on the scale of its {encoding.transform.name}"
        if name in roles.impute and by:
            sentences.append(f"{name}: imputed cells are shifted by {by:g} sd{scale}.")
    return sentences


def _check_model(model: FillingModel | None, roles: Roles) -> None:
    columns = model.columns if model else ()
    if roles.impute and columns != roles.dimensions:
        raise ValueError(
            f"The model is of the columns {', '.join(columns) or '(none)'}, but the job's are "
            f"{', '.join(roles.dimensions)}; fit the model again."
        )


def filled_schema(snapshot: Snapshot, roles: Roles) -> pa.Schema:
    """Schema of the filled table: the snapshot's, with some imputed integers as floating point.

    The columns that it alone has come last.
    """
    schema = read_schema(snapshot.path)
    floats = []
    for name in roles.impute:
        i = schema.get_field_index(name)
        type_ = roles.filling(name).filled_type(schema.field(i).type)
        if type_ != schema.field(i).type:
            floats.append(name)
            schema = schema.set(i, schema.field(i).with_type(type_))
    schema = schema.with_metadata(_as_floats_in_pandas(schema.metadata, floats))
    if roles.mask:
        bits = pa.int64() if len(roles.impute) <= MOST_BITS else pa.binary()
        schema = schema.append(pa.field(MASK, bits))
    if roles.multiple:
        schema = schema.append(pa.field(IMPUTATION, pa.int32()))
    if roles.clusters:
        schema = schema.append(pa.field(CLUSTER, pa.int32()))
        schema = schema.append(pa.field(PROBABILITY, pa.float64()))
    for name in roles.score_names:
        schema = schema.append(pa.field(name, pa.float64()))
    return schema


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


def filled_columns(
    batch: pa.RecordBatch,
    models: Models,
    roles: Roles,
    imputation: Imputation,
    keys: Words,
    number: int,
) -> tuple[dict[str, pa.Array], list[ImputedCells]]:
    """The imputed columns of the batch with their cells filled, and these cells by column.

    Parameters
    ----------
    batch : RecordBatch
    models : Models
    roles : Roles
    imputation : Imputation
    keys : ndarray of shape (n_rows,), uint64
        Those of the rows.
    number : int
        Which of several imputations it is, from 1.
    """
    columns: dict[str, pa.Array] = {}
    cells: list[ImputedCells] = []
    if models.of_all is None or not roles.impute:
        return columns, cells
    X, draws = roles.encode(batch), imputation.is_drawn
    shift = _shift(models.of_all, roles, imputation)
    mean, sd, drawn = np.empty(X.shape), np.empty(X.shape), X.copy()
    for own, rows in models_of(batch, models, roles):
        mean[rows], sd[rows] = _moments(own, X[rows])
        if draws:
            stream = imputation.seed, number
            for normal, some in own.drawn_by(X[rows], imputation.seed, keys[rows], number):
                mine = rows[some]
                drawn[mine] = _drawn(normal, X[mine], roles, stream, keys[mine], shift)
    mean += shift
    for name in roles.impute:
        column, encoding, at = batch.column(name), roles.filling(name), roles.at(name)
        rows = np.flatnonzero(is_missing(column))
        m, s = mean[rows, at], sd[rows, at]
        filling = encoding.publish(drawn[rows, at]) if draws else encoding.expected(m, s)
        columns[name] = encoding.fill(column, rows, filling)
        cells.append(_cells(encoding, columns[name], rows, filling, m, s))
    return columns, cells


def _shift(model: FillingModel, roles: Roles, imputation: Imputation) -> Floats:
    """How far the cells of each of the model's columns are shifted, on its scale.

    By the standard deviations of all rows, in groups too: a column is shifted as one.
    """
    filled = {name: by for name, by in imputation.delta.items() if name in roles.impute}
    return shifts(filled, model.columns, model.sd)


def _moments(model: FillingModel | Normal, X: Floats) -> tuple[Floats, Floats]:
    """Conditional mean and sd of the missing cells, of the shape of `X`, NaN elsewhere."""
    given = model.conditional(X)
    mean, sd = np.full(X.shape, np.nan), np.full(X.shape, np.nan)
    mean[given.rows, given.columns], sd[given.rows, given.columns] = given.mean, given.sd
    return mean, sd


def _drawn(
    model: Normal,
    X: Floats,
    roles: Roles,
    stream: tuple[int, int],
    keys: Words,
    shift: Floats,
) -> Floats:
    """`X` with its missing cells drawn, by the seed and the number of the imputation, and shifted.

    What no normal gives, a level or a number between bounds, is drawn first: column after column,
    from its distribution given what the row shows and what has been drawn. The other cells of the
    row are drawn jointly given all of that. A shift moves the cells of its own column only: the
    others are drawn as without it.
    """
    X, shifted, (seed, number) = X.copy(), {}, stream
    for name in roles.impute:
        encoding, at = roles.encoding(name), roles.at(name)
        if not (isinstance(encoding, Numeric | Nominal) and encoding.drawn_first):
            continue
        rows = np.flatnonzero(np.isnan(X[:, at]).any(axis=1))
        cells = rows, np.zeros(len(rows), dtype=np.int64)
        uniform = uniforms(cells, [name], seed, keys, number)
        mean, sd = _moments(model, X[rows])
        X[rows, at] = encoding.draw(uniform, mean[:, at], sd[:, at])
        if shift[at].any():
            shifted[name] = rows, encoding.draw(uniform, mean[:, at] + shift[at], sd[:, at])
    holes = Holes.of(X)
    X = holes.filled(model.draw_cells(holes, seed, keys, number) + shift[holes.columns])
    for name, (rows, own) in shifted.items():
        X[rows, roles.at(name)] = own
    return X


def _cells(
    encoding: Filling, column: pa.Array, rows: Ints, filling: Floats, mean: Floats, sd: Floats
) -> ImputedCells:
    """The cells of a column that has been filled, for the ledger."""
    values = spread = np.full(len(rows), np.nan)
    if isinstance(encoding, Numeric):
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


def _added(cells: Sequence[ImputedCells], roles: Roles, number: int, n_rows: int) -> list[pa.Array]:
    """The columns of ``roles.added`` for a batch, but for those that a model tells of its rows."""
    mask = [_mask(cells, n_rows)] if roles.mask else []
    return [*mask, *([pa.repeat(pa.scalar(number, pa.int32()), n_rows)] if roles.multiple else [])]


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
