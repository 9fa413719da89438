"""Which column plays which part: a key, one to fill, a predictor, or none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from em_impute.job import CLUSTERS, IMPUTATION, MASK, SCORE, Job, JobError, Problem
from em_impute.tables.columns.encoding import Encoding, Filling, to_numbers
from em_impute.tables.columns.numbers import Numeric
from em_impute.tables.columns.objections import (
    cell_problems,
    delta_problems,
    option_problems,
    role_problems,
)
from em_impute.tables.columns.options import encoding_of
from em_impute.tables.snapshot import ColumnProfile, Snapshot, is_missing, read_schema


@dataclass(frozen=True)
class Roles:
    """The part that each column of a table plays.

    Attributes
    ----------
    columns : tuple of str
        Every column, in the table's order.
    key : tuple of str
        Columns that identify a row, in the job's order.
    impute, predictors : tuple of str
        Columns to fill, and columns that only help to predict them; in the table's order.
    encodings : tuple of Encoding
        How columns take part in the model, where that is not simply as numbers.
    group_by : tuple of str
        Columns that divide the rows into groups with a model each.
    mask : bool
        Whether the filled table has one more column, which tells its imputed cells.
    multiple : bool
        Whether the filled table has each row several times, told by one more column.
    clusters : bool
        Whether it has two more columns, the component of each row and its probability.
    scores : int
        How many more columns it has for the scores of each row.
    """

    columns: tuple[str, ...]
    key: tuple[str, ...]
    impute: tuple[str, ...]
    predictors: tuple[str, ...]
    encodings: tuple[Encoding, ...] = ()
    group_by: tuple[str, ...] = ()
    mask: bool = False
    multiple: bool = False
    clusters: bool = False
    scores: int = 0

    @property
    def added(self) -> tuple[str, ...]:
        """Columns that only the filled table has, after the others."""
        return (
            *((MASK,) if self.mask else ()),
            *((IMPUTATION,) if self.multiple else ()),
            *(CLUSTERS if self.clusters else ()),
            *self.score_names,
        )

    @property
    def score_names(self) -> tuple[str, ...]:
        """The columns of the rows' scores."""
        return tuple(SCORE.format(h) for h in range(1, self.scores + 1))

    @property
    def filled_key(self) -> tuple[str, ...]:
        """Columns that identify a row of the filled table."""
        return (*self.key, IMPUTATION) if self.key and self.multiple else self.key

    @cached_property
    def model_columns(self) -> tuple[str, ...]:
        """Columns of the model, imputed and predicting ones, in the table's order."""
        parts = {*self.impute, *self.predictors}
        return tuple(name for name in self.columns if name in parts)

    @property
    def dimensions(self) -> tuple[str, ...]:
        """Names of the model's own columns: several, ``Species=Gentoo``, for a nominal one."""
        return tuple(d for name in self.model_columns for d in self.encoding(name).dimensions)

    def at(self, name: str) -> slice:
        """Where the dimensions of a column are."""
        return self._places[name]

    @cached_property
    def _places(self) -> dict[str, slice]:
        widths = [len(self.encoding(name).dimensions) for name in self.model_columns]
        ends = np.cumsum([0, *widths]).tolist()
        return {
            name: slice(start, end)
            for name, start, end in zip(self.model_columns, ends[:-1], ends[1:], strict=True)
        }

    def encoding(self, name: str) -> Encoding:
        """How a column takes part in the model."""
        return self._encodings.get(name) or Numeric(name)

    @cached_property
    def _encodings(self) -> dict[str, Encoding]:
        return {encoding.column: encoding for encoding in self.encodings}

    def filling(self, name: str) -> Filling:
        """How a column of `impute` is filled."""
        return cast(Filling, self.encoding(name))

    def encode(self, batch: pa.RecordBatch) -> NDArray[np.float64]:
        """Rows as the model takes them, of shape (n_rows, n_dimensions), NaN where missing."""
        parts = [self.encoding(name).encode(batch.column(name)) for name in self.model_columns]
        return np.concatenate([np.empty((batch.num_rows, 0)), *parts], axis=1)

    def missing(self, batch: pa.RecordBatch) -> NDArray[np.bool_]:
        """Which cells of `model_columns` are missing, of shape (n_rows, n_columns)."""
        missing = np.empty((batch.num_rows, len(self.model_columns)), dtype=bool)
        for j, name in enumerate(self.model_columns):
            missing[:, j] = is_missing(batch.column(name))
        return missing

    @property
    def passthrough(self) -> tuple[str, ...]:
        """Columns that are neither in the model nor in the key."""
        parts = {*self.key, *self.impute, *self.predictors}
        return tuple(name for name in self.columns if name not in parts)


