"""Tables in memory of numbers, categories, text and dates, in which each column plays the part that
a job would give it: its roles, encodings, groups and filled cells are those of `em_impute.tables`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np
import pyarrow as pa

from em_impute.column_options import OPTION_OF, in_python, in_words_of_python
from em_impute.gaussian import EMResult, PatternSummary
from em_impute.gaussian.arrays import Floats, Ints
from em_impute.job import Imputation, Job
from em_impute.tables.columns.categories import Nominal, Ordinal
from em_impute.tables.columns.misfits import Misfits, find_misfits
from em_impute.tables.columns.numbers import Instant, Numeric
from em_impute.tables.columns.roles import Roles, assign_roles
from em_impute.tables.columns.unfilled import find_unfilled, unfilled_in_words
from em_impute.tables.fill import filled_columns
from em_impute.tables.groups import GroupFit, fit_groups
from em_impute.tables.imputations import Models
from em_impute.tables.reading.missing import Missing
from em_impute.tables.reading.purpose import Purpose
from em_impute.tables.row_keys import row_keys
from em_impute.tables.snapshot import (
    HeldSnapshot,
    is_missing,
    is_numeric,
    read_batches,
    read_schema,
)
from em_impute.tables.sources import hold
from em_impute.tables.summarise import summarise
from em_impute.typed_table import FilledCells

NOTHING_TO_LEARN = (
    "No column is in the model: none is of numbers with an observed cell, or among categories."
)


@dataclass(frozen=True)
class FittedColumns:
    """The part of each column of a table, and the models of the columns that have one.

    Attributes
    ----------
    job : Job
        What the options say.
    roles : Roles
    schema : Schema
        Of the table that was fitted.
    empty : tuple of str
        Columns without an observed cell, which would have a part if they had one.
    result : EMResult
        The fit to all rows.
    models : Models
    groups : tuple of GroupFit
        How the fit of each group went.
    """

    job: Job
    roles: Roles
    schema: pa.Schema
    empty: tuple[str, ...]
    result: EMResult
    models: Models
    groups: tuple[GroupFit, ...]

    @classmethod
    def of(cls, held: HeldSnapshot, job: Job, fit: Callable[[PatternSummary], EMResult]) -> Self:
        """Decide the parts and fit the models; warn of missing cells that will be left.

        Parameters
        ----------
        held : HeldSnapshot
        job : Job
        fit : callable
            Fits the model of all rows.

        Raises
        ------
        ValueError
            If a column is not there, or cannot play its part.
        """
        with in_python():
            roles = assign_roles(held, job)
        empty = tuple(
            column.name
            for column in held.columns
            if column.missing >= held.rows
            and (column.numeric or column.type == "null" or column.name in roles.model_columns)
        )
        left = [one for one in find_unfilled(held, roles, job.columns) if one.column not in empty]
        sentences = tuple(unfilled_in_words(left))
        roles = _without(_ready_for_more(roles, job), empty)
        if not roles.dimensions:
            raise ValueError(NOTHING_TO_LEARN)
        _require_fitting(held, roles, job)
        result = fit(summarise(held, roles))
        with in_python():
            of_groups, decisions, groups = fit_groups(held, roles, job.model)
        for sentence in (*sentences, *decisions):
            warnings.warn(in_words_of_python(sentence), stacklevel=4)
        schema, models = read_schema(held.path), Models(result.model, of_groups)
        return cls(job, roles, schema, empty, result, models, groups)

    def held(self, table: pa.Table) -> HeldSnapshot:
        """Another table, held and checked against the one that was fitted.

        Raises
        ------
        ValueError
            If a column is of another kind, or has a level that `fit` has not seen.
        """
        held = held_for(self.job, self._with_types(table))
        self._require_known_levels(held)
        _require_fitting(held, self.roles, self.job)
        return held

    def fill(
        self, held: HeldSnapshot, seed: int | None, delta: Mapping[str, float] | None
    ) -> dict[str, FilledCells]:
        """The columns that have missing cells to fill, filled.

        Parameters
        ----------
        held : HeldSnapshot
        seed : int or None
            What the cells are drawn with; None for means.
        delta : mapping of str to float or None
        """
        method: Literal["mean", "draw"] = "mean" if seed is None else "draw"
        shifts = {name: float(by) for name, by in (delta or {}).items()}
        imputation = Imputation(method=method, seed=seed or 0, delta=shifts)
        columns: dict[str, list[pa.Array]] = {name: [] for name in self.roles.impute}
        rows: dict[str, list[Ints]] = {name: [] for name in self.roles.impute}
        for first, batch in _numbered(held):
            keys = row_keys(batch, self.roles.key, first)
            with in_python():
                filled, cells = filled_columns(batch, self.models, self.roles, imputation, keys, 1)
            for name, own in zip(self.roles.impute, cells, strict=True):
                columns[name].append(filled[name])
                rows[name].append(own.rows + first)
        missing = {name: np.concatenate(some) for name, some in rows.items()}
        return {
            name: FilledCells(_joined(columns[name]), at) for name, at in missing.items() if len(at)
        }

    def _with_types(self, table: pa.Table) -> pa.Table:
        """The table with the types of `fit` where a column shows nothing, or floats of integers."""
        names = {*self.roles.model_columns, *self.roles.group_by, *self.roles.key}
        for j, field in enumerate(table.schema):
            wanted = self.schema.field(j).type
            if field.name not in names or field.type == wanted:
                continue
            column = self._as_fitted(table.column(j), field.name, wanted)
            table = table.set_column(j, field.name, column)
        return table

    def _as_fitted(self, column: pa.ChunkedArray, name: str, wanted: pa.DataType) -> pa.Array:
        came, in_model = column.type, name in self.roles.model_columns
        if pa.types.is_null(came):
            return pa.nulls(len(column), wanted)
        if in_model and isinstance(self.roles.encoding(name), Numeric):
            same_kind = is_numeric(came)
        elif pa.types.is_floating(came) and pa.types.is_integer(wanted):
            # Beside a missing cell, NumPy makes floats of integers.
            with suppress(pa.ArrowInvalid):
                return column.cast(wanted)
            same_kind = False
        else:
            same_kind = _kind(came) == _kind(wanted)
        if not same_kind:
            raise ValueError(
                f"Column {name!r} is of type {came}, but was of type {wanted} in fit; convert it."
            )
        return column

    def _require_known_levels(self, held: HeldSnapshot) -> None:
        encodings = map(self.roles.encoding, self.roles.model_columns)
        categories = [one for one in encodings if isinstance(one, Nominal | Ordinal)]
        for first, batch in _numbered(held):
            for encoding in categories:
                cells = batch.column(encoding.column)
                shown = replace(encoding, levels=encoding.shown_levels)
                unknown = (shown.codes(cells) < 0) & ~is_missing(cells)
                if unknown.any():
                    raise ValueError(
                        f"categories: column {encoding.column!r} holds in row "
                        f"{first + int(unknown.argmax())} (counted from 0) a level that fit has "
                        "not seen; fit again with it, or make the cell missing."
                    )


def held_for(job: Job, table: pa.Table) -> HeldSnapshot:
    """A table whose missing cells are those that the options name, too.

    Raises
    ------
    ValueError
        If one of them is a level of a categorical column, which would stay one.
    """
    missing = Missing.of(job.source, Purpose.of(job).categories)
    for name, column in zip(table.column_names, table.columns, strict=True):
        if pa.types.is_dictionary(column.type) and missing.named(name):
            levels = {str(level) for level in column.unique().to_pylist()}
            if levels & {*missing.named(name)}:
                raise ValueError(
                    f"missing_values: column {name!r} is categorical, and has a level that stands "
                    "for a missing cell. Make these cells missing, or a column of text of it."
                )
    return hold(table, missing)


def holes_of(held: HeldSnapshot) -> Floats:
    """NaN where a cell is missing and 0 elsewhere, of the table's shape."""
    holes = np.zeros((held.rows, len(held.columns)))
    for first, batch in _numbered(held):
        for j, column in enumerate(batch.columns):
            holes[first : first + batch.num_rows, j][is_missing(column)] = np.nan
    return holes


