"""Summaries and fills of tables that lie elsewhere: a batch of Arrow at a time, in any program.

What Spark's `mapInArrow` and Ray's `map_batches` hand to a function goes straight in here. Only
summaries travel: each worker condenses its rows to one, and they add up to that of the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import pyarrow as pa

from em_impute.gaussian import GaussianModel, PatternSummary
from em_impute.gaussian.model import require_model
from em_impute.gaussian.table import listed
from em_impute.tables.row_keys import row_keys

Batch: TypeAlias = pa.RecordBatch | pa.Table


def summarise_batches(batches: Iterable[Batch], columns: Sequence[str]) -> bytes:
    """Condense rows to all that a fit needs of them.

    Parameters
    ----------
    batches : iterable of RecordBatch or Table
        Of one table, or of a part of it. There may be none.
    columns : sequence of str
        The columns of the model, which are numbers; a cell is missing where it is null or NaN.

    Returns
    -------
    bytes
        Of which `PatternSummary.from_bytes` makes a summary. Those of all parts, added, are that of
        the table.

    Raises
    ------
    ValueError
        If a column is not there, is not of numbers or has infinite cells.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from em_impute import PatternSummary
    >>> here = pa.table({"a": [1.0, None], "b": [2.0, 4.0]})
    >>> there = pa.table({"a": [2.0], "b": [1.0]})
    >>> sent = [summarise_batches([part], ["a", "b"]) for part in (here, there)]
    >>> summary = PatternSummary.from_bytes(sent[0]) + PatternSummary.from_bytes(sent[1])
    >>> summary.n_rows
    3
    """
    summary = PatternSummary(columns)
    for batch in batches:
        if batch.num_rows:
            summary.update(_chosen(batch, summary.columns))
    return summary.to_bytes()


def fill_batches(
    model: GaussianModel,
    batches: Iterable[Batch],
    *,
    seed: int | None = None,
    key: Sequence[str] = (),
    imputation: int = 1,
) -> Iterator[Any]:
    """Fill the missing cells of a model's columns, in one batch after the other.

    Parameters
    ----------
    model : GaussianModel
    batches : iterable of RecordBatch or Table
        With the model's columns, and any others.
    seed : int, optional
        With a seed cells are drawn, as by `GaussianModel.draw`; by default they get their expected
        values.
    key : sequence of str
        The columns that identify a row, on which its draws depend: so they are the same however the
        rows are dealt out.
    imputation : int, default=1
        Another number, from 1, gives an independent draw of every cell.

    Returns
    -------
    iterator of RecordBatch or Table
        As they came, in all columns. Those of the model keep their type if it is of floating point,
        and are float64 otherwise; observed cells keep their value.

    Raises
    ------
    ValueError
        If a column is not there, is not of numbers or has infinite cells; if a seed comes without a
        key, or a row's key has a missing cell.

    Examples
    --------
    >>> import numpy as np
    >>> import pyarrow as pa
    >>> from em_impute import GaussianModel
    >>> model = GaussianModel(np.zeros(2), np.array([[1.0, 0.5], [0.5, 1.0]]), ("a", "b"))
    >>> batch = pa.table({"id": ["x", "y"], "a": [2, None], "b": [None, 3]})
    >>> filled = next(fill_batches(model, [batch]))
    >>> filled["id"].to_pylist(), filled["a"].to_numpy().round(6), filled["b"].to_numpy().round(6)
    (['x', 'y'], array([2. , 1.5]), array([1., 3.]))
    """
    require_model("model", model)
    if isinstance(key, str):
        key = [key]
    if seed is not None and not key:
        raise ValueError(
            "Draws depend on what identifies a row, since batches do not tell its number: name "
            "these columns, as in key=['id']."
        )
    return (_filled(model, batch, seed, key, imputation) for batch in batches)


def _filled(
    model: GaussianModel, batch: Batch, seed: int | None, key: Sequence[str], imputation: int
) -> Batch:
    table = _chosen(batch, model.columns)
    if seed is None:
        cells = model.impute(table)
    else:
        cells = model.draw(table, seed, _words(batch, key), imputation)
    filled = batch
    for j, name in enumerate(model.columns):
        at = batch.schema.get_field_index(name)
        field = batch.schema.field(at)
        type_ = field.type if pa.types.is_floating(field.type) else pa.float64()
        filled = filled.set_column(at, field.with_type(type_), pa.array(cells[:, j]).cast(type_))
    return filled


def _words(batch: Batch, key: Sequence[str]) -> Any:
    """What identifies each row, as a number."""
    columns = [column.combine_chunks() for column in _chosen(batch, key).columns]
    for name, column in zip(key, columns, strict=True):
        if column.null_count:
            raise ValueError(f"The key column '{name}' has missing cells. Every row needs its key.")
    return row_keys(pa.RecordBatch.from_arrays(columns, list(key)), key, 0)


def _chosen(batch: Batch, columns: Sequence[str]) -> pa.Table:
    """Some columns of a batch."""
    absent = [name for name in columns if name not in batch.schema.names]
    if absent:
        raise ValueError(
            f"The batch has no column {listed(absent)}; it has {listed(batch.schema.names)}."
        )
    table = batch if isinstance(batch, pa.Table) else pa.Table.from_batches([batch])
    return table.select(list(columns))