def assign_roles(snapshot: Snapshot, job: Job) -> Roles:
    """Decide the part of each column from what the job says and what the table holds.

    By default every numeric column and every one of `categories` with missing cells is imputed and
    every other one predicts, the key excepted; a column of folders' names is imputed only if it is
    named. The levels of categories are read from the table.

    Raises
    ------
    JobError
        With every problem at once: columns that the table lacks, columns in the model that are
        neither numeric nor categories, options that their column cannot have, a delta of a column
        that is not imputed, imputed integers that floating point cannot hold, unknown or too many
        levels.
    """
    problems = [*role_problems(snapshot, job), *option_problems(snapshot, job)]
    names = {column.name for column in snapshot.columns}
    for section, option, asked_for, added in (
        ("imputation", "mask", job.imputation.mask, MASK),
        ("imputation", "method", job.imputation.is_multiple, IMPUTATION),
        *(("target", "clusters", job.target.clusters, name) for name in CLUSTERS),
        *(("target", "scores", True, SCORE.format(h)) for h in range(1, _scores(job) + 1)),
    ):
        if asked_for and added in names:
            message = f"{section}.{option}: the table has a column {added!r} already; rename it."
            problems.append(Problem(job.place(section, option), message))
    if problems:
        raise JobError(problems)
    roles = _roles(snapshot, job)
    parts = roles.model_columns, roles.impute
    if problems := [*delta_problems(snapshot, job, *parts), *cell_problems(snapshot, job, *parts)]:
        raise JobError(problems)
    roles = replace(roles, encodings=tuple(_encodings(snapshot, job, roles)))
    dimensions = Counter(roles.dimensions)
    for option, told in (("clusters", roles.clusters), ("scores", roles.scores > 0)):
        if told and not dimensions:
            message = f"target.{option}: no column is in the model, so there are none to tell."
            raise JobError([Problem(job.place("target", option), message)])
    if twice := [name for name, times in dimensions.items() if times > 1]:
        raise JobError(
            [Problem(job.place("columns"), f"columns: the model would have {twice[0]!r} twice")]
        )
    return roles


def _scores(job: Job) -> int:
    """How many columns of scores the job adds."""
    wanted = job.model.components
    return wanted if job.target.scores and isinstance(wanted, int) else 0


def to_matrix(batch: pa.RecordBatch, columns: Sequence[str]) -> NDArray[np.float64]:
    """Cells of numeric columns as numbers.

    Returns
    -------
    ndarray of shape (n_rows, len(columns)), float64
        NaN where a cell is null or NaN. Integers beyond 2**53 are rounded.
    """
    X = np.empty((batch.num_rows, len(columns)))
    for j, name in enumerate(columns):
        X[:, j] = to_numbers(batch.column(name))
    return X


def _roles(snapshot: Snapshot, job: Job) -> Roles:
    named = job.columns
    free = [
        c
        for c in snapshot.columns
        if (c.numeric or c.name in named.categories) and c.name not in {*named.key, *named.group_by}
    ]
    impute = named.impute
    if impute is None:
        impute = tuple(
            c.name
            for c in free
            # What a folder's name does not say is not known to be missing at random, or at all.
            if c.missing and not _is_left(c, job) and c.name not in (named.predictors or ())
        )
    predictors = named.predictors
    if predictors is None:
        predictors = tuple(c.name for c in free if c.name not in impute)
    columns = tuple(c.name for c in snapshot.columns)
    return Roles(
        columns,
        key=named.key,
        impute=tuple(sorted(impute, key=columns.index)),
        predictors=tuple(sorted(predictors, key=columns.index)),
        group_by=named.group_by,
        mask=job.imputation.mask,
        multiple=job.imputation.is_multiple,
        clusters=job.target.clusters,
        scores=_scores(job),
    )


def _is_left(column: ColumnProfile, job: Job) -> bool:
    """Whether a column's holes stay, unless the job names it."""
    return column.in_folders and column.name not in job.columns.categories


def _encodings(snapshot: Snapshot, job: Job, roles: Roles) -> Iterator[Encoding]:
    schema = read_schema(snapshot.path)
    for name in roles.model_columns:
        yield encoding_of(snapshot, job, name, schema.field(name).type)