def _kind(type_: pa.DataType) -> str:
    """What the cells of columns are, or their categories."""
    plain = type_.value_type if pa.types.is_dictionary(type_) else type_
    kinds = {"times": pa.types.is_temporal, "numbers": is_numeric, "bools": pa.types.is_boolean}
    return next((kind for kind, is_kind in kinds.items() if is_kind(plain)), "texts")


def _numbered(held: HeldSnapshot) -> Iterator[tuple[int, pa.RecordBatch]]:
    """The batches of a table, each with the number of its first row, from 0."""
    first = 0
    for batch in read_batches(held.path):
        yield first, batch
        first += batch.num_rows


def _require_fitting(held: HeldSnapshot, roles: Roles, job: Job) -> None:
    """Raise an error for cells that their column cannot have; warn of those that are kept."""
    for column in held.columns:
        if column.infinite and column.name in roles.model_columns:
            raise ValueError(
                f"Infinite cells cannot be used: the first is in row "
                f"{(column.first_infinite_row or 1) - 1} (counted from 0), column "
                f"{column.name!r}. Replace inf by NaN where it means missing."
            )
    for misfits in find_misfits(held, roles, job.columns):
        if misfits.stop:
            raise ValueError(_in_words(misfits, held.rows))
        warnings.warn(_in_words(misfits, held.rows), stacklevel=5)


def _ready_for_more(roles: Roles, job: Job) -> Roles:
    """Every column that may be filled is, if the options name none: others may come with holes."""
    if job.columns.impute is not None:
        return roles
    only = {*(job.columns.predictors or ())}
    fillable = [
        name
        for name in roles.model_columns
        if name not in only and not isinstance(roles.encoding(name), Instant)
    ]
    others = tuple(name for name in roles.model_columns if name not in fillable)
    return replace(roles, impute=tuple(fillable), predictors=others)


def _without(roles: Roles, columns: tuple[str, ...]) -> Roles:
    return replace(
        roles,
        impute=tuple(name for name in roles.impute if name not in columns),
        predictors=tuple(name for name in roles.predictors if name not in columns),
    )


def _joined(chunks: list[pa.Array]) -> pa.Array:
    if len(chunks) == 1:
        return chunks[0]
    return pa.chunked_array(chunks).unify_dictionaries().combine_chunks()


def _in_words(misfits: Misfits, n_rows: int) -> str:
    first = ", ".join(str(row - 1) for row in misfits.rows)
    option = OPTION_OF[f"columns.{misfits.option}"]
    return (
        f"{option}: expected {misfits.expected}, but {misfits.cells} of {n_rows} rows are "
        f"not, the first: {first} (counted from 0). Mend these cells, or make them missing."
    )
